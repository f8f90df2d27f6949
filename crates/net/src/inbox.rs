//! A bounded inbox between threads: many post, one takes everything at once. One lock a batch, and a
//! wake-up only for a reader that has said that it sleeps. When it is full, what may be lost is dropped and
//! counted; the rest still goes in, because its senders wait for an answer and so bound it themselves.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What wakes the reader of an inbox.
pub trait Bell {
    /// Wakes it, or keeps it from falling asleep.
    fn ring(&self);
}

/// A task.
impl Bell for Notify {
    fn ring(&self) {
        self.notify_one();
    }
}

/// The inbox.
pub struct Inbox<T, B = Notify> {
    waiting: Mutex<Waiting<T>>,
    bell: B,
    max: usize,
    may_be_lost: fn(&T) -> bool,
}

struct Waiting<T> {
    items: Vec<T>,
    dropped: u64,
    /// The reader found nothing and has not been rung for since.
    asleep: bool,
}

impl<T, B: Bell> Inbox<T, B> {
    /// An inbox that drops what `may_be_lost` from `max` items on, and wakes its reader by `bell`.
    pub fn with_bell(bell: B, max: usize, may_be_lost: fn(&T) -> bool) -> Inbox<T, B> {
        let waiting = Waiting { items: Vec::new(), dropped: 0, asleep: false };
        Inbox { waiting: Mutex::new(waiting), bell, max, may_be_lost }
    }

    /// Puts items in, in order.
    pub fn post(&self, items: impl IntoIterator<Item = T>) {
        let wake = {
            let mut waiting = self.waiting.lock();
            for item in items {
                if waiting.items.len() >= self.max && (self.may_be_lost)(&item) {
                    waiting.dropped += 1;
                } else {
                    waiting.items.push(item);
                }
            }
            !waiting.items.is_empty() && std::mem::take(&mut waiting.asleep)
        };
        if wake {
            self.bell.ring();
        }
    }

    /// Swaps what is here with `empty`. Returns how many were dropped since the last time; `None` when
    /// nothing is here.
    pub fn take_now(&self, empty: &mut Vec<T>) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        waiting.asleep = false;
        if waiting.items.is_empty() {
            return None;
        }
        std::mem::swap(&mut waiting.items, empty);
        Some(std::mem::take(&mut waiting.dropped))
    }

    /// Whether the reader may sleep: nothing is here. The bell rings for what comes from now on.
    pub fn may_sleep(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.asleep = waiting.items.is_empty();
        waiting.asleep
    }

    pub(crate) fn bell(&self) -> &B {
        &self.bell
    }
}

impl<T> Inbox<T> {
    /// An inbox that a task reads.
    pub fn new(max: usize, may_be_lost: fn(&T) -> bool) -> Inbox<T> {
        Inbox::with_bell(Notify::new(), max, may_be_lost)
    }

    /// Waits until something is here and swaps it with `empty`. Returns how many were dropped since the
    /// last time.
    pub async fn take(&self, empty: &mut Vec<T>) -> u64 {
        loop {
            if let Some(dropped) = self.take_now(empty) {
                return dropped;
            }
            if self.may_sleep() {
                self.bell.notified().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

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

    impl Bell for AtomicU32 {
        fn ring(&self) {
            self.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_bell_rings_once_and_only_for_a_sleeper() {
        let inbox = Inbox::with_bell(AtomicU32::new(0), usize::MAX, |_| false);
        let rings = || inbox.bell().load(Ordering::Relaxed);
        inbox.post([1]);
        assert_eq!(rings(), 0, "the reader is awake");
        assert!(!inbox.may_sleep(), "something is here");
        inbox.post([2]);
        let mut items = Vec::new();
        assert_eq!((rings(), inbox.take_now(&mut items)), (0, Some(0)));
        assert!(inbox.may_sleep());
        inbox.post([]);
        assert_eq!(rings(), 0, "nothing came");
        inbox.post([3]);
        inbox.post([4]);
        assert_eq!(rings(), 1);
        items.clear();
        inbox.take_now(&mut items);
        inbox.post([5]);
        assert_eq!((items.as_slice(), rings()), (&[3, 4][..], 1), "it has been woken and looks by itself");
    }
}
