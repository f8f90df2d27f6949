//! What lines say: one read for each that is ready. Before somebody comes in, who may take a session over,
//! what its older line has sent by then (a last message and a goodbye perhaps) is read: lines that were let
//! in come before newcomers, and are looked at once more when the newcomers' words have been taken in.

use std::ops::Range;
use std::time::Duration;

use contract::{Close, ConnId, Fault};
use hub::Heard;

use crate::ends::{BROKE, HUNG_UP};
use crate::layer::Flow;
use crate::poller::{For, Token};
use crate::shard::Shard;
use crate::sockets::Got;

/// What is read of a newcomer at once: a login is small, and the rest is read when it has been let in.
const EARLY_BYTES: usize = 4096;

impl Shard {
    /// Reads what has come, and sends what slow peers have room for again.
    pub fn hear(&mut self, ready: &[crate::poller::Ready]) {
        for ready in ready {
            match ready.token {
                Token::Conn(conn) => {
                    if ready.writable {
                        self.drain(conn);
                    }
                    if ready.readable && self.is_known(conn) {
                        let (_, heard) = self.read(conn);
                        self.note_heard(conn, heard);
                    } else if ready.readable {
                        self.newcomers.push(conn);
                    }
                }
                Token::Closing(place) => self.closings.go_on(place, &self.poller),
                // Doors come later. The inbox is looked into anyhow.
                Token::Door(_) | Token::Bell | Token::Beat | Token::Pulse => {}
            }
        }
        if !self.newcomers.is_empty() {
            self.hear_newcomers();
        }
    }

    /// Reads what lines that were let in have sent by now. Whatever else is ready is told again.
    pub fn hear_known(&mut self) {
        self.hear_all_at_leisure();
        let mut ready = Vec::new();
        self.poller.wait(&mut ready, Some(Duration::ZERO));
        for ready in ready {
            if let Token::Conn(conn) = ready.token
                && ready.readable
                && self.is_known(conn)
            {
                self.read(conn);
            }
        }
    }

    fn hear_newcomers(&mut self) {
        let (newcomers, mut early) = (std::mem::take(&mut self.newcomers), std::mem::take(&mut self.early));
        for some in newcomers.chunks(early.len() / EARLY_BYTES) {
            let mut heard: Vec<(ConnId, Range<usize>, Got)> = Vec::with_capacity(some.len());
            for (conn, start) in some.iter().zip((0..).step_by(EARLY_BYTES)) {
                let got = self.sockets.read(*conn, &mut early[start..start + EARLY_BYTES]);
                let end = if let Got::Bytes(count) = got { start + count } else { start };
                heard.push((*conn, start..end, got));
            }
            self.hear_known();
            for (conn, range, got) in heard {
                self.take_in(conn, &early[range], got);
            }
        }
        self.early = early;
        self.newcomers = newcomers;
        self.newcomers.clear();
    }

    fn is_known(&mut self, conn: ConnId) -> bool {
        self.sockets.is_known(conn, || self.floor.is_let_in(conn))
    }

    /// One read: how much it brought, and what that was about.
    pub fn read(&mut self, conn: ConnId) -> (usize, Heard) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let got = self.sockets.read(conn, &mut buffer);
        let count = if let Got::Bytes(count) = got { count } else { 0 };
        let heard = self.take_in(conn, &buffer[..count], got);
        self.buffer = buffer;
        (count, heard)
    }

    /// What one read brought.
    fn take_in(&mut self, conn: ConnId, bytes: &[u8], got: Got) -> Heard {
        match got {
            Got::Bytes(count) => {
                let heard = if self.sockets.is_layered(conn) {
                    self.take_in_layered(conn, bytes)
                } else {
                    self.floor.bytes(conn, bytes, &mut self.sockets)
                };
                self.shards.stats[usize::from(self.index)].add_bytes_in(count);
                heard
            }
            Got::Nothing => Heard::Nothing,
            Got::HungUp => self.lose(conn, HUNG_UP),
            Got::Broke => self.lose(conn, BROKE),
        }
    }

    /// Bytes of a connection with layers: what they carry goes to the machine, then the layers' own end.
    fn take_in_layered(&mut self, conn: ConnId, input: &[u8]) -> Heard {
        let Shard { floor, sockets, plain, .. } = self;
        plain.clear();
        let flow = sockets.receive(conn, input, plain);
        let heard = if plain.is_empty() { Heard::Nothing } else { floor.bytes(conn, plain, sockets) };
        match flow {
            Ok(Flow::Open) => heard,
            Ok(Flow::Ended) => self.lose(conn, HUNG_UP),
            Err(close) => {
                self.floor.lost(conn, close, &mut self.sockets);
                Heard::More
            }
        }
    }

    fn lose(&mut self, conn: ConnId, why: &'static str) -> Heard {
        self.floor.lost(conn, Close { fault: Fault::Line, why: why.into() }, &mut self.sockets);
        Heard::More
    }

    /// Sends what a slow peer left, as it reads.
    fn drain(&mut self, conn: ConnId) {
        let Some(left) = self.sockets.drain(conn) else { return };
        if left == 0 {
            self.watch(conn, For::Reading);
        }
        // Deliveries that this sets free may clog the socket again: then it is asked for again.
        self.floor.drained(conn, left, &mut self.sockets);
    }
}
