//! What travels between shards, and what a shard's hub leaves to be done after a call. The hub never
//! calls out: the floor drains [`Work`].

use contract::{Admission, Answer, Close, ConnId, Event, Hello, Refusal, ScramKeys, SessionPlace, Ticket, Verdict};
use model::PartyKey;
use model::message::SharedMessage;

use crate::backlog::Waiting;

/// What one shard sends another, and the platform sends a shard.
#[derive(Debug)]
pub enum Mail {
    /// A message published elsewhere: deliver it to those who want it here.
    Message(SharedMessage),
    /// A message that the platform publishes: deliver it everywhere.
    Publish(SharedMessage),
    /// A message for one member of a shared subscription.
    Shared {
        /// The member's session.
        session: SessionPlace,
        /// The message.
        waiting: Box<Waiting>,
    },
    /// A push for one device, whose sessions all live on this shard. Goes to sessions with an open line
    /// only, and what becomes of it is reported as `Event::Receipt`.
    Push(SharedMessage),
    /// The keys of a SCRAM exchange.
    Scram(Ticket, Box<ScramKeys>),
    /// The gate's late answer to a hello.
    Verdict(Ticket, Verdict),
    /// The answer to a publish that had to wait.
    Published(Ticket, Result<(), Refusal>),
    /// End every line of a device or token, and its kept sessions if `forget`.
    Kick {
        /// Whose.
        whom: PartyKey,
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

/// What a shard's hub wants done after a call. The floor empties every list each turn.
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
    /// Mail for one other shard.
    pub posts: Vec<(u16, Mail)>,
    /// What the platform is to hear.
    pub events: Vec<Event>,
}

/// What a shard has counted since it started. Plain integers on the shard; the floor copies them out
/// now and then, so that counting costs nothing on the message path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that peers published.
    pub published: u64,
    /// Messages given to peers.
    pub delivered: u64,
    /// Messages dropped because a session's queue was full.
    pub dropped: u64,
    /// Messages dropped because their time had run out.
    pub expired: u64,
    /// Publishes and subscriptions that were not allowed.
    pub denied: u64,
    /// Logins let in.
    pub welcomed: u64,
    /// Logins refused.
    pub refused: u64,
    /// Sessions there are, with and without a line.
    pub sessions: u64,
    /// Sessions there are without a line.
    pub sessions_away: u64,
    /// Retained messages there are; told by the first shard alone, since all share them.
    pub retained: u64,
    /// Subscriptions there are.
    pub subscriptions: u64,
}
