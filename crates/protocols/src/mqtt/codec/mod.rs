//! MQTT packets of 3.1, 3.1.1 and 5.0, bytes ↔ values, both directions, so that the server and the virtual
//! devices share one codec. One set of values for all levels: properties and most reasons are simply not
//! written for a peer whose level does not know them. Decoding borrows from the input and allocates
//! nothing; encoding appends to a `Vec`. It knows nothing of sessions: which packet may come when is
//! decided in `session`.
//!
//! | file | packets |
//! |---|---|
//! | `connect` | CONNECT, CONNACK |
//! | `publish` | PUBLISH and the four acknowledgements |
//! | `subscribe` | SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK |
//! | `disconnect` | DISCONNECT, AUTH |
//! | `properties`, `reason` | what 5.0 puts into nearly all of them |
//! | `wire` | the fields they are made of |

mod connect;
mod disconnect;
mod properties;
mod publish;
mod reason;
mod subscribe;
mod wire;

use contract::Fault;
use contract::kit::Short;

pub use connect::{Connack, Connect, Level, Will};
pub use disconnect::Disconnect;
pub use properties::{Properties, Property, PropertyList, SUBSCRIPTION_ID_MAX};
pub use publish::{Ack, Publish};
pub use reason::Reason;
pub use subscribe::{Options, RetainHandling, Suback, Subscribe, Unsuback, Unsubscribe};
pub use wire::{REMAINING_LENGTH_MAX, TooLong};

/// The packet types, by their number on the wire (section 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of the specification")]
pub enum Kind {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl Kind {
    /// The type of a number; 0 is forbidden.
    pub fn from_u8(number: u8) -> Option<Kind> {
        use Kind::*;
        Some(match number {
            1 => Connect,
            2 => Connack,
            3 => Publish,
            4 => Puback,
            5 => Pubrec,
            6 => Pubrel,
            7 => Pubcomp,
            8 => Subscribe,
            9 => Suback,
            10 => Unsubscribe,
            11 => Unsuback,
            12 => Pingreq,
            13 => Pingresp,
            14 => Disconnect,
            15 => Auth,
            _ => return None,
        })
    }

    /// The one value of the four flag bits that the type allows; PUBLISH has flags of its own.
    fn flags(self) -> u8 {
        match self {
            Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// Whether the four flag bits may be `flags`. 3.1 sends these three again with DUP set (its section 2.1).
    fn allows(self, level: Level, flags: u8) -> bool {
        let again = level == Level::V31 && matches!(self, Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe);
        self == Kind::Publish || flags == self.flags() || again && flags == self.flags() | DUP
    }
}

/// The flag bit of a packet that is sent again.
const DUP: u8 = 0b1000;

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A packet type that does not exist.
    #[error("packet type {0} does not exist")]
    Kind(u8),
    /// Flag bits that the packet type does not allow [MQTT-2.2.2-2].
    #[error("the flags of the packet's first byte are wrong")]
    Flags,
    /// A length of more than four bytes (section 2.2.3), or at level 5 of more than it needs [MQTT-1.5.5-1].
    #[error("a length has more bytes than it may have")]
    Length,
    /// The packet is shorter than its fields.
    #[error("the packet ends before its fields do")]
    Short,
    /// The packet is longer than its fields.
    #[error("the packet has bytes after its last field")]
    Trailing,
    /// Text that is not UTF-8 [MQTT-1.5.3-1] or contains NUL [MQTT-1.5.3-2].
    #[error("a text is not UTF-8 or contains the NUL character")]
    Text,
    /// A packet id of 0 [MQTT-2.3.1-1].
    #[error("the packet id is 0")]
    PacketId,
    /// A QoS of 3 [MQTT-3.3.1-4], [MQTT-3.1.2-14], or reserved bits beside it [MQTT-3.8.3-4].
    #[error("the QoS is not 0, 1 or 2")]
    Qos,
    /// A SUBSCRIBE or UNSUBSCRIBE without a filter [MQTT-3.8.3-3], [MQTT-3.10.3-2].
    #[error("the packet names no topic filter")]
    NoFilter,
    /// A protocol name that is not `MQTT` [MQTT-3.1.2-1].
    #[error("the protocol name of the CONNECT is not MQTT")]
    ProtocolName,
    /// A protocol level that we do not speak [MQTT-3.1.2-2].
    #[error("protocol level {0} is not spoken here; set the client to MQTT 3.1.1 (level 4) or 5.0 (level 5)")]
    Level(u8),
    /// CONNECT flags that contradict each other or have the reserved bit set [MQTT-3.1.2-3].
    #[error("the connect flags contradict each other")]
    ConnectFlags,
    /// A return or reason code that does not exist or does not belong into its packet.
    #[error("return code {0:#04x} does not exist in this packet")]
    ReturnCode(u8),
    /// Subscription options with reserved bits set [MQTT-3.8.3-5].
    #[error("the subscription options have reserved bits set")]
    Options,
    /// A retain handling of 3 (section 3.8.3.1).
    #[error("the retain handling is not 0, 1 or 2")]
    RetainHandling,
    /// A property that does not exist or does not belong into its packet (section 2.2.2.2).
    #[error("property {0:#04x} does not exist in this packet")]
    Property(u8),
    /// A property that may stand there once only.
    #[error("property {0:#04x} stands there twice")]
    PropertyTwice(u8),
    /// A property with a value that it may not have.
    #[error("property {0:#04x} has a value that it may not have")]
    PropertyValue(u8),
}

impl DecodeError {
    /// Whose fault it is. All are the sender's but one: a level that exists and that we lack.
    pub fn fault(self) -> Fault {
        match self {
            DecodeError::Level(_) => Fault::Lack,
            _ => Fault::Peer,
        }
    }

