//! One value out of a JSON text, without building the rest: a query that names a value for the first time passes
//! all twins of a fleet.

use std::fmt;

use model::{TwinPath, Value};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The value at a path; none where [`TwinPath::value_in`] has none, or if the text is no JSON.
pub fn seek(text: &str, path: &TwinPath) -> Option<Value> {
    let mut json = serde_json::Deserializer::from_str(text);
    Seek(&path.members).deserialize(&mut json).ok().flatten()
}

/// What is still before the value.
struct Seek<'a>(&'a [Box<str>]);

/// Whether a name is this one.
struct Named<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<Value>, D::Error> {
        json.deserialize_any(self)
    }
}

impl Seek<'_> {
    fn here<E>(&self, value: impl FnOnce() -> Value) -> Result<Option<Value>, E> {
        Ok(self.0.is_empty().then(value))
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<Value>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Option<Value>, E> {
        self.here(|| Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Option<Value>, E> {
        self.here(|| Value::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Option<Value>, E> {
        self.here(|| Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Option<Value>, E> {
        self.here(|| Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<Value>, E> {
        self.here(|| Value::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Value>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<Value>, A::Error> {
        let Some((first, rest)) = self.0.split_first() else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let mut found = None;
        while let Some(is_it) = members.next_key_seed(Named(first))? {
            if is_it {
                found = members.next_value_seed(Seek(rest))?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Named<'_> {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use model::TwinPart;

    use super::*;
    use crate::patch::Object;

    #[test]
    fn it_finds_what_a_walk_finds() {
        let texts = [
            r#"{}"#,
            r#"{"a":1,"b":-2,"c":0.5,"d":"on","e":true,"f":null,"g":[1,{"a":2}],"h":{"a":"in","h":{"a":false}},"":7}"#,
            r#"{"a":{"b":1},"a\"b":"\u706f"}"#,
            r#"{"h":{"h":[{"a":1}],"x":{}},"a":18446744073709551615}"#,
        ];
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "", "a\"b", "none"];
        let mut met = 0;
        for text in texts {
            let object: Object = serde_json::from_str(text).unwrap();
            let one = names.iter().map(|name| vec![*name]);
            let two = names.iter().flat_map(|outer| names.iter().map(|inner| vec![*outer, *inner]));
            for members in one.chain(two).chain([vec!["h", "h", "a"], vec!["h", "h", "a", "a"]]) {
                let path = TwinPath { part: TwinPart::Reported, members: members.into_iter().map(Box::from).collect() };
                let found = seek(text, &path);
                assert_eq!(found, path.value_in(&object), "{path} in {text}");
                met += usize::from(found.is_some());
            }
        }
        assert!(met > 8, "{met}");
        assert_eq!(seek("{\"a\":1", &TwinPath { part: TwinPart::Desired, members: vec!["a".into()] }), None);
    }
}
