//! The floor of a shard: the machines of its connections, their unfinished input and their wake-up
//! times, around one [`Shard`]. Pure like the machines: whoever drives it brings bytes, mail and the
//! time, and is the [`Wire`] that bytes leave by. The sockets of `net` and the tests drive the same code.

use std::net::SocketAddr;
use std::sync::Arc;

use contract::session::Peer;
use contract::{Answer, Close, ConnId, Context, Ending, Event, Fault, Login, Note, Protocol, Session, SessionId, SessionPlace};
use model::limits::{self, Limits};
use model::{Due, Millis, UnixMs};

use crate::heard::Heard;
use crate::mail::{Broadcast, Counters, Mail, Transfer};
use crate::shard::Shard;
use crate::wheel::Wheel;

/// What bytes leave by.
pub trait Wire {
    /// Sends `bytes` to the peer of `conn`. Returns how many bytes are waiting for the peer to read them.
    fn write(&mut self, conn: ConnId, bytes: &[u8]) -> usize;

    /// Ends the connection after what was written. `conn` is free for another connection afterwards.
    fn close(&mut self, conn: ConnId);

    /// The connection goes on at shard `to`. `conn` is free for another connection afterwards.
    fn hand_over(&mut self, conn: ConnId, to: u16, moving: Moving);
}

/// A connection on its way to another shard.
pub struct Moving {
    machine: Box<dyn Session>,
    tail: Vec<u8>,
    wake_at: Option<Millis>,
    protocol: &'static str,
    remote: SocketAddr,
    transfer: Box<Transfer>,
}

/// A connection that ended: for the log and the counters.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The place that it had.
    pub conn: ConnId,
    /// By which protocol.
    pub protocol: &'static str,
    /// From where.
    pub remote: SocketAddr,
    /// Why.
    pub close: Close,
}

struct Seat {
    generation: u32,
    line: Option<Line>,
}

struct Line {
    machine: Box<dyn Session>,
    /// Input that the machine has not used yet.
    #[expect(clippy::box_collection, reason = "idle connections have none and pay one pointer for it")]
    tail: Option<Box<Vec<u8>>>,
    wake_at: Due,
    /// Bytes that the peer has not read yet, as the wire last told.
    unsent_bytes: u32,
}

impl Line {
    fn new(machine: Box<dyn Session>, tail: Vec<u8>, wake_at: Option<Millis>) -> Line {
        let mut line = Line { machine, tail: None, wake_at: wake_at.into(), unsent_bytes: 0 };
        line.keep_tail(tail);
        line
    }

    fn keep_tail(&mut self, tail: Vec<u8>) {
        self.tail = (!tail.is_empty()).then(|| Box::new(tail));
    }

    fn take_tail(&mut self) -> Vec<u8> {
        self.tail.take().map(|tail| *tail).unwrap_or_default()
    }
}

const _: () = assert!(size_of::<Seat>() <= 48, "a million of them lie here");

/// The floor.
pub struct Floor {
    hub: Shard,
    seats: Vec<Seat>,
    free: Vec<u32>,
    wheel: Wheel,
    /// Scratch for what machines write.
    out: Vec<u8>,
    /// Where in `out` a new write begins; empty but for peers that need it.
    cuts: Vec<usize>,
    /// Why the machine just called wants to close.
    closing: Option<Close>,
    due: Vec<u32>,
    ended: Vec<Ended>,
    now: Millis,
    unix: UnixMs,
}

/// Input that may lie unused beyond the largest packet: what one read may bring on top.
const TAIL_BYTES_OVER: usize = 128 * 1024;

impl Floor {
    /// A floor around `hub`.
    pub fn new(hub: Shard) -> Floor {
        Floor {
            hub,
            seats: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::default(),
            out: Vec::new(),
            cuts: Vec::new(),
            closing: None,
            due: Vec::new(),
            ended: Vec::new(),
            now: Millis(0),
            unix: UnixMs(0),
        }
    }

    /// Tells the time for all calls until the next telling.
    pub fn set_time(&mut self, now: Millis, unix: UnixMs) {
        self.now = now;
        self.unix = unix;
        self.hub.set_time(now, unix);
    }

    /// What the owner lets peers use.
    pub fn limits(&self) -> Limits {
        self.hub.limits()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.hub.counters()
    }

    // ---- what the driver brings ----

    /// The seat that the next connection will take, however it comes, so that the driver can tie
    /// its socket to it first.
    pub fn vacant(&self) -> ConnId {
        match self.free.last() {
            Some(index) => ConnId { index: *index, generation: self.seats[*index as usize].generation },
            None => ConnId { index: self.seats.len() as u32, generation: 0 },
        }
    }

