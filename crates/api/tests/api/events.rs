//! Live events.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use contract::event::Change;
use contract::{Close, Event, Fault, Refusal};
use futures_util::StreamExt;
use model::{Message, Point, Topic, UnixMs, Value, limits};
use tower::ServiceExt;

use crate::described;
use crate::house::{Device, House, OWNER, edited, line_opened, peer};

struct Watcher(BodyDataStream, String);

impl Watcher {
    async fn open(house: &House, query: &str, last: Option<&str>) -> Watcher {
        Watcher::open_as(house, OWNER, query, last).await
    }

    async fn open_as(house: &House, token: &str, query: &str, last: Option<&str>) -> Watcher {
        let mut request = Request::get(format!("/api/v1/events{query}")).header("Authorization", format!("Bearer {token}"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = house.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut watcher = Watcher(response.into_body().into_data_stream(), String::new());
        assert_eq!(watcher.block().await.unwrap(), ": espush events");
        watcher
    }

    /// The next block up to the blank line; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.1.split_once("\n\n") {
                let block = block.to_owned();
                self.1 = rest.to_owned();
                return Some(block);
            }
            let chunk = self.0.next().await?.unwrap();
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event: its id, its name, its data.
    async fn event(&mut self) -> (String, String, serde_json::Value) {
        let block = self.block().await.unwrap();
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {block:?}")).to_owned()
        };
        let (kind, data) = (field("event"), serde_json::from_str(&field("data")).unwrap());
        described::check_event(&kind, &data);
        (field("id"), kind, data)
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let (house, _) = House::with_lamp(Device::Quiet).await;
    let token = house.token("viewer").await;
    let mut watcher = Watcher::open_as(&house, &token, "", None).await;
    house.outside.tell(line_opened(house.lamp()));
    assert_eq!(watcher.event().await.1, "presence");
    let id = house.get("tokens").await.ok()["items"].as_array().unwrap().last().unwrap()["id"].to_string();
    assert_eq!(house.delete(&format!("tokens/{id}")).await.status, 204);
    house.outside.tell(edited(house.lamp()));
    assert_eq!(watcher.block().await.unwrap(), ": the token is not valid any more; sign in again");
    assert_eq!(watcher.block().await, None);
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let (house, _) = House::with_lamp(Device::Answers(b"lit")).await;
    let mut watcher = Watcher::open(&house, "", None).await;
    assert_eq!(house.outside.watchers.load(Ordering::Relaxed), 1);
    house.outside.tell(line_opened(house.lamp()));
    let (_, kind, data) = watcher.event().await;
    assert_eq!((kind.as_str(), &data["device"], &data["online"]), ("presence", &"lamp".into(), &true.into()));
    assert_eq!((&data["protocol"], &data["since"]), (&"mqtt".into(), &"2026-11-18T11:06:40.000Z".into()));

    house.patch("devices/lamp", r#"{"name":"Lamp"}"#).await.ok();
    let (_, kind, data) = watcher.event().await;
    assert_eq!((kind.as_str(), data), ("device", serde_json::json!({"device": "lamp", "change": "edited"})));

    house.outside.up(house.lamp(), "dev/lamp/data", br#"{"temp":21}"#);
    let (_, kind, data) = watcher.event().await;
    assert_eq!((kind.as_str(), &data["topic"], &data["text"]), ("message", &"dev/lamp/data".into(), &r#"{"temp":21}"#.into()));
    let (_, kind, data) = watcher.event().await;
    assert_eq!((kind.as_str(), &data["device"]), ("points", &"lamp".into()));
    assert_eq!((&data["items"][0]["stream"], &data["items"][0]["value"]), (&"temp".into(), &21.into()));

    house.post("push", r#"{"audience":{"device":"lamp"},"text":"on","ask":true}"#).await.ok();
    let mut states = Vec::new();
    while states.last() != Some(&"applied".to_owned()) {
        let (_, kind, data) = watcher.event().await;
        if kind == "delivery" {
            assert_eq!((&data["push"], &data["device"]), (&1.into(), &"lamp".into()));
            states.push(data["state"].as_str().unwrap().to_owned());
            if data["state"] == "applied" {
                assert_eq!(data["answer"]["text"], "lit");
            }
        }
    }
    assert_eq!(states, ["queued", "sent", "delivered", "applied"]);

    let (protocol, remote, at) = ("mqtt", peer(), UnixMs(1_795_000_000_000));
    house.outside.tell(Event::Knocked {
        protocol,
        remote,
        claim: "user \"x\"".into(),
        device: None,
        refusal: Refusal::BadCredentials,
        at,
    });
    let (_, kind, data) = watcher.event().await;
    assert_eq!((kind.as_str(), &data["claim"], &data["remote"]), ("knock", &"user \"x\"".into(), &"192.0.2.7:4711".into()));
    assert_eq!(data["reason"], "unknown device id or wrong secret");

    let free = Message::new(Topic::parse("foo_topic").unwrap(), &b"hi"[..], at);
    house.outside.tell(Event::Passed { message: Arc::new(Message { source: Some(house.lamp()), ..free.clone() }) });
    house.outside.tell(Event::Passed { message: Arc::new(free) });
    for device in [serde_json::json!("lamp"), serde_json::Value::Null] {
        let (_, kind, data) = watcher.event().await;
        assert_eq!((kind.as_str(), &data["device"], &data["topic"]), ("message", &device, &"foo_topic".into()));
    }

    let close = Close { fault: Fault::Peer, why: "not MQTT".into() };
    house.outside.tell(Event::Faulted { protocol, remote, device: Some(house.lamp()), close, at });
    let (_, kind, data) = watcher.event().await;
    assert_eq!((kind.as_str(), &data["device"], &data["fault"]), ("fault", &"lamp".into(), &"peer".into()));
    assert_eq!(data["why"], "not MQTT");

    house.delete("devices/lamp").await;
    loop {
        let (_, kind, data) = watcher.event().await;
        if kind == "device" {
            assert_eq!(data, serde_json::json!({"device": "lamp", "change": "removed"}));
            break;
        }
    }
    drop(watcher);
    assert_eq!(house.outside.watchers.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_watcher_of_one_device_hears_of_that_only() {
    let (house, _) = House::with_lamp(Device::Away).await;
    house.post("devices", r#"{"app":1,"id":"other"}"#).await.ok();
    let mut watcher = Watcher::open(&house, "?device=lamp", None).await;
    house.outside.tell(edited(house.fleet.number_of("other").unwrap()));
    house.outside.tell(edited(house.lamp()));
    assert_eq!(watcher.event().await.2["device"], "lamp");
    assert_eq!(house.get("events?device=none").await.problem(404).0, "no_such_device");
}

#[tokio::test]
async fn one_that_comes_back_misses_nothing() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let mut watcher = Watcher::open(&house, "", None).await;
    house.outside.tell(edited(house.lamp()));
    let (seen, ..) = watcher.event().await;
    drop(watcher);
    house.outside.tell(Event::DeviceChanged { device: house.lamp(), change: Change::Registered });
    house.settle().await;
    let mut again = Watcher::open(&house, "", Some(&seen)).await;
    let (next, _, data) = again.event().await;
    assert_eq!(data["change"], "registered");
    assert_eq!(next.parse::<u64>().unwrap(), seen.parse::<u64>().unwrap() + 1);
    // What came before the ring began is said to be gone.
    let mut old = Watcher::open(&house, "", Some("1")).await;
    assert!(old.block().await.unwrap().starts_with(": some events since Last-Event-ID are forgotten"));
    assert_eq!(old.event().await.0, seen);
    // A number from the future (the clock was set back) resumes from nothing.
    let mut ahead = Watcher::open(&house, "", Some("18446744073709551615")).await;
    house.outside.tell(edited(house.lamp()));
    assert_eq!(ahead.event().await.2["change"], "edited");
}

#[tokio::test]
async fn a_slow_reader_is_told_and_dropped() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let mut watcher = Watcher::open(&house, "", None).await;
    for _ in 0..=limits::FEED_EVENTS_MAX {
        house.outside.tell(edited(house.lamp()));
    }
    house.settle().await;
    assert_eq!(watcher.block().await.unwrap(), ": read too slowly, 1 events are gone; reconnect");
    assert_eq!(watcher.block().await, None);
}

#[tokio::test]
async fn large_events_are_forgotten_sooner() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let mut watcher = Watcher::open(&house, "", None).await;
    let value = Value::Text("x".repeat(limits::POINT_TEXT_BYTES_MAX));
    let point = Point { device: house.lamp(), stream: "text".into(), at: UnixMs(0), value };
    let points: Arc<[Point]> = vec![point; 200].into();
    for _ in 0..=limits::FEED_BYTES_MAX / (200 * limits::POINT_TEXT_BYTES_MAX) {
        house.outside.tell(Event::PointsStored { points: points.clone() });
    }
    house.settle().await;
    assert!(watcher.block().await.unwrap().starts_with(": read too slowly"));
}

#[tokio::test]
async fn watchers_are_bounded_and_sent_home_at_the_end() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let mut watcher = Watcher::open(&house, "", None).await;
    house.outside.watchers.fetch_add(limits::WATCHERS_MAX, Ordering::Relaxed);
    assert_eq!(house.get("events").await.problem(503).0, "too_many_watchers");
    house.outside.watchers.fetch_sub(limits::WATCHERS_MAX, Ordering::Relaxed);
    house.feed.close();
    assert_eq!(watcher.block().await, None);
    assert_eq!(house.get("events").await.problem(503).0, "stopping");
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_a_comment() {
    let (house, _) = House::with_lamp(Device::Away).await;
    let mut watcher = Watcher::open(&house, "", None).await;
    let started = tokio::time::Instant::now();
    assert!(watcher.block().await.unwrap().starts_with(':'));
    assert_eq!(started.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let house = House::new().await;
    assert_eq!(house.get("ws").await.problem(426).0, "not_a_websocket");
    let request = Request::get("/api/v1/ws").header("Cookie", format!("espush_session={OWNER}"));
    let request = request.header("Origin", "http://elsewhere").header("Host", "here");
    assert_eq!(house.request(request.body(Body::empty()).unwrap()).await.problem(403).0, "foreign_page");
}

#[tokio::test]
async fn a_token_for_some_devices_sees_theirs_alone() {
    let (house, _) = House::with_lamp(Device::Away).await;
    house.post("devices", r#"{"app":1,"id":"fan","tags":["hall"]}"#).await.ok();
    let about = r#"{"name":"hall","role":"viewer","scopes":["events"],"where":"tags has hall"}"#;
    let token = house.post("tokens", about).await.ok()["token"].as_str().unwrap().to_owned();
    house.settle().await;
    let mut watcher = Watcher::open_as(&house, &token, "", None).await;
    house.outside.tell(edited(house.lamp()));
    house.outside.tell(Event::AlarmChanged {
        alarm: contract::Alarm::StoreFull,
        raised: true,
        why: "full".into(),
        at: UnixMs(0),
    });
    house.outside.tell(edited(house.fleet.number_of("fan").unwrap()));
    let (_, kind, data) = watcher.event().await;
    assert_eq!((kind.as_str(), data["device"].as_str()), ("device", Some("fan")));
}
