//! The whole device side in one thread: hub shards, machines, connections that are byte vectors, and a
//! clock that stands still until the test moves it. It drives the same `hub::Floor` as the real sockets do.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::take;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use contract::session::Peer;
use contract::store::StoreError;
use contract::{Bus, Close, ConnId, Event, Fault, Gate, Note, Protocol, Refusal, Session, Ticket};
use hub::{Commons, Floor, Mail, Moving, Shard, Wire, home_of_device, home_shard};
use model::limits::Limits;
use model::{DeviceNumber, Message, Millis, PartyKey, UnixMs};

use crate::gate::TestGate;
use crate::vault::TestVault;

/// A connection, the same on whichever shard it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineId(usize);

/// What the stand-in for the platform says to publishes that wait to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Kept at once.
    Yes,
    /// Refused at once.
    No(Refusal),
    /// Nothing: the test answers with [`House::published`].
    Manual,
}

/// What the stand-in for the disk does with a batch of notes.
#[derive(Clone, Debug)]
pub enum Disk {
    /// Keeps it at once.
    Fast,
    /// Nothing: the test answers with [`House::disk_answers`].
    Manual,
    /// Refuses it at once.
    Failing(StoreError),
}

/// Wall-clock time at which every house starts: 2016-06-22T12:46:28Z, the time in the ES-PUSH examples.
pub const START: UnixMs = UnixMs(1_466_599_588_000);

/// The house.
pub struct House {
    floors: Vec<Floor>,
    wires: Vec<Pipes>,
    lines: Rc<RefCell<Vec<Line>>>,
    gate: Arc<TestGate>,
    bus: Arc<TestBus>,
    keep: Keep,
    now: Millis,
    events: Vec<Event>,
    limits: Limits,
    vault: TestVault,
    disk: Disk,
    /// Batches that wait for the disk, with their shards.
    under_way: Vec<(usize, Arc<Vec<Note>>)>,
}

#[derive(Default)]
struct Line {
    at: Option<(usize, ConnId)>,
    received: Vec<u8>,
    closed: Option<Close>,
    /// The peer does not read: bytes pile up as unsent.
    stuck: bool,
    unsent_bytes: usize,
}

/// One floor's connections.
struct Pipes {
    shard: usize,
    seats: HashMap<ConnId, usize>,
    lines: Rc<RefCell<Vec<Line>>>,
    moves: Vec<(u16, usize, Moving)>,
}

impl Wire for Pipes {
    fn write(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let line = &mut self.lines.borrow_mut()[self.seats[&conn]];
        line.received.extend_from_slice(bytes);
        if line.stuck {
            line.unsent_bytes += bytes.len();
        }
        line.unsent_bytes
    }

    fn close(&mut self, conn: ConnId) {
        let line = self.seats.remove(&conn).expect("the floor closes what it has");
        self.lines.borrow_mut()[line].at = None;
    }

    fn hand_over(&mut self, conn: ConnId, to: u16, moving: Moving) {
        let line = self.seats.remove(&conn).expect("the floor hands over what it has");
        assert_ne!(usize::from(to), self.shard, "a hand-over changes the shard");
        self.lines.borrow_mut()[line].at = None;
        self.moves.push((to, line, moving));
    }
}

#[derive(Default)]
struct TestBus {
    events: Mutex<Vec<Event>>,
    watched: AtomicBool,
}

impl Bus for TestBus {
    fn emit(&self, batch: &mut Vec<Event>) {
        self.events.lock().expect("no test panics while it holds this lock").append(batch);
    }

    fn watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }
}

impl House {
    /// A house of `shards` shards. What is to be kept goes to the disk at once.
    pub fn new(shards: u16) -> House {
        House::with_limits(shards, Limits { commit_window_ms: 0, ..Limits::default() })
    }

    /// A house of `shards` shards under the owner's limits.
    pub fn with_limits(shards: u16, limits: Limits) -> House {
        let mut house = House {
            floors: Vec::new(),
            wires: Vec::new(),
            lines: Rc::default(),
            gate: Arc::default(),
            bus: Arc::default(),
            keep: Keep::Yes,
            now: Millis(1000),
            events: Vec::new(),
            limits,
            vault: TestVault::default(),
            disk: Disk::Fast,
            under_way: Vec::new(),
        };
        house.build(shards);
        house
    }

    /// Builds the shards from what the vault has.
    fn build(&mut self, shards: u16) {
        let time = (self.now, self.unix());
        let commons = Arc::new(Commons::new(self.limits));
        let kept = self.vault.kept();
        commons.restore(kept.retained, kept.number_last, kept.version_last, time);
        let gate: Arc<dyn Gate> = self.gate.clone();
        let mut hubs: Vec<Shard> =
            (0..shards).map(|index| Shard::new(index, shards, gate.clone(), self.bus.clone(), commons.clone())).collect();
        for returned in kept.sessions {
            if let Some(party) = gate.party(returned.session.owner) {
                let home = home_shard(&party, &returned.session.client, shards);
                hubs[usize::from(home)].restore(returned, party, time);
            }
        }
        self.floors = hubs.into_iter().map(Floor::new).collect();
        let pipes = |shard| Pipes { shard, seats: HashMap::new(), lines: self.lines.clone(), moves: Vec::new() };
        self.wires = (0..usize::from(shards)).map(pipes).collect();
        self.tell_time();
        self.settle();
    }

