//! Tokens for programs, and sign-in links for browsers. Owners only.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fleet::Grant;
use model::{Role, TokenScope, TokenScopes, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::Owner;
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::{List, Token};
use crate::{Api, audience, input};

pub(crate) async fn list(State(api): State<Api>, _: Owner) -> Json<List<Token>> {
    Json(List::whole(api.fleet.tokens().into_iter().map(Token::from)))
}

/// A token to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewToken")]
pub(crate) struct New {
    name: String,
    #[schemars(with = "shape::Role")]
    role: Role,
    #[schemars(with = "Option<shape::AnyTime>")]
    expires: Option<UnixMs>,
    /// What it may do within its role; left out: all.
    #[serde(default)]
    #[schemars(with = "Vec<shape::Scope>")]
    scopes: Vec<String>,
    /// Only at devices that this query fits.
    #[serde(default)]
    r#where: String,
}

pub(crate) async fn create(
    State(api): State<Api>,
    _: Owner,
    input::Json(new): input::Json<New>,
) -> Result<(StatusCode, Json<Token>), Problem> {
    let scopes = TokenScopes::of_words(new.scopes.iter().map(String::as_str)).map_err(|word| {
        let all = TokenScope::ALL.map(TokenScope::as_str).join(", ");
        Problem::bad("bad_scope", format!("{word:?} is no scope; there are {all}"))
    })?;
    if !new.r#where.is_empty() {
        audience::asked(&api, &new.r#where).await?;
    }
    let grant = Grant { scopes, query: new.r#where };
    let made = api.fleet.create_token_for(&new.name, new.role, new.expires, grant).await?;
    Ok((StatusCode::CREATED, Json(Token::with_text(made))))
}

pub(crate) async fn remove(State(api): State<Api>, _: Owner, input::Path(id): input::Path<u64>) -> Result<StatusCode, Problem> {
    api.fleet.delete_token(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A link to be made; an owner's unless a role is given.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSignIn")]
pub(crate) struct NewSignin {
    #[schemars(with = "Option<shape::Role>")]
    role: Option<Role>,
}

/// A link that signs a browser in, once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SignInLink")]
pub(crate) struct Signin {
    url: String,
    code: String,
    #[schemars(with = "shape::Time")]
    expires: UnixMs,
}

pub(crate) async fn signin(
    State(api): State<Api>,
    _: Owner,
    headers: HeaderMap,
    input::Json(new): input::Json<NewSignin>,
) -> Result<Json<Signin>, Problem> {
    let base = api.info.base(&headers);
    let made = api.fleet.new_signin(new.role.unwrap_or(Role::Owner));
    Ok(Json(Signin { url: format!("{base}/signin#{}", made.code), code: made.code, expires: made.expires }))
}
