//! One shard's thread. It sleeps until something is ready, and then takes one turn: what came in on lines,
//! who came in, the inbox, the time, and one flush, so that everything which came together leaves together.
//! No task and no wake-up of its own for any connection. What needs patience (handshakes, dialling) runs
//! elsewhere and comes by the inbox (`patience`).
//!
//! | file | its part of a turn |
//! |---|---|
//! | `poller` | sleeping, and being woken |
//! | `hearing` | what lines say |
//! | `leisure` | lines that only acknowledge, read a moment later |
//! | `doors` | who comes in |
//! | `posts` | the inbox |
//! | `carrying` | carrying out what the floor has left to be done |
//! | `closing`, `ends` | polite closes; telling of ends |

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use contract::store::StoreError;
use contract::{Close, ConnId};
use hub::{Broadcast, Floor, Mail};
use model::Millis;
use tokio::sync::oneshot;

use crate::addresses::Addresses;
use crate::closing::{Closings, LINGER_MS};
use crate::doors::Doors;
use crate::ends::Ends;
use crate::leisure::Leisure;
use crate::patience::Patience;
use crate::poller::{For, Poller, Ready, Token};
use crate::sockets::{Baggage, Sockets};
use crate::{Post, Shards, Surroundings};

/// What one read takes at most. Shared by all connections of a shard.
const READ_BYTES: usize = 64 * 1024;
/// How long a stop waits for the disk to take the rest.
const KEEP_PATIENCE_MS: u64 = 20_000;

/// A shard and all that it has.
pub(crate) struct Shard {
    pub index: u16,
    pub floor: Floor,
    pub sockets: Sockets,
    pub poller: Poller,
    pub doors: Doors,
    pub leisure: Leisure,
    pub closings: Closings,
    pub ends: Ends,
    pub patience: Patience,
    /// Who hears of the end of each connection that was made from here.
    pub dialled: HashMap<ConnId, oneshot::Sender<Close>>,
    pub shards: Arc<Shards>,
    pub addresses: Arc<Addresses>,
    pub house: Surroundings,
    /// Where reads go.
    pub buffer: Vec<u8>,
    /// Where newcomers' first words wait for their turn.
    pub early: Vec<u8>,
    pub newcomers: Vec<ConnId>,
    /// What the layers of a connection made of one read.
    pub plain: Vec<u8>,
    /// Lists that are used again each turn.
    pub ready: Vec<Ready>,
    pub posts: Vec<Post>,
    pub outgoing: Vec<Broadcast>,
    pub now: Millis,
    stopping: Option<Stopping>,
}

/// Goodbyes are being said: nothing new is begun.
#[derive(Clone, Copy)]
struct Stopping {
    /// The disk has taken the rest, or has had its time.
    kept: bool,
    /// When the next patience ends: first with the disk, then with peers that read their goodbyes.
    until: Millis,
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub index: u16,
    pub hub: hub::Shard,
    pub poller: Poller,
    pub doors: Doors,
    pub shards: Arc<Shards>,
    pub addresses: Arc<Addresses>,
    pub house: Surroundings,
}

impl Shard {
    /// Runs until it is told to stop.
    pub fn run(parts: Parts) {
        let Parts { index, hub, poller, doors, shards, addresses, house } = parts;
        let (patience, now) = (Patience::new(index, &shards, &house), house.clock.millis());
        let mut shard = Shard {
            index,
            floor: Floor::new(hub),
            sockets: Sockets::default(),
            poller,
            doors,
            leisure: Leisure::default(),
            closings: Closings::default(),
            ends: Ends::default(),
            patience,
            dialled: HashMap::new(),
            shards,
            addresses,
            house,
            buffer: vec![0; READ_BYTES],
            early: vec![0; READ_BYTES],
            newcomers: Vec::new(),
            plain: Vec::new(),
            ready: Vec::new(),
            posts: Vec::new(),
            outgoing: Vec::new(),
            now,
            stopping: None,
        };
        while !shard.is_over() {
            shard.turn();
        }
    }

    fn turn(&mut self) {
        let sleep = self.sleep();
        self.leisure.keep_pulse(&self.poller);
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(&mut ready, sleep);
        self.tell_time();
        self.hear_at_leisure();
        self.hear(&ready);
        self.accept(&ready);
        self.ready = ready;
        self.read_inbox();
        if self.poller.take_beat() {
            self.tick();
        }
        self.carry_out();
    }

    /// How long nothing will have to be done, unless something comes; `None` until the next beat.
    fn sleep(&self) -> Option<Duration> {
        if !self.shards.inboxes[usize::from(self.index)].may_sleep() {
            return Some(Duration::ZERO);
        }
        let due = self.floor.batch_due()?;
        Some(Duration::from_millis(due.since(self.house.clock.millis())))
    }

    fn tell_time(&mut self) {
        self.now = self.house.clock.millis();
        self.floor.set_time(self.now, self.house.clock.unix());
    }

    fn tick(&mut self) {
        self.floor.tick(&mut self.sockets);
        self.leisure.tick();
        self.closings.tick(self.now);
        self.doors.tick(&self.poller);
        let Shard { floor, sockets, ends, .. } = self;
        ends.tick();
        ends.stats.hub = floor.counters();
        ends.stats.connections = floor.connections() as u64;
        ends.stats.bytes_out = sockets.bytes_out;
        self.shards.stats[usize::from(self.index)].write(&ends.stats);
    }

    /// Gives a socket the seat that the floor uses next, and has it watched.
    pub fn seat_in(&mut self, stream: TcpStream, baggage: Option<Box<Baggage>>) -> io::Result<ConnId> {
        let conn = self.floor.vacant();
        self.poller.add(&stream, Token::Conn(conn), For::Reading)?;
        self.sockets.bind(conn, stream, baggage);
        Ok(conn)
    }

    /// What the vault is to call with its answer, on whatever thread: the answer comes as mail.
    pub fn answer<T: 'static>(
        &self,
        mail: impl FnOnce(Result<T, StoreError>) -> Mail + Send + 'static,
    ) -> contract::keep::Then<T> {
        let (shards, index) = (self.shards.clone(), usize::from(self.index));
        Box::new(move |result| shards.post(index, Post::Mail(mail(result))))
    }

    /// Says goodbye to everyone, and begins nothing new.
    pub fn stop(&mut self, go_to: Option<&Arc<str>>, close: &Close) {
        self.patience.end();
        // A stop is no loss to whoever keeps a connection made.
        self.dialled.clear();
        self.doors.shut(&self.poller);
        self.stopping = Some(Stopping { kept: false, until: self.now.plus_ms(KEEP_PATIENCE_MS) });
        self.floor.close_all(go_to, close, &mut self.sockets);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Whether nothing is left to be done after a stop: all is kept, and what polite closes are under way
    /// have had their time.
    fn is_over(&mut self) -> bool {
        let Some(stopping) = &mut self.stopping else { return false };
        if !stopping.kept && (self.floor.has_kept_all() || stopping.until <= self.now) {
            *stopping = Stopping { kept: true, until: self.now.plus_ms(LINGER_MS) };
        }
        stopping.kept && (self.closings.len() == 0 || stopping.until <= self.now)
    }
}