    /// A connection was accepted.
    pub fn open(&mut self, protocol: &Protocol, remote: SocketAddr, wire: &mut impl Wire) {
        self.open_machine(
            protocol.name,
            (protocol.open)(Peer { remote, now: self.now, limits: self.hub.limits() }),
            remote,
            wire,
        );
    }

    /// A connection was made, from either side, and this machine speaks on it.
    pub fn open_machine(&mut self, protocol: &'static str, machine: Box<dyn Session>, remote: SocketAddr, wire: &mut impl Wire) {
        let conn = self.seat(Line::new(machine, Vec::new(), None));
        self.hub.opened(conn, protocol, remote);
        self.call(conn, |machine, cx| machine.on_open(cx));
        self.wind_up(conn, wire);
        self.settle(wire);
    }

    /// See [`Shard::vouch`]. Before the first bytes of the connection.
    pub fn vouch(&mut self, conn: ConnId, login: Login) {
        self.hub.vouch(conn, login);
    }

    /// A connection arrived from another shard.
    pub fn arrive(&mut self, moving: Moving, wire: &mut impl Wire) {
        let Moving { machine, tail, wake_at, protocol, remote, transfer } = moving;
        let conn = self.seat(Line::new(machine, tail, wake_at));
        self.arm(conn);
        self.hub.opened(conn, protocol, remote);
        self.hub.arrived(conn, *transfer, self.now, self.unix);
        self.settle(wire);
    }

    /// Whether a connection has a session.
    pub fn is_let_in(&self, conn: ConnId) -> bool {
        self.hub.session_of(conn).is_some()
    }

    /// Bytes came in. Tells what they were about.
    pub fn bytes(&mut self, conn: ConnId, input: &[u8], wire: &mut impl Wire) -> Heard {
        self.hub.heard = Heard::Nothing;
        let Some(line) = self.line(conn) else { return Heard::Nothing };
        if line.tail.is_none() {
            let used = self.call(conn, |machine, cx| machine.on_bytes(cx, input)).unwrap_or(0);
            if let Some(line) = self.line(conn)
                && used < input.len()
            {
                line.keep_tail(input[used..].to_vec());
            }
        } else {
            line.tail.get_or_insert_default().extend_from_slice(input);
            self.show_tail(conn);
        }
        let tail_max = self.hub.limits().packet_bytes + TAIL_BYTES_OVER;
        if self.line(conn).is_some_and(|line| line.tail.as_ref().is_some_and(|tail| tail.len() > tail_max)) {
            self.finish(conn, Close { fault: Fault::Peer, why: "sent too much before it was let in".into() }, wire);
        }
        let heard = self.hub.heard;
        self.wind_up(conn, wire);
        self.settle(wire);
        heard
    }

    /// The peer read some of what was waiting; `unsent_bytes` still wait.
    pub fn drained(&mut self, conn: ConnId, unsent_bytes: usize, wire: &mut impl Wire) {
        let Some(line) = self.line(conn) else { return };
        line.unsent_bytes = u32::try_from(unsent_bytes).unwrap_or(u32::MAX);
        self.deliver(conn, wire);
        self.flush(wire);
    }

    /// The peer is gone.
    pub fn lost(&mut self, conn: ConnId, close: Close, wire: &mut impl Wire) {
        self.finish(conn, close, wire);
        self.settle(wire);
    }

    /// Mail came in from another shard or from the platform.
    pub fn mail(&mut self, mail: Mail, wire: &mut impl Wire) {
        self.hub.mail(mail, self.now, self.unix);
        self.settle(wire);
    }

