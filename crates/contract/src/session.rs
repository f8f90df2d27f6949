//! The contract between a protocol and the hub, after quinn: a [`Session`] is a pure machine, one per
//! connection. Bytes and time come in through the `on_*` family; what it wants goes out through its
//! [`Context`]: bytes to write, verbs on the [`Hub`], one wake-up time, and at last a [`Close`].
//! No sockets, no async, no clock, no locks; so a test can be any network it likes.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use model::app::ProtocolSettings;
use model::limits::Limits;
use model::message::{Props, SharedMessage};
use model::{AppId, AppKey, Millis, Party, Qos, Topic, UnixMs};
use serde::{Deserialize, Serialize};

use crate::gate::{Login, Refusal, ScramKeys};

/// How a protocol presents itself to the house: its registration line.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// The one word: folder, config section (`<name>.listen`), metric label, test prefix.
    pub name: &'static str,
    /// Where it listens unless told otherwise; `""` is off.
    pub listen_default: &'static str,
    /// The most bytes that a push to one of its devices can carry; what a single device takes may be less.
    pub push_bytes_max: usize,
    /// Whether its devices can be given what is wanted of them, on `me/twin/desired`.
    pub twins: bool,
    /// Makes the machine for a new connection.
    pub open: fn(Peer) -> Box<dyn Session>,
}

/// What a machine knows of its peer when it is made.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The peer's address.
    pub remote: SocketAddr,
    /// When it connected: the login deadline counts from here.
    pub now: Millis,
    /// What the owner lets peers use.
    pub limits: Limits,
}

/// A connection's protocol machine. Its fields are the connection's whole memory, so keep them few.
pub trait Session: Send {
    /// The connection is open. A machine sets its login deadline here (`cx.wake_at`).
    fn on_open(&mut self, cx: &mut Context<'_>);

    /// Bytes came in, those left over last time first. Returns how many were used; the rest is kept and
    /// shown again with what follows. A machine that sees a frame it will never take closes at once
    /// instead of letting the rest grow. After `cx.close` nothing more is shown.
    fn on_bytes(&mut self, cx: &mut Context<'_>, input: &[u8]) -> usize;

    /// The hub has something for the peer; the session's window allows it.
    fn on_delivery(&mut self, cx: &mut Context<'_>, delivery: &Delivery);

    /// An earlier question was answered.
    fn on_answer(&mut self, cx: &mut Context<'_>, answer: Answer);

    /// The wake-up time that the machine set has come. The machine must set a later one or none.
    fn on_timer(&mut self, cx: &mut Context<'_>);
}

/// What a machine may touch during one call.
pub struct Context<'a> {
    /// The monotonic time of this turn.
    pub now: Millis,
    /// The wall clock of this turn.
    pub unix: UnixMs,
    /// Bytes for the peer: append only. Written to the socket at the end of the turn.
    pub out: &'a mut Vec<u8>,
    /// Places in `out` at which a new write begins; see [`Context::cut`].
    pub cuts: &'a mut Vec<usize>,
    /// The hub, bound to this connection.
    pub hub: &'a mut dyn Hub,
    /// The connection's one wake-up time; keeps its value between calls. Timers are coarse (up to half a
    /// second late) and may fire early: check the time.
    pub wake_at: &'a mut Option<Millis>,
    /// Set by [`Context::close`].
    pub closing: &'a mut Option<Close>,
}

impl Context<'_> {
    /// Ends the connection after what stands in `out` is written. The first reason stays.
    pub fn close(&mut self, fault: Fault, why: impl Into<Cow<'static, str>>) {
        if self.closing.is_none() {
            *self.closing = Some(Close { fault, why: why.into() });
        }
    }

    /// What comes next into `out` leaves by a write of its own, for peers that lose what shares a segment
    /// with something else. A promise only while the peer keeps up: what the kernel has not taken is joined.
    pub fn cut(&mut self) {
        if !self.out.is_empty() {
            self.cuts.push(self.out.len());
        }
    }

    /// Whether the machine has asked to end the connection.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }
}

/// Whose fault an end was: decides the log level, the counter, and whether the owner is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody's: an ordinary goodbye, a takeover, the program stops.
    Nobody,
    /// The line broke or fell silent.
    Line,
    /// The peer broke the protocol.
    Peer,
    /// The peer asked for what we do not have.
    Lack,
    /// We refused the peer (credentials, rights, limits).
    Refused,
    /// Ours.
    Ours,
}

impl Fault {
    /// One word for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Nobody => "normal",
            Fault::Line => "line",
            Fault::Peer => "peer",
            Fault::Lack => "unsupported",
            Fault::Refused => "refused",
            Fault::Ours => "internal",
        }
    }
}

