//! Status, knocks, metrics, and what holds for every answer.

use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use contract::{Event, Refusal};
use model::UnixMs;

use crate::house::{Device, House, line_opened, peer};

#[tokio::test]
async fn the_status_counts() {
    let (house, _) = House::with_lamp(Device::Away).await;
    house.outside.tell(line_opened(house.lamp()));
    house.settle().await;
    assert_eq!(
        house.get("status").await.ok(),
        serde_json::json!({
            "version": "1.2.3",
            "started": "1970-01-01T00:00:00.000Z",
            "devices": 1,
            "online": 1,
            "apps": 1,
            "listeners": [{"name": "mqtt", "addr": "127.0.0.1:1883"}],
            "bridges": [{
                "name": "old",
                "address": "broker.example.org:1883",
                "connected": false,
                "since": "1970-01-01T00:00:00.000Z",
                "why": "cannot reach it",
                "next": null,
            }],
            "store": {
                "used_bytes": 3,
                "max_bytes": 0,
                "free_bytes": 5,
                "free_bytes_min": 1,
                "checksums": true,
                "full": null,
                "failed": null,
                "damaged": null,
            },
        })
    );
}

#[tokio::test]
async fn knocks_are_listed_newest_first() {
    let house = House::new().await;
    for (claim, refusal) in [("user \"a\"", Refusal::BadCredentials), ("user \"b\"", Refusal::NoCredentials)] {
        let claim = claim.to_owned();
        house.outside.tell(Event::Knocked { protocol: "mqtt", remote: peer(), claim, device: None, refusal, at: UnixMs(0) });
    }
    house.settle().await;
    let list = house.get("knocks").await.ok();
    assert_eq!(
        list["items"][1],
        serde_json::json!({
            "protocol": "mqtt",
            "remote": "192.0.2.7:4711",
            "claim": "user \"a\"",
            "code": "bad_credentials",
            "reason": "unknown device id or wrong secret",
            "at": "1970-01-01T00:00:00.000Z",
        })
    );
    assert_eq!(list["items"][0]["claim"], "user \"b\"");
}

#[tokio::test]
async fn health_and_metrics_are_for_machines() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    house.post("push", r#"{"audience":{"device":"lamp"},"text":"on","wait_ms":60000}"#).await.ok();
    let get = async |path: &str| house.request(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(get("/healthz").await.text(), "ok");
    let page = get("/metrics").await;
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "# TYPE espush_devices gauge",
        "espush_devices 1",
        "espush_pushes_total 1",
        r#"espush_deliveries_total{state="delivered"} 1"#,
        r#"espush_build_info{version="1.2.3"} 1"#,
        "espush_shard_test_total 7",
    ] {
        assert!(page.text().lines().any(|found| found == line), "{line}\n{}", page.text());
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_and_no_page() {
    let house = House::new().await;
    assert_eq!(house.get("nothing").await.problem(404).0, "no_such_route");
    assert_eq!(house.get("devices/a/b/c").await.problem(404).0, "no_such_route");
    let put = house.call(Method::PUT, "apps", "").await;
    assert_eq!(put.problem(405).0, "method_not_allowed");
    for method in ["GET", "POST"] {
        assert!(put.header("allow").contains(method), "{}", put.header("allow"));
    }
    for path in ["/api", "/api/", "/api/v2/devices", "/api/v1", "/api/v1/"] {
        let answer = house.request(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.problem(404).0, "no_such_route", "{path}");
    }
}

#[tokio::test]
async fn answers_stay_out_of_caches_and_foreign_pages() {
    let house = House::new().await;
    for answer in [house.get("status").await, house.get("nothing").await] {
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for_for_ever() {
    let (house, secret) = House::with_lamp(Device::Quiet).await;
    tokio::time::pause();
    // Strangers too may begin a sign-in, and then say nothing more.
    let never = || Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
    let sign_in = Request::post("/api/v1/session").body(never()).unwrap();
    assert_eq!(house.request(sign_in).await.problem(408).0, "body_too_slow");
    // Where a token is needed, it is asked for first.
    for path in ["/api/v1/devices/lamp/points", "/d/lamp"] {
        assert_eq!(house.request(Request::post(path).body(never()).unwrap()).await.status, 401, "{path}");
    }
    let upload = Request::post("/api/v1/devices/lamp/points").header("Authorization", format!("Bearer {secret}"));
    assert_eq!(house.request(upload.body(never()).unwrap()).await.problem(408).0, "body_too_slow");
}

#[tokio::test]
async fn a_stranger_s_sign_in_is_short() {
    let house = House::new().await;
    let long = format!(r#"{{"code":"{}"}}"#, "x".repeat(5_000));
    assert_eq!(house.post("session", &long).await.problem(413).0, "body_too_large");
    assert_eq!(house.post("session", r#"{"code":"x"}"#).await.problem(401).0, "bad_code");
}

#[tokio::test]
async fn one_who_knocked_with_the_key_of_a_closed_app_is_adopted_once() {
    let (house, _) = House::with_lamp(Default::default()).await;
    let newcomer = model::DeviceId::parse("1-8454703");
    for (device, refusal) in [(None, Refusal::BadCredentials), (newcomer, Refusal::AppClosed)] {
        let claim = "app 1, chip \"8454703\"".to_owned();
        house.outside.tell(Event::Knocked { protocol: "espush", remote: peer(), claim, device, refusal, at: UnixMs(0) });
    }
    house.settle().await;
    let knock = house.get("knocks").await.ok()["items"][0].clone();
    assert_eq!((&knock["device"], &knock["code"]), (&"1-8454703".into(), &"app_closed".into()));
    let viewer = house.token("viewer").await;
    let adopt = r#"{"device":"1-8454703"}"#;
    assert_eq!(house.call_as(&viewer, axum::http::Method::POST, "knocks/adopt", adopt).await.problem(403).0, "role_too_low");
    for other in ["1-1", "lamp", "x"] {
        assert_eq!(house.post("knocks/adopt", &format!(r#"{{"device":"{other}"}}"#)).await.problem(404).0, "no_such_knock");
    }
    let adopted = house.post("knocks/adopt", adopt).await;
    assert_eq!(adopted.status, 201);
    assert_eq!((&adopted.ok()["app"], adopted.ok().get("secret")), (&1.into(), None), "it goes on with the app's key");
    assert_eq!(house.get("knocks").await.ok()["items"].as_array().unwrap().len(), 1, "the other one stays");
    assert_eq!(house.post("knocks/adopt", adopt).await.problem(404).0, "no_such_knock");
    assert_eq!(house.get("audit?call=adopt&failed=false").await.ok()["items"][0]["target"], "1-8454703");
}

#[test]
fn the_console_says_every_refusal_in_both_languages() {
    let zh = include_str!("../../../console/web/src/lib/text/zh.ts");
    for refusal in Refusal::ALL {
        let said = refusal.to_string();
        assert!(said.len() > 10 && !said.ends_with('.'), "{refusal:?}: a plain sentence");
        assert!(zh.contains(&format!("['{said}', '")), "{said}: it is missing in zh.ts");
        assert_eq!(Refusal::ALL.iter().filter(|other| other.code() == refusal.code()).count(), 1, "{}", refusal.code());
    }
}
