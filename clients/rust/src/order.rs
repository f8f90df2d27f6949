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

    /// The devices of a group.
    pub fn group(name: &str) -> Audience {
        Audience(json!({ "group": name }))
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

impl Order {
    /// A newer push takes the place of one that waits with the same key.
    pub fn collapse(self, key: &str) -> Order {
        self.with("collapse", key)
    }

    /// At most so many devices a second.
    pub fn per_second(self, devices: u32) -> Order {
        self.with("per_second", devices)
    }

    /// Of what waits for a device, `high` goes first, then `normal`, then `low`.
    pub fn priority(self, priority: &str) -> Order {
        self.with("priority", priority)
    }

    /// When it begins, RFC 3339.
    pub fn at(self, moment: &str) -> Order {
        self.with("at", moment)
    }

    /// The body, for a schedule.
    pub fn into_json(self) -> Value {
        Value::Object(self.body)
    }
}

/// How a push is sent once more.
#[derive(Clone, Debug, Default)]
pub struct Resend<'a> {
    /// To the devices where it is in one of these; failed, expired and refused if there are none.
    pub states: &'a [&'a str],
    /// How long to wait until the deliveries are through, or rest.
    pub wait: Duration,
    /// Another time to live than the first time.
    pub ttl: Option<Duration>,
    /// The same key is the same push.
    pub key: Option<&'a str>,
}

/// Which entries of the audit log.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter<'a> {
    /// By whom.
    pub who: Option<&'a str>,
    /// About what.
    pub target: Option<&'a str>,
    /// A part of the call.
    pub call: Option<&'a str>,
    /// Those that failed, or did not.
    pub failed: Option<bool>,
    /// Not before this, RFC 3339.
    pub since: Option<&'a str>,
    /// Before this.
    pub until: Option<&'a str>,
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
