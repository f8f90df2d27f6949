//! What goes down: a message on one of the device's topics becomes the frame that says it, or a sentence
//! why not. Only types stand here that a P1 device may know; which of them this device knows is its
//! [`Reach`] (H1).

use std::borrow::Cow;

use model::topic::Space;
use model::{Address, Topic};

use super::codec::{BODY_BYTES_MAX, kind};
use super::quirks::{Reach, text_out};

/// What a device listens to.
pub(super) const FILTERS: [&str; 4] = ["me/push", "me/ask/+", "me/cmd/+/+", "me/from/#"];

/// Who wrote a message that came to the device's number.
pub(super) fn sender(topic: &Topic) -> Option<Address> {
    match topic.space() {
        Space::Device { rest, .. } => rest.strip_prefix("from/").and_then(Address::parse),
        _ => None,
    }
}

/// A frame to be sent: its type and its body.
pub(super) type Order<'a> = (u16, Cow<'a, [u8]>);

/// The frame for a message, or why this device cannot be given it.
pub(super) fn frame<'a>(topic: &Topic, payload: &'a [u8], reach: Reach, gbk: bool) -> Result<Order<'a>, String> {
    let verb = match topic.space() {
        Space::Device { rest, .. } => rest.strip_prefix("cmd/").map(|rest| rest.split('/').next().unwrap_or_default()),
        _ => None,
    };
    let (kind, needed, body) = match verb {
        None => (kind::PUSH, Reach::Push, text(payload, gbk)?),
        Some("reboot") => (kind::REBOOT, Reach::Remote, Cow::Borrowed(&[][..])),
        Some("at") => (kind::AT, Reach::Remote, at_command(payload, gbk)?),
        Some("lua") => (kind::LUA, Reach::Remote, text(payload, gbk)?),
        Some("probe") => (kind::PROBE, Reach::Remote, Cow::Borrowed(&[][..])),
        Some("status") => (kind::STATUS, Reach::Status, text(payload, gbk)?),
        Some("gpio.write") => (kind::GPIO_WRITE, Reach::Gpio, Cow::Owned(pin_and_level(payload)?.to_vec())),
        Some("gpio.read") => (kind::GPIO_READ, Reach::Gpio, Cow::Borrowed(&[][..])),
        Some("custom") if payload.is_empty() => {
            return Err("a custom message begins with its sub-type; give at least one byte".to_owned());
        }
        Some("custom") => (kind::CUSTOM, Reach::Custom, Cow::Borrowed(payload)),
        Some(other) => {
            return Err(format!(
                "an ES-PUSH device knows no command {other:?}; it knows reboot, at, lua, probe, status, gpio.write, gpio.read and custom"
            ));
        }
    };
    if reach < needed {
        return Err(format!(
            "older firmware drops the line at this command, and this device has not shown that it knows it; if it does, set espush.accepts = {} on the app",
            needed.word()
        ));
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("{} bytes are too many; an ES-PUSH device takes at most {BODY_BYTES_MAX}", body.len()));
    }
    Ok((kind, body))
}

fn text(payload: &[u8], gbk: bool) -> Result<Cow<'_, [u8]>, String> {
    text_out(payload, gbk).ok_or_else(|| "the text has a character that GBK lacks; the app has espush.text = gbk".to_owned())
}

/// One command line with its CR LF. The firmware answers 0 to whatever it is given and prints an error on
/// its serial line only, so what cannot be a command is refused here.
fn at_command(payload: &[u8], gbk: bool) -> Result<Cow<'_, [u8]>, String> {
    let line = payload.trim_ascii();
    if !line.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"at")) || line.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        return Err("an AT command is one line that begins with AT".to_owned());
    }
    let mut line = text(line, gbk)?.into_owned();
    line.extend_from_slice(b"\r\n");
    Ok(Cow::Owned(line))
}

