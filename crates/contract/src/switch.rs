//! The contract between one shard's hub and whoever drives it: the sockets of `net`, or a test that is
//! its own network. The driver calls in, then drains [`Work`]; the hub never calls out.

use std::net::SocketAddr;

use model::message::SharedMessage;
use model::{DeviceNumber, Millis, UnixMs};

use crate::event::Event;
use crate::gate::{Admission, Refusal, Ticket, Verdict};
use crate::session::{Answer, Close, Delivery, Hello, Hub};

/// A connection on its shard: a place and how often that place was used before, so that an answer which
/// comes too late never reaches a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// The place in the shard's table.
    pub index: u32,
    /// How many connections held that place before.
    pub generation: u32,
}

/// What one shard sends another, and the platform sends a shard.
#[derive(Clone, Debug)]
pub enum Mail {
    /// A message published elsewhere: deliver it to those who want it here.
    Message(SharedMessage),
    /// A push for one device, whose sessions all live on this shard. Goes to sessions with an open line
    /// only, and what becomes of it is reported as `Event::Receipt`.
    Push(SharedMessage),
    /// The gate's late answer to a hello.
    Verdict(Ticket, Verdict),
    /// The answer to a publish that had to wait.
    Published(Ticket, Result<(), Refusal>),
    /// End every line of a device, and its kept sessions if `forget`.
    Kick {
        /// The device.
        device: DeviceNumber,
        /// Why.
        why: Close,
        /// Whether the device is gone for good.
        forget: bool,
    },
}

/// A connection that belongs on another shard: what the hub there needs to go on.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// What the peer said.
    pub hello: Hello,
    /// What the gate said.
    pub admission: Admission,
}

/// What a shard's hub wants done after a call. The driver empties every list each turn.
#[derive(Debug, Default)]
pub struct Work {
    /// Answers for connections of this shard: `Session::on_answer`.
    pub answers: Vec<(ConnId, Answer)>,
    /// Connections that have deliveries waiting. May name a connection twice.
    pub ready: Vec<ConnId>,
    /// Connections to hand to another shard.
    pub transfers: Vec<(ConnId, u16, Box<Transfer>)>,
    /// Messages for every other shard.
    pub broadcast: Vec<SharedMessage>,
    /// What the platform is to hear.
    pub events: Vec<Event>,
}

impl Work {
    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
            && self.ready.is_empty()
            && self.transfers.is_empty()
            && self.broadcast.is_empty()
            && self.events.is_empty()
    }
}

/// One shard's hub, as its driver sees it.
pub trait Switch {
    /// The hub's verbs for one connection, for as long as one call into a machine lasts.
    fn verbs(&mut self, conn: ConnId, now: Millis, unix: UnixMs) -> impl Hub + '_;

    /// A connection was accepted here.
    fn opened(&mut self, conn: ConnId, protocol: &'static str, remote: SocketAddr);

    /// A connection was handed over from another shard, after `opened`.
    fn arrived(&mut self, conn: ConnId, transfer: Transfer, now: Millis, unix: UnixMs);

    /// A connection is gone, whatever the reason.
    fn closed(&mut self, conn: ConnId, close: &Close, now: Millis, unix: UnixMs);

    /// Mail came in.
    fn mail(&mut self, mail: Mail, now: Millis, unix: UnixMs);

    /// The next thing for a connection's peer, if its window is open.
    fn next_delivery(&mut self, conn: ConnId, now: Millis, unix: UnixMs) -> Option<Delivery>;

    /// Time passes: sessions whose keeping ended go.
    fn tick(&mut self, now: Millis, unix: UnixMs);

    /// What is to be done.
    fn work(&mut self) -> &mut Work;
}
