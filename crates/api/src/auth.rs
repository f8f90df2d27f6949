//! Who calls, and whether that suffices. A program shows `Authorization: Bearer TOKEN`; a browser has the
//! same kind of token in a cookie that its scripts cannot read. A cookie is sent by any page that makes
//! the browser ask, so writes with it also need the header `X-Espush: 1`, which a foreign page cannot add.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use fleet::Caller;
use model::{Role, limits};

use crate::Api;
use crate::problem::Problem;

/// The browser's cookie.
const COOKIE: &str = "espush_session";

/// One who may read.
pub(crate) struct Viewer(pub Caller);
/// One who may push, and change devices and apps.
pub(crate) struct Operator(pub Caller);
/// One who may do everything.
pub(crate) struct Owner;

impl FromRequestParts<Api> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Viewer, Problem> {
        caller(&parts.headers, &parts.method, api, Role::Viewer).map(Viewer)
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Operator, Problem> {
        caller(&parts.headers, &parts.method, api, Role::Operator).map(Operator)
    }
}

impl FromRequestParts<Api> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Owner, Problem> {
        caller(&parts.headers, &parts.method, api, Role::Owner).map(|_| Owner)
    }
}

/// Who calls, if that is one with `role` at least.
pub(crate) fn caller(headers: &HeaderMap, method: &Method, api: &Api, role: Role) -> Result<Caller, Problem> {
    let token = match (bearer(headers)?, cookie(headers)) {
        (Some(token), _) => token,
        (None, Some(token)) => {
            if !method.is_safe() && !is_ours(headers) {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "header_missing",
                    "a browser's session needs the header X-Espush: 1 to change something",
                ));
            }
            token
        }
        (None, None) => {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "no_token", "nobody is signed in")
                .hint("send Authorization: Bearer TOKEN; `espush token add` makes one"));
        }
    };
    holder(api, token, role)
}

/// Who has this token, if that is one with `role` at least.
pub(crate) fn holder(api: &Api, token: &str, role: Role) -> Result<Caller, Problem> {
    let caller = api.fleet.check_token(token).ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "bad_token",
            "the token is unknown or has expired; sign in again or make a new one",
        )
    })?;
    if !caller.role.includes(role) {
        let detail = format!("this needs the role {}; the token has {}", role.as_str(), caller.role.as_str());
        return Err(Problem::new(StatusCode::FORBIDDEN, "role_too_low", detail));
    }
    Ok(caller)
}

/// The token that a caller shows, either way.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    Ok(bearer(headers)?.or_else(|| cookie(headers)))
}

/// What stands behind `Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token.map(Some).ok_or_else(|| {
        Problem::new(StatusCode::UNAUTHORIZED, "bad_authorization", "the Authorization header is not of the form Bearer TOKEN")
    })
}

/// The browser's token.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token)
}

/// Whether the request carries our own header.
pub(crate) fn is_ours(headers: &HeaderMap) -> bool {
    headers.get("x-espush").is_some_and(|value| value == "1")
}

/// Whether a browser says that a foreign page asks.
pub(crate) fn is_foreign_page(headers: &HeaderMap) -> bool {
    !is_ours(headers) && headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// The `Set-Cookie` value that signs a browser in.
pub(crate) fn set_cookie(token: &str, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", limits::BROWSER_SESSION_S)
}

/// The `Set-Cookie` value that signs a browser out.
pub(crate) fn clear_cookie() -> String {
    format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
}
