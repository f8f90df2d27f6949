//! The store's own state as others see it: how much it holds, whether it may grow, whether its disk can be
//! trusted. One [`Watch`] a store; the writer looks after each commit, everybody may ask.
//!
//! The budget is kept by refusing what makes the store grow, never by dropping what was acknowledged.
//! Deletions, states of deliveries and presence go on, for which a part of the budget is held back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::store::StoreError;
use contract::{Alarm, Headroom, Keeping};
use model::limits;
use rusqlite::Connection;

use crate::disk::Disk;
use crate::disk::sums::PAGE_BYTES;

/// Told of every alarm that begins or ends: what, whether it began, and a sentence.
pub type Alarms = Box<dyn Fn(Alarm, bool, &str) + Send + Sync>;

/// How much the store may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of the database and its log; 0 is no limit.
    pub max_bytes: u64,
    /// Bytes of the file system that are left to others; 0 is none.
    pub free_bytes_min: u64,
}

/// How the store is, for people and programs.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Bytes that hold something, the log included.
    pub used_bytes: u64,
    /// Of those, bytes of the log.
    pub log_bytes: u64,
    /// Bytes left on the file system.
    pub free_bytes: u64,
    /// The budget.
    pub budget: Budget,
    /// Why nothing may grow, if so.
    pub full: Option<String>,
    /// Why nothing is acknowledged any more, if so.
    pub failed: Option<String>,
    /// What was found damaged, if something was.
    pub damaged: Option<String>,
    /// Whether pages carry checksums. Old databases that are too large to be copied at a start do not.
    pub checksums: bool,
}

/// Looks after one store.
pub(crate) struct Watch {
    pub(crate) disk: Arc<Disk>,
    pub(crate) headroom: Headroom,
    dir: PathBuf,
    alarms: Alarms,
    closing: AtomicBool,
    standing: Mutex<Standing>,
}

impl Watch {
    pub(crate) fn new(dir: PathBuf, disk: Arc<Disk>, budget: Budget, alarms: Alarms) -> Watch {
        let standing = Mutex::new(Standing { budget, ..Standing::default() });
        Watch { disk, headroom: Headroom::default(), dir, alarms, closing: AtomicBool::new(false), standing }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store closes: what is not urgent ends.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_checksums(&self, kept: bool) {
        self.lock().checksums = kept;
    }

    /// Whether something that grows may be written.
    pub(crate) fn may_grow(&self) -> Result<(), StoreError> {
        match self.headroom.keeping() {
            Keeping::All => Ok(()),
            Keeping::NoGrowth => {
                Err(StoreError::Full(format!("the store is full: {}", self.lock().full.as_deref().unwrap_or("wait a moment"))))
            }
            Keeping::Nothing => Err(self.failure().unwrap_or(StoreError::Closed)),
        }
    }

    /// Why nothing is acknowledged any more, if so.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.lock().failed.clone().map(StoreError::Disk)
    }

    /// The disk failed: from now on nothing is acknowledged. `error` is what is known if the file layer
    /// knows nothing.
    pub(crate) fn fail(&self, error: &str) -> StoreError {
        let what = self.disk.failed().unwrap_or(error);
        let sentence =
            format!("the disk failed at {what}; nothing is acknowledged any more; check the disk, then restart espush");
        self.headroom.set(Keeping::Nothing);
        let first = self.lock().failed.is_none();
        if first {
            self.lock().failed = Some(sentence.clone());
            tracing::error!("{sentence}");
            (self.alarms)(Alarm::DiskFailed, true, &sentence);
        }
        self.failure().unwrap_or(StoreError::Disk(sentence))
    }

    /// A page or row is not what was written.
    pub(crate) fn damaged(&self, why: &str) {
        let first = {
            let mut standing = self.lock();
            let first = standing.damaged.is_none();
            standing.damaged.get_or_insert_with(|| why.to_owned());
            first
        };
        if first {
            tracing::error!("{why}");
            (self.alarms)(Alarm::StoreDamaged, true, why);
        }
    }

    /// The file system said that it is full, before we saw it coming.
    pub(crate) fn disk_full(&self) {
        self.decide(Some("the file system is full; make room on it".to_owned()));
    }

