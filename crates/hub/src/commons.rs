//! What all shards share: the owner's limits, retained messages, shared subscriptions, the count of kept
//! sessions, and the numbers of what is kept.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use model::limits::Limits;
use model::{Millis, UnixMs};

use crate::retained::Retained;
use crate::shared::SharedGroups;

/// What all shards share.
#[derive(Default)]
pub struct Commons {
    pub(crate) limits: Limits,
    pub(crate) retained: Retained,
    pub(crate) groups: SharedGroups,
    /// Sessions that are kept across a restart, in all shards.
    pub(crate) keeping: AtomicUsize,
    /// The highest number of a kept session or message.
    number_last: AtomicU64,
}

impl Commons {
    /// What shards share under the owner's limits.
    pub fn new(limits: Limits) -> Commons {
        Commons { limits, retained: Retained::new(limits), ..Commons::default() }
    }

    /// A number for a session or a message that is to be kept.
    pub(crate) fn next_number(&self) -> u64 {
        self.number_last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Goes on counting behind what was given before the program was started.
    pub(crate) fn count_from(&self, number_last: u64) {
        self.number_last.store(number_last, Ordering::Relaxed);
    }

    /// Whether there is a session anywhere that messages are kept for.
    pub(crate) fn keeps(&self) -> bool {
        self.keeping.load(Ordering::Acquire) > 0
    }

    /// Whether there is one beside the `own` of a shard.
    pub(crate) fn keeps_beside(&self, own: usize) -> bool {
        self.keeping.load(Ordering::Acquire) > own
    }
}

/// A moment of the monotonic clock by the wall clock, with both as they stand now.
pub(crate) fn unix_at((now, unix): (Millis, UnixMs), at: Option<Millis>) -> Option<UnixMs> {
    at.map(|at| UnixMs(unix.0.saturating_add_unsigned(at.0).saturating_sub_unsigned(now.0)))
}
