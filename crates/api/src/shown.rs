//! The nouns as JSON shows them, for answers and for live events alike. The order of members is the order
//! in which people want to read them.

use std::collections::BTreeMap;

use contract::store::{DeliveryLife, Latest, StoredPush};
use fleet::{AccountView, AppView, DeviceView, Knock, NewToken, OldSecretView, TokenView};
use model::app::ProtocolSettings;
use model::{
    AppId, DeliveryState, DeviceId, DeviceNumber, Order, Peers, Point, Presence, Priority, PushId, Role, TokenScope, UnixMs,
    Value,
};
use schemars::JsonSchema;
use serde::Serialize;
use telemetry::Logged;

use crate::openapi::shape;

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub(crate) struct List<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A list that is whole.
    pub fn whole(items: impl IntoIterator<Item = T>) -> List<T> {
        List { items: items.into_iter().collect(), next: None }
    }
}

/// Bytes for people.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bytes {
    Text(String),
    Hex(String),
}

impl Bytes {
    pub fn of(bytes: &[u8]) -> Bytes {
        let plain = |text: &&str| !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n'));
        match std::str::from_utf8(bytes).ok().filter(plain) {
            Some(text) => Bytes::Text(text.to_owned()),
            None => Bytes::Hex(model::text::to_hex(bytes)),
        }
    }

    /// The same for the beginning of something longer, which may end within a character.
    pub fn of_cut(bytes: &[u8]) -> Bytes {
        match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => Bytes::of(&bytes[..error.valid_up_to()]),
            _ => Bytes::of(bytes),
        }
    }
}

/// A value as JSON. Whole numbers are shown without a fraction.
pub(crate) fn value(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => (*number as i64).into(),
        Value::Number(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
    }
}

/// A device type.
#[derive(Serialize, JsonSchema)]
pub(crate) struct App {
    #[schemars(with = "u32")]
    id: AppId,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    name: String,
    open: bool,
    single: bool,
    /// Whom its devices may write to of themselves.
    #[schemars(with = "shape::Peers")]
    peers: Peers,
    settings: ProtocolSettings,
    #[schemars(with = "shape::Time")]
    created: UnixMs,
    devices: usize,
}

impl App {
    /// The key opens the door for devices: not for those who may only look.
    pub fn of(view: AppView, role: Role) -> App {
        let AppView { app, devices } = view;
        let key = role.includes(Role::Operator).then(|| app.key.reveal().to_owned());
        let model::App { id, name, open, single, peers, settings, created, .. } = app;
        App { id, key, name, open, single, peers, settings, created, devices }
    }
}

/// A device's line.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Line {
    online: bool,
    #[schemars(with = "Option<shape::Time>")]
    since: Option<UnixMs>,
    why: String,
    protocol: String,
    remote: String,
}

impl From<Presence> for Line {
    fn from(presence: Presence) -> Line {
        let Presence { online, since, why, protocol, remote } = presence;
        Line { online, since, why, protocol, remote }
    }
}

/// A device.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Device {
    #[schemars(with = "shape::DeviceId")]
    id: DeviceId,
    #[schemars(with = "u32")]
    number: DeviceNumber,
    #[schemars(with = "u32")]
    app: AppId,
    name: String,
    alias: String,
    tags: Vec<String>,
    #[schemars(with = "shape::Meta")]
    meta: BTreeMap<String, serde_json::Value>,
    firmware: String,
    open: bool,
    blocked: bool,
    /// While it works beside the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret: Option<OldSecret>,
    #[schemars(with = "shape::Time")]
    created: UnixMs,
    #[serde(flatten)]
    line: Line,
    /// Shown once, to the one who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// The secret before the newest, while it works too.
#[derive(Serialize, JsonSchema)]
struct OldSecret {
    #[schemars(with = "shape::Time")]
    until: UnixMs,
    /// Which of the two was shown last, `old` or `new`, and when.
    used: Option<&'static str>,
    #[schemars(with = "Option<shape::Time>")]
    used_at: Option<UnixMs>,
}

impl From<OldSecretView> for OldSecret {
    fn from(OldSecretView { until, used }: OldSecretView) -> OldSecret {
        OldSecret { until, used: used.map(|(which, _)| which.as_str()), used_at: used.map(|(_, at)| at) }
    }
}

impl Device {
    /// A device with its new secret.
    pub fn with_secret(view: DeviceView, secret: String) -> Device {
        Device { secret: Some(secret), ..view.into() }
    }
}

