//! The live feed: what happens in the house, as the JSON that watchers get, kept in a short ring so that
//! one who reconnects misses nothing. While nobody watches, nothing is made. A watcher that reads too
//! slowly is dropped; it never slows the house down.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::event::Change;
use contract::{Clock, Consumer, Event};
use fleet::Fleet;
use model::message::SharedMessage;
use model::topic::Space;
use model::{DeviceId, DeviceNumber, Millis, UnixMs, limits};
use parking_lot::Mutex;
use serde::Serialize;
use telemetry::{Direction, Logged};
use tokio::sync::broadcast;

use crate::shown;

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

struct Ring {
    // `None` once the feed is closed.
    sender: Option<broadcast::Sender<Arc<Frame>>>,
    frames: VecDeque<Arc<Frame>>,
    last_id: u64,
    last_watched: Option<Millis>,
}

/// The live feed of the house.
pub struct Feed {
    fleet: Arc<Fleet>,
    clock: Arc<dyn Clock>,
    watchers: Arc<AtomicUsize>,
    ring: Mutex<Ring>,
    // Devices that are being removed.
    leaving: Mutex<HashMap<DeviceNumber, DeviceId>>,
}

/// A watcher's place. Counts as one until it is dropped.
pub(crate) struct Watch {
    /// What it missed, oldest first.
    pub missed: VecDeque<Arc<Frame>>,
    /// Whether something that it missed is forgotten.
    pub gap: bool,
    pub receiver: broadcast::Receiver<Arc<Frame>>,
    _place: Place,
}

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why somebody cannot watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoWatch {
    TooMany,
    Closed,
}

