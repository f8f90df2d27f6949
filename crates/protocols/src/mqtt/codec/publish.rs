//! PUBLISH and its acknowledgements PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.3 to 3.7).

use contract::kit::Cursor;
use model::Qos;

use super::connect::{Level, properties};
use super::properties::{Place, Properties};
use super::wire::{self, TooLong};
use super::{DecodeError, Kind, Reason};

const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

/// A message on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Sent before.
    pub dup: bool,
    /// How it is carried.
    pub qos: Qos,
    /// Towards the server: to be remembered. Towards a client: sent because it was remembered.
    pub retain: bool,
    /// The topic, as text; its rules are the hub's to check. Empty at level 5 when an alias stands for it.
    pub topic: &'a str,
    /// The packet id; 0 at QoS 0, where there is none [MQTT-2.3.1-5].
    pub id: u16,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
    /// What it says.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Decodes the body; `flags` are the low bits of the first byte.
    pub fn decode(level: Level, flags: u8, body: &'a [u8]) -> Result<Publish<'a>, DecodeError> {
        let qos = Qos::from_u8(flags >> 1 & 3).ok_or(DecodeError::Qos)?;
        let dup = flags & DUP != 0;
        if dup && qos == Qos::AtMostOnce {
            return Err(DecodeError::Flags); // [MQTT-3.3.1-2]
        }
        let mut cursor = Cursor::new(body);
        let topic = wire::text(&mut cursor)?;
        let id = if qos == Qos::AtMostOnce { 0 } else { wire::packet_id(&mut cursor)? };
        let props = properties(level, &mut cursor, Place::Of(Kind::Publish))?;
        Ok(Publish { dup, qos, retain: flags & RETAIN != 0, topic, id, props, payload: cursor.rest() })
    }

    /// Appends the packet; `id` is written above QoS 0 only.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let acknowledged = self.qos != Qos::AtMostOnce;
        let mut first = (Kind::Publish as u8) << 4 | (self.qos as u8) << 1;
        if self.dup && acknowledged {
            first |= DUP;
        }
        if self.retain {
            first |= RETAIN;
        }
        let id_bytes = if acknowledged { 2 } else { 0 };
        let props_bytes = if level == Level::V5 { self.props.wire_bytes() } else { 0 };
        let bytes = wire::field_bytes(self.topic.as_bytes())? + id_bytes + props_bytes + self.payload.len();
        wire::put_head(out, first, bytes)?;
        wire::put_field(out, self.topic.as_bytes());
        if acknowledged {
            out.extend_from_slice(&self.id.to_be_bytes());
        }
        if level == Level::V5 {
            self.props.put(out);
        }
        out.extend_from_slice(self.payload);
        Ok(())
    }
}

impl std::fmt::Debug for Publish<'_> {
    /// With the payload's length only: payloads reach no log.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Publish { dup, qos, retain, topic, id, props, payload } = self;
        write!(out, "Publish({topic:?} {qos:?} id {id} dup {dup} retain {retain} {props:?}, {} bytes)", payload.len())
    }
}

/// One of the four acknowledgements; which one is the packet's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet id of the PUBLISH.
    pub id: u16,
    /// How it went; before 5.0 nothing but success can be said.
    pub reason: Reason,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// Decodes the body. Reason and properties may be left out (section 3.4.2).
    pub fn decode(level: Level, kind: Kind, body: &'a [u8]) -> Result<Ack<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let id = wire::packet_id(&mut cursor)?;
        let (reason, props) = if level == Level::V5 { reason_and_properties(kind, &mut cursor)? } else { SUCCESS };
        wire::end(&cursor)?;
        Ok(Ack { id, reason, props })
    }

    /// Appends the packet, as short as it can be.
    pub fn encode(&self, level: Level, kind: Kind, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let tail_bytes = if level == Level::V5 { tail_bytes(self.reason, self.props) } else { 0 };
        wire::put_head(out, (kind as u8) << 4 | kind.flags(), 2 + tail_bytes)?;
        out.extend_from_slice(&self.id.to_be_bytes());
        put_tail(out, tail_bytes, self.reason, self.props);
        Ok(())
    }
}

const SUCCESS: (Reason, Properties<'static>) = (Reason::Success, Properties::NONE);

/// The reason and the properties at the end of a packet, both or the latter left out when there is nothing
/// to say. Acknowledgements, DISCONNECT and AUTH end in them.
pub(super) fn reason_and_properties<'a>(kind: Kind, cursor: &mut Cursor<'a>) -> Result<(Reason, Properties<'a>), DecodeError> {
    if cursor.is_empty() {
        return Ok(SUCCESS);
    }
    let number = cursor.u8()?;
    let reason = Reason::from_u8(kind, number).ok_or(DecodeError::ReturnCode(number))?;
    let props = if cursor.is_empty() { Properties::NONE } else { Properties::decode(cursor, Place::Of(kind))? };
    Ok((reason, props))
}

