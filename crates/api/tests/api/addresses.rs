//! Messages to a number: who may send, what a sender is told, and who hears them.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request};
use contract::{ConnId, Event, Refusal, Ticket};
use futures_util::StreamExt;
use model::{Address, Message, Topic, limits};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::described;
use crate::house::{Device, House, OWNER};

/// The number of the owner's token, which is the bootstrap token.
const OWNERS: u32 = 1 << 31;

/// A stream of events that messages to its token's number come by.
struct Listener(BodyDataStream, String);

impl Listener {
    async fn open(house: &House, token: &str) -> Result<Listener, u16> {
        let request =
            Request::get("/api/v1/events?addressed=true&events=false").header("Authorization", format!("Bearer {token}"));
        let response = house.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        match response.status().as_u16() {
            200 => Ok(Listener(response.into_body().into_data_stream(), String::new())),
            status => Err(status),
        }
    }

    /// The next event of this name; there are no others but comments.
    async fn next(&mut self, name: &str) -> Value {
        loop {
            while let Some((block, rest)) = self.1.split_once("\n\n") {
                let block = block.to_owned();
                self.1 = rest.to_owned();
                let Some(block) = block.strip_prefix("event: ") else { continue };
                let (kind, data) = block.split_once("\ndata: ").unwrap();
                assert_eq!(kind, name);
                let data = serde_json::from_str(data).unwrap();
                described::check_event(kind, &data);
                return data;
            }
            self.1.push_str(std::str::from_utf8(&self.0.next().await.unwrap().unwrap()).unwrap());
        }
    }
}

/// The lamp writes to a number, and waits for what comes of it under a token of its own.
fn lamp_writes(house: &House, to: u32, payload: &'static [u8], token: u32) {
    let message = Message::new(Topic::of_device("lamp", &format!("to/{to}")), payload, model::UnixMs(0));
    let conn = ConnId { index: 0, generation: 0 };
    let ticket = Some(Ticket { shard: 0, conn, session: None, promise: None, token });
    house.outside.tell(Event::Addressed { from: house.lamp(), to: Address(to), message: Arc::new(message), ticket });
}

#[tokio::test]
async fn a_device_is_written_to_by_its_number_or_its_id() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let number = house.lamp().0;
    for to in [json!(number), json!("lamp")] {
        let sent = house.post("send", &json!({ "to": to, "text": "on" }).to_string()).await.ok();
        assert_eq!(sent, json!({ "from": OWNERS, "to": number, "state": "sent" }));
    }
    let given = std::mem::take(&mut *house.outside.given.lock());
    assert_eq!((given.len(), given[0].topic.as_str(), &given[0].payload[..]), (2, "dev/lamp/from/2147483648", &b"on"[..]));
    assert_eq!(given[0].source, None);
    *house.outside.device.lock() = Device::Answers(b"");
    let kept = house.post("send", r#"{"to":"lamp","hex":"00ff"}"#).await.ok();
    assert_eq!(kept["state"], "kept");
}

#[tokio::test]
async fn a_sender_is_told_why_nothing_was_sent() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let number = house.lamp().0;
    let said = async |body: Value, status| house.post("send", &body.to_string()).await.problem(status).0;
    assert_eq!(said(json!({ "to": "lamp", "text": "x" }), 409).await, "unreachable");
    assert_eq!(said(json!({ "to": "nobody", "text": "x" }), 404).await, "no_such_device");
    assert_eq!(said(json!({ "to": 999, "text": "x" }), 404).await, "no_such_device");
    for nobody in [0, OWNERS, OWNERS + 7, u32::MAX] {
        assert_eq!(said(json!({ "to": nobody, "text": "x" }), 409).await, "unreachable", "{nobody}");
    }
    *house.outside.device.lock() = Device::Refuses("full");
    assert_eq!(said(json!({ "to": number, "text": "x" }), 409).await, "not_taken");
    *house.outside.device.lock() = Device::Quiet;
    house.patch("devices/lamp", r#"{"blocked":true}"#).await.ok();
    let (code, detail) = house.post("send", r#"{"to":"lamp","text":"x"}"#).await.problem(409);
    assert_eq!((code.as_str(), detail.contains("blocked")), ("unreachable", true));
    assert_eq!(said(json!({ "to": number }), 400).await, "payload_missing");
    assert_eq!(said(json!({ "to": number, "text": "x", "hex": "00" }), 400).await, "payload_ambiguous");
    for bad in [json!(-1), json!(1.5), json!(4_294_967_296_u64), json!(null), json!([1])] {
        assert_eq!(said(json!({ "to": bad, "text": "x" }), 400).await, "bad_field", "{bad}");
    }
    let large = "x".repeat(limits::ADDRESSED_BYTES_MAX + 1);
    assert_eq!(said(json!({ "to": number, "text": large }), 413).await, "payload_too_large");
}

#[tokio::test]
async fn owners_and_operators_send_and_viewers_do_not() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    for (role, status) in [("owner", 200), ("operator", 200), ("viewer", 403)] {
        let token = house.token(role).await;
        let mut listener = Listener::open(&house, OWNER).await.unwrap();
        listener.next("hello").await;
        for to in [json!("lamp"), json!(OWNERS)] {
            let body = json!({ "to": to, "text": "on" }).to_string();
            let answer = house.call_as(&token, Method::POST, "send", &body).await;
            assert_eq!(answer.status.as_u16(), status, "{role} to {to}");
        }
    }
}

