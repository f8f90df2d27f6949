//! Uploads become points: what a device publishes on `me/data` and `me/data/<stream>` is read
//! ([`upload`]), stored in batches ([`intake`]) and answered when it is on disk. Beside that, a short log
//! of each device's recent messages in memory ([`log`]), and the
//! newest values of the streams that queries name ([`newest`]).
//!
//! Deliberately absent: any protocol, HTTP, and what points mean (rules, alarms, charts).

mod intake;
pub mod log;
mod newest;
pub mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use contract::event::Change;
use contract::store::{Latest, Page, PointQuery, Points, StoreError};
use contract::{Bus, Consumer, Event, Line, Refusal};
use model::topic::Space;
use model::{DeviceNumber, Point, UnixMs, limits};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use intake::{Command, Intake};
use log::Log;
pub use log::{Direction, Logged};
use newest::Newest;
pub use newest::NewestError;
pub use upload::Reading;

/// Why readings were not kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IngestError {
    /// They are not what may be kept.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the room has counted since it started.
#[derive(Debug, Default)]
struct Counts {
    points: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    waiting_bytes: AtomicUsize,
}

/// The telemetry room.
pub struct Telemetry {
    store: Arc<dyn Points>,
    line: Arc<dyn Line>,
    commands: mpsc::UnboundedSender<Command>,
    counts: Arc<Counts>,
    log: Mutex<Log>,
    newest: Arc<Newest>,
}

impl Telemetry {
    /// Starts the room's task on the current runtime.
    pub fn open(store: Arc<dyn Points>, line: Arc<dyn Line>, bus: Arc<dyn Bus>) -> Arc<Telemetry> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts::default());
        let newest = Arc::new(Newest::new(limits::LATEST_BYTES_MAX));
        tokio::spawn(Intake::new(store.clone(), line.clone(), bus, counts.clone(), newest.clone()).run(inbox));
        let log = Mutex::new(Log::new(limits::MESSAGE_LOG_BYTES_MAX));
        Arc::new(Telemetry { store, line, commands, counts, log, newest })
    }

    /// Keeps readings that came at `received` by another way than the device's topic, and tells the house
    /// of them. When this returns `Ok` they are on disk. How many they were.
    pub async fn ingest(&self, device: DeviceNumber, received: UnixMs, mut readings: Vec<Reading>) -> Result<usize, IngestError> {
        if readings.len() > limits::POINTS_PER_UPLOAD_MAX {
            return Err(Refusal::Quota.into());
        }
        for reading in &mut readings {
            upload::check(reading)?;
            reading.at = upload::own_time(reading.at, received);
        }
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Ingest { device, received, readings, reply });
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The newest value of each stream of a device.
    pub async fn latest(&self, device: DeviceNumber) -> Result<Vec<Latest>, StoreError> {
        self.store.latest(device).await
    }

    /// The newest values of some streams at all devices, for a query: the numbers of [`Latest`](model::query::Latest)
    /// are places in `streams`. An upload that is acknowledged is in them.
    pub async fn newest_of(&self, streams: &[Box<str>]) -> Result<Arc<dyn model::query::Latest>, NewestError> {
        self.newest.of(&*self.store, streams).await
    }

    /// Points, oldest first.
    pub async fn points(&self, query: PointQuery) -> Result<Page<Point>, StoreError> {
        self.store.points(query).await
    }

    /// A device's recent messages, newest last.
    pub fn messages(&self, device: DeviceNumber) -> Vec<Logged> {
        self.log.lock().of(device)
    }

    /// Returns when everything that the room was told before is stored and announced.
    pub async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        let _ = self.commands.send(Command::Flush { reply });
        let _ = done.await;
    }

    /// Points stored since the start.
    pub fn points_stored(&self) -> u64 {
        self.counts.points.load(Ordering::Relaxed)
    }

    /// Uploads since the start that could not be read or were beyond a limit.
    pub fn uploads_refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Uploads since the start that could not be kept, because the store was too slow or in trouble.
    pub fn uploads_dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    fn upload(&self, device: DeviceNumber, message: &model::message::SharedMessage, ticket: Option<contract::Ticket>) {
        let cost = message.cost_bytes();
        let waiting = self.counts.waiting_bytes.fetch_add(cost, Ordering::Relaxed) + cost;
        // The half above is for those who wait for an answer.
        let limit = if ticket.is_some() { limits::UPLOADS_WAITING_BYTES_MAX } else { limits::UPLOADS_WAITING_BYTES_MAX / 2 };
        let gone =
            waiting > limit || self.commands.send(Command::Published { device, message: message.clone(), ticket }).is_err();
        if gone {
            self.counts.waiting_bytes.fetch_sub(cost, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(ticket) = ticket {
                self.line.published(ticket, Err(Refusal::Unavailable));
            }
        }
    }
}

impl Consumer for Telemetry {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Up { device, message, ticket } => {
                self.log.lock().add(*device, Logged::of(message, Direction::Up, message.at));
                if let Space::Device { rest, .. } = message.topic.space()
                    && intake::is_data(rest)
                {
                    self.upload(*device, message, *ticket);
                }
            }
            // A push may have been made days before it is given: what counts here is when it passed.
            Event::Down { device, message, at } => {
                self.log.lock().add(*device, Logged::of(message, Direction::Down, *at));
            }
            Event::DeviceChanged { device, change: Change::Removed } => {
                self.log.lock().forget(*device);
                let _ = self.commands.send(Command::Removed { device: *device });
            }
            _ => {}
        }
    }
}
