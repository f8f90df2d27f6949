//! The whole device side in one thread: hub shards, machines, connections that are byte vectors, and a
//! clock that stands still until the test moves it. It drives the same `hub::Floor` as the real sockets do.
//! What shards leave to be done is done at once, or by hand: then it comes out as [`Errand`]s, and whoever
//! drives the house decides when each of them arrives.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::take;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use contract::keep::ReturnedWaiting;
use contract::session::Peer;
use contract::store::StoreError;
use contract::{Bus, Close, ConnId, Event, Fault, Gate, Note, Protocol, Refusal, Session, SessionId, SessionPlace, Ticket};
use hub::{Commons, Floor, Mail, Moving, Parcel, Shard, Wire, home_of_device, home_shard};
use model::limits::Limits;
use model::message::SharedMessage;
use model::{Address, DeviceNumber, Message, Millis, PartyKey, UnixMs};

use crate::gate::TestGate;
use crate::vault::TestVault;

/// A connection, the same on whichever shard it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Something that a shard leaves to be done, for who drives the house by hand.
pub enum Errand {
    /// Mail from one shard to another; that of one pair arrives in its order.
    Mail {
        /// The shard that sends it.
        from: usize,
        /// The one it goes to.
        to: usize,
        /// The mail.
        mail: Mail,
    },
    /// A connection on its way to its home shard, in order with the mail.
    Move(Move),
    /// Notes to be kept, to be answered with [`House::kept`].
    Keep(usize, Arc<Vec<Note>>),
    /// A queue to be read, to be answered with [`House::came`].
    Load(usize, SessionPlace, SessionId),
    /// A publish that the platform is to keep, to be answered with [`House::published`].
    Up(Ticket, SharedMessage),
}

/// A connection on its way from one shard to another.
pub struct Move {
    /// The shard that it comes from.
    pub from: usize,
    /// The shard that it goes to.
    pub to: usize,
    line: usize,
    moving: Moving,
}

/// Wall-clock time at which every house starts: 2016-06-22T12:46:28Z, the time in the ES-PUSH examples.
pub const START: UnixMs = UnixMs(1_466_599_588_000);

/// The house.
pub struct House {
    floors: Vec<Floor>,
    wires: Vec<Pipes>,
    lines: Rc<RefCell<Vec<Line>>>,
    touched: Rc<RefCell<Vec<usize>>>,
    gate: Arc<TestGate>,
    bus: Arc<TestBus>,
    keep: Keep,
    now: Millis,
    events: Vec<Event>,
    limits: Limits,
    vault: TestVault,
    disk: Disk,
    unreadable: bool,
    /// Batches that wait for the disk, with their shards.
    under_way: Vec<(usize, Arc<Vec<Note>>)>,
    /// Nothing is done that nobody asks for.
    by_hand: bool,
    errands: Vec<Errand>,
    /// How far the wall clock is ahead of what it would be if nobody ever set it.
    unix_ahead: i64,
}

#[derive(Default)]
struct Line {
    at: Option<(usize, ConnId)>,
    /// On its way to another shard: what the peer sends waits, and whether it has gone.
    moving: Option<(Vec<u8>, bool)>,
    /// Something has happened since the last look at [`House::touched`].
    touched: bool,
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
    touched: Rc<RefCell<Vec<usize>>>,
    moves: Vec<(u16, usize, Moving)>,
}

impl Pipes {
    fn touch(&self, at: usize, line: &mut Line) {
        if !std::mem::replace(&mut line.touched, true) {
            self.touched.borrow_mut().push(at);
        }
    }
}

impl Wire for Pipes {
    fn write(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let at = self.seats[&conn];
        let line = &mut self.lines.borrow_mut()[at];
        self.touch(at, line);
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
        let state = &mut self.lines.borrow_mut()[line];
        (state.at, state.moving) = (None, Some((Vec::new(), false)));
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
            touched: Rc::default(),
            gate: Arc::default(),
            bus: Arc::default(),
            keep: Keep::Yes,
            now: Millis(1000),
            events: Vec::new(),
            limits,
            vault: TestVault::default(),
            disk: Disk::Fast,
            unreadable: false,
            under_way: Vec::new(),
            by_hand: false,
            errands: Vec::new(),
            unix_ahead: 0,
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
        let (lines, touched) = (&self.lines, &self.touched);
        let pipes =
            |shard| Pipes { shard, seats: HashMap::new(), lines: lines.clone(), touched: touched.clone(), moves: Vec::new() };
        self.wires = (0..usize::from(shards)).map(pipes).collect();
        self.tell_time();
        self.settle();
    }

