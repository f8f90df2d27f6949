//! Webhooks: making, changing, testing, replaying.

use contract::Event;
use contract::event::Change;
use serde_json::json;

use crate::house::{Device, House, edited, line_opened};

const NEW: &str = r#"{"name":"ops","url":"https://example.org/hook"}"#;

#[tokio::test]
async fn the_secret_is_shown_once_and_the_rest_as_often_as_one_likes() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let made = house.post("webhooks", NEW).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let shown = house.get("webhooks/1").await.ok();
    assert_eq!(shown["secret"], json!(null));
    assert_eq!((&shown["active"], &shown["waiting"], &shown["kinds"]), (&json!(true), &json!(0), &json!([])));
    assert_eq!(house.get("webhooks").await.ok()["items"], json!([shown]));
    let again = house.post("webhooks/1/secret", r#"{"overlap_s":60}"#).await.ok();
    assert_ne!(again["secret"], made["secret"]);
    assert!(again["old_secret_until"].is_string());
    let edited = house.patch("webhooks/1", r#"{"kinds":["presence"],"where":"id = lamp","active":false}"#).await.ok();
    assert_eq!((&edited["where"], &edited["active"]), (&json!("id = lamp"), &json!(false)));
    assert_eq!(house.delete("webhooks/1").await.status, 204);
    assert_eq!(house.get("webhooks/1").await.problem(404).0, "no_such_webhook");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (house, _) = House::with_lamp(Device::Away).await;
    for (body, code) in [
        (r#"{"name":"","url":"https://example.org"}"#, "bad_name"),
        (r#"{"name":"x","url":"example.org"}"#, "bad_url"),
        (r#"{"name":"x","url":"http://10.0.0.1/"}"#, "address_refused"),
        (r#"{"name":"x","url":"https://example.org","kinds":["weather"]}"#, "bad_kind"),
        (r#"{"name":"x","url":"https://example.org","where":"id ="}"#, "bad_where"),
        (r#"{"name":"x","url":"https://example.org","secret":"mine"}"#, "bad_field"),
    ] {
        assert_eq!(house.post("webhooks", body).await.problem(400).0, code);
    }
    house.post("webhooks", NEW).await.ok();
    assert_eq!(house.post("webhooks/1/secret", r#"{"overlap_s":99999999}"#).await.problem(400).0, "bad_overlap");
    assert_eq!(house.post("webhooks/1/replay", r#"{"delivery":7}"#).await.problem(404).0, "no_such_delivery");
    let viewer = house.token("viewer").await;
    let refused = house.call_as(&viewer, axum::http::Method::GET, "webhooks", "").await;
    assert_eq!(refused.problem(403).0, "role_too_low");
}

#[tokio::test]
async fn events_come_as_watchers_have_them_even_while_nobody_watches() {
    let (house, _) = House::with_lamp(Device::Away).await;
    house.post("webhooks", r#"{"name":"ops","url":"https://example.org/hook","where":"id = lamp"}"#).await.ok();
    house.post("devices", r#"{"app":1,"id":"fan"}"#).await.ok();
    house.settle().await;
    house.outside.tell(line_opened(house.lamp()));
    house.outside.tell(edited(house.fleet.number_of("fan").unwrap()));
    house.outside.tell(edited(house.lamp()));
    house.settle().await;
    let lamp = house.lamp();
    house.delete("devices/lamp").await;
    house.outside.tell(Event::DeviceChanged { device: lamp, change: Change::Removed });
    house.settle().await;
    house.webhooks.take_in(&*house.chooser).await.unwrap();
    house.webhooks.deliver(1).await.unwrap();
    let posted: Vec<serde_json::Value> =
        house.outside.posted.lock().iter().map(|parcel| serde_json::from_str(&parcel.body).unwrap()).collect();
    let seen = |event: &str, change: &str| {
        let fits = |body: &&serde_json::Value| body["event"] == event && (change.is_empty() || body["data"]["change"] == change);
        posted.iter().filter(fits).count()
    };
    assert_eq!(seen("presence", ""), 1, "{posted:?}");
    assert!(seen("device", "removed") >= 1, "its end is not missed: {posted:?}");
    assert!(posted.iter().all(|body| body["id"].is_string()));
}

#[tokio::test]
async fn a_test_tells_what_the_target_said_and_what_failed_can_be_replayed() {
    let house = House::new().await;
    house.post("webhooks", NEW).await.ok();
    assert_eq!(house.post("webhooks/1/test", "").await.ok(), json!({ "taken": true }));
    *house.outside.target_says.lock() = Err("cannot reach it".into());
    assert_eq!(house.post("webhooks/1/test", "").await.ok(), json!({ "taken": false, "why": "cannot reach it" }));
    house.post("apps", r#"{"name":"lamps"}"#).await.ok();
    house.post("devices", r#"{"app":1,"id":"lamp"}"#).await.ok();
    house.settle().await;
    house.webhooks.take_in(&*house.chooser).await.unwrap();
    for _ in 0..2 {
        house.webhooks.deliver(1).await.unwrap();
        house.outside.ahead_ms.fetch_add(60_000, std::sync::atomic::Ordering::Relaxed);
    }
    let shown = house.get("webhooks/1").await.ok();
    assert_eq!((&shown["waiting"], &shown["last_error"]), (&json!(0), &json!("cannot reach it")));
    let failed = house.get("webhooks/1/failed").await.ok();
    assert_eq!(failed["items"][0]["body"]["data"]["change"], "registered");
    assert_eq!(failed["items"][0]["tries"], 2);
    assert_eq!(house.post("webhooks/1/replay", "").await.ok(), json!({ "replayed": shown["failed"] }));
    *house.outside.target_says.lock() = Ok(200);
    house.webhooks.deliver(1).await.unwrap();
    assert_eq!(house.get("webhooks/1/failed").await.ok()["items"], json!([]));
}
