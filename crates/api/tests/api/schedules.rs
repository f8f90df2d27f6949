//! Pushes that recur.

use std::sync::atomic::Ordering;

use axum::http::Method;
use serde_json::{Value, json};

use crate::house::{Device, House};

const NIGHTLY: &str =
    r#"{"name":"night","push":{"audience":{"app":1},"json":{"b": 1}},"when":{"daily":"22:00","time_zone":"Asia/Shanghai"}}"#;

async fn look(house: &House) {
    house.schedules.look(&*house.carrier).await.unwrap();
}

#[tokio::test]
async fn a_schedule_pushes_to_who_is_there_at_its_moment() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let made = house.post("schedules", NIGHTLY).await.ok();
    assert_eq!((&made["id"], &made["paused"], &made["grace_s"]), (&1.into(), &false.into(), &3600.into()));
    assert_eq!(made["push"]["json"], json!({"b": 1}));
    assert!(made["next"].as_str().unwrap().ends_with("T14:00:00.000Z"), "{made}");
    assert_eq!(made["runs"], json!([]));
    house.post("devices", r#"{"app":1,"id":"later"}"#).await.ok();
    let next = model::UnixMs::parse(made["next"].as_str().unwrap()).unwrap();
    house.outside.ahead_ms.store(next.0 - contract::Clock::unix(&*house.outside).0, Ordering::Relaxed);
    house.call(Method::PATCH, "schedules/1", r#"{"name":"dusk"}"#).await.ok();
    look(&house).await;
    let shown = house.get("schedules/1").await.ok();
    let run = &shown["runs"][0];
    assert_eq!((&run["outcome"], &run["push"], &run["at"]), (&"pushed".into(), &1.into(), &made["next"]));
    house.settle().await;
    assert_eq!(house.get("pushes/1").await.ok()["devices"], 2, "also who was registered after the schedule was made");
    assert_eq!(&house.outside.given.lock()[0].payload[..], br#"{"b": 1}"#, "the very bytes that were written");
    assert_eq!(house.get("schedules/1/runs").await.ok()["items"], shown["runs"]);
    let list = house.get("schedules").await.ok();
    assert_eq!((&list["items"][0]["name"], &list["next"]), (&"dusk".into(), &Value::Null));
}

#[tokio::test]
async fn each_run_tells_its_push_or_why_there_is_none() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let order = |audience: &str| format!(r#"{{"name":"n","push":{{"audience":{audience},"text":"x"}},"when":{{"every_s":60}}}}"#);
    for audience in [r#"{"app":1}"#, r#"{"device":"ghost"}"#, r#"{"where":"app = 9"}"#, r#"{"devices":["lamp","ghost"]}"#] {
        house.post("schedules", &order(audience)).await.ok();
    }
    assert_eq!(house.call(Method::PATCH, "schedules/3", r#"{"paused":true}"#).await.ok()["next"], Value::Null);
    house.outside.ahead_ms.store(61_000, Ordering::Relaxed);
    look(&house).await;
    let run = |id: u64| {
        let house = &house;
        async move { house.get(&format!("schedules/{id}")).await.ok()["runs"][0].clone() }
    };
    assert_eq!((&run(1).await["outcome"], &run(1).await["push"]), (&"pushed".into(), &1.into()));
    assert_eq!((&run(2).await["outcome"], run(2).await.get("push")), (&"failed".into(), None));
    assert_eq!(run(2).await["detail"], "there is no device \"ghost\"; see the list of devices");
    assert_eq!(run(3).await, Value::Null);
    assert!(run(4).await["detail"].as_str().unwrap().contains("nothing was pushed"));
    let push = house.get("pushes/1").await.ok();
    assert_eq!((&push["sender"], &push["audience"]), (&"schedule 1 (n)".into(), &json!({"app": 1})));
    look(&house).await;
    assert_eq!(house.get("pushes").await.ok()["items"].as_array().unwrap().len(), 1, "nothing is run twice");
    assert_eq!(house.delete("schedules/1").await.status, 204);
    assert_eq!(house.get("schedules/1").await.problem(404).0, "no_such_schedule");
    assert_eq!(house.get("schedules/1/runs").await.problem(404).0, "no_such_schedule");
}

#[tokio::test]
async fn what_could_never_be_pushed_is_refused_at_once() {
    let house = House::new().await;
    let with = |push: &str, when: &str| format!(r#"{{"name":"n","push":{push},"when":{when}}}"#);
    let good = r#"{"audience":"all","text":"x"}"#;
    for (body, code) in [
        (with(good, "{}"), "bad_when"),
        (with(good, r#"{"daily":"25:00"}"#), "bad_when"),
        (with(good, r#"{"at":"2020-01-01T00:00:00Z"}"#), "bad_when"),
        (with(r#"{"audience":"all"}"#, r#"{"every_s":60}"#), "payload_missing"),
        (with(r#"{"audience":{"where":"app ="},"text":"x"}"#, r#"{"every_s":60}"#), "bad_where"),
        (with(r#"{"audience":"some","text":"x"}"#, r#"{"every_s":60}"#), "bad_audience"),
        (with(r#"{"audience":"all","text":"x","ttl_s":99999999}"#, r#"{"every_s":60}"#), "bad_ttl"),
        (with(r#"{"audience":"all","text":"x","wait_ms":5}"#, r#"{"every_s":60}"#), "bad_schedule"),
        (with(r#"{"audience":"all","text":"x","at":"2120-01-01T00:00:00Z"}"#, r#"{"every_s":60}"#), "bad_schedule"),
        (with(r#"{"audience":"all","txt":"x"}"#, r#"{"every_s":60}"#), "bad_field"),
        (r#"{"name":"n"}"#.to_owned(), "bad_field"),
        (r#"{"name":"","push":{"audience":"all","text":"x"},"when":{"every_s":60}}"#.to_owned(), "bad_name"),
        (r#"{"name":"n","grace_s":604801,"push":{"audience":"all","text":"x"},"when":{"every_s":60}}"#.to_owned(), "bad_grace"),
    ] {
        assert_eq!(house.post("schedules", &body).await.problem(400).0, code, "{body}");
    }
    assert_eq!(house.get("schedules").await.ok()["items"], json!([]));
    assert_eq!(house.call(Method::PATCH, "schedules/1", "{}").await.problem(404).0, "no_such_schedule");
    assert_eq!(house.delete("schedules/1").await.problem(404).0, "no_such_schedule");
}
