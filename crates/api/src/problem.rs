//! What goes wrong, as `application/problem+json` (RFC 9457). One place decides the status and the stable
//! `code` of every error that a room reports; texts name the fix and never hold secrets.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::Refusal;
use contract::store::StoreError;
use fleet::{FleetError, Kind};
use push::SubmitError;
use schedule::ScheduleError;
use serde::Serialize;
use telemetry::IngestError;
use twin::TwinError;
use webhook::WebhookError;

use crate::audit::Code;

/// An error as the caller sees it.
#[derive(Debug)]
pub(crate) struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    pub hint: Option<Cow<'static, str>>,
    /// Where in a text it is, counted from 1.
    pub position: Option<usize>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), hint: None, position: None }
    }

    /// The request itself is wrong.
    pub fn bad(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub fn hint(self, hint: impl Into<Cow<'static, str>>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }

    pub fn no_such_push() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "no_such_push", "there is no such push; see the list of pushes")
    }
}

/// A problem as JSON.
#[derive(Serialize)]
pub(crate) struct Body {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

impl Problem {
    pub fn body(self) -> Body {
        Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code,
            hint: self.hint,
            position: self.position,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = (self.status, Code(self.code));
        let mut response = (status, Json(self.body())).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.extensions_mut().insert(code);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Problem {
        if let FleetError::Store(error) = error {
            return error.into();
        }
        let status = match error.kind() {
            Kind::Missing => StatusCode::NOT_FOUND,
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Ours => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, error.code(), error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::BadCursor => Problem::bad("bad_cursor", error.to_string()),
            StoreError::Full(_) => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "store_full", error.to_string())
                .hint("what was acknowledged stays and deletions go on; `espush doctor` tells how much there is"),
            StoreError::Disk(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "disk_failed", error.to_string())
                .hint("nothing can be promised any more: check the disk, then restart espush"),
            StoreError::Damaged(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_damaged", error.to_string())
                .hint("what is readable is still served; `espush repair` saves it, `espush restore` brings a backup back"),
            _ => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", error.to_string())
                .hint("look at the server's log, and whether its disk is full"),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Problem {
        let (status, code) = match error {
            SubmitError::Store(error) => return error.into(),
            SubmitError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            SubmitError::BadVerb => (StatusCode::BAD_REQUEST, "bad_command"),
            SubmitError::BadTtl => (StatusCode::BAD_REQUEST, "bad_ttl"),
            SubmitError::BadKey => (StatusCode::BAD_REQUEST, "bad_idempotency_key"),
            SubmitError::BadCollapse => (StatusCode::BAD_REQUEST, "bad_collapse"),
            SubmitError::BadPace => (StatusCode::BAD_REQUEST, "bad_per_second"),
            SubmitError::DeviceFull => (StatusCode::CONFLICT, "device_queue_full"),
            SubmitError::Nobody => {
                return Problem::new(StatusCode::NOT_FOUND, "audience_empty", error.to_string())
                    .hint("POST /api/v1/push/preview tells who is in an audience");
            }
            SubmitError::Full => (StatusCode::SERVICE_UNAVAILABLE, "queues_full"),
        };
        Problem::new(status, code, error.to_string())
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Problem {
        let when = r#"one of {"at": TIME}, {"every_s": 600}, {"daily": "07:30"}, {"weekly": {"days": ["mon"], "time": "07:30"}}, {"cron": "*/5 * * * *"}, the last three with "time_zone": "Europe/Berlin""#;
        let (status, code) = match error {
            ScheduleError::Store(error) => return error.into(),
            ScheduleError::BadWhen(_) => return Problem::bad("bad_when", error.to_string()).hint(when),
            ScheduleError::Missing(_) => (StatusCode::NOT_FOUND, "no_such_schedule"),
            ScheduleError::BadName => (StatusCode::BAD_REQUEST, "bad_name"),
            ScheduleError::BadGrace => (StatusCode::BAD_REQUEST, "bad_grace"),
            ScheduleError::Full => (StatusCode::CONFLICT, "schedules_full"),
        };
        Problem::new(status, code, error.to_string())
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Problem {
        let (status, code) = match error {
            WebhookError::Store(error) => return error.into(),
            WebhookError::Missing(_) => (StatusCode::NOT_FOUND, "no_such_webhook"),
            WebhookError::NoSuchDelivery(_) => (StatusCode::NOT_FOUND, "no_such_delivery"),
            WebhookError::BadName => (StatusCode::BAD_REQUEST, "bad_name"),
            WebhookError::BadUrl(_) => (StatusCode::BAD_REQUEST, "bad_url"),
            WebhookError::Refused(..) => (StatusCode::BAD_REQUEST, "address_refused"),
            WebhookError::BadKind { .. } => (StatusCode::BAD_REQUEST, "bad_kind"),
            WebhookError::BadOverlap => (StatusCode::BAD_REQUEST, "bad_overlap"),
            WebhookError::Full => (StatusCode::CONFLICT, "limit_reached"),
        };
        Problem::new(status, code, error.to_string())
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Problem {
        let limits = "at most 1000 points at once, 256 streams a device, 4096 bytes a text";
        match error {
            IngestError::Store(error) => error.into(),
            IngestError::Refused(Refusal::Quota) => {
                Problem::new(StatusCode::CONFLICT, "limit_reached", "the upload is beyond a limit").hint(limits)
            }
            IngestError::Refused(Refusal::BadTopic) => {
                Problem::bad("bad_stream", "a stream's name has 1 to 64 bytes, no control characters, no + and no #")
            }
            IngestError::Refused(Refusal::BadPayload) => Problem::bad("bad_points", "these are no points")
                .hint(r#"send {"temp": 21.5, "on": true} or [{"stream": "temp", "value": 21.5, "at": "2026-11-20T09:48:48Z"}]"#),
            IngestError::Refused(_) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", "the server cannot keep it now; try again")
            }
        }
    }
}

impl From<TwinError> for Problem {
    fn from(error: TwinError) -> Problem {
        let detail = error.to_string();
        match error {
            TwinError::Store(error) => error.into(),
            TwinError::Conflict { current } => Problem::new(StatusCode::CONFLICT, "version_conflict", detail)
                .hint(format!("the current version is {current}: read the twin again, and change that")),
            TwinError::TooLarge => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "twin_too_large", detail),
            TwinError::TooDeep | TwinError::Reserved(_) => Problem::bad("bad_twin", detail),
        }
    }
}
