//! Pushes to many, what they would do, and lists by query.

use axum::http::Method;
use contract::Consumer;
use serde_json::{Value, json};

use crate::house::{Device, House, line_opened};

/// A house with two apps: `a` and `b` in the kitchen (app 1, `a` with the alias `lounge`), `c` outside (app 2).
async fn three(device: Device) -> House {
    let house = House::new().await;
    *house.outside.device.lock() = device;
    for app in ["lamps", "fans"] {
        house.post("apps", &json!({ "name": app }).to_string()).await.ok();
    }
    for (id, app, alias, tags) in
        [("a", 1, "lounge", vec!["kitchen", "new"]), ("b", 1, "", vec!["kitchen"]), ("c", 2, "", vec![])]
    {
        house.post("devices", &json!({ "id": id, "app": app, "alias": alias, "tags": tags }).to_string()).await.ok();
    }
    house
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["device"].as_str().or(item["id"].as_str()).unwrap()).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[tokio::test]
async fn every_way_to_say_who_is_meant() {
    let house = three(Device::Quiet).await;
    house.post("devices/c/points", r#"{"temp": 31}"#).await.ok();
    let rows = [
        (json!("all"), vec!["a", "b", "c"]),
        (json!({"device": "b"}), vec!["b"]),
        (json!({"devices": ["c", "a", "c"]}), vec!["a", "c"]),
        (json!({"alias": "lounge"}), vec!["a"]),
        (json!({"app": 1}), vec!["a", "b"]),
        (json!({"tags": {"all": ["kitchen", "new"]}}), vec!["a"]),
        (json!({"tags": {"any": ["new", "kitchen"], "none": ["new"]}}), vec!["b"]),
        (json!({"tags": {"none": ["kitchen"]}}), vec!["c"]),
        (json!({"where": "app = 2 or tags has new"}), vec!["a", "c"]),
        (json!({"query": "data.temp > 30"}), vec!["c"]),
    ];
    for (audience, wanted) in rows {
        let body = json!({"audience": audience, "text": "on", "wait_ms": 60000});
        let push = house.post("push", &body.to_string()).await.ok();
        assert_eq!(ids(&push["deliveries"]), wanted, "{audience}");
        assert_eq!(push["counts"], json!({"delivered": wanted.len()}), "{audience}");
        assert_eq!((&push["devices"], &push["remaining"], &push["audience"]), (&json!(wanted.len()), &json!(0), &audience));
        // The preview says the same.
        let preview = house.post("push/preview", &body.to_string().replace(r#","wait_ms":60000"#, "")).await.ok();
        assert_eq!((ids(&preview["items"]), &preview["devices"]), (wanted.clone(), &json!(wanted.len())), "{audience}");
    }
    let shown = house.get("pushes/1?deliveries=false").await.ok();
    assert!(shown.get("deliveries").is_none() && shown["devices"] == 3, "{shown}");
}

#[tokio::test]
async fn an_upload_that_was_acknowledged_counts_in_the_next_query() {
    let house = three(Device::Quiet).await;
    let warm = async || house.get(&format!("devices?where={}", encoded("data.temp > 30"))).await.ok();
    assert_eq!(warm().await["items"], json!([]));
    for (temp, wanted) in [(31, vec!["a"]), (29, vec![])] {
        house.post("devices/a/points", &json!({"temp": temp}).to_string()).await.ok();
        assert_eq!(ids(&warm().await["items"]), wanted);
    }
}

#[tokio::test]
async fn lists_take_the_same_language_under_both_names() {
    let house = three(Device::Away).await;
    for name in ["where", "query"] {
        let page = house.get(&format!("devices?{name}={}&limit=1", encoded("tags has kitchen"))).await.ok();
        assert_eq!(ids(&page["items"]), ["a"]);
        let cursor = page["next"].as_str().unwrap();
        let rest = house.get(&format!("devices?{name}={}&cursor={cursor}", encoded("tags has kitchen"))).await.ok();
        assert_eq!((ids(&rest["items"]), &rest["next"]), (vec!["b"], &Value::Null));
    }
    assert_eq!(ids(&house.get(&format!("devices?q=B&where={}", encoded("app = 1"))).await.ok()["items"]), ["b"]);
    assert_eq!(house.get("devices?where=").await.ok()["items"].as_array().unwrap().len(), 3, "nothing asked is everybody");
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_said_with_its_place() {
    let house = three(Device::Away).await;
    let answers = [
        house.get(&format!("devices?where={}", encoded("app = 1 and temp > 30"))).await,
        house.post("push", r#"{"audience":{"where":"app = 1 and temp > 30"},"text":"on"}"#).await,
        house.post("push/preview", r#"{"audience":{"where":"app = 1 and temp > 30"}}"#).await,
    ];
    for answer in answers {
        assert_eq!(answer.problem(400), ("bad_where".to_owned(), "at character 13: unknown field `temp`".to_owned()));
        let json = answer.json();
        assert_eq!((&json["position"], &json["hint"]), (&json!(13), &json!("did you mean `data.temp`?")));
    }
}

#[tokio::test]
async fn who_cannot_be_meant_is_an_error_and_nothing_is_pushed() {
    let house = three(Device::Quiet).await;
    let many: Vec<String> = (0..1001).map(|i| format!("d{i}")).collect();
    let rows = [
        (json!({"devices": ["a", "x", "y"]}), 404, "no_such_device"),
        (json!({"app": 99}), 404, "no_such_app"),
        (json!({"devices": []}), 404, "audience_empty"),
        (json!({"alias": "nobody"}), 404, "audience_empty"),
        (json!({"tags": {"all": ["nothing"]}}), 404, "audience_empty"),
        (json!({"where": "online"}), 404, "audience_empty"),
        (json!({"devices": many}), 400, "audience_too_long"),
        (json!({"tags": {}}), 400, "bad_audience"),
        (json!({"tags": {"some": ["a"]}}), 400, "bad_audience"),
        (json!({"tags": {"any": [""]}}), 400, "bad_audience"),
        (json!({"tags": {"any": vec!["t"; 300]}}), 400, "bad_audience"),
        (json!({"alias": ""}), 400, "bad_audience"),
        (json!({"app": "one"}), 400, "bad_audience"),
        (json!({"app": 1, "alias": "lounge"}), 400, "bad_audience"),
        (json!({"everybody": true}), 400, "bad_audience"),
        (json!("everybody"), 400, "bad_audience"),
        (json!({"where": ""}), 400, "bad_where"),
    ];
    for (audience, status, code) in rows {
        let answer = house.post("push", &json!({"audience": audience, "text": "on"}).to_string()).await;
        assert_eq!(answer.problem(status).0, code, "{audience}");
    }
    let unknown = house.post("push", r#"{"audience":{"devices":["a","x","y"]},"text":"on"}"#).await.problem(404).1;
    assert_eq!(unknown, r#"there are no devices "x", "y"; nothing was pushed"#);
    assert!(house.outside.given.lock().is_empty());
    assert_eq!(house.get("pushes").await.ok()["items"], json!([]));
    let viewer = house.token("viewer").await;
    let order = r#"{"audience":"all","text":"on"}"#;
    assert_eq!(house.call_as(&viewer, Method::POST, "push", order).await.status, 403);
    assert_eq!(house.call_as(&viewer, Method::POST, "push/preview", order).await.status, 200, "looking is not pushing");
}

#[tokio::test]
async fn a_preview_tells_who_now_who_later_who_not_and_why() {
    let house = three(Device::Away).await;
    let (a, c) = (house.fleet.number_of("a").unwrap(), house.fleet.number_of("c").unwrap());
    house.fleet.on_event(&line_opened(a));
    house.fleet.on_event(&contract::Event::LineOpened {
        device: c,
        protocol: "espush",
        remote: crate::house::peer(),
        firmware: None,
        at: model::UnixMs(0),
    });
    for _ in 0..100 {
        house.post("push", r#"{"audience":{"device":"b"},"text":"on"}"#).await.ok();
    }
    let preview = async |query: &str, body: Value| house.post(&format!("push/preview{query}"), &body.to_string()).await.ok();
    // ES-PUSH carries 8 bytes in this house.
    let said = preview("", json!({"audience": {"devices": ["a", "b", "c", "x"]}, "text": "nine byte"})).await;
    assert_eq!((&said["devices"], &said["counts"]), (&json!(4), &json!({"now": 1, "later": 0, "not": 3})));
    let reasons: Vec<(&str, u64)> = said["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| (reason["reason"].as_str().unwrap(), reason["devices"].as_u64().unwrap()))
        .collect();
    assert_eq!(reasons, [("unknown_device", 1), ("payload_too_large", 1), ("queue_full", 1)]);
    assert_eq!(said["unknown"], json!(["x"]));
    assert_eq!(said["items"][0], json!({"device": "a", "online": true, "protocol": "mqtt", "outcome": "now"}));
    assert_eq!(said["items"][1]["reason"], "queue_full");

    house.delete("devices/b").await;
    house.post("devices", r#"{"id":"d","app":1}"#).await.ok();
    let body = json!({"audience": "all", "ttl_s": 0});
    let said = preview("", body.clone()).await;
    assert_eq!(said["counts"], json!({"now": 2, "later": 0, "not": 1}));
    assert_eq!((&said["reasons"][0]["reason"], said["reasons"].as_array().unwrap().len()), (&json!("away"), 1));
    assert_eq!(ids(&preview("?outcome=not", body.clone()).await["items"]), ["d"]);
    let page = preview("?limit=1&outcome=now", body.clone()).await;
    assert_eq!((ids(&page["items"]), page["counts"]["now"].as_u64()), (vec!["a"], Some(2)), "counts are of all pages");
    let rest = preview(&format!("?outcome=now&cursor={}", page["next"].as_str().unwrap()), body).await;
    assert_eq!((ids(&rest["items"]), &rest["next"]), (vec!["c"], &Value::Null));
    assert_eq!(preview("", json!({"audience": {"alias": "none"}})).await["devices"], 0, "an empty audience is an answer here");
    assert_eq!(house.get("pushes?limit=1").await.ok()["items"][0]["id"], 100, "nothing was pushed");
    let large = json!({"audience": "all", "text": "x".repeat(256 * 1024)});
    assert_eq!(house.post("push/preview", &large.to_string()).await.problem(413).0, "payload_too_large");
}

#[tokio::test]
async fn a_push_to_thousands_is_made_while_others_are_served() {
    let house = three(Device::Quiet).await;
    for number in 0..2500 {
        let device = fleet::NewDevice { id: Some(format!("d{number}")), ..fleet::NewDevice::of(model::AppId(2)) };
        house.fleet.create_device(device).await.unwrap();
    }
    let push = house.post("push", r#"{"audience":{"app":2},"text":"on","wait_ms":60000,"idempotency_key":"k"}"#).await.ok();
    assert_eq!((&push["counts"], &push["remaining"]), (&json!({"delivered": 2501}), &json!(0)));
    assert_eq!(push["deliveries"].as_array().unwrap().len(), 1000, "a page of them");
    let again = house.post("push", r#"{"audience":{"app":2},"text":"on","idempotency_key":"k"}"#).await.ok();
    assert_eq!(again["id"], push["id"]);
    assert_eq!(house.outside.given.lock().len(), 2501);
}

#[tokio::test]
async fn groups_are_audiences_and_parts_of_queries() {
    let (house, _) = House::with_lamp(Default::default()).await;
    house.post("devices", r#"{"app":1,"id":"fan"}"#).await.ok();
    let made = house.post("groups", r#"{"name":"kitchen boards","where":"id = lamp"}"#).await;
    assert_eq!(made.status, 201);
    assert_eq!(house.post("groups", r#"{"name":"rest","where":"not group = 'kitchen boards'"}"#).await.status, 201);
    let ids = async |path: &str| {
        house.get(path).await.ok()["items"].as_array().unwrap().iter().map(|i| i["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids("devices?group=kitchen%20boards").await, ["lamp"]);
    assert_eq!(ids("devices?group=rest&where=app+%3D+1+or+online").await, ["fan"]);
    assert_eq!(ids("devices?where=group+in+(rest)").await, ["fan"]);
    let preview = house.post("push/preview", r#"{"audience":{"group":"kitchen boards"}}"#).await.ok();
    assert_eq!(preview["items"][0]["device"], "lamp");
    let push = house.post("push", r#"{"audience":{"group":"rest"},"text":"on"}"#).await.ok();
    assert_eq!((&push["devices"], &push["audience"]["group"]), (&1.into(), &"rest".into()));
    assert_eq!(house.get("groups/kitchen%20boards").await.ok()["users"], serde_json::json!(["rest"]));
    assert_eq!(house.delete("groups/kitchen%20boards").await.problem(409).0, "group_in_use");
    assert_eq!(house.patch("groups/rest", r#"{"where":"group = rest"}"#).await.problem(400).0, "group_circle");
    assert_eq!(house.patch("groups/rest", r#"{"where":"temp > 3"}"#).await.problem(400).0, "bad_where");
    assert_eq!(house.patch("groups/rest", r#"{"name":"others","where":"online"}"#).await.ok()["where"], "online");
    assert_eq!(house.delete("groups/others").await.status, 204);
    assert_eq!(house.get("devices?group=others").await.problem(404).0, "no_such_group");
    assert_eq!(house.post("push", r#"{"audience":{"group":"others"},"text":"on"}"#).await.problem(404).0, "no_such_group");
    assert_eq!(house.get("groups").await.ok()["items"].as_array().unwrap().len(), 1);
}
