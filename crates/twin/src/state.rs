//! One twin and its rules: what a change does to it, what is left to be told to its device, and how it lies in
//! the store. No store and no clock here.

use contract::Refusal;
use contract::store::{StoreError, StoredPart, StoredTwin};
use model::{DeviceNumber, TwinPart, UnixMs, limits};
use serde_json::Value;

use crate::TwinError;
use crate::patch::{self, Object};

/// The member in which the version of what is wanted goes down, and the device's word that it has dealt with it up.
pub const VERSION: &str = "$version";

/// One part of a twin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Its value.
    pub value: Object,
    /// How often it has changed.
    pub version: u64,
    /// When it did last.
    pub at: Option<UnixMs>,
}

/// A twin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Twin {
    /// What is wanted of the device.
    pub desired: Part,
    /// What it tells of itself.
    pub reported: Part,
    /// The version of what is wanted that it has told to have dealt with; 0 if it never did.
    pub acknowledged: u64,
    // Nulls for what is wanted no more and still reported.
    dropped: Object,
}

/// How what is wanted is changed.
#[derive(Clone, Debug)]
pub enum Edit {
    /// By a merge patch.
    Merge(Object),
    /// By another value as a whole. What is `null` in it is not there.
    Replace(Object),
}

impl Twin {
    /// What the device is still to be told: what is wanted and not reported, and nulls for what was wanted once and
    /// is still reported. What the device alone tells of is nobody's business.
    pub fn delta(&self) -> Object {
        let mut delta = patch::missing(&self.desired.value, &self.reported.value);
        patch::overlay(&mut delta, self.dropped.clone());
        delta
    }

    /// Changes what is wanted. What it changed; nothing if all was so already.
    pub fn want(&mut self, edit: Edit, expected: Option<u64>, at: UnixMs) -> Result<Option<Object>, TwinError> {
        if expected.is_some_and(|version| version != self.desired.version) {
            return Err(TwinError::Conflict { current: self.desired.version });
        }
        let (mut value, patch) = match edit {
            Edit::Merge(patch) => (self.desired.value.clone(), patch),
            Edit::Replace(value) => (Object::new(), value),
        };
        if let Some(name) = patch.keys().find(|name| name.starts_with('$')) {
            return Err(TwinError::Reserved(name.clone()));
        }
        // Before it is carried out: that walks as deep as the patch goes.
        if patch::is_too_deep(&patch) {
            return Err(TwinError::TooDeep);
        }
        patch::merge(&mut value, patch);
        let Some(changed) = replace(&mut self.desired, value, at)? else { return Ok(None) };
        patch::overlay(&mut self.dropped, patch::gone(&changed.before, &self.desired.value));
        self.tidy();
        Ok(Some(changed.patch))
    }

    /// Takes a device's report. What it changed; nothing if all was so already.
    pub fn report(&mut self, mut patch: Object, at: UnixMs) -> Result<Reported, Refusal> {
        let told = patch.remove(VERSION).map(|told| told.as_u64().ok_or(Refusal::BadPayload)).transpose()?;
        if patch.keys().any(|name| name.starts_with('$')) {
            return Err(Refusal::BadPayload);
        }
        if patch::is_too_deep(&patch) {
            return Err(Refusal::Quota);
        }
        let mut value = self.reported.value.clone();
        patch::merge(&mut value, patch);
        let changed = replace(&mut self.reported, value, at).map_err(|_| Refusal::Quota)?.map(|changed| changed.patch);
        let before = (self.acknowledged, self.dropped.clone());
        // A version that there is not yet means nothing.
        if let Some(told) = told.filter(|told| *told <= self.desired.version) {
            self.acknowledged = self.acknowledged.max(told);
            if told == self.desired.version {
                // It knows all that is wanted, and what is not wanted any more.
                self.dropped.clear();
            }
        }
        self.tidy();
        let touched = changed.is_some() || before.0 != self.acknowledged || before.1 != self.dropped;
        Ok(Reported { changed, touched })
    }

    /// The version of the part.
    pub fn version(&self, part: TwinPart) -> u64 {
        match part {
            TwinPart::Desired => self.desired.version,
            TwinPart::Reported => self.reported.version,
        }
    }

    /// The place of the last change among all: each makes one part's version one higher.
    pub fn place(&self) -> u64 {
        self.desired.version + self.reported.version
    }

    fn tidy(&mut self) {
        self.dropped = patch::still(&self.dropped, &self.desired.value, &self.reported.value);
    }

    pub(crate) fn into_stored(self, device: DeviceNumber) -> StoredTwin {
        let owed = !self.delta().is_empty();
        let part = |part: Part| StoredPart { value: text(part.value), version: part.version, at: part.at };
        StoredTwin {
            device,
            desired: part(self.desired),
            reported: part(self.reported),
            dropped: text(self.dropped),
            acknowledged: self.acknowledged,
            owed,
        }
    }