    /// What a level 5 peer is told: malformed is what cannot be parsed, a protocol error what was parsed
    /// and may not be (section 1.2).
    pub fn reason(self) -> Reason {
        match self {
            DecodeError::Level(_) | DecodeError::ProtocolName => Reason::Version,
            DecodeError::PropertyValue(0x23) => Reason::BadTopicAlias,
            DecodeError::PropertyTwice(_)
            | DecodeError::PropertyValue(_)
            | DecodeError::RetainHandling
            | DecodeError::NoFilter
            | DecodeError::PacketId
            | DecodeError::ReturnCode(_) => Reason::ProtocolError,
            _ => Reason::Malformed,
        }
    }
}

impl From<Short> for DecodeError {
    fn from(_: Short) -> Self {
        DecodeError::Short
    }
}

/// A fixed header: enough to refuse a packet before the rest of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The level that the connection speaks; a CONNECT tells its own.
    pub level: Level,
    /// The packet's type.
    pub kind: Kind,
    /// The four flag bits; checked for every type but PUBLISH, whose flags are its own.
    pub flags: u8,
    /// Bytes of the header itself, 2 to 5.
    pub head_bytes: usize,
    /// Bytes that follow: the remaining length.
    pub body_bytes: usize,
}

impl Head {
    /// Reads the fixed header at the start of `input`. `None` while it is not whole.
    pub fn read(level: Level, input: &[u8]) -> Result<Option<Head>, DecodeError> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let (number, flags) = (first >> 4, first & 0x0f);
        let kind = Kind::from_u8(number).ok_or(DecodeError::Kind(number))?;
        if kind == Kind::Auth && level != Level::V5 {
            return Err(DecodeError::Kind(number));
        }
        if !kind.allows(level, flags) {
            return Err(DecodeError::Flags);
        }
        match wire::read_remaining_length(rest)? {
            None => Ok(None),
            // 3.1.1 does not demand the shortest form: see `quirks`.
            Some((body_bytes, bytes)) if level == Level::V5 && bytes > wire::varint_bytes(body_bytes) => Err(DecodeError::Length),
            Some((body_bytes, bytes)) => Ok(Some(Head { level, kind, flags, head_bytes: 1 + bytes, body_bytes })),
        }
    }

    /// Bytes of the whole packet.
    pub fn packet_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }

    /// The packet's body. `None` while `input` does not hold all of it.
    pub fn body<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        input.get(self.head_bytes..self.packet_bytes())
    }

    /// Decodes the packet that this header begins. `None` while `input` does not hold all of it.
    pub fn packet<'a>(&self, input: &'a [u8]) -> Result<Option<Packet<'a>>, DecodeError> {
        self.body(input).map(|body| Packet::decode(self.level, self.kind, self.flags, body)).transpose()
    }
}

