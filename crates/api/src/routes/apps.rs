//! Apps: device types.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::{AppEdit, FleetError, NewApp};
use model::app::ProtocolSettings;
use model::{AppId, AppKey, Peers, TokenScope};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::{Operator, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::{App, List};
use crate::{Api, input};

pub(crate) async fn list(State(api): State<Api>, Viewer(caller): Viewer) -> Json<List<App>> {
    Json(List::whole(api.fleet.apps().into_iter().map(|app| App::of(app, caller.role_within(TokenScope::DevicesWrite)))))
}

pub(crate) async fn show(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    input::Path(id): input::Path<AppId>,
) -> Result<Json<App>, Problem> {
    let app = api.fleet.app(id).ok_or(FleetError::NoSuchApp(id))?;
    Ok(Json(App::of(app, caller.role_within(TokenScope::DevicesWrite))))
}

/// An app to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewApp")]
pub(crate) struct New {
    name: String,
    #[serde(default)]
    open: bool,
    #[serde(default)]
    single: bool,
    /// Whom its devices may write to of themselves; `app` unless said.
    #[serde(default)]
    #[schemars(with = "Option<shape::Peers>")]
    peers: Peers,
    #[serde(default)]
    settings: ProtocolSettings,
    /// For devices whose firmware has a number and a key already.
    #[schemars(with = "Option<u32>")]
    id: Option<AppId>,
    key: Option<String>,
}

pub(crate) async fn create(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Json(New { name, open, single, peers, settings, id, key }): input::Json<New>,
) -> Result<(StatusCode, Json<App>), Problem> {
    let bad_key = || Problem::bad("bad_field", "key: an app's key is 32 hex digits");
    let key = key.map(|key| AppKey::parse(&key).ok_or_else(bad_key)).transpose()?;
    let app = api.fleet.create_app(NewApp { name, open, single, peers, settings, id, key }).await?;
    Ok((StatusCode::CREATED, Json(App::of(app, caller.role_within(TokenScope::DevicesWrite)))))
}

/// What to change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EditApp")]
pub(crate) struct Edit {
    name: Option<String>,
    open: Option<bool>,
    single: Option<bool>,
    #[schemars(with = "Option<shape::Peers>")]
    peers: Option<Peers>,
    settings: Option<ProtocolSettings>,
}

pub(crate) async fn edit(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Path(id): input::Path<AppId>,
    input::Json(Edit { name, open, single, peers, settings }): input::Json<Edit>,
) -> Result<Json<App>, Problem> {
    let app = api.fleet.edit_app(id, AppEdit { name, open, single, peers, settings }).await?;
    Ok(Json(App::of(app, caller.role_within(TokenScope::DevicesWrite))))
}

pub(crate) async fn remove(
    State(api): State<Api>,
    _: Operator,
    input::Path(id): input::Path<AppId>,
) -> Result<StatusCode, Problem> {
    api.fleet.delete_app(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
