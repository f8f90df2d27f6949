//! The way of events: shards and rooms emit, one task tells every room, in one order. Bounded by count and
//! by bytes: when the platform cannot keep up, messages that nobody waits for are dropped and counted, and
//! at last uploads are refused, which their senders are told; facts about lines and pushes are never lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use contract::{Bus, Consumer, Event, Line, Refusal};
use model::topic::Space;
use model::{Message, limits};
use net::Inbox;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

/// The queue of events.
pub struct Events {
    inbox: Inbox<Event>,
    /// How many events are in the inbox, and the bytes of their messages.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    line: Arc<dyn Line>,
    watchers: Arc<AtomicUsize>,
    dropped: AtomicU64,
    /// Something came that is to be told at once.
    pressing: Notify,
}

/// What a full queue does with an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// Somebody would like to see it.
    Shown,
    /// Somebody waits for it: lost last, and told if that can be told.
    Awaited,
    /// A fact that others build on: never lost.
    Fact,
}

fn worth(event: &Event) -> Worth {
    match event {
        Event::Up { ticket: Some(_), .. } => Worth::Awaited,
        // An answer has somebody waiting for it, even when the device sent it at QoS 0.
        Event::Up { message, .. } if is_answer(message) => Worth::Awaited,
        Event::Addressed { ticket: Some(_), .. } => Worth::Awaited,
        Event::Addressed { .. } => Worth::Shown,
        Event::Up { .. } | Event::Down { .. } | Event::Passed { .. } => Worth::Shown,
        _ => Worth::Fact,
    }
}

/// Whether an event is to be told at once. Devices come and go by the thousand, and nobody waits to hear of
/// each: told together they cost one wake-up of this task and of those behind it, instead of one each.
fn is_pressing(event: &Event) -> bool {
    use Event::{LineClosed, LineOpened, Listening, PresenceChanged};
    !matches!(event, LineOpened { .. } | LineClosed { .. } | Listening { .. } | PresenceChanged { .. })
}

/// The bytes that an event holds in memory by its message.
fn bytes_of(event: &Event) -> usize {
    match event {
        Event::Up { message, .. }
        | Event::Down { message, .. }
        | Event::Passed { message }
        | Event::Addressed { message, .. } => message.cost_bytes(),
        _ => 0,
    }
}

fn is_answer(message: &Message) -> bool {
    matches!(message.topic.space(), Space::Device { rest, .. } if rest.starts_with("answer/"))
}

impl Events {
    /// A queue; `watchers` tells how many watch free topics, `line` is the way to tell a refusal.
    pub fn new(watchers: Arc<AtomicUsize>, line: Arc<dyn Line>) -> Arc<Events> {
        // The inbox drops nothing by itself: what is let in is decided here, where its bytes are counted.
        let inbox = Inbox::new(usize::MAX, |_| false);
        Arc::new(Events {
            inbox,
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            line,
            watchers,
            dropped: AtomicU64::new(0),
            pressing: Notify::new(),
        })
    }

    /// Whether there is room for `event`; one that wants to be kept and finds none is refused.
    fn admit(&self, event: &Event) -> bool {
        let bytes = bytes_of(event);
        let (waiting, waiting_bytes) = (self.waiting.load(Ordering::Relaxed), self.waiting_bytes.load(Ordering::Relaxed) + bytes);
        let full = match worth(event) {
            Worth::Shown => waiting >= limits::EVENTS_WAITING_MAX || waiting_bytes > limits::EVENTS_WAITING_BYTES_MAX / 2,
            Worth::Awaited => waiting_bytes > limits::EVENTS_WAITING_BYTES_MAX,
            Worth::Fact => false,
        };
        if !full {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
            return true;
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if let Event::Up { ticket: Some(ticket), .. } | Event::Addressed { ticket: Some(ticket), .. } = event {
            self.line.published(*ticket, Err(Refusal::Unavailable));
        }
        false
    }

    /// How many events were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Tells `rooms` every event, until `stop` is used: then what is left, and then ends.
    pub async fn tell(self: Arc<Self>, rooms: Vec<Arc<dyn Consumer>>, mut stop: oneshot::Receiver<()>) {
        let (mut batch, mut further) = (Vec::new(), Vec::new());
        let mut stopping = false;
        let mut told = 0;
        loop {
            if stopping {
                if self.inbox.take_now(&mut batch).is_none() {
                    return;
                }
            } else {
                tokio::select! {
                    _ = self.inbox.take(&mut batch) => {}
                    _ = &mut stop => {
                        stopping = true;
                        continue;
                    }
                }
                if !batch.iter().any(is_pressing) {
                    tokio::select! {
                        () = sleep(Duration::from_millis(limits::EVENTS_GATHERED_MS)) => {}
                        () = self.pressing.notified() => {}
                        _ = &mut stop => stopping = true,
                    }
                    self.inbox.take_now(&mut further);
                    batch.append(&mut further);
                }
            }
            let dropped = self.dropped();
            if dropped > told {
                let missing = dropped - told;
                tracing::warn!("the platform cannot keep up: {missing} messages were refused or are missing from live views");
                told = dropped;
            }
            for event in batch.drain(..) {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.waiting_bytes.fetch_sub(bytes_of(&event), Ordering::Relaxed);
                for room in &rooms {
                    room.on_event(&event);
                }
            }
            // A long queue must not starve the other tasks of this thread.
            tokio::task::yield_now().await;
        }
    }
}

impl Bus for Events {
    fn emit(&self, batch: &mut Vec<Event>) {
        let pressing = batch.iter().any(is_pressing);
        let admitted = batch.drain(..).filter(|event| self.admit(event));
        self.inbox.post(admitted);
        if pressing {
            self.pressing.notify_one();
        }
    }