impl From<DeviceView> for Device {
    fn from(view: DeviceView) -> Device {
        let model::Device { number, id, app, name, alias, tags, meta, firmware, open, created } = view.device;
        Device {
            id,
            number,
            app,
            name,
            alias,
            tags,
            meta: meta.iter().map(|(name, held)| (name.clone(), value(held))).collect(),
            firmware,
            open,
            blocked: view.blocked,
            old_secret: view.old_secret.map(OldSecret::from),
            created,
            line: view.presence.into(),
            secret: None,
        }
    }
}

/// A token, without its text.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Token {
    id: u64,
    name: String,
    #[schemars(with = "shape::Role")]
    role: Role,
    #[schemars(with = "shape::Time")]
    created: UnixMs,
    #[schemars(with = "Option<shape::Time>")]
    expires: Option<UnixMs>,
    /// What it may do within its role; empty for all.
    #[schemars(with = "Vec<shape::Scope>")]
    scopes: Vec<&'static str>,
    /// Only at devices that this query fits; empty for all.
    r#where: String,
    /// Shown once, to the one who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Token {
    /// A token that was just made.
    pub fn with_text(made: NewToken) -> Token {
        Token { token: Some(made.token), ..made.view.into() }
    }
}

impl From<TokenView> for Token {
    fn from(TokenView { id, name, role, created, expires, grant }: TokenView) -> Token {
        let scopes = grant.scopes.named().map(TokenScope::as_str).collect();
        Token { id, name, role, created, expires, scopes, r#where: grant.query.clone(), token: None }
    }
}

/// A broker account.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Account {
    id: u64,
    name: String,
    /// Shown once, when it was made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    /// By which method the password is kept.
    password_kind: &'static str,
    rules: Vec<String>,
    #[schemars(with = "shape::Time")]
    created: UnixMs,
}

impl Account {
    /// An account whose password may just have been made.
    pub fn with_password(view: AccountView, password: Option<String>) -> Account {
        Account { password, ..view.into() }
    }
}

impl From<AccountView> for Account {
    fn from(view: AccountView) -> Account {
        let model::Account { id, name, rules, created } = view.account;
        let rules = rules.iter().map(|rule| rule.to_string()).collect();
        Account { id, name, password: None, password_kind: view.password, rules, created }
    }
}

/// One value of one stream.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Point")]
pub(crate) struct Reading {
    stream: String,
    #[schemars(with = "shape::Time")]
    at: UnixMs,
    #[schemars(with = "shape::Value")]
    value: serde_json::Value,
}

impl From<&Point> for Reading {
    fn from(point: &Point) -> Reading {
        Reading { stream: point.stream.clone(), at: point.at, value: value(&point.value) }
    }
}

impl From<Latest> for Reading {
    fn from(latest: Latest) -> Reading {
        Reading { stream: latest.stream, at: latest.at, value: value(&latest.value) }
    }
}

/// A message of a device.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Message<'a> {
    device: Option<&'a str>,
    #[schemars(with = "shape::Time")]
    at: UnixMs,
    direction: &'static str,
    topic: &'a str,
    #[serde(flatten)]
    payload: Bytes,
    bytes: usize,
    cut: bool,
    qos: u8,
    retain: bool,
}

impl<'a> Message<'a> {
    /// `device` is `None` for a message between parties that are no devices.
    pub fn of(device: Option<&'a str>, message: &'a Logged) -> Message<'a> {
        let cut = message.is_cut();
        Message {
            device,
            at: message.at,
            direction: message.direction.as_str(),
            topic: message.topic.as_str(),
            payload: if cut { Bytes::of_cut(&message.payload) } else { Bytes::of(&message.payload) },
            bytes: message.bytes,
            cut,
            qos: message.qos as u8,
            retain: message.retain,
        }
    }
}

/// The fate of a push at one device.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Delivery {
    #[schemars(with = "shape::DeviceId")]
    device: DeviceId,
    #[schemars(with = "shape::State")]
    state: DeliveryState,
    #[schemars(with = "shape::Time")]
    at: UnixMs,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Bytes>,
    /// Every state with its time, the present one last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
}

