//! Pushes by JSON.

use contract::{Consumer, Event};

use crate::house::{Device, House};

fn to_lamp(rest: &str) -> String {
    format!(r#"{{"audience":{{"device":"lamp"}},{rest}}}"#)
}

#[tokio::test]
async fn a_push_to_a_device_that_is_there_is_delivered() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let push = house.post("push", &to_lamp(r#""text":"on","wait_ms":60000"#)).await.ok();
    assert_eq!((&push["id"], &push["order"], &push["text"]), (&1.into(), &"message".into(), &"on".into()));
    assert_eq!((&push["audience"]["device"], &push["counts"]), (&"lamp".into(), &serde_json::json!({"delivered": 1})));
    let delivery = &push["deliveries"][0];
    assert_eq!((&delivery["device"], &delivery["state"]), (&"lamp".into(), &"delivered".into()));
    assert!(delivery.get("detail").is_none() && delivery.get("answer").is_none());
    let given = house.outside.given.lock().pop().unwrap();
    assert_eq!((given.topic.as_str(), &given.payload[..]), ("dev/lamp/push", &b"on"[..]));
}

#[tokio::test]
async fn every_spelling_of_the_payload_arrives_as_those_bytes() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let rows = [
        (r#""text":"灯""#, "灯".as_bytes()),
        (r#""hex":"00 ff""#, b"\x00\xff"),
        (r#""base64":"AP8=""#, b"\x00\xff"),
        (r#""json":{"b": 1,"a":[1.50]}"#, br#"{"b": 1,"a":[1.50]}"#),
        (r#""text":"""#, b""),
    ];
    for (body, want) in rows {
        house.post("push", &to_lamp(body)).await.ok();
        house.settle().await;
        assert_eq!(house.outside.given.lock().pop().unwrap().payload, want, "{body}");
    }
}

#[tokio::test]
async fn an_ask_and_a_command_bring_the_answer() {
    let (house, _) = House::with_lamp(Device::Answers(br#"{"state":"on"}"#)).await;
    let push = house.post("push", &to_lamp(r#""text":"on","ask":true,"wait_ms":60000"#)).await.ok();
    assert_eq!(push["deliveries"][0]["state"], "applied");
    assert_eq!(push["deliveries"][0]["answer"]["text"], r#"{"state":"on"}"#);
    *house.outside.device.lock() = Device::Answers(br#"{"error":"busy"}"#);
    let push = house.post("push", &to_lamp(r#""command":"reboot","wait_ms":60000"#)).await.ok();
    assert_eq!((&push["order"], &push["deliveries"][0]["state"]), (&"reboot".into(), &"failed".into()));
    assert_eq!(push["deliveries"][0]["detail"], "busy");
    *house.outside.device.lock() = Device::Answers(b"\x00");
    let push = house.post("push", &to_lamp(r#""text":"on","ask":true,"wait_ms":60000"#)).await.ok();
    assert_eq!(push["deliveries"][0]["answer"]["hex"], "00");
}

#[tokio::test]
async fn a_push_to_a_device_that_is_away_waits_and_is_seen_and_cancelled() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let push = house.post("push", &to_lamp(r#""text":"on","wait_ms":60000"#)).await.ok();
    assert_eq!(push["deliveries"][0]["state"], "queued");
    assert_eq!(push["deliveries"][0]["detail"], "the device is away");
    assert!(push["expires"].is_string());
    assert_eq!(house.get("pushes/1").await.ok(), push);
    let list = house.get("pushes").await.ok();
    assert_eq!((&list["items"][0]["id"], &list["items"][0]["counts"]["queued"]), (&1.into(), &1.into()));
    assert_eq!(house.get("pushes/1/deliveries").await.ok()["items"], push["deliveries"]);
    assert_eq!(house.delete("pushes/1").await.status, 204);
    assert_eq!(house.get("pushes/1").await.ok()["counts"], serde_json::json!({"cancelled": 1}));
    for path in ["pushes/9", "pushes/9/deliveries", "pushes/18446744073709551615"] {
        assert_eq!(house.get(path).await.problem(404).0, "no_such_push");
    }
    assert_eq!(house.delete("pushes/9").await.problem(404).0, "no_such_push");
}

#[tokio::test]
async fn now_or_never_and_a_device_that_comes_back() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let never = house.post("push", &to_lamp(r#""text":"on","ttl_s":0,"wait_ms":60000"#)).await.ok();
    assert_eq!((&never["deliveries"][0]["state"], &never["expires"]), (&"expired".into(), &().into()));
    house.post("push", &to_lamp(r#""text":"on""#)).await.ok();
    house.settle().await;
    *house.outside.device.lock() = Device::Quiet;
    house.push.on_event(&Event::Listening { device: house.lamp() });
    house.settle().await;
    assert_eq!(house.get("pushes/2").await.ok()["counts"], serde_json::json!({"delivered": 1}));
}

#[tokio::test]
async fn the_same_key_is_the_same_push() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let body = to_lamp(r#""text":"on","idempotency_key":"order-1","wait_ms":60000"#);
    let first = house.post("push", &body).await.ok();
    let second = house.post("push", &body).await.ok();
    assert_eq!(first, second);
    assert_eq!(house.outside.given.lock().len(), 1);
}

#[tokio::test]
async fn lists_of_pushes_are_paged_newest_first() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    for _ in 0..3 {
        house.post("push", &to_lamp(r#""text":"on""#)).await.ok();
    }
    let page = house.get("pushes?limit=2").await.ok();
    assert_eq!((&page["items"][0]["id"], &page["items"][1]["id"]), (&3.into(), &2.into()));
    let rest = house.get(&format!("pushes?limit=2&cursor={}", page["next"].as_str().unwrap())).await.ok();
    assert_eq!((&rest["items"][0]["id"], &rest["next"]), (&1.into(), &().into()));
    assert_eq!(house.get("pushes?cursor=x").await.problem(400).0, "bad_cursor");
}

#[tokio::test]
async fn what_cannot_be_pushed_is_refused_with_its_name() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let rows = [
        (r#"{"audience":{"device":"none"},"text":"on"}"#.to_owned(), 404, "no_such_device"),
        (r#"{"audience":{"device":"lamp","app":1},"text":"on"}"#.to_owned(), 400, "bad_audience"),
        (r#"{"text":"on"}"#.to_owned(), 400, "bad_field"),
        (to_lamp(r#""ask":true"#), 400, "payload_missing"),
        (to_lamp(r#""text":"a","hex":"00""#), 400, "payload_ambiguous"),
        (to_lamp(r#""hex":"0""#), 400, "bad_field"),
        (to_lamp(r#""base64":"?""#), 400, "bad_field"),
        (to_lamp(r#""text":"a","ask":true,"command":"reboot""#), 400, "order_ambiguous"),
        (to_lamp(r#""command":"RE/BOOT""#), 400, "bad_command"),
        (to_lamp(r#""text":"a","ttl_s":99999999"#), 400, "bad_ttl"),
        (to_lamp(r#""text":"a","ttl_s":-1"#), 400, "bad_field"),
        (to_lamp(r#""text":"a","wait_ms":60001"#), 400, "bad_wait"),
        (to_lamp(r#""text":"a","idempotency_key":"""#), 400, "bad_idempotency_key"),
        (to_lamp(r#""text":"a","colapse":"x""#), 400, "bad_field"),
        (to_lamp(&format!(r#""text":"{}""#, "x".repeat(256 * 1024))), 413, "payload_too_large"),
        (to_lamp(&format!(r#""text":"{}""#, "x".repeat(600 * 1024))), 413, "body_too_large"),
    ];
    for (body, status, code) in rows {
        assert_eq!(house.post("push", &body).await.problem(status).0, code, "{:.80}", body);
    }
    assert!(house.outside.given.lock().is_empty());
    assert_eq!(house.get("pushes").await.ok()["items"], serde_json::json!([]));
}

#[tokio::test]
async fn a_full_queue_is_said_so() {
    let (house, _) = House::with_lamp(Device::Away).await;
    for _ in 0..100 {
        house.post("push", &to_lamp(r#""text":"on""#)).await.ok();
    }
    let full = house.post("push", &to_lamp(r#""text":"on""#)).await.problem(409);
    assert_eq!(full.0, "device_queue_full");
    assert!(full.1.contains("cancel"), "{}", full.1);
}

#[tokio::test]
async fn a_newer_push_with_the_same_collapse_key_replaces_what_waits() {
    let (house, _) = House::with_lamp(Device::Away).await;
    for text in ["red", "blue"] {
        let push = house.post("push", &to_lamp(&format!(r#""text":"{text}","collapse":"colour","wait_ms":60000"#))).await.ok();
        assert_eq!((&push["collapse"], &push["deliveries"][0]["state"]), (&"colour".into(), &"queued".into()));
    }
    house.push.flush().await;
    let delivery = &house.get("pushes/1").await.ok()["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["detail"]), (&"replaced".into(), &"push 2 took its place".into()));
    for bad in ["".to_owned(), "k".repeat(65)] {
        let refused = house.post("push", &to_lamp(&format!(r#""text":"x","collapse":"{bad}""#))).await;
        assert_eq!(refused.problem(400).0, "bad_collapse");
    }
}

#[tokio::test]
async fn a_push_is_sent_again_where_it_did_not_arrive() {
    let (house, _) = House::with_lamp(Device::Refuses("too large")).await;
    house.post("push", &to_lamp(r#""text":"on","ask":true,"wait_ms":60000"#)).await.ok();
    *house.outside.device.lock() = Device::Answers(b"ok");
    let again = r#"{"idempotency_key":"k","wait_ms":60000}"#;
    let second = house.post("pushes/1/resend", again).await.ok();
    assert_eq!((&second["id"], &second["resend_of"], &second["text"]), (&2.into(), &1.into(), &"on".into()));
    assert_eq!(second["deliveries"][0]["state"], "applied");
    assert_eq!(second["audience"], serde_json::json!({"push": 1, "states": ["failed", "expired", "refused"]}));
    assert_eq!(house.post("pushes/1/resend", again).await.ok()["id"], 2, "the same key is the same push");
    for (path, body, status, code) in [
        ("pushes/2/resend", "{}", 409, "nothing_to_resend"),
        ("pushes/1/resend", r#"{"states":["expired"]}"#, 409, "nothing_to_resend"),
        ("pushes/1/resend", r#"{"states":[]}"#, 409, "nothing_to_resend"),
        ("pushes/1/resend", r#"{"states":["queued"]}"#, 400, "bad_states"),
        ("pushes/1/resend", r#"{"states":["applied"]}"#, 400, "bad_states"),
        ("pushes/1/resend", r#"{"states":["lost"]}"#, 400, "bad_field"),
        ("pushes/1/resend", r#"{"wait_ms":60001}"#, 400, "bad_wait"),
        ("pushes/9/resend", "{}", 404, "no_such_push"),
    ] {
        assert_eq!(house.post(path, body).await.problem(status).0, code, "{path} {body}");
    }
}

#[tokio::test]
async fn a_push_may_go_slowly_and_start_later() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let at = model::UnixMs(contract::Clock::unix(&*house.outside).0 + 3_600_000);
    let body = to_lamp(&format!(r#""text":"on","per_second":3,"at":{},"wait_ms":1"#, serde_json::to_string(&at).unwrap()));
    let push = house.post("push", &body).await.ok();
    assert_eq!((&push["per_second"], &push["at"]), (&3.into(), &serde_json::to_value(at).unwrap()));
    assert_eq!((&push["remaining"], &push["devices"], &push["counts"]), (&1.into(), &1.into(), &serde_json::json!({})));
    assert_eq!(house.delete("pushes/1").await.status, 204);
    house.push.flush().await;
    house.push.flush().await;
    assert_eq!(house.get("pushes/1").await.ok()["counts"], serde_json::json!({"cancelled": 1}));
    for (rest, code) in [
        (r#""per_second":0"#, "bad_per_second"),
        (r#""per_second":100001"#, "bad_per_second"),
        (r#""per_second":1.5"#, "bad_field"),
        (r#""at":"2020-01-01T00:00:00Z""#, "bad_at"),
        (r#""at":"2120-01-01T00:00:00Z""#, "bad_at"),
        (r#""at":"tomorrow""#, "bad_field"),
    ] {
        assert_eq!(house.post("push", &to_lamp(&format!(r#""text":"on",{rest}"#))).await.problem(400).0, code, "{rest}");
    }
}

#[tokio::test]
async fn what_waits_goes_out_by_priority() {
    let (house, _) = House::with_lamp(Device::Away).await;
    for priority in ["low", "normal", "high"] {
        let push =
            house.post("push", &to_lamp(&format!(r#""text":"{priority}","priority":"{priority}","wait_ms":60000"#))).await.ok();
        let shown = if priority == "normal" { serde_json::Value::Null } else { priority.into() };
        assert_eq!(push["priority"], shown, "{push}");
    }
    *house.outside.device.lock() = Device::Quiet;
    house.outside.given.lock().clear();
    house.push.on_event(&Event::Listening { device: house.lamp() });
    house.push.flush().await;
    let given: Vec<_> = house.outside.given.lock().iter().map(|message| message.payload.clone()).collect();
    assert_eq!(given, [&b"high"[..], b"normal", b"low"]);
    assert_eq!(house.post("push", &to_lamp(r#""text":"x","priority":"urgent""#)).await.problem(400).0, "bad_field");
}

#[tokio::test]
async fn a_device_has_its_pushes_and_each_delivery_its_steps() {
    let (house, _) = House::with_lamp(Device::Answers(b"ok")).await;
    house.post("devices", r#"{"app":1,"id":"other"}"#).await.ok();
    house.post("push", &to_lamp(r#""text":"on","ask":true,"wait_ms":60000"#)).await.ok();
    house.post("push", r#"{"audience":{"device":"other"},"text":"x","wait_ms":60000}"#).await.ok();
    *house.outside.device.lock() = Device::Away;
    house.post("push", &to_lamp(r#""text":"off","wait_ms":60000"#)).await.ok();
    let items = house.get("devices/lamp/deliveries").await.ok()["items"].clone();
    assert_eq!((&items[0]["push"], &items[0]["state"], &items[1]["push"]), (&3.into(), &"queued".into(), &1.into()));
    let steps: Vec<_> = items[1]["steps"].as_array().unwrap().iter().map(|step| step["state"].as_str().unwrap()).collect();
    assert_eq!(steps, ["queued", "sent", "delivered", "applied"]);
    assert_eq!(items[0]["steps"][1]["detail"], "the device is away");
    assert_eq!(house.get("pushes/1").await.ok()["deliveries"][0]["steps"], items[1]["steps"]);
    let page = house.get("devices/lamp/deliveries?limit=1").await.ok();
    assert_eq!(page["next"], "3");
    assert_eq!(house.get("devices/lamp/deliveries?limit=1&cursor=3").await.ok()["items"][0], items[1]);
    let pushes = house.get("pushes?device=lamp").await.ok();
    let ids: Vec<_> = pushes["items"].as_array().unwrap().iter().map(|push| push["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [3, 1]);
    for path in ["devices/ghost/deliveries", "pushes?device=ghost"] {
        assert_eq!(house.get(path).await.problem(404).0, "no_such_device");
    }
}

#[tokio::test]
async fn null_is_json_like_any_other() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    house.post("push", r#"{"audience":{"device":"lamp"},"json":null}"#).await.ok();
    house.post("push", r#"{"audience":{"device":"lamp"},"json": {"a":null} }"#).await.ok();
    house.settle().await;
    let given: Vec<_> = house.outside.given.lock().iter().map(|given| given.payload.clone()).collect();
    assert_eq!(given, [&b"null"[..], br#"{"a":null}"#]);
    // Of the others, null is nothing at all.
    assert_eq!(house.post("push", r#"{"audience":{"device":"lamp"},"text":null}"#).await.problem(400).0, "payload_missing");
    assert_eq!(
        house.post("push", r#"{"audience":{"device":"lamp"},"text":"a","json":null}"#).await.problem(400).0,
        "payload_ambiguous"
    );
}