/// Why a connection ended: whose fault, and a sentence for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Whose fault.
    pub fault: Fault,
    /// The sentence. Never contains secrets or payloads.
    pub why: Cow<'static, str>,
}

/// A message sent and not yet settled, by its number in the session: 1 to 65,535, unique among those in
/// flight, the same again when it is resent after a reconnect. MQTT uses it as packet id.
pub type Slot = u16;

/// The verbs of the hub, bound to one connection. `hello` comes first and once; until it is answered by
/// [`Answer::Welcome`] no other verb but `bye` is allowed.
pub trait Hub {
    /// The peer presents itself. The answer comes by `on_answer`: `Welcome` or `Refused`.
    fn hello(&mut self, hello: Hello);

    /// The peer wants to prove who it is by SCRAM, before `hello` or once more later. The keys come as
    /// `Answer::Scram`.
    fn scram(&mut self, user: &str);

    /// The peer publishes. `topic` may begin with `me/`. With `Accepted::Later` the outcome follows as
    /// `Answer::Published` with the same token: acknowledge only then. At QoS 2 the hub knows repetitions
    /// by their id and takes them as what they are: `Now` when the first is kept, else `Later`, and the
    /// one answer finds the session's line of that moment.
    fn publish(&mut self, publish: Publish<'_>) -> Accepted;

    /// The peer wants what matches `filter` (which may begin with `me/`). Grants a QoS. Retained messages
    /// follow as deliveries, after this call has returned.
    fn subscribe(&mut self, filter: &str, options: SubscribeOptions) -> Result<Qos, Refusal>;

    /// The peer no longer wants it. Whether it was there.
    fn unsubscribe(&mut self, filter: &str) -> Result<bool, Refusal>;

    /// The peer has an exactly-once delivery and will not see it again as new (PUBREC). Whether the slot
    /// was in flight; either way the machine answers as its protocol says.
    fn received(&mut self, slot: Slot) -> bool;

    /// What the peer has to say next of a delivery in flight; `None` when the slot is not in flight.
    fn awaited(&mut self, slot: Slot) -> Option<Awaited>;

    /// A delivery has come to its end at the peer. Whether the slot was in flight.
    fn settle(&mut self, slot: Slot, outcome: Outcome) -> bool;

    /// Something about this line that its owner should see, such as a message that its device cannot take.
    /// The first few a line are told.
    fn note(&mut self, what: &str);

    /// The peer ends the exactly-once publish `id` (PUBREL).
    fn release(&mut self, id: u16) -> Released;

    /// What stands in `out` from `from` on tells the peer that something is safe which it has just asked for
    /// (a subscription, a step of an exactly-once exchange). Leaves it there when that is so; else takes it
    /// out and gives it back as [`Answer::Say`] when it is. With `hold` nothing is delivered before it.
    fn say_when_kept(&mut self, out: &mut Vec<u8>, from: usize, hold: bool);

    /// The peer says goodbye properly. The connection may be closed afterwards without anything further.
    fn bye(&mut self, bye: Bye);
}

/// How a peer says goodbye.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bye {
    /// The will is published all the same.
    pub with_will: bool,
    /// A new `Hello::keep_s`.
    pub keep_s: Option<u32>,
}

/// How a peer presents itself.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The credentials.
    pub login: Login,
    /// The session's name within its party. Empty: the hub gives one, see [`Welcome::client`].
    pub client: String,
    /// Forget an earlier session of that name.
    pub clean: bool,
    /// Seconds the session is kept after the line is gone: 0 ends it with the line, `u32::MAX` never ends.
    pub keep_s: u32,
    /// What to publish if the line is lost.
    pub will: Option<Will>,
    /// How many deliveries may be in flight at once, at least 1.
    pub inflight_max: u16,
    /// Firmware name and version, where the protocol tells it.
    pub firmware: Option<String>,
}

/// What is published when a peer's line is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Will {
    /// The topic as the peer wrote it (`me/…` allowed).
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// Seconds to wait for the peer's return before it is published; it is, at the latest, when the
    /// session ends.
    pub delay_s: u32,
    /// Seconds after which it is no longer worth delivering, counted from its publishing.
    pub expiry_s: Option<u32>,
    /// What the publisher says about it.
    pub props: Option<Box<Props>>,
}

/// A peer's publish, borrowed from the input.
#[derive(Clone, Debug, Default)]
pub struct Publish<'a> {
    /// The topic as the peer wrote it.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is retained; an empty retained payload clears the topic.
    pub retain: bool,
    /// Seconds after which it is no longer worth delivering.
    pub expiry_s: Option<u32>,
    /// What the publisher says about it.
    pub props: Option<Box<Props>>,
    /// Names an exactly-once publish among those that the peer has open; 0 below QoS 2.
    pub id: u16,
    /// Returned with a later answer. A repetition has the token of the first.
    pub token: u32,
}

