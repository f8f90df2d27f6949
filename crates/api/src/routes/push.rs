//! Pushes: sending one, and what became of them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contract::store::StoredPush;
use fleet::FleetError;
use futures_util::future::try_join_all;
use model::{DeliveryState, DeviceNumber, Order, Priority, PushId, Terms, UnixMs, limits};
use push::{NewPush, Resend, SubmitError, To, WaitFor};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::{Operator, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::{Delivery, List, OfDevice, Push};
use crate::{Api, audience, input};

/// A push to be sent: who is meant, and one payload.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewPush")]
pub(crate) struct New {
    #[schemars(with = "shape::Audience")]
    pub(crate) audience: serde_json::Value,
    /// The payload as text. Exactly one of `text`, `hex`, `base64`, `json`; a command may have none.
    text: Option<String>,
    /// The payload as hex digits.
    hex: Option<String>,
    /// The payload in Base64.
    base64: Option<String>,
    /// The payload as JSON. The device gets these very bytes.
    #[serde(default, deserialize_with = "there")]
    #[schemars(with = "Option<shape::Any>")]
    json: Option<Box<RawValue>>,
    /// The device is to answer.
    #[serde(default)]
    pub(crate) ask: bool,
    /// A command that the device's firmware knows, such as `reboot`.
    pub(crate) command: Option<String>,
    /// How long to wait until the deliveries are through, or rest in a queue; at most 60000.
    #[serde(default)]
    wait_ms: u64,
    /// Seconds after which it is not worth delivering any more; 0 is now or never.
    pub(crate) ttl_s: Option<u64>,
    /// The same key with the same push is the same push, however often it is sent.
    idempotency_key: Option<String>,
    /// A newer push with the same key takes the place of an older one that still waits; 1 to 64 bytes.
    collapse: Option<String>,
    /// At most so many devices a second are given their first try.
    per_second: Option<u32>,
    /// Of what waits for a device, `high` goes first when it is back; `normal` unless said.
    #[serde(default)]
    #[schemars(with = "Option<shape::Priority>")]
    priority: Priority,
    /// When it begins; now unless said.
    #[schemars(with = "Option<shape::AnyTime>")]
    at: Option<UnixMs>,
}

/// A member that is there, also if it is `null`: that is JSON like any other.
fn there<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

pub(crate) async fn send(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Json(new): input::Json<New>,
) -> Result<Json<Push>, Problem> {
    may_wait(new.wait_ms)?;
    let wait = Duration::from_millis(new.wait_ms);
    let key = new.idempotency_key.clone();
    let (push, is_many) = take(&api, new, caller.name.to_string(), key).await?;
    if !wait.is_zero() && is_many {
        api.push.wait_all(push, wait).await?;
    } else if !wait.is_zero() {
        api.push.wait(push, WaitFor::Final, wait).await?;
    }
    whole(&api, push, true).await
}

/// Makes a push of what was written. Its number, and whether it is made as those to many are.
pub(crate) async fn take(api: &Api, new: New, sender: String, key: Option<String>) -> Result<(PushId, bool), Problem> {
    let wanted = audience::read(api, &new.audience).await?;
    let payload = payload(&new)?;
    let terms = new.terms();
    may_start(api, terms.starts)?;
    let order = order(new.ask, new.command)?;
    let to = match wanted {
        audience::Wanted::Device(id) => {
            let device = api.fleet.device(&id).ok_or(FleetError::NoSuchDevice(id))?.device;
            To::One(device.number, device.id)
        }
        audience::Wanted::Many(audience) => {
            let selected = api.fleet.select(audience).await?;
            // All or none: who names devices does not mean some of them.
            if !selected.unknown.is_empty() {
                return Err(unknown(&selected.unknown));
            }
            To::Many(selected.devices)
        }
    };
    // One that starts later is made as those to many are.
    let is_many = matches!(to, To::Many(_)) || terms.starts.is_some();
    let push = api
        .push
        .submit(NewPush {
            to,
            payload,
            order,
            sender,
            audience: new.audience.to_string(),
            ttl_s: new.ttl_s,
            idempotency_key: key,
            terms,
        })
        .await?;
    Ok((push, is_many))
}

/// What is wrong with a push that a schedule is to make, as far as can be said before.
pub(crate) async fn check_recurring(api: &Api, new: New) -> Result<(), Problem> {
    if new.wait_ms > 0 || new.at.is_some() || new.idempotency_key.is_some() {
        let detail = "push: wait_ms, at and idempotency_key are not for a push that recurs";
        return Err(Problem::bad("bad_schedule", detail).hint("when it is pushed stands in `when`"));
    }
    audience::read(api, &new.audience).await?;
    let wanted = NewPush {
        to: To::Many(Vec::new()),
        payload: payload(&new)?,
        terms: new.terms(),
        order: order(new.ask, new.command)?,
        sender: String::new(),
        audience: String::new(),
        ttl_s: new.ttl_s,
        idempotency_key: None,
    };
    Ok(wanted.check()?)
}

fn may_wait(ms: u64) -> Result<(), Problem> {
    if ms > limits::WAIT_MS_MAX {
        return Err(Problem::bad("bad_wait", format!("wait_ms is at most {}", limits::WAIT_MS_MAX)));
    }
    Ok(())
}

/// Whether a push may start then.
fn may_start(api: &Api, at: Option<UnixMs>) -> Result<(), Problem> {
    let now = api.clock.unix();
    let furthest = now.0.saturating_add(limits::PUSH_AHEAD_S_MAX as i64 * 1000);
    match at {
        Some(at) if at <= now => Err(Problem::bad("bad_at", "at: that moment is over").hint("leave out at to push now")),
        Some(at) if at.0 > furthest => Err(Problem::bad("bad_at", "at: that is more than a year from now")),
        _ => Ok(()),
    }
}

/// Ids that are nobody's, the first few of them.
fn unknown(ids: &[String]) -> Problem {
    const NAMED: usize = 10;
    let named: Vec<String> = ids.iter().take(NAMED).map(|id| format!("{id:?}")).collect();
    let more = if ids.len() > NAMED { format!(" and {} more", ids.len() - NAMED) } else { String::new() };
    let detail = format!("there are no devices {}{more}; nothing was pushed", named.join(", "));
    Problem::new(StatusCode::NOT_FOUND, "no_such_device", detail).hint("POST /api/v1/push/preview tells who is there")
}

impl New {
    /// The terms that it names.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            collapse: self.collapse.as_deref().map(Into::into),
            per_second: self.per_second,
            starts: self.at,
            priority: self.priority,
            ..Terms::default()
        }
    }

    /// Whether anything is to be pushed, or to be done.
    pub(crate) fn has_payload(&self) -> bool {
        self.text.is_some() || self.hex.is_some() || self.base64.is_some() || self.json.is_some() || self.command.is_some()
    }
}