/// Any packet, borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The first packet of a client.
    Connect(Connect<'a>),
    /// The server's answer to it.
    Connack(Connack<'a>),
    /// A message, either way.
    Publish(Publish<'a>),
    /// QoS 1: the receiver has it.
    Puback(Ack<'a>),
    /// QoS 2, step 1: the receiver has it.
    Pubrec(Ack<'a>),
    /// QoS 2, step 2: the sender has forgotten it.
    Pubrel(Ack<'a>),
    /// QoS 2, step 3: the packet id is free again.
    Pubcomp(Ack<'a>),
    /// The client wants topics.
    Subscribe(Subscribe<'a>),
    /// What it was granted.
    Suback(Suback<'a>),
    /// The client no longer wants them.
    Unsubscribe(Unsubscribe<'a>),
    /// Done.
    Unsuback(Unsuback<'a>),
    /// Are you there?
    Pingreq,
    /// Yes.
    Pingresp,
    /// Somebody says goodbye.
    Disconnect(Disconnect<'a>),
    /// A step of an enhanced authentication; the same fields as a DISCONNECT.
    Auth(Disconnect<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes a packet's body. `flags` are the four bits of the first byte, already checked by
    /// [`Head::read`] where the type fixes them.
    pub fn decode(level: Level, kind: Kind, flags: u8, body: &'a [u8]) -> Result<Packet<'a>, DecodeError> {
        Ok(match kind {
            Kind::Connect => Packet::Connect(Connect::decode(body)?),
            Kind::Connack => Packet::Connack(Connack::decode(level, body)?),
            Kind::Publish => Packet::Publish(Publish::decode(level, flags, body)?),
            Kind::Puback => Packet::Puback(Ack::decode(level, kind, body)?),
            Kind::Pubrec => Packet::Pubrec(Ack::decode(level, kind, body)?),
            Kind::Pubrel => Packet::Pubrel(Ack::decode(level, kind, body)?),
            Kind::Pubcomp => Packet::Pubcomp(Ack::decode(level, kind, body)?),
            Kind::Subscribe => Packet::Subscribe(Subscribe::decode(level, body)?),
            Kind::Suback => Packet::Suback(Suback::decode(level, body)?),
            Kind::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(level, body)?),
            Kind::Unsuback => Packet::Unsuback(Unsuback::decode(level, body)?),
            Kind::Pingreq => wire::nothing(body, Packet::Pingreq)?,
            Kind::Pingresp => wire::nothing(body, Packet::Pingresp)?,
            Kind::Disconnect => Packet::Disconnect(Disconnect::decode(level, kind, body)?),
            Kind::Auth => Packet::Auth(Disconnect::decode(level, kind, body)?),
        })
    }

    /// The first packet of `input` and how many bytes it takes. `None` while it is not whole.
    pub fn read(level: Level, input: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, DecodeError> {
        let Some(head) = Head::read(level, input)? else { return Ok(None) };
        Ok(head.packet(input)?.map(|packet| (packet, head.packet_bytes())))
    }
}

/// Appends one of the packets that carry nothing but a packet id. Where 5.0 has a reason, this says success.
pub fn put_ack(out: &mut Vec<u8>, kind: Kind, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[(kind as u8) << 4 | kind.flags(), 2, high, low]);
}

/// Appends one of the packets that carry nothing at all.
pub fn put_empty(out: &mut Vec<u8>, kind: Kind) {
    out.extend_from_slice(&[(kind as u8) << 4 | kind.flags(), 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_refused_as_early_as_it_can_be() {
        let read = |bytes: &[u8]| Head::read(Level::V311, bytes);
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[0x00]), Err(DecodeError::Kind(0)));
        assert_eq!(read(&[0xf0]), Err(DecodeError::Kind(15)));
        assert_eq!(read(&[0x11]), Err(DecodeError::Flags));
        assert_eq!(read(&[0x80]), Err(DecodeError::Flags), "SUBSCRIBE has 0010");
        assert_eq!(read(&[0x30, 0x80, 0x80, 0x80]), Ok(None));
        assert_eq!(read(&[0x30, 0x80, 0x80, 0x80, 0x80]), Err(DecodeError::Length));
        let head = read(&[0x3d, 0xff, 0xff, 0xff, 0x7f]).unwrap().unwrap();
        assert_eq!((head.flags, head.head_bytes, head.body_bytes), (0x0d, 5, REMAINING_LENGTH_MAX));
        assert!(read(&[0xc0, 0x80, 0x00]).is_ok());
        assert_eq!(Head::read(Level::V5, &[0xc0, 0x80, 0x00]), Err(DecodeError::Length), "[MQTT-1.5.5-1]");
        assert_eq!(Head::read(Level::V5, &[0xf1]), Err(DecodeError::Flags), "[MQTT-3.15.1-1]");
    }

    #[test]
    fn packets_with_nothing_but_an_id_have_a_nonzero_one() {
        for (kind, first) in
            [(Kind::Puback, 0x40), (Kind::Pubrec, 0x50), (Kind::Pubrel, 0x62), (Kind::Pubcomp, 0x70), (Kind::Unsuback, 0xb0)]
        {
            let mut out = Vec::new();
            put_ack(&mut out, kind, 0x1234);
            assert_eq!(out, [first, 2, 0x12, 0x34]);
            let read = |bytes: &[u8]| Packet::read(Level::V311, bytes).map(|read| read.is_some());
            assert_eq!(read(&out), Ok(true));
            assert_eq!(read(&[first, 2, 0, 0]), Err(DecodeError::PacketId));
            assert_eq!(read(&[first, 1, 1]), Err(DecodeError::Short));
            assert_eq!(read(&[first, 3, 0, 1, 0]), Err(DecodeError::Trailing));
        }
    }

    #[test]
    fn packets_with_nothing_have_nothing() {
        for (kind, first) in [(Kind::Pingreq, 0xc0), (Kind::Pingresp, 0xd0), (Kind::Disconnect, 0xe0)] {
            let mut out = Vec::new();
            put_empty(&mut out, kind);
            assert_eq!(out, [first, 0]);
            assert_eq!(Packet::read(Level::V311, &[first, 1, 0]), Err(DecodeError::Trailing));
        }
    }
}
