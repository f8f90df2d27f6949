//! The room's one task: takes every report and order that waits, lets the twins decide, stores what changed in
//! one go, and only then answers the devices and callers, tells the house, and gives the devices what is new. One
//! task, so that a twin's versions follow each other without a gap.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::store::{StoreError, StoredTwin, TwinChange, Twins};
use contract::{Bus, Clock, Event, Line, Refusal, Ticket};
use model::message::SharedMessage;
use model::{DeviceNumber, Message, PushId, Qos, Receipt, Topic, TwinPart, UnixMs};
use tokio::sync::{mpsc, oneshot};

use crate::doors::Doors;
use crate::patch::{self, Object};
use crate::state::{self, Edit, Twin};
use crate::values::Values;
use crate::{Counts, Names, TwinError};

/// Commands taken at once: enough to share one fsync among many, few enough to stay prompt.
const BATCH: usize = 512;

/// The number under which what becomes of our messages is told. No push has it.
pub(crate) const RECEIPT: PushId = PushId(0);

/// What the task is told.
pub(crate) enum Command {
    /// A device published its report.
    Report { device: DeviceNumber, message: SharedMessage, ticket: Option<Ticket> },
    /// Somebody wants something of a device.
    Want { device: DeviceNumber, edit: Edit, expected: Option<u64>, who: String, reply: oneshot::Sender<Result<Twin, TwinError>> },
    /// A device listens, and something waits for it.
    Give { device: DeviceNumber },
    /// Tell when all before is done.
    Flush { reply: oneshot::Sender<()> },
}

/// Who waits for a change.
enum Waiting {
    Nobody,
    Device(Ticket),
    Caller(DeviceNumber, oneshot::Sender<Result<Twin, TwinError>>),
}

/// A twin in the course of a turn.
struct Open {
    twin: Twin,
    /// What was wanted before the turn.
    wanted: Object,
    touched: bool,
    /// Whether the device is to be given its delta if it was not yet.
    give: bool,
}

pub(crate) struct Actor {
    pub store: Arc<dyn Twins>,
    pub line: Arc<dyn Line>,
    pub bus: Arc<dyn Bus>,
    pub clock: Arc<dyn Clock>,
    pub names: Names,
    pub counts: Arc<Counts>,
    pub doors: Arc<Doors>,
    pub values: Arc<Values>,
}

impl Actor {
    /// Runs until nobody can tell it anything more.
    pub async fn run(self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut batch = Vec::new();
        while inbox.recv_many(&mut batch, BATCH).await > 0 {
            self.turn(std::mem::take(&mut batch)).await;
        }
    }

