//! Whether a device is one that is asked for. A field that a query does not name is never looked at; what
//! is not there (no point in a stream, nothing written down, never seen, a firmware without order) fits no comparison, and so it
//! fits every `not` of one.

use std::cmp::Ordering;

use super::{Compare, Expr, Moment, Reading, Test, TextField, TimeField, TruthField, Whole, WholeField, Words, version};
use crate::app::AppId;
use crate::device::DeviceNumber;
use crate::point::Value;
use crate::time::UnixMs;

/// A device as a query looks at it. Borrowed, so that looking at a million costs no copy.
pub trait Subject {
    /// Its address.
    fn number(&self) -> DeviceNumber;
    /// Its app.
    fn app(&self) -> AppId;
    /// Its text id.
    fn id(&self) -> &str;
    /// Its name; empty if it has none.
    fn name(&self) -> &str;
    /// Its second name; empty if it has none.
    fn alias(&self) -> &str;
    /// Whether it has a tag.
    fn has_tag(&self, tag: &str) -> bool;
    /// Its firmware; empty if it never told.
    fn firmware(&self) -> &str;
    /// When it was registered.
    fn created(&self) -> UnixMs;
    /// Whether it holds a line.
    fn online(&self) -> bool;
    /// Whether it is not let in.
    fn blocked(&self) -> bool;
    /// Since when it has its line, or has none; `None` if it was never seen.
    fn since(&self) -> Option<UnixMs>;
    /// The protocol of its newest line; empty if it never had one.
    fn protocol(&self) -> &str;
    /// What its owner wrote down under a name.
    fn meta(&self, name: &str) -> Option<&Value>;
}

/// Where the newest points are, and the twins.
pub trait Latest: Send + Sync {
    /// The newest value of a device in the stream at `place` of [`Query::streams`](super::Query::streams).
    fn latest(&self, device: DeviceNumber, place: usize) -> Option<Value>;

    /// What stands in a device's twin at `place` of [`Query::twins`](super::Query::twins).
    fn twin(&self, _device: DeviceNumber, _place: usize) -> Option<Value> {
        None
    }
}

/// No points and no twins at all: for queries that name none.
pub struct NoPoints;

impl Latest for NoPoints {
    fn latest(&self, _: DeviceNumber, _: usize) -> Option<Value> {
        None
    }
}

pub(super) fn holds(expr: &Expr, device: &impl Subject, points: &(impl Latest + ?Sized), now: UnixMs) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|part| holds(part, device, points, now)),
        Expr::Or(parts) => parts.iter().any(|part| holds(part, device, points, now)),
        Expr::Not(inner) => !holds(inner, device, points, now),
        Expr::Test(test) => passes(test, device, points, now),
    }
}

fn passes(test: &Test, device: &impl Subject, points: &(impl Latest + ?Sized), now: UnixMs) -> bool {
    match test {
        Test::Truth(TruthField::Online) => device.online(),
        Test::Truth(TruthField::Blocked) => device.blocked(),
        Test::Whole(field, whole) => {
            let ours = match field {
                WholeField::Number => device.number().0,
                WholeField::App => device.app().0,
            };
            match whole {
                Whole::Is(compare, theirs) => compare.accepts(ours.cmp(theirs)),
                Whole::In(numbers) => numbers.contains(&ours),
            }
        }
        Test::Text(field, words) => {
            let ours = match field {
                TextField::Id => device.id(),
                TextField::Name => device.name(),
                TextField::Alias => device.alias(),
                TextField::Protocol => device.protocol(),
            };
            fits(ours, words)
        }
        Test::Tag(tag) => device.has_tag(tag),
        // One that nobody has put in its place has nobody in it.
        Test::Group(_) => false,
        Test::Firmware(words) => fits_version(device.firmware(), words),
        Test::Time(field, compare, moment) => {
            let ours = match field {
                TimeField::Created => Some(device.created()),
                TimeField::Since => device.since(),
            };
            let theirs = match *moment {
                Moment::At(at) => at,
                Moment::AgoMs(ms) => UnixMs(now.0.saturating_sub(ms)),
            };
            ours.is_some_and(|ours| compare.accepts(ours.cmp(&theirs)))
        }
        Test::Data(place, reading) => points.latest(device.number(), *place).is_some_and(|value| reads(&value, reading)),
        Test::Twin(place, reading) => points.twin(device.number(), *place).is_some_and(|value| reads(&value, reading)),
        Test::Meta(name, reading) => device.meta(name).is_some_and(|value| reads(value, reading)),
    }
}

fn fits(ours: &str, words: &Words) -> bool {
    match words {
        Words::Is(compare, theirs) => compare.accepts(ours.cmp(theirs)),
        Words::In(texts) => texts.iter().any(|text| **text == *ours),
        Words::Starts(start) => starts(ours, start),
        Words::Contains(part) => contains(ours, part),
    }
}

fn fits_version(ours: &str, words: &Words) -> bool {
    // Texts without an order are at least equal or not.
    let same = |theirs: &str| ours == theirs || version::compare(ours, theirs) == Some(Ordering::Equal);
    match words {
        Words::Is(Compare::Equal, theirs) => same(theirs),
        Words::Is(Compare::Unequal, theirs) => !same(theirs),
        Words::Is(compare, theirs) => version::compare(ours, theirs).is_some_and(|order| compare.accepts(order)),
        Words::In(texts) => texts.iter().any(|text| same(text)),
        words => fits(ours, words),
    }
}

/// A value of another kind than what it is compared with is unequal to it, and has no order with it.
fn reads(value: &Value, reading: &Reading) -> bool {
    match (reading, value) {
        (Reading::Number(compare, theirs), Value::Number(ours)) => {
            ours.partial_cmp(theirs).is_some_and(|order| compare.accepts(order))
        }
        (Reading::Truth(compare, theirs), Value::Bool(ours)) => compare.accepts(ours.cmp(theirs)),
        (Reading::Text(words), Value::Text(ours)) => fits(ours, words),
        (Reading::In(values), ours) => values.contains(ours),
        (Reading::Number(compare, _) | Reading::Truth(compare, _) | Reading::Text(Words::Is(compare, _)), _) => {
            *compare == Compare::Unequal
        }
        (Reading::Text(_), _) => false,
    }
}

/// Whether `text` begins with `start`, which is in lower case, in any case.
fn starts(text: &str, start: &str) -> bool {
    if text.is_ascii() {
        // Without a copy, because most are, and a query passes a million of them.
        return text.as_bytes().get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()));
    }
    text.to_lowercase().starts_with(start)
}

/// Whether `text` has `part`, which is in lower case, in any case.
pub(crate) fn contains(text: &str, part: &str) -> bool {
    if text.is_ascii() {
        return part.is_empty() || text.as_bytes().windows(part.len()).any(|here| here.eq_ignore_ascii_case(part.as_bytes()));
    }
    text.to_lowercase().contains(part)
}
