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

#[tokio::test]
async fn a_schedule_is_changed_as_it_is_made() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    house.post("schedules", NIGHTLY).await.ok();
    let operator = house.token("operator").await;
    let change = r#"{"name":"dawn","push":{"audience":{"device":"lamp"},"text":"on"},"when":{"weekly":{"days":["mon"],"time":"06:00"}},"grace_s":60}"#;
    let changed = house.call_as(&operator, Method::PATCH, "schedules/1", change).await.ok();
    assert_eq!((&changed["name"], &changed["grace_s"], &changed["push"]["text"]), (&"dawn".into(), &60.into(), &"on".into()));
    assert!(changed["sender"].as_str().unwrap().starts_with("operator"), "{changed}");
    assert!(changed["next"].as_str().unwrap().contains("T06:00"), "{changed}");
    assert_eq!(house.get("schedules/1").await.ok(), changed);
    for (body, code, at) in [
        (r#"{"push":{"audience":{"where":"app = x"},"text":"x"}}"#, "bad_where", "push: "),
        (r#"{"push":{"audience":"all"}}"#, "payload_missing", "push: "),
        (r#"{"push":{"audience":"all","text":"x","wait_ms":5}}"#, "bad_schedule", "push: "),
        (r#"{"when":{"daily":"7:30"}}"#, "bad_when", "when: "),
        (r#"{"when":{"at":5}}"#, "bad_when", "when: "),
        (r#"{"name":""}"#, "bad_name", ""),
        (r#"{"grace_s":9999999}"#, "bad_grace", "grace_s"),
    ] {
        let (found, detail) = house.patch("schedules/1", body).await.problem(400);
        assert!(found == code && detail.starts_with(at), "{body}: {found} {detail}");
    }
    assert_eq!(house.get("schedules/1").await.ok(), changed, "what was refused changed nothing");
    let moments = house.post("schedules/preview", r#"{"when":{"every_s":60}}"#).await.ok();
    assert_eq!(moments["next"].as_array().unwrap().len(), 5);
    let (code, detail) = house.post("schedules/preview", r#"{"when":{"cron":"61 * * * *"}}"#).await.problem(400);
    assert!(code == "bad_when" && detail.contains("61"), "{detail}");
    assert_eq!(house.get("schedules").await.ok()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_group_that_a_schedule_names_stays() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    for (name, query) in [("lamps", "id starts lamp"), ("all of it", "online or not online")] {
        house.post("groups", &json!({ "name": name, "where": query }).to_string()).await.ok();
    }
    let schedule =
        |audience: Value| json!({ "name": "night", "push": { "audience": audience, "text": "off" }, "when": { "every_s": 60 } });
    house.post("schedules", &schedule(json!({ "group": "lamps" })).to_string()).await.ok();
    house.post("schedules", &schedule(json!({ "where": "app = 1 and not group = \"all of it\"" })).to_string()).await.ok();
    for (path, named) in [("groups/lamps", "1 (\"night\")"), ("groups/all%20of%20it", "2 (\"night\")")] {
        for answer in [house.delete(path).await, house.patch(path, r#"{"name":"other"}"#).await] {
            let (code, detail) = answer.problem(409);
            assert!(code == "group_in_use" && detail.contains(named), "{detail}");
        }
    }
    // Another query is what the name is for: the next run takes it.
    house.post("devices", r#"{"app":1,"id":"fan"}"#).await.ok();
    house.patch("groups/lamps", r#"{"name":"lamps","where":"id in (lamp, fan)"}"#).await.ok();
    house.outside.ahead_ms.store(61_000, Ordering::Relaxed);
    look(&house).await;
    house.settle().await;
    assert_eq!(house.get("pushes/1").await.ok()["devices"], 2);
    house.patch("schedules/1", r#"{"push":{"audience":"all","text":"off"}}"#).await.ok();
    assert_eq!(house.delete("groups/lamps").await.status, 204);
    assert_eq!(house.delete("schedules/2").await.status, 204);
    assert_eq!(house.delete("groups/all%20of%20it").await.status, 204);
    let (code, _) = house.patch("schedules/1", r#"{"push":{"audience":{"group":"lamps"},"text":"x"}}"#).await.problem(404);
    assert_eq!(code, "no_such_group");
}
