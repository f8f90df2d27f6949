//! What the hub wants kept, as facts in their order: sessions and their subscriptions, what waits in them,
//! open exactly-once exchanges, wills, retained messages. The hub makes [`Note`]s, whoever drives it hands
//! them to the [`Vault`] in batches, and nothing that hangs on a note is acknowledged before its batch is on
//! disk. At a start the vault tells what it has ([`Kept`]); queues are read when their client comes.

use std::sync::Arc;

use model::message::SharedMessage;
use model::{Filter, PartyKey, Qos, UnixMs};

use crate::session::Will;
use crate::store::{Later, StoreError};

/// A kept session's number, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A message that waits for a client.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The message.
    pub message: SharedMessage,
    /// The QoS of this delivery.
    pub qos: Qos,
    /// The device subscribed with `me/…`.
    pub as_me: bool,
    /// Sent because the client has just subscribed.
    pub retained: bool,
    /// The retain flag to show.
    pub retain: bool,
    /// What few messages have.
    pub rare: Option<Box<Rare>>,
}

/// What few waiting messages have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// The numbers of the subscriptions that brought it.
    pub ids: Vec<u32>,
    /// The group and filter of the shared subscription that brought it.
    pub group: Option<(String, Filter)>,
}

/// A session as it is kept, whole: a later one of the same number replaces it.
#[derive(Clone, Debug)]
pub struct KeptSession {
    /// Its number.
    pub id: SessionId,
    /// Whose.
    pub owner: PartyKey,
    /// Its name within its party.
    pub client: Arc<str>,
    /// Seconds that it is kept without a line, see [`Hello::keep_s`](crate::Hello::keep_s).
    pub keep_s: u32,
    /// Since when it has no line; `None` while it has one.
    pub away: Option<UnixMs>,
    /// The last place of its queue that was sent when its line ended.
    pub sent: u64,
}

/// A subscription as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptWish {
    /// The filter as the session holds it; shared ones as `$share/<group>/<filter>`.
    pub filter: Filter,
    /// The QoS granted.
    pub qos: Qos,
    /// The number that deliveries carry; 0 is none.
    pub id: u32,
    /// The device wrote `me/…`.
    pub as_me: bool,
    /// A first-place wildcard may match `dev/…` and `app/…`.
    pub reach: bool,
    /// Not for what the session publishes itself.
    pub no_local: bool,
    /// Show the retain flag as it was published.
    pub as_published: bool,
    /// The party's rules are asked for each message.
    pub checked: bool,
}

/// One fact to keep. Facts of one shard are kept in the order in which they were told.
#[derive(Clone, Debug)]
pub enum Note {
    /// A session is there, or has changed.
    Session(KeptSession),
    /// A session has a will. An earlier one stays until it is said: a client may be back with a new will
    /// before the old one is on its way to everyone.
    Will {
        /// The session.
        session: SessionId,
        /// Tells this will from others of the session; later ones have higher numbers.
        number: u64,
        /// The will.
        will: Box<Will>,
    },
    /// The will of that number was published, or is not needed any more.
    WillSaid(SessionId, u64),
    /// A session has ended, with everything in it.
    Ended(SessionId),
    /// A session wants a topic.
    Wants(SessionId, KeptWish),
    /// It wants one that it wanted before, perhaps with other options.
    WantsAgain(SessionId, KeptWish),
    /// It no longer does.
    Unwants(SessionId, Filter),
    /// A message waits in a session at this place; places only grow.
    Queued {
        /// The session.
        session: SessionId,
        /// The place.
        seq: u64,
        /// The message and how it is to be delivered. Its number is set.
        waiting: Waiting,
        /// When it is no longer worth delivering.
        expires: Option<UnixMs>,
    },
    /// The client has the exactly-once message of this place and owes only the end of the exchange.
    Received(SessionId, u64),
    /// What waited at this place no longer does.
    Settled(SessionId, u64),
    /// The client has begun an exactly-once publish of this id.
    Claimed(SessionId, u16),
    /// It has ended it.
    Released(SessionId, u16),
    /// A topic's last value; one with an empty payload takes it away. Of two for one topic the one with
    /// the higher version counts, whichever is told first: shards do not tell theirs in one order.
    Retained {
        /// Counts all changes of retained messages.
        version: u64,
        /// The message.
        message: SharedMessage,
        /// When it is no longer worth delivering.
        expires: Option<UnixMs>,
    },
    /// All of these or none: an exactly-once publish or a will, and everywhere it waits.
    Together(Vec<Note>),
}

impl Note {
    /// Whether keeping it takes room that something else must free again. The others change or free
    /// what is there, and are kept also when there is no room for more.
    pub fn grows(&self) -> bool {
        match self {
            Note::Queued { .. } | Note::Claimed(..) | Note::Wants(..) => true,
            Note::Retained { message, .. } => !message.payload.is_empty(),
            // A client can be told that its publish was not taken; a will has nobody left to be told.
            Note::Together(notes) => notes.iter().any(|note| matches!(note, Note::Claimed(..))),
            _ => false,
        }
    }
}

/// A session as it comes back, without what waits in it.
#[derive(Clone, Debug)]
pub struct Returned {
    /// The session.
    pub session: KeptSession,
    /// The wills that are still to be published, with their numbers, in the order of these. Only the last may
    /// still have to wait.
    pub wills: Vec<(u64, Box<Will>)>,
    /// Its subscriptions.
    pub wishes: Vec<KeptWish>,
    /// Exactly-once publishes that its client has begun and not ended.
    pub claims: Vec<u16>,
    /// The last place in its queue; 0 when nothing waits.
    pub seq_last: u64,
}

/// A retained message as it comes back.
#[derive(Clone, Debug)]
pub struct ReturnedRetained {
    /// The message, without its time.
    pub message: SharedMessage,
    /// When it is no longer worth delivering.
    pub expires: Option<UnixMs>,
}

/// A waiting message as it comes back.
#[derive(Clone, Debug)]
pub struct ReturnedWaiting {
    /// Its place.
    pub seq: u64,
    /// The message, without its time.
    pub waiting: Waiting,
    /// When it is no longer worth delivering.
    pub expires: Option<UnixMs>,
    /// The client has it and owes only the end of the exchange.
    pub received: bool,
}

/// Everything that the hub must know before it lets anybody in.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// All sessions.
    pub sessions: Vec<Returned>,
    /// All retained messages.
    pub retained: Vec<ReturnedRetained>,
    /// The highest number of a session or message ever given.
    pub number_last: u64,
    /// The highest version of a retained message.
    pub version_last: u64,
}

/// Called when a batch is on disk, or is not.
pub type Then<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Keeps what the hub notes. Called on shards: must not block.
pub trait Vault: Send + Sync {
    /// Reads everything but the queues.
    fn kept(&self) -> Later<Kept>;

    /// Keeps a batch of notes, all or nothing; `StoreError::Full` when there is no room for what grows. A shard hands over its next batch only after the answer,
    /// so that no more than one each is under way.
    fn keep(&self, notes: Arc<Vec<Note>>, then: Then<()>);

    /// Reads what waits in a session, in its order.
    fn queue(&self, session: SessionId, then: Then<Vec<ReturnedWaiting>>);
}
