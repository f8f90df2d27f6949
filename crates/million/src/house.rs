//! The shards of the hub with their machines, in one thread, and wires that remember only what the last
//! turn has written. Lines are named by the number of their device, which is all that is known of them here:
//! what it takes per line is made before anything is weighed.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;

use contract::{ConnId, Consumer, Event};
use fleet::Fleet;
use hub::{Broadcast, Commons, Floor, Mail, Moving, Shard, Wire, home_of_device};
use model::limits::Limits;
use model::{DeviceNumber, Message, Millis, UnixMs};

use crate::platform;

/// Monday morning.
const START: i64 = 1_466_599_588_000;

/// What has happened since the last look.
#[derive(Default)]
pub struct Seen {
    /// The bytes that lines were sent, one after the other.
    pub bytes: Vec<u8>,
    /// Who was sent how many of them.
    pub writes: Vec<(u32, usize)>,
    /// Connections that were closed. There should be none.
    pub closed: usize,
    moves: Vec<(u16, u32, Moving)>,
}

struct Pipes {
    /// The line on each seat.
    lines: Vec<u32>,
    seen: Seen,
}

impl Pipes {
    fn tie(&mut self, conn: ConnId, line: u32) {
        let at = conn.index as usize;
        if self.lines.len() <= at {
            self.lines.resize(at + 1, 0);
        }
        self.lines[at] = line;
    }
}

impl Wire for Pipes {
    fn write(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        self.seen.bytes.extend_from_slice(bytes);
        self.seen.writes.push((self.lines[conn.index as usize], bytes.len()));
        0
    }

    fn close(&mut self, _: ConnId) {
        self.seen.closed += 1;
    }

    fn hand_over(&mut self, conn: ConnId, to: u16, moving: Moving) {
        self.seen.moves.push((to, self.lines[conn.index as usize], moving));
    }
}

/// The house.
pub struct House {
    floors: Vec<Floor>,
    wires: Vec<Pipes>,
    fleet: Arc<Fleet>,
    /// Where each line lives.
    places: Vec<(u16, ConnId)>,
    now: Millis,
    /// Facts that the fleet is not told yet.
    untold: Vec<Event>,
    /// Whether facts wait until [`House::tell`].
    pub hold_events: bool,
    /// Pushes that their device has acknowledged.
    pub delivered: u64,
}

impl House {
    /// A house with room for `lines`.
    pub fn new(fleet: Arc<Fleet>, shards: u16, lines: u32) -> House {
        let limits = Limits { subscriptions_per_session: usize::MAX, ..Limits::default() };
        let commons = Arc::new(Commons::new(limits));
        let floor = |index| Floor::new(Shard::new(index, shards, fleet.clone(), platform::bus(), commons.clone()));
        let nowhere = (0, ConnId { index: u32::MAX, generation: u32::MAX });
        let mut house = House {
            floors: (0..shards).map(floor).collect(),
            wires: (0..shards).map(|_| Pipes { lines: vec![u32::MAX; lines as usize + 1], seen: Seen::default() }).collect(),
            fleet,
            places: vec![nowhere; lines as usize + 1],
            now: Millis(1000),
            untold: Vec::new(),
            hold_events: false,
            delivered: 0,
        };
        house.tell_time();
        house
    }

    fn tell_time(&mut self) {
        for floor in &mut self.floors {
            floor.set_time(self.now, UnixMs(START + self.now.0 as i64));
        }
    }

    /// Somebody connects, on the shards in turn.
    pub fn open(&mut self, line: u32) {
        let shard = line as usize / self.floors.len() % self.floors.len();
        let conn = self.floors[shard].vacant();
        self.wires[shard].tie(conn, line);
        self.places[line as usize] = (shard as u16, conn);
        let [a, b, c, d] = line.to_be_bytes();
        let remote = SocketAddr::from(([10, b, c, d], 1024 + u16::from(a)));
        self.floors[shard].open(&protocols::mqtt::PROTOCOL, remote, &mut self.wires[shard]);
    }

