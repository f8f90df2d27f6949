//! PUBLISH (section 3.3). Its acknowledgements are nothing but a packet id: see `put_ack`.

use contract::kit::Cursor;
use model::Qos;

use super::wire::{self, TooLong};
use super::{DecodeError, Kind};

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
    /// The topic, as text; its rules are the hub's to check.
    pub topic: &'a str,
    /// The packet id; 0 at QoS 0, where there is none [MQTT-2.3.1-5].
    pub id: u16,
    /// What it says.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Decodes the body; `flags` are the low bits of the first byte.
    pub fn decode(flags: u8, body: &'a [u8]) -> Result<Publish<'a>, DecodeError> {
        let qos = Qos::from_u8(flags >> 1 & 3).ok_or(DecodeError::Qos)?;
        let dup = flags & DUP != 0;
        if dup && qos == Qos::AtMostOnce {
            return Err(DecodeError::Flags); // [MQTT-3.3.1-2]
        }
        let mut cursor = Cursor::new(body);
        let topic = wire::text(&mut cursor)?;
        let id = if qos == Qos::AtMostOnce { 0 } else { wire::packet_id(&mut cursor)? };
        Ok(Publish { dup, qos, retain: flags & RETAIN != 0, topic, id, payload: cursor.rest() })
    }

    /// Appends the packet; `id` is written above QoS 0 only.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let acknowledged = self.qos != Qos::AtMostOnce;
        let mut first = (Kind::Publish as u8) << 4 | (self.qos as u8) << 1;
        if self.dup && acknowledged {
            first |= DUP;
        }
        if self.retain {
            first |= RETAIN;
        }
        let id_bytes = if acknowledged { 2 } else { 0 };
        let bytes = wire::field_bytes(self.topic.as_bytes())? + id_bytes + self.payload.len();
        wire::put_head(out, first, bytes)?;
        wire::put_field(out, self.topic.as_bytes());
        if acknowledged {
            out.extend_from_slice(&self.id.to_be_bytes());
        }
        out.extend_from_slice(self.payload);
        Ok(())
    }
}

impl std::fmt::Debug for Publish<'_> {
    /// With the payload's length only: payloads reach no log.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Publish { dup, qos, retain, topic, id, payload } = self;
        write!(out, "Publish({topic:?} {qos:?} id {id} dup {dup} retain {retain}, {} bytes)", payload.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        // Section 3.3.2.3: topic a/b, packet id 10.
        let publish = Publish::decode(0x02, b"\0\x03a/b\0\x0a").unwrap();
        assert_eq!((publish.topic, publish.id, publish.qos, publish.payload), ("a/b", 10, Qos::AtLeastOnce, &b""[..]));
        let mut out = Vec::new();
        publish.encode(&mut out).unwrap();
        assert_eq!(out, b"\x32\x07\0\x03a/b\0\x0a");
    }

    #[test]
    fn flags_and_ids_are_checked() {
        assert_eq!(Publish::decode(0x06, b"\0\x01a\0\x01").err(), Some(DecodeError::Qos));
        assert_eq!(Publish::decode(0x08, b"\0\x01a").err(), Some(DecodeError::Flags), "DUP at QoS 0");
        assert_eq!(Publish::decode(0x02, b"\0\x01a\0\0x").err(), Some(DecodeError::PacketId));
        assert_eq!(Publish::decode(0x02, b"\0\x01a\0").err(), Some(DecodeError::Short));
        assert_eq!(Publish::decode(0x00, b"\0\x02a").err(), Some(DecodeError::Short));
        assert_eq!(Publish::decode(0x00, b"\0\x02\xff\xfe").err(), Some(DecodeError::Text));
    }

    #[test]
    fn dup_is_never_written_at_qos_0_and_long_topics_are_refused() {
        let mut publish = Publish { dup: true, qos: Qos::AtMostOnce, retain: true, topic: "a", id: 9, payload: b"x" };
        let mut out = Vec::new();
        publish.encode(&mut out).unwrap();
        assert_eq!(out, b"\x31\x04\0\x01ax");
        let long = "x".repeat(65_536);
        publish.topic = &long;
        assert_eq!(publish.encode(&mut out), Err(TooLong));
        assert_eq!(out.len(), 6, "nothing half-written");
    }
}