    /// The program dies at once, all lines with it, and starts again with so many shards from what is on
    /// disk by then.
    pub fn crash(&mut self, shards: u16) {
        self.under_way.clear();
        self.errands.clear();
        for line in self.lines.borrow_mut().iter_mut().filter(|line| line.at.is_some() || line.moving.is_some()) {
            (line.at, line.moving) = (None, None);
            line.closed = Some(Close { fault: Fault::Ours, why: "the program died".into() });
        }
        self.build(shards);
    }

    /// What is on disk.
    pub fn vault(&self) -> &TestVault {
        &self.vault
    }

    /// Whether queues cannot be read from now on.
    pub fn set_unreadable(&mut self, unreadable: bool) {
        self.unreadable = unreadable;
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
        UnixMs(START.0 + self.now.0 as i64 - 1000 + self.unix_ahead)
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
        let remote = remote_of(line);
        let machine = open(Peer { remote, now: self.now, limits: Limits::default() });
        self.floors[shard].open_machine(protocol, machine, remote, &mut self.wires[shard]);
        self.settle();
        LineId(line)
    }

    /// The peer sends `bytes`. Whether the connection was open.
    pub fn send(&mut self, line: LineId, bytes: &[u8]) -> bool {
        let Some((shard, conn)) = self.place(line) else {
            let mut lines = self.lines.borrow_mut();
            let Some((waiting, _)) = &mut lines[line.0].moving else { return false };
            waiting.extend_from_slice(bytes);
            return true;
        };
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
        } else if let Some((_, gone)) = &mut self.lines.borrow_mut()[line.0].moving {
            *gone = true;
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

    // ---- by hand ----

    /// From now on nothing is done at once: shards leave [`Errand`]s.
    pub fn drive_by_hand(&mut self) {
        self.by_hand = true;
    }

    /// Lets all shards give their peers what waits for them, and takes what they leave to be done.
    pub fn errands(&mut self) -> Vec<Errand> {
        for shard in 0..self.floors.len() {
            self.collect(shard);
        }
        take(&mut self.errands)
    }

    /// When there will be further notes to be kept without anything further coming.
    pub fn batch_due(&self) -> Option<Millis> {
        self.floors.iter().filter_map(Floor::batch_due).min()
    }

    /// Mail has come to a shard.
    pub fn arrived(&mut self, to: usize, mail: Mail) {
        self.mail(to, mail);
    }

    /// A connection has come to its home shard, with what its peer has sent meanwhile.
    pub fn moved(&mut self, moving: Move) {
        let line = moving.line;
        let (waiting, gone) = self.seat(moving);
        if !waiting.is_empty() {
            self.send(LineId(line), &waiting);
        }
        if gone {
            self.cut(LineId(line));
        }
    }

    /// What came of notes that were to be kept; what is in the vault is the driver's to say.
    pub fn kept(&mut self, shard: usize, result: Result<(), StoreError>) {
        self.mail(shard, Mail::Kept(result));
    }

    /// What waited for a session.
    pub fn came(&mut self, shard: usize, place: SessionPlace, rows: Result<Vec<ReturnedWaiting>, StoreError>) {
        self.mail(shard, Mail::Came(place, rows));
    }

    /// What is on disk, to be changed.
    pub fn vault_mut(&mut self) -> &mut TestVault {
        &mut self.vault
    }

    /// Sets both clocks; the wall clock to so much more than it would show had nobody ever set it.
    pub fn set_time(&mut self, now: Millis, unix_ahead: i64) {
        (self.now, self.unix_ahead) = (now, unix_ahead);
        self.tell_time();
    }

    /// Wakes whoever wants to be by now.
    pub fn tick(&mut self) {
        for shard in 0..self.floors.len() {
            self.floors[shard].tick(&mut self.wires[shard]);
        }
        self.settle();
    }

    /// Connections on which something was sent or which ended since the last look.
    pub fn touched(&mut self) -> Vec<LineId> {
        let touched = take(&mut *self.touched.borrow_mut());
        let mut lines = self.lines.borrow_mut();
        touched.iter().for_each(|line| lines[*line].touched = false);
        touched.into_iter().map(LineId).collect()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.floors.len()
    }

    /// How much is noted and not kept, or promised and not answered.
    pub fn unfinished(&self) -> usize {
        self.floors.iter().map(Floor::unfinished).sum()
    }

    /// Messages that were dropped since the program started.
    pub fn dropped(&self) -> u64 {
        self.floors.iter().map(|floor| floor.counters().dropped).sum()
    }

    // ---- the platform ----

    /// The platform gives a message to a device's lines.
    pub fn push(&mut self, device: DeviceNumber, message: Message) {
        let shard = usize::from(home_of_device(device, self.floors.len() as u16));
        self.mail(shard, Mail::Push(Arc::new(message)));
    }

    /// The platform gives a device a message that came from a number.
    pub fn send_to(&mut self, send: u64, from: Address, device: DeviceNumber, message: Message) {
        let shard = usize::from(home_of_device(device, self.floors.len() as u16));
        let parcel = Parcel { from, to: device, message: Arc::new(message), may_answer: true };
        self.mail(shard, Mail::Send(send, Box::new(parcel)));
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
        let mut busy = !self.by_hand;
        while busy {
            busy = false;
            for shard in 0..self.floors.len() {
                busy |= self.collect(shard);
                for errand in take(&mut self.errands) {
                    busy |= self.run(errand);
                }
            }
        }
    }

    /// Gives a connection its seat on its home shard. What its peer has sent meanwhile, and whether it has gone.
    fn seat(&mut self, Move { to, line, moving, .. }: Move) -> (Vec<u8>, bool) {
        let conn = self.floors[to].vacant();
        self.wires[to].seats.insert(conn, line);
        let meanwhile = {
            let state = &mut self.lines.borrow_mut()[line];
            state.at = Some((to, conn));
            state.moving.take().unwrap_or_default()
        };
        self.floors[to].arrive(moving, &mut self.wires[to]);
        meanwhile
    }

    /// Turns what a shard leaves to be done into errands. Whether there were events too.
    fn collect(&mut self, shard: usize) -> bool {
        let (floor, wire, errands) = (&mut self.floors[shard], &mut self.wires[shard], &mut self.errands);
        floor.flush(wire);
        let moves = take(&mut wire.moves).into_iter();
        errands.extend(moves.map(|(to, line, moving)| Errand::Move(Move { from: shard, to: usize::from(to), line, moving })));
        for message in take(floor.broadcast()) {
            let others = (0..self.wires.len()).filter(|other| *other != shard);
            errands.extend(others.map(|to| Errand::Mail { from: shard, to, mail: Mail::Message(message.clone()) }));
        }
        errands.extend(floor.batch().map(|notes| Errand::Keep(shard, notes)));
        errands.extend(take(floor.loads()).into_iter().map(|(place, session)| Errand::Load(shard, place, session)));
        let posts = take(floor.posts()).into_iter();
        errands.extend(posts.map(|(to, mail)| Errand::Mail { from: shard, to: usize::from(to), mail }));
        for ended in take(floor.ended()) {
            let at = line_of(ended.remote);
            let line = &mut self.lines.borrow_mut()[at];
            line.closed = Some(ended.close);
            self.wires[shard].touch(at, line);
        }
        let mut events = take(floor.events());
        for event in &events {
            if let Event::Up { ticket: Some(ticket), message, .. } | Event::Addressed { ticket: Some(ticket), message, .. } =
                event
            {
                errands.push(Errand::Up(*ticket, message.clone()));
            }
        }
        let busy = !events.is_empty();
        self.events.append(&mut events);
        busy
    }

    /// Does an errand as the disk and the platform are set. Whether that changed anything.
    fn run(&mut self, errand: Errand) -> bool {
        let (shard, mail) = match errand {
            Errand::Mail { to, mail, .. } => (to, mail),
            Errand::Move(moving) => {
                self.seat(moving);
                return true;
            }
            Errand::Keep(shard, notes) => match &self.disk {
                Disk::Manual => {
                    self.under_way.push((shard, notes));
                    return false;
                }
                Disk::Fast => {
                    self.vault.keep(&notes);
                    (shard, Mail::Kept(Ok(())))
                }
                Disk::Failing(error) => (shard, Mail::Kept(Err(error.clone()))),
            },
            Errand::Load(shard, place, session) => {
                let rows = match self.unreadable {
                    true => Err(StoreError::Engine("cannot read".into())),
                    false => Ok(self.vault.queue(session)),
                };
                (shard, Mail::Came(place, rows))
            }
            Errand::Up(ticket, _) => {
                let result = match self.keep {
                    Keep::Yes => Ok(()),
                    Keep::No(refusal) => Err(refusal),
                    Keep::Manual => return false,
                };
                (usize::from(ticket.shard), Mail::Published(ticket, result))
            }
        };
        self.floors[shard].mail(mail, &mut self.wires[shard]);
        true
    }
}

/// How many connections share an address before the next is used.
const PORTS: usize = 50_000;

/// The address of a connection's peer, another for each.
fn remote_of(line: usize) -> SocketAddr {
    let [.., high, low] = (line / PORTS).to_be_bytes();
    SocketAddr::from(([192, 0, high, low], 10_000 + (line % PORTS) as u16))
}

/// The connection from an address.
fn line_of(remote: SocketAddr) -> usize {
    let SocketAddr::V4(remote) = remote else { unreachable!("all addresses are of remote_of") };
    let [.., high, low] = remote.ip().octets();
    (usize::from(high) * 256 + usize::from(low)) * PORTS + usize::from(remote.port() - 10_000)
}
