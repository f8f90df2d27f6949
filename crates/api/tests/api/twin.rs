//! Twins over the API.

use axum::body::Body;
use axum::http::{Method, Request};
use contract::Event;
use model::UnixMs;
use serde_json::json;

use crate::house::{Device, House, OWNER, peer};

#[tokio::test]
async fn what_is_wanted_is_changed_by_patches_and_told_to_the_device() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let empty = json!({"value": {}, "version": 0, "at": null});
    let wanted = json!({"desired": empty, "reported": empty, "delta": {}, "acknowledged": null});
    assert_eq!(house.get("devices/lamp/twin").await.ok(), wanted);
    let twin = house.patch("devices/lamp/twin/desired", r#"{"led":"on","x":{"a":1}}"#).await.ok();
    assert_eq!((&twin["desired"]["version"], &twin["delta"]), (&json!(1), &json!({"led": "on", "x": {"a": 1}})));
    house.settle().await;
    let given: Vec<String> = house.outside.given.lock().iter().map(|m| String::from_utf8_lossy(&m.payload).into()).collect();
    assert_eq!(given, [r#"{"$version":1,"led":"on","x":{"a":1}}"#]);
    house.outside.up(house.lamp(), "dev/lamp/twin/reported", br#"{"led":"on","$version":1}"#);
    house.settle().await;
    let twin = house.call(Method::PUT, "devices/lamp/twin/desired?version=1", r#"{"led":"off"}"#).await.ok();
    assert_eq!(twin["desired"]["value"], json!({"led": "off"}));
    assert_eq!((&twin["delta"], &twin["acknowledged"]), (&json!({"led": "off"}), &json!(1)));
    let history = house.get("devices/lamp/twin/history?limit=2").await.ok();
    assert_eq!(history["items"][0]["patch"], json!({"led": "off", "x": null}));
    assert_eq!(history["items"][1]["who"], "device");
    let next = history["next"].as_str().unwrap();
    let rest = house.get(&format!("devices/lamp/twin/history?part=desired&limit=2&cursor={next}")).await.ok();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &().into()));
}

#[tokio::test]
async fn a_stale_order_is_refused_however_its_version_is_named() {
    let (house, _) = House::with_lamp(Device::Away).await;
    house.patch("devices/lamp/twin/desired", r#"{"n":1}"#).await.ok();
    assert_eq!(house.patch("devices/lamp/twin/desired?version=0", r#"{"n":2}"#).await.problem(409).0, "version_conflict");
    let with = async |if_match: &str, query: &str| {
        let request = Request::patch(format!("/api/v1/devices/lamp/twin/desired{query}"));
        let request = request.header("Authorization", format!("Bearer {OWNER}")).header("If-Match", if_match);
        house.request(request.body(Body::from(r#"{"n":3}"#)).unwrap()).await
    };
    let conflict = with("\"0\"", "").await;
    assert!(conflict.json()["hint"].as_str().unwrap().contains("current version is 1"), "{}", conflict.text());
    for (if_match, query) in [("", ""), ("W/\"1\"", ""), ("\"-1\"", ""), ("\"1\"", "?version=2")] {
        assert_eq!(with(if_match, query).await.problem(400).0, "bad_version", "{if_match} {query}");
    }
    assert_eq!(with("*", "").await.ok()["desired"]["version"], 2);
    assert_eq!(with("2", "?version=2").await.ok()["desired"]["version"], 2, "nothing changed");
}

#[tokio::test]
async fn what_cannot_be_wanted_is_refused() {
    let (house, secret) = House::with_lamp(Device::Away).await;
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(8192));
    let rows = [
        (r#"{"$version":1}"#, 400, "bad_twin"),
        (r#"{"a":[[[[[[[[1]]]]]]]]}"#, 400, "bad_twin"),
        (&long, 413, "twin_too_large"),
        ("[]", 400, "bad_field"),
        ("{", 400, "bad_json"),
    ];
    for (body, status, code) in rows {
        assert_eq!(house.patch("devices/lamp/twin/desired", body).await.problem(status).0, code, "{body}");
    }
    assert_eq!(house.patch("devices/none/twin/desired", "{}").await.problem(404).0, "no_such_device");
    assert_eq!(house.get("devices/lamp/twin/history?part=wanted").await.problem(400).0, "bad_query");
    assert_eq!(house.get("devices/lamp/twin/history?cursor=x").await.problem(400).0, "bad_cursor");
    let viewer = house.token("viewer").await;
    let refused = house.call_as(&viewer, Method::PATCH, "devices/lamp/twin/desired", "{}").await;
    assert_eq!(refused.problem(403).0, "role_too_low");
    let refused = house.call_as(&secret, Method::GET, "devices/lamp/twin", "").await;
    assert_eq!(refused.problem(401).0, "bad_token", "the secret is for uploads");
    assert_eq!(house.get("devices/lamp/twin").await.ok()["desired"]["version"], 0);
}

#[tokio::test]
async fn queries_and_groups_choose_by_twins() {
    let (house, _) = House::with_lamp(Device::Away).await;
    house.post("devices", r#"{"app":1,"id":"fan"}"#).await.ok();
    house.patch("devices/fan/twin/desired", r#"{"led":"on"}"#).await.ok();
    house.outside.up(house.lamp(), "dev/lamp/twin/reported", br#"{"led":"on","wifi":{"rssi":-70}}"#);
    house.settle().await;
    house.post("groups", r#"{"name":"lit","where":"twin.led = on or twin.desired.led = on"}"#).await.ok();
    for (query, wanted) in [
        ("where=twin.led%20=%20on", vec!["lamp"]),
        ("where=twin.desired.led%20=%20on%20and%20not%20online", vec!["fan"]),
        ("where=twin.wifi.rssi%20%3C%20-60%20and%20data.temp%20%3E%201", vec![]),
        ("group=lit", vec!["lamp", "fan"]),
    ] {
        let listed = house.get(&format!("devices?{query}")).await.ok();
        let found: Vec<&str> = listed["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(found, wanted, "{query}");
    }
}

#[tokio::test]
async fn it_is_said_when_a_device_has_no_way_to_be_told() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let opened = |protocol| Event::LineOpened { device: house.lamp(), protocol, remote: peer(), firmware: None, at: UnixMs(0) };
    house.outside.tell(opened("espush"));
    house.settle().await;
    assert!(house.get("devices/lamp/twin").await.ok().get("note").is_none(), "nothing is to be told");
    let twin = house.patch("devices/lamp/twin/desired", r#"{"led":"on"}"#).await.ok();
    assert!(twin["note"].as_str().unwrap().contains("espush"), "{twin}");
    house.outside.tell(opened("mqtt"));
    house.settle().await;
    assert!(house.get("devices/lamp/twin").await.ok().get("note").is_none());
}
