//! CONNECT and CONNACK (sections 3.1 and 3.2).

use contract::kit::Cursor;
use model::Qos;

use super::wire::{self, TooLong};
use super::{DecodeError, Kind};

/// Which revision of the protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// 3.1, `MQIsdp`; see `quirks` for who still sends it.
    V31,
    /// 3.1.1, `MQTT`.
    V311,
}

impl Level {
    /// The protocol name of the CONNECT and the byte behind it.
    fn words(self) -> (&'static [u8], u8) {
        match self {
            Level::V31 => (b"MQIsdp", 3),
            Level::V311 => (b"MQTT", 4),
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
    /// Whether an earlier session is to be forgotten and this one not kept.
    pub clean: bool,
    /// The longest silence that the client promises, in seconds; 0 promises nothing.
    pub keep_alive_s: u16,
    /// The client's name; may be empty with `clean`.
    pub client: &'a str,
    /// What to publish when the line is lost.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub user: Option<&'a str>,
    /// The password; never without a user name [MQTT-3.1.2-22].
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
}

impl<'a> Connect<'a> {
    /// Decodes the body. The level is judged before anything that a foreign level may lay out differently.
    pub fn decode(body: &'a [u8]) -> Result<Connect<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let name = wire::binary(&mut cursor)?;
        let number = match name {
            b"MQTT" | b"MQIsdp" => cursor.u8()?,
            _ => return Err(DecodeError::ProtocolName),
        };
        let level = match (name, number) {
            (b"MQTT", 4) => Level::V311,
            (b"MQIsdp", 3) => Level::V31,
            (_, other) => return Err(DecodeError::Level(other)),
        };
        let flags = cursor.u8()?;
        let reserved = flags & RESERVED != 0; // [MQTT-3.1.2-3]
        let will_less = flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0; // [MQTT-3.1.2-11], -13, -15
        let nameless = flags & USER == 0 && flags & PASSWORD != 0; // [MQTT-3.1.2-22]
        if reserved || will_less || nameless {
            return Err(DecodeError::ConnectFlags);
        }
        let will_qos = Qos::from_u8((flags & WILL_QOS) >> 3).ok_or(DecodeError::Qos)?; // [MQTT-3.1.2-14]
        let keep_alive_s = cursor.u16()?;
        let client = wire::text(&mut cursor)?;
        let will = if flags & WILL != 0 {
            let topic = wire::text(&mut cursor)?;
            let payload = wire::binary(&mut cursor)?;
            Some(Will { topic, payload, qos: will_qos, retain: flags & WILL_RETAIN != 0 })
        } else {
            None
        };
        let user = if flags & USER != 0 { Some(wire::text(&mut cursor)?) } else { None };
        let password = if flags & PASSWORD != 0 { Some(wire::binary(&mut cursor)?) } else { None };
        wire::end(&cursor)?;
        Ok(Connect { level, clean: flags & CLEAN != 0, keep_alive_s, client, will, user, password })
    }

    /// Appends the packet. A password without a user name is left out, for it cannot be said.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let password = self.user.and(self.password);
        let (name, number) = self.level.words();
        let mut flags = 0;
        let mut bytes = 2 + name.len() + 1 + 1 + 2 + wire::field_bytes(self.client.as_bytes())?;
        if self.clean {
            flags |= CLEAN;
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
        wire::put_field(out, self.client.as_bytes());
        if let Some(will) = &self.will {
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
            .field("client", &self.client)
            .field("will", &self.will)
            .field("user", &self.user)
            .field("password", &self.password.map(|_| "…"))
            .finish()
    }
}

/// A CONNACK's return code (table 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectCode {
    /// Come in.
    Accepted = 0,
    /// The protocol level is not spoken here.
    Version = 1,
    /// The client id is not allowed.
    ClientId = 2,
    /// The server cannot serve now.
    Unavailable = 3,
    /// Wrong user name or password.
    BadLogin = 4,
    /// Not authorised.
    NotAuthorised = 5,
}

impl ConnectCode {
    /// The code of a number.
    pub fn from_u8(number: u8) -> Option<ConnectCode> {
        use ConnectCode::*;
        [Accepted, Version, ClientId, Unavailable, BadLogin, NotAuthorised].into_iter().find(|code| *code as u8 == number)
    }
}

/// The server's answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Whether an earlier session goes on.
    pub session_present: bool,
    /// How it went.
    pub code: ConnectCode,
}

impl Connack {
    /// Decodes the body.
    pub fn decode(body: &[u8]) -> Result<Connack, DecodeError> {
        let mut cursor = Cursor::new(body);
        let (flags, number) = (cursor.u8()?, cursor.u8()?);
        wire::end(&cursor)?;
        let code = ConnectCode::from_u8(number).ok_or(DecodeError::ReturnCode(number))?;
        let session_present = match flags {
            0 => false,
            1 if code == ConnectCode::Accepted => true,
            _ => return Err(DecodeError::Flags),
        };
        Ok(Connack { session_present, code })
    }

    /// Appends the packet. A refusal never says that a session is present [MQTT-3.2.2-4].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let present = self.session_present && self.code == ConnectCode::Accepted;
        out.extend_from_slice(&[(Kind::Connack as u8) << 4, 2, u8::from(present), self.code as u8]);
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
        assert_eq!(connect.will, Some(Will { topic: "t", payload: b"hi", qos: Qos::AtLeastOnce, retain: true }));
        assert!(!format!("{connect:?}").contains("112"), "no password in debug output");
    }

    #[test]
    fn contradictions_are_refused() {
        let error = |name, level, flags, payload: &[u8]| Connect::decode(&body(name, level, flags, payload)).err();
        assert_eq!(error("MQTT", 4, 0x02, b"\0\x01c"), None);
        assert_eq!(error("MQIsdp", 3, 0x02, b"\0\x01c"), None);
        assert_eq!(error("mqtt", 4, 0x02, b"\0\x01c"), Some(DecodeError::ProtocolName));
        assert_eq!(error("MQTT", 5, 0x02, b"\0\0\x01c"), Some(DecodeError::Level(5)), "before its properties are read");
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
    fn an_answer_is_two_bytes() {
        let mut out = Vec::new();
        Connack { session_present: true, code: ConnectCode::Accepted }.encode(&mut out);
        Connack { session_present: true, code: ConnectCode::BadLogin }.encode(&mut out);
        assert_eq!(out, [0x20, 2, 1, 0, 0x20, 2, 0, 4]);
        assert_eq!(Connack::decode(&[0, 6]), Err(DecodeError::ReturnCode(6)));
        assert_eq!(Connack::decode(&[2, 0]), Err(DecodeError::Flags));
        assert_eq!(Connack::decode(&[1, 4]), Err(DecodeError::Flags), "a refusal has no session [MQTT-3.2.2-4]");
    }
}
