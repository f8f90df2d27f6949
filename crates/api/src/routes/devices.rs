//! Devices and their secrets.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::{Caller, DeviceEdit, DeviceFilter, DeviceView, FleetError, NewDevice, NewSecret};
use model::{AppId, MetaEdit, Query, TokenScope, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth::{self, Operator, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::{Device, List};
use crate::{Api, audience, input};

/// The device of a path.
pub(crate) fn device(api: &Api, id: &str) -> Result<DeviceView, Problem> {
    Ok(api.fleet.device(id).ok_or_else(|| FleetError::NoSuchDevice(id.to_owned()))?)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[schemars(with = "Option<u32>")]
    app: Option<AppId>,
    online: Option<bool>,
    /// A part of id, name or alias.
    q: Option<String>,
    /// A query, such as `app = 7 and tags has "kitchen"`.
    #[serde(rename = "where", alias = "query")]
    query: Option<String>,
    /// The name of a group.
    group: Option<String>,
    /// Rows of a page, 1 to 1000; 100 unless told.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Which devices a list or an export is to have.
pub(crate) async fn filter(api: &Api, caller: &Caller, wanted: &Wanted) -> Result<DeviceFilter, Problem> {
    let within = auth::reach(api, caller).await?;
    let query = wanted.query.as_deref().filter(|query| !query.trim().is_empty());
    let asked = match (query, wanted.group.as_deref().map(audience::of_group)) {
        (Some(query), None) => Some(audience::asked(api, query).await?),
        (Some(query), Some(group)) => {
            // Read alone first, so that the place of a mistake is that in what was written.
            let query = Query::parse(query)?;
            Some(audience::asked(api, &format!("({query}) and {group}")).await?)
        }
        (None, Some(group)) => Some(audience::asked(api, &group).await?),
        (None, None) => None,
    };
    let q = wanted.q.clone().filter(|q| !q.is_empty());
    Ok(DeviceFilter { app: wanted.app, online: wanted.online, q, asked, within })
}

pub(crate) async fn list(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    input::Query(wanted): input::Query<Wanted>,
) -> Result<Json<List<Device>>, Problem> {
    let rows = input::rows(wanted.limit)?;
    let filter = filter(&api, &caller, &wanted).await?;
    let is_search = filter.asked.is_some() || filter.within.is_some();
    let page = if is_search {
        api.fleet.devices_apart(filter, wanted.cursor, rows).await?
    } else {
        api.fleet.devices(&filter, wanted.cursor.as_deref(), rows)?
    };
    Ok(Json(List { items: page.items.into_iter().map(Device::from).collect(), next: page.next }))
}

pub(crate) async fn show(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<String>,
) -> Result<Json<Device>, Problem> {
    Ok(Json(device(&api, &id)?.into()))
}

/// A device to be registered.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewDevice")]
pub(crate) struct New {
    #[schemars(with = "u32")]
    app: AppId,
    id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    alias: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    #[schemars(with = "shape::Meta")]
    meta: Map<String, Value>,
    #[serde(default)]
    open: bool,
    secret: Option<String>,
}

/// Reads what is to be written down; `null` strikes out.
fn read_meta(written: Map<String, Value>) -> Result<MetaEdit, FleetError> {
    let read = |(name, value): (String, Value)| match value {
        Value::Null => Ok((name, None)),
        // One beyond what a number can be is a text nowhere else either.
        Value::Bool(_) | Value::Number(_) | Value::String(_) => match serde_json::from_value(value) {
            Ok(value) => Ok((name, Some(value))),
            Err(_) => Err(FleetError::BadMeta(format!("meta.{name} is a number that is too large"))),
        },
        Value::Array(_) | Value::Object(_) => {
            Err(FleetError::BadMeta(format!("meta.{name} is a text, a number, true or false; lists and objects are not taken")))
        }
    };
    written.into_iter().map(read).collect()
}

pub(crate) async fn create(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Json(New { app, id, name, alias, tags, meta, open, secret }): input::Json<New>,
) -> Result<(StatusCode, Json<Device>), Problem> {
    if open {
        may_open(&api, &caller, None).await?;
    }
    let meta = read_meta(meta)?.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let (view, secret) = api.fleet.create_device(NewDevice { app, id, name, alias, tags, meta, open, secret }).await?;
    Ok((StatusCode::CREATED, Json(Device::with_secret(view, secret))))
}

/// What to change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EditDevice")]
pub(crate) struct Edit {
    name: Option<String>,
    alias: Option<String>,
    tags: Option<Vec<String>>,
    #[serde(default)]
    #[schemars(with = "shape::MetaEdit")]
    meta: Map<String, Value>,
    open: Option<bool>,
    blocked: Option<bool>,
}

/// An open device takes pushes from everybody: who opens one pushes by others.
async fn may_open(api: &Api, caller: &Caller, device: Option<&str>) -> Result<(), Problem> {
    auth::within(api, caller, Some(TokenScope::Push), device).await
}

pub(crate) async fn edit(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Path(id): input::Path<String>,
    input::Json(Edit { name, alias, tags, meta, open, blocked }): input::Json<Edit>,
) -> Result<Json<Device>, Problem> {
    if open == Some(true) {
        may_open(&api, &caller, Some(&id)).await?;
    }
    let edit = DeviceEdit { name, alias, tags, meta: read_meta(meta)?, open, blocked };
    Ok(Json(api.fleet.edit_device(&id, edit).await?.into()))
}

pub(crate) async fn remove(
    State(api): State<Api>,
    _: Operator,
    input::Path(id): input::Path<String>,
) -> Result<StatusCode, Problem> {
    let device = device(&api, &id)?.device;
    // The fleet will not know the name any more when the news arrives.
    api.feed.leaving(device.number, device.id);
    let removed = api.fleet.delete_device(&id).await;
    if removed.is_err() {
        api.feed.staying(device.number);
    }
    removed?;
    Ok(StatusCode::NO_CONTENT)
}

/// A device's new secret.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Secret {
    secret: String,
    /// Until when the one before works too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Time>")]
    old_until: Option<UnixMs>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSecret")]
pub(crate) struct Rotation {
    /// How long the old one works beside the new one.
    #[serde(default)]
    overlap_s: u64,
}

pub(crate) async fn new_secret(
    State(api): State<Api>,
    _: Operator,
    input::Path(id): input::Path<String>,
    input::Json(Rotation { overlap_s }): input::Json<Rotation>,
) -> Result<Json<Secret>, Problem> {
    let NewSecret { secret, old_until } = api.fleet.rotate_secret(&id, overlap_s).await?;
    Ok(Json(Secret { secret, old_until }))
}
