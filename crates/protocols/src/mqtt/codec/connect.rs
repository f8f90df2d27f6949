//! CONNECT and CONNACK (sections 3.1 and 3.2).

use contract::kit::Cursor;
use model::Qos;

use super::properties::{Place, Properties};
use super::wire::{self, TooLong};
use super::{DecodeError, Kind, Reason};

/// Which revision of the protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// 3.1, `MQIsdp`; see `quirks` for who still sends it.
    V31,
    /// 3.1.1, `MQTT`.
    V311,
    /// 5.0, `MQTT` too.
    V5,
}

impl Level {
    /// The protocol name of the CONNECT and the byte behind it.
    fn words(self) -> (&'static [u8], u8) {
        match self {
            Level::V31 => (b"MQIsdp", 3),
            Level::V311 => (b"MQTT", 4),
            Level::V5 => (b"MQTT", 5),
        }
    }
}

// The connect flags, section 3.1.2.3.
const USER: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// The first packet of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The revision it speaks.
    pub level: Level,
    /// Whether an earlier session is to be forgotten, and before 5.0 this one not kept.
    pub clean: bool,
    /// The longest silence that the client promises, in seconds; 0 promises nothing.
    pub keep_alive_s: u16,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
    /// The client's name; may be empty.
    pub client: &'a str,
    /// What to publish when the line is lost.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub user: Option<&'a str>,
    /// The password; before 5.0 never without a user name [MQTT-3.1.2-22].
    pub password: Option<&'a [u8]>,
}

/// A CONNECT's will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Where it goes.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a [u8],
    /// How it is carried.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
}

impl<'a> Connect<'a> {
    /// The level alone, for an answer to a CONNECT that is wrong behind it.
    pub fn level(body: &[u8]) -> Result<Level, DecodeError> {
        Connect::read_level(&mut Cursor::new(body))
    }

    fn read_level(cursor: &mut Cursor<'_>) -> Result<Level, DecodeError> {
        let name = wire::binary(cursor)?;
        let number = match name {
            b"MQTT" | b"MQIsdp" => cursor.u8()?,
            _ => return Err(DecodeError::ProtocolName),
        };
        match (name, number) {
            (b"MQTT", 5) => Ok(Level::V5),
            (b"MQTT", 4) => Ok(Level::V311),
            (b"MQIsdp", 3) => Ok(Level::V31),
            (_, other) => Err(DecodeError::Level(other)),
        }
    }

    /// Decodes the body. The level is judged before anything that a foreign level may lay out differently.
    pub fn decode(body: &'a [u8]) -> Result<Connect<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let level = Connect::read_level(&mut cursor)?;
        let flags = cursor.u8()?;
        // 3.1 does not use the bit, and does not say that it must be 0.
        let reserved = level != Level::V31 && flags & RESERVED != 0; // [MQTT-3.1.2-3]
        let will_less = flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0; // [MQTT-3.1.2-11], -13, -15
        let nameless = level != Level::V5 && flags & USER == 0 && flags & PASSWORD != 0; // [MQTT-3.1.2-22]
        if reserved || will_less || nameless {
            return Err(DecodeError::ConnectFlags);
        }
        let will_qos = Qos::from_u8((flags & WILL_QOS) >> 3).ok_or(DecodeError::Qos)?; // [MQTT-3.1.2-14]
        let keep_alive_s = cursor.u16()?;
        let props = properties(level, &mut cursor, Place::Of(Kind::Connect))?;
        let client = wire::text(&mut cursor)?;
        let will = if flags & WILL != 0 {
            let props = properties(level, &mut cursor, Place::Will)?;
            let topic = wire::text(&mut cursor)?;
            let payload = wire::binary(&mut cursor)?;
            Some(Will { topic, payload, qos: will_qos, retain: flags & WILL_RETAIN != 0, props })
        } else {
            None
        };
        let user = if flags & USER != 0 { Some(wire::text(&mut cursor)?) } else { None };
        let password = if flags & PASSWORD != 0 { Some(wire::binary(&mut cursor)?) } else { None };
        wire::end(&cursor)?;
        Ok(Connect { level, clean: flags & CLEAN != 0, keep_alive_s, props, client, will, user, password })
    }

