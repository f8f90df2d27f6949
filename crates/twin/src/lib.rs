//! Twins: what is wanted of each device (`desired`) and what it tells of itself (`reported`), two JSON objects
//! with a version each, changed by merge patches. A report is acknowledged, and an order answered, when it is on
//! disk. A device that listens on `me/twin/desired` is given what differs, once a line, and each order as it comes.
//!
//! Twins lie in the store and are read when they are needed; in memory is only who is owed something, and the
//! values that queries name. Deliberately absent: any protocol, HTTP, and what members mean.

mod actor;
mod doors;
pub mod patch;
mod seek;
mod state;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use contract::event::Change;
use contract::store::{Page, StoreError, TwinChange, Twins as Kept};
use contract::{Bus, Clock, Consumer, Event, Line, Refusal, Step, Ticket};
use model::message::SharedMessage;
use model::query::Latest;
use model::topic::Space;
use model::{DeviceId, DeviceNumber, TwinPart, TwinPath, limits};
use tokio::sync::{mpsc, oneshot};

use actor::{Actor, Command, RECEIPT};
use doors::Doors;
pub use patch::Object;
pub use state::{Edit, Part, Twin};
use values::Values;
pub use values::ValuesError;

/// Why what is wanted was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TwinError {
    /// It has changed since the caller looked.
    #[error("what is wanted of the device has version {current}, not the one that was named")]
    Conflict {
        /// The version that stands.
        current: u64,
    },
    /// It would be too long.
    #[error("each part of a twin has at most {} bytes as JSON", limits::TWIN_BYTES_MAX)]
    TooLarge,
    /// Objects and arrays would lie too deep in each other.
    #[error("objects and arrays of a twin lie at most {} deep in each other", limits::TWIN_DEPTH_MAX)]
    TooDeep,
    /// A name that is ours.
    #[error("the member {0:?} cannot be set: at the outermost level names that begin with $ are the protocol's")]
    Reserved(String),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the room has counted since it started.
#[derive(Debug, Default)]
struct Counts {
    changes: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    waiting_bytes: AtomicUsize,
}

/// Finds the id of a device.
pub type Names = Arc<dyn Fn(DeviceNumber) -> Option<DeviceId> + Send + Sync>;

/// The room of twins.
pub struct Twins {
    store: Arc<dyn Kept>,
    line: Arc<dyn Line>,
    commands: mpsc::UnboundedSender<Command>,
    counts: Arc<Counts>,
    doors: Arc<Doors>,
    values: Arc<Values>,
}

impl Twins {
    /// Reads who is owed something, and starts the room's task on the current runtime.
    pub async fn open(
        store: Arc<dyn Kept>,
        line: Arc<dyn Line>,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        names: Names,
    ) -> Result<Arc<Twins>, StoreError> {
        let doors = Arc::new(Doors::new(store.twins_owed().await?));
        let values = Arc::new(Values::new(limits::TWIN_VALUES_BYTES_MAX));
        let counts = Arc::new(Counts::default());
        let (commands, inbox) = mpsc::unbounded_channel();
        let actor = Actor {
            store: store.clone(),
            line: line.clone(),
            bus,
            clock,
            names,
            counts: counts.clone(),
            doors: doors.clone(),
            values: values.clone(),
        };
        tokio::spawn(actor.run(inbox));
        Ok(Arc::new(Twins { store, line, commands, counts, doors, values }))
    }

    /// A device's twin; an empty one for a device that never had anything in it.
    pub async fn twin(&self, device: DeviceNumber) -> Result<Twin, StoreError> {
        let found = self.store.twins(vec![device]).await?.pop();
        found.map_or_else(|| Ok(Twin::default()), Twin::from_stored)
    }

    /// Changes what is wanted of a device, if `expected` is its version or none is named. When this returns the
    /// twin it is on disk.
    pub async fn want(&self, device: DeviceNumber, edit: Edit, expected: Option<u64>, who: String) -> Result<Twin, TwinError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Want { device, edit, expected, who, reply });
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The changes of a twin, newest first.
    pub async fn changes(
        &self,
        device: DeviceNumber,
        part: Option<TwinPart>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<TwinChange>, StoreError> {
        self.store.twin_changes(device, part, before, limit).await
    }

    /// Values of twins at all devices, for a query: the numbers of [`Latest::twin`] are places in `paths`. A change
    /// that is acknowledged is in them.
    pub async fn values_of(&self, paths: &[TwinPath]) -> Result<Arc<dyn Latest>, ValuesError> {
        self.values.of(&*self.store, paths).await
    }

    /// Returns when everything that the room was told before is stored and announced.
    pub async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        let _ = self.commands.send(Command::Flush { reply });
        let _ = done.await;
    }

    /// Changes stored since the start.
    pub fn changes_stored(&self) -> u64 {
        self.counts.changes.load(Ordering::Relaxed)
    }

    /// Reports since the start that could not be read or were beyond a limit.
    pub fn reports_refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Reports since the start that could not be kept, because the store was too slow or in trouble.
    pub fn reports_dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Devices that something is to be told.
    pub fn owed(&self) -> usize {
        self.doors.owed()
    }

    fn report(&self, device: DeviceNumber, message: &SharedMessage, ticket: Option<Ticket>) {
        let cost = message.cost_bytes();
        let waiting = self.counts.waiting_bytes.fetch_add(cost, Ordering::Relaxed) + cost;
        // The half above is for those who wait for an answer.
        let limit = if ticket.is_some() { limits::TWINS_WAITING_BYTES_MAX } else { limits::TWINS_WAITING_BYTES_MAX / 2 };
        let gone = waiting > limit || self.commands.send(Command::Report { device, message: message.clone(), ticket }).is_err();
        if gone {
            self.counts.waiting_bytes.fetch_sub(cost, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(ticket) = ticket {
                self.line.published(ticket, Err(Refusal::Unavailable));
            }
        }
    }
}

impl Consumer for Twins {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Up { device, message, ticket } => {
                if let Space::Device { rest: "twin/reported", .. } = message.topic.space() {
                    self.report(*device, message, *ticket);
                }
            }
            Event::Listening { device } if self.doors.is_waited_for(*device) => {
                let _ = self.commands.send(Command::Give { device: *device });
            }
            // What was given on another line says nothing of this one.
            Event::LineOpened { device, .. } | Event::LineClosed { device, .. } => self.doors.missed(*device),
            Event::Receipt { receipt, step: Step::Nobody { .. } | Step::Lost, .. } if receipt.push == RECEIPT => {
                self.doors.missed(receipt.device);
            }
            Event::Receipt { receipt, step: Step::Refused(why), .. } if receipt.push == RECEIPT => {
                tracing::warn!(device = %receipt.device, %why, "a device cannot be given what is wanted of it");
            }
            Event::DeviceChanged { device, change: Change::Removed } => {
                self.doors.removed(*device);
                self.values.removed(*device);
            }
            _ => {}
        }
    }
}
