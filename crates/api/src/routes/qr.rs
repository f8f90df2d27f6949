//! QR codes of apps and devices. A link to a page of the console is safe for everybody to see; what a device of an
//! app needs to log in has the app's key in it, and is for owners. A device's secret is in no answer of these: it was
//! shown once.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet::FleetError;
use model::{AppId, Role, TokenScope};
use schemars::JsonSchema;
use serde::Deserialize;

use super::devices::device;
use crate::auth::{self, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::qr::{Place, Qr, host_of, provisioning};
use crate::{Api, input};

/// How a code is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Png,
    Svg,
    /// For a terminal.
    Text,
}

/// What a code says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    /// The address of a page of the console.
    #[default]
    Link,
    /// What a device needs to log in.
    Provisioning,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfDevice {
    /// `png`, `svg`, or `text` for a terminal; unless given, what `Accept` asks for, else `png`.
    #[schemars(with = "Option<shape::QrFormat>")]
    format: Option<Format>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfApp {
    /// `png`, `svg`, or `text` for a terminal; unless given, what `Accept` asks for, else `png`.
    #[schemars(with = "Option<shape::QrFormat>")]
    format: Option<Format>,
    /// `link`, a page of the console, or `provisioning`, what a device needs to log in; that is for owners.
    #[serde(default)]
    #[schemars(with = "shape::QrContent")]
    content: Content,
}

pub(crate) async fn of_device(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<String>,
    input::Query(wanted): input::Query<OfDevice>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = device(&api, &id)?.device.id;
    drawn(&format!("{}/device/{id}", api.info.base(&headers)), wanted.format, &headers)
}

pub(crate) async fn of_app(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    input::Path(id): input::Path<AppId>,
    input::Query(wanted): input::Query<OfApp>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let app = api.fleet.app(id).ok_or(FleetError::NoSuchApp(id))?.app;
    let base = api.info.base(&headers);
    if matches!(wanted.content, Content::Provisioning) {
        // Who gets the key can register devices.
        auth::within(&api, &caller, Some(TokenScope::DevicesWrite), None).await?;
    }
    let text = match wanted.content {
        Content::Link => format!("{base}/settings#app-{id}"),
        Content::Provisioning if !caller.role.includes(Role::Owner) => {
            let detail = format!("a code with the app's key needs the role owner; the token has {}", caller.role.as_str());
            return Err(Problem::new(StatusCode::FORBIDDEN, "role_too_low", detail));
        }
        Content::Provisioning => {
            let authority = base.split_once("://").map_or(base.as_str(), |(_, rest)| rest);
            let place = Place { host: host_of(authority.split('/').next().unwrap_or(authority)), listeners: &api.info.listeners };
            provisioning(&place, &[("app", &id.to_string()), ("key", app.key.reveal())])
        }
    };
    drawn(&text, wanted.format, &headers)
}

fn drawn(text: &str, format: Option<Format>, headers: &HeaderMap) -> Result<Response, Problem> {
    // Only the caller's own `Host` could be so long.
    let qr = Qr::of(text).ok_or_else(|| Problem::bad("bad_query", "the address of this server is too long for a QR code"))?;
    let kind = |kind: &'static str| [(header::CONTENT_TYPE, kind)];
    Ok(match format.unwrap_or_else(|| accepted(headers)) {
        Format::Png => (kind("image/png"), qr.png()).into_response(),
        Format::Svg => (kind("image/svg+xml"), qr.svg()).into_response(),
        Format::Text => (kind("text/plain; charset=utf-8"), qr.text()).into_response(),
    })
}

/// The first of ours that `Accept` names.
fn accepted(headers: &HeaderMap) -> Format {
    let kinds = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut known = kinds.filter_map(|kind| match kind.split(';').next()?.trim() {
        "image/png" => Some(Format::Png),
        "image/svg+xml" => Some(Format::Svg),
        "text/plain" => Some(Format::Text),
        _ => None,
    });
    known.next().unwrap_or(Format::Png)
}
