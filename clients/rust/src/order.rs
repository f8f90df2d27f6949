//! What a caller wants: an audience, a push, a part of a list.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// Who is meant.
#[derive(Clone, Debug)]
pub struct Audience(pub(crate) Value);

impl Audience {
    /// Every device there is.
    pub fn all() -> Audience {
        Audience(json!("all"))
    }

    /// These devices.
    pub fn devices(ids: &[&str]) -> Audience {
        Audience(json!({ "devices": ids }))
    }

    /// The devices with this alias.
    pub fn alias(alias: &str) -> Audience {
        Audience(json!({ "alias": alias }))
    }

    /// The devices of an app.
    pub fn app(id: u32) -> Audience {
        Audience(json!({ "app": id }))
    }

    /// The devices that have all of these tags.
    pub fn tags(all: &[&str]) -> Audience {
        Audience(json!({ "tags": { "all": all } }))
    }

    /// The devices that a query chooses.
    pub fn query(query: &str) -> Audience {
        Audience(json!({ "where": query }))
    }
}

/// A device's id.
impl From<&str> for Audience {
    fn from(id: &str) -> Audience {
        Audience(json!({ "device": id }))
    }
}

/// As the API takes it, for what is not named above.
impl From<Value> for Audience {
    fn from(audience: Value) -> Audience {
        Audience(audience)
    }
}

/// A push in the making.
#[derive(Clone, Debug)]
pub struct Order {
    pub(crate) body: Map<String, Value>,
    pub(crate) wait: Option<Duration>,
}

impl Order {
    /// A push to a device, by its id, or to an audience.
    pub fn to(audience: impl Into<Audience>) -> Order {
        Order { body: Map::from_iter([("audience".to_owned(), audience.into().0)]), wait: None }
    }

    /// Any member of the body, also one that this version does not know.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Order {
        self.body.insert(name.to_owned(), value.into());
        self
    }

    /// The payload, as text.
    pub fn text(self, text: &str) -> Order {
        self.with("text", text)
    }

    /// The payload, as bytes.
    pub fn bytes(self, bytes: &[u8]) -> Order {
        self.with("hex", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// The payload, as JSON.
    pub fn json(self, json: Value) -> Order {
        self.with("json", json)
    }

    /// Waits until the deliveries are through, or rest because the device is away; at most so long.
    pub fn wait(mut self, wait: Duration) -> Order {
        self.wait = Some(wait);
        self
    }

    /// After so long it is not worth delivering any more; zero is now or never.
    pub fn ttl(self, ttl: Duration) -> Order {
        self.with("ttl_s", ttl.as_secs())
    }

    /// The same key is the same push, however often it is sent.
    pub fn key(self, key: &str) -> Order {
        self.with("idempotency_key", key)
    }
}

/// A message to a number in the making.
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) body: Map<String, Value>,
}

impl Message {
    /// A message to a number (`u32`), or to a device by its id.
    pub fn to(to: impl Into<Value>) -> Message {
        Message { body: Map::from_iter([("to".to_owned(), to.into())]) }
    }

    /// The payload, as text.
    pub fn text(mut self, text: &str) -> Message {
        self.body.insert("text".to_owned(), text.into());
        self
    }

    /// The payload, as bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Message {
        self.body.insert("hex".to_owned(), bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into());
        self
    }

    /// The payload, as JSON.
    pub fn json(mut self, json: Value) -> Message {
        self.body.insert("json".to_owned(), json);
        self
    }
}

/// Which page of a preview.
#[derive(Clone, Debug, Default)]
pub struct PreviewFilter<'a> {
    /// Only `now`, `later` or `not`.
    pub outcome: Option<&'a str>,
    /// Rows of the page.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<&'a str>,
}

/// Which devices.
#[derive(Clone, Debug, Default)]
pub struct DeviceFilter<'a> {
    /// Those that a query chooses.
    pub query: Option<&'a str>,
    /// Those of an app.
    pub app: Option<u32>,
    /// Those that are there, or are not.
    pub online: Option<bool>,
    /// Those with this in id, name or alias.
    pub q: Option<&'a str>,
}

/// A query.
impl<'a> From<&'a str> for DeviceFilter<'a> {
    fn from(query: &'a str) -> DeviceFilter<'a> {
        DeviceFilter { query: Some(query), ..DeviceFilter::default() }
    }
}

/// Which points.
#[derive(Clone, Debug, Default)]
pub struct PointFilter<'a> {
    /// Those of one stream.
    pub stream: Option<&'a str>,
    /// Not older than this, RFC 3339 or milliseconds since 1970.
    pub since: Option<&'a str>,
    /// Not newer than this.
    pub until: Option<&'a str>,
}
