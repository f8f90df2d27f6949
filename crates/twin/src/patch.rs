//! JSON merge patches (RFC 7386): carrying one out, finding the one that leads from one value to another, and
//! what is left to be told. Objects are changed member by member; arrays and everything else are replaced whole.

use model::limits;
use serde_json::{Map, Value};

/// A JSON object: a part of a twin, or a patch to it.
pub type Object = Map<String, Value>;

/// Carries out a patch: members that are `null` go, objects are patched in turn, the rest is put in place.
pub fn merge(target: &mut Object, patch: Object) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(&name)),
            Value::Object(inner) => {
                let place = target.entry(name).or_insert(Value::Null);
                if !place.is_object() {
                    *place = Value::Object(Object::new());
                }
                if let Value::Object(place) = place {
                    merge(place, inner);
                }
            }
            value => drop(target.insert(name, value)),
        }
    }
}

/// The patch that makes `new` of `old`; empty when they are the same.
pub fn between(old: &Object, new: &Object) -> Object {
    let mut patch = missing(new, old);
    overlay(&mut patch, gone(old, new));
    patch
}

/// What `there` lacks of `wanted`, or has otherwise. Nothing is taken away by it.
pub fn missing(wanted: &Object, there: &Object) -> Object {
    let mut patch = Object::new();
    for (name, wanted) in wanted {
        let left = match (wanted, there.get(name)) {
            (Value::Object(wanted), Some(Value::Object(there))) => {
                let left = missing(wanted, there);
                if left.is_empty() {
                    continue;
                }
                Value::Object(left)
            }
            (wanted, Some(there)) if same(wanted, there) => continue,
            (wanted, _) => wanted.clone(),
        };
        patch.insert(name.clone(), left);
    }
    patch
}

/// Nulls for what `old` has and `new` has not.
pub fn gone(old: &Object, new: &Object) -> Object {
    let mut patch = Object::new();
    for (name, old) in old {
        match (old, new.get(name)) {
            (_, None) => drop(patch.insert(name.clone(), Value::Null)),
            (Value::Object(old), Some(Value::Object(new))) => {
                let inner = gone(old, new);
                if !inner.is_empty() {
                    patch.insert(name.clone(), Value::Object(inner));
                }
            }
            _ => {}
        }
    }
    patch
}

/// Of the nulls in `dropped` those that still say something: what nobody wants and is still there. A `null` for a
/// member that is wanted again counts for all within it that is not.
pub fn still(dropped: &Object, wanted: &Object, there: &Object) -> Object {
    let mut left = Object::new();
    for (name, dropped) in dropped {
        let Some(there) = there.get(name) else { continue };
        let inner = match (dropped, wanted.get(name), there) {
            (Value::Null, None, _) => {
                left.insert(name.clone(), Value::Null);
                continue;
            }
            (Value::Null, Some(Value::Object(wanted)), Value::Object(there)) => gone(there, wanted),
            (Value::Object(dropped), Some(Value::Object(wanted)), Value::Object(there)) => still(dropped, wanted, there),
            _ => continue,
        };
        if !inner.is_empty() {
            left.insert(name.clone(), Value::Object(inner));
        }
    }
    left
}

/// Joins two patches that agree where both say something; `over` counts more.
pub fn overlay(patch: &mut Object, over: Object) {
    for (name, over) in over {
        match (patch.get_mut(&name), over) {
            (Some(Value::Object(inner)), Value::Object(over)) => overlay(inner, over),
            (_, over) => drop(patch.insert(name, over)),
        }
    }
}

/// How deep objects and arrays lie in each other; 0 for a plain value.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The depth of an object, and whether that may be.
pub fn is_too_deep(object: &Object) -> bool {
    1 + object.values().map(depth).max().unwrap_or(0) > limits::TWIN_DEPTH_MAX
}

/// Whether two values are the same. A number is the same however it is written: many boards know no whole numbers.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || (is_fraction(x) != is_fraction(y) && x.as_f64() == y.as_f64()),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        (a, b) => a == b,
    }
}

fn is_fraction(number: &serde_json::Number) -> bool {
    number.is_f64()
}

