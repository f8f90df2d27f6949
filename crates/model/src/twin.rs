//! The twin of a device: what is wanted of it and what it tells of itself, two JSON objects with a version each.
//! What they mean to each other belongs to the twin's room; here is how one names a value in them.

use std::fmt;

use crate::point::Value;
use crate::query::quoted;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TwinPart {
    /// What is wanted of the device.
    Desired,
    /// What the device tells of itself.
    Reported,
}

impl TwinPart {
    /// The part of a word.
    pub fn parse(word: &str) -> Option<TwinPart> {
        match word {
            "desired" => Some(TwinPart::Desired),
            "reported" => Some(TwinPart::Reported),
            _ => None,
        }
    }

    /// The word for the part.
    pub fn as_str(self) -> &'static str {
        match self {
            TwinPart::Desired => "desired",
            TwinPart::Reported => "reported",
        }
    }
}

/// The way to one value: a part, and the members from the outermost inwards, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TwinPath {
    /// Which part.
    pub part: TwinPart,
    /// The names of the members.
    pub members: Vec<Box<str>>,
}

impl TwinPath {
    /// The value there. Objects, arrays and what is not there are none.
    pub fn value_in(&self, twin: &serde_json::Map<String, serde_json::Value>) -> Option<Value> {
        let (first, rest) = self.members.split_first()?;
        let found = rest.iter().try_fold(twin.get(&**first)?, |value, name| value.as_object()?.get(&**name))?;
        match found {
            serde_json::Value::Bool(truth) => Some(Value::Bool(*truth)),
            serde_json::Value::Number(number) => number.as_f64().map(Value::Number),
            serde_json::Value::String(text) => Some(Value::Text(text.clone())),
            _ => None,
        }
    }
}

impl fmt::Display for TwinPath {
    /// As a query names it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("twin")?;
        let first = self.members.first().map_or("", |name| &**name);
        if self.part == TwinPart::Desired || TwinPart::parse(first).is_some() {
            write!(out, ".{}", self.part.as_str())?;
        }
        for name in &self.members {
            let plain = !name.is_empty() && name.chars().all(|c| c != '.' && crate::query::is_word_char(c));
            if plain { write!(out, ".{name}") } else { write!(out, ".{}", quoted(name)) }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_a_plain_value_or_nowhere() {
        let twin = serde_json::json!({"led": "on", "wifi": {"rssi": -60, "ap": null}, "list": [1], "ok": true});
        let at = |members: &[&str]| {
            let members = members.iter().map(|name| Box::from(*name)).collect();
            TwinPath { part: TwinPart::Reported, members }.value_in(twin.as_object().unwrap())
        };
        assert_eq!(at(&["led"]), Some(Value::Text("on".into())));
        assert_eq!(at(&["wifi", "rssi"]), Some(Value::Number(-60.0)));
        assert_eq!(at(&["ok"]), Some(Value::Bool(true)));
        for nowhere in [&["wifi"][..], &["list"], &["wifi", "ap"], &["led", "x"], &["gone"], &["list", "0"]] {
            assert_eq!(at(nowhere), None, "{nowhere:?}");
        }
    }
}
