//! What the platform hears: facts from the shards, and facts that platform rooms tell each other.
//! Events are facts in the past tense; nobody can refuse one.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use model::message::SharedMessage;
use model::{Address, Delivery, DeviceId, DeviceNumber, Point, Presence, Receipt, UnixMs};

use crate::gate::Refusal;
use crate::place::Ticket;
use crate::session::Close;
use crate::store::TwinChange;

/// A fact.
#[derive(Clone, Debug)]
pub enum Event {
    // ---- from the shards ----
    /// A device opened a line.
    LineOpened {
        /// The device.
        device: DeviceNumber,
        /// By which protocol.
        protocol: &'static str,
        /// From where.
        remote: SocketAddr,
        /// Firmware, where the protocol told it.
        firmware: Option<String>,
        /// When.
        at: UnixMs,
    },
    /// A device's line ended. It may have others.
    LineClosed {
        /// The device.
        device: DeviceNumber,
        /// By which protocol.
        protocol: &'static str,
        /// Why.
        close: Close,
        /// When.
        at: UnixMs,
    },
    /// Somebody was not let in: a knock.
    Knocked {
        /// By which protocol.
        protocol: &'static str,
        /// From where.
        remote: SocketAddr,
        /// Whom it claimed to be; no secret in it.
        claim: String,
        /// The device that it would be if its app took new ones: it has shown the app's key.
        device: Option<DeviceId>,
        /// Why not.
        refusal: Refusal,
        /// When.
        at: UnixMs,
    },
    /// A connection ended by a fault before it had a name, or by one that its owner should see.
    Faulted {
        /// By which protocol.
        protocol: &'static str,
        /// From where.
        remote: SocketAddr,
        /// The device, if it had logged in.
        device: Option<DeviceNumber>,
        /// Why.
        close: Close,
        /// When.
        at: UnixMs,
    },
    /// A device now listens on one of its own topics: what waits for it may be tried.
    Listening {
        /// The device.
        device: DeviceNumber,
    },
    /// A device published in its own space `dev/<id>/<rest>`. With a ticket the device waits for
    /// `Line::published`: exactly one room (the one the topic belongs to) must answer it.
    Up {
        /// The device.
        device: DeviceNumber,
        /// What it published.
        message: SharedMessage,
        /// Set when the device wants to know that it is kept.
        ticket: Option<Ticket>,
    },
    /// A device was given a message of its own space.
    Down {
        /// The device.
        device: DeviceNumber,
        /// The message.
        message: SharedMessage,
        /// When it was given.
        at: UnixMs,
    },
    /// A message on a free topic passed, told only while somebody watches.
    Passed {
        /// The message.
        message: SharedMessage,
    },
    /// A push's message went a step.
    Receipt {
        /// Which push at which device.
        receipt: Receipt,
        /// The step.
        step: Step,
        /// When.
        at: UnixMs,
    },
    /// A device wrote to a number that is no device's, and may. With a ticket it waits for
    /// `Line::published`, and who knows the number must answer it.
    Addressed {
        /// The device.
        from: DeviceNumber,
        /// The number.
        to: Address,
        /// The message, on the device's own topic `to/<number>`.
        message: SharedMessage,
        /// Set when the device wants to know that it was taken.
        ticket: Option<Ticket>,
    },
    /// What became of a `Line::send`.
    Sent {
        /// The caller's own word for it.
        send: u64,
        /// How far it came.
        result: Result<Reached, Refusal>,
    },

    // ---- from the platform's rooms ----
    /// A device was registered, changed or removed.
    DeviceChanged {
        /// The device.
        device: DeviceNumber,
        /// What happened.
        change: Change,
    },
    /// A device's presence changed.
    PresenceChanged {
        /// The device.
        device: DeviceNumber,
        /// As it is now.
        presence: Presence,
    },
    /// Points were stored.
    PointsStored {
        /// The points, all of one upload.
        points: Arc<[Point]>,
    },
    /// A delivery went a step and the store has it.
    DeliveryChanged {
        /// As it is now.
        delivery: Arc<Delivery>,
    },
    /// A part of a twin changed, and the store has it.
    TwinChanged {
        /// What changed.
        change: Arc<TwinChange>,
        /// Whether there is something to tell the device now.
        owed: bool,
    },
    /// Something that the owner should see to began, or is over.
    AlarmChanged {
        /// What it is about.
        alarm: Alarm,
        /// Whether it began.
        raised: bool,
        /// What is wrong and what to do, or that it is well again.
        why: String,
        /// When.
        at: UnixMs,
    },
}

/// What the house calls its owner for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The store is full: what would make it grow is refused.
    StoreFull,
    /// A write or fsync failed: nothing is acknowledged any more.
    DiskFailed,
    /// What is on disk is not what was written there.
    StoreDamaged,
}

impl Alarm {
    /// The stable word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Alarm::StoreFull => "store_full",
            Alarm::DiskFailed => "disk_failed",
            Alarm::StoreDamaged => "store_damaged",
        }
    }
}

/// What happened to a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Registered,
    /// Its description changed.
    Edited,
    /// It is gone, with everything that was kept for it.
    Removed,
}

/// A step of a push's message at a device's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Written to the line; the acknowledgement is to come.
    Sent,
    /// Written to the line of a device that subscribed at QoS 0: nothing will acknowledge it.
    SentAtMostOnce,
    /// The protocol acknowledged it.
    Delivered,
    /// The device answered that it did it.
    Applied(Bytes),
    /// The device answered that it did not: a sentence, and what it said.
    Failed(String, Bytes),
    /// This device cannot be given it at all: a sentence that names the fix.
    Refused(String),
    /// No open line wants it. `online` tells whether there is a line at all.
    Nobody {
        /// Whether the device holds a line.
        online: bool,
    },
    /// The line broke before the acknowledgement and nothing will resend it.
    Lost,
}

/// How far a message to a number came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// It waits on disk for a device that is away.
    Kept,
    /// It was given to an open line that wants it. Not that anybody has read it.
    Sent,
}

/// Where events go. Called on shards: must not block.
pub trait Bus: Send + Sync {
    /// Takes all of `batch` and leaves it empty, its memory kept. Order is kept per caller.
    fn emit(&self, batch: &mut Vec<Event>);

    /// Whether somebody watches free topics, so that `Event::Passed` is worth its cost.
    fn watched(&self) -> bool;
}

/// A room that listens. All consumers see all events in one order, on the platform's side.
pub trait Consumer: Send + Sync {
    /// One fact. Must return soon: longer work is for a task of the room's own.
    fn on_event(&self, event: &Event);
}