#[tokio::test]
async fn what_is_written_to_a_token_reaches_all_that_listen_with_it() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let token = house.token("viewer").await;
    let (mut one, mut other) = (Listener::open(&house, &token).await.unwrap(), Listener::open(&house, &token).await.unwrap());
    let mut owner = Listener::open(&house, OWNER).await.unwrap();
    let hello = one.next("hello").await;
    let number = hello["number"].as_u64().unwrap() as u32;
    assert_eq!(hello["number"], hello["token_number"]);
    assert_eq!(other.next("hello").await, hello);
    assert_eq!(owner.next("hello").await["number"], OWNERS);
    lamp_writes(&house, number, b"it rings", 1);
    lamp_writes(&house, OWNERS, b"\xff", 2);
    lamp_writes(&house, number + 1, b"nobody", 3);
    let message = one.next("addressed").await;
    let lamp = house.lamp().0;
    assert_eq!((&message["from"], &message["to"], &message["device"]), (&json!(lamp), &json!(number), &json!("lamp")));
    assert_eq!((&message["text"], &other.next("addressed").await["text"]), (&json!("it rings"), &json!("it rings")));
    assert_eq!(owner.next("addressed").await["hex"], "ff");
    house.post("send", &json!({ "to": number, "json": { "a": 1 } }).to_string()).await.ok();
    let message = one.next("addressed").await;
    assert_eq!((&message["from"], &message["device"], &message["text"]), (&json!(OWNERS), &Value::Null, &json!("{\"a\":1}")));
    house.settle().await;
    assert_eq!(*house.outside.answered.lock(), [(1, Ok(())), (2, Ok(())), (3, Err(Refusal::Unreachable))]);
    let metrics = house.request(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert!(metrics.text().contains("\nespush_numbered_lines 3\n"));
    drop((one, other));
    lamp_writes(&house, number, b"too late", 4);
    house.settle().await;
    assert_eq!(house.outside.answered.lock().last(), Some(&(4, Err(Refusal::Unreachable))));
}

#[tokio::test]
async fn one_who_does_not_read_is_full_and_lines_have_an_end() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let slow = Listener::open(&house, OWNER).await.unwrap();
    for number in 0..=limits::ADDRESSED_WAITING_MAX as u32 {
        lamp_writes(&house, OWNERS, b"x", number);
    }
    house.settle().await;
    let answered = std::mem::take(&mut *house.outside.answered.lock());
    let viewer = house.token("viewer").await;
    let mut reader = Listener::open(&house, &viewer).await.unwrap();
    let to = reader.next("hello").await["number"].as_u64().unwrap() as u32;
    let large = &*Vec::leak(vec![b'x'; limits::ADDRESSED_BYTES_MAX]);
    let fit = limits::ADDRESSED_WAITING_BYTES_MAX / limits::ADDRESSED_BYTES_MAX;
    (0..=fit as u32).for_each(|number| lamp_writes(&house, to, large, number));
    house.settle().await;
    let results: Vec<_> = house.outside.answered.lock().drain(..).map(|(_, result)| result).collect();
    assert_eq!((results.len(), results.iter().filter(|result| result.is_ok()).count()), (fit + 1, fit));
    assert_eq!(results[fit], Err(Refusal::Full), "bytes count, too");
    reader.next("addressed").await;
    lamp_writes(&house, to, large, 9);
    house.settle().await;
    assert_eq!(house.outside.answered.lock().pop(), Some((9, Ok(()))), "and there is room for what was read");
    assert_eq!(answered[0].1, Ok(()));
    assert_eq!(answered.last().unwrap().1, Err(Refusal::Full));
    let mut others = Vec::new();
    for _ in 1..limits::ADDRESSED_LINES_PER_TOKEN_MAX {
        others.push(Listener::open(&house, OWNER).await.unwrap());
    }
    assert_eq!(Listener::open(&house, OWNER).await.err(), Some(503));
    let token = house.token("viewer").await;
    Listener::open(&house, &token).await.unwrap();
    drop(slow);
    Listener::open(&house, OWNER).await.unwrap();
}

#[tokio::test]
async fn an_app_says_whom_its_devices_may_write_to() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    assert_eq!(house.get("apps/1").await.ok()["peers"], "app");
    assert_eq!(house.patch("apps/1", r#"{"peers":"any"}"#).await.ok()["peers"], "any");
    assert_eq!(house.post("apps", r#"{"name":"safes","peers":"none"}"#).await.ok()["peers"], "none");
    assert_eq!(house.patch("apps/2", r#"{"name":"locks"}"#).await.ok()["peers"], "none");
    assert_eq!(house.patch("apps/2", r#"{"peers":"all"}"#).await.problem(400).0, "bad_field");
}
