//! A device: its two names (text id, u32 number), what its owner wrote about it, and its presence.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::app::AppId;
use crate::limits;
use crate::meta::Meta;
use crate::short::ShortStr;
use crate::time::UnixMs;

/// A device's address among all parties: unique, given once, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceNumber(pub u32);

impl fmt::Display for DeviceNumber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A device's text id: 1 to 64 of `A-Z a-z 0-9 . _ -`, not digits alone (those are app ids when they
/// stand as an MQTT user name). Safe in a topic level, a URL path and a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DeviceId(ShortStr);

impl DeviceId {
    /// Checks and keeps `text`.
    pub fn parse(text: &str) -> Option<DeviceId> {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let shape = !text.is_empty() && text.len() <= limits::DEVICE_ID_BYTES_MAX && text.bytes().all(good);
        let telling = !text.bytes().all(|b| b.is_ascii_digit()) && text != "." && text != "..";
        (shape && telling).then(|| DeviceId(text.into()))
    }

    /// The id of a device that registers itself: `<app>-<chip>`. `None` when the chip id has characters
    /// that no device id may have.
    pub fn of_chip(app: AppId, chip: &str) -> Option<DeviceId> {
        if chip.is_empty() { None } else { DeviceId::parse(&format!("{app}-{chip}")) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Borrow<str> for DeviceId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What is known of a device and outlives its connections. The secret is not here: it is sealed in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its address.
    pub number: DeviceNumber,
    /// Its text id.
    pub id: DeviceId,
    /// The app it belongs to.
    pub app: AppId,
    /// A name for people; empty when none was given.
    pub name: String,
    /// A second name that pushes may address; empty when none was given.
    pub alias: String,
    /// Labels for audiences.
    pub tags: Vec<String>,
    /// What its owner wrote down about it besides.
    pub meta: Meta,
    /// Firmware as the device last told it; empty when it never did.
    pub firmware: String,
    /// Whether anyone who reaches the HTTP port may push to it without a token. Off unless its owner turns it on.
    pub open: bool,
    /// When it was registered.
    pub created: UnixMs,
}

/// Whether a device holds a line, since when and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Whether at least one line is open.
    pub online: bool,
    /// When that last changed; `None` for a device never seen.
    pub since: Option<UnixMs>,
    /// Why it is so, as a sentence for people.
    pub why: String,
    /// The protocol of its newest line.
    pub protocol: String,
    /// The address and port it last came from.
    pub remote: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_everywhere_they_are_used() {
        for good in ["lamp", "a", "15000-8454703", "Kitchen_1.main"] {
            assert!(DeviceId::parse(good).is_some(), "{good}");
        }
        for bad in ["", "15000", "a/b", "a b", "#", "+", "$x", "灯", ".", "..", &"x".repeat(65)] {
            assert!(DeviceId::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(DeviceId::of_chip(AppId(7), "8454703").unwrap().as_str(), "7-8454703");
        assert!(DeviceId::of_chip(AppId(7), "").is_none());
    }
}
