//! One measured value at one time. Streams are named series of a device.

use serde::{Deserialize, Serialize};

use crate::device::DeviceNumber;
use crate::time::UnixMs;

/// A value as a device gave it. JSON `null`, arrays and objects are not values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// Any finite number. Whole numbers are exact up to 2^53, as in JSON.
    Number(f64),
    /// Text.
    Text(String),
}

impl Value {
    /// Reads one plain value as devices write it: a JSON number, bool or string, else the text itself.
    /// Number words that JSON does not know (`nan`, `inf`) stay text.
    pub fn from_plain(text: &str) -> Value {
        let text = text.trim();
        match serde_json::from_str(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_) | Value::Text(_))) => value,
            Err(_) => Value::Text(text.to_owned()),
        }
    }

    /// The text that [`from_plain`](Value::from_plain) reads as this value: as bare as it can be.
    pub fn to_plain(&self) -> String {
        match self {
            Value::Text(text) if !text.is_empty() && Value::from_plain(text) == *self => text.clone(),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
            other => serde_json::to_string(other).unwrap_or_default(),
        }
    }
}

/// One value of one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The device that measured it.
    pub device: DeviceNumber,
    /// The stream's name.
    pub stream: String,
    /// When it was measured: the device's own time if it gave one, else when it came in.
    pub at: UnixMs,
    /// What was measured.
    pub value: Value,
}

/// Whether `name` may be a stream: 1 to 64 bytes, printable, no wildcard characters.
pub fn is_stream_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= crate::limits::STREAM_BYTES_MAX
        && !name.chars().any(|c| c.is_control() || matches!(c, '+' | '#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_read_as_people_mean_them() {
        assert_eq!(Value::from_plain(" 21.5\r\n"), Value::Number(21.5));
        assert_eq!(Value::from_plain("true"), Value::Bool(true));
        assert_eq!(Value::from_plain("\"on\""), Value::Text("on".into()));
        assert_eq!(Value::from_plain("on"), Value::Text("on".into()));
        assert_eq!(Value::from_plain("{\"a\":1}"), Value::Text("{\"a\":1}".into()));
        assert_eq!(Value::from_plain("nan"), Value::Text("nan".into()));
    }

    #[test]
    fn what_is_written_plainly_is_read_as_the_same() {
        let texts = ["on", "", " on", "21.5", "true", "null", "\"x\"", "[1]", "灯 2", "-", "1e400"];
        for value in texts.map(|text| Value::Text(text.into())) {
            assert_eq!(Value::from_plain(&value.to_plain()), value, "{}", value.to_plain());
        }
        for number in [0.0, -3.0, 21.5, 1e300, -1e-7, 123_456_789_012.0] {
            assert_eq!(Value::from_plain(&Value::Number(number).to_plain()), Value::Number(number));
        }
        let plain = [Value::Text("灯 2".into()), Value::Number(3.0), Value::Text("3".into()), Value::Bool(true)];
        assert_eq!(plain.map(|value| value.to_plain()), ["灯 2", "3", "\"3\"", "true"]);
    }
}
