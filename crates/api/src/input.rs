//! What callers send: JSON bodies, query strings and paths, refused with the place and the name of what is
//! wrong. Any content type is taken for JSON, because `curl -d` names another one.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use model::{UnixMs, limits};
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::{Api, audit};

/// The body as it is, within the limits of size and time.
pub(crate) struct Body(pub Bytes);

impl FromRequest<Api> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Body, Problem> {
        let whole = tokio::time::timeout(Duration::from_secs(limits::HTTP_BODY_S_MAX), Bytes::from_request(request, api));
        let Ok(body) = whole.await else {
            let detail = format!("the body did not arrive within {} s", limits::HTTP_BODY_S_MAX);
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail));
        };
        body.map(Body).map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail = format!("a request's body has at most {} bytes, a sign-in's fewer", limits::HTTP_BODY_BYTES_MAX);
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
            } else {
                Problem::bad("bad_body", "the body did not arrive whole")
            }
        })
    }
}

/// A JSON body. An empty one is taken for `{}`.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Json<T>, Problem> {
        let Body(body) = Body::from_request(request, api).await?;
        audit::sent(&body);
        json(&body).map(Json)
    }
}

/// Reads JSON, strictly.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let mut input = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut input).map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() {
            let place = if field == "." { String::new() } else { format!("{field}: ") };
            Problem::bad("bad_field", format!("{place}{error}"))
        } else {
            Problem::bad("bad_json", format!("the body is not JSON: {error}"))
        }
    })?;
    input.end().map_err(|error| Problem::bad("bad_json", format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// The query string.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Query<T>, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, api).await;
        query.map(|query| Query(query.0)).map_err(|rejection| Problem::bad("bad_query", rejection.body_text()))
    }
}

/// The parts of the path.
pub(crate) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Path<T>, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, api).await;
        path.map(|path| Path(path.0)).map_err(|rejection| Problem::bad("bad_path", rejection.body_text()))
    }
}

/// The rows that a list may have.
pub(crate) fn rows(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(limits::PAGE_ROWS_DEFAULT) {
        rows @ 1..=limits::PAGE_ROWS_MAX => Ok(rows),
        _ => Err(Problem::bad("bad_limit", format!("limit is 1 to {}", limits::PAGE_ROWS_MAX))),
    }
}

/// A cursor that is a number.
pub(crate) fn cursor<T: std::str::FromStr>(cursor: Option<&str>) -> Result<Option<T>, Problem> {
    let bad = || Problem::bad("bad_cursor", "the cursor is not one that this list gave; start again without it");
    cursor.map(|cursor| cursor.parse().map_err(|_| bad())).transpose()
}

/// A time in a query string, where a bare `+` of an offset has become a blank.
pub(crate) fn time(name: &str, text: Option<&str>) -> Result<Option<UnixMs>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let found = UnixMs::parse(text).or_else(|| {
        let (time, offset) = text.rsplit_once(' ')?;
        UnixMs::parse(&format!("{time}+{offset}"))
    });
    let bad = || {
        Problem::bad("bad_time", format!("{name}: a time is RFC 3339, such as 2026-11-20T09:48:48Z, or milliseconds since 1970"))
    };
    found.map(Some).ok_or_else(bad)
}
