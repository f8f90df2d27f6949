//! Programs and pages that have a number: who listens where, and what is on its way to devices. A token has
//! a number of its own, which reaches all lines that are open with it; a WebSocket has one more for itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use contract::{Clock, Consumer, Event, Line, Reached, Refusal};
use fleet::Caller;
use model::topic::Space;
use model::{Address, DeviceNumber, Message, UnixMs, limits};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// How many numbers lines may have had, in each second that the clock has shown, before one of them is given
/// again after a restart.
const LINES_PER_S: u64 = 64;

/// A message for a program or page.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Who wrote it.
    pub from: Address,
    /// The same as a device's id, if a device did.
    pub device: Option<String>,
    /// To which of its numbers.
    pub to: Address,
    pub payload: Bytes,
    pub at: UnixMs,
}

/// Everybody who has a number and is no device.
pub struct Parties {
    line: Arc<dyn Line>,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
    sends: Mutex<Sends>,
}

#[derive(Default)]
struct Table {
    open: HashMap<Address, Vec<Ear>>,
    seats: usize,
    seat_last: u64,
    lines: u64,
}

/// The near end of a seat.
#[derive(Clone)]
struct Ear {
    seat: u64,
    inbox: mpsc::Sender<Arc<Incoming>>,
    /// Bytes that wait there.
    bytes: Arc<AtomicUsize>,
}

impl Ear {
    /// Whether there was room. The table is locked: nobody else adds to it meanwhile.
    fn take(&self, incoming: &Arc<Incoming>) -> bool {
        let (waiting, more) = (self.bytes.load(Ordering::Relaxed), incoming.payload.len());
        if waiting > 0 && waiting + more > limits::ADDRESSED_WAITING_BYTES_MAX {
            return false;
        }
        self.bytes.fetch_add(more, Ordering::Relaxed);
        let taken = self.inbox.try_send(incoming.clone()).is_ok();
        if !taken {
            self.bytes.fetch_sub(more, Ordering::Relaxed);
        }
        taken
    }
}

#[derive(Default)]
struct Sends {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Result<Reached, Refusal>>>,
}

/// A place to hear from. Its numbers are nobody's when it is dropped; the token's goes on with its others.
pub(crate) struct Seat {
    parties: Arc<Parties>,
    id: u64,
    inbox: mpsc::Receiver<Arc<Incoming>>,
    bytes: Arc<AtomicUsize>,
    /// The number of the line, or of its token if it has none of its own.
    pub number: Address,
    /// The number of its token.
    pub token: Address,
}

impl Seat {
    /// The next message.
    pub async fn next(&mut self) -> Arc<Incoming> {
        match self.inbox.recv().await {
            Some(incoming) => {
                self.bytes.fetch_sub(incoming.payload.len(), Ordering::Relaxed);
                incoming
            }
            // The table holds the other end as long as this one is there.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.parties.table.lock();
        table.seats -= 1;
        for number in [self.number, self.token] {
            if let Some(ears) = table.open.get_mut(&number) {
                ears.retain(|ear| ear.seat != self.id);
                if ears.is_empty() {
                    table.open.remove(&number);
                }
            }
        }
    }
}

/// The number of whoever calls.
pub(crate) fn number_of(caller: &Caller) -> Option<Address> {
    Address::of_token(caller.token.unwrap_or(0))
}

impl Parties {
    /// Nobody yet.
    pub fn new(line: Arc<dyn Line>, clock: Arc<dyn Clock>) -> Arc<Parties> {
        // From the time of day, so that a number from before a restart is not somebody else's at once.
        let lines = clock.unix().0.max(0).unsigned_abs() / 1000 * LINES_PER_S;
        let table = Mutex::new(Table { lines, ..Table::default() });
        Arc::new(Parties { line, clock, table, sends: Mutex::default() })
    }

    /// A seat of a token, with a number of its own if `own`. `None` when the token has as many as it may.
    pub(crate) fn sit(self: &Arc<Self>, token: Address, own: bool) -> Option<Seat> {
        let (sender, inbox) = mpsc::channel(limits::ADDRESSED_WAITING_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut table = self.table.lock();
        if table.open.get(&token).is_some_and(|ears| ears.len() >= limits::ADDRESSED_LINES_PER_TOKEN_MAX) {
            return None;
        }
        table.seats += 1;
        table.seat_last += 1;
        let (id, mut number) = (table.seat_last, token);
        let ear = Ear { seat: id, inbox: sender, bytes: bytes.clone() };
        if own {
            number = Address::of_line(table.lines);
            table.lines += 1;
            table.open.entry(number).or_default().push(ear.clone());
        }
        table.open.entry(token).or_default().push(ear);
        drop(table);
        Some(Seat { parties: self.clone(), id, inbox, bytes, number, token })
    }

    /// Gives a message to whoever has its number.
    pub(crate) fn give(&self, incoming: Incoming) -> Result<(), Refusal> {
        let incoming = Arc::new(incoming);
        let table = self.table.lock();
        let (mut given, mut full) = (false, false);
        for ear in table.open.get(&incoming.to).into_iter().flatten() {
            let taken = ear.take(&incoming);
            given |= taken;
            full |= !taken;
        }
        match (given, full) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::Full),
            (false, false) => Err(Refusal::Unreachable),
        }
    }

    /// Sends a message to a device. `None` when nothing was heard of it in time.
    pub(crate) async fn send(&self, from: Address, to: DeviceNumber, message: Message) -> Option<Result<Reached, Refusal>> {
        let (tell, told) = oneshot::channel();
        let send = {
            let mut sends = self.sends.lock();
            sends.last += 1;
            let send = sends.last;
            sends.open.insert(send, tell);
            send
        };
        let _forget = Forget { parties: self, send };
        self.line.send(send, from, to, message);
        let patience = std::time::Duration::from_secs(limits::ADDRESSED_OUTCOME_S_MAX);
        tokio::time::timeout(patience, told).await.ok()?.ok()
    }

    /// How many lines there are that can be written to.
    pub(crate) fn lines(&self) -> usize {
        self.table.lock().seats
    }

    /// The time.
    pub(crate) fn now(&self) -> UnixMs {
        self.clock.unix()
    }
}

/// Whoever asked may have gone away.
struct Forget<'a> {
    parties: &'a Parties,
    send: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.parties.sends.lock().open.remove(&self.send);
    }
}

impl Consumer for Parties {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Addressed { from, to, message, ticket } => {
                let device = match message.topic.space() {
                    Space::Device { id, .. } => Some(id.to_owned()),
                    _ => None,
                };
                let (payload, at) = (message.payload.clone(), message.at);
                let given = self.give(Incoming { from: (*from).into(), device, to: *to, payload, at });
                if let Some(ticket) = ticket {
                    self.line.published(*ticket, given);
                }
            }
            Event::Sent { send, result } => {
                if let Some(tell) = self.sends.lock().open.remove(send) {
                    let _ = tell.send(*result);
                }
            }
            _ => {}
        }
    }
}