/// `{"pin":12,"level":1}` or `12 1`.
fn pin_and_level(payload: &[u8]) -> Result<[u8; 2], String> {
    let wanted = || "give the pin and its level as {\"pin\":12,\"level\":1} or as 12 1".to_owned();
    let text = std::str::from_utf8(payload).map_err(|_| wanted())?.trim();
    let (pin, level) = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) if json.is_object() => {
            let level = &json["level"];
            (json["pin"].as_u64(), level.as_u64().or_else(|| level.as_bool().map(u64::from)))
        }
        _ => {
            let (pin, level) = text.split_once([' ', ',', '=']).ok_or_else(wanted)?;
            (pin.trim().parse().ok(), level.trim().parse().ok())
        }
    };
    match (pin.and_then(|pin| u8::try_from(pin).ok()), level) {
        (Some(pin), Some(level @ (0 | 1))) => Ok([pin, level as u8]),
        _ => Err(wanted()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(rest: &str, payload: &[u8], reach: Reach) -> Result<(u16, Vec<u8>), String> {
        let topic = Topic::of_device("7-1", rest);
        frame(&topic, payload, reach, false).map(|(kind, body)| (kind, body.into_owned()))
    }

    #[test]
    fn every_order_has_its_frame() {
        let rows: [(&str, &[u8], u16, &[u8]); 14] = [
            ("push", b"HELLO", 0x04, b"HELLO"),
            ("from/5", b"HELLO", 0x04, b"HELLO"),
            ("ask/9", b"HELLO", 0x04, b"HELLO"),
            ("cmd/reboot/9", b"", 0x12, b""),
            ("cmd/at/9", b"AT+GPIO_LOW=12", 0x14, b"AT+GPIO_LOW=12\r\n"),
            ("cmd/at/9", b"at+gmr\r\n", 0x14, b"at+gmr\r\n"),
            ("cmd/lua/9", b"print(1)", 0x16, b"print(1)"),
            ("cmd/probe/9", b"", 0x18, b""),
            ("cmd/status/9", b"KEY", 0x1C, b"KEY"),
            ("cmd/gpio.write/9", b"{\"pin\":12,\"level\":1}", 0x1E, &[12, 1]),
            ("cmd/gpio.write/9", b"12 1\n", 0x1E, &[12, 1]),
            ("cmd/gpio.write/9", b"{\"pin\":2,\"level\":false}", 0x1E, &[2, 0]),
            ("cmd/gpio.read/9", b"", 0x20, b""),
            ("cmd/custom/9", &[0x11, 0, 0, 7, 0xd0, 1], 0x26, &[0x11, 0, 0, 7, 0xd0, 1]),
        ];
        for (rest, payload, kind, body) in rows {
            assert_eq!(order(rest, payload, Reach::Custom), Ok((kind, body.to_vec())), "{rest}");
        }
        let all = Topic::parse("app/7/push").unwrap();
        assert_eq!(frame(&all, b"x", Reach::Push, false), Ok((0x04, Cow::Borrowed(&b"x"[..]))));
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_a_sentence() {
        for (rest, payload) in [
            ("cmd/selfdestruct/9", &b""[..]),
            ("cmd/at/9", b"print(1)"),
            ("cmd/at/9", b"AT+A\r\nAT+B"),
            ("cmd/at/9", b"A"),
            ("cmd/gpio.write/9", b""),
            ("cmd/gpio.write/9", b"12"),
            ("cmd/gpio.write/9", b"12 2"),
            ("cmd/gpio.write/9", b"256 1"),
            ("cmd/gpio.write/9", b"{\"pin\":-1,\"level\":1}"),
            ("cmd/gpio.write/9", b"\xff"),
            ("cmd/custom/9", b""),
            ("push", &[0; BODY_BYTES_MAX + 1]),
        ] {
            assert!(order(rest, payload, Reach::Custom).is_err(), "{rest} {payload:?}");
        }
        assert!(order("push", &[0; BODY_BYTES_MAX], Reach::Push).is_ok());
        assert!(order("cmd/selfdestruct/9", b"", Reach::Custom).unwrap_err().contains("gpio.write"));
    }

    #[test]
    fn h1_what_the_firmware_may_not_know_is_refused_and_the_fix_is_named() {
        let needs = [
            ("cmd/reboot/9", &b""[..], Reach::Remote),
            ("cmd/at/9", b"AT", Reach::Remote),
            ("cmd/lua/9", b"x", Reach::Remote),
            ("cmd/probe/9", b"", Reach::Remote),
            ("cmd/status/9", b"x", Reach::Status),
            ("cmd/gpio.write/9", b"1 1", Reach::Gpio),
            ("cmd/gpio.read/9", b"", Reach::Gpio),
            ("cmd/custom/9", b"x", Reach::Custom),
        ];
        for (rest, payload, needed) in needs {
            for reach in [Reach::Push, Reach::Remote, Reach::Status, Reach::Gpio, Reach::Custom] {
                match order(rest, payload, reach) {
                    Ok(_) => assert!(reach >= needed, "{rest} {reach:?}"),
                    Err(why) => {
                        assert!(reach < needed, "{rest} {reach:?}");
                        assert!(why.contains(&format!("espush.accepts = {}", needed.word())), "{why}");
                    }
                }
            }
        }
    }
}
