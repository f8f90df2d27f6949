//! Who calls, and whether that suffices. A program shows `Authorization: Bearer TOKEN`; a browser has the
//! same kind of token in a cookie that its scripts cannot read. A cookie is sent by any page that makes
//! the browser ask, so writes with it also need the header `X-Espush: 1`, which a foreign page cannot add.

use std::time::Duration;

use axum::RequestPartsExt;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use fleet::{Asked, Caller};
use model::{Role, TokenScope, limits};

use crate::problem::Problem;
use crate::{Api, audience, scopes};

/// How often a stream looks whether its token was removed, while nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Calls about many devices of which a token for some gets its own.
const CHOOSING: [&str; 3] = ["/api/v1/devices", "/api/v1/devices/export", "/api/v1/events"];

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
        admit(parts, api, Role::Viewer).await.map(Viewer)
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Operator, Problem> {
        admit(parts, api, Role::Operator).await.map(Operator)
    }
}

impl FromRequestParts<Api> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Owner, Problem> {
        admit(parts, api, Role::Owner).await.map(|_| Owner)
    }
}

/// Who calls, if that is one who may do what is asked for.
async fn admit(parts: &mut Parts, api: &Api, role: Role) -> Result<Caller, Problem> {
    let caller = caller(&parts.headers, &parts.method, api, role)?;
    if !caller.grant.is_whole() {
        let path = parts.extensions.get::<MatchedPath>().map_or(String::new(), |path| path.as_str().to_owned());
        let params = parts.extract::<RawPathParams>().await.ok();
        let device = params.as_ref().and_then(|params| params.iter().next()).map(|(_, device)| device);
        let device = device.filter(|_| path.starts_with("/api/v1/devices/{"));
        let scope = scopes::of(&parts.method, &path);
        match device {
            // These look at the token's query themselves, with `reach`.
            None if parts.method == Method::GET && CHOOSING.contains(&path.as_str()) => covers(&caller, scope)?,
            device => within(api, &caller, scope, device).await?,
        }
    }
    Ok(caller)
}

/// Whether a caller's token covers a call with this scope, about this device if about a single one.
pub(crate) async fn within(api: &Api, caller: &Caller, scope: Option<TokenScope>, device: Option<&str>) -> Result<(), Problem> {
    covers(caller, scope)?;
    if scope.is_none() {
        return Ok(());
    }
    let Some(reach) = reach(api, caller).await? else { return Ok(()) };
    let out_of_reach = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN, "device_out_of_reach", detail));
    let Some(device) = device else {
        let detail = "the token is for some devices: it may list them, follow their events, and call what is about single ones";
        return out_of_reach(detail.to_owned());
    };
    // Whether there is such a device is not for this token to learn.
    match api.fleet.fits(device, &reach) {
        Some(true) => Ok(()),
        _ => out_of_reach(format!("the token is for devices with: {}", caller.grant.query)),
    }
}

/// Whether a caller's token has a scope.
fn covers(caller: &Caller, scope: Option<TokenScope>) -> Result<(), Problem> {
    let scopes = caller.grant.scopes;
    match scope.filter(|scope| !scopes.allow(*scope)) {
        None => Ok(()),
        Some(scope) => {
            let detail = format!("this needs the scope {}; the token has {}", scope.as_str(), scopes.to_words());
            Err(Problem::new(StatusCode::FORBIDDEN, "scope_missing", detail))
        }
    }
}

/// The devices that a caller's token is for, if it is not for all.
pub(crate) async fn reach(api: &Api, caller: &Caller) -> Result<Option<Asked>, Problem> {
    match &*caller.grant.query {
        "" => Ok(None),
        query => audience::asked(api, query).await.map(Some),
    }
}

/// Comes back when a token has stopped working: a stream ends with the token that opened it.
pub(crate) async fn ended(api: &Api, token: &str) {
    while let Some(caller) = api.fleet.check_token(token) {
        let left = caller.expires.map_or(i64::MAX, |expires| expires.0 - api.clock.unix().0);
        let left = Duration::from_millis(left.max(0).unsigned_abs());
        // It may be removed, and the wall clock may be set meanwhile.
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
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
        let (code, detail) = match api.fleet.has_expired(token) {
            true => ("token_expired", "the token has expired; sign in again or make a new one"),
            false => ("bad_token", "the token is unknown or has expired; sign in again or make a new one"),
        };
        Problem::new(StatusCode::UNAUTHORIZED, code, detail)
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
