//! The live events: the name of each kind and its data. The feed makes them, `openapi.json` describes them.

use std::collections::BTreeMap;

use model::{PushId, UnixMs};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;

use crate::openapi::shape;
use crate::parties::{Incoming, Seat};
use crate::shown;

/// An event's data.
pub(crate) trait Told: Serialize {
    /// The event's name.
    const KIND: &'static str;
}

macro_rules! kinds {
    ($($kind:literal = $data:ty;)*) => {
        $(impl Told for $data {
            const KIND: &'static str = $kind;
        })*

        /// The names of all kinds.
        pub const KINDS: &[&str] = &[$($kind),*];

        /// The schema of each kind's data.
        pub(crate) fn schemas(maker: &mut SchemaGenerator) -> BTreeMap<&'static str, schemars::Schema> {
            BTreeMap::from([$(($kind, maker.subschema_for::<$data>())),*])
        }
    };
}

kinds! {
    "presence" = Presence<'_>;
    "device" = Changed<'_>;
    "message" = shown::Message<'_>;
    "points" = Points<'_>;
    "delivery" = Moved;
    "twin" = TwinTold<'_>;
    "knock" = shown::KnockShown;
    "fault" = Fault<'_>;
    "alarm" = AlarmTold<'_>;
    "hello" = Hello;
    "addressed" = Addressed;
}

/// A device came or went.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PresenceEvent")]
pub(crate) struct Presence<'a> {
    pub device: &'a str,
    #[serde(flatten)]
    pub line: shown::Line,
}

/// A registration changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeviceEvent")]
pub(crate) struct Changed<'a> {
    pub device: &'a str,
    pub change: Change,
}

/// What happened to a registration.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Change {
    Registered,
    Edited,
    Removed,
}

impl From<contract::event::Change> for Change {
    fn from(change: contract::event::Change) -> Change {
        match change {
            contract::event::Change::Registered => Change::Registered,
            contract::event::Change::Edited => Change::Edited,
            contract::event::Change::Removed => Change::Removed,
        }
    }
}

/// Points were stored.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PointsEvent")]
pub(crate) struct Points<'a> {
    pub device: &'a str,
    pub items: Vec<shown::Reading>,
}

/// A delivery came into another state.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeliveryEvent")]
pub(crate) struct Moved {
    #[schemars(with = "u64")]
    pub push: PushId,
    #[serde(flatten)]
    pub delivery: shown::Delivery,
}

/// A part of a twin changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TwinEvent")]
pub(crate) struct TwinTold<'a> {
    pub device: &'a str,
    #[serde(flatten)]
    pub change: crate::routes::twin::Change,
    /// Whether there is something to tell the device now.
    pub owed: bool,
}

/// A line was ended because of what its peer did.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FaultEvent")]
pub(crate) struct Fault<'a> {
    pub protocol: &'a str,
    pub remote: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'a str>,
    pub fault: &'a str,
    pub why: &'a str,
    #[schemars(with = "shape::Time")]
    pub at: UnixMs,
}

/// Something that people must know of was found, or is over.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AlarmEvent")]
pub(crate) struct AlarmTold<'a> {
    /// `store_full`, `disk_failed` or `store_damaged`.
    pub alarm: &'a str,
    pub raised: bool,
    pub why: &'a str,
    #[schemars(with = "shape::Time")]
    pub at: UnixMs,
}

/// The numbers of a line that may be written to. The first that it is told.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Hello {
    /// The line's own number as long as it is open; for a stream of events that of its token.
    pub number: u32,
    /// The number of the token, which reaches all lines that are open with it. It stays.
    pub token_number: u32,
}

impl From<&Seat> for Hello {
    fn from(seat: &Seat) -> Hello {
        Hello { number: seat.number.0, token_number: seat.token.0 }
    }
}

/// A message to one of the line's numbers.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AddressedMessage")]
pub(crate) struct Addressed {
    /// The sender's number.
    pub from: u32,
    /// The sender's id, if it is a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// To which of one's numbers.
    pub to: u32,
    #[schemars(with = "shape::Time")]
    pub at: UnixMs,
    #[serde(flatten)]
    pub payload: shown::Bytes,
}

impl From<&Incoming> for Addressed {
    fn from(incoming: &Incoming) -> Addressed {
        let Incoming { from, device, to, payload, at } = incoming;
        Addressed { from: from.0, device: device.clone(), to: to.0, at: *at, payload: shown::Bytes::of(payload) }
    }
}
