//! QR codes of apps and devices.

use axum::body::Body;
use axum::http::{Method, Request};

use crate::house::{House, OWNER};

/// What a reader sees in a code for a terminal.
fn seen(lines: &str) -> String {
    let rows: Vec<Vec<char>> = lines.lines().map(|line| line.chars().collect()).collect();
    let light = |x: usize, y: usize| matches!((rows[y / 2][x], y % 2), ('█', _) | ('▀', 0) | ('▄', 1));
    let side = rows[0].len();
    let mut picture =
        rqrr::PreparedImage::prepare_from_greyscale(side * 3, side * 3, |x, y| if light(x / 3, y / 3) { 255 } else { 0 });
    picture.detect_grids()[0].decode().unwrap().1
}

#[tokio::test]
async fn links_are_for_everybody_and_keys_for_owners() {
    let (house, secret) = House::with_lamp(Default::default()).await;
    let key = house.get("apps/1").await.ok()["key"].as_str().unwrap().to_owned();
    let viewer = house.token("viewer").await;
    let text = async |path: &str| {
        let answer = house.call_as(&viewer, Method::GET, path, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
        seen(answer.text())
    };
    assert_eq!(text("devices/lamp/qr?format=text").await, "http://localhost/device/lamp");
    assert_eq!(text("apps/1/qr?format=text").await, "http://localhost/settings#app-1");
    assert!(!text("devices/lamp/qr?format=text").await.contains(&secret));
    for role in ["viewer", "operator"] {
        let token = house.token(role).await;
        let refused = house.call_as(&token, Method::GET, "apps/1/qr?content=provisioning&format=text", "").await;
        assert_eq!(refused.problem(403).0, "role_too_low");
    }
    let whole = seen(house.get("apps/1/qr?content=provisioning&format=text").await.text());
    assert!(whole.starts_with("espush://localhost/?") && whole.ends_with(&format!("app=1&key={key}")), "{whole}");
    assert_eq!(house.get("devices/none/qr").await.problem(404).0, "no_such_device");
    assert_eq!(house.get("apps/9/qr").await.problem(404).0, "no_such_app");
    assert_eq!(house.get("devices/lamp/qr?format=gif").await.problem(400).0, "bad_query");
    assert_eq!(house.get("devices/lamp/qr?content=provisioning").await.problem(400).0, "bad_query", "its secret was shown once");
}

#[tokio::test]
async fn it_is_drawn_as_the_caller_asks() {
    let (house, _) = House::with_lamp(Default::default()).await;
    for (query, accept, kind) in [
        ("", "*/*", "image/png"),
        ("", "image/svg+xml, image/png;q=0.5", "image/svg+xml"),
        ("", "text/html, image/png", "image/png"),
        ("", "text/plain", "text/plain; charset=utf-8"),
        ("?format=svg", "image/png", "image/svg+xml"),
    ] {
        let request = Request::get(format!("/api/v1/devices/lamp/qr{query}")).header("Accept", accept);
        let request = request.header("Authorization", format!("Bearer {OWNER}")).header("Host", "push.example.org");
        let answer = house.request(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, kind), "{query} {accept}");
        if kind.starts_with("text") {
            assert_eq!(seen(answer.text()), "http://push.example.org/device/lamp");
        }
    }
    let long = format!("{}.example.org", "x".repeat(3000));
    let request = Request::get("/api/v1/devices/lamp/qr").header("Authorization", format!("Bearer {OWNER}")).header("Host", long);
    assert_eq!(house.request(request.body(Body::empty()).unwrap()).await.problem(400).0, "bad_query");
}
