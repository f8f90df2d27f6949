//! The one thread that writes, and group commit: it takes every job that waits (up to a bound), runs
//! each in a savepoint of one transaction, commits once (one fsync for all of them), and only then
//! answers. A job that fails fails alone; a commit that fails fails all of its jobs, because none is on
//! disk. While one commit waits for the disk the next batch gathers, so that load makes batches larger,
//! not the queue longer.
//!
//! After an I/O error nothing is written or acknowledged any more (see [`crate::disk`]); a full disk or
//! budget refuses only what grows (see [`crate::space`]). What is free within the file goes back to the
//! file system a few pages at a time, while nobody waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use contract::Keeping;
use contract::store::{Later, StoreError};
use model::limits;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, ffi};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::open;
use crate::points;
use crate::queue::{Entry, Queue};
use crate::space::Watch;
use crate::trouble::{Outcome, Trouble};

/// How often a full store looks whether there is space again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Something to write.
pub(crate) trait Job: Send {
    /// Does it inside a savepoint, unless there is no room for it. Whether it is to stay.
    fn run(&mut self, db: &Connection, watch: &Watch) -> bool;

    /// Why it is not to stay, when it ran.
    fn trouble(&self) -> Option<&StoreError>;

    /// Answers, after the batch's fate is known.
    fn answer(self: Box<Self>, batch: Result<(), StoreError>);
}

struct Write<T, F> {
    /// Whether it makes the store grow, and can wait until that may be.
    grows: bool,
    work: Option<F>,
    outcome: Option<Outcome<T>>,
    to: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Outcome<T> + Send> Job for Write<T, F> {
    fn run(&mut self, db: &Connection, watch: &Watch) -> bool {
        let room = if self.grows { watch.may_grow() } else { Ok(()) };
        self.outcome = self.work.take().map(|work| room.map_err(Trouble).and_then(|()| work(db)));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn trouble(&self) -> Option<&StoreError> {
        match &self.outcome {
            Some(Err(Trouble(error))) => Some(error),
            _ => None,
        }
    }

    fn answer(self: Box<Self>, batch: Result<(), StoreError>) {
        let outcome = match (batch, self.outcome) {
            (Ok(()), Some(outcome)) => outcome.map_err(|trouble| trouble.0),
            (Ok(()), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        };
        // Whoever asked may have gone away: then nobody needs the answer.
        let _ = self.to.send(outcome);
    }
}

/// The callers' end of the writer.
pub(crate) struct Writer {
    pub(crate) queue: Queue<Box<dyn Job>>,
}

impl Writer {
    /// Queues `work` and promises its outcome after the commit. For what does not make the store grow, or
    /// must go on when it is full: deletions, changes of what is there, what is small and bounded.
    pub(crate) fn write<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static) -> Later<T> {
        self.queue(false, work)
    }

    /// As [`write`](Self::write), for what is new and makes the store grow: refused while it is full.
    pub(crate) fn grow<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static) -> Later<T> {
        self.queue(true, work)
    }

    fn queue<T: Send + 'static>(&self, grows: bool, work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static) -> Later<T> {
        let (to, from) = oneshot::channel();
        let handed = self.queue.hand(Box::new(Write { grows, work: Some(work), outcome: None, to }));
        Box::pin(async move {
            handed.await?;
            // A writer that ended drops its jobs, and their answers with them.
            from.await.unwrap_or(Err(StoreError::Closed))
        })
    }
}

/// What the thread does when it is not told to do anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leisure {
    /// Waits.
    None,
    /// Cleans up after removed devices.
    Purging,
    /// Gives free pages back.
    Shrinking,
    /// Looks now and then whether there is space again.
    Looking,
}

