//! The threads that read, each with a read-only connection of its own: WAL lets them go on while the
//! writer commits. Every job sees one unchanging state of the database from its first row to its last.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use contract::store::{Later, StoreError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::queue::{Entry, Queue};
use crate::space::Watch;
use crate::trouble::{Outcome, Trouble};

/// Two: a long page does not hold up a short question, and the default machine has two cores.
pub(crate) const THREADS: usize = 2;

/// Questions that may wait; a further caller waits before it may ask.
pub(crate) const WAITING_MAX: usize = 1_024;

/// A question, with its answer's way back inside.
pub(crate) type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The callers' end of the readers.
pub(crate) struct Reader {
    pub(crate) queue: Queue<Job>,
    pub(crate) watch: Arc<Watch>,
}

impl Reader {
    /// Queues `work` and promises what it finds.
    pub(crate) fn read<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static) -> Later<T> {
        let (to, from) = oneshot::channel();
        let watch = Arc::clone(&self.watch);
        let handed = self.queue.hand(Box::new(move |db: &Connection| {
            // Whoever asked may have gone away: then the work is not worth doing.
            if !to.is_closed() {
                let found = snapshot(db, work).map_err(|trouble| trouble.0);
                if let Err(StoreError::Damaged(why)) = &found {
                    watch.damaged(why);
                }
                let _ = to.send(found);
            }
        }));
        Box::pin(async move {
            handed.await?;
            from.await.unwrap_or(Err(StoreError::Closed))
        })
    }
}

fn snapshot<T>(db: &Connection, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
    // "Unchecked" because it borrows the connection shared; there is no other transaction on it.
    let snapshot = db.unchecked_transaction().map_err(Trouble::from)?;
    let outcome = work(&snapshot);
    // After an error SQLite may have ended it by itself, and the error is what counts.
    let ended = snapshot.rollback();
    let found = outcome?;
    ended?;
    Ok(found)
}

/// One thread. Ends after a stop or when the store is gone.
pub(crate) fn run(db: Connection, jobs: Arc<Mutex<Receiver<Entry<Job>>>>) {
    loop {
        // The lock is held while waiting: the others wait for it instead, and one is woken a job.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(Entry::Job(job, _permit)) => job(&db),
            Ok(Entry::Stop) | Err(_) => return,
        }
    }
}
