//! `POST /d/{device}`.

use axum::body::Body;
use axum::http::Request;

use crate::house::{Answer, Device, House, OWNER};

async fn curl(house: &House, path: &str, token: Option<&str>, body: &'static [u8]) -> Answer {
    let mut request = Request::post(path);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    house.request(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn the_status_and_the_text_say_how_it_went() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let owner = async |device: Device, query: &str| {
        *house.outside.device.lock() = device;
        let answer = curl(&house, &format!("/d/lamp{query}"), Some(OWNER), b"on").await;
        (answer.status.as_u16(), answer.header("espush-state").to_owned(), answer.text().to_owned())
    };
    let want = |status: u16, state: &str, text: &str| (status, state.to_owned(), text.to_owned());
    assert_eq!(owner(Device::Quiet, "").await, want(200, "delivered", "delivered"));
    assert_eq!(owner(Device::Answers(b"lit"), "?ask=1").await, want(200, "applied", "lit"));
    assert_eq!(
        owner(Device::Answers(br#"{"error":"no bulb"}"#), "?ask=1&wait=60s").await,
        want(409, "failed", "failed: no bulb")
    );
    assert_eq!(owner(Device::Refuses("too long"), "").await, want(409, "refused", "refused: too long"));
    // Long enough for any disk; the other endings without an answer are a table in the room itself.
    assert_eq!(owner(Device::Quiet, "?ask=1&wait=1s").await, want(504, "delivered", "delivered: no answer within 1000 ms"));
    assert_eq!(owner(Device::Quiet, "?wait=0&ask=1").await, want(202, "queued", "queued"));
    // Last, because what comes after one that waits waits behind it.
    assert_eq!(owner(Device::Away, "").await, want(202, "queued", "queued: the device is away"));
    assert_eq!(owner(Device::Away, "?ask").await, want(202, "queued", "queued: the device is away"));
    assert_eq!(owner(Device::Quiet, "").await, want(202, "queued", "queued: the device is away"));
}

#[tokio::test]
async fn answers_are_given_as_they_came() {
    let (house, _) = House::with_lamp(Device::Answers(b"\x00\xff")).await;
    let answer = curl(&house, "/d/lamp?ask=1", Some(OWNER), b"read").await;
    assert_eq!((&answer.body[..], answer.header("content-type")), (&b"\x00\xff"[..], "application/octet-stream"));
    assert_eq!(answer.header("espush-push"), "1");
    let given = house.outside.given.lock().pop().unwrap();
    assert_eq!((given.topic.as_str(), &given.payload[..]), ("dev/lamp/ask/1", &b"read"[..]));
}

#[tokio::test]
async fn an_open_device_needs_no_token_and_others_do() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let closed = curl(&house, "/d/lamp", None, b"on").await;
    assert_eq!(closed.status, 401);
    assert!(closed.text().contains("Bearer"), "{}", closed.text());
    let unknown = curl(&house, "/d/none", None, b"on").await;
    assert_eq!((unknown.status, unknown.body), (closed.status, closed.body), "a stranger learns no ids");
    let viewer = house.token("viewer").await;
    assert_eq!(curl(&house, "/d/lamp", Some(&viewer), b"on").await.status, 403);
    house.patch("devices/lamp", r#"{"open":true}"#).await.ok();
    assert_eq!(curl(&house, "/d/lamp", None, b"on").await.status, 200);
    assert_eq!(house.get("pushes/1").await.ok()["sender"], "anyone");
    assert_eq!(curl(&house, "/d/lamp", Some("wrong"), b"on").await.status, 401, "a wrong token is said so");
}

#[tokio::test]
async fn wrong_calls_are_answered_as_text() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let unknown = curl(&house, "/d/none", Some(OWNER), b"on").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("\"none\""), "{}", unknown.text());
    for query in ["wait=soon", "wait=61s", "wait=5h", "wait=99999999999999999999s", "ask=maybe", "colour=red"] {
        let answer = curl(&house, &format!("/d/lamp?{query}"), Some(OWNER), b"on").await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    let large: &'static [u8] = vec![b'x'; 600 * 1024].leak();
    assert_eq!(curl(&house, "/d/lamp", Some(OWNER), large).await.status, 413);
    assert_eq!(curl(&house, "/d/lamp", Some(OWNER), &large[..300 * 1024]).await.status, 413);
    let get = house.request(Request::get("/d/lamp").body(Body::empty()).unwrap()).await;
    assert_eq!(get.status, 405);
}
