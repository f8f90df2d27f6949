//! The live feed: what happens in the house, as the JSON that watchers get, kept in a short ring from which
//! they read, and from which one who reconnects goes on. While nobody watches, nothing is made. A watcher that reads too
//! slowly is dropped; it never slows the house down.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use contract::event::Change;
use contract::{Clock, Consumer, Event};
use fleet::Fleet;
use model::message::SharedMessage;
use model::topic::Space;
use model::{DeviceId, DeviceNumber, Millis, UnixMs, limits};
use parking_lot::Mutex;
use telemetry::{Direction, Logged};
use tokio::sync::watch;
use webhook::Webhooks;

use crate::shown;
use crate::told::{self, Told};

/// One live event, made once for all watchers.
pub(crate) struct Frame {
    /// Its number: counts up, also across restarts.
    pub id: u64,
    /// The event's name.
    pub kind: &'static str,
    /// The device that it is about, for watchers of one device.
    pub device: Option<Arc<str>>,
    /// Its data.
    pub json: String,
}

#[derive(Default)]
struct Ring {
    // Their numbers follow each other without a hole.
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    last_id: u64,
    last_watched: Option<Millis>,
    closed: bool,
}

/// The live feed of the house.
pub struct Feed {
    fleet: Arc<Fleet>,
    clock: Arc<dyn Clock>,
    watchers: Arc<AtomicUsize>,
    ring: Mutex<Ring>,
    // Wakes the watchers.
    news: watch::Sender<()>,
    // Devices that are being removed.
    leaving: Mutex<HashMap<DeviceNumber, DeviceId>>,
    webhooks: OnceLock<Arc<Webhooks>>,
}

/// A watcher's place in the feed. Counts as one until it is dropped.
pub(crate) struct Watch {
    feed: Arc<Feed>,
    news: watch::Receiver<()>,
    next_id: u64,
    /// Whether something that it wanted to resume from is forgotten.
    pub gap: bool,
}

/// Why somebody cannot watch, or not any longer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoWatch {
    TooMany,
    Closed,
    /// It fell behind by more than is remembered.
    TooSlow {
        lost: u64,
    },
}

