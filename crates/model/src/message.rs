//! A message as the hub carries it: one shared value for all its recipients, whatever protocol each
//! side speaks. Built once when it arrives, never changed afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::device::DeviceNumber;
use crate::push::PushId;
use crate::time::{Millis, UnixMs};
use crate::topic::Topic;

/// How hard a message is carried. The numbers are MQTT's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Qos {
    /// At most once: lost with the connection.
    #[default]
    AtMostOnce = 0,
    /// At least once: kept until acknowledged, may arrive twice.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl Qos {
    /// The QoS of a number on the wire.
    pub fn from_u8(number: u8) -> Option<Qos> {
        match number {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            2 => Some(Qos::ExactlyOnce),
            _ => None,
        }
    }
}

/// Marks a message as one device's part of a push: what becomes of it is reported to the push room
/// under this pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The push that the message belongs to.
    pub push: PushId,
    /// The device it is meant for.
    pub device: DeviceNumber,
}

/// What a publisher says about its message beside the payload (MQTT 5.0, section 3.3.2.3), passed on
/// unchanged and in order. Boxed in the message, because most have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Props {
    /// What kind of content the payload is, in words that publisher and subscriber share.
    pub content_type: Option<String>,
    /// Where an answer is wanted.
    pub response_topic: Option<String>,
    /// What the answer is to carry, so that the asker knows it again.
    pub correlation: Option<Bytes>,
    /// Whether the payload is UTF-8 text.
    pub utf8: bool,
    /// Names and values of the publisher's own; names may repeat.
    pub user: Vec<(String, String)>,
}

impl Props {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Props::default()
    }

    fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let user: usize = self.user.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        text(&self.content_type) + text(&self.response_topic) + self.correlation.as_ref().map_or(0, Bytes::len) + user
    }
}

/// A topic, its payload and how to carry it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The canonical topic (`dev/<id>/…`, never `me/…`).
    pub topic: Topic,
    /// The payload, shared by every recipient.
    pub payload: Bytes,
    /// The QoS it was published with; each delivery may lower it.
    pub qos: Qos,
    /// Whether it is to be remembered as the topic's last value.
    pub retain: bool,
    /// The number of the device it came from; `None` for servers, accounts and the program itself.
    pub source: Option<DeviceNumber>,
    /// When it came in.
    pub at: UnixMs,
    /// When it is no longer worth delivering.
    pub expires: Option<Millis>,
    /// Set on the message of a push.
    pub receipt: Option<Receipt>,
    /// What the publisher says about it.
    pub props: Option<Box<Props>>,
    /// The number under which it is kept, given when the first who must keep it does.
    pub number: MessageNumber,
}

/// The number under which a message is kept: one for all its recipients on all shards, so that it lies on
/// disk once. 0 while nobody keeps it.
#[derive(Debug, Default)]
pub struct MessageNumber(AtomicU64);

impl MessageNumber {
    /// The number of a message that was kept.
    pub fn of(number: u64) -> MessageNumber {
        MessageNumber(AtomicU64::new(number))
    }

    /// The number; 0 is none.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The number, from `next` if it has none yet. Shards may ask at once and get the same.
    pub fn get_or(&self, next: impl FnOnce() -> u64) -> u64 {
        match self.get() {
            0 => {
                let new = next();
                self.0.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|given| given, |_| new)
            }
            given => given,
        }
    }
}

impl Clone for MessageNumber {
    /// A copy is another message.
    fn clone(&self) -> MessageNumber {
        MessageNumber::default()
    }
}

impl Message {
    /// A plain QoS 0 message from the program itself.
    pub fn new(topic: Topic, payload: impl Into<Bytes>, at: UnixMs) -> Message {
        Message {
            topic,
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            source: None,
            at,
            expires: None,
            receipt: None,
            props: None,
            number: MessageNumber::default(),
        }
    }

    /// The bytes that count against a queue's limit: all that came, and a flat share for the bookkeeping.
    pub fn cost_bytes(&self) -> usize {
        self.payload.len() + self.topic.as_str().len() + self.props.as_ref().map_or(0, |p| p.bytes()) + 96
    }

    /// Whole seconds that are left of its time, at least 1; `None` without an end.
    pub fn seconds_left(&self, now: Millis) -> Option<u32> {
        let left_ms = self.expires?.since(now);
        Some(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1))
    }
}

/// How the rooms pass messages on: built once, shared by all recipients on all shards.
pub type SharedMessage = Arc<Message>;