    /// Appends the packet. Before 5.0 a password without a user name is left out, for it cannot be said.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let five = self.level == Level::V5;
        let password = self.password.filter(|_| five || self.user.is_some());
        let (name, number) = self.level.words();
        let mut flags = 0;
        let mut bytes = 2 + name.len() + 1 + 1 + 2 + wire::field_bytes(self.client.as_bytes())?;
        if self.clean {
            flags |= CLEAN;
        }
        if five {
            bytes += self.props.wire_bytes() + self.will.map_or(0, |will| will.props.wire_bytes());
        }
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << 3 | if will.retain { WILL_RETAIN } else { 0 };
            bytes += wire::field_bytes(will.topic.as_bytes())? + wire::field_bytes(will.payload)?;
        }
        if let Some(user) = self.user {
            flags |= USER;
            bytes += wire::field_bytes(user.as_bytes())?;
        }
        if let Some(password) = password {
            flags |= PASSWORD;
            bytes += wire::field_bytes(password)?;
        }
        wire::put_head(out, (Kind::Connect as u8) << 4, bytes)?;
        wire::put_field(out, name);
        out.extend_from_slice(&[number, flags]);
        out.extend_from_slice(&self.keep_alive_s.to_be_bytes());
        if five {
            self.props.put(out);
        }
        wire::put_field(out, self.client.as_bytes());
        if let Some(will) = &self.will {
            if five {
                will.props.put(out);
            }
            wire::put_field(out, will.topic.as_bytes());
            wire::put_field(out, will.payload);
        }
        if let Some(user) = self.user {
            wire::put_field(out, user.as_bytes());
        }
        if let Some(password) = password {
            wire::put_field(out, password);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Connect<'_> {
    /// Without the password, so that it reaches no log.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connect")
            .field("level", &self.level)
            .field("clean", &self.clean)
            .field("keep_alive_s", &self.keep_alive_s)
            .field("props", &self.props)
            .field("client", &self.client)
            .field("will", &self.will)
            .field("user", &self.user)
            .field("password", &self.password.map(|_| "…"))
            .finish()
    }
}

/// The properties at the cursor; the older levels have none.
pub(super) fn properties<'a>(level: Level, cursor: &mut Cursor<'a>, place: Place) -> Result<Properties<'a>, DecodeError> {
    if level == Level::V5 { Properties::decode(cursor, place) } else { Ok(Properties::NONE) }
}

/// The server's answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Whether an earlier session goes on.
    pub session_present: bool,
    /// How it went.
    pub reason: Reason,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
}

impl<'a> Connack<'a> {
    /// Decodes the body.
    pub fn decode(level: Level, body: &'a [u8]) -> Result<Connack<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let (flags, number) = (cursor.u8()?, cursor.u8()?);
        let props = properties(level, &mut cursor, Place::Of(Kind::Connack))?;
        wire::end(&cursor)?;
        let reason = match level {
            Level::V5 => Reason::from_u8(Kind::Connack, number),
            _ => Reason::from_return_code(number),
        };
        let reason = reason.ok_or(DecodeError::ReturnCode(number))?;
        let session_present = match flags {
            0 => false,
            1 if reason == Reason::Success => true,
            _ => return Err(DecodeError::Flags),
        };
        Ok(Connack { session_present, reason, props })
    }

