//! Points: the newest of each stream, ranges of them as JSON or CSV, and uploads over HTTP by operators
//! and by devices themselves.

use std::collections::VecDeque;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use contract::store::PointQuery;
use futures_util::stream;
use model::{DeviceNumber, Point, Role, TokenScope, UnixMs, Value, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::{Reading, upload};

use super::devices::device;
use crate::auth::{self, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::{self, List};
use crate::{Api, input};

pub(crate) async fn latest(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<String>,
) -> Result<Json<List<shown::Reading>>, Problem> {
    let latest = api.telemetry.latest(device(&api, &id)?.device.number).await?;
    Ok(Json(List::whole(latest.into_iter().map(shown::Reading::from))))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    stream: Option<String>,
    #[schemars(with = "Option<shape::AnyTime>")]
    from: Option<String>,
    #[schemars(with = "Option<shape::AnyTime>")]
    to: Option<String>,
    /// Rows of a page, 1 to 1000; 100 unless told.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

pub(crate) async fn list(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<String>,
    input::Query(wanted): input::Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let csv =
        headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/csv"));
    let view = device(&api, &id)?;
    let query = PointQuery {
        device: view.device.number,
        stream: wanted.stream.filter(|stream| !stream.is_empty()),
        from: input::time("from", wanted.from.as_deref())?,
        to: input::time("to", wanted.to.as_deref())?,
        limit: input::rows(wanted.limit)?,
        cursor: wanted.cursor,
    };
    if csv {
        return export(api, view.device.id.as_str(), query, wanted.limit.is_some()).await;
    }
    let page = api.telemetry.points(query).await?;
    Ok(Json(List { items: page.items.iter().map(shown::Reading::from).collect(), next: page.next }).into_response())
}

/// All points of the range as CSV (RFC 4180), read page by page while they are sent. With a limit, one page.
async fn export(api: Api, id: &str, mut query: PointQuery, one_page: bool) -> Result<Response, Problem> {
    if !one_page {
        query.limit = limits::PAGE_ROWS_MAX;
    }
    // The first page is read before the answer begins, so that a store in trouble is an error and no short file.
    let first = api.telemetry.points(query.clone()).await?;
    let ready = VecDeque::from([Bytes::from_static(b"at,stream,value\r\n"), rows(&first.items)]);
    query.cursor = first.next.filter(|_| !one_page);
    let body = stream::unfold((api, query, ready), async |(api, mut query, mut ready)| {
        if let Some(chunk) = ready.pop_front() {
            return Some((Ok(chunk), (api, query, ready)));
        }
        query.cursor.as_ref()?;
        let chunk = match api.telemetry.points(query.clone()).await {
            Ok(page) => {
                query.cursor = page.next;
                Ok(rows(&page.items))
            }
            // The connection breaks off: a file that is not whole must not look whole.
            Err(error) => {
                query.cursor = None;
                Err(error)
            }
        };
        Some((chunk, (api, query, ready)))
    });
    let name = format!("attachment; filename=\"{id}.csv\"");
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn rows(points: &[Point]) -> Bytes {
    let mut out = String::new();
    for point in points {
        let value = match &point.value {
            Value::Text(text) => field(text),
            value => shown::value(value).to_string(),
        };
        out.push_str(&format!("{},{},{value}\r\n", point.at.rfc3339(), field(&point.stream)));
    }
    out.into()
}

/// A field, quoted where it must be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// How many points were stored.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Stored {
    stored: usize,
}

pub(crate) async fn upload(
    State(api): State<Api>,
    input::Path(id): input::Path<String>,
    request: Request,
) -> Result<Json<Stored>, Problem> {
    let number = uploader(&api, &id, request.method(), request.headers()).await?;
    let body = input::Body::from_request(request, &api).await?;
    let now = api.clock.unix();
    let readings = readings(&body.0, now)?;
    Ok(Json(Stored { stored: api.telemetry.ingest(number, now, readings).await? }))
}

/// The device itself with its secret, or an operator on its behalf.
async fn uploader(api: &Api, id: &str, method: &Method, headers: &HeaderMap) -> Result<DeviceNumber, Problem> {
    if let Some(secret) = auth::bearer(headers)?
        && let Some(number) = api.fleet.check_secret(id, secret)
    {
        return Ok(number);
    }
    let caller = auth::caller(headers, method, api, Role::Operator)?;
    auth::within(api, &caller, Some(TokenScope::DataWrite), Some(id)).await?;
    Ok(device(api, id)?.device.number)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    stream: String,
    value: Value,
    at: Option<Time>,
}

/// A time as text or as milliseconds.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a time is RFC 3339, such as 2026-11-20T09:48:48Z, or milliseconds since 1970")]
enum Time {
    Ms(i64),
    Text(UnixMs),
}

/// Rows of `{stream, value, at?}`, or what a device would publish on `me/data`.
fn readings(body: &[u8], now: UnixMs) -> Result<Vec<Reading>, Problem> {
    let value: serde_json::Value = input::json(body)?;
    let is_row = |item: &serde_json::Value| item.get("stream").is_some() && item.get("value").is_some();
    if value.as_array().is_some_and(|items| items.iter().any(is_row)) {
        let rows: Vec<Row> = input::json(body)?;
        let bind = |Row { stream, value, at }| {
            let at = match at {
                Some(Time::Ms(ms)) => UnixMs(ms),
                Some(Time::Text(at)) => at,
                None => now,
            };
            Reading { stream, at, value }
        };
        return Ok(rows.into_iter().map(bind).collect());
    }
    upload::read_json(body, now).map_err(|refusal| telemetry::IngestError::Refused(refusal).into())
}