/// The thread's work, until a stop or until the store is gone.
pub(crate) fn run(db: &Connection, jobs: Receiver<Entry<Box<dyn Job>>>, commits: &AtomicU64, watch: &Watch) {
    let mut batch = Vec::new();
    // At the start there may be devices whose removal was cut short.
    let mut purging = true;
    let mut leisure = Leisure::Purging;
    loop {
        let open = gather(&jobs, &mut batch, leisure);
        if !batch.is_empty() || purging {
            let result = transact(db, &mut batch, &mut purging, watch);
            if result.is_ok() && !batch.is_empty() {
                commits.fetch_add(1, Ordering::Relaxed);
            }
            // Before the answers: who reads one finds the figures that go with it.
            leisure = at_leisure(db, purging, watch);
            for (job, _permit) in batch.drain(..) {
                job.answer(result.clone());
            }
        } else {
            if leisure == Leisure::Shrinking
                && let Err(error) = shrink(db)
            {
                let error = stopped(error, watch);
                tracing::warn!(%error, "free pages could not be given back");
            }
            leisure = at_leisure(db, purging, watch);
        }
        if !open {
            return;
        }
    }
}

/// Looks how the store is, and what is to be done when nobody waits.
fn at_leisure(db: &Connection, purging: bool, watch: &Watch) -> Leisure {
    if let Some(what) = watch.disk.failed() {
        watch.fail(what);
        return Leisure::None;
    }
    if let Some(what) = watch.disk.changed() {
        watch.damaged(what);
    }
    let free_pages = watch.look(db).unwrap_or_else(|error| {
        tracing::warn!(%error, "the store could not be measured");
        0
    });
    match watch.headroom.keeping() {
        Keeping::Nothing => Leisure::None,
        _ if purging => Leisure::Purging,
        _ if free_pages > limits::STORE_FREE_PAGES_KEPT => Leisure::Shrinking,
        // What the log still holds may be what is too much.
        Keeping::NoGrowth if watch.standing().log_bytes > limits::STORE_LOG_BYTES_SMALL => {
            fold_in_now(db);
            let _ = watch.look(db);
            if watch.headroom.may_grow() { Leisure::None } else { Leisure::Looking }
        }
        Keeping::NoGrowth => Leisure::Looking,
        Keeping::All => Leisure::None,
    }
}

/// Gives some free pages back, if the database was made so that it can.
fn shrink(db: &Connection) -> rusqlite::Result<()> {
    let mut step = db.prepare_cached(&format!("PRAGMA incremental_vacuum({})", limits::STORE_FREE_PAGES_STEP))?;
    let mut freed = step.query([])?;
    while freed.next()?.is_some() {}
    Ok(())
}

/// Folds the log into the database, so that a stopped store is one file.
pub(crate) fn checkpoint(db: &Connection) {
    if let Err(error) = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the log could not be folded into the database; it will be at the next start");
    }
}

/// Folds the log in if nobody reads from it at this moment: a backup may read for minutes, and jobs must not wait for it.
fn fold_in_now(db: &Connection) {
    if db.busy_timeout(Duration::ZERO).is_ok() {
        checkpoint(db);
    }
    // Whoever else locks the database does so for moments, and is waited for.
    if let Err(error) = db.busy_timeout(open::BUSY) {
        tracing::warn!(%error, "the store does not wait for locks any more");
    }
}

/// The end of a store whose disk failed: the files stay as they are. Folding the log in would read back
/// what the kernel may have dropped.
pub(crate) fn leave(db: &Connection) {
    // Should this not be heard, the log is folded in from what was synced before, as at any end.
    let _ = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}

/// Waits for a job (unless there is other work) and takes what else is there. Whether more may come.
fn gather(
    jobs: &Receiver<Entry<Box<dyn Job>>>,
    batch: &mut Vec<(Box<dyn Job>, Option<OwnedSemaphorePermit>)>,
    leisure: Leisure,
) -> bool {
    let first = match leisure {
        Leisure::Purging | Leisure::Shrinking => None,
        Leisure::None => Some(jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)),
        Leisure::Looking => Some(jobs.recv_timeout(LOOK_AGAIN)),
    };
    match first {
        Some(Ok(Entry::Job(job, permit))) => batch.push((job, permit)),
        Some(Ok(Entry::Stop) | Err(RecvTimeoutError::Disconnected)) => return false,
        Some(Err(RecvTimeoutError::Timeout)) | None => {}
    }
    while batch.len() < limits::STORE_JOBS_PER_COMMIT_MAX {
        match jobs.try_recv() {
            Ok(Entry::Job(job, permit)) => batch.push((job, permit)),
            Ok(Entry::Stop) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => break,
        }
    }
    true
}

