//! What a device uploads, read into values: the JSON of `me/data` and the plain text of
//! `me/data/<stream>`. Bytes and the time in, values out; all or nothing, so that a device which is told
//! "kept" knows that all of it is.

use contract::Refusal;
use model::point::is_stream_name;
use model::{UnixMs, Value, limits};
use serde_json::{Map, Value as Json};

/// One value of an upload, not yet bound to a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The stream's name.
    pub stream: String,
    /// When it was measured.
    pub at: UnixMs,
    /// What was measured.
    pub value: Value,
}

/// Smaller numbers are no time of day in seconds (that was 2001) and larger ones no seconds (year 5138).
const SECONDS: std::ops::Range<f64> = 1e9..1e11;

/// Reads a body of `me/data`: an object whose members are values, or an array of such objects.
/// The own time of an object is its member `ts` (milliseconds since 1970; seconds are recognised by their
/// size), or `t` if that can be a time at all: a small `t` is what it is on most boards, a temperature.
/// A `null` is a value that the sensor did not have, and is left out.
pub fn read_json(body: &[u8], now: UnixMs) -> Result<Vec<Reading>, Refusal> {
    let mut readings = Vec::new();
    match serde_json::from_slice(body).map_err(|_| Refusal::BadPayload)? {
        Json::Object(object) => read_object(object, now, &mut readings)?,
        Json::Array(items) => {
            for item in items {
                let Json::Object(object) = item else { return Err(Refusal::BadPayload) };
                read_object(object, now, &mut readings)?;
            }
        }
        _ => return Err(Refusal::BadPayload),
    }
    Ok(readings)
}

/// Reads a body of `me/data/<stream>`: one value as text or JSON.
pub fn read_plain(stream: &str, body: &[u8], now: UnixMs) -> Result<Vec<Reading>, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::BadPayload)?;
    if text.trim().is_empty() {
        return Err(Refusal::BadPayload);
    }
    let reading = Reading { stream: stream.to_owned(), at: now, value: Value::from_plain(text) };
    check(&reading)?;
    Ok(vec![reading])
}

/// Whether a reading may be kept. Public for uploads that come by another way than a device's topic.
pub fn check(reading: &Reading) -> Result<(), Refusal> {
    if !is_stream_name(&reading.stream) {
        return Err(Refusal::BadTopic);
    }
    match &reading.value {
        Value::Text(text) if text.len() > limits::POINT_TEXT_BYTES_MAX => Err(Refusal::Quota),
        Value::Number(number) if !number.is_finite() => Err(Refusal::BadPayload),
        _ => Ok(()),
    }
}

/// A device's own time, unless it cannot be right: then the time of receipt.
pub fn own_time(at: UnixMs, now: UnixMs) -> UnixMs {
    let latest = now.0 + limits::POINT_AHEAD_S_MAX as i64 * 1000;
    if at.0 <= 0 || at.0 > latest { now } else { at }
}

fn read_object(mut object: Map<String, Json>, now: UnixMs, readings: &mut Vec<Reading>) -> Result<(), Refusal> {
    let at = take_time(&mut object)?.map_or(now, |at| own_time(at, now));
    for (stream, value) in object {
        let value = match value {
            Json::Bool(value) => Value::Bool(value),
            Json::Number(value) => Value::Number(value.as_f64().ok_or(Refusal::BadPayload)?),
            Json::String(value) => Value::Text(value),
            Json::Null => continue,
            Json::Array(_) | Json::Object(_) => return Err(Refusal::BadPayload),
        };
        let reading = Reading { stream, at, value };
        check(&reading)?;
        if readings.len() == limits::POINTS_PER_UPLOAD_MAX {
            return Err(Refusal::Quota);
        }
        readings.push(reading);
    }
    Ok(())
}

