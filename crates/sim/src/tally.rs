//! What a fleet has done so far: counters that all boards share, and a snapshot of them for people.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::wire::Told;

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Boards that are logged in now.
    pub connected: u64,
    /// Logins since the start.
    pub logins: u64,
    /// Uploads that the server acknowledged.
    pub uploads: u64,
    /// Orders that the boards were given.
    pub orders: u64,
    /// Logins that the server refused.
    pub refused: u64,
    /// Connections that failed or broke.
    pub broken: u64,
    /// The newest reason for either, as a sentence; empty while all went well.
    pub trouble: String,
}

#[derive(Default)]
pub(crate) struct Tally {
    connected: AtomicU64,
    logins: AtomicU64,
    uploads: AtomicU64,
    orders: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    trouble: Mutex<String>,
}

impl Tally {
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            connected: self.connected.load(Relaxed),
            logins: self.logins.load(Relaxed),
            uploads: self.uploads.load(Relaxed),
            orders: self.orders.load(Relaxed),
            refused: self.refused.load(Relaxed),
            broken: self.broken.load(Relaxed),
            trouble: self.trouble.lock().map(|why| why.clone()).unwrap_or_default(),
        }
    }

    /// Counts a board as connected until the value is dropped.
    pub(crate) fn online(&self) -> Online<'_> {
        self.connected.fetch_add(1, Relaxed);
        self.logins.fetch_add(1, Relaxed);
        Online(self)
    }

    pub(crate) fn told(&self, told: &Told) {
        self.uploads.fetch_add(told.uploads, Relaxed);
        self.orders.fetch_add(told.orders, Relaxed);
    }

    pub(crate) fn refused(&self, why: String) {
        self.refused.fetch_add(1, Relaxed);
        self.remember(why);
    }

    pub(crate) fn broken(&self, why: String) {
        self.broken.fetch_add(1, Relaxed);
        self.remember(why);
    }

    fn remember(&self, why: String) {
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = why;
        }
    }
}

/// A board that is logged in; also right when its task is cancelled.
pub(crate) struct Online<'a>(&'a Tally);

impl Drop for Online<'_> {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Relaxed);
    }
}
