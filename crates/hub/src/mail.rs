//! What travels between shards, and what a shard's hub leaves to be done after a call. The hub never
//! calls out: the floor drains [`Work`].

use contract::keep::ReturnedWaiting;
use contract::store::StoreError;
use contract::{
    Admission, Answer, Close, ConnId, Event, Hello, Note, PromiseId, Refusal, ScramKeys, SessionId, SessionPlace, Ticket,
    Verdict, Waiting,
};
use model::PartyKey;
use model::message::SharedMessage;

use crate::address::Parcel;

/// What one shard sends another, and the platform sends a shard.
#[derive(Debug)]
pub enum Mail {
    /// A message published elsewhere: deliver it to those who want it here.
    Message(Broadcast),
    /// A message that the platform publishes: deliver it everywhere.
    Publish(SharedMessage),
    /// A message for one member of a shared subscription.
    Shared {
        /// The member's session.
        session: SessionPlace,
        /// The message.
        waiting: Box<Waiting>,
        /// Who wants to know that it is kept.
        safe: Option<Safe>,
    },
    /// What another shard was to keep for a promise of this one is kept there, or cannot be.
    Safe(PromiseId, Result<(), Refusal>),
    /// What another shard has for this one to keep together with its own.
    Gathered(PromiseId, Vec<Gathered>),
    /// What was given away to be kept together with others is kept, or cannot be.
    Together(Vec<(SessionPlace, u64)>, Result<(), Refusal>),
    /// The vault's answer to the batch that is under way.
    Kept(Result<(), StoreError>),
    /// What waited on disk for a session.
    Came(SessionPlace, Result<Vec<ReturnedWaiting>, StoreError>),
    /// A push for one device, whose sessions all live on this shard. Goes to sessions with an open line
    /// only, and what becomes of it is reported as `Event::Receipt`.
    Push(SharedMessage),
    /// A message to a number, for the device that has it and whose sessions all live on this shard.
    Address(Box<Parcel>, Option<Safe>),
    /// The same from the platform, which hears of it as `Event::Sent` under its own word.
    Send(u64, Box<Parcel>),
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

/// A message for the sessions of other shards.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The message.
    pub message: SharedMessage,
    /// Who wants to know when all who must keep it have.
    pub safe: Option<Safe>,
}

/// The shard that waits until all who must keep a message have, and its promise.
#[derive(Clone, Copy, Debug)]
pub struct Safe {
    /// The shard.
    pub shard: u16,
    /// Its promise.
    pub promise: PromiseId,
    /// It wants what is to be kept, to keep all of it together.
    pub together: bool,
}

/// What is kept together with the rest of a publish, or waits for that.
#[derive(Clone, Debug)]
pub enum Gathered {
    /// A topic's last value.
    Retained(Note),
    /// A message in a queue.
    Queued {
        /// What is to be kept; nothing of a session that ends with its line, which is only given the message
        /// when the rest is kept: a publisher that is refused may try again.
        note: Option<Note>,
        /// The shard on which it waits.
        shard: u16,
        /// The session in which it waits.
        session: SessionPlace,
        /// Its place there.
        seq: u64,
    },
}

impl Gathered {
    /// What is to be kept.
    pub fn note(&self) -> Option<&Note> {
        match self {
            Gathered::Retained(note) => Some(note),
            Gathered::Queued { note, .. } => note.as_ref(),
        }
    }
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
    pub broadcast: Vec<Broadcast>,
    /// Mail for one other shard.
    pub posts: Vec<(u16, Mail)>,
    /// Queues to be read from disk.
    pub loads: Vec<(SessionPlace, SessionId)>,
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
    /// Facts handed to the vault.
    pub noted: u64,
    /// Facts that were pointless before they were handed over.
    pub taken_back: u64,
}