    /// The program dies at once, all lines with it, and starts again with so many shards from what is on
    /// disk by then.
    pub fn crash(&mut self, shards: u16) {
        self.under_way.clear();
        for line in self.lines.borrow_mut().iter_mut().filter(|line| line.at.is_some()) {
            line.at = None;
            line.closed = Some(Close { fault: Fault::Ours, why: "the program died".into() });
        }
        self.build(shards);
    }

    /// What is on disk.
    pub fn vault(&self) -> &TestVault {
        &self.vault
    }

    /// What happens to notes from now on. A disk that is fast at last also takes what waits for it.
    pub fn set_disk(&mut self, disk: Disk) {
        self.disk = disk;
        if let Disk::Fast = self.disk {
            self.disk_answers(Ok(()));
        }
        self.settle();
    }

    /// The disk is done with the batch of one shard, if one waits for it.
    pub fn disk_answers_one(&mut self, shard: usize, result: Result<(), StoreError>) {
        if let Some(at) = self.under_way.iter().position(|(whose, _)| *whose == shard) {
            let (_, notes) = self.under_way.remove(at);
            if result.is_ok() {
                self.vault.keep(&notes);
            }
            self.floors[shard].mail(Mail::Kept(result), &mut self.wires[shard]);
            self.settle();
        }
    }

    /// The disk is done with all batches that wait for it, and with those that come of that.
    pub fn disk_answers(&mut self, result: Result<(), StoreError>) {
        while !self.under_way.is_empty() {
            for (shard, notes) in take(&mut self.under_way) {
                if result.is_ok() {
                    self.vault.keep(&notes);
                }
                self.floors[shard].mail(Mail::Kept(result.clone()), &mut self.wires[shard]);
            }
            self.settle();
        }
    }

    /// Who may come in.
    pub fn gate(&self) -> &TestGate {
        &self.gate
    }

    /// The monotonic time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The wall clock.
    pub fn unix(&self) -> UnixMs {
        UnixMs(START.0 + self.now.0 as i64 - 1000)
    }

    /// What happens to publishes that wait to be kept, from now on.
    pub fn set_keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// Whether somebody watches free topics.
    pub fn set_watched(&mut self, watched: bool) {
        self.bus.watched.store(watched, Ordering::Relaxed);
    }

    /// A peer connects. New connections go to the shards in turn, so that hand-overs happen.
    pub fn connect(&mut self, protocol: &Protocol) -> LineId {
        self.connect_machine(protocol.name, protocol.open)
    }

    /// A connection is made on which the machine speaks that `open` makes, like one that the house made
    /// itself to somebody else.
    pub fn connect_machine(&mut self, protocol: &'static str, open: impl FnOnce(Peer) -> Box<dyn Session>) -> LineId {
        let line = self.lines.borrow().len();
        let shard = line % self.floors.len();
        let conn = self.floors[shard].vacant();
        self.lines.borrow_mut().push(Line { at: Some((shard, conn)), ..Line::default() });
        self.wires[shard].seats.insert(conn, line);
        let remote = SocketAddr::from(([192, 0, 2, 1], 10_000 + line as u16));
        let machine = open(Peer { remote, now: self.now, limits: Limits::default() });
        self.floors[shard].open_machine(protocol, machine, remote, &mut self.wires[shard]);
        self.settle();
        LineId(line)
    }

    /// The peer sends `bytes`. Whether the connection was open.
    pub fn send(&mut self, line: LineId, bytes: &[u8]) -> bool {
        let Some((shard, conn)) = self.place(line) else { return false };
        self.floors[shard].bytes(conn, bytes, &mut self.wires[shard]);
        self.settle();
        true
    }

    /// What the peer was sent since the last look.
    pub fn received(&mut self, line: LineId) -> Vec<u8> {
        take(&mut self.lines.borrow_mut()[line.0].received)
    }

    /// The peer stops reading, or reads everything again.
    pub fn set_stuck(&mut self, line: LineId, stuck: bool) {
        {
            let state = &mut self.lines.borrow_mut()[line.0];
            state.stuck = stuck;
            state.unsent_bytes = 0;
        }
        if let (false, Some((shard, conn))) = (stuck, self.place(line)) {
            self.floors[shard].drained(conn, 0, &mut self.wires[shard]);
            self.settle();
        }
    }

    /// The line breaks without a goodbye.
    pub fn cut(&mut self, line: LineId) {
        if let Some((shard, conn)) = self.place(line) {
            let close = Close { fault: Fault::Line, why: "the line broke".into() };
            self.floors[shard].lost(conn, close, &mut self.wires[shard]);
            self.settle();
        }
    }

    /// Why the connection ended, once it has.
    pub fn closed(&self, line: LineId) -> Option<Close> {
        self.lines.borrow()[line.0].closed.clone()
    }

