//! The way from async callers to the store's threads: a bounded queue that a caller joins at once when
//! there is room, so that jobs run in the order of the calls, and waits for when there is none.

use std::future::Future;
use std::sync::{Arc, mpsc};

use contract::store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// What a thread takes out.
pub(crate) enum Entry<J> {
    /// A job. The permit, if it needed one, goes back when the job is done.
    Job(J, Option<OwnedSemaphorePermit>),
    /// No more are to be taken.
    Stop,
}

/// The callers' end.
pub(crate) struct Queue<J> {
    entries: mpsc::Sender<Entry<J>>,
    room: Arc<Semaphore>,
}

impl<J: Send + 'static> Queue<J> {
    pub(crate) fn new(waiting_max: usize) -> (Queue<J>, mpsc::Receiver<Entry<J>>) {
        let (entries, out) = mpsc::channel();
        (Queue { entries, room: Arc::new(Semaphore::new(waiting_max)) }, out)
    }

    /// Hands a job over, now if there is room, else when the future is awaited.
    pub(crate) fn hand(&self, job: J) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (now, later) = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => (self.entries.send(Entry::Job(job, Some(permit))).map_err(|_| StoreError::Closed), None),
            Err(TryAcquireError::NoPermits) => (Ok(()), Some((job, self.entries.clone(), Arc::clone(&self.room)))),
            Err(TryAcquireError::Closed) => (Err(StoreError::Closed), None),
        };
        async move {
            let Some((job, entries, room)) = later else { return now };
            let permit = room.acquire_owned().await.map_err(|_| StoreError::Closed)?;
            entries.send(Entry::Job(job, Some(permit))).map_err(|_| StoreError::Closed)
        }
    }

    /// Hands a job over whose caller bounds by itself how many there are. Gives it back when the queue is closed.
    pub(crate) fn hand_now(&self, job: J) -> Result<(), J> {
        if self.room.is_closed() {
            return Err(job);
        }
        self.entries.send(Entry::Job(job, None)).map_err(|error| match error.0 {
            Entry::Job(job, _) => job,
            Entry::Stop => unreachable!("a job was sent"),
        })
    }

    /// Takes no more jobs; each of `threads` ends after those that were handed over before.
    pub(crate) fn stop(&self, threads: usize) {
        self.room.close();
        for _ in 0..threads {
            // A thread that has ended already has nothing to be told.
            let _ = self.entries.send(Entry::Stop);
        }
    }
}
