//! Messages to a number, whoever has it: a device, a page, a program. They are of the moment: what nobody
//! takes is not kept, and the sender is told so.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use contract::{Gate, Reached, Refusal};
use model::{Address, DeviceNumber, Message, Qos, Topic, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::push;
use crate::auth::Operator;
use crate::openapi::shape;
use crate::parties::{Incoming, number_of};
use crate::problem::Problem;
use crate::{Api, input};

/// A message: to whom, and one payload.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewMessage")]
pub(crate) struct New {
    to: To,
    /// The payload as text. Exactly one of `text`, `hex`, `base64`, `json`.
    text: Option<String>,
    /// The payload as hex digits.
    hex: Option<String>,
    /// The payload in Base64.
    base64: Option<String>,
    /// The payload as JSON. The other side gets these very bytes.
    #[schemars(with = "Option<shape::Any>")]
    json: Option<Box<RawValue>>,
}

/// A number, or the id of a device.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a number, or the id of a device")]
#[schemars(inline)]
pub(crate) enum To {
    Number(u32),
    Device(String),
}

/// What became of a message. Never that somebody has read it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SentMessage")]
pub(crate) struct Sent {
    /// The sender's number: answers go there.
    from: u32,
    /// The number that it went to.
    to: u32,
    state: Standing,
}

/// How far it came.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Standing {
    /// Given to a line that is open.
    Sent,
    /// On disk for a device that is away and whose MQTT session is kept.
    Kept,
}

pub(crate) async fn send(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Json(new): input::Json<New>,
) -> Result<Json<Sent>, Problem> {
    let from = number_of(&caller).ok_or_else(no_number)?;
    write(&api, from, new).await.map(Json)
}

/// A token whose number is beyond all that there are.
pub(crate) fn no_number() -> Problem {
    Problem::new(StatusCode::CONFLICT, "limit_reached", "the token's number is too high for an address; make a new store")
}

/// Sends a message in the name of `from`.
pub(crate) async fn write(api: &Api, from: Address, new: New) -> Result<Sent, Problem> {
    let New { to, text, hex, base64, json } = new;
    let Some(payload) = push::one_payload(text.as_ref(), hex.as_ref(), base64.as_ref(), json.as_deref())? else {
        return Err(Problem::bad("payload_missing", "there is nothing to send; send one of text, hex, base64, json"));
    };
    if payload.len() > limits::ADDRESSED_BYTES_MAX {
        let detail = format!("a message to a number has at most {} bytes", limits::ADDRESSED_BYTES_MAX);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail).hint("push it instead"));
    }
    let to = match to {
        To::Device(id) => super::devices::device(api, &id)?.device.number.into(),
        To::Number(number) => Address(number),
    };
    let reached = match to.device() {
        Some(device) => to_device(api, from, device, payload).await?,
        None => {
            api.parties.give(Incoming { from, device: None, to, payload, at: api.parties.now() }).map_err(refused)?;
            Reached::Sent
        }
    };
    let state = match reached {
        Reached::Sent => Standing::Sent,
        Reached::Kept => Standing::Kept,
    };
    Ok(Sent { from: from.0, to: to.0, state })
}

async fn to_device(api: &Api, from: Address, device: DeviceNumber, payload: Bytes) -> Result<Reached, Problem> {
    let Some(addressee) = api.fleet.addressee(device) else {
        return Err(match api.fleet.id_of(device) {
            Some(id) => unreachable(format!("the device {id} is blocked; `espush device unblock` lets it in again")),
            None => Problem::new(StatusCode::NOT_FOUND, "no_such_device", format!("there is no device with the number {device}")),
        });
    };
    let topic = Topic::of_device(addressee.id.as_str(), &format!("from/{from}"));
    let message = Message { qos: Qos::AtLeastOnce, ..Message::new(topic, payload, api.parties.now()) };
    match api.parties.send(from, device, message).await {
        Some(result) => result.map_err(refused),
        None => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_outcome",
            "the server did not find out in time what became of the message",
        )),
    }
}

fn unreachable(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "unreachable", detail)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unreachable => unreachable(refusal.to_string())
            .hint("a device subscribes to me/from/+; `POST /api/v1/push` waits for one that is away"),
        Refusal::Full | Refusal::Quota => Problem::new(
            StatusCode::CONFLICT,
            "not_taken",
            "as much as may waits there already, or the store has no room to keep it",
        ),
        other => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_outcome", other.to_string()),
    }
}