/// The bytes of [`put_tail`].
pub(super) fn tail_bytes(reason: Reason, props: Properties<'_>) -> usize {
    match (reason, props.is_empty()) {
        (Reason::Success, true) => 0,
        (_, true) => 1,
        (_, false) => 1 + props.wire_bytes(),
    }
}

/// Writes reason and properties, or as much of them as there is to say: `bytes` is what [`tail_bytes`]
/// answered, or 0 for a peer that knows neither.
pub(super) fn put_tail(out: &mut Vec<u8>, bytes: usize, reason: Reason, props: Properties<'_>) {
    if bytes > 0 {
        out.push(reason as u8);
    }
    if bytes > 1 {
        props.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Property, PropertyList};
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        // Section 3.3.2.3: topic a/b, packet id 10.
        let publish = Publish::decode(Level::V311, 0x02, b"\0\x03a/b\0\x0a").unwrap();
        assert_eq!((publish.topic, publish.id, publish.qos, publish.payload), ("a/b", 10, Qos::AtLeastOnce, &b""[..]));
        let mut out = Vec::new();
        publish.encode(Level::V311, &mut out).unwrap();
        assert_eq!(out, b"\x32\x07\0\x03a/b\0\x0a");
        // The same of 5.0 has a property length of 0.
        let publish = Publish::decode(Level::V5, 0x02, b"\0\x03a/b\0\x0a\0").unwrap();
        assert_eq!((publish.topic, publish.id, publish.payload), ("a/b", 10, &b""[..]));
    }

    #[test]
    fn flags_and_ids_are_checked() {
        let error = |flags, body| Publish::decode(Level::V311, flags, body).err();
        assert_eq!(error(0x06, b"\0\x01a\0\x01"), Some(DecodeError::Qos));
        assert_eq!(error(0x08, b"\0\x01a"), Some(DecodeError::Flags), "DUP at QoS 0");
        assert_eq!(error(0x02, b"\0\x01a\0\0x"), Some(DecodeError::PacketId));
        assert_eq!(error(0x02, b"\0\x01a\0"), Some(DecodeError::Short));
        assert_eq!(error(0x00, b"\0\x02a"), Some(DecodeError::Short));
        assert_eq!(error(0x00, b"\0\x02\xff\xfe"), Some(DecodeError::Text));
        assert_eq!(Publish::decode(Level::V5, 0, b"\0\x01a").err(), Some(DecodeError::Short), "no property length");
    }

    #[test]
    fn dup_is_never_written_at_qos_0_and_long_topics_are_refused() {
        let mut list = PropertyList::default();
        list.push(Property::TopicAlias(1)).unwrap();
        let (qos, props) = (Qos::AtMostOnce, list.view());
        let mut publish = Publish { dup: true, qos, retain: true, topic: "a", id: 9, props, payload: b"x" };
        let mut out = Vec::new();
        publish.encode(Level::V311, &mut out).unwrap();
        assert_eq!(out, b"\x31\x04\0\x01ax", "and what 3.1.1 does not know is left out");
        let long = "x".repeat(65_536);
        publish.topic = &long;
        assert_eq!(publish.encode(Level::V311, &mut out), Err(TooLong));
        assert_eq!(out.len(), 6, "nothing half-written");
    }

    #[test]
    fn acknowledgements_are_as_short_as_they_can_be() {
        let mut list = PropertyList::default();
        list.push(Property::ReasonString("no")).unwrap();
        for (reason, props, want) in [
            (Reason::Success, Properties::NONE, &b"\x40\x02\0\x07"[..]),
            (Reason::Quota, Properties::NONE, b"\x40\x03\0\x07\x97"),
            (Reason::Quota, list.view(), b"\x40\x09\0\x07\x97\x05\x1f\0\x02no"),
        ] {
            let (ack, mut out) = (Ack { id: 7, reason, props }, Vec::new());
            ack.encode(Level::V5, Kind::Puback, &mut out).unwrap();
            assert_eq!(out, want);
            assert_eq!(Ack::decode(Level::V5, Kind::Puback, &out[2..]), Ok(ack));
            let mut out = Vec::new();
            ack.encode(Level::V311, Kind::Puback, &mut out).unwrap();
            assert_eq!(out, b"\x40\x02\0\x07");
        }
        let error = |body| Ack::decode(Level::V5, Kind::Pubrel, body).err();
        assert_eq!(error(b"\0\x07\x97"), Some(DecodeError::ReturnCode(0x97)));
        assert_eq!(error(b"\0\x07\x92\0\0"), Some(DecodeError::Trailing));
        assert_eq!(error(b"\0\0"), Some(DecodeError::PacketId));
    }
}
