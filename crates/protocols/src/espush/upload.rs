//! 06 → 07: a sample goes up. Two undefined bytes, the device's clock in seconds, then data, which is a
//! text with or without a tag before its first comma. Here it becomes what every device sends: points on
//! `me/data`. Status 0 goes back only when the sample is kept; 07 has no handler on any device, so a
//! status of 1 ("not kept") disturbs none.

use contract::kit::{Cursor, Short};
use contract::{Accepted, Context, Fault, Publish, Refusal};
use model::limits::STREAM_BYTES_MAX;
use model::{Qos, UnixMs};
use serde_json::{Map, Value};

use super::codec::{Frame, encode, kind};
use super::quirks::{sample_time, upload_text};

/// The stream of an upload that has no tag.
pub const STREAM_DEFAULT: &str = "upload";

/// The topic of uploads; one stream of it is a level below.
const DATA: &str = "me/data";

/// The body of a 06.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload<'a> {
    /// Unix seconds by the device's clock; 0 when it was never set.
    pub time_s: u32,
    /// What was measured.
    pub data: &'a [u8],
}

impl<'a> Upload<'a> {
    /// Reads it. The first two bytes are undefined (H7).
    pub fn read(body: &'a [u8]) -> Result<Upload<'a>, Short> {
        let mut fields = Cursor::new(body);
        fields.u16()?;
        Ok(Upload { time_s: fields.u32()?, data: fields.rest() })
    }

    /// The body.
    pub fn write(&self) -> Vec<u8> {
        [&[0, 0][..], &self.time_s.to_be_bytes(), self.data].concat()
    }
}

/// What is published for an upload: the topic and the payload.
///
/// With a time the value travels as an object on `me/data`, where `ts` is the time; a stream of that very
/// name goes without. An upload that is a JSON object is its own list of streams: the stock server would
/// have torn it apart at its first comma.
fn points(text: &str, at: Option<UnixMs>) -> (String, String) {
    let (stream, value) = match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(object) if object.values().all(|value| !value.is_array() && !value.is_object()) => {
            return (DATA.to_owned(), stamped(object, at));
        }
        Ok(_) => (STREAM_DEFAULT.to_owned(), text.to_owned()),
        Err(_) => match text.split_once(',') {
            // The stock server took what stands before the first comma as the tag and dropped all later commas.
            Some((tag, value)) => (stream_name(tag), value.replace(',', "")),
            None => (STREAM_DEFAULT.to_owned(), text.to_owned()),
        },
    };
    let value = value.trim();
    if at.is_none() || stream == "ts" {
        return (format!("{DATA}/{stream}"), value.to_owned());
    }
    let value = match serde_json::from_str(value) {
        Ok(plain @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => plain,
        _ => Value::String(value.to_owned()),
    };
    (DATA.to_owned(), stamped(Map::from_iter([(stream, value)]), at))
}

/// The object with the device's time, unless it brings a time of its own: `ts`, or a `t` too large for a
/// temperature.
fn stamped(mut object: Map<String, Value>, at: Option<UnixMs>) -> String {
    let own = object.contains_key("ts") || object.get("t").and_then(Value::as_f64).is_some_and(|t| t >= 1e9);
    if let (Some(at), false) = (at, own) {
        object.insert("ts".to_owned(), at.0.into());
    }
    Value::Object(object).to_string()
}

/// The stream of a tag: what a stream name or a topic level must not have becomes `_`, the end is cut.
fn stream_name(tag: &str) -> String {
    let mut name = String::new();
    for c in tag.trim().chars() {
        let c = if c.is_control() || matches!(c, '+' | '#' | '/') { '_' } else { c };
        if name.len() + c.len_utf8() > STREAM_BYTES_MAX {
            break;
        }
        name.push(c);
    }
    if name.is_empty() { STREAM_DEFAULT.to_owned() } else { name }
}

/// Takes an upload.
pub(super) fn take(cx: &mut Context<'_>, frame: &Frame<'_>, gbk: bool) {
    let Ok(upload) = Upload::read(frame.body) else {
        return cx.close(Fault::Peer, "an upload of less than six bytes; 2018 firmware belongs on port 10001");
    };
    let (topic, payload) = points(&upload_text(upload.data, gbk), sample_time(upload.time_s, frame.msgid, cx.unix));
    let publish =
        Publish { topic: &topic, payload: payload.as_bytes(), qos: Qos::AtLeastOnce, token: frame.msgid, ..Publish::default() };
    match cx.hub.publish(publish) {
        Accepted::Now => answer(cx, frame.msgid, Ok(())),
        Accepted::Later => {}
        Accepted::Refused(refusal) => answer(cx, frame.msgid, Err(refusal)),
    }
}

/// Tells the device whether its upload is kept.
pub(super) fn answer(cx: &mut Context<'_>, msgid: u32, result: Result<(), Refusal>) {
    encode(cx.out, msgid, kind::answer_to(kind::UPLOAD), &[u8::from(result.is_err())]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Option<UnixMs> = Some(UnixMs(1_466_599_588_000));

    fn check(data: &str, at: Option<UnixMs>, topic: &str, payload: &str) {
        let text = upload_text(data.as_bytes(), false);
        let (topic_got, payload_got) = points(&text, at);
        assert_eq!(topic_got, topic, "{data:?}");
        if topic == "me/data" {
            let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(json(&payload_got), json(payload), "{data:?}");
        } else {
            assert_eq!(payload_got, payload, "{data:?}");
        }
    }

    #[test]
    fn a_tag_names_the_stream() {
        check("wd,2700", None, "me/data/wd", "2700");
        check("wd,2700", AT, "me/data", r#"{"ts":1466599588000,"wd":2700}"#);
        check("state,on", AT, "me/data", r#"{"state":"on","ts":1466599588000}"#);
        check("a,1,2,3", None, "me/data/a", "123");
        check("dht,2700===4500", AT, "me/data", r#"{"dht":"2700===4500","ts":1466599588000}"#);
        check("nan,nan", AT, "me/data", r#"{"nan":"nan","ts":1466599588000}"#);
    }

    #[test]
    fn without_a_tag_the_stream_has_a_name_of_its_own() {
        check("21.5", None, "me/data/upload", "21.5");
        check("hello world", AT, "me/data", r#"{"ts":1466599588000,"upload":"hello world"}"#);
        check(",5", None, "me/data/upload", "5");
        check("", None, "me/data/upload", "");
    }

    #[test]
    fn a_tag_becomes_a_stream_name_whatever_it_is() {
        for tag in ["a/b", "+", "#", "\u{1}", &"x".repeat(65), &"灯".repeat(40), " k "] {
            let name = stream_name(tag);
            assert!(model::point::is_stream_name(&name) && !name.contains('/'), "{tag:?} {name:?}");
        }
        assert_eq!(stream_name("a/b"), "a_b");
        assert_eq!(stream_name(" 温度 "), "温度");
    }

    #[test]
    fn a_stream_that_is_called_as_the_time_goes_without_it() {
        check("t,21", AT, "me/data", r#"{"t":21,"ts":1466599588000}"#);
        check("ts,21", AT, "me/data/ts", "21");
    }

    #[test]
    fn an_object_is_its_own_list_of_streams() {
        check(r#"{"temp":21,"hum":40}"#, None, "me/data", r#"{"hum":40,"temp":21}"#);
        check(r#"{"temp":21}"#, AT, "me/data", r#"{"ts":1466599588000,"temp":21}"#);
        check(r#"{"t":21.5}"#, AT, "me/data", r#"{"ts":1466599588000,"t":21.5}"#);
        check(r#"{"temp":21,"t":1466599000}"#, AT, "me/data", r#"{"t":1466599000,"temp":21}"#);
        check(r#"{"temp":21,"ts":5}"#, AT, "me/data", r#"{"temp":21,"ts":5}"#);
        check(r#"{"deep":{"a":1},"b":2}"#, None, "me/data/upload", r#"{"deep":{"a":1},"b":2}"#);
        check(r#"{"broken":1,2"#, None, r#"me/data/{"broken":1"#, "2");
    }

    #[test]
    fn h8_the_line_end_of_old_firmware_is_no_data() {
        check("wd,2700\r\n", None, "me/data/wd", "2700");
        check("  21.5 \r\n", None, "me/data/upload", "21.5");
    }

    #[test]
    fn h7_the_padding_is_not_looked_at() {
        let upload = Upload { time_s: 7, data: b"x" };
        let mut body = upload.write();
        assert_eq!(Upload::read(&body), Ok(upload));
        body[0] = 0xAA;
        body[1] = 0x55;
        assert_eq!(Upload::read(&body), Ok(upload));
        assert_eq!(Upload::read(&body[..5]), Err(Short));
    }
}