fn transact(
    db: &Connection,
    batch: &mut [(Box<dyn Job>, Option<OwnedSemaphorePermit>)],
    purging: &mut bool,
    watch: &Watch,
) -> Result<(), StoreError> {
    if let Some(failure) = watch.failure() {
        *purging = false;
        return Err(failure);
    }
    let result = attempt(db, batch, purging, watch).map_err(|stop| match stop {
        Stop::Engine(error) => stopped(error, watch),
        Stop::Job(error) => error,
    });
    if let Err(error) = &result {
        tracing::error!(%error, jobs = batch.len(), "a transaction failed, none of its jobs is kept");
        if !db.is_autocommit() {
            // Should this fail too, the next BEGIN fails and says so to its jobs.
            let _ = db.execute_batch("ROLLBACK");
        }
        *purging = false;
    }
    result
}

/// Why a transaction ended early.
enum Stop {
    /// One of its own statements failed.
    Engine(rusqlite::Error),
    /// A job met something after which SQLite rolled all back.
    Job(StoreError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Engine(error)
    }
}

/// What an error of the transaction itself means for everything that follows.
fn stopped(error: rusqlite::Error, watch: &Watch) -> StoreError {
    let of_disk = error.sqlite_error().is_some_and(|error| {
        // Not the disk's: a damaged page, want of memory, and no room for the index of the log.
        let others = [ffi::SQLITE_IOERR_DATA, ffi::SQLITE_IOERR_NOMEM, ffi::SQLITE_IOERR_SHMSIZE];
        error.code == ErrorCode::SystemIoFailure && !others.contains(&error.extended_code)
    });
    if of_disk || watch.disk.failed().is_some() {
        return watch.fail(&error.to_string());
    }
    let Trouble(error) = error.into();
    match &error {
        StoreError::Full(_) => watch.disk_full(),
        StoreError::Damaged(why) => watch.damaged(why),
        _ => {}
    }
    error
}

