//! A message as the hub carries it: one shared value for all its recipients, whatever protocol each
//! side speaks. Built once when it arrives, never changed afterwards.

use std::sync::Arc;

use bytes::Bytes;

use crate::device::DeviceNumber;
use crate::push::PushId;
use crate::time::{Millis, UnixMs};
use crate::topic::Topic;

/// How hard a message is carried. The numbers are MQTT's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        }
    }

    /// The bytes that count against a queue's limit: payload, topic and a flat share for the bookkeeping.
    pub fn cost_bytes(&self) -> usize {
        self.payload.len() + self.topic.as_str().len() + 96
    }
}

/// How the rooms pass messages on: built once, shared by all recipients on all shards.
pub type SharedMessage = Arc<Message>;
