//! Who may do what: tokens, roles, browsers.

use axum::body::Body;
use axum::http::{Method, Request};

use crate::house::{Answer, House, OWNER};

async fn bare(house: &House, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    house.request(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn nobody_gets_in_without_a_good_token() {
    let house = House::new().await;
    let answer = bare(&house, "GET", "session", &[], "").await;
    assert_eq!(answer.problem(401).0, "no_token");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert_eq!(house.call_as("wrong", Method::GET, "session", "").await.problem(401).0, "bad_token");
    let basic = bare(&house, "GET", "session", &[("Authorization", "Basic dTpw")], "").await;
    assert_eq!(basic.problem(401).0, "bad_authorization");
    let me = house.get("session").await.ok();
    assert_eq!((me["role"].as_str(), me["version"].as_str()), (Some("owner"), Some("1.2.3")));
    assert!(me["time"].as_str().unwrap().ends_with('Z'));
    let lower = bare(&house, "GET", "session", &[("Authorization", &format!("bearer {OWNER}"))], "").await;
    lower.ok();
}

#[tokio::test]
async fn every_route_asks_for_a_token() {
    let house = House::new().await;
    let routes = [
        ("GET", "tokens"),
        ("POST", "tokens"),
        ("POST", "tokens/signin"),
        ("DELETE", "tokens/1"),
        ("GET", "accounts"),
        ("POST", "accounts"),
        ("GET", "accounts/1"),
        ("PATCH", "accounts/1"),
        ("DELETE", "accounts/1"),
        ("POST", "accounts/1/password"),
        ("GET", "apps"),
        ("POST", "apps"),
        ("GET", "apps/1"),
        ("PATCH", "apps/1"),
        ("DELETE", "apps/1"),
        ("GET", "devices"),
        ("POST", "devices"),
        ("GET", "devices/x"),
        ("PATCH", "devices/x"),
        ("DELETE", "devices/x"),
        ("POST", "devices/x/secret"),
        ("GET", "devices/x/latest"),
        ("GET", "devices/x/points"),
        ("POST", "devices/x/points"),
        ("GET", "devices/x/messages"),
        ("POST", "push"),
        ("GET", "pushes"),
        ("GET", "pushes/1"),
        ("GET", "pushes/1/deliveries"),
        ("DELETE", "pushes/1"),
        ("GET", "events"),
        ("GET", "knocks"),
        ("GET", "status"),
    ];
    for (method, path) in routes {
        let answer = bare(&house, method, path, &[], "{}").await;
        assert_eq!(answer.problem(401).0, "no_token", "{method} {path}");
    }
}

#[tokio::test]
async fn a_role_does_what_it_may_and_no_more() {
    let (house, _) = House::with_lamp(Default::default()).await;
    let (viewer, operator) = (house.token("viewer").await, house.token("operator").await);
    let refused = [
        (&viewer, Method::POST, "apps", r#"{"name":"x"}"#),
        (&viewer, Method::PATCH, "devices/lamp", "{}"),
        (&viewer, Method::DELETE, "devices/lamp", ""),
        (&viewer, Method::POST, "devices/lamp/secret", ""),
        (&viewer, Method::POST, "devices/lamp/points", r#"{"a":1}"#),
        (&viewer, Method::POST, "push", r#"{"audience":{"device":"lamp"},"text":"on"}"#),
        (&viewer, Method::GET, "tokens", ""),
        (&operator, Method::GET, "tokens", ""),
        (&operator, Method::POST, "tokens", r#"{"name":"x","role":"owner"}"#),
        (&operator, Method::POST, "tokens/signin", "{}"),
    ];
    for (token, method, path, body) in refused {
        let answer = house.call_as(token, method, path, body).await;
        assert_eq!(answer.problem(403).0, "role_too_low", "{path}");
    }
    for path in ["session", "apps", "apps/1", "devices", "devices/lamp", "devices/lamp/latest", "pushes", "knocks", "status"] {
        house.call_as(&viewer, Method::GET, path, "").await.ok();
    }
    assert!(house.call_as(&viewer, Method::GET, "apps/1", "").await.ok().get("key").is_none(), "the key opens the door");
    assert_eq!(house.call_as(&operator, Method::GET, "apps/1", "").await.ok()["key"].as_str().unwrap().len(), 32);
    house.call_as(&operator, Method::PATCH, "devices/lamp", r#"{"name":"Lamp"}"#).await.ok();
}

#[tokio::test]
async fn tokens_are_made_shown_once_and_ended() {
    let house = House::new().await;
    let made = house.post("tokens", r#"{"name":"ci","role":"operator","expires":"2100-01-01T00:00:00Z"}"#).await;
    assert_eq!(made.status, 201);
    let made = made.ok();
    assert_eq!((made["name"].as_str(), made["role"].as_str()), (Some("ci"), Some("operator")));
    assert_eq!(made["expires"], "2100-01-01T00:00:00.000Z");
    let token = made["token"].as_str().unwrap();
    house.call_as(token, Method::GET, "session", "").await.ok();
    let list = house.get("tokens").await;
    assert!(!list.text().contains(token));
    assert!(list.ok()["items"].as_array().unwrap().iter().any(|item| item["name"] == "ci" && item["id"] == made["id"]));
    assert_eq!(house.delete(&format!("tokens/{}", made["id"])).await.status, 204);
    assert_eq!(house.call_as(token, Method::GET, "session", "").await.problem(401).0, "bad_token");
    assert_eq!(house.delete("tokens/99").await.problem(404).0, "no_such_token");
    let past = house.post("tokens", r#"{"name":"old","role":"viewer","expires":"2001-01-01T00:00:00Z"}"#).await;
    assert_eq!(past.problem(400).0, "bad_expiry");
    let role = house.post("tokens", r#"{"name":"x","role":"king"}"#).await.problem(400);
    assert_eq!(role.0, "bad_field");
    assert!(role.1.contains("role") && role.1.contains("viewer"), "{}", role.1);
}

#[tokio::test]
async fn a_link_signs_a_browser_in_once() {
    let house = House::new().await;
    let request = Request::post("/api/v1/tokens/signin").header("Authorization", format!("Bearer {OWNER}"));
    let link = house.request(request.header("Host", "box.lan:8080").body(Body::empty()).unwrap()).await.ok();
    let code = link["code"].as_str().unwrap();
    assert_eq!(link["url"].as_str().unwrap(), format!("http://box.lan:8080/signin#{code}"));
    let body = format!(r#"{{"code":"{code}"}}"#);

    let foreign = bare(&house, "POST", "session", &[("Sec-Fetch-Site", "cross-site")], &body).await;
    assert_eq!(foreign.problem(403).0, "header_missing");
    let answer = bare(&house, "POST", "session", &[("Sec-Fetch-Site", "same-origin")], &body).await;
    assert_eq!(answer.ok()["role"], "owner");
    let set = answer.header("set-cookie").to_owned();
    for part in ["espush_session=", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=2592000"] {
        assert!(set.contains(part), "{set}");
    }
    assert_eq!(bare(&house, "POST", "session", &[], &body).await.problem(401).0, "bad_code", "a code works once");

    let cookie = format!("theme=dark; {}", set.split(';').next().unwrap());
    let reads = bare(&house, "GET", "session", &[("Cookie", &cookie)], "").await;
    assert_eq!(reads.ok()["role"], "owner");
    let naked = bare(&house, "POST", "apps", &[("Cookie", &cookie)], r#"{"name":"x"}"#).await;
    assert_eq!(naked.problem(403).0, "header_missing");
    bare(&house, "POST", "apps", &[("Cookie", &cookie), ("X-Espush", "1")], r#"{"name":"x"}"#).await.ok();

    assert_eq!(bare(&house, "DELETE", "session", &[("Cookie", &cookie)], "").await.problem(403).0, "header_missing");
    let out = bare(&house, "DELETE", "session", &[("Cookie", &cookie), ("X-Espush", "1")], "").await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(bare(&house, "GET", "session", &[("Cookie", &cookie)], "").await.problem(401).0, "bad_token");
    // A second time is no trouble.
    assert_eq!(bare(&house, "DELETE", "session", &[("Cookie", &cookie), ("X-Espush", "1")], "").await.status, 204);
}

#[tokio::test]
async fn a_browser_may_sign_in_with_a_token_too() {
    let house = House::new().await;
    let token = house.token("viewer").await;
    let answer = bare(&house, "POST", "session", &[], &format!(r#"{{"token":"{token}"}}"#)).await;
    assert_eq!(answer.ok()["role"], "viewer");
    assert_eq!(bare(&house, "POST", "session", &[], r#"{"token":"wrong"}"#).await.problem(401).0, "bad_token");
    assert_eq!(bare(&house, "POST", "session", &[], "{}").await.problem(400).0, "bad_field");
    let both = bare(&house, "POST", "session", &[], r#"{"token":"a","code":"b"}"#).await;
    assert_eq!(both.problem(400).0, "bad_field");
}
