//! Devices.

use serde_json::json;

use crate::house::{House, line_opened};

#[tokio::test]
async fn a_device_is_made_edited_and_removed() {
    let house = House::new().await;
    house.post("apps", r#"{"name":"lamps"}"#).await.ok();
    let made = house.post("devices", r#"{"app":1,"id":"lamp","name":"Kitchen","tags":["floor 1"]}"#).await;
    assert_eq!(made.status, 201);
    let made = made.ok();
    assert!(made["secret"].as_str().unwrap().len() >= 8);
    assert_eq!(
        (&made["id"], &made["number"], &made["online"], &made["since"]),
        (&"lamp".into(), &1.into(), &false.into(), &().into())
    );
    let shown = house.get("devices/lamp").await.ok();
    assert!(shown.get("secret").is_none(), "shown once");
    assert_eq!(shown["tags"], serde_json::json!(["floor 1"]));
    let edited = house.patch("devices/lamp", r#"{"alias":"light","open":true}"#).await.ok();
    assert_eq!((&edited["name"], &edited["alias"], &edited["open"]), (&"Kitchen".into(), &"light".into(), &true.into()));
    let blocked = house.patch("devices/lamp", r#"{"blocked":true}"#).await.ok();
    assert_eq!((&blocked["blocked"], &blocked["name"]), (&true.into(), &"Kitchen".into()));
    assert_eq!(house.get("devices?where=blocked").await.ok()["items"][0]["id"], "lamp");
    assert_eq!(house.get("devices?where=not+blocked").await.ok()["items"], serde_json::json!([]));
    house.patch("devices/lamp", r#"{"blocked":false}"#).await.ok();
    let renewed = house.post("devices/lamp/secret", "{}").await.ok();
    assert_ne!(renewed["secret"], made["secret"]);
    assert!(renewed.get("old_until").is_none());
    let beside = house.post("devices/lamp/secret", r#"{"overlap_s":60}"#).await.ok();
    let shown = house.get("devices/lamp").await.ok()["old_secret"].clone();
    assert_eq!((&shown["until"], &shown["used"]), (&beside["old_until"], &().into()));
    assert!(house.fleet.check_secret("lamp", renewed["secret"].as_str().unwrap()).is_some());
    assert_eq!(house.get("devices/lamp").await.ok()["old_secret"]["used"], "old");
    assert_eq!(house.post("devices/lamp/secret", r#"{"overlap_s":99999999}"#).await.problem(400).0, "bad_overlap");
    assert_eq!(house.delete("devices/lamp").await.status, 204);
    for (answer, path) in [(house.get("devices/lamp").await, "get"), (house.delete("devices/lamp").await, "delete")] {
        assert_eq!(answer.problem(404).0, "no_such_device", "{path}");
    }
    assert_eq!(house.post("devices/lamp/secret", "").await.problem(404).0, "no_such_device");
    assert_eq!(house.patch("devices/lamp", "{}").await.problem(404).0, "no_such_device");
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let (house, _) = House::with_lamp(Default::default()).await;
    assert_eq!(house.post("devices", r#"{"app":1,"id":"lamp"}"#).await.problem(409).0, "device_id_taken");
    assert_eq!(house.post("devices", r#"{"app":9}"#).await.problem(404).0, "no_such_app");
    assert_eq!(house.post("devices", r#"{"app":1,"id":"a b"}"#).await.problem(400).0, "bad_device_id");
    let unknown = house.patch("devices/lamp", r#"{"app":2}"#).await.problem(400);
    assert!(unknown.1.contains("app"), "{}", unknown.1);
    let typed = house.post("devices", r#"{"app":1,"tags":["a",5]}"#).await.problem(400);
    assert!(typed.1.starts_with("tags[1]"), "the place is named: {}", typed.1);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let house = House::new().await;
    for app in ["lamps", "doors"] {
        house.post("apps", &format!(r#"{{"name":"{app}"}}"#)).await.ok();
    }
    for (app, id) in [(1, "lamp-a"), (1, "lamp-b"), (2, "door-a"), (1, "lamp-c")] {
        house.post("devices", &format!(r#"{{"app":{app},"id":"{id}"}}"#)).await.ok();
    }
    house.outside.tell(line_opened(house.fleet.number_of("lamp-b").unwrap()));
    house.settle().await;
    let ids = async |query: &str| -> Vec<String> {
        let list = house.get(&format!("devices?{query}")).await.ok();
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("").await, ["lamp-a", "lamp-b", "door-a", "lamp-c"]);
    assert_eq!(ids("app=2").await, ["door-a"]);
    assert_eq!(ids("online=true").await, ["lamp-b"]);
    assert_eq!(ids("q=LAMP&online=false").await, ["lamp-a", "lamp-c"]);
    assert_eq!(ids("q=").await.len(), 4);
    let first = house.get("devices?limit=3").await.ok();
    let next = first["next"].as_str().unwrap();
    assert_eq!(ids(&format!("limit=3&cursor={next}")).await, ["lamp-c"]);
    let online = house.get("devices/lamp-b").await.ok();
    assert_eq!(
        (&online["online"], &online["protocol"], &online["remote"]),
        (&true.into(), &"mqtt".into(), &"192.0.2.7:4711".into())
    );
    for bad in ["limit=0", "limit=1001"] {
        assert_eq!(house.get(&format!("devices?{bad}")).await.problem(400).0, "bad_limit");
    }
    assert_eq!(house.get("devices?limit=x").await.problem(400).0, "bad_query");
    let unknown = house.get("devices?colour=red").await.problem(400);
    assert!(unknown.1.contains("colour"), "{}", unknown.1);
    assert_eq!(house.get("devices?cursor=x!").await.problem(400).0, "bad_cursor");
}

#[tokio::test]
async fn what_is_written_down_is_shown_merged_asked_for_and_refused_with_a_reason() {
    let (house, _) = House::with_lamp(Default::default()).await;
    assert_eq!(house.get("devices/lamp").await.ok()["meta"], json!({}));
    let made = house.post("devices", r#"{"app":1,"id":"fan","meta":{"room":"B 12","floor":3,"lent":null}}"#).await.ok();
    assert_eq!(made["meta"], json!({"floor": 3, "room": "B 12"}));
    let edited = house.patch("devices/fan", r#"{"meta":{"floor":null,"楼":"东","lent":true,"w":1.5}}"#).await.ok();
    assert_eq!(edited["meta"], json!({"lent": true, "room": "B 12", "w": 1.5, "楼": "东"}));
    assert_eq!(house.patch("devices/fan", r#"{"name":"Fan"}"#).await.ok()["meta"], edited["meta"]);
    let found = house.get("devices?where=meta.room%20contains%20b%20and%20meta.w%20%3E%201").await.ok();
    assert_eq!((found["items"].as_array().unwrap().len(), &found["items"][0]["id"]), (1, &"fan".into()));
    for (body, said) in [
        (r#"{"meta":{"a b":1}}"#, "cannot be a name"),
        (r#"{"meta":{"a":[1]}}"#, "lists and objects are not taken"),
        (r#"{"meta":{"a":"\u0007"}}"#, "without control characters"),
    ] {
        let (code, detail) = house.patch("devices/fan", body).await.problem(400);
        assert!(code == "bad_meta" && detail.contains(said), "{code} {detail}");
    }
    assert_eq!(house.patch("devices/fan", r#"{"meta":3}"#).await.problem(400).0, "bad_field");
    assert_eq!(house.get("devices/fan").await.ok()["meta"], edited["meta"]);
}
