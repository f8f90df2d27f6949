//! The nouns of the API. Members that a newer server adds are left out, so that they do no harm. Times are
//! RFC 3339 with milliseconds, as the server writes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Some rows of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The cursor of those that follow, if any do.
    pub next: Option<String>,
}

/// Bytes, as the API shows them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// What can be read.
    Text(String),
    /// What cannot, as hex digits.
    Hex(String),
}

impl Content {
    /// The bytes themselves.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Hex(digits) => {
                let pairs = digits.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
                pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
            }
        }
    }
}

/// The fate of a push at one device.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Delivery {
    /// The device.
    pub device: String,
    /// Where it stands: `queued`, `sent`, `delivered`, `applied`, `failed`, and what else the API knows.
    pub state: String,
    /// Since when.
    pub at: String,
    /// Why; empty when the state says it all.
    #[serde(default)]
    pub detail: String,
    /// What the device answered.
    pub answer: Option<Content>,
}

impl Delivery {
    /// The answer as text; empty when there is none.
    pub fn text(&self) -> String {
        self.answer.as_ref().map(|answer| String::from_utf8_lossy(&answer.bytes()).into_owned()).unwrap_or_default()
    }
}

/// A push, and how far it has come.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Push {
    /// Its number.
    pub id: u64,
    /// `message`, `ask`, or the verb of a command.
    pub order: String,
    /// Who is meant, as it was written.
    pub audience: Value,
    /// The payload.
    #[serde(flatten)]
    pub payload: Content,
    /// Who sent it.
    pub sender: String,
    /// How many devices are meant.
    pub devices: u64,
    /// Of them, those whose delivery is still to be made.
    pub remaining: u64,
    /// Deliveries by state.
    pub counts: BTreeMap<String, u64>,
    /// When it was sent.
    pub created: String,
    /// When it is not worth delivering any more.
    pub expires: Option<String>,
    /// The first thousand, where they were asked for.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// How many devices would get a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct PreviewCounts {
    /// At once.
    pub now: u64,
    /// When they come back.
    pub later: u64,
    /// Not at all.
    pub not: u64,
}

/// Why some devices would not get a push.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct PreviewReason {
    /// A word for programs.
    pub reason: String,
    /// How many.
    pub devices: u64,
    /// A sentence for people.
    pub detail: String,
}

/// What would happen at one device.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct PreviewItem {
    /// The device.
    pub device: String,
    /// Whether it is there.
    pub online: bool,
    /// The protocol of its line.
    pub protocol: String,
    /// `now`, `later` or `not`.
    pub outcome: String,
    /// Why not.
    pub reason: Option<String>,
}

/// What a push would do.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Preview {
    /// How many devices are meant.
    pub devices: u64,
    /// How many would get it, and when.
    pub counts: PreviewCounts,
    /// Why the others would not.
    pub reasons: Vec<PreviewReason>,
    /// Ids that are nobody's.
    pub unknown: Vec<String>,
    /// One page of the devices.
    pub items: Vec<PreviewItem>,
    /// The cursor of the page that follows, if one does.
    pub next: Option<String>,
}

/// A device.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: u32,
    /// Its app.
    pub app: u32,
    /// A name for people.
    pub name: String,
    /// A second name that pushes may address.
    pub alias: String,
    /// Labels for audiences.
    pub tags: Vec<String>,
    /// Its firmware, as it last told it.
    pub firmware: String,
    /// Whether anybody may push to it.
    pub open: bool,
    /// It is not let in.
    #[serde(default)]
    pub blocked: bool,
    /// What its owner wrote down.
    #[serde(default)]
    pub meta: BTreeMap<String, Value>,
    /// When it was registered.
    pub created: String,
    /// Whether it has a line.
    pub online: bool,
    /// Since when that is so.
    pub since: Option<String>,
    /// Why that is so.
    pub why: String,
    /// The protocol of its newest line.
    pub protocol: String,
    /// Where it last came from.
    pub remote: String,
}

/// One value of one stream.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Point {
    /// The stream.
    pub stream: String,
    /// When it was measured.
    pub at: String,
    /// A bool, a number or a text.
    pub value: Value,
}

/// What is wanted of a device, or what it tells of itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct TwinPart {
    /// A JSON object.
    pub value: Value,
    /// How often it has changed.
    pub version: u64,
    /// When it did last.
    pub at: Option<String>,
}

/// Both parts of a device's twin, and what differs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Twin {
    /// What is wanted of the device.
    pub desired: TwinPart,
    /// What it tells of itself.
    pub reported: TwinPart,
    /// The merge patch that the device is still to be told.
    pub delta: Value,
    /// The version of `desired` that the device has told to have dealt with.
    pub acknowledged: Option<u64>,
    /// Why the device cannot be told, if so.
    pub note: Option<String>,
}

/// A change of a twin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct TwinChange {
    /// `desired` or `reported`.
    pub part: String,
    /// The version that it made.
    pub version: u64,
    /// When.
    pub at: String,
    /// Who made it.
    pub who: String,
    /// The merge patch from the version before.
    pub patch: Value,
}

/// How far a message to a number came. Never that somebody has read it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Sent {
    /// One's own number: answers go there.
    pub from: u32,
    /// The number that it went to.
    pub to: u32,
    /// `sent` to an open line, or `kept` for a device that is away.
    pub state: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// `presence`, `points`, `delivery`, and what else the API knows; `gap` says that some events before it
    /// are lost: load the state anew.
    pub kind: String,
    /// What.
    pub data: Value,
    /// Its number; a gap has none.
    pub id: Option<String>,
}
