//! The entry for fuzzing: any text as a query. What is understood prints as a text that means the same, and
//! looking at a device with it ends.

use super::{Latest, Query, QueryError, Subject};
use crate::app::AppId;
use crate::device::DeviceNumber;
use crate::limits;
use crate::point::Value;
use crate::time::UnixMs;

struct Lamp;

impl Subject for Lamp {
    fn number(&self) -> DeviceNumber {
        DeviceNumber(7)
    }
    fn app(&self) -> AppId {
        AppId(7)
    }
    fn id(&self) -> &str {
        "7-lamp"
    }
    fn name(&self) -> &str {
        "Küche 灯"
    }
    fn alias(&self) -> &str {
        ""
    }
    fn has_tag(&self, tag: &str) -> bool {
        tag == "kitchen"
    }
    fn firmware(&self) -> &str {
        "v1.4.0-rc1"
    }
    fn created(&self) -> UnixMs {
        UnixMs(0)
    }
    fn online(&self) -> bool {
        true
    }
    fn blocked(&self) -> bool {
        true
    }
    fn since(&self) -> Option<UnixMs> {
        None
    }
    fn protocol(&self) -> &str {
        "mqtt"
    }
    fn meta(&self, name: &str) -> Option<&Value> {
        const ROOM: Value = Value::Number(12.0);
        (name == "room").then_some(&ROOM)
    }
}

impl Latest for Lamp {
    fn latest(&self, _: DeviceNumber, place: usize) -> Option<Value> {
        [Value::Number(21.5), Value::Bool(true), Value::Text("on".into())].get(place).cloned()
    }
}

/// Checks what holds for every text.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Query::parse(text) {
        Ok(query) => {
            let holds = query.matches(&Lamp, &Lamp, UnixMs(0));
            let printed = query.to_string();
            // Quotes may make it longer than what is taken.
            if printed.len() <= limits::QUERY_BYTES_MAX {
                let again = Query::parse(&printed).unwrap_or_else(|error| panic!("{printed:?} {error}"));
                assert_eq!(again, query, "{printed:?}");
                assert_eq!(again.matches(&Lamp, &Lamp, UnixMs(0)), holds);
            }
        }
        Err(QueryError { position, what, .. }) => {
            assert!((1..=text.chars().count() + 1).contains(&position), "{position} in {text:?}");
            assert!(!what.is_empty());
        }
    }
}
