//! A bounded inbox between threads: many post, one takes everything at once. One lock and at most one
//! wake-up a batch. When it is full, what may be lost is dropped and counted; the rest still goes in,
//! because its senders wait for an answer and so bound it themselves.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The inbox.
pub struct Inbox<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Notify,
    max: usize,
    may_be_lost: fn(&T) -> bool,
}

struct Waiting<T> {
    items: Vec<T>,
    dropped: u64,
}

impl<T> Inbox<T> {
    /// An inbox that drops what `may_be_lost` from `max` items on.
    pub fn new(max: usize, may_be_lost: fn(&T) -> bool) -> Inbox<T> {
        Inbox { waiting: Mutex::new(Waiting { items: Vec::new(), dropped: 0 }), arrived: Notify::new(), max, may_be_lost }
    }

    /// Puts items in, in order.
    pub fn post(&self, items: impl IntoIterator<Item = T>) {
        let was_empty = {
            let mut waiting = self.waiting.lock();
            let was_empty = waiting.items.is_empty();
            for item in items {
                if waiting.items.len() >= self.max && (self.may_be_lost)(&item) {
                    waiting.dropped += 1;
                } else {
                    waiting.items.push(item);
                }
            }
            was_empty && !waiting.items.is_empty()
        };
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// Waits until something is here and swaps it with `empty`. Returns how many were dropped since the
    /// last time.
    pub async fn take(&self, empty: &mut Vec<T>) -> u64 {
        loop {
            if let Some(dropped) = self.take_now(empty) {
                return dropped;
            }
            self.arrived.notified().await;
        }
    }

    /// The same without waiting; `None` when nothing is here.
    pub fn take_now(&self, empty: &mut Vec<T>) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        if waiting.items.is_empty() {
            return None;
        }
        std::mem::swap(&mut waiting.items, empty);
        Some(std::mem::take(&mut waiting.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_inbox_drops_only_what_may_be_lost() {
        let inbox = Inbox::new(3, |item| *item < 10);
        inbox.post([1, 11, 2, 3, 12]);
        inbox.post([4, 13]);
        let mut items = Vec::new();
        assert_eq!(inbox.take(&mut items).await, 2);
        assert_eq!(items, [1, 11, 2, 12, 13]);
    }
}