    /// Bytes of a line.
    pub fn send(&mut self, line: u32, bytes: &[u8]) {
        let (shard, conn) = self.places[line as usize];
        let shard = usize::from(shard);
        self.floors[shard].bytes(conn, bytes, &mut self.wires[shard]);
        self.settle();
    }

    /// The platform pushes.
    pub fn push(&mut self, device: u32, message: Message) {
        let shard = usize::from(home_of_device(DeviceNumber(device), self.floors.len() as u16));
        self.floors[shard].mail(Mail::Push(Arc::new(message)), &mut self.wires[shard]);
        self.settle();
    }

    /// The platform publishes.
    pub fn publish(&mut self, message: Message) {
        self.floors[0].mail(Mail::Publish(Arc::new(message)), &mut self.wires[0]);
        self.settle();
    }

    /// Time passes.
    pub fn advance_s(&mut self, s: u64) {
        for _ in 0..2 * s {
            self.now = self.now.plus_ms(500);
            self.tell_time();
            for (floor, wire) in self.floors.iter_mut().zip(&mut self.wires) {
                floor.tick(wire);
            }
            self.settle();
        }
    }

    /// Tells the fleet what was held back.
    pub fn tell(&mut self) {
        for event in take(&mut self.untold) {
            self.fleet.on_event(&event);
        }
    }

    /// What was written since the last look, by `look`.
    pub fn seen(&mut self, mut look: impl FnMut(u32, &[u8])) {
        for wire in &mut self.wires {
            let mut from = 0;
            for (line, count) in wire.seen.writes.drain(..) {
                look(line, &wire.seen.bytes[from..from + count]);
                from += count;
            }
            wire.seen.bytes.clear();
        }
    }

    /// Connections that are open, and those that were closed.
    pub fn connections(&self) -> (usize, usize) {
        (self.floors.iter().map(Floor::connections).sum(), self.wires.iter().map(|wire| wire.seen.closed).sum())
    }

    /// Sessions and subscriptions there are, and messages dropped.
    pub fn counted(&self) -> (u64, u64, u64) {
        let all = self.floors.iter().map(Floor::counters);
        all.fold((0, 0, 0), |sum, c| (sum.0 + c.sessions, sum.1 + c.subscriptions, sum.2 + c.dropped))
    }

    fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for shard in 0..self.floors.len() {
                let (floor, wire) = (&mut self.floors[shard], &mut self.wires[shard]);
                floor.flush(wire);
                let batch = floor.batch();
                let (moves, posts) = (take(&mut wire.seen.moves), take(floor.posts()));
                let broadcast = take(floor.broadcast());
                busy |= batch.is_some() || !moves.is_empty() || !posts.is_empty() || !broadcast.is_empty();
                for event in floor.events().drain(..) {
                    self.delivered += u64::from(matches!(&event, Event::Receipt { step: contract::Step::Delivered, .. }));
                    match self.hold_events {
                        true => self.untold.push(event),
                        false => self.fleet.on_event(&event),
                    }
                }
                if batch.is_some() {
                    floor.mail(Mail::Kept(Ok(())), wire);
                }
                moves.into_iter().for_each(|(to, line, moving)| self.arrive(usize::from(to), line, moving));
                posts.into_iter().for_each(|(to, mail)| self.mail(usize::from(to), mail));
                for message in broadcast {
                    self.spread(shard, &message);
                }
            }
        }
    }

    fn arrive(&mut self, to: usize, line: u32, moving: Moving) {
        let conn = self.floors[to].vacant();
        self.wires[to].tie(conn, line);
        self.places[line as usize] = (to as u16, conn);
        self.floors[to].arrive(moving, &mut self.wires[to]);
    }

    fn mail(&mut self, to: usize, mail: Mail) {
        self.floors[to].mail(mail, &mut self.wires[to]);
    }

    fn spread(&mut self, from: usize, message: &Broadcast) {
        for to in (0..self.floors.len()).filter(|to| *to != from) {
            self.mail(to, Mail::Message(message.clone()));
        }
    }
}