pub(crate) fn payload(new: &New) -> Result<Bytes, Problem> {
    match one_payload(new.text.as_ref(), new.hex.as_ref(), new.base64.as_ref(), new.json.as_deref())? {
        Some(payload) => Ok(payload),
        // Many commands carry nothing.
        None if new.command.is_some() => Ok(Bytes::new()),
        None => Err(Problem::bad("payload_missing", "there is nothing to push; send one of text, hex, base64, json")),
    }
}

/// The payload that was written in one of four ways; `None` if in none.
pub(crate) fn one_payload(
    text: Option<&String>,
    hex: Option<&String>,
    base64: Option<&String>,
    json: Option<&RawValue>,
) -> Result<Option<Bytes>, Problem> {
    let from_hex = |hex: &String| {
        model::text::from_hex(hex).ok_or_else(|| Problem::bad("bad_field", "hex: not an even number of hex digits"))
    };
    let decode = |base64: &String| STANDARD.decode(base64).map_err(|error| Problem::bad("bad_field", format!("base64: {error}")));
    match (text, hex, base64, json) {
        (Some(text), None, None, None) => Ok(Some(text.clone().into())),
        (None, Some(digits), None, None) => from_hex(digits).map(|bytes| Some(bytes.into())),
        (None, None, Some(code), None) => decode(code).map(|bytes| Some(bytes.into())),
        (None, None, None, Some(json)) => Ok(Some(json.get().to_owned().into())),
        (None, None, None, None) => Ok(None),
        _ => Err(Problem::bad("payload_ambiguous", "send only one of text, hex, base64, json")),
    }
}

pub(crate) fn order(ask: bool, command: Option<String>) -> Result<Order, Problem> {
    match (ask, command) {
        (false, None) => Ok(Order::Message),
        (true, None) => Ok(Order::Ask),
        (false, Some(verb)) => Ok(Order::Command { verb }),
        (true, Some(_)) => Err(Problem::bad("order_ambiguous", "a command is always answered; leave out ask")),
    }
}