    pub(crate) fn from_stored(stored: StoredTwin) -> Result<Twin, StoreError> {
        let device = stored.device;
        let object = |text: &str| -> Result<Object, StoreError> {
            serde_json::from_str(text).map_err(|_| StoreError::Damaged(format!("the twin of device {device} is not JSON")))
        };
        let part =
            |part: StoredPart| Ok::<_, StoreError>(Part { value: object(&part.value)?, version: part.version, at: part.at });
        Ok(Twin {
            dropped: object(&stored.dropped)?,
            desired: part(stored.desired)?,
            reported: part(stored.reported)?,
            acknowledged: stored.acknowledged,
        })
    }
}

/// What a report did.
#[derive(Debug, PartialEq)]
pub struct Reported {
    /// What it changed of what is reported.
    pub changed: Option<Object>,
    /// Whether anything is to be stored.
    pub touched: bool,
}

struct Changed {
    patch: Object,
    before: Object,
}

fn replace(part: &mut Part, value: Object, at: UnixMs) -> Result<Option<Changed>, TwinError> {
    if patch::is_too_deep(&value) {
        return Err(TwinError::TooDeep);
    }
    let patch = patch::between(&part.value, &value);
    if patch.is_empty() {
        return Ok(None);
    }
    if text(value.clone()).len() > limits::TWIN_BYTES_MAX {
        return Err(TwinError::TooLarge);
    }
    let before = std::mem::replace(&mut part.value, value);
    part.version += 1;
    part.at = Some(at);
    Ok(Some(Changed { patch, before }))
}

/// An object as JSON without blanks.
pub fn text(object: Object) -> String {
    Value::Object(object).to_string()
}

/// What goes down to the device.
pub fn message(mut patch: Object, version: u64) -> String {
    patch.insert(VERSION.to_owned(), version.into());
    text(patch)
}

