//! How much is asked: each token has a bucket of requests, told in the headers `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers); and an address from which too many logins fail is not listened to for the
//! rest of a minute. Good tokens of that address are: they cannot be guessed, and a neighbour's stale script must not
//! lock anybody out.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleet::meter::{Left, Rate};
use model::{Millis, limits};
use parking_lot::Mutex;

use crate::problem::Problem;
use crate::{Api, auth};

const MINUTE_MS: u64 = 60_000;
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// What is measured.
pub(crate) struct Rates {
    api: Api,
    rate: Option<(Rate, HeaderValue)>,
    strangers: Strangers,
}

impl Rates {
    pub fn new(api: Api) -> Rates {
        let policy = |rate: Rate| {
            let window_s = u64::from(rate.burst).div_ceil(u64::from(rate.per_s.max(1)));
            let text = format!("\"token\";q={};w={window_s}", rate.burst);
            (rate, HeaderValue::from_str(&text).expect("digits and letters"))
        };
        let rate = api.rate.map(policy);
        Rates { api, rate, strangers: Strangers::default() }
    }
}

/// Lets a request through if its token has one left.
pub(crate) async fn measured(State(rates): State<Arc<Rates>>, request: Request, next: Next) -> Response {
    let in_text = request.uri().path().starts_with("/d/");
    let token = auth::token(request.headers()).ok().flatten();
    let caller = token.and_then(|token| rates.api.fleet.check_token(token));
    let Some(caller) = caller else {
        let signs_in = request.method() == Method::POST && request.uri().path() == "/api/v1/session";
        if token.is_none() && !signs_in {
            return next.run(request).await;
        }
        let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|from| network(from.0.ip()));
        let now = rates.api.clock.millis();
        if let Some(wait_ms) = from.and_then(|from| rates.strangers.wait_ms(from, now)) {
            return refused("too many logins have failed from this address", wait_ms, in_text);
        }
        let response = next.run(request).await;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(from) = from
        {
            rates.strangers.failed(from, now);
        }
        return response;
    };
    let Some((rate, policy)) = &rates.rate else { return next.run(request).await };
    let (mut response, left) = match caller.meter.take(rates.api.clock.millis(), *rate) {
        Ok(left) => (next.run(request).await, left),
        Err(left) => {
            let detail = format!("more than {} requests a second with this token", rate.per_s);
            (refused(&detail, left.ms, in_text), left)
        }
    };
    tell(response.headers_mut(), policy, left);
    response
}

fn tell(headers: &mut HeaderMap, policy: &HeaderValue, left: Left) {
    headers.insert(POLICY, policy.clone());
    let text = format!("\"token\";r={};t={}", left.requests, left.ms.div_ceil(1000));
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(LEFT, value);
    }
}

fn refused(detail: &str, wait_ms: u64, in_text: bool) -> Response {
    let wait_s = wait_ms.div_ceil(1000).max(1);
    let detail = format!("{detail}; wait {wait_s} s");
    // What is pushed with curl is answered in text, errors too.
    let mut response = match in_text {
        true => (StatusCode::TOO_MANY_REQUESTS, detail).into_response(),
        false => Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).into_response(),
    };
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
    response
}

/// Whoever has an IPv6 address has the 2⁶⁴ beside it, too.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        ip => ip,
    }
}

/// Addresses from which logins failed. Looked at only when one does.
#[derive(Default)]
struct Strangers(Mutex<HashMap<IpAddr, Failures>>);

struct Failures {
    since: Millis,
    count: u32,
}

impl Strangers {
    /// How long an address has to wait.
    fn wait_ms(&self, from: IpAddr, now: Millis) -> Option<u64> {
        let strangers = self.0.lock();
        let failures = strangers.get(&from).filter(|f| f.count >= limits::HTTP_FAILED_LOGINS_PER_MINUTE)?;
        MINUTE_MS.checked_sub(now.since(failures.since)).filter(|wait| *wait > 0)
    }

    fn failed(&self, from: IpAddr, now: Millis) {
        let mut strangers = self.0.lock();
        if strangers.len() >= limits::HTTP_FAILED_ADDRESSES_MAX && !strangers.contains_key(&from) {
            strangers.retain(|_, failures| now.since(failures.since) < MINUTE_MS);
            let oldest = strangers.iter().min_by_key(|(_, failures)| failures.since.0).map(|(ip, _)| *ip);
            if let Some(oldest) = oldest.filter(|_| strangers.len() >= limits::HTTP_FAILED_ADDRESSES_MAX) {
                strangers.remove(&oldest);
            }
        }
        let failures = strangers.entry(from).or_insert(Failures { since: now, count: 0 });
        if now.since(failures.since) >= MINUTE_MS {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_too_many_failures_waits_for_the_rest_of_the_minute() {
        let strangers = Strangers::default();
        let here = network("192.0.2.7".parse().unwrap());
        for _ in 0..limits::HTTP_FAILED_LOGINS_PER_MINUTE {
            assert_eq!(strangers.wait_ms(here, Millis(5_000)), None);
            strangers.failed(here, Millis(5_000));
        }
        assert_eq!(strangers.wait_ms(here, Millis(5_000)), Some(60_000));
        assert_eq!(strangers.wait_ms(here, Millis(64_999)), Some(1));
        assert_eq!(strangers.wait_ms(here, Millis(65_000)), None);
        assert_eq!(strangers.wait_ms(network("192.0.2.8".parse().unwrap()), Millis(5_000)), None);
        strangers.failed(here, Millis(65_000));
        assert_eq!(strangers.wait_ms(here, Millis(65_000)), None, "it is counted anew");
    }

    #[test]
    fn neighbours_in_ipv6_are_one_and_the_list_is_bounded() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.7"), network("192.0.2.7"));
        let strangers = Strangers::default();
        for number in 0..limits::HTTP_FAILED_ADDRESSES_MAX as u32 + 9 {
            strangers.failed(IpAddr::V4(number.into()), Millis(u64::from(number)));
        }
        assert_eq!(strangers.0.lock().len(), limits::HTTP_FAILED_ADDRESSES_MAX);
    }
}
