//! Groups: queries under a name.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::{FleetError, GroupView};
use model::{Query, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::{Operator, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::List;
use crate::{Api, in_use, input};

/// A query under a name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Group {
    name: String,
    r#where: String,
    #[schemars(with = "shape::Time")]
    created: UnixMs,
    /// The groups that name it.
    users: Vec<String>,
}

impl From<GroupView> for Group {
    fn from(GroupView { name, query, created, users }: GroupView) -> Group {
        Group { name, r#where: query, created, users }
    }
}

pub(crate) async fn list(State(api): State<Api>, _: Viewer) -> Json<List<Group>> {
    Json(List::whole(api.fleet.groups().into_iter().map(Group::from)))
}

pub(crate) async fn show(
    State(api): State<Api>,
    _: Viewer,
    input::Path(name): input::Path<String>,
) -> Result<Json<Group>, Problem> {
    Ok(Json(api.fleet.group(&name).ok_or(FleetError::NoSuchGroup(name))?.into()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewGroup")]
pub(crate) struct New {
    name: String,
    #[serde(rename = "where", alias = "query")]
    query: String,
}

pub(crate) async fn create(
    State(api): State<Api>,
    _: Operator,
    input::Json(New { name, query }): input::Json<New>,
) -> Result<(StatusCode, Json<Group>), Problem> {
    let (text, query) = read(query)?;
    Ok((StatusCode::CREATED, Json(api.fleet.create_group(name, text, query).await?.into())))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GroupEdit")]
pub(crate) struct Edit {
    name: Option<String>,
    #[serde(rename = "where", alias = "query")]
    query: Option<String>,
}

pub(crate) async fn edit(
    State(api): State<Api>,
    _: Operator,
    input::Path(name): input::Path<String>,
    input::Json(Edit { name: new_name, query }): input::Json<Edit>,
) -> Result<Json<Group>, Problem> {
    let query = query.map(read).transpose()?;
    let _turn = in_use::TURN.lock().await;
    if new_name.as_ref().is_some_and(|new_name| *new_name != name) {
        in_use::unscheduled(&api, &name)?;
    }
    Ok(Json(api.fleet.edit_group(&name, new_name, query).await?.into()))
}

pub(crate) async fn remove(
    State(api): State<Api>,
    _: Operator,
    input::Path(name): input::Path<String>,
) -> Result<StatusCode, Problem> {
    let _turn = in_use::TURN.lock().await;
    in_use::unscheduled(&api, &name)?;
    api.fleet.delete_group(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(text: String) -> Result<(String, Query), Problem> {
    let query = Query::parse(&text)?;
    Ok((text, query))
}
