//! What an owner writes down about a device beside its names: a room, a serial number, when it was bought. A few
//! values under names of his own choice, which nothing in the program gives a meaning to.

use std::collections::BTreeMap;

use crate::limits;
use crate::point::Value;

/// All that is written down about one device, by name. Most devices have nothing.
pub type Meta = BTreeMap<String, Value>;

/// What is to change; a name without a value is struck out.
pub type MetaEdit = BTreeMap<String, Option<Value>>;

/// Whether `name` may be one: letters of any script, digits, `_`, `.` and `-`, so that it needs no quotes in a query
/// and none in the first line of a file.
pub fn is_meta_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= limits::META_NAME_BYTES_MAX
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Whether it may be written down: a text without control characters, a number that has an end, true or false.
pub fn is_meta_value(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(number) => number.is_finite(),
        Value::Text(text) => text.len() <= limits::META_TEXT_BYTES_MAX && !text.chars().any(char::is_control),
    }
}

/// Changes what is given; the rest stays. Answers with what is wrong, as a sentence.
pub fn edit(meta: &mut Meta, edit: MetaEdit) -> Result<(), String> {
    for (name, value) in edit {
        if !is_meta_name(&name) {
            let max = limits::META_NAME_BYTES_MAX;
            return Err(format!("{name:?} cannot be a name in meta: 1 to {max} bytes of letters, digits, _ . -"));
        }
        match value {
            Some(value) if !is_meta_value(&value) => {
                let max = limits::META_TEXT_BYTES_MAX;
                return Err(format!(
                    "meta.{name} is a text of at most {max} bytes without control characters, a number, true or false"
                ));
            }
            Some(value) => drop(meta.insert(name, value)),
            None => drop(meta.remove(&name)),
        }
    }
    if meta.len() > limits::META_MAX {
        return Err(format!("a device has at most {} values in meta", limits::META_MAX));
    }
    let bytes: usize = meta.iter().map(|(name, value)| name.len() + bytes(value)).sum();
    if bytes > limits::META_BYTES_MAX {
        return Err(format!("the names and values in meta have at most {} bytes together, not {bytes}", limits::META_BYTES_MAX));
    }
    Ok(())
}

fn bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Number(_) | Value::Bool(_) => size_of::<f64>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Option<Value> {
        Some(Value::Text("x".repeat(length)))
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let mut meta = Meta::from([("room".into(), Value::Number(3.0)), ("楼层".into(), Value::Bool(true))]);
        let change = [("room".into(), None), ("gone".into(), None), ("serial.no".into(), text(3))];
        assert_eq!(edit(&mut meta, change.into()), Ok(()));
        assert_eq!(meta.keys().collect::<Vec<_>>(), ["serial.no", "楼层"]);
    }

    #[test]
    fn it_is_bounded_in_every_direction() {
        let mut meta = Meta::new();
        let mut try_edit = |change: MetaEdit| edit(&mut meta, change);
        for bad in ["", "a b", "a\"", "a\n", &"x".repeat(limits::META_NAME_BYTES_MAX + 1)] {
            assert!(try_edit([(bad.to_owned(), text(1))].into()).unwrap_err().contains("cannot be a name"), "{bad:?}");
        }
        for bad in [Value::Text("\u{1b}".into()), Value::Number(f64::NAN), text(limits::META_TEXT_BYTES_MAX + 1).unwrap()] {
            assert!(try_edit([("a".to_owned(), Some(bad))].into()).unwrap_err().starts_with("meta.a is a text"));
        }
        let many = |count: usize| (0..count).map(|n| (format!("n{n}"), Some(Value::Bool(true)))).collect::<MetaEdit>();
        assert_eq!(edit(&mut Meta::new(), many(limits::META_MAX)), Ok(()));
        assert!(edit(&mut Meta::new(), many(limits::META_MAX + 1)).unwrap_err().contains("at most"));
        let full = limits::META_BYTES_MAX / limits::META_TEXT_BYTES_MAX;
        let wide = (0..full).map(|n| (format!("n{n}"), text(limits::META_TEXT_BYTES_MAX))).collect::<MetaEdit>();
        assert!(edit(&mut Meta::new(), wide).unwrap_err().contains("bytes together"));
    }
}