#[cfg(test)]
mod tests {
    use arbtest::arbitrary::{self, Unstructured};
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else { panic!("an object") };
        object
    }

    /// The examples of RFC 7386, appendix A, whose original and patch are objects.
    #[test]
    fn patches_do_what_the_standard_shows() {
        let rows = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (original, patch, result) in rows {
            let mut target = object(original.clone());
            merge(&mut target, object(patch.clone()));
            assert_eq!(Value::Object(target), result, "{original} {patch}");
        }
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let left = |wanted, there| missing(&object(wanted), &object(there));
        assert!(left(json!({"a": 1, "b": [2.0, {"c": -3}]}), json!({"a": 1.0, "b": [2, {"c": -3.0}]})).is_empty());
        assert_eq!(left(json!({"a": 1, "b": [1]}), json!({"a": "1", "b": [1, 1]})), object(json!({"a": 1, "b": [1]})));
        // Whole numbers are exact beyond what a fraction can hold.
        assert_eq!(left(json!({"a": 9007199254740993u64}), json!({"a": 9007199254740992u64})).len(), 1);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| object((1..levels).fold(json!({"a": 1}), |inner, _| json!({ "a": inner })));
        assert!(!is_too_deep(&nested(limits::TWIN_DEPTH_MAX)) && is_too_deep(&nested(limits::TWIN_DEPTH_MAX + 1)));
        assert!(!is_too_deep(&Object::new()));
        assert_eq!(depth(&json!([[{"a": []}]])), 4);
    }

    fn value(u: &mut Unstructured<'_>, depth: usize, nulls: bool) -> arbitrary::Result<Value> {
        Ok(match u.int_in_range(0..=if depth == 0 { 4 } else { 8 })? {
            0 => json!(u.int_in_range(-1..=2)?),
            1 => json!(*u.choose(&[0.0, 1.0, 0.5])?),
            2 => json!(*u.choose(&["", "on", "off"])?),
            3 => json!(u.arbitrary::<bool>()?),
            4 if nulls => Value::Null,
            4 => json!([]),
            5 => json!([value(u, depth - 1, true)?]),
            _ => Value::Object(any(u, depth - 1, nulls)?),
        })
    }

    fn any(u: &mut Unstructured<'_>, depth: usize, nulls: bool) -> arbitrary::Result<Object> {
        let mut object = Object::new();
        for _ in 0..u.int_in_range(0..=3)? {
            let name = *u.choose(&["a", "b", "c", ""])?;
            object.insert(name.to_owned(), value(u, depth, nulls)?);
        }
        Ok(object)
    }

    #[test]
    fn the_patch_between_two_leads_from_one_to_the_other() {
        arbtest::arbtest(|u| {
            let (old, new) = (any(u, 3, false)?, any(u, 3, false)?);
            let patch = between(&old, &new);
            let mut made = old.clone();
            merge(&mut made, patch.clone());
            assert!(same(&Value::Object(made), &Value::Object(new.clone())), "{old:?} {patch:?} {new:?}");
            assert!(between(&new, &new).is_empty());
            Ok(())
        });
    }

    #[test]
    fn what_is_missing_makes_up_for_it_and_takes_nothing_away() {
        arbtest::arbtest(|u| {
            let (wanted, there) = (any(u, 3, false)?, any(u, 3, false)?);
            let mut made = there.clone();
            merge(&mut made, missing(&wanted, &there));
            assert!(missing(&wanted, &made).is_empty());
            // Where nothing else is there it is exactly what is wanted.
            let mut only = there.clone();
            merge(&mut only, gone(&there, &wanted));
            let rest = missing(&wanted, &only);
            merge(&mut only, rest);
            assert!(same(&Value::Object(only), &Value::Object(wanted)));
            Ok(())
        });
    }

    /// Orders and reports in any order: at each moment the delta, carried out on what is reported, gives all that is
    /// wanted, and takes away all that was wanted once and is not any more.
    #[test]
    fn the_delta_carried_out_on_what_is_reported_gives_what_is_wanted() {
        arbtest::arbtest(|u| {
            let (mut wanted, mut reported, mut dropped) = (Object::new(), Object::new(), Object::new());
            // The oracle of what is not to be: names at the outermost level that were wanted once.
            let mut once: Vec<String> = Vec::new();
            for _ in 0..u.int_in_range(0..=8)? {
                let patch = any(u, 2, true)?;
                if u.arbitrary()? {
                    let before = wanted.clone();
                    merge(&mut wanted, patch);
                    overlay(&mut dropped, gone(&before, &wanted));
                    once.extend(
                        before.keys().filter(|name| !wanted.contains_key(*name) && reported.contains_key(*name)).cloned(),
                    );
                } else {
                    merge(&mut reported, patch);
                    once.retain(|name| reported.contains_key(name));
                }
                dropped = still(&dropped, &wanted, &reported);
                once.retain(|name| !wanted.contains_key(name));
                let mut delta = missing(&wanted, &reported);
                overlay(&mut delta, dropped.clone());
                let mut made = reported.clone();
                merge(&mut made, delta.clone());
                assert!(missing(&wanted, &made).is_empty(), "{wanted:?} {reported:?} {delta:?}");
                assert!(still(&dropped, &wanted, &made).is_empty(), "{wanted:?} {reported:?} {delta:?}");
                assert!(once.iter().all(|name| !made.contains_key(name)), "{once:?} {delta:?}");
                // What the device alone tells of stays, unless it was wanted before.
                for name in reported.keys().filter(|name| !wanted.contains_key(*name) && !dropped.contains_key(*name)) {
                    assert_eq!(made.get(name), reported.get(name));
                }
            }
            Ok(())
        });
    }
}