    /// Appends the packet. A refusal never says that a session is present [MQTT-3.2.2-4].
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let present = u8::from(self.session_present && self.reason == Reason::Success);
        let first = (Kind::Connack as u8) << 4;
        if level == Level::V5 {
            wire::put_head(out, first, 2 + self.props.wire_bytes())?;
            out.extend_from_slice(&[present, self.reason as u8]);
            self.props.put(out);
        } else {
            out.extend_from_slice(&[first, 2, present, self.reason.to_return_code()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CONNECT body with the given level, flags and payload.
    fn body(name: &str, level: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_field(&mut out, name.as_bytes());
        out.extend_from_slice(&[level, flags, 0, 60]);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn every_field_is_read() {
        let bytes = body("MQTT", 4, 0xee, b"\0\x01c\0\x01t\0\x02hi\0\x01u\0\x01p");
        let connect = Connect::decode(&bytes).unwrap();
        assert_eq!((connect.level, connect.clean, connect.keep_alive_s), (Level::V311, true, 60));
        assert_eq!((connect.client, connect.user, connect.password), ("c", Some("u"), Some(&b"p"[..])));
        assert_eq!(
            connect.will,
            Some(Will { topic: "t", payload: b"hi", qos: Qos::AtLeastOnce, retain: true, props: Properties::NONE })
        );
        assert!(!format!("{connect:?}").contains("112"), "no password in debug output");
    }

    #[test]
    fn contradictions_are_refused() {
        let error = |name, level, flags, payload: &[u8]| Connect::decode(&body(name, level, flags, payload)).err();
        assert_eq!(error("MQTT", 4, 0x02, b"\0\x01c"), None);
        assert_eq!(error("MQIsdp", 3, 0x02, b"\0\x01c"), None);
        assert_eq!(error("mqtt", 4, 0x02, b"\0\x01c"), Some(DecodeError::ProtocolName));
        assert_eq!(error("MQTT", 6, 0x02, b"\0\0\x01c"), Some(DecodeError::Level(6)), "before its properties are read");
        assert_eq!(error("MQTT", 5, 0x02, b"\0\0\x01c"), None);
        assert_eq!(error("MQTT", 5, 0x42, b"\0\0\x01c\0\x01p"), None, "5.0 lets a password stand alone");
        assert_eq!(error("MQTT", 3, 0x02, b"\0\x01c"), Some(DecodeError::Level(3)));
        assert_eq!(error("MQTT", 4, 0x03, b"\0\x01c"), Some(DecodeError::ConnectFlags), "reserved bit");
        assert_eq!(error("MQTT", 4, 0x0a, b"\0\x01c"), Some(DecodeError::ConnectFlags), "will QoS without will");
        assert_eq!(error("MQTT", 4, 0x22, b"\0\x01c"), Some(DecodeError::ConnectFlags), "will retain without will");
        assert_eq!(error("MQTT", 4, 0x42, b"\0\x01c\0\x01p"), Some(DecodeError::ConnectFlags), "password without user");
        assert_eq!(error("MQTT", 4, 0x1e, b"\0\x01c\0\x01t\0\0"), Some(DecodeError::Qos), "will QoS 3");
        assert_eq!(error("MQTT", 4, 0x82, b"\0\x01c"), Some(DecodeError::Short), "flag without field");
        assert_eq!(error("MQTT", 4, 0x02, b"\0\x01c\0\x01u"), Some(DecodeError::Trailing), "field without flag");
    }

    #[test]
    fn an_answer_is_two_bytes_and_at_level_5_properties() {
        let connack = |session_present, reason| Connack { session_present, reason, props: Properties::NONE };
        let mut out = Vec::new();
        connack(true, Reason::Success).encode(Level::V311, &mut out).unwrap();
        connack(true, Reason::BadLogin).encode(Level::V311, &mut out).unwrap();
        connack(true, Reason::BadLogin).encode(Level::V5, &mut out).unwrap();
        assert_eq!(out, [0x20, 2, 1, 0, 0x20, 2, 0, 4, 0x20, 3, 0, 0x86, 0]);
        let decode = |bytes| Connack::decode(Level::V311, bytes);
        assert_eq!(decode(&[0, 6]), Err(DecodeError::ReturnCode(6)));
        assert_eq!(decode(&[2, 0]), Err(DecodeError::Flags));
        assert_eq!(decode(&[1, 4]), Err(DecodeError::Flags), "a refusal has no session [MQTT-3.2.2-4]");
        assert_eq!(Connack::decode(Level::V5, &[0, 4, 0]), Err(DecodeError::ReturnCode(4)));
        assert_eq!(Connack::decode(Level::V5, &[0, 0x87, 0]).unwrap().reason, Reason::NotAuthorised);
        assert_eq!(Connack::decode(Level::V5, &[0, 0]), Err(DecodeError::Short));
    }
}
