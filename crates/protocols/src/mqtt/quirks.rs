//! Every tolerance for real devices, each with its source, and the guesses at what a stranger wanted.
//! What is not here follows the letter of MQTT 3.1.1 or 5.0.
//!
//! 1. **MQTT 3.1** (`MQIsdp`, level 3) is taken. Source: `PROTOCOL_NAMEv31` is the default in the
//!    `user_config.h` of esp_mqtt (tuanpmt), of esp-link and of the many firmwares made from them. The
//!    limit of 23 characters on its client ids is not enforced (3.1 section 3.1 says SHOULD NOT), the reserved
//!    connect flag may be set, and PUBREL, SUBSCRIBE and UNSUBSCRIBE may come again with DUP set (3.1 section 2.1).
//! 2. **An empty user name** is none, if the password is empty too. Source: PubSubClient's
//!    `connect(id, user, pass)` sets both flags whenever the pointers are not NULL, and sketches pass `""`.
//! 3. **Bytes after DISCONNECT** are ignored: the connection is already closing.
//! 4. **A remaining length longer than it need be** (`80 00`) is read: 3.1.1, unlike 5, does not demand the
//!    shortest form.
//! 5. **What an app's settings say of its firmware** ([`Firmware`]): `mqtt.session_present = off`, because
//!    MicroPython's mqtt_as with `clean=False` does not subscribe again when CONNACK says session present, and
//!    never recovers; `mqtt.segments = one-packet` and `mqtt.write_bytes_max`, because Espressif's esp_mqtt for
//!    the ESP8266 loses a packet that shares a TCP segment with an earlier one and drops reads of 1,024 bytes
//!    or more; `mqtt.packet_bytes_max`, because PubSubClient silently skips a packet beyond its buffer (256
//!    bytes, header included, unless the sketch sets another).

use contract::{Context, Login};
use model::app::ProtocolSettings;

use super::codec::{Connect, Head, Level};

/// Quirk 1: the second byte of a CONNACK belongs to 3.1.1; 3.1 calls it reserved, so it stays 0.
pub fn shows_session_present(level: Level) -> bool {
    level != Level::V31
}

/// Quirk 2: the login that a CONNECT presents.
pub fn login(connect: &Connect<'_>) -> Login {
    let (user, password) = (connect.user.unwrap_or_default(), connect.password.unwrap_or_default());
    match (user, password) {
        ("", []) => Login::Anonymous,
        _ => Login::Password { user: user.to_owned(), password: password.to_owned(), client: connect.client.to_owned() },
    }
}

/// Quirk 5: what an app's settings say of its devices' firmware. Most say nothing, and have no value of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    hides_session_present: bool,
    one_packet_a_segment: bool,
    write_bytes_max: Option<usize>,
    /// The largest packet that the device's buffer takes, header included.
    pub packet_bytes_max: Option<usize>,
}

impl Firmware {
    /// Reads the settings `mqtt.…`; a value that makes no sense is as good as none.
    pub fn of(settings: &ProtocolSettings) -> Option<Box<Firmware>> {
        let word = |name: &str| settings.get(name).map(String::as_str);
        let bytes = |name: &str| word(name).and_then(|text| text.parse().ok()).filter(|bytes| *bytes > 0);
        let firmware = Firmware {
            hides_session_present: word("mqtt.session_present") == Some("off"),
            one_packet_a_segment: word("mqtt.segments") == Some("one-packet"),
            write_bytes_max: bytes("mqtt.write_bytes_max"),
            packet_bytes_max: bytes("mqtt.packet_bytes_max"),
        };
        (firmware != Firmware::default()).then(|| Box::new(firmware))
    }

    /// Whether the CONNACK may say that a session goes on.
    pub fn shows_session_present(&self) -> bool {
        !self.hides_session_present
    }

    /// Marks where writes begin in what the machine has written since `from`: whole packets, or pieces.
    pub fn cut(&self, level: Level, cx: &mut Context<'_>, from: usize) {
        let mut start = from;
        while start < cx.out.len() {
            let rest = &cx.out[start..];
            let packet = match Head::read(level, rest) {
                Ok(Some(head)) if self.one_packet_a_segment => head.packet_bytes().min(rest.len()),
                _ => rest.len(),
            };
            let piece = self.write_bytes_max.unwrap_or(usize::MAX);
            let end = start + packet;
            while start < end {
                start += piece.min(end - start);
                cx.cuts.push(start);
            }
        }
    }
}

/// What somebody probably wanted whose first byte is not that of a CONNECT, as a sentence with the fix.
pub fn stranger(first: u8) -> &'static str {
    match first {
        0x16 => "this looks like TLS; this port speaks plain MQTT: turn TLS off in the client or use the TLS port",
        b'A'..=b'Z' | b'a'..=b'z' => "this looks like text or HTTP; this port speaks MQTT, HTTP has its own port",
        _ => "the first packet must be CONNECT",
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::Properties;
    use super::*;

    #[test]
    fn an_empty_user_name_is_none() {
        let mut connect = Connect {
            level: Level::V311,
            clean: true,
            keep_alive_s: 0,
            props: Properties::NONE,
            client: "c",
            will: None,
            user: Some(""),
            password: None,
        };
        assert_eq!(login(&connect), Login::Anonymous);
        connect.password = Some(b"");
        assert_eq!(login(&connect), Login::Anonymous);
        connect.password = Some(b"x");
        assert_ne!(login(&connect), Login::Anonymous, "a password is never thrown away");
    }
}
