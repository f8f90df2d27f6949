//! A push is one order to an audience; a delivery is its fate at one device. The life of a delivery is
//! written here once, so that no room can claim a step that cannot follow.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::device::{DeviceId, DeviceNumber};
use crate::time::UnixMs;

/// A push's number: counted up from 1, never used again. JSON shows it as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PushId(pub u64);

impl fmt::Display for PushId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What a push asks of the device. It decides the topic the device sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Bytes for the device's program: `me/push`.
    Message,
    /// The same, and an answer is wanted: `me/ask/<push id>` → `me/answer/<push id>`.
    Ask,
    /// An order that the device's firmware itself understands: `me/cmd/<verb>/<push id>`, answered as an
    /// ask is. The ES-PUSH room maps `reboot`, `at`, `lua`, `probe`, `status`, `gpio.write`, `gpio.read`
    /// and `custom` onto its frames; other devices may implement any verb.
    Command {
        /// Lower-case letters, digits, `.`, `_`, `-`; 1 to 32 of them.
        verb: String,
    },
}

impl Order {
    /// Whether `verb` may stand in a topic and in the API.
    pub fn is_verb(verb: &str) -> bool {
        (1..=32).contains(&verb.len())
            && verb.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
    }

    /// The rest of the device's topic (after `dev/<id>/`) for push `id`.
    pub fn topic_rest(&self, id: PushId) -> String {
        match self {
            Order::Message => "push".to_owned(),
            Order::Ask => format!("ask/{id}"),
            Order::Command { verb } => format!("cmd/{verb}/{id}"),
        }
    }

    /// Whether the device is expected to answer.
    pub fn wants_answer(&self) -> bool {
        !matches!(self, Order::Message)
    }
}

/// On which terms a push goes to its devices, beside its time to live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The collapse key: what still waits for a device with the same key gives way to this push.
    pub collapse: Option<Arc<str>>,
    /// The push whose content this one is sent again.
    pub resend_of: Option<PushId>,
    /// At most so many devices a second are given it for the first time.
    pub per_second: Option<u32>,
    /// Not before this moment.
    pub starts: Option<UnixMs>,
    /// Which of what waits for a device goes first.
    pub priority: Priority,
}

/// Which of what waits for a device goes first when it comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before all others.
    High,
    /// As they came.
    #[default]
    Normal,
    /// After all others.
    Low,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Kept for a device that is away or not yet listening.
    Queued,
    /// Written to the device's line.
    Sent,
    /// Acknowledged by the protocol.
    Delivered,
    /// Carried out, by the device's own answer.
    Applied,
    /// The device answered that it could not.
    Failed,
    /// Its time ran out before it was acknowledged.
    Expired,
    /// A newer push with the same collapse key took its place.
    Replaced,
    /// It could not be given to this device at all.
    Refused,
    /// Its sender took it back.
    Cancelled,
}

impl DeliveryState {
    /// Whether nothing can follow. `Delivered` can still become `Applied` or `Failed` by an answer.
    pub fn is_final(self) -> bool {
        !matches!(self, DeliveryState::Queued | DeliveryState::Sent | DeliveryState::Delivered)
    }

    /// Whether `next` may follow. The one step back is `Sent` → `Queued`: the line broke before the
    /// acknowledgement, so it will be sent again. An answer may overtake the acknowledgement.
    pub fn may_become(self, next: DeliveryState) -> bool {
        use DeliveryState::*;
        match self {
            Queued => matches!(next, Sent | Delivered | Applied | Failed | Expired | Replaced | Refused | Cancelled),
            Sent => matches!(next, Queued | Delivered | Applied | Failed | Expired | Refused | Cancelled),
            Delivered => matches!(next, Applied | Failed),
            Applied | Failed | Expired | Replaced | Refused | Cancelled => false,
        }
    }

    /// The word for the state, as in JSON.
    pub fn as_str(self) -> &'static str {
        use DeliveryState::*;
        match self {
            Queued => "queued",
            Sent => "sent",
            Delivered => "delivered",
            Applied => "applied",
            Failed => "failed",
            Expired => "expired",
            Replaced => "replaced",
            Refused => "refused",
            Cancelled => "cancelled",
        }
    }

    /// Every state, in the order of a delivery's life.
    pub const ALL: [DeliveryState; 9] = [
        DeliveryState::Queued,
        DeliveryState::Sent,
        DeliveryState::Delivered,
        DeliveryState::Applied,
        DeliveryState::Failed,
        DeliveryState::Expired,
        DeliveryState::Replaced,
        DeliveryState::Refused,
        DeliveryState::Cancelled,
    ];

    /// The state of a word.
    pub fn parse(word: &str) -> Option<DeliveryState> {
        DeliveryState::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// The fate of one push at one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The push.
    pub push: PushId,
    /// The device's number.
    pub number: DeviceNumber,
    /// The device's text id, for people.
    pub device: DeviceId,
    /// Where it stands.
    pub state: DeliveryState,
    /// Since when.
    pub at: UnixMs,
    /// Why, as a sentence for people; empty when the state says it all.
    pub detail: String,
    /// What the device answered.
    pub answer: Option<Bytes>,
}

/// A state that a delivery was in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryStep {
    /// The state.
    pub state: DeliveryState,
    /// Since when.
    pub at: UnixMs,
    /// Why, as a sentence for people.
    pub detail: String,
}

impl From<&Delivery> for DeliveryStep {
    fn from(delivery: &Delivery) -> DeliveryStep {
        DeliveryStep { state: delivery.state, at: delivery.at, detail: delivery.detail.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_state_stays() {
        for state in DeliveryState::ALL {
            let successors = DeliveryState::ALL.into_iter().filter(|next| state.may_become(*next)).count();
            assert_eq!(state.is_final(), successors == 0, "{state:?}");
            assert_eq!(DeliveryState::parse(state.as_str()), Some(state));
        }
        assert!(!DeliveryState::Delivered.may_become(DeliveryState::Queued), "an acknowledged push is not sent again");
    }

    #[test]
    fn an_order_names_its_topic() {
        assert_eq!(Order::Message.topic_rest(PushId(9)), "push");
        assert_eq!(Order::Ask.topic_rest(PushId(9)), "ask/9");
        assert_eq!(Order::Command { verb: "gpio.write".into() }.topic_rest(PushId(9)), "cmd/gpio.write/9");
        assert!(Order::is_verb("gpio.write") && !Order::is_verb("a/b") && !Order::is_verb("") && !Order::is_verb("#"));
    }
}
