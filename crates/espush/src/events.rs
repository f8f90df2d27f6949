//! The way of events: shards and rooms emit, one task tells every room, in one order. Bounded: when the
//! platform cannot keep up, messages that nobody waits for are dropped and counted; facts about lines,
//! pushes and whatever carries a ticket never are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use contract::{Bus, Consumer, Event};
use model::topic::Space;
use model::{Message, limits};
use net::Inbox;
use tokio::sync::oneshot;

/// The queue of events.
pub struct Events {
    inbox: Inbox<Event>,
    watchers: Arc<AtomicUsize>,
    dropped: AtomicU64,
}

fn may_be_lost(event: &Event) -> bool {
    match event {
        // An answer has somebody waiting for it, even when the device sent it at QoS 0.
        Event::Up { ticket: None, message, .. } => !is_answer(message),
        Event::Down { .. } | Event::Passed { .. } => true,
        _ => false,
    }
}

fn is_answer(message: &Message) -> bool {
    matches!(message.topic.space(), Space::Device { rest, .. } if rest.starts_with("answer/"))
}

impl Events {
    /// A queue; `watchers` tells how many watch free topics.
    pub fn new(watchers: Arc<AtomicUsize>) -> Arc<Events> {
        Arc::new(Events { inbox: Inbox::new(limits::EVENTS_WAITING_MAX, may_be_lost), watchers, dropped: AtomicU64::new(0) })
    }

    /// How many events were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Tells `rooms` every event, until `stop` is used: then what is left, and then ends.
    pub async fn tell(self: Arc<Self>, rooms: Vec<Arc<dyn Consumer>>, mut stop: oneshot::Receiver<()>) {
        let mut batch = Vec::new();
        let mut stopping = false;
        loop {
            let dropped = if stopping {
                let Some(dropped) = self.inbox.take_now(&mut batch) else { return };
                dropped
            } else {
                tokio::select! {
                    dropped = self.inbox.take(&mut batch) => dropped,
                    _ = &mut stop => {
                        stopping = true;
                        continue;
                    }
                }
            };
            if dropped > 0 {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
                tracing::warn!("the platform cannot keep up: {dropped} messages are missing from logs and live views");
            }
            for event in batch.drain(..) {
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
        self.inbox.post(batch.drain(..));
    }

    fn watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }
}
