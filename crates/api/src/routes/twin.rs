//! The twin of a device: what is wanted of it, what it tells of itself, what differs, and how both came to be so.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::header;
use axum::http::request::Parts;
use contract::store::TwinChange;
use fleet::DeviceView;
use model::{TwinPart, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::{Edit, Object, Twin};

use super::devices::device;
use crate::auth::{Operator, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::List;
use crate::{Api, input};

/// One part of a twin.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TwinPart")]
pub(crate) struct Part {
    #[schemars(with = "shape::Object")]
    value: Object,
    /// How often it has changed.
    version: u64,
    /// When it did last.
    #[schemars(with = "Option<shape::Time>")]
    at: Option<UnixMs>,
}

impl From<twin::Part> for Part {
    fn from(twin::Part { value, version, at }: twin::Part) -> Part {
        Part { value, version, at }
    }
}

/// What is wanted of a device, what it tells of itself, and the merge patch that it is still to be told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Twin")]
pub(crate) struct Shown {
    desired: Part,
    reported: Part,
    #[schemars(with = "shape::Object")]
    delta: Object,
    /// The version of `desired` that the device has told to have dealt with.
    acknowledged: Option<u64>,
    /// Why the device cannot be told, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Shown {
    fn of(api: &Api, device: &DeviceView, twin: Twin) -> Shown {
        let (delta, acknowledged) = (twin.delta(), Some(twin.acknowledged).filter(|version| *version > 0));
        let protocol = device.presence.protocol.as_str();
        let untold = api.untold.contains(&protocol) && !delta.is_empty();
        let note = untold.then(|| {
            format!("the device speaks {protocol}, which has no way to tell it what is wanted; it is told when it comes by MQTT")
        });
        Shown { desired: twin.desired.into(), reported: twin.reported.into(), delta, acknowledged, note }
    }
}

pub(crate) async fn show(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<String>,
) -> Result<Json<Shown>, Problem> {
    let device = device(&api, &id)?;
    let twin = api.twins.twin(device.device.number).await?;
    Ok(Json(Shown::of(&api, &device, twin)))
}

/// Which version the caller has seen.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seen {
    /// The version of `desired` that is to be changed; another one refuses the change.
    version: Option<u64>,
}

/// A JSON object.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "TwinPatch")]
pub(crate) struct Body(#[schemars(with = "shape::Object")] Object);

pub(crate) async fn patch(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Path(id): input::Path<String>,
    Expected(expected): Expected,
    input::Json(Body(patch)): input::Json<Body>,
) -> Result<Json<Shown>, Problem> {
    want(&api, &id, Edit::Merge(patch), expected, &caller.name).await
}

pub(crate) async fn replace(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Path(id): input::Path<String>,
    Expected(expected): Expected,
    input::Json(Body(value)): input::Json<Body>,
) -> Result<Json<Shown>, Problem> {
    want(&api, &id, Edit::Replace(value), expected, &caller.name).await
}

async fn want(api: &Api, id: &str, edit: Edit, expected: Option<u64>, who: &str) -> Result<Json<Shown>, Problem> {
    let device = device(api, id)?;
    let twin = api.twins.want(device.device.number, edit, expected, who.to_owned()).await?;
    Ok(Json(Shown::of(api, &device, twin)))
}

/// The version that the caller names: in the address, or as `If-Match`.
pub(crate) struct Expected(Option<u64>);

impl FromRequestParts<Api> for Expected {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Expected, Problem> {
        let input::Query(Seen { version }) = input::Query::from_request_parts(parts, api).await?;
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Expected(version)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Expected(version));
        }
        let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match quoted.unwrap_or(text).parse() {
            Ok(named) if version.is_none_or(|other| other == named) => Ok(Expected(Some(named))),
            _ => {
                let detail = "If-Match is a version of `desired`, such as \"7\", and the same as `version`";
                Err(Problem::bad("bad_version", detail))
            }
        }
    }
}

/// A part's name.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Name {
    Desired,
    Reported,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only changes of this part.
    part: Option<Name>,
    /// Rows of a page, 1 to 1000; 100 unless told.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A change of a twin: the merge patch from the version before, and who made it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TwinChange")]
pub(crate) struct Change {
    #[schemars(with = "shape::TwinPartName")]
    part: &'static str,
    version: u64,
    #[schemars(with = "shape::Time")]
    at: UnixMs,
    who: String,
    #[schemars(with = "shape::Object")]
    patch: Object,
}

impl From<&TwinChange> for Change {
    fn from(TwinChange { part, version, at, who, patch, .. }: &TwinChange) -> Change {
        let patch = serde_json::from_str(patch).unwrap_or_default();
        Change { part: part.as_str(), version: *version, at: *at, who: who.clone(), patch }
    }
}

pub(crate) async fn history(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<String>,
    input::Query(wanted): input::Query<Wanted>,
) -> Result<Json<List<Change>>, Problem> {
    let number = device(&api, &id)?.device.number;
    let part = wanted.part.map(|part| match part {
        Name::Desired => TwinPart::Desired,
        Name::Reported => TwinPart::Reported,
    });
    let (before, rows) = (input::cursor(wanted.cursor.as_deref())?, input::rows(wanted.limit)?);
    let page = api.twins.changes(number, part, before, rows).await?;
    Ok(Json(List { items: page.items.iter().map(Change::from).collect(), next: page.next }))
}
