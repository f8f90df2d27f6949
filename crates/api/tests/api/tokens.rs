//! Tokens with less than their role, tokens that run out, and how much they may ask.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use contract::Clock;
use fleet::meter::Rate;
use model::{UnixMs, limits};
use serde_json::json;

use crate::house::{Answer, Device, House, OWNER, peer};

async fn made(house: &House, body: &str) -> String {
    house.post("tokens", body).await.ok()["token"].as_str().unwrap().to_owned()
}

async fn direct(house: &House, token: &str, device: &str) -> Answer {
    let request = Request::post(format!("/d/{device}?wait=0")).header("Authorization", format!("Bearer {token}"));
    house.request(request.body(Body::from("on")).unwrap()).await
}

#[tokio::test]
async fn a_scope_opens_its_calls_and_no_other() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let calls = [
        (Method::GET, "devices", "", "devices:read"),
        (Method::GET, "knocks", "", "devices:read"),
        (Method::POST, "groups", r#"{"name":"all","where":"app = 1"}"#, "devices:write"),
        (Method::PATCH, "devices/lamp", r#"{"name":"Lamp"}"#, "devices:write"),
        (Method::POST, "push", r#"{"audience":"all","text":"on"}"#, "push"),
        (Method::GET, "pushes", "", "push"),
        (Method::GET, "devices/lamp/latest", "", "data:read"),
        (Method::POST, "devices/lamp/points", r#"{"temp":21}"#, "data:write"),
        (Method::GET, "webhooks", "", "admin"),
        (Method::GET, "tokens", "", "admin"),
    ];
    for scope in ["devices:read", "devices:write", "push", "data:read", "data:write", "events", "admin"] {
        let token = made(&house, &format!(r#"{{"name":"{scope}","role":"owner","scopes":["{scope}"]}}"#)).await;
        for (method, path, body, needs) in &calls {
            let answer = house.call_as(&token, method.clone(), path, body).await;
            if *needs == scope {
                assert!(answer.status.is_success(), "{scope}: {method} {path} {}", answer.text());
            } else {
                let (code, detail) = answer.problem(403);
                assert_eq!(code, "scope_missing");
                assert_eq!(detail, format!("this needs the scope {needs}; the token has {scope}"));
            }
        }
        let status = direct(&house, &token, "lamp").await.status;
        assert_eq!(status, if scope == "push" { 202 } else { 403 });
        house.call_as(&token, Method::GET, "session", "").await.ok();
        house.call_as(&token, Method::GET, "status", "").await.ok();
    }
}

#[tokio::test]
async fn a_role_stays_the_upper_bound_and_keys_are_for_who_may_write() {
    let house = House::new().await;
    house.post("apps", r#"{"name":"lamps"}"#).await.ok();
    let viewer = made(&house, r#"{"name":"a","role":"viewer","scopes":["devices:write","devices:read"]}"#).await;
    let refused = house.call_as(&viewer, Method::POST, "apps", r#"{"name":"x"}"#).await;
    assert_eq!(refused.problem(403).0, "role_too_low");
    let reader = made(&house, r#"{"name":"b","role":"owner","scopes":["devices:read"]}"#).await;
    assert_eq!(house.call_as(&reader, Method::GET, "apps/1", "").await.ok()["key"], json!(null));
    assert!(house.get("apps/1").await.ok()["key"].is_string());
    let bad = house.post("tokens", r#"{"name":"c","role":"owner","scopes":["root"]}"#).await.problem(400);
    assert!(bad.0 == "bad_scope" && bad.1.contains("devices:read"), "{bad:?}");
    assert_eq!(house.post("tokens", r#"{"name":"c","role":"owner","where":"app ="}"#).await.problem(400).0, "bad_where");
    let listed = house.get("tokens").await.ok()["items"].clone();
    assert_eq!(listed[1]["scopes"], json!(["devices:read"]));
}

#[tokio::test]
async fn a_token_for_some_devices_reaches_those_and_one_by_one() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    house.post("devices", r#"{"app":1,"id":"fan","tags":["hall"]}"#).await.ok();
    let token = made(&house, r#"{"name":"hall","role":"operator","where":"tags has hall"}"#).await;
    house.call_as(&token, Method::GET, "devices/fan", "").await.ok();
    house.call_as(&token, Method::POST, "devices/fan/points", r#"{"temp":21}"#).await.ok();
    assert_eq!(direct(&house, &token, "fan").await.status, 202);
    for (method, path, body) in [
        (Method::GET, "devices/lamp", ""),
        (Method::GET, "devices/nobody", ""),
        (Method::PATCH, "devices/lamp", "{}"),
        (Method::POST, "devices/lamp/points", r#"{"temp":21}"#),
        (Method::POST, "devices", r#"{"app":1,"id":"x","tags":["hall"]}"#),
        (Method::POST, "devices/import", "id,app\n"),
        (Method::GET, "groups/hall", ""),
        (Method::POST, "push", r#"{"audience":{"device":"fan"},"text":"on"}"#),
        (Method::GET, "events?device=lamp", ""),
        (Method::GET, "events?device=nobody", ""),
        (Method::GET, "ws", ""),
    ] {
        assert_eq!(
            house.call_as(&token, method.clone(), path, body).await.problem(403).0,
            "device_out_of_reach",
            "{method} {path}"
        );
    }
    assert_eq!(direct(&house, &token, "lamp").await.status, 403);
    for query in ["", "?where=app%20%3D%201", "?where=not%20tags%20has%20hall%20or%20id%20%3D%20fan", "?q=a"] {
        let listed = house.call_as(&token, Method::GET, &format!("devices{query}"), "").await.ok();
        let ids: Vec<&str> = listed["items"].as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["fan"], "{query}");
    }
    let file = house.call_as(&token, Method::GET, "devices/export", "").await;
    assert!(file.text().contains("fan,1") && !file.text().contains("lamp"), "{}", file.text());
    house.patch("devices/fan", r#"{"tags":[]}"#).await.ok();
    assert_eq!(house.call_as(&token, Method::GET, "devices/fan", "").await.problem(403).0, "device_out_of_reach");
}

#[tokio::test]
async fn a_token_that_ran_out_is_told_so() {
    let house = House::new().await;
    let expires = UnixMs(house.outside.unix().0 + 60_000).rfc3339();
    let token = made(&house, &format!(r#"{{"name":"brief","role":"viewer","expires":"{expires}"}}"#)).await;
    house.call_as(&token, Method::GET, "devices", "").await.ok();
    house.outside.ahead_ms.fetch_add(61_000, Ordering::Relaxed);
    assert_eq!(house.call_as(&token, Method::GET, "devices", "").await.problem(401).0, "token_expired");
    assert_eq!(house.call_as("espush_x", Method::GET, "devices", "").await.problem(401).0, "bad_token");
}

#[tokio::test]
async fn a_token_that_asks_too_much_waits_and_others_do_not() {
    let house = House::with_rate(Some(Rate { per_s: 1, burst: 3 })).await;
    let token = house.token("viewer").await;
    for left in ["2", "1", "0"] {
        let answer = house.call_as(&token, Method::GET, "devices", "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), r#""token";q=3;w=3"#);
        assert!(answer.header("ratelimit").starts_with(&format!(r#""token";r={left};t="#)), "{}", answer.header("ratelimit"));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let refused = house.call_as(&token, Method::GET, "devices", "").await;
    assert_eq!(refused.problem(429).0, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    let text = direct(&house, &token, "lamp").await;
    assert_eq!((text.status.as_u16(), text.header("content-type")), (429, "text/plain; charset=utf-8"));
    house.get("devices").await.ok();
    assert_eq!(House::new().await.get("devices").await.header("ratelimit"), "", "no limit, no header");
}

#[tokio::test]
async fn an_address_whose_logins_fail_is_not_listened_to_but_its_good_tokens_are() {
    let house = House::new().await;
    let from = |token: &str, peer: SocketAddr| {
        let request = Request::get("/api/v1/devices").header("Authorization", format!("Bearer {token}"));
        house.request(request.extension(ConnectInfo(peer)).body(Body::empty()).unwrap())
    };
    for _ in 0..limits::HTTP_FAILED_LOGINS_PER_MINUTE {
        assert_eq!(from("wrong", peer()).await.problem(401).0, "bad_token");
    }
    let refused = from("wrong", peer()).await;
    assert_eq!(refused.problem(429).0, "rate_limited");
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    let code = Request::post("/api/v1/session").extension(ConnectInfo(peer())).body(Body::from(r#"{"code":"x"}"#));
    assert_eq!(house.request(code.unwrap()).await.status, 429);
    assert_eq!(from(OWNER, peer()).await.status, 200);
    assert_eq!(from("wrong", "192.0.2.8:1".parse().unwrap()).await.status, 401);
}
