//! Broker accounts and their rules. Owners only: a rule decides what others may do.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::{AccountEdit, FleetError, NewAccount, Password};
use model::Rules;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::Owner;
use crate::problem::Problem;
use crate::shown::{Account, List};
use crate::{Api, input};

pub(crate) async fn list(State(api): State<Api>, _: Owner) -> Json<List<Account>> {
    Json(List::whole(api.fleet.accounts().into_iter().map(Account::from)))
}

pub(crate) async fn show(State(api): State<Api>, _: Owner, input::Path(id): input::Path<u64>) -> Result<Json<Account>, Problem> {
    Ok(Json(api.fleet.account(id).ok_or(FleetError::NoSuchAccount(id))?.into()))
}

/// An account to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewAccount")]
pub(crate) struct New {
    name: String,
    password: Option<String>,
    /// In place of a password: its hash, from another broker's file.
    password_hash: Option<String>,
    #[serde(default)]
    rules: Vec<String>,
}

pub(crate) async fn create(
    State(api): State<Api>,
    _: Owner,
    input::Json(New { name, password, password_hash, rules }): input::Json<New>,
) -> Result<(StatusCode, Json<Account>), Problem> {
    let password = choice(password, password_hash)?.unwrap_or_default();
    let (view, made) = api.fleet.create_account(NewAccount { name, password, rules: read(&rules)? }).await?;
    Ok((StatusCode::CREATED, Json(Account::with_password(view, made))))
}

/// What to change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EditAccount")]
pub(crate) struct Edit {
    password: Option<String>,
    password_hash: Option<String>,
    rules: Option<Vec<String>>,
}

pub(crate) async fn edit(
    State(api): State<Api>,
    _: Owner,
    input::Path(id): input::Path<u64>,
    input::Json(Edit { password, password_hash, rules }): input::Json<Edit>,
) -> Result<Json<Account>, Problem> {
    let edit = AccountEdit { password: choice(password, password_hash)?, rules: rules.as_deref().map(read).transpose()? };
    let (view, made) = api.fleet.edit_account(id, edit).await?;
    Ok(Json(Account::with_password(view, made)))
}

pub(crate) async fn new_password(
    State(api): State<Api>,
    _: Owner,
    input::Path(id): input::Path<u64>,
) -> Result<Json<Account>, Problem> {
    let edit = AccountEdit { password: Some(Password::Made), rules: None };
    let (view, made) = api.fleet.edit_account(id, edit).await?;
    Ok(Json(Account::with_password(view, made)))
}

pub(crate) async fn remove(State(api): State<Api>, _: Owner, input::Path(id): input::Path<u64>) -> Result<StatusCode, Problem> {
    api.fleet.delete_account(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn choice(password: Option<String>, hash: Option<String>) -> Result<Option<Password>, Problem> {
    match (password, hash) {
        (Some(_), Some(_)) => Err(Problem::bad("bad_field", "give password or password_hash, not both")),
        (Some(password), None) => Ok(Some(Password::Chosen(password))),
        (None, Some(hash)) => Ok(Some(Password::Hashed(hash))),
        (None, None) => Ok(None),
    }
}

fn read(lines: &[String]) -> Result<Rules, Problem> {
    Rules::parse(lines.iter().map(String::as_str)).map_err(|error| {
        Problem::bad("bad_rule", format!("rules: {error}"))
            .hint("a rule reads: allow publish sensors/%u/#; %u is the account's name, %c the client id")
    })
}
