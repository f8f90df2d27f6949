//! Who changed what.

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::house::House;

/// What is no change: see `audit.rs` of the API.
const NO_CHANGES: [&str; 6] = [
    "/api/v1/push",
    "/api/v1/push/preview",
    "/api/v1/send",
    "/api/v1/schedules/preview",
    "/api/v1/pushes/{id}/resend",
    "/api/v1/devices/{id}/points",
];

#[tokio::test]
async fn every_call_that_may_change_something_is_in_the_log() {
    let house = House::new().await;
    let document = house.get("openapi.json").await.json();
    let mut looked_at = 0;
    for (path, calls) in document["paths"].as_object().unwrap() {
        for method in calls.as_object().unwrap().keys().filter(|method| *method != "get") {
            let Some(rest) = path.strip_prefix("/api/v1/") else {
                // A push by another door.
                assert_eq!(path, "/d/{device}", "{method} {path} passes the audit log by");
                continue;
            };
            let before = entries(&house, "limit=1").await;
            let rest = rest.replace("{id}", "4711").replace("{name}", "none");
            house.call(Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), &rest, "").await;
            let after = entries(&house, "limit=1").await;
            let call = format!("{} {path}", method.to_uppercase());
            if NO_CHANGES.contains(&path.as_str()) {
                assert_eq!(before, after, "{call}");
            } else {
                assert_eq!((after != before, &after[0]["call"]), (true, &call.as_str().into()), "{call} is not written down");
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 20, "{looked_at}");
}

async fn entries(house: &House, filter: &str) -> Vec<Value> {
    house.get(&format!("audit?{filter}")).await.ok()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_change_is_written_down_with_its_outcome_and_without_secrets() {
    let (house, secret) = House::with_lamp(Default::default()).await;
    let token = house.post("tokens", r#"{"name":"ci","role":"operator"}"#).await.ok();
    let ci = token["token"].as_str().unwrap();
    house.call_as(ci, Method::PATCH, "devices/lamp", r#"{"blocked":true,"alias":"hush"}"#).await.ok();
    let put = Request::post("/api/v1/devices").header("Authorization", format!("Bearer {ci}"));
    let put = put.extension(ConnectInfo(std::net::SocketAddr::from(([192, 0, 2, 7], 4711))));
    house.request(put.body(Body::from(r#"{"app":1,"id":"fan","secret":"hush-hush-hush"}"#)).unwrap()).await.ok();
    assert_eq!(house.call_as(ci, Method::DELETE, "devices/none", "").await.status, 404);
    assert_eq!(house.call_as(ci, Method::POST, "tokens", r#"{"name":"x","role":"owner"}"#).await.status, 403);
    assert_eq!(house.post("groups", r#"{"name":"kitchen","where":"online"}"#).await.status, 201);
    house.post("devices/import", "id,app\ndoor,1\n").await;
    // No changes of the fleet: looking, pushing, telling points, and what strangers try.
    house.get("devices").await.ok();
    house.post("push", r#"{"audience":{"device":"fan"},"text":"hush"}"#).await.ok();
    house.post("devices/fan/points", r#"{"x":1}"#).await.ok();
    assert_eq!(house.call_as("nobody", Method::DELETE, "devices/lamp", "").await.status, 401);
    assert_eq!(house.post("nothing", "{}").await.status, 404);
    assert_eq!(house.call_as("nobody", Method::DELETE, "session", "").await.status, 204);
    assert_eq!(house.call_as("nobody", Method::POST, "session", r#"{"code":"guessed"}"#).await.status, 401);
    let code = house.fleet.new_signin(model::Role::Viewer).code;
    house.call_as("nobody", Method::POST, "session", &format!(r#"{{"code":"{code}"}}"#)).await.ok();

    let all = entries(&house, "").await;
    let told: Vec<Value> =
        all.iter().rev().map(|e| json!([e["who"], e["call"], e["target"], e["fields"], e["status"], e["code"]])).collect();
    assert_eq!(
        told,
        [
            json!(["bootstrap", "POST /api/v1/apps", "1", ["name"], 201, null]),
            json!(["bootstrap", "POST /api/v1/devices", "lamp", ["app", "id"], 201, null]),
            json!(["bootstrap", "POST /api/v1/tokens", "1", ["name", "role"], 201, null]),
            json!(["ci", "PATCH /api/v1/devices/{id}", "lamp", ["alias", "blocked=true"], 200, null]),
            json!(["ci", "POST /api/v1/devices", "fan", ["app", "id", "secret"], 201, null]),
            json!(["ci", "DELETE /api/v1/devices/{id}", "none", [], 404, "no_such_device"]),
            json!(["ci", "POST /api/v1/tokens", "", [], 403, "role_too_low"]),
            json!(["bootstrap", "POST /api/v1/groups", "kitchen", ["name", "where"], 201, null]),
            json!(["bootstrap", "POST /api/v1/devices/import", "", ["mode=upsert", "dry_run=false"], 200, null]),
            json!([
                "bootstrap",
                "POST /api/v1/devices/import",
                "",
                ["rows=1", "of=1", "created=1", "updated=0", "failed=0"],
                200,
                null
            ]),
            json!(["browser", "POST /api/v1/session", "", ["code"], 200, null]),
        ]
    );
    let fan = &entries(&house, "target=fan").await[0];
    assert_eq!((&fan["remote"], &fan["token"], &fan["role"]), (&"192.0.2.7:4711".into(), &1.into(), &"operator".into()));
    assert_eq!(entries(&house, "who=ci&failed=true").await.len(), 2);
    assert_eq!(entries(&house, "call=DELETE").await.len(), 1);
    assert_eq!(entries(&house, "from=2100-01-01T00:00:00Z").await.len(), 0);
    let whole = house.get("audit").await;
    for hidden in [secret.as_str(), ci, &code, "hush", "online"] {
        assert!(!whole.text().contains(hidden), "{hidden}");
    }
    let first = house.get("audit?limit=4").await.ok();
    assert_eq!(entries(&house, &format!("limit=100&cursor={}", first["next"].as_str().unwrap())).await.len(), 7);
    assert_eq!(house.call_as(ci, Method::GET, "audit", "").await.problem(403).0, "role_too_low");
    assert_eq!(house.get("audit?from=yesterday").await.problem(400).0, "bad_time");
}
