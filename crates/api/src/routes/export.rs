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

/// The columns: first what an import takes, then what it passes over.
const HEAD: &[u8] = b"id,app,name,alias,tags,open,number,firmware,blocked,created,online,since,protocol,remote\r\n";

pub(crate) async fn export(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    input::Query(wanted): input::Query<Wanted>,
) -> Result<Response, Problem> {
    let filter = super::devices::filter(&api, &caller, &wanted).await?;
    // The first page is read before the answer begins, so that trouble is an error and no short file.
    let first = api.fleet.devices_apart(filter.clone(), None, limits::PAGE_ROWS_MAX).await?;
    let ready = VecDeque::from([Bytes::from_static(HEAD), rows(&first.items)]);
    let body =
        stream::unfold((api, filter, ready, first.next), async |(api, filter, mut ready, next): (Api, DeviceFilter, _, _)| {
            if let Some(chunk) = ready.pop_front() {
                return Some((Ok(chunk), (api, filter, ready, next)));
            }
            let page = api.fleet.devices_apart(filter.clone(), Some(next?), limits::PAGE_ROWS_MAX).await;
            Some(match page {
                Ok(page) => (Ok(rows(&page.items)), (api, filter, ready, page.next)),
                // The connection breaks off: a file that is not whole must not look whole.
                Err(error) => (Err(error), (api, filter, ready, None)),
            })
        });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"devices.csv\""),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn rows(devices: &[DeviceView]) -> Bytes {
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
        out.push_str("\r\n");
    }
    out.into()
}