/// What a device published as its report.
pub fn read(body: &[u8]) -> Result<Object, Refusal> {
    if body.len() > limits::TWIN_REPORT_BYTES_MAX {
        return Err(Refusal::Quota);
    }
    serde_json::from_slice(body).map_err(|_| Refusal::BadPayload)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_000_000_000);

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else { panic!("an object") };
        object
    }

    fn want(twin: &mut Twin, patch: Value) -> Result<Option<Object>, TwinError> {
        twin.want(Edit::Merge(object(patch)), None, NOW)
    }

    fn report(twin: &mut Twin, patch: Value) -> Reported {
        twin.report(object(patch), NOW).unwrap()
    }

    #[test]
    fn the_delta_goes_as_the_device_follows() {
        let mut twin = Twin::default();
        let changed = want(&mut twin, json!({"led": "on", "wifi": {"ssid": "a", "power": 17}})).unwrap();
        assert_eq!(changed, Some(twin.delta()));
        report(&mut twin, json!({"led": "off", "wifi": {"power": 17.0, "rssi": -60}, "uptime": 5}));
        assert_eq!(twin.delta(), object(json!({"led": "on", "wifi": {"ssid": "a"}})));
        report(&mut twin, json!({"led": "on", "wifi": {"ssid": "a"}}));
        assert!(twin.delta().is_empty());
        assert_eq!((twin.desired.version, twin.reported.version, twin.place()), (1, 2, 3));
        assert_eq!(twin.reported.value["wifi"], json!({"power": 17.0, "rssi": -60, "ssid": "a"}));
    }

    #[test]
    fn what_changes_nothing_makes_no_version() {
        let mut twin = Twin::default();
        want(&mut twin, json!({"led": "on"})).unwrap();
        assert_eq!(want(&mut twin, json!({"led": "on", "gone": null})).unwrap(), None);
        assert_eq!(report(&mut twin, json!({})), Reported { changed: None, touched: false });
        assert_eq!((twin.desired.version, twin.reported.version), (1, 0));
    }

    #[test]
    fn what_is_wanted_no_more_is_told_until_the_device_says_that_it_knows() {
        let led = |twin: &mut Twin| {
            want(twin, json!({"led": "on", "x": {"a": 1, "b": 2}})).unwrap();
            report(twin, json!({"led": "on", "x": {"a": 1, "b": 2, "own": 3}}));
            want(twin, json!({"led": null, "x": {"b": null}})).unwrap()
        };
        let mut twin = Twin::default();
        assert_eq!(led(&mut twin), Some(object(json!({"led": null, "x": {"b": null}}))));
        assert_eq!(twin.delta(), object(json!({"led": null, "x": {"b": null}})));
        report(&mut twin, json!({"x": {"b": null}}));
        assert_eq!(twin.delta(), object(json!({"led": null})));
        // It goes on telling of its lamp, and knows that nobody minds.
        assert!(report(&mut twin, json!({"$version": 2})).touched);
        assert!(twin.delta().is_empty());
        assert_eq!((twin.acknowledged, twin.reported.value.contains_key("led")), (2, true));

        let mut again = Twin::default();
        led(&mut again);
        want(&mut again, json!({"led": "on", "x": null})).unwrap();
        assert_eq!(again.delta(), object(json!({"x": null})), "wanted again, as it is");
        want(&mut again, json!({"x": {"a": 1}})).unwrap();
        assert_eq!(again.delta(), object(json!({"x": {"b": null, "own": null}})), "all of it was to go");
        // An older word says nothing of what came later.
        report(&mut again, json!({"$version": 2}));
        assert_eq!((again.acknowledged, again.delta().len()), (2, 1));
    }

    #[test]
    fn a_stale_order_is_refused_with_the_version_that_stands() {
        let mut twin = Twin::default();
        let edit = || Edit::Merge(object(json!({"n": 1})));
        assert!(twin.want(edit(), Some(0), NOW).is_ok());
        assert!(matches!(twin.want(edit(), Some(0), NOW), Err(TwinError::Conflict { current: 1 })));
        assert!(twin.want(Edit::Replace(object(json!({"m": {"x": null}}))), Some(1), NOW).is_ok());
        assert_eq!((twin.desired.value.clone(), twin.desired.version), (object(json!({"m": {}})), 2));
    }

    #[test]
    fn limits_and_reserved_names_hold_and_leave_all_as_it_was() {
        let mut twin = Twin::default();
        want(&mut twin, json!({"a": 1})).unwrap();
        report(&mut twin, json!({"a": 1}));
        let before = twin.clone();
        let long = "x".repeat(limits::TWIN_BYTES_MAX / 2);
        let deep = (0..limits::TWIN_DEPTH_MAX).fold(json!(1), |inner, _| json!({ "d": inner }));
        assert!(matches!(want(&mut twin, json!({"a": [deep], "b": 1})), Err(TwinError::TooDeep)));
        assert!(matches!(want(&mut twin, json!({"b": long, "c": long})), Err(TwinError::TooLarge)));
        assert!(matches!(want(&mut twin, json!({"$version": 3})), Err(TwinError::Reserved(name)) if name == "$version"));
        for (bad, refusal) in [
            (json!({"b": long, "c": long}), Refusal::Quota),
            (json!({"a": [deep]}), Refusal::Quota),
            (json!({"$version": "3"}), Refusal::BadPayload),
            (json!({"$version": -1}), Refusal::BadPayload),
            (json!({"$other": 1}), Refusal::BadPayload),
        ] {
            assert_eq!(twin.report(object(bad.clone()), NOW), Err(refusal), "{bad}");
        }
        assert_eq!(twin, before);
        assert!(!report(&mut twin, json!({"$version": 9})).touched, "a version that there is not yet");
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for bad in ["", "on", "[]", "null", "{\"a\":1", "{\"a\":1}x", "\u{feff}{}"] {
            assert_eq!(read(bad.as_bytes()), Err(Refusal::BadPayload), "{bad}");
        }
        assert_eq!(read(b"{\"a\":\"\xff\"}"), Err(Refusal::BadPayload));
        assert_eq!(read(&vec![b' '; limits::TWIN_REPORT_BYTES_MAX + 1]), Err(Refusal::Quota));
        let endless = "{\"a\":".repeat(1000);
        assert_eq!(read(endless.as_bytes()), Err(Refusal::BadPayload));
    }

    #[test]
    fn whatever_a_device_is_given_it_may_send_back() {
        let many = |name: char| object((0..900).map(|n| (format!("{name}{n:03x}"), json!(1))).collect());
        let mut twin = Twin::default();
        let first = twin.want(Edit::Replace(many('a')), None, NOW).unwrap().unwrap();
        twin.report(first, NOW).unwrap();
        assert!(text(twin.desired.value.clone()).len() > limits::TWIN_BYTES_MAX - 300, "nearly all that fits");
        // All that it tells of is to go, and so is all that was wanted in between.
        twin.want(Edit::Replace(many('b')), None, NOW).unwrap();
        let ordered = twin.want(Edit::Replace(many('c')), None, NOW).unwrap().unwrap();
        let mut patch = twin.delta();
        patch::overlay(&mut patch, ordered);
        let given = message(patch, twin.desired.version);
        assert!(given.len() > 3 * limits::TWIN_BYTES_MAX, "{}", given.len());
        twin.report(read(given.as_bytes()).unwrap(), NOW).unwrap();
        assert!(twin.delta().is_empty() && twin.reported.value == many('c'));
    }

    #[test]
    fn it_comes_back_from_the_store_as_it_was() {
        let mut twin = Twin::default();
        want(&mut twin, json!({"a": 1, "b": 2})).unwrap();
        report(&mut twin, json!({"a": 1, "b": 1, "$version": 1}));
        want(&mut twin, json!({"a": null})).unwrap();
        let stored = twin.clone().into_stored(DeviceNumber(7));
        assert!(stored.owed && stored.dropped == r#"{"a":null}"#);
        assert_eq!(Twin::from_stored(stored).unwrap(), twin);
    }
}
