//! `POST /d/{device}`: the push for people with curl. The body goes to the device as it is, and what comes
//! back is plain text: the device's answer, or a word and a reason. The status says how it went.

use std::time::Duration;

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use model::{Delivery, DeliveryState, Order, Role, Terms, TokenScope, limits};
use push::{NewPush, To, WaitFor};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::problem::Problem;
use crate::{Api, auth, input};

/// How long a caller waits who does not say.
const WAIT: Duration = Duration::from_secs(5);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// How long to wait: `500ms`, `5s`; `0` not at all.
    wait: Option<String>,
    /// `1`: the device is to answer.
    ask: Option<String>,
}

pub(crate) async fn push(
    State(api): State<Api>,
    path: Result<input::Path<String>, Problem>,
    how: Result<input::Query<How>, Problem>,
    request: Request,
) -> Response {
    match send(&api, path, how, request).await {
        Ok(response) => response,
        // The same trouble as elsewhere, said as text.
        Err(problem) => {
            let hint = problem.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            (problem.status, format!("{}{hint}", problem.detail)).into_response()
        }
    }
}

async fn send(
    api: &Api,
    path: Result<input::Path<String>, Problem>,
    how: Result<input::Query<How>, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let input::Path(id) = path?;
    let is_open = api.fleet.device(&id).is_some_and(|view| view.device.open);
    let sender = if is_open && request.headers().get(header::AUTHORIZATION).is_none() {
        "anyone".to_owned()
    } else {
        // Before anything is said of the device: a stranger must not learn which ids there are.
        let caller = auth::caller(request.headers(), request.method(), api, Role::Operator)?;
        auth::within(api, &caller, Some(TokenScope::Push), Some(&id)).await?;
        caller.name.to_string()
    };
    let view = super::devices::device(api, &id)?;
    let input::Query(How { wait, ask }) = how?;
    let wait = wait.map_or(Ok(WAIT), |wait| duration(&wait))?;
    let ask = ask.map_or(Ok(false), |ask| switch(&ask))?;
    // Last, so that nobody makes us hold what we shall not take.
    let input::Body(payload) = input::Body::from_request(request, api).await?;
    let push = api
        .push
        .submit(NewPush {
            to: To::One(view.device.number, view.device.id),
            order: if ask { Order::Ask } else { Order::Message },
            payload,
            sender,
            audience: serde_json::json!({ "device": id }).to_string(),
            ttl_s: None,
            idempotency_key: None,
            terms: Terms::default(),
        })
        .await?;
    // Who does not wait is told what is certain, not what may have happened meanwhile.
    let (status, state, text) = if wait.is_zero() {
        (StatusCode::ACCEPTED, DeliveryState::Queued, Bytes::from_static(b"queued"))
    } else {
        let delivery = api.push.wait(push, WaitFor::Final, wait).await?.ok_or_else(Problem::no_such_push)?;
        let (status, text) = outcome(&delivery, ask, wait);
        (status, delivery.state, text)
    };
    let kind = if std::str::from_utf8(&text).is_ok() { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (HeaderName::from_static("espush-push"), push.to_string()),
        (HeaderName::from_static("espush-state"), state.as_str().to_owned()),
    ];
    Ok((status, headers, text).into_response())
}

/// What a delivery means to one who called with curl.
fn outcome(delivery: &Delivery, ask: bool, wait: Duration) -> (StatusCode, Bytes) {
    let state = delivery.state;
    let said = |text: &str| {
        let text = if delivery.detail.is_empty() { text.to_owned() } else { format!("{text}: {}", delivery.detail) };
        Bytes::from(text)
    };
    match state {
        DeliveryState::Applied => (StatusCode::OK, delivery.answer.clone().unwrap_or_default()),
        DeliveryState::Delivered if !ask => (StatusCode::OK, said("delivered")),
        DeliveryState::Sent | DeliveryState::Delivered if ask => {
            (StatusCode::GATEWAY_TIMEOUT, Bytes::from(format!("{}: no answer within {} ms", state.as_str(), wait.as_millis())))
        }
        DeliveryState::Queued | DeliveryState::Sent | DeliveryState::Delivered => (StatusCode::ACCEPTED, said(state.as_str())),
        _ => (StatusCode::CONFLICT, said(state.as_str())),
    }
}

/// `500ms`, `5s`, `1m`, or seconds.
fn duration(text: &str) -> Result<Duration, Problem> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    let ms = digits.parse::<u64>().ok().filter(|_| unit_ms > 0).and_then(|number| number.checked_mul(unit_ms));
    ms.filter(|ms| *ms <= limits::WAIT_MS_MAX).map(Duration::from_millis).ok_or_else(|| {
        Problem::bad("bad_wait", format!("wait is a time such as 500ms or 5s, at most {}s", limits::WAIT_MS_MAX / 1000))
    })
}

fn switch(text: &str) -> Result<bool, Problem> {
    match text {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Problem::bad("bad_ask", "ask is 1 or 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DeviceId, DeviceNumber, PushId, UnixMs};

    #[test]
    fn the_status_says_the_outcome() {
        use DeliveryState::*;
        // State, whether an answer was wanted, what is said.
        let rows = [
            (Queued, false, 202, "queued: why"),
            (Queued, true, 202, "queued: why"),
            (Sent, false, 202, "sent: why"),
            (Sent, true, 504, "sent: no answer within 1000 ms"),
            (Delivered, false, 200, "delivered: why"),
            (Delivered, true, 504, "delivered: no answer within 1000 ms"),
            (Applied, true, 200, "lit"),
            (Applied, false, 200, "lit"),
            (Failed, true, 409, "failed: why"),
            (Expired, false, 409, "expired: why"),
            (Replaced, false, 409, "replaced: why"),
            (Refused, false, 409, "refused: why"),
            (Cancelled, false, 409, "cancelled: why"),
        ];
        for (state, ask, status, text) in rows {
            let delivery = Delivery {
                push: PushId(1),
                number: DeviceNumber(1),
                device: DeviceId::parse("lamp").unwrap(),
                state,
                at: UnixMs(0),
                detail: "why".into(),
                answer: Some(Bytes::from_static(b"lit")),
            };
            let (got, said) = outcome(&delivery, ask, Duration::from_secs(1));
            assert_eq!((got.as_u16(), &said[..]), (status, text.as_bytes()), "{state:?} {ask}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let ms = |text| duration(text).ok().map(|wait| wait.as_millis());
        assert_eq!(
            (ms("500ms"), ms("5s"), ms("1m"), ms("0"), ms("60")),
            (Some(500), Some(5_000), Some(60_000), Some(0), Some(60_000))
        );
        for bad in ["", "s", "-1", "61s", "5h", "5 s", "18446744073709551615m"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }
}