    /// Time passed: wakes the machines whose time has come. To be called about twice a second.
    pub fn tick(&mut self, wire: &mut impl Wire) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.now, &mut due);
        for index in due.drain(..) {
            let (now, conn) = (self.now, ConnId { index, generation: self.seats[index as usize].generation });
            let Some(line) = self.line(conn) else { continue };
            if line.wake_at.at().is_some_and(|at| at <= now) {
                line.wake_at = Due::NEVER;
                self.call(conn, |machine, cx| machine.on_timer(cx));
                self.wind_up(conn, wire);
            } else {
                self.arm(conn);
            }
        }
        self.due = due;
        self.hub.tick(self.now, self.unix);
        self.settle(wire);
    }

    /// Gives peers what waits for them: once a turn, so that one write carries all that came together.
    pub fn flush(&mut self, wire: &mut impl Wire) {
        while !self.hub.work().ready.is_empty() {
            let mut ready = std::mem::take(&mut self.hub.work().ready);
            for conn in ready.drain(..) {
                self.deliver(conn, wire);
            }
            // Hand the list's memory back unless deliveries have begun a new one.
            if self.hub.work().ready.is_empty() {
                self.hub.work().ready = ready;
            }
            self.settle(wire);
        }
    }

    /// Says goodbye to everyone, and where to go.
    pub fn close_all(&mut self, go_to: Option<&Arc<str>>, close: &Close, wire: &mut impl Wire) {
        for index in 0..self.seats.len() {
            let Seat { generation, line: Some(_) } = &self.seats[index] else { continue };
            let conn = ConnId { index: index as u32, generation: *generation };
            let answer = Answer::Closing { ending: Ending::Stopping { go_to: go_to.cloned() }, close: close.clone() };
            self.call(conn, |machine, cx| machine.on_answer(cx, answer));
            self.wind_up(conn, wire);
            self.finish(conn, close.clone(), wire);
        }
        self.settle(wire);
    }

    // ---- what the driver takes away ----

    /// What is to be kept now. The next batch comes only after `Mail::Kept` has answered this one.
    pub fn batch(&mut self) -> Option<Arc<Vec<Note>>> {
        self.hub.journal.batch(self.now)
    }

    /// When there will be a batch without anything further coming.
    pub fn batch_due(&self) -> Option<Millis> {
        self.hub.journal.due()
    }

    /// Whether everything noted so far is kept, or cannot be.
    pub fn has_kept_all(&self) -> bool {
        self.hub.journal.is_done()
    }

    /// How much is noted and not kept, or promised and not answered.
    pub fn unfinished(&self) -> usize {
        self.hub.journal.unfinished()
    }

    /// Queues to be read from disk; answered by `Mail::Came`.
    pub fn loads(&mut self) -> &mut Vec<(SessionPlace, SessionId)> {
        &mut self.hub.work().loads
    }

    /// Messages for every other shard.
    pub fn broadcast(&mut self) -> &mut Vec<Broadcast> {
        &mut self.hub.work().broadcast
    }

    /// Mail for one other shard.
    pub fn posts(&mut self) -> &mut Vec<(u16, Mail)> {
        &mut self.hub.work().posts
    }

    /// What the platform is to hear.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.hub.work().events
    }

    /// Connections that ended.
    pub fn ended(&mut self) -> &mut Vec<Ended> {
        &mut self.ended
    }

    // ---- inside ----

    fn seat(&mut self, line: Line) -> ConnId {
        let conn = self.vacant();
        match self.free.pop() {
            Some(index) => self.seats[index as usize].line = Some(line),
            None => self.seats.push(Seat { generation: 0, line: Some(line) }),
        }
        conn
    }

    fn line(&mut self, conn: ConnId) -> Option<&mut Line> {
        self.seats.get_mut(conn.index as usize).filter(|seat| seat.generation == conn.generation)?.line.as_mut()
    }

    /// One call into a machine. What it wrote stays in `out`; a wish to close ends up in `closing`.
    fn call<T>(&mut self, conn: ConnId, into: impl FnOnce(&mut dyn Session, &mut Context<'_>) -> T) -> Option<T> {
        let seat = self.seats.get_mut(conn.index as usize).filter(|seat| seat.generation == conn.generation)?;
        let line = seat.line.as_mut()?;
        let mut wake_at = line.wake_at.at();
        let mut hub = self.hub.verbs(conn, self.now, self.unix);
        let mut cx = Context {
            now: self.now,
            unix: self.unix,
            out: &mut self.out,
            cuts: &mut self.cuts,
            hub: &mut hub,
            wake_at: &mut wake_at,
            closing: &mut self.closing,
        };
        let result = into(&mut *line.machine, &mut cx);
        line.wake_at = wake_at.into();
        Some(result)
    }

    /// Shows the machine what it has not used yet.
    fn show_tail(&mut self, conn: ConnId) {
        let Some(line) = self.line(conn) else { return };
        let mut tail = line.take_tail();
        let used = self.call(conn, |machine, cx| machine.on_bytes(cx, &tail)).unwrap_or(0);
        if let Some(line) = self.line(conn)
            && used < tail.len()
        {
            // What is left is usually the beginning of one packet: give back the rest of the memory.
            tail.drain(..used);
            if used > 0 {
                tail.shrink_to_fit();
            }
            line.keep_tail(tail);
        }
    }

    /// After calls into a machine: its bytes to the wire, its wake-up time to the wheel, its end.
    fn wind_up(&mut self, conn: ConnId, wire: &mut impl Wire) {
        let written = (!self.out.is_empty() && self.line(conn).is_some()).then(|| {
            let mut start = 0;
            for cut in self.cuts.drain(..).filter(|cut| *cut < self.out.len()) {
                wire.write(conn, &self.out[start..cut]);
                start = cut;
            }
            wire.write(conn, &self.out[start..])
        });
        self.out.clear();
        self.cuts.clear();
        let closing = self.closing.take();
        let Some(line) = self.line(conn) else { return };
        if let Some(unsent_bytes) = written {
            line.unsent_bytes = u32::try_from(unsent_bytes).unwrap_or(u32::MAX);
        }
        let unsent_bytes = line.unsent_bytes as usize;
        if let Some(close) = closing {
            self.finish(conn, close, wire);
        } else if unsent_bytes > limits::UNSENT_BYTES_MAX {
            self.finish(conn, Close { fault: Fault::Line, why: "does not read what it is sent".into() }, wire);
        } else {
            self.arm(conn);
        }
    }

    /// Makes sure that the wheel fires no later than the machine's wake-up time.
    fn arm(&mut self, conn: ConnId) {
        if let Some(at) = self.line(conn).and_then(|line| line.wake_at.at()) {
            self.wheel.set(conn.index, at);
        }
    }

    fn deliver(&mut self, conn: ConnId, wire: &mut impl Wire) {
        loop {
            let Some(line) = self.line(conn) else { return };
            if line.unsent_bytes as usize >= limits::UNSENT_BYTES_HIGH || self.closing.is_some() {
                break;
            }
            let Some(delivery) = self.hub.next_delivery(conn, self.now, self.unix) else { break };
            self.call(conn, |machine, cx| machine.on_delivery(cx, &delivery));
            if self.out.len() >= limits::UNSENT_BYTES_HIGH {
                self.wind_up(conn, wire);
            }
        }
        self.wind_up(conn, wire);
    }

    /// Carries out what the hub left to be done at once, until nothing is left. Deliveries wait for `flush`.
    fn settle(&mut self, wire: &mut impl Wire) {
        loop {
            self.hub.follow_journal(self.now);
            if self.hub.work().answers.is_empty() && self.hub.work().transfers.is_empty() {
                return;
            }
            self.carry_out(wire);
        }
    }

    fn carry_out(&mut self, wire: &mut impl Wire) {
        while !self.hub.work().answers.is_empty() || !self.hub.work().transfers.is_empty() {
            for (conn, answer) in std::mem::take(&mut self.hub.work().answers) {
                let welcome = matches!(answer, Answer::Welcome(_));
                let closing = match &answer {
                    Answer::Closing { close, .. } => Some(close.clone()),
                    _ => None,
                };
                self.call(conn, |machine, cx| machine.on_answer(cx, answer));
                if welcome && self.closing.is_none() && self.line(conn).is_some_and(|line| line.tail.is_some()) {
                    self.show_tail(conn);
                }
                self.wind_up(conn, wire);
                if let Some(close) = closing {
                    self.finish(conn, close, wire);
                }
            }
            for (conn, to, transfer) in std::mem::take(&mut self.hub.work().transfers) {
                let Some(mut line) = self.unseat(conn) else { continue };
                let Some((protocol, remote)) = self.hub.peer_of(conn) else { continue };
                let gone = Close { fault: Fault::Nobody, why: "goes on at its home shard".into() };
                self.hub.closed(conn, &gone, self.now, self.unix);
                let (tail, wake_at) = (line.take_tail(), line.wake_at.at());
                wire.hand_over(conn, to, Moving { machine: line.machine, tail, wake_at, protocol, remote, transfer });
            }
        }
    }

    fn finish(&mut self, conn: ConnId, close: Close, wire: &mut impl Wire) {
        if self.unseat(conn).is_none() {
            return;
        }
        let peer = self.hub.peer_of(conn);
        wire.close(conn);
        self.hub.closed(conn, &close, self.now, self.unix);
        self.ended.extend(peer.map(|(protocol, remote)| Ended { conn, protocol, remote, close }));
    }

    fn unseat(&mut self, conn: ConnId) -> Option<Line> {
        let seat = self.seats.get_mut(conn.index as usize).filter(|seat| seat.generation == conn.generation)?;
        let line = seat.line.take()?;
        seat.generation = seat.generation.wrapping_add(1);
        self.free.push(conn.index);
        self.wheel.clear(conn.index);
        Some(line)
    }
}
