//! Signing a browser in and out, and who one is. The code of a sign-in link (or a token that somebody
//! already has) becomes a cookie that the page's scripts cannot read.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{Role, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::{self, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::{Api, input};

/// Who one is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Session {
    name: String,
    #[schemars(with = "shape::Role")]
    role: Role,
    version: String,
    #[schemars(with = "shape::Time")]
    time: UnixMs,
}

fn session(api: &Api, name: &str, role: Role) -> Json<Session> {
    Json(Session { name: name.to_owned(), role, version: api.info.version.clone(), time: api.clock.unix() })
}

pub(crate) async fn show(State(api): State<Api>, Viewer(caller): Viewer) -> Json<Session> {
    session(&api, &caller.name, caller.role)
}

/// One of the two.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// From a sign-in link.
    code: Option<String>,
    /// A token that one already has.
    token: Option<String>,
}

pub(crate) async fn sign_in(State(api): State<Api>, headers: HeaderMap, body: input::Json<SignIn>) -> Result<Response, Problem> {
    // Else a foreign page could sign a visitor in as somebody else.
    if auth::is_foreign_page(&headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "header_missing", "signing in from a page needs the header X-Espush: 1"));
    }
    let (name, role, token) = match body.0 {
        SignIn { code: Some(code), token: None } => {
            let new = api.fleet.redeem(&code).await?.ok_or_else(|| {
                Problem::new(StatusCode::UNAUTHORIZED, "bad_code", "the sign-in code is unknown, used or too old")
                    .hint("make a new link with `espush token signin`, or restart the server and take the one it prints")
            })?;
            (new.view.name, new.view.role, new.token)
        }
        SignIn { code: None, token: Some(token) } => {
            let caller = api
                .fleet
                .check_token(&token)
                .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "bad_token", "the token is unknown or has expired"))?;
            (caller.name.to_string(), caller.role, token)
        }
        _ => return Err(Problem::bad("bad_field", "send either code or token")),
    };
    let secure = api.info.base_url.as_ref().is_some_and(|base| base.starts_with("https:"));
    Ok(([(header::SET_COOKIE, auth::set_cookie(&token, secure))], session(&api, &name, role)).into_response())
}

pub(crate) async fn sign_out(State(api): State<Api>, method: Method, headers: HeaderMap) -> Result<Response, Problem> {
    // One whose session has ended already is signed out, and wants the cookie gone.
    match auth::caller(&headers, &method, &api, Role::Viewer) {
        Ok(_) => {
            if let Some(token) = auth::token(&headers)? {
                api.fleet.sign_out(token).await?;
            }
        }
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {}
        Err(problem) => return Err(problem),
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, auth::clear_cookie())]).into_response())
}