/// What the hub says to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Taken; acknowledge now.
    Now,
    /// Someone must keep it first; acknowledge when `Answer::Published` comes.
    Later,
    /// Not taken.
    Refused(Refusal),
}

/// What a delivery in flight waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// At least once: that the peer has it.
    Settled,
    /// Exactly once: that the peer has it, and will not see it again as new.
    Received,
    /// Exactly once: that the peer has ended the exchange.
    Ended,
}

/// What the hub says to the end of an exactly-once publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It was open and kept; its id is free again.
    Done,
    /// Nobody knows it: it was ended before.
    Unknown,
    /// It is not kept yet: the peer ends what it was never told to be safe.
    TooEarly,
}

/// How a subscription is to be carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The highest QoS the peer wants.
    pub qos: Qos,
    /// Whether retained messages are wanted now.
    pub retained: RetainedWanted,
    /// The peer does not want what it publishes itself.
    pub no_local: bool,
    /// Show the retain flag as it was published.
    pub as_published: bool,
    /// A number that deliveries of this subscription carry, at least 1.
    pub id: Option<u32>,
}

/// Which retained messages a subscription brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainedWanted {
    /// All that match.
    #[default]
    Always,
    /// All that match if the peer did not have this subscription before.
    IfNew,
    /// None.
    Never,
}

/// An answer to an earlier question.
#[derive(Clone, Debug)]
pub enum Answer {
    /// `hello`: come in.
    Welcome(Welcome),
    /// `hello`: stay out. The machine tells the peer in its own terms and closes.
    Refused(Refusal),
    /// `scram`: the keys.
    Scram(Box<ScramKeys>),
    /// `publish` that had to wait.
    Published {
        /// The token of the publish.
        token: u32,
        /// Whether it is kept.
        result: Result<(), Refusal>,
    },
    /// What was held back by `say_when_kept` may be written now.
    Say(Vec<u8>),
    /// The hub ends the connection. The machine may write a goodbye; the connection is closed after
    /// this call, no matter what.
    Closing {
        /// Why, as far as a protocol may have a word for it.
        ending: Ending,
        /// Why, for the owner.
        close: Close,
    },
}

/// Why the hub ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A newer connection of the same client.
    TakenOver,
    /// The program stops. `go_to` is the `host:port` at which its peers are awaited meanwhile.
    Stopping {
        /// Where to go.
        go_to: Option<Arc<str>>,
    },
    /// The owner removed the device or token, or gave it another secret.
    Removed,
    /// What waits for the peer is more than its queue holds.
    QueueFull,
    /// What the peer entrusted us with could not be kept.
    NotKept,
}

/// What one who may come in is told.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// Who it is.
    pub party: Arc<Party>,
    /// Whether an earlier session of that name goes on.
    pub resumed: bool,
    /// The session's name, given by the hub if the peer gave none.
    pub client: Arc<str>,
    /// The app's settings for all protocols.
    pub settings: Arc<ProtocolSettings>,
    /// The app and key that a single device is to use from now on.
    pub enrolled: Option<(AppId, AppKey)>,
}

/// Something for the peer.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A message.
    Message {
        /// The message, shared by all its recipients.
        message: SharedMessage,
        /// The device subscribed with `me/…`: show the topic as [`Delivery::shown_topic`] says.
        as_me: bool,
        /// The QoS of this delivery.
        qos: Qos,
        /// Its number, for QoS above 0.
        slot: Option<Slot>,
        /// Sent because the peer has just subscribed, not because it was just published.
        retained: bool,
        /// The retain flag to show: `retained`, or as published where the subscription wants that.
        retain: bool,
        /// The numbers of the subscriptions that brought it.
        ids: Vec<u32>,
        /// Seconds left of its time.
        expiry_s: Option<u32>,
        /// Sent before on an earlier line.
        again: bool,
    },
    /// An exactly-once delivery that the peer had received when its line broke: finish it (PUBREL).
    Release {
        /// Its number.
        slot: Slot,
    },
}

impl Delivery {
    /// The topic as the peer is to see it: `dev/<id>/push` becomes `me/push` for a device that asked for `me/…`.
    pub fn shown_topic(topic: &Topic, as_me: bool) -> Cow<'_, str> {
        match topic.space() {
            model::topic::Space::Device { rest, .. } if as_me => Cow::Owned(format!("me/{rest}")),
            _ => Cow::Borrowed(topic.as_str()),
        }
    }
}

/// How a delivery came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The protocol acknowledged it.
    Delivered,
    /// The device answered that it did it, with what it said.
    Applied(Bytes),
    /// The device answered that it did not, with a sentence for people and what it said.
    Failed(String, Bytes),
    /// The machine could not give it to this device (too long, not known to this firmware): a sentence that names the fix.
    Refused(String),
}