impl Feed {
    /// A feed. `watchers` is how many watch: the bus shares it, so that free messages are told only then.
    pub fn new(fleet: Arc<Fleet>, clock: Arc<dyn Clock>, watchers: Arc<AtomicUsize>) -> Arc<Feed> {
        let (sender, _) = broadcast::channel(limits::FEED_EVENTS_MAX);
        // From the time of day, so that a number from before a restart is never taken for a newer one.
        let last_id = clock.unix().0.max(0).unsigned_abs() * 1000;
        let ring = Ring { sender: Some(sender), frames: VecDeque::new(), last_id, last_watched: None };
        Arc::new(Feed { fleet, clock, watchers, ring: Mutex::new(ring), leaving: Mutex::default() })
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Ends every watch and takes no new ones, so that the HTTP server can stop.
    pub fn close(&self) {
        self.ring.lock().sender = None;
    }

    /// A device is about to be removed: its name is remembered until that is told.
    pub(crate) fn leaving(&self, number: DeviceNumber, id: DeviceId) {
        self.leaving.lock().insert(number, id);
    }

    /// It was not removed.
    pub(crate) fn staying(&self, number: DeviceNumber) {
        self.leaving.lock().remove(&number);
    }

    /// A place to watch from, with what was missed since the event `after`.
    pub(crate) fn watch(&self, after: Option<u64>) -> Result<Watch, NoWatch> {
        let mut ring = self.ring.lock();
        let Some(sender) = &ring.sender else { return Err(NoWatch::Closed) };
        if self.watchers.load(Ordering::Relaxed) >= limits::WATCHERS_MAX {
            return Err(NoWatch::TooMany);
        }
        let receiver = sender.subscribe();
        let now = self.clock.millis();
        self.wake(&mut ring, now);
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let oldest = ring.frames.front().map_or(ring.last_id + 1, |frame| frame.id);
        let gap = after.is_some_and(|after| after + 1 < oldest);
        let missed = ring.frames.iter().filter(|frame| after.is_some_and(|after| frame.id > after)).cloned().collect();
        Ok(Watch { missed, gap, receiver, _place: Place(self.watchers.clone()) })
    }

    /// Whether events are worth making: somebody watches, or did a moment ago.
    fn wanted(&self) -> bool {
        let mut ring = self.ring.lock();
        let now = self.clock.millis();
        if self.watchers.load(Ordering::Relaxed) > 0 {
            ring.last_watched = Some(now);
            return true;
        }
        ring.last_watched.is_some_and(|last| now.since(last) < limits::FEED_RESUME_S * 1000)
    }

    /// After a pause the ring has a hole: what stands before it can no longer be resumed from.
    fn wake(&self, ring: &mut Ring, now: Millis) {
        let paused = ring.last_watched.is_none_or(|last| now.since(last) >= limits::FEED_RESUME_S * 1000);
        if paused && self.watchers.load(Ordering::Relaxed) == 0 {
            ring.frames.clear();
            ring.last_id += 1;
        }
        ring.last_watched = Some(now);
    }

    fn put(&self, kind: &'static str, device: Option<&str>, data: &impl Serialize) {
        // Our own types: they always become JSON.
        let Ok(json) = serde_json::to_string(data) else { return };
        let mut ring = self.ring.lock();
        ring.last_id += 1;
        let frame = Arc::new(Frame { id: ring.last_id, kind, device: device.map(Arc::from), json });
        if ring.frames.len() == limits::FEED_EVENTS_MAX {
            ring.frames.pop_front();
        }
        ring.frames.push_back(frame.clone());
        if let Some(sender) = &ring.sender {
            // Nobody there is no trouble: the ring has it.
            let _ = sender.send(frame);
        }
    }

    fn message(&self, device: Option<&str>, message: &SharedMessage, direction: Direction, at: UnixMs) {
        let logged = Logged::of(message, direction, at);
        self.put("message", device, &shown::Message::of(device, &logged));
    }

    fn of_number(&self, kind: &'static str, device: DeviceNumber, make: impl FnOnce(&str) -> serde_json::Value) {
        let id = self.fleet.id_of(device).or_else(|| self.leaving.lock().get(&device).cloned());
        if let Some(id) = id {
            self.put(kind, Some(id.as_str()), &make(id.as_str()));
        }
    }
}

impl Consumer for Feed {
    fn on_event(&self, event: &Event) {
        let told = !matches!(
            event,
            Event::LineOpened { .. } | Event::LineClosed { .. } | Event::Listening { .. } | Event::Receipt { .. }
        );
        if told && self.wanted() {
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
            Event::Down { message, .. } => self.message(owner(message), message, Direction::Down, self.clock.unix()),
            Event::Passed { message } => {
                let source = message.source.and_then(|number| self.fleet.id_of(number));
                self.message(source.as_ref().map(|id| id.as_str()), message, Direction::Up, message.at);
            }
            Event::PresenceChanged { device, presence } => self.of_number("presence", *device, |id| {
                #[derive(Serialize)]
                struct Data<'a> {
                    device: &'a str,
                    #[serde(flatten)]
                    line: shown::Line,
                }
                serde_json::json!(Data { device: id, line: presence.clone().into() })
            }),
            Event::DeviceChanged { device, change } => {
                let change = match change {
                    Change::Registered => "registered",
                    Change::Edited => "edited",
                    Change::Removed => "removed",
                };
                self.of_number("device", *device, |id| serde_json::json!({ "device": id, "change": change }));
            }
            Event::PointsStored { points } => {
                let Some(first) = points.first() else { return };
                self.of_number("points", first.device, |id| {
                    let items: Vec<shown::Reading> = points.iter().map(shown::Reading::from).collect();
                    serde_json::json!({ "device": id, "items": items })
                });
            }
            Event::DeliveryChanged { delivery } => {
                #[derive(Serialize)]
                struct Data {
                    push: model::PushId,
                    #[serde(flatten)]
                    delivery: shown::Delivery,
                }
                let data = Data { push: delivery.push, delivery: (&**delivery).into() };
                self.put("delivery", Some(delivery.device.as_str()), &data);
            }
            Event::Knocked { protocol, remote, claim, refusal, at } => {
                let (remote, claim, reason) = (remote.to_string(), claim.clone(), refusal.to_string());
                self.put("knock", None, &shown::KnockShown { protocol, remote, claim, reason, at: *at });
            }
            Event::Faulted { protocol, remote, device, close, at } => {
                #[derive(Serialize)]
                struct Data<'a> {
                    protocol: &'a str,
                    remote: String,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    device: Option<&'a str>,
                    fault: &'a str,
                    why: &'a str,
                    at: UnixMs,
                }
                let id = device.and_then(|number| self.fleet.id_of(number));
                let device = id.as_ref().map(|id| id.as_str());
                let (remote, fault) = (remote.to_string(), close.fault.as_str());
                self.put("fault", device, &Data { protocol, remote, device, fault, why: &close.why, at: *at });
            }
            Event::LineOpened { .. } | Event::LineClosed { .. } | Event::Listening { .. } | Event::Receipt { .. } => {}
        }
    }
}

/// The device in whose space a message lies.
fn owner(message: &SharedMessage) -> Option<&str> {
    match message.topic.space() {
        Space::Device { id, .. } => Some(id),
        _ => None,
    }
}