    /// Measures, and opens or closes the store for growth. Answers how many pages are free.
    pub(crate) fn look(&self, db: &Connection) -> rusqlite::Result<u64> {
        let figure = |sql: &str| db.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
        let pages = figure("PRAGMA page_count")?.unsigned_abs();
        let free_pages = figure("PRAGMA freelist_count")?.unsigned_abs();
        let log_bytes = std::fs::metadata(self.dir.join("espush.db-wal")).map_or(0, |file| file.len());
        let used_bytes = pages.saturating_sub(free_pages) * PAGE_BYTES as u64 + log_bytes;
        let why = {
            let mut standing = self.lock();
            standing.used_bytes = used_bytes;
            standing.log_bytes = log_bytes;
            standing.free_bytes = self.free_bytes();
            too_full(&standing)
        };
        self.decide(why);
        Ok(free_pages)
    }

    fn free_bytes(&self) -> u64 {
        #[cfg(test)]
        if let Some(bytes) = self.disk.faults.free_bytes() {
            return bytes;
        }
        // What cannot be asked is no reason to refuse.
        rustix::fs::statvfs(&self.dir).map_or(u64::MAX, |at| at.f_bavail.saturating_mul(at.f_frsize))
    }

    fn decide(&self, why: Option<String>) {
        if self.headroom.keeping() == Keeping::Nothing {
            return;
        }
        let was_full = {
            let mut standing = self.lock();
            let was_full = standing.full.is_some();
            standing.full.clone_from(&why);
            was_full
        };
        self.headroom.set(if why.is_some() { Keeping::NoGrowth } else { Keeping::All });
        match why {
            Some(why) if !was_full => {
                let sentence =
                    format!("the store is full: {why}; what is to be kept anew is refused, what was acknowledged stays");
                tracing::error!("{sentence}");
                (self.alarms)(Alarm::StoreFull, true, &sentence);
            }
            None if was_full => {
                let sentence = "the store has space again and keeps everything";
                tracing::info!("{sentence}");
                (self.alarms)(Alarm::StoreFull, false, sentence);
            }
            _ => {}
        }
    }
}

/// Why the store must not grow. One that is full must come down by some percent before it may grow again,
/// so that it does not open and close with every write.
fn too_full(standing: &Standing) -> Option<String> {
    let Standing { used_bytes, free_bytes, budget: Budget { max_bytes, free_bytes_min }, .. } = *standing;
    let full = standing.full.is_some();
    if max_bytes > 0 {
        let limit = max_bytes - (max_bytes / 16).min(limits::STORE_RESERVE_BYTES_MAX);
        let limit = if full { limit - limit / 20 } else { limit };
        if used_bytes >= limit {
            let (used, max) = (mebibytes(used_bytes), mebibytes(max_bytes));
            return Some(format!("it holds {used} of {max} MiB; delete what is not needed, or raise store.max_bytes"));
        }
    }
    let floor = if full { free_bytes_min.saturating_add(free_bytes_min / 8) } else { free_bytes_min };
    (free_bytes < floor).then(|| {
        let (free, min) = (mebibytes(free_bytes), mebibytes(free_bytes_min));
        format!("its file system has {free} MiB left and {min} must stay free; make room on it, or lower store.free_bytes_min")
    })
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / (1024.0 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn at(used: u64, free: u64, was_full: bool) -> bool {
        let budget = Budget { max_bytes: 160 * MIB, free_bytes_min: 80 * MIB };
        let full = was_full.then(String::new);
        too_full(&Standing { used_bytes: used * MIB, free_bytes: free * MIB, budget, full, ..Standing::default() }).is_some()
    }

    #[test]
    fn it_closes_before_the_budget_and_opens_well_below() {
        assert!(!at(149, 1000, false) && at(150, 1000, false), "a sixteenth is held back for what must go on");
        assert!(at(143, 1000, true) && !at(142, 1000, true));
        assert!(!at(0, 80, false) && at(0, 79, false));
        assert!(at(0, 89, true) && !at(0, 90, true));
    }

    #[test]
    fn without_a_budget_it_is_never_full() {
        let standing = Standing { used_bytes: u64::MAX / 2, ..Standing::default() };
        assert_eq!(too_full(&standing), None);
    }
}
