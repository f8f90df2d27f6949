//! What a push would do, without doing it: how many devices would get it now, later or not at all, why
//! not, and which those are. It knows what the push room knows; what a device itself will say to the
//! push (not subscribed, unknown command) only the push can tell.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use fleet::{Audience, Reach};
use model::{DeviceId, DeviceNumber, limits};
use push::{NewPush, SubmitError, To};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::push::{New, order, payload};
use crate::auth::Viewer;
use crate::openapi::shape;
use crate::problem::Problem;
use crate::{Api, audience, input};

/// Devices looked at before others have their turn.
const STEP: usize = 4_096;

/// When a device would get it.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Now,
    Later,
    Not,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    outcome: Option<Outcome>,
    /// Rows of a page, 1 to 1000; 100 unless told.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// How many devices.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "PreviewCounts")]
struct Counts {
    now: usize,
    later: usize,
    not: usize,
}

/// Why devices would not get it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PreviewReason")]
struct Reason {
    reason: &'static str,
    devices: usize,
    detail: String,
}

/// What would happen at one device.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PreviewItem")]
struct Item {
    #[schemars(with = "shape::DeviceId")]
    device: DeviceId,
    online: bool,
    protocol: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// What a push would do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Preview {
    devices: usize,
    counts: Counts,
    reasons: Vec<Reason>,
    unknown: Vec<String>,
    items: Vec<Item>,
    next: Option<String>,
}

pub(crate) async fn preview(
    State(api): State<Api>,
    _: Viewer,
    input::Query(page): input::Query<Page>,
    input::Json(mut new): input::Json<New>,
) -> Result<Json<Preview>, Problem> {
    let after = input::cursor(page.cursor.as_deref())?.map(DeviceNumber);
    let rows = input::rows(page.limit)?;
    let audience = match audience::read(&api, &new.audience).await? {
        audience::Wanted::Device(id) => Audience::Devices(vec![id]),
        audience::Wanted::Many(audience) => audience,
    };
    let selected = api.fleet.select(audience).await?;
    let wanted = NewPush {
        to: To::Many(selected.devices),
        // Who asks before he has written anything asks about the devices.
        payload: if new.has_payload() { payload(&new)? } else { Default::default() },
        order: order(new.ask, new.command.take())?,
        sender: String::new(),
        audience: String::new(),
        ttl_s: new.ttl_s,
        idempotency_key: None,
        terms: new.terms(),
    };
    let crowded = match api.push.preview(&wanted).await {
        Err(SubmitError::Nobody) => BTreeSet::new(),
        crowded => crowded?,
    };
    let To::Many(devices) = &wanted.to else { unreachable!("made so above") };
    let mut preview = Preview {
        devices: devices.len() + selected.unknown.len(),
        counts: Counts { not: selected.unknown.len(), ..Counts::default() },
        reasons: REASONS.map(|(reason, detail)| Reason { reason, devices: 0, detail: detail.to_owned() }).into(),
        unknown: Vec::new(),
        items: Vec::new(),
        next: None,
    };
    preview.reasons[0].devices = selected.unknown.len();
    preview.unknown = selected.unknown;
    let mut last = None;
    for step in devices.chunks(STEP) {
        for device in api.fleet.reach(step) {
            let why = why_not(&api, &device, &wanted, &crowded);
            let outcome = match why {
                Some(place) => {
                    preview.reasons[place].devices += 1;
                    preview.counts.not += 1;
                    Outcome::Not
                }
                None if device.online => {
                    preview.counts.now += 1;
                    Outcome::Now
                }
                None => {
                    preview.counts.later += 1;
                    Outcome::Later
                }
            };
            if page.outcome.is_some_and(|wanted| wanted != outcome) || after.is_some_and(|after| device.number <= after) {
                continue;
            }
            if preview.items.len() == rows {
                preview.next = last.map(|last: DeviceNumber| last.to_string());
                continue;
            }
            last = Some(device.number);
            let reason = why.map(|place| REASONS[place].0);
            preview.items.push(Item {
                device: device.id,
                online: device.online,
                protocol: device.protocol.to_string(),
                outcome,
                reason,
            });
        }
        tokio::task::yield_now().await;
    }
    preview.reasons.retain(|reason| reason.devices > 0);
    Ok(Json(preview))
}

/// Why a device would not get a push, and how that is said.
const REASONS: [(&str, &str); 4] = [
    ("unknown_device", "there is no such device"),
    ("payload_too_large", "the payload is larger than the device's protocol carries"),
    ("queue_full", "as many pushes as may already wait for the device"),
    ("away", "the device is away, and the push is for this moment only"),
];

/// The place of the reason in [`REASONS`].
fn why_not(api: &Api, device: &Reach, push: &NewPush, crowded: &BTreeSet<DeviceNumber>) -> Option<usize> {
    let carries = api.carries.iter().find(|(protocol, _)| **protocol == *device.protocol);
    let bytes_max = carries.map_or(limits::PUSH_PAYLOAD_BYTES_MAX, |(_, bytes_max)| *bytes_max);
    if push.payload.len() > bytes_max {
        Some(1)
    } else if crowded.contains(&device.number) {
        Some(2)
    } else if push.ttl_s == Some(0) && !device.online {
        Some(3)
    } else {
        None
    }
}