    async fn turn(&self, batch: Vec<Command>) {
        let mut devices: Vec<DeviceNumber> = batch.iter().filter_map(Command::device).collect();
        devices.sort_unstable();
        devices.dedup();
        let (mut open, unread) = self.open(devices).await;
        let (mut waiting, mut changes, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        for command in batch {
            if let Command::Report { message, .. } = &command {
                self.counts.waiting_bytes.fetch_sub(message.cost_bytes(), Ordering::Relaxed);
            }
            if let Some(error) = command.device().and_then(|device| unread.get(&device)) {
                self.give_up(command.into_waiting(), error);
                continue;
            }
            match command {
                Command::Report { device, message, ticket } => {
                    let waits = ticket.map_or(Waiting::Nobody, Waiting::Device);
                    let open = open.entry(device).or_insert_with(Open::new);
                    let read = state::read(&message.payload).and_then(|patch| open.twin.report(patch, message.at));
                    match read {
                        Ok(reported) => {
                            open.touched |= reported.touched;
                            open.give = true;
                            changes.extend(reported.changed.map(|patch| {
                                change(device, TwinPart::Reported, &open.twin, message.at, "device".to_owned(), patch)
                            }));
                            waiting.push(waits);
                        }
                        Err(refusal) => self.refuse(waits, refusal),
                    }
                }
                Command::Want { device, edit, expected, who, reply } => {
                    let now = self.clock.unix();
                    let open = open.entry(device).or_insert_with(Open::new);
                    match open.twin.want(edit, expected, now) {
                        Ok(changed) => {
                            open.touched |= changed.is_some();
                            changes.extend(changed.map(|patch| change(device, TwinPart::Desired, &open.twin, now, who, patch)));
                            waiting.push(Waiting::Caller(device, reply));
                        }
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
                Command::Give { device } => {
                    if let Some(open) = open.get_mut(&device) {
                        open.give = true;
                    }
                }
                Command::Flush { reply } => flushes.push(reply),
            }
        }
        self.keep(open, changes, waiting).await;
        for reply in flushes {
            let _ = reply.send(());
        }
    }

    /// The twins of some devices as they are stored, and the devices whose twins cannot be read now.
    async fn open(&self, devices: Vec<DeviceNumber>) -> (HashMap<DeviceNumber, Open>, HashMap<DeviceNumber, StoreError>) {
        let (mut open, mut unread) = (HashMap::new(), HashMap::new());
        if devices.is_empty() {
            return (open, unread);
        }
        match self.store.twins(devices.clone()).await {
            Ok(all) => {
                for stored in all {
                    let device = stored.device;
                    match Twin::from_stored(stored) {
                        Ok(twin) => {
                            let wanted = twin.desired.value.clone();
                            drop(open.insert(device, Open { twin, wanted, ..Open::new() }));
                        }
                        Err(error) => drop(unread.insert(device, error)),
                    }
                }
            }
            Err(error) => unread.extend(devices.into_iter().map(|device| (device, error.clone()))),
        }
        (open, unread)
    }

    /// Stores what changed, then tells everybody.
    async fn keep(&self, open: HashMap<DeviceNumber, Open>, changes: Vec<TwinChange>, waiting: Vec<Waiting>) {
        let touched = open.iter().filter(|(_, open)| open.touched);
        let stored: Vec<StoredTwin> = touched.map(|(device, open)| open.twin.clone().into_stored(*device)).collect();
        let owed: HashMap<DeviceNumber, bool> = stored.iter().map(|twin| (twin.device, twin.owed)).collect();
        let kept = if stored.is_empty() { Ok(()) } else { self.store.put_twins(stored, changes.clone()).await };
        if let Err(error) = kept {
            return self.give_up(waiting, &error);
        }
        for (device, owed) in &owed {
            let twin = &open[device].twin;
            self.doors.stored(*device, owed.then_some(twin.desired.version));
            // Before the answer: who has it may ask for what he changed.
            self.values.stored(*device, twin);
        }
        for waits in waiting {
            match waits {
                Waiting::Nobody => {}
                Waiting::Device(ticket) => self.line.published(ticket, Ok(())),
                Waiting::Caller(device, reply) => drop(reply.send(Ok(open[&device].twin.clone()))),
            }
        }
        self.counts.changes.fetch_add(changes.len() as u64, Ordering::Relaxed);
        let told = |change: TwinChange| {
            let owed = owed.get(&change.device).copied().unwrap_or_default();
            Event::TwinChanged { change: Arc::new(change), owed }
        };
        let mut events: Vec<Event> = changes.into_iter().map(told).collect();
        if !events.is_empty() {
            self.bus.emit(&mut events);
        }
        for (device, open) in open {
            self.give(device, open);
        }
    }

    /// Gives a device what is new to it: what was changed just now, and all that still differs.
    fn give(&self, device: DeviceNumber, open: Open) {
        let Open { twin, wanted, give, .. } = open;
        let ordered = patch::between(&wanted, &twin.desired.value);
        if ordered.is_empty() && !(give && self.doors.is_waited_for(device)) {
            return;
        }
        let mut patch = twin.delta();
        patch::overlay(&mut patch, ordered);
        let Some(id) = (self.names)(device).filter(|_| !patch.is_empty()) else { return };
        let payload = state::message(patch, twin.desired.version);
        let topic = Topic::of_device(id.as_str(), "twin/desired");
        let receipt = Some(Receipt { push: RECEIPT, device });
        // At least once to those who want it so. Nothing waits for a device that is away: it is given what differs
        // when it is back.
        let message = Message { qos: Qos::AtLeastOnce, receipt, ..Message::new(topic, payload, self.clock.unix()) };
        self.doors.giving(device, twin.desired.version);
        self.line.push(device, message);
    }

    fn refuse(&self, waiting: Waiting, refusal: Refusal) {
        let count = if refusal == Refusal::Unavailable { &self.counts.dropped } else { &self.counts.refused };
        count.fetch_add(1, Ordering::Relaxed);
        if let Waiting::Device(ticket) = waiting {
            self.line.published(ticket, Err(refusal));
        }
    }

    fn give_up(&self, waiting: Vec<Waiting>, error: &StoreError) {
        tracing::error!(%error, changes = waiting.len(), "twins could not be read or stored");
        let refusal = if matches!(error, StoreError::Full(_)) { Refusal::Quota } else { Refusal::Unavailable };
        for waits in waiting {
            match waits {
                Waiting::Caller(_, reply) => drop(reply.send(Err(error.clone().into()))),
                waits => self.refuse(waits, refusal),
            }
        }
    }
}

fn change(device: DeviceNumber, part: TwinPart, twin: &Twin, at: UnixMs, who: String, patch: Object) -> TwinChange {
    TwinChange { device, part, version: twin.version(part), at, who, patch: state::text(patch), place: twin.place() }
}

impl Open {
    fn new() -> Open {
        Open { twin: Twin::default(), wanted: Object::new(), touched: false, give: false }
    }
}

impl Command {
    fn device(&self) -> Option<DeviceNumber> {
        match self {
            Command::Report { device, .. } | Command::Want { device, .. } | Command::Give { device } => Some(*device),
            Command::Flush { .. } => None,
        }
    }

    /// Who waits for what cannot be done.
    fn into_waiting(self) -> Vec<Waiting> {
        match self {
            Command::Report { ticket, .. } => vec![ticket.map_or(Waiting::Nobody, Waiting::Device)],
            Command::Want { device, reply, .. } => vec![Waiting::Caller(device, reply)],
            Command::Give { .. } | Command::Flush { .. } => Vec::new(),
        }
    }
}