/// A state that a delivery has come to.
#[derive(Serialize, JsonSchema)]
struct Step {
    #[schemars(with = "shape::State")]
    state: DeliveryState,
    #[schemars(with = "shape::Time")]
    at: UnixMs,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

/// A delivery among those of a device.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeviceDelivery")]
pub(crate) struct OfDevice {
    #[schemars(with = "u64")]
    push: PushId,
    #[serde(flatten)]
    delivery: Delivery,
}

impl From<&DeliveryLife> for OfDevice {
    fn from(life: &DeliveryLife) -> OfDevice {
        OfDevice { push: life.delivery.push, delivery: life.into() }
    }
}

impl From<&DeliveryLife> for Delivery {
    fn from(DeliveryLife { delivery, before }: &DeliveryLife) -> Delivery {
        let now = model::DeliveryStep::from(delivery);
        let step = |step: &model::DeliveryStep| Step { state: step.state, at: step.at, detail: step.detail.clone() };
        Delivery { steps: before.iter().chain([&now]).map(step).collect(), ..delivery.into() }
    }
}

impl From<&model::Delivery> for Delivery {
    fn from(delivery: &model::Delivery) -> Delivery {
        Delivery {
            steps: Vec::new(),
            device: delivery.device.clone(),
            state: delivery.state,
            at: delivery.at,
            detail: delivery.detail.clone(),
            answer: delivery.answer.as_deref().map(Bytes::of),
        }
    }
}

/// A push, and how far it has come.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Push {
    #[schemars(with = "u64")]
    id: PushId,
    /// `message`, `ask`, or the verb of a command.
    order: String,
    /// As it was written; of a push that was sent again, which one and for which states.
    #[schemars(with = "shape::Any")]
    audience: serde_json::Value,
    #[serde(flatten)]
    payload: Bytes,
    sender: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    collapse: Option<std::sync::Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<u32>,
    /// When it begins or began, if that was not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Time>")]
    at: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Priority>")]
    priority: Option<Priority>,
    /// The push whose content this is once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>")]
    resend_of: Option<PushId>,
    /// In the audience, as far as they are still registered.
    devices: u64,
    /// Of them, those whose delivery is still to be made.
    remaining: u64,
    counts: BTreeMap<&'static str, u64>,
    #[schemars(with = "shape::Time")]
    created: UnixMs,
    #[schemars(with = "Option<shape::Time>")]
    expires: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<Delivery>>,
}

impl Push {
    pub fn of(push: StoredPush, standing: (Vec<(DeliveryState, u64)>, u64), deliveries: Option<&[DeliveryLife]>) -> Push {
        let (counts, remaining) = standing;
        Push {
            id: push.id,
            order: match push.order {
                Order::Message => "message".to_owned(),
                Order::Ask => "ask".to_owned(),
                Order::Command { verb } => verb,
            },
            audience: serde_json::from_str(&push.audience).unwrap_or_default(),
            payload: Bytes::of(&push.payload),
            sender: push.sender,
            collapse: push.terms.collapse,
            per_second: push.terms.per_second,
            at: push.terms.starts,
            priority: Some(push.terms.priority).filter(|priority| *priority != Priority::default()),
            resend_of: push.terms.resend_of,
            devices: counts.iter().map(|(_, count)| count).sum::<u64>() + remaining,
            remaining,
            counts: counts.into_iter().map(|(state, count)| (state.as_str(), count)).collect(),
            created: push.created,
            expires: push.expires,
            deliveries: deliveries.map(|deliveries| deliveries.iter().map(Delivery::from).collect()),
        }
    }
}

/// A login that was refused.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Knock")]
pub(crate) struct KnockShown {
    pub protocol: &'static str,
    pub remote: String,
    pub claim: String,
    /// The device that it would be: it has shown the key of its app, which takes no new ones. It can be adopted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::DeviceId>")]
    pub device: Option<DeviceId>,
    /// A stable word.
    pub code: &'static str,
    pub reason: String,
    #[schemars(with = "shape::Time")]
    pub at: UnixMs,
}

impl From<Knock> for KnockShown {
    fn from(Knock { protocol, remote, claim, device, code, reason, at }: Knock) -> KnockShown {
        KnockShown { protocol, remote: remote.to_string(), claim, device, code, reason, at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_are_text() {
        assert_eq!(Bytes::of("灯 on\r\n\t".as_bytes()), Bytes::Text("灯 on\r\n\t".into()));
        assert_eq!(Bytes::of(b""), Bytes::Text(String::new()));
        assert_eq!(Bytes::of(b"\x00on"), Bytes::Hex("006f6e".into()));
        assert_eq!(Bytes::of(b"\xff"), Bytes::Hex("ff".into()));
        assert_eq!(Bytes::of("\u{85}".as_bytes()), Bytes::Hex("c285".into()));
        assert_eq!(Bytes::of_cut(&"灯灯".as_bytes()[..4]), Bytes::Text("灯".into()));
        assert_eq!(Bytes::of_cut(b"\xffabc"), Bytes::Hex("ff616263".into()));
    }

    #[test]
    fn whole_numbers_are_shown_whole() {
        let shown = |number| serde_json::to_string(&value(&Value::Number(number))).unwrap();
        assert_eq!((shown(21.0), shown(-0.5), shown(1e300)), ("21".into(), "-0.5".into(), "1e+300".into()));
    }
}