    /// Moves the clock, in steps of a second, and wakes whoever wants to be.
    pub fn advance_ms(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            self.now = end.min(self.now.plus_ms(1000));
            self.tell_time();
            for shard in 0..self.floors.len() {
                self.floors[shard].tick(&mut self.wires[shard]);
            }
            self.settle();
        }
    }

    /// The platform gives a message to a device's lines.
    pub fn push(&mut self, device: DeviceNumber, message: Message) {
        let shard = usize::from(home_of_device(device, self.floors.len() as u16));
        self.mail(shard, Mail::Push(Arc::new(message)));
    }

    /// The platform publishes a message.
    pub fn publish(&mut self, message: Message) {
        self.mail(0, Mail::Publish(Arc::new(message)));
    }

    /// The platform answers a publish that waited.
    pub fn published(&mut self, ticket: Ticket, result: Result<(), Refusal>) {
        self.mail(usize::from(ticket.shard), Mail::Published(ticket, result));
    }

    /// The platform ends the lines of an account, a token or anonymous clients, wherever they live.
    pub fn kick_party(&mut self, whom: PartyKey, why: &str, forget: bool) {
        for shard in 0..self.floors.len() {
            let why = Close { fault: Fault::Refused, why: why.to_owned().into() };
            self.mail(shard, Mail::Kick { whom, why, forget });
        }
    }

    /// The platform ends a device's lines.
    pub fn kick(&mut self, device: DeviceNumber, why: &str, forget: bool) {
        let shard = usize::from(home_of_device(device, self.floors.len() as u16));
        self.mail(
            shard,
            Mail::Kick {
                whom: PartyKey::Device(device),
                why: Close { fault: Fault::Nobody, why: why.to_owned().into() },
                forget,
            },
        );
    }

    /// What the platform heard since the last look.
    pub fn events(&mut self) -> Vec<Event> {
        take(&mut self.events)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.floors.iter().map(Floor::connections).sum()
    }

    /// How many sessions there are, and how many of them without a line.
    pub fn sessions(&self) -> (u64, u64) {
        self.floors.iter().map(|f| f.counters()).fold((0, 0), |(all, away), c| (all + c.sessions, away + c.sessions_away))
    }

    fn place(&self, line: LineId) -> Option<(usize, ConnId)> {
        self.lines.borrow()[line.0].at
    }

    fn mail(&mut self, shard: usize, mail: Mail) {
        self.floors[shard].mail(mail, &mut self.wires[shard]);
        self.settle();
    }

    fn tell_time(&mut self) {
        let (now, unix) = (self.now, self.unix());
        for floor in &mut self.floors {
            floor.set_time(now, unix);
        }
    }

    /// Runs all shards until nothing is left to do.
    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for shard in 0..self.floors.len() {
                self.floors[shard].flush(&mut self.wires[shard]);
                for (to, line, moving) in take(&mut self.wires[shard].moves) {
                    busy = true;
                    let to = usize::from(to);
                    let conn = self.floors[to].vacant();
                    self.wires[to].seats.insert(conn, line);
                    self.lines.borrow_mut()[line].at = Some((to, conn));
                    self.floors[to].arrive(moving, &mut self.wires[to]);
                }
                for message in take(self.floors[shard].broadcast()) {
                    busy = true;
                    for other in (0..self.floors.len()).filter(|other| *other != shard) {
                        self.floors[other].mail(Mail::Message(message.clone()), &mut self.wires[other]);
                    }
                }
                while let Some(notes) = self.floors[shard].batch() {
                    let result = match &self.disk {
                        Disk::Manual => {
                            self.under_way.push((shard, notes));
                            break;
                        }
                        Disk::Fast => {
                            self.vault.keep(&notes);
                            Ok(())
                        }
                        Disk::Failing(error) => Err(error.clone()),
                    };
                    busy = true;
                    self.floors[shard].mail(Mail::Kept(result), &mut self.wires[shard]);
                }
                for (place, session) in take(self.floors[shard].loads()) {
                    busy = true;
                    let rows = self.vault.queue(session);
                    self.floors[shard].mail(Mail::Came(place, Ok(rows)), &mut self.wires[shard]);
                }
                for (other, mail) in take(self.floors[shard].posts()) {
                    busy = true;
                    let other = usize::from(other);
                    self.floors[other].mail(mail, &mut self.wires[other]);
                }
                for ended in take(self.floors[shard].ended()) {
                    let line = usize::from(ended.remote.port() - 10_000);
                    self.lines.borrow_mut()[line].closed = Some(ended.close);
                }
                let mut events = take(self.floors[shard].events());
                for event in &events {
                    if let Event::Up { ticket: Some(ticket), .. } = event {
                        let result = match self.keep {
                            Keep::Yes => Ok(()),
                            Keep::No(refusal) => Err(refusal),
                            Keep::Manual => continue,
                        };
                        busy = true;
                        let shard = usize::from(ticket.shard);
                        self.floors[shard].mail(Mail::Published(*ticket, result), &mut self.wires[shard]);
                    }
                }
                busy |= !events.is_empty();
                self.events.append(&mut events);
            }
            if !busy {
                return;
            }
        }
    }
}