impl Watch {
    /// The next event, when there is one.
    pub async fn next(&mut self) -> Result<Arc<Frame>, NoWatch> {
        loop {
            self.news.mark_unchanged();
            {
                let ring = self.feed.ring.lock();
                if ring.closed {
                    return Err(NoWatch::Closed);
                }
                let oldest = ring.oldest_id();
                if self.next_id < oldest {
                    return Err(NoWatch::TooSlow { lost: oldest - self.next_id });
                }
                if let Some(frame) = ring.frames.get((self.next_id - oldest) as usize) {
                    self.next_id += 1;
                    return Ok(frame.clone());
                }
            }
            if self.news.changed().await.is_err() {
                return Err(NoWatch::Closed);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.feed.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ring {
    fn oldest_id(&self) -> u64 {
        self.frames.front().map_or(self.last_id + 1, |frame| frame.id)
    }

    fn put(&mut self, frame: Frame) {
        self.last_id = frame.id;
        self.bytes += frame.json.len();
        self.frames.push_back(Arc::new(frame));
        while self.frames.len() > limits::FEED_EVENTS_MAX || self.bytes > limits::FEED_BYTES_MAX {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.json.len();
        }
    }
}

impl Feed {
    /// A feed. `watchers` is how many watch: the bus shares it, so that free messages are told only then.
    pub fn new(fleet: Arc<Fleet>, clock: Arc<dyn Clock>, watchers: Arc<AtomicUsize>) -> Arc<Feed> {
        // From the time of day, so that a number from before a restart is never taken for a newer one.
        let last_id = clock.unix().0.max(0).unsigned_abs() * 1000;
        let ring = Mutex::new(Ring { last_id, ..Ring::default() });
        Arc::new(Feed {
            fleet,
            clock,
            watchers,
            ring,
            news: watch::Sender::new(()),
            leaving: Mutex::default(),
            webhooks: OnceLock::new(),
        })
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// From now on these are told what happens, too.
    pub fn tell_too(&self, webhooks: Arc<Webhooks>) {
        // The house has one such room.
        let _ = self.webhooks.set(webhooks);
    }

    /// Ends every watch and takes no new ones, so that the HTTP server can stop.
    pub fn close(&self) {
        self.ring.lock().closed = true;
        self.news.send_replace(());
    }

    /// A device is about to be removed: its name is remembered until that is told.
    pub(crate) fn leaving(&self, number: DeviceNumber, id: DeviceId) {
        self.leaving.lock().insert(number, id);
    }

    /// It was not removed.
    pub(crate) fn staying(&self, number: DeviceNumber) {
        self.leaving.lock().remove(&number);
    }

    /// A place to watch from: now, or what follows the event `after`.
    pub(crate) fn watch(self: &Arc<Self>, after: Option<u64>) -> Result<Watch, NoWatch> {
        let mut ring = self.ring.lock();
        if ring.closed {
            return Err(NoWatch::Closed);
        }
        if self.watchers.load(Ordering::Relaxed) >= limits::WATCHERS_MAX {
            return Err(NoWatch::TooMany);
        }
        self.wake(&mut ring);
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let (oldest, next) = (ring.oldest_id(), ring.last_id + 1);
        // A number that we have not given yet is from a clock that was set back: nothing to resume from.
        let wanted = after.map_or(next, |after| after.saturating_add(1)).min(next);
        Ok(Watch { feed: self.clone(), news: self.news.subscribe(), next_id: wanted.max(oldest), gap: wanted < oldest })
    }

    /// Whether an event of this kind is worth making: somebody watches, or did a moment ago, or a webhook wants it.
    fn wanted(&self, kind: &str) -> bool {
        self.webhooks.get().is_some_and(|webhooks| webhooks.wants(kind)) || self.watched()
    }

    fn watched(&self) -> bool {
        let mut ring = self.ring.lock();
        let now = self.clock.millis();
        if self.watchers.load(Ordering::Relaxed) > 0 {
            ring.last_watched = Some(now);
            return true;
        }
        ring.last_watched.is_some_and(|last| now.since(last) < limits::FEED_RESUME_S * 1000)
    }

    /// After a pause the ring has a hole: what stands before it can no longer be resumed from.
    fn wake(&self, ring: &mut Ring) {
        let now = self.clock.millis();
        let paused = ring.last_watched.is_none_or(|last| now.since(last) >= limits::FEED_RESUME_S * 1000);
        if paused && self.watchers.load(Ordering::Relaxed) == 0 {
            ring.frames.clear();
            ring.bytes = 0;
            ring.last_id += 1;
        }
        ring.last_watched = Some(now);
    }

    fn put<T: Told>(&self, device: Option<&str>, data: &T) {
        // Our own types: they always become JSON.
        let Ok(json) = serde_json::to_string(data) else { return };
        let device: Option<Arc<str>> = device.map(Arc::from);
        let mut ring = self.ring.lock();
        let id = ring.last_id + 1;
        if let Some(webhooks) = self.webhooks.get() {
            // With the ring held, so that they come in the order of their numbers.
            webhooks.offer(T::KIND, id, device.clone(), &json);
        }
        ring.put(Frame { id, kind: T::KIND, device, json });
        drop(ring);
        self.news.send_replace(());
    }

    fn message(&self, device: Option<&str>, message: &SharedMessage, direction: Direction, at: UnixMs) {
        let logged = Logged::of(message, direction, at);
        self.put(device, &shown::Message::of(device, &logged));
    }

    /// A device's name, also of one that is just being removed.
    fn id_of(&self, device: DeviceNumber) -> Option<DeviceId> {
        self.fleet.id_of(device).or_else(|| self.leaving.lock().get(&device).cloned())
    }
}

impl Consumer for Feed {
    fn on_event(&self, event: &Event) {
        if kind_of(event).is_some_and(|kind| self.wanted(kind)) {
            self.tell(event);
        }
        if let Event::DeviceChanged { device, change: Change::Removed } = event {
            self.staying(*device);
        }
    }
}

impl Feed {
    fn tell(&self, event: &Event) {
        match event {
            Event::Up { message, .. } => self.message(owner(message), message, Direction::Up, message.at),
            Event::Down { message, at, .. } => self.message(owner(message), message, Direction::Down, *at),
            Event::Passed { message } => {
                let source = message.source.and_then(|number| self.fleet.id_of(number));
                self.message(source.as_ref().map(|id| id.as_str()), message, Direction::Up, message.at);
            }
            Event::PresenceChanged { device, presence } => {
                let Some(id) = self.id_of(*device) else { return };
                let device = id.as_str();
                self.put(Some(device), &told::Presence { device, line: presence.clone().into() });
            }
            Event::DeviceChanged { device, change } => {
                let Some(id) = self.id_of(*device) else { return };
                let device = id.as_str();
                self.put(Some(device), &told::Changed { device, change: (*change).into() });
            }
            Event::PointsStored { points } => {
                let Some(id) = points.first().and_then(|first| self.id_of(first.device)) else { return };
                let items = points.iter().map(shown::Reading::from).collect();
                self.put(Some(id.as_str()), &told::Points { device: id.as_str(), items });
            }
            Event::DeliveryChanged { delivery } => {
                let moved = told::Moved { push: delivery.push, delivery: (&**delivery).into() };
                self.put(Some(delivery.device.as_str()), &moved);
            }
            Event::TwinChanged { change, owed } => {
                let Some(id) = self.id_of(change.device) else { return };
                self.put(Some(id.as_str()), &told::TwinTold { device: id.as_str(), change: (&**change).into(), owed: *owed });
            }
            Event::Knocked { protocol, remote, claim, device, refusal, at } => {
                let (remote, claim, device) = (remote.to_string(), claim.clone(), device.clone());
                let (code, reason) = (refusal.code(), refusal.to_string());
                self.put(None, &shown::KnockShown { protocol, remote, claim, device, code, reason, at: *at });
            }
            Event::Faulted { protocol, remote, device, close, at } => {
                let id = device.and_then(|number| self.fleet.id_of(number));
                let device = id.as_ref().map(|id| id.as_str());
                let (remote, fault) = (remote.to_string(), close.fault.as_str());
                self.put(device, &told::Fault { protocol, remote, device, fault, why: &close.why, at: *at });
            }
            Event::AlarmChanged { alarm, raised, why, at } => {
                self.put(None, &told::AlarmTold { alarm: alarm.as_str(), raised: *raised, why, at: *at });
            }
            // Presence and deliveries tell of these in the owner's words.
            Event::LineOpened { .. } | Event::LineClosed { .. } | Event::Listening { .. } | Event::Receipt { .. } => {}
            // For the one who has the number.
            Event::Addressed { .. } | Event::Sent { .. } => {}
        }
    }
}

/// The kind of live event that a fact becomes, if it becomes one.
fn kind_of(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Up { .. } | Event::Down { .. } | Event::Passed { .. } => shown::Message::KIND,
        Event::PresenceChanged { .. } => told::Presence::KIND,
        Event::DeviceChanged { .. } => told::Changed::KIND,
        Event::PointsStored { .. } => told::Points::KIND,
        Event::DeliveryChanged { .. } => told::Moved::KIND,
        Event::TwinChanged { .. } => told::TwinTold::KIND,
        Event::Knocked { .. } => shown::KnockShown::KIND,
        Event::Faulted { .. } => told::Fault::KIND,
        Event::AlarmChanged { .. } => told::AlarmTold::KIND,
        Event::LineOpened { .. } | Event::LineClosed { .. } | Event::Listening { .. } | Event::Receipt { .. } => return None,
        Event::Addressed { .. } | Event::Sent { .. } => return None,
    })
}

/// The device in whose space a message lies.
fn owner(message: &SharedMessage) -> Option<&str> {
    match message.topic.space() {
        Space::Device { id, .. } => Some(id),
        _ => None,
    }
}
