//! Points and messages.

use axum::body::Body;
use axum::http::{Method, Request};

use crate::house::{House, OWNER};

#[tokio::test]
async fn uploads_become_points() {
    let (house, secret) = House::with_lamp(Default::default()).await;
    let stored = house.post("devices/lamp/points", r#"{"temp":21.5,"on":true,"t":1700000000000}"#).await.ok();
    assert_eq!(stored["stored"], 2);
    let rows = r#"[{"stream":"temp","value":22,"at":"2023-11-14T22:13:21Z"},{"stream":"temp","value":"hot","at":1700000002000}]"#;
    // The device itself, with its own secret.
    assert_eq!(house.call_as(&secret, Method::POST, "devices/lamp/points", rows).await.ok()["stored"], 2);
    let latest = house.get("devices/lamp/latest").await.ok();
    assert_eq!(
        latest,
        serde_json::json!({"items": [
            {"stream": "on", "at": "2023-11-14T22:13:20.000Z", "value": true},
            {"stream": "temp", "at": "2023-11-14T22:13:22.000Z", "value": "hot"},
        ], "next": null})
    );
    let page = house.get("devices/lamp/points?stream=temp&limit=2").await.ok();
    assert_eq!(page["items"][1], serde_json::json!({"stream": "temp", "at": "2023-11-14T22:13:21.000Z", "value": 22}));
    let next = page["next"].as_str().unwrap();
    let rest = house.get(&format!("devices/lamp/points?stream=temp&limit=2&cursor={next}")).await.ok();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &().into()));
    // An offset's + is a blank in a query string.
    let range = house.get("devices/lamp/points?from=2023-11-14T23:13:21+01:00&to=1700000002000").await.ok();
    assert_eq!(range["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn only_the_device_itself_or_an_operator_uploads() {
    let (house, secret) = House::with_lamp(Default::default()).await;
    house.post("devices", r#"{"app":1,"id":"other"}"#).await.ok();
    let other = house.call_as(&secret, Method::POST, "devices/other/points", r#"{"a":1}"#).await;
    assert_eq!(other.problem(401).0, "bad_token");
    let reads = house.call_as(&secret, Method::GET, "devices/lamp/points", "").await;
    assert_eq!(reads.problem(401).0, "bad_token", "the secret is for uploads");
    assert_eq!(house.post("devices/none/points", r#"{"a":1}"#).await.problem(404).0, "no_such_device");
}

#[tokio::test]
async fn what_is_no_point_is_refused() {
    let (house, _) = House::with_lamp(Default::default()).await;
    let rows = [
        (r#"{"a":{"b":1}}"#, 400, "bad_points"),
        ("5", 400, "bad_points"),
        ("{", 400, "bad_json"),
        (r#"{"a#":1}"#, 400, "bad_stream"),
        (r#"[{"stream":"a","value":1,"unit":"C"}]"#, 400, "bad_field"),
        (r#"[{"stream":"a","value":[1]}]"#, 400, "bad_field"),
        (r#"[{"stream":"a","value":1,"at":"noon"}]"#, 400, "bad_field"),
        (r#"[{"stream":"a","value":1},{"stream":"a#","value":1}]"#, 400, "bad_stream"),
    ];
    for (body, status, code) in rows {
        assert_eq!(house.post("devices/lamp/points", body).await.problem(status).0, code, "{body}");
    }
    let many: Vec<String> = (0..300).map(|i| format!("\"s{i}\":1")).collect();
    let many = house.post("devices/lamp/points", &format!("{{{}}}", many.join(","))).await;
    assert_eq!(many.problem(409).0, "limit_reached");
    assert_eq!(house.get("devices/lamp/latest").await.ok()["items"], serde_json::json!([]), "all or nothing");
    for (query, code) in [("from=noon", "bad_time"), ("cursor=x", "bad_cursor"), ("limit=0", "bad_limit")] {
        assert_eq!(house.get(&format!("devices/lamp/points?{query}")).await.problem(400).0, code);
    }
    assert_eq!(house.get("devices/none/points").await.problem(404).0, "no_such_device");
    assert_eq!(house.get("devices/none/latest").await.problem(404).0, "no_such_device");
}

#[tokio::test]
async fn points_are_exported_whole_as_csv() {
    let (house, _) = House::with_lamp(Default::default()).await;
    let start = 1_700_000_000_000_i64;
    // More than one page of the store.
    for chunk in 0..3 {
        let rows: Vec<_> =
            (0..700).map(|i| serde_json::json!({"stream": "temp", "value": i, "at": start + (chunk * 700 + i) * 1000})).collect();
        house.post("devices/lamp/points", &serde_json::to_string(&rows).unwrap()).await.ok();
    }
    house.post("devices/lamp/points", r#"[{"stream":"say","value":"a \"b\", c","at":1600000000000}]"#).await.ok();
    let ask = async |query: &str| {
        let request = Request::get(format!("/api/v1/devices/lamp/points{query}")).header("Accept", "text/csv");
        house.request(request.header("Authorization", format!("Bearer {OWNER}")).body(Body::empty()).unwrap()).await
    };
    let answer = ask("").await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"lamp.csv\"");
    let lines: Vec<&str> = answer.text().split("\r\n").collect();
    assert_eq!(
        lines[..3],
        ["at,stream,value", r#"2020-09-13T12:26:40.000Z,say,"a ""b"", c""#, "2023-11-14T22:13:20.000Z,temp,0"]
    );
    assert_eq!((lines.len(), lines[2101]), (2103, "2023-11-14T22:48:19.000Z,temp,699"));
    assert_eq!(ask("?limit=2").await.text().lines().count(), 3);
}

#[tokio::test]
async fn recent_messages_are_shown_both_ways() {
    let (house, _) = House::with_lamp(Default::default()).await;
    house.outside.up(house.lamp(), "dev/lamp/log", b"booted");
    house.outside.up(house.lamp(), "dev/lamp/raw", b"\x00\xff");
    house.settle().await;
    let list = house.get("devices/lamp/messages").await.ok();
    let first = &list["items"][0];
    assert_eq!((&first["device"], &first["direction"], &first["topic"]), (&"lamp".into(), &"up".into(), &"dev/lamp/log".into()));
    assert_eq!((&first["text"], &first["bytes"], &first["cut"]), (&"booted".into(), &6.into(), &false.into()));
    assert_eq!((&first["qos"], &first["retain"], &list["next"]), (&0.into(), &false.into(), &().into()));
    assert_eq!(list["items"][1]["hex"], "00ff");
    assert_eq!(house.get("devices/none/messages").await.problem(404).0, "no_such_device");
}