    fn watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;

    use contract::{Close, ConnId, Ticket, Verdict};
    use model::{DeviceNumber, PartyKey, Topic, UnixMs};

    use super::*;

    /// Remembers which tickets were refused.
    #[derive(Default)]
    struct Refused(Mutex<Vec<u32>>);

    impl Line for Refused {
        fn publish(&self, _: Message) {}
        fn send(&self, _: u64, _: model::Address, _: model::DeviceNumber, _: model::Message) {}
        fn push(&self, _: DeviceNumber, _: Message) {}
        fn decide(&self, _: Ticket, _: Verdict) {}
        fn scram(&self, _: Ticket, _: contract::ScramKeys) {}
        fn published(&self, ticket: Ticket, result: Result<(), Refusal>) {
            assert_eq!(result, Err(Refusal::Unavailable));
            self.0.lock().unwrap().push(ticket.token);
        }
        fn kick(&self, _: PartyKey, _: Close, _: bool) {}
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<&'static str>>);

    impl Consumer for Heard {
        fn on_event(&self, event: &Event) {
            self.0.lock().unwrap().push(match event {
                Event::Up { ticket: Some(_), .. } => "upload",
                Event::Up { .. } => "message",
                _ => "fact",
            });
        }
    }

    fn up(ticket: Option<u32>, bytes: usize) -> Event {
        let conn = ConnId { index: 0, generation: 0 };
        let ticket = ticket.map(|token| Ticket { shard: 0, conn, session: None, promise: None, token });
        let message = Arc::new(Message::new(Topic::of_device("lamp", "data"), vec![0; bytes], UnixMs(0)));
        Event::Up { device: DeviceNumber(1), message, ticket }
    }

    fn fact() -> Event {
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        Event::LineOpened { device: DeviceNumber(1), protocol: "mqtt", remote, firmware: None, at: UnixMs(0) }
    }

    #[tokio::test(start_paused = true)]
    async fn facts_wait_for_each_other_but_not_with_what_somebody_waits_for() {
        let events = Events::new(Arc::default(), Arc::new(Refused::default()));
        let heard = Arc::new(Heard::default());
        let (_stop, stopped) = oneshot::channel();
        let telling = tokio::spawn(events.clone().tell(vec![heard.clone()], stopped));
        let now = tokio::time::Instant::now();
        let settle = async || {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        events.emit(&mut vec![fact()]);
        settle().await;
        events.emit(&mut vec![fact()]);
        settle().await;
        assert!(heard.0.lock().unwrap().is_empty());
        events.emit(&mut vec![up(Some(1), 1)]);
        settle().await;
        assert_eq!(*heard.0.lock().unwrap(), ["fact", "fact", "upload"]);
        events.emit(&mut vec![fact()]);
        settle().await;
        assert_eq!(now.elapsed(), Duration::ZERO, "nobody has moved the clock");
        sleep(2 * Duration::from_millis(limits::EVENTS_GATHERED_MS)).await;
        assert_eq!(heard.0.lock().unwrap().len(), 4);
        telling.abort();
    }

    #[tokio::test]
    async fn a_flood_is_bounded_refused_in_words_and_loses_no_fact() {
        let refused = Arc::new(Refused::default());
        let events = Events::new(Arc::default(), refused.clone());
        const BYTES: usize = 1024 * 1024;
        let room = limits::EVENTS_WAITING_BYTES_MAX / BYTES;
        for n in 0..room as u32 + 10 {
            events.emit(&mut vec![up(None, BYTES), up(Some(n), BYTES), fact()]);
        }
        assert!(events.waiting_bytes.load(Ordering::Relaxed) <= limits::EVENTS_WAITING_BYTES_MAX);
        let uploads_refused = refused.0.lock().unwrap().len();
        assert!(uploads_refused >= 10, "whoever waits is told: {uploads_refused}");

        let heard = Arc::new(Heard::default());
        let (stop, stopped) = oneshot::channel();
        stop.send(()).unwrap();
        events.clone().tell(vec![heard.clone()], stopped).await;
        let count = |what| heard.0.lock().unwrap().iter().filter(|heard| **heard == what).count();
        assert_eq!(count("fact"), room + 10);
        assert_eq!(count("upload") + uploads_refused, room + 10);
        assert!(count("message") < room / 2 + 1, "what is only shown goes first");
        assert_eq!((events.waiting.load(Ordering::Relaxed), events.waiting_bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
