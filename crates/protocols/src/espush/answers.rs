//! What the device says to an order: status bytes and values become outcomes, in the terms of the type
//! that was asked. A device may also stay silent; for two types that is its way of saying "nothing there".

use bytes::Bytes;
use contract::Outcome;
use model::limits::ESPUSH_ANSWER_S_MAX;

use super::codec::kind;
use super::quirks::{PINS, text_in};

/// How an order of type `asked` ended, by the answer's body.
pub(super) fn outcome(asked: u16, body: &[u8], gbk: bool) -> Outcome {
    // The status is in the sentence; what the device said is what follows it.
    let failed = |why: &str| Outcome::Failed(why.to_owned(), Bytes::copy_from_slice(body.get(1..).unwrap_or_default()));
    match (asked, body) {
        (kind::PUSH, [0, ..]) => Outcome::Delivered,
        (kind::PUSH, [1, ..]) => failed("the firmware has no callback for pushes"),
        (kind::REBOOT | kind::AT | kind::LUA | kind::GPIO_WRITE, [0, ..]) => Outcome::Applied(Bytes::new()),
        (kind::AT, [2, ..]) => failed("this firmware runs no AT commands"),
        (kind::LUA, [2, ..]) => failed("this firmware runs no Lua"),
        (kind::GPIO_WRITE, [1, ..]) => failed("the firmware knows no such pin"),
        (kind::PROBE, _) => Outcome::Applied(Bytes::new()),
        (kind::STATUS, [0, value @ ..]) => Outcome::Applied(text_or_bytes(value, gbk)),
        (kind::GPIO_READ, levels) => match levels.first_chunk::<{ PINS.len() }>() {
            Some(levels) => Outcome::Applied(pins_json(levels).into()),
            None => Outcome::Failed("the answer does not have twelve pins".to_owned(), Bytes::copy_from_slice(body)),
        },
        (kind::CUSTOM, _) => Outcome::Applied(Bytes::copy_from_slice(body)),
        (_, [status, ..]) => failed(&format!("the device answered with status {status}")),
        (_, []) => failed("the device answered without a status"),
    }
}

/// How an order of type `asked` ends when no answer comes in time. `None` when silence means that the line
/// is dead: the stock server closed it then, and so do we.
pub(super) fn silence(asked: u16) -> Option<Outcome> {
    let what = match asked {
        // Without a callback the library does not answer at all (B).
        kind::STATUS => "this firmware has no status callback",
        // The answer is the application's own to build, and it may have none.
        kind::CUSTOM => "the application does not answer this message",
        _ => return None,
    };
    Some(Outcome::Failed(format!("no answer within {ESPUSH_ANSWER_S_MAX} s; {what}"), Bytes::new()))
}

/// A value as text inside the house: UTF-8. What was never text stays as it is.
fn text_or_bytes(value: &[u8], gbk: bool) -> Bytes {
    if gbk { Bytes::from(text_in(value, true).into_owned()) } else { Bytes::copy_from_slice(value) }
}

/// `{"0":1,"1":0,…}` in the order of the pins.
fn pins_json(levels: &[u8; PINS.len()]) -> String {
    let pairs: Vec<String> = PINS.iter().zip(levels).map(|(pin, level)| format!("\"{pin}\":{}", u8::from(*level != 0))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(asked: u16, body: &[u8]) -> Vec<u8> {
        match outcome(asked, body, false) {
            Outcome::Applied(answer) => answer.to_vec(),
            other => panic!("{asked:#x} {body:?}: {other:?}"),
        }
    }

    #[test]
    fn success_in_each_type() {
        assert_eq!(outcome(kind::PUSH, &[0], false), Outcome::Delivered);
        for asked in [kind::REBOOT, kind::AT, kind::LUA, kind::GPIO_WRITE] {
            assert_eq!(applied(asked, &[0]), b"");
        }
        assert_eq!(applied(kind::PROBE, &[]), b"");
        assert_eq!(applied(kind::STATUS, b"\x002700===4500"), b"2700===4500");
        assert_eq!(
            applied(kind::GPIO_READ, &[1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            br#"{"0":1,"1":0,"2":1,"3":0,"4":1,"5":0,"9":0,"10":0,"12":0,"13":0,"14":0,"15":0}"#
        );
        assert_eq!(applied(kind::CUSTOM, &[0, 0]), [0, 0]);
        assert_eq!(outcome(kind::STATUS, b"\0\xce\xc2", true), Outcome::Applied("温".into()));
    }

    #[test]
    fn failure_in_each_type_is_a_sentence() {
        let rows: [(u16, &[u8], &str, &[u8]); 8] = [
            (kind::PUSH, &[1], "no callback", b""),
            (kind::AT, &[2], "no AT", b""),
            (kind::LUA, &[2], "no Lua", b""),
            (kind::GPIO_WRITE, &[1], "no such pin", b""),
            (kind::STATUS, b"\x09no key", "status 9", b"no key"),
            (kind::GPIO_READ, &[1], "twelve", &[1]),
            (kind::PUSH, &[], "without a status", b""),
            (kind::REBOOT, &[7], "status 7", b""),
        ];
        for (asked, body, part, rest) in rows {
            match outcome(asked, body, false) {
                Outcome::Failed(why, said) => assert!(why.contains(part) && said == rest, "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn silence_is_an_answer_only_where_the_firmware_may_have_none() {
        for asked in [kind::STATUS, kind::CUSTOM] {
            assert!(matches!(silence(asked), Some(Outcome::Failed(..))));
        }
        for asked in [kind::PUSH, kind::REBOOT, kind::AT, kind::LUA, kind::PROBE, kind::GPIO_WRITE, kind::GPIO_READ] {
            assert_eq!(silence(asked), None);
        }
    }
}