fn take_time(object: &mut Map<String, Json>) -> Result<Option<UnixMs>, Refusal> {
    let number = if let Some(ts) = object.remove("ts") {
        ts.as_f64().ok_or(Refusal::BadPayload)?
    } else {
        match object.get("t").and_then(Json::as_f64) {
            Some(t) if t >= SECONDS.start => {
                object.remove("t");
                t
            }
            _ => return Ok(None),
        }
    };
    // The cast saturates; what lies too far ahead is put right by `own_time`.
    Ok(Some(UnixMs(if SECONDS.contains(&number) { number * 1000.0 } else { number } as i64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_000_000_000);

    /// The readings as `stream=value` lines, with `@ms` where the time is not NOW.
    fn shown(body: &str) -> Result<Vec<String>, Refusal> {
        let show = |reading: Reading| {
            let at = if reading.at == NOW { String::new() } else { format!("@{}", reading.at.0) };
            format!("{}={}{at}", reading.stream, serde_json::to_string(&reading.value).unwrap())
        };
        read_json(body.as_bytes(), NOW).map(|readings| readings.into_iter().map(show).collect())
    }

    #[test]
    fn members_become_values() {
        assert_eq!(
            shown(r#"{"temp":21.5,"on":true,"state":"idle","n":-3}"#).unwrap(),
            ["n=-3.0", "on=true", "state=\"idle\"", "temp=21.5"]
        );
        assert_eq!(shown("{}").unwrap(), Vec::<String>::new());
        assert_eq!(shown(r#"{"h":null,"temp":1}"#).unwrap(), ["temp=1.0"], "a sensor that read nothing");
    }

    #[test]
    fn an_object_may_bring_its_own_time() {
        assert_eq!(shown(r#"{"t":1794000000123,"x":1}"#).unwrap(), ["x=1.0@1794000000123"]);
        assert_eq!(shown(r#"{"ts":1794000000,"x":1}"#).unwrap(), ["x=1.0@1794000000000"], "in seconds");
        assert_eq!(
            shown(r#"[{"ts":1794000000000,"x":1},{"ts":1794000001000,"x":2}]"#).unwrap(),
            ["x=1.0@1794000000000", "x=2.0@1794000001000"]
        );
        assert_eq!(shown(r#"{"t":21.5,"h":60}"#).unwrap(), ["h=60.0", "t=21.5"], "t is a temperature here");
        assert_eq!(shown(r#"{"t":"warm"}"#).unwrap(), [r#"t="warm""#]);
    }

    #[test]
    fn a_time_that_cannot_be_right_is_the_time_of_receipt() {
        for ts in ["0", "-5", "1795090000000", "1e300"] {
            assert_eq!(shown(&format!(r#"{{"ts":{ts},"x":1}}"#)).unwrap(), ["x=1.0"], "{ts}");
        }
        assert_eq!(shown(r#"{"ts":1795080000000,"x":1}"#).unwrap(), ["x=1.0@1795080000000"], "a day ahead may be");
    }

    #[test]
    fn what_is_no_upload_is_refused_whole() {
        for bad in [
            "",
            "21.5",
            "on",
            "[1]",
            r#"{"a":{"b":1}}"#,
            r#"{"a":[1]}"#,
            r#"{"a":1,"b":[]}"#,
            r#"{"a":1"#,
            r#"{"a":1e999}"#,
            r#"{"ts":"noon","a":1}"#,
            "\u{feff}{}",
        ] {
            assert_eq!(shown(bad), Err(Refusal::BadPayload), "{bad}");
        }
        assert_eq!(read_json(b"{\"a\":\"\xff\"}", NOW), Err(Refusal::BadPayload));
        assert_eq!(shown(r#"{"a+":1}"#), Err(Refusal::BadTopic));
        assert_eq!(shown(r#"{"":1}"#), Err(Refusal::BadTopic));
    }

    #[test]
    fn limits_hold() {
        let object =
            |members: usize| format!("{{{}}}", (0..members).map(|i| format!("\"s{i}\":1")).collect::<Vec<_>>().join(","));
        assert_eq!(shown(&object(limits::POINTS_PER_UPLOAD_MAX)).unwrap().len(), limits::POINTS_PER_UPLOAD_MAX);
        assert_eq!(shown(&object(limits::POINTS_PER_UPLOAD_MAX + 1)), Err(Refusal::Quota));
        let text = "x".repeat(limits::POINT_TEXT_BYTES_MAX + 1);
        assert_eq!(shown(&format!(r#"{{"a":"{text}"}}"#)), Err(Refusal::Quota));
        assert_eq!(read_plain("a", text.as_bytes(), NOW), Err(Refusal::Quota));
    }

    #[test]
    fn one_value_is_text_or_json() {
        let value = |stream: &str, body: &[u8]| read_plain(stream, body, NOW).map(|mut readings| readings.remove(0).value);
        assert_eq!(value("temp", b"21.5\n"), Ok(Value::Number(21.5)));
        assert_eq!(value("a/b", b"on"), Ok(Value::Text("on".into())));
        assert_eq!(value("temp", b" "), Err(Refusal::BadPayload));
        assert_eq!(value("temp", b"\xff"), Err(Refusal::BadPayload));
        assert_eq!(value("", b"1"), Err(Refusal::BadTopic));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        arbtest::arbtest(|u| {
            let body: Vec<u8> = u.arbitrary()?;
            for reading in
                read_json(&body, NOW).unwrap_or_default().iter().chain(&read_plain("s", &body, NOW).unwrap_or_default())
            {
                assert!(check(reading).is_ok());
            }
            Ok(())
        });
    }
}
