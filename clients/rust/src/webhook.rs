//! Whether a webhook comes from the server that has the secret (Standard Webhooks).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;

/// How long ago a request may have been signed.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The three headers of a request.
#[derive(Clone, Copy, Debug)]
pub struct WebhookHeaders<'a> {
    /// `webhook-id`. Keep it of what you have dealt with: an event may come twice, with the same one.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`.
    pub signature: &'a str,
}

/// Why a request is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The time stamp is none.
    #[error("the header webhook-timestamp is no time")]
    BadTime,
    /// Somebody repeats what he once heard, perhaps.
    #[error("it was signed too long ago, or one of the clocks is wrong")]
    TooOld,
    /// The secret is none.
    #[error("this is no secret of a webhook")]
    BadSecret,
    /// It was signed by somebody else, or changed on the way.
    #[error("no signature fits")]
    Unsigned,
    /// It was signed, and is no JSON.
    #[error("the body is not JSON")]
    NotJson,
}

/// The event that a request brings, if it was signed with `secret` (`whsec_…`) within the last five minutes. `body` is
/// what came, byte for byte.
pub fn verify_webhook(body: &[u8], headers: WebhookHeaders<'_>, secret: &str) -> Result<Value, WebhookError> {
    verify_webhook_at(body, headers, secret, SystemTime::now(), TOLERANCE)
}

/// The same at another time, and with another tolerance.
pub fn verify_webhook_at(
    body: &[u8],
    headers: WebhookHeaders<'_>,
    secret: &str,
    now: SystemTime,
    tolerance: Duration,
) -> Result<Value, WebhookError> {
    let WebhookHeaders { id, timestamp, signature } = headers;
    // Nothing but digits: what is signed is the text.
    let digits = (1..=15).contains(&timestamp.len()) && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let at = timestamp.parse().ok().filter(|_| digits).map(|at| UNIX_EPOCH + Duration::from_secs(at));
    let at = at.ok_or(WebhookError::BadTime)?;
    if now.duration_since(at).unwrap_or_else(|ahead| ahead.duration()) > tolerance {
        return Err(WebhookError::TooOld);
    }
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).map_err(|_| WebhookError::BadSecret)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    // While a secret is being replaced there are several. `verify` takes the same time whether one fits or not.
    let given = signature.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
    if given.filter(|given| hmac::verify(&key, &signed, given).is_ok()).count() == 0 {
        return Err(WebhookError::Unsigned);
    }
    serde_json::from_slice(body).map_err(|_| WebhookError::NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    // The example of the Standard Webhooks specification's reference libraries.
    const HEADERS: WebhookHeaders<'static> = WebhookHeaders {
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp: "1614265330",
        signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    };

    fn verify(body: &[u8], headers: WebhookHeaders<'_>, secret: &str, late_s: i64) -> Result<Value, WebhookError> {
        let now = UNIX_EPOCH + Duration::from_secs(1_614_265_330u64.saturating_add_signed(late_s));
        verify_webhook_at(body, headers, secret, now, TOLERANCE)
    }

    #[test]
    fn what_was_signed_is_believed_for_five_minutes() {
        for late_s in [-300, 0, 300] {
            assert_eq!(verify(BODY, HEADERS, SECRET, late_s).unwrap()["test"], 2_432_232_314u64);
        }
        for late_s in [-301, 301] {
            assert_eq!(verify(BODY, HEADERS, SECRET, late_s), Err(WebhookError::TooOld));
        }
        assert_eq!(verify_webhook(BODY, HEADERS, SECRET), Err(WebhookError::TooOld), "years ago");
        let several = format!("v1,AAAA v2,zzz {} v1,???", HEADERS.signature);
        assert!(verify(BODY, WebhookHeaders { signature: &several, ..HEADERS }, SECRET, 0).is_ok());
    }

    #[test]
    fn whatever_was_changed_is_not() {
        let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let rows = [
            verify(br#"{"test": 2432232315}"#, HEADERS, SECRET, 0),
            verify(BODY, WebhookHeaders { id: "msg_2", ..HEADERS }, SECRET, 0),
            verify(BODY, WebhookHeaders { timestamp: "1614265331", ..HEADERS }, SECRET, 0),
            verify(BODY, WebhookHeaders { timestamp: "01614265330", ..HEADERS }, SECRET, 0),
            verify(BODY, WebhookHeaders { signature: "", ..HEADERS }, SECRET, 0),
            verify(BODY, WebhookHeaders { signature: &HEADERS.signature[3..], ..HEADERS }, SECRET, 0),
            verify(BODY, HEADERS, other, 0),
        ];
        assert!(rows.iter().all(|row| *row == Err(WebhookError::Unsigned)), "{rows:?}");
        for timestamp in ["", "now", "-1614265330", "+1614265330", "16142653300000000000"] {
            assert_eq!(verify(BODY, WebhookHeaders { timestamp, ..HEADERS }, SECRET, 0), Err(WebhookError::BadTime));
        }
        assert_eq!(verify(BODY, HEADERS, "whsec_?", 0), Err(WebhookError::BadSecret));
    }
}
