//! The embedded store: one SQLite database in one data directory, behind the traits of
//! [`contract::store`]. An answered write is on disk. One thread writes ([`writer`], group commit), two
//! read ([`reader`]); callers wait on futures and never on the disk. It validates nothing but what would
//! break itself: rules about devices, pushes and points belong to their rooms.

mod audit;
pub mod backup;
mod check;
mod copy;
mod disk;
mod key;
mod migrations;
mod nouns;
mod open;
mod points;
mod pushes;
mod queue;
mod reader;
mod registry;
pub mod repair;
pub mod restore;
mod rows;
mod schedules;
mod schema;
mod seal;
mod snapshot;
mod space;
mod survey;
mod trouble;
mod twins;
mod vault;
mod webhooks;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use contract::Headroom;
use disk::Disk;
use model::limits;

pub use copy::Progress;
pub use open::OpenError;
use open::Opened;
use queue::Queue;
use reader::Reader;
use seal::Seal;
use space::Watch;
pub use space::{Alarms, Budget, Standing};
pub use survey::{Damage, Loss};
use writer::Writer;

/// The embedded store.
///
/// A call queues its job at once and answers through the future it returns: several futures made before
/// the first is awaited share a commit, and jobs run in the order of the calls.
pub struct Store {
    seal: Arc<Seal>,
    writer: Writer,
    reader: Reader,
    commits: Arc<AtomicU64>,
    watch: Arc<Watch>,
    swept: vault::Swept,
    /// The writer's thread, which ends last.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the data directory without a budget, and with nobody to be told of alarms.
    pub fn open(dir: &Path) -> Result<Store, OpenError> {
        Store::open_with(dir, Budget::default(), Box::new(|_, _, _| {}))
    }

    /// Opens the data directory, making it (0700) when it is not there. Blocks while migrations run.
    pub fn open_with(dir: &Path, budget: Budget, alarms: Alarms) -> Result<Store, OpenError> {
        let disk = Arc::new(Disk::default());
        let Opened { lock, seal, database, writer: db } = open::open(dir, &disk)?;
        let watch = Arc::new(Watch::new(dir.to_owned(), disk, budget, alarms));
        let refused = |error: rusqlite::Error| open::told(&database, &error);
        let no_thread = |source| OpenError::File { path: dir.to_owned(), source };

        let (reading, questions) = Queue::new(reader::WAITING_MAX);
        let questions = Arc::new(Mutex::new(questions));
        let mut readers = Vec::with_capacity(reader::THREADS);
        for _ in 0..reader::THREADS {
            let db = open::open_reader(&database).map_err(refused)?;
            let questions = Arc::clone(&questions);
            readers.push(named("store-reader").spawn(move || reader::run(db, questions)).map_err(no_thread)?);
        }

        let (writing, jobs) = Queue::new(limits::STORE_JOBS_WAITING_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        // Before anything is promised.
        watch.look(&db).map_err(refused)?;
        watch.set_checksums(check::is_sealed(&database).map_err(no_thread)?);
        let checker = match check::at_start(&database) {
            true => None,
            false => {
                let (database, watch) = (database.clone(), Arc::clone(&watch));
                Some(named("store-check").spawn(move || check::in_background(&database, &watch)).map_err(no_thread)?)
            }
        };
        let counter = Arc::clone(&commits);
        let watcher = Arc::clone(&watch);
        let last = move || {
            writer::run(&db, jobs, &counter, &watcher);
            // Only when nobody reads can the whole log be folded in; and the lock goes last, so that
            // whoever takes it next finds the database closed.
            readers.into_iter().for_each(joined);
            if let Some(checker) = checker {
                checker.thread().unpark();
                joined(checker);
            }
            match watcher.failure() {
                None => writer::checkpoint(&db),
                Some(_) => writer::leave(&db),
            }
            drop(db);
            drop(lock);
        };
        let thread = named("store-writer").spawn(last).map_err(no_thread)?;

        Ok(Store {
            seal: Arc::new(seal),
            writer: Writer { queue: writing },
            reader: Reader { queue: reading, watch: Arc::clone(&watch) },
            commits,
            watch,
            swept: vault::Swept::default(),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Finishes what is waiting, checkpoints and lets go of the directory. Afterwards everything answers
    /// `StoreError::Closed`. Dropping the store does the same, blocking.
    pub async fn close(&self) {
        if let Some(thread) = self.stop() {
            // Fails only when the runtime is ending; the thread ends all the same.
            let _ = tokio::task::spawn_blocking(move || joined(thread)).await;
        }
    }

    /// Whether there is room for more: a flag to share with whoever promises that something is kept.
    pub fn headroom(&self) -> Headroom {
        self.watch.headroom.clone()
    }

    /// How the store is.
    pub fn standing(&self) -> Standing {
        self.watch.standing()
    }

    /// Transactions committed since the start. Fewer than writes: that is group commit at work.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.watch.close();
        self.reader.queue.stop(reader::THREADS);
        self.writer.queue.stop(1);
        Some(thread)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(thread) = self.stop() {
            joined(thread);
        }
    }
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

fn joined(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store had ended by a panic");
    }
}