/// One transaction. An error of its own statements (SQLite has then often rolled back by itself) ends it.
fn attempt(
    db: &Connection,
    batch: &mut [(Box<dyn Job>, Option<OwnedSemaphorePermit>)],
    purging: &mut bool,
    watch: &Watch,
) -> Result<(), Stop> {
    let say = |sql: &str| db.prepare_cached(sql).and_then(|mut s| s.execute([])).map(drop);
    say("BEGIN IMMEDIATE")?;
    for (job, _) in batch.iter_mut() {
        say("SAVEPOINT job")?;
        if !job.run(db, watch) {
            if let Some(StoreError::Damaged(why)) = job.trouble() {
                watch.damaged(why);
            }
            if db.is_autocommit() {
                let met = job.trouble().cloned().unwrap_or(StoreError::Closed);
                return Err(match met {
                    StoreError::Disk(why) => Stop::Job(watch.fail(&why)),
                    met => Stop::Job(met),
                });
            }
            say("ROLLBACK TO job")?;
        }
        say("RELEASE job")?;
    }
    // Cleaning up rides along, after the jobs so that a device they removed is seen at once. It must
    // never cost the jobs their place.
    say("SAVEPOINT job")?;
    *purging = match points::purge(db) {
        Ok(more) => more,
        Err(Trouble(error)) => {
            tracing::error!(%error, "points of removed devices could not be deleted");
            say("ROLLBACK TO job")?;
            false
        }
    };
    say("RELEASE job")?;
    say("COMMIT")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use contract::store::{Later, StoreError};
    use rusqlite::Connection;

    use crate::Store;
    use crate::trouble::{Outcome, Trouble};

    fn note(store: &Store, name: &'static str) -> Later<()> {
        store.writer.write(move |db| {
            db.execute("INSERT INTO meta (name, value) VALUES (?1, x'00')", [name])?;
            Ok(())
        })
    }

    async fn noted(store: &Store, name: &'static str) -> bool {
        let count = move |db: &Connection| -> Outcome<i64> {
            Ok(db.query_row("SELECT count(*) FROM meta WHERE name = ?1", [name], |row| row.get(0))?)
        };
        store.reader.read(count).await.unwrap() == 1
    }

    /// Holds the writer inside a job until the sender is used, so that a test decides what is one batch.
    fn hold(store: &Store) -> (Later<()>, mpsc::Sender<()>) {
        let (entered, inside) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let held = store.writer.write(move |_| {
            entered.send(()).unwrap();
            let _ = gone.recv();
            Ok(())
        });
        inside.recv().unwrap();
        (held, go)
    }

    #[tokio::test]
    async fn what_waits_shares_one_commit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (held, go) = hold(&store);
        let before = store.commits();
        let writes: Vec<Later<()>> = (0..500).map(|_| store.writer.write(|_| Ok(()))).collect();
        go.send(()).unwrap();
        held.await.unwrap();
        for write in writes {
            write.await.unwrap();
        }
        assert_eq!(store.commits() - before, 2, "one for the job that held the writer, one for the 500 that waited");
    }

    #[tokio::test]
    async fn a_failing_job_fails_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (held, go) = hold(&store);
        let first = note(&store, "first");
        let half: Later<()> = store.writer.write(|db| {
            db.execute("INSERT INTO meta (name, value) VALUES ('half', x'00')", [])?;
            Err(Trouble(StoreError::Engine("on purpose".into())))
        });
        let last = note(&store, "last");
        go.send(()).unwrap();
        held.await.unwrap();
        first.await.unwrap();
        assert!(matches!(half.await, Err(StoreError::Engine(why)) if why == "on purpose"));
        last.await.unwrap();
        assert!(noted(&store, "first").await && noted(&store, "last").await);
        assert!(!noted(&store, "half").await, "what a failed job had written is gone");
    }

    #[tokio::test]
    async fn a_failing_commit_fails_all_of_its_jobs_and_the_next_batch_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (held, go) = hold(&store);
        let innocent = note(&store, "innocent");
        // A deferred foreign key is looked at in the COMMIT.
        let culprit: Later<()> = store.writer.write(|db| {
            db.execute_batch("PRAGMA defer_foreign_keys = ON; INSERT INTO deliveries (push, device, state, at, detail) VALUES (1, 1, 0, 0, '')")?;
            Ok(())
        });
        go.send(()).unwrap();
        held.await.unwrap();
        assert!(matches!(innocent.await, Err(StoreError::Engine(_))), "it is not on disk, so it must not be acknowledged");
        assert!(matches!(culprit.await, Err(StoreError::Engine(_))));
        assert!(!noted(&store, "innocent").await);
        note(&store, "next").await.unwrap();
        assert!(noted(&store, "next").await);
    }

    #[tokio::test]
    async fn a_caller_beyond_the_bound_waits_for_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (held, go) = hold(&store);
        let more = model::limits::STORE_JOBS_WAITING_MAX + 10;
        let writes: Vec<Later<()>> = (0..more).map(|_| store.writer.write(|_| Ok(()))).collect();
        go.send(()).unwrap();
        held.await.unwrap();
        for write in writes {
            write.await.unwrap();
        }
    }

    #[tokio::test]
    async fn closing_finishes_what_waits_and_refuses_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (held, go) = hold(&store);
        let waiting = note(&store, "waiting");
        go.send(()).unwrap();
        store.close().await;
        held.await.unwrap();
        waiting.await.unwrap();
        assert!(matches!(note(&store, "late").await, Err(StoreError::Closed)));
        assert!(matches!(store.reader.read(|_| Ok(())).await, Err(StoreError::Closed)));
        assert!(!dir.path().join("espush.db-wal").exists(), "the log is folded in");
        store.close().await;
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert!(noted(&store, "waiting").await && !noted(&store, "late").await);
    }
}
