//! Devices as CSV, read page by page while they are sent.

use std::collections::VecDeque;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fleet::{DeviceFilter, DeviceView};
use futures_util::stream;
use model::limits;

use super::devices::Wanted;
use crate::auth::Viewer;
use crate::problem::Problem;
use crate::{Api, csv, input};

/// The columns: first what an import takes, then what it passes over, then what owners wrote down.
const HEAD: &str = "id,app,name,alias,tags,open,number,firmware,blocked,created,online,since,protocol,remote";

/// What is still to be sent.
struct Source {
    api: Api,
    filter: DeviceFilter,
    /// The names of what owners wrote down.
    own: Vec<String>,
    ready: VecDeque<Bytes>,
    next: Option<String>,
}

pub(crate) async fn export(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    input::Query(wanted): input::Query<Wanted>,
) -> Result<Response, Problem> {
    let filter = super::devices::filter(&api, &caller, &wanted).await?;
    // The first page is read before the answer begins, so that trouble is an error and no short file.
    let first = api.fleet.devices_apart(filter.clone(), None, limits::PAGE_ROWS_MAX).await?;
    let own: Vec<String> = api.fleet.meta_names_apart(filter.clone()).await?.into_iter().collect();
    let head = own.iter().fold(HEAD.to_owned(), |head, name| format!("{head},meta.{name}"));
    let ready = VecDeque::from([Bytes::from(format!("{head}\r\n")), rows(&first.items, &own)]);
    let source = Source { api, filter, own, ready, next: first.next };
    let body = stream::unfold(source, async |mut source: Source| {
        if let Some(chunk) = source.ready.pop_front() {
            return Some((Ok(chunk), source));
        }
        let next = source.next.take()?;
        let page = source.api.fleet.devices_apart(source.filter.clone(), Some(next), limits::PAGE_ROWS_MAX).await;
        Some(match page {
            Ok(page) => (Ok(rows(&page.items, &source.own)), Source { next: page.next, ..source }),
            // The connection breaks off: a file that is not whole must not look whole.
            Err(error) => (Err(error), source),
        })
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"devices.csv\""),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn rows(devices: &[DeviceView], own: &[String]) -> Bytes {
    let mut out = String::new();
    for DeviceView { device, presence, blocked, .. } in devices {
        let tags: Vec<String> = device.tags.iter().map(|tag| tag.replace('\\', "\\\\").replace(';', "\\;")).collect();
        let since = presence.since.map(|at| at.rfc3339()).unwrap_or_default();
        let fields = [
            csv::field(device.id.as_str()),
            device.app.to_string(),
            csv::field(&device.name),
            csv::field(&device.alias),
            csv::field(&tags.join(";")),
            device.open.to_string(),
            device.number.to_string(),
            csv::field(&device.firmware),
            blocked.to_string(),
            device.created.rfc3339(),
            presence.online.to_string(),
            since,
            csv::field(&presence.protocol),
            csv::field(&presence.remote),
        ];
        out.push_str(&fields.join(","));
        for name in own {
            out.push(',');
            out.push_str(&device.meta.get(name).map(|value| csv::field(&value.to_plain())).unwrap_or_default());
        }
        out.push_str("\r\n");
    }
    out.into()
}