/// A push, with the first page of its deliveries if wanted.
async fn whole(api: &Api, id: PushId, deliveries: bool) -> Result<Json<Push>, Problem> {
    let push = api.push.get(id).await?.ok_or_else(Problem::no_such_push)?;
    let standing = api.push.standing(id).await?;
    let page = if deliveries { Some(api.push.deliveries(id, None, limits::PAGE_ROWS_MAX).await?.items) } else { None };
    Ok(Json(Push::of(push, standing, page.as_deref())))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Rows of a page, 1 to 1000; 100 unless told.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    /// Only those that have a delivery for this device.
    device: Option<String>,
    /// Rows of a page, 1 to 1000; 100 unless told.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Pushes, newest first; all, or those that have a delivery for a device.
pub(crate) async fn list(
    State(api): State<Api>,
    _: Viewer,
    input::Query(page): input::Query<Listed>,
) -> Result<Json<List<Push>>, Problem> {
    let before = input::cursor(page.cursor.as_deref())?.map(PushId);
    let rows = input::rows(page.limit)?;
    let page = match &page.device {
        Some(id) => api.push.list_of(super::devices::device(&api, id)?.device.number, before, rows).await?,
        None => api.push.list(before, rows).await?,
    };
    let shown = page.items.into_iter().map(|push: StoredPush| async {
        let standing = api.push.standing(push.id).await?;
        Ok::<_, Problem>(Push::of(push, standing, None))
    });
    Ok(Json(List { items: try_join_all(shown).await?, next: page.next }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// `false` leaves the deliveries out.
    deliveries: Option<bool>,
}

/// One push. `deliveries=false` leaves them out, for who watches a large one.
pub(crate) async fn show(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<u64>,
    input::Query(how): input::Query<How>,
) -> Result<Json<Push>, Problem> {
    whole(&api, PushId(id), how.deliveries.unwrap_or(true)).await
}

pub(crate) async fn deliveries(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<u64>,
    input::Query(page): input::Query<Page>,
) -> Result<Json<List<Delivery>>, Problem> {
    let after = input::cursor(page.cursor.as_deref())?.map(DeviceNumber);
    let rows = input::rows(page.limit)?;
    api.push.get(PushId(id)).await?.ok_or_else(Problem::no_such_push)?;
    let page = api.push.deliveries(PushId(id), after, rows).await?;
    Ok(Json(List { items: page.items.iter().map(Delivery::from).collect(), next: page.next }))
}

/// A push once more.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Resend")]
pub(crate) struct Again {
    /// The states whose devices get it again; `failed`, `expired` and `refused` unless said.
    #[schemars(with = "Option<Vec<shape::State>>")]
    states: Option<Vec<DeliveryState>>,
    /// How long to wait until the deliveries are through, or rest in a queue; at most 60000.
    #[serde(default)]
    wait_ms: u64,
    /// Seconds after which it is not worth delivering any more; 0 is now or never.
    ttl_s: Option<u64>,
    /// The same key is the same resend, however often it is sent.
    idempotency_key: Option<String>,
}

/// The same content once more, for the devices that did not get it.
pub(crate) async fn resend(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Path(id): input::Path<u64>,
    input::Json(again): input::Json<Again>,
) -> Result<Json<Push>, Problem> {
    may_wait(again.wait_ms)?;
    let states = again.states.unwrap_or(Resend::STATES.into());
    if let Some(open) = states.iter().find(|state| !state.is_final() || **state == DeliveryState::Applied) {
        let detail = format!("what is {} is not sent again: that would be twice", open.as_str());
        return Err(Problem::bad("bad_states", detail).hint("states are some of failed, expired, refused, cancelled, replaced"));
    }
    let words = states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
    let resend = Resend { states, sender: caller.name.to_string(), ttl_s: again.ttl_s, idempotency_key: again.idempotency_key };
    let push = match api.push.resend(PushId(id), resend).await {
        Ok(push) => push.ok_or_else(Problem::no_such_push)?,
        Err(SubmitError::Nobody) => {
            let detail = format!("no delivery of push {id} is in one of the states: {words}; nothing was pushed");
            return Err(Problem::new(StatusCode::CONFLICT, "nothing_to_resend", detail)
                .hint("GET /api/v1/pushes/{id} counts the states; name others in `states`"));
        }
        Err(error) => return Err(error.into()),
    };
    if again.wait_ms > 0 {
        api.push.wait_all(push, Duration::from_millis(again.wait_ms)).await?;
    }
    whole(&api, push, true).await
}

/// What was pushed to a device and what became of it, newest first.
pub(crate) async fn of_device(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<String>,
    input::Query(page): input::Query<Page>,
) -> Result<Json<List<OfDevice>>, Problem> {
    let before = input::cursor(page.cursor.as_deref())?.map(PushId);
    let device = super::devices::device(&api, &id)?.device.number;
    let page = api.push.deliveries_of(device, before, input::rows(page.limit)?).await?;
    Ok(Json(List { items: page.items.iter().map(OfDevice::from).collect(), next: page.next }))
}

/// Takes back what is not yet acknowledged. The push itself stays, for the record.
pub(crate) async fn cancel(
    State(api): State<Api>,
    _: Operator,
    input::Path(id): input::Path<u64>,
) -> Result<StatusCode, Problem> {
    api.push.get(PushId(id)).await?.ok_or_else(Problem::no_such_push)?;
    api.push.cancel(PushId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
