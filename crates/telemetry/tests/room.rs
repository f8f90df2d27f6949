//! The telemetry room between a store, a line and a bus in memory that write one journal. "store" always
//! stands before the answer to the device and before "tell".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use contract::event::Change;
use contract::store::{Later, Latest, NewestOf, Page, PointQuery, Points, StoreError};
use contract::{Bus, Clock, Close, ConnId, Consumer, Event, Line, Refusal, Ticket, Verdict};
use model::{DeviceNumber, Message, Millis, Point, Topic, UnixMs, Value, limits};
use parking_lot::Mutex;
use telemetry::{Direction, IngestError, Reading, Telemetry};
use tokio::sync::Semaphore;

const LAMP: DeviceNumber = DeviceNumber(7);
const NOW: UnixMs = UnixMs(1_795_000_000_000);

struct World {
    journal: Mutex<Vec<String>>,
    points: Mutex<BTreeMap<(DeviceNumber, String, UnixMs), Value>>,
    broken: AtomicBool,
    go: Arc<Semaphore>,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            journal: Mutex::default(),
            points: Mutex::default(),
            broken: AtomicBool::new(false),
            go: Arc::new(Semaphore::new(0)),
        })
    }

    fn room(self: &Arc<World>) -> Arc<Telemetry> {
        Telemetry::open(self.clone(), self.clone(), self.clone())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.journal.lock())
    }
}

fn shown(points: &[Point]) -> String {
    let show = |point: &Point| {
        let at = if point.at == NOW { String::new() } else { format!("@{}", point.at.0) };
        format!(" {}={}{at}", point.stream, serde_json::to_string(&point.value).unwrap())
    };
    points.iter().map(show).collect()
}

impl Clock for World {
    fn unix(&self) -> UnixMs {
        NOW
    }
    fn millis(&self) -> Millis {
        Millis(0)
    }
}

impl Points for World {
    fn append(&self, points: Vec<Point>) -> Later<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Engine("disk full".into())) });
        }
        self.journal.lock().push(format!("store{}", shown(&points)));
        self.points.lock().extend(points.into_iter().map(|point| ((point.device, point.stream, point.at), point.value)));
        Box::pin(async { Ok(()) })
    }
    fn points(&self, _: PointQuery) -> Later<Page<Point>> {
        Box::pin(async { Ok(Page { items: Vec::new(), next: None }) })
    }
    fn latest(&self, _: DeviceNumber) -> Later<Vec<Latest>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn newest_of(&self, stream: String, after: Option<DeviceNumber>, limit: usize) -> Later<Vec<NewestOf>> {
        self.journal.lock().push(format!("read {stream} after {}", after.map_or(0, |device| device.0)));
        let mut newest = BTreeMap::new();
        for ((device, of, at), value) in &*self.points.lock() {
            if *of == stream && after.is_none_or(|after| *device > after) {
                newest.insert(*device, NewestOf { device: *device, at: *at, value: value.clone() });
            }
        }
        // As in a store, the answer takes its time; the test may do something meanwhile.
        let (page, go) = (newest.into_values().take(limit).collect(), self.go.clone());
        Box::pin(async move {
            go.acquire().await.expect("it is never closed").forget();
            Ok(page)
        })
    }
    fn streams(&self, device: DeviceNumber) -> Later<Vec<String>> {
        let points = self.points.lock();
        let names: BTreeSet<String> = points.keys().filter(|key| key.0 == device).map(|key| key.1.clone()).collect();
        Box::pin(async { Ok(names.into_iter().collect()) })
    }
}

impl Line for World {
    fn publish(&self, _: Message) {}
    fn send(&self, _: u64, _: model::Address, _: model::DeviceNumber, _: model::Message) {}
    fn push(&self, _: DeviceNumber, _: Message) {}
    fn decide(&self, _: Ticket, _: Verdict) {}
    fn scram(&self, _: contract::Ticket, _: contract::ScramKeys) {}
    fn published(&self, ticket: Ticket, result: Result<(), Refusal>) {
        self.journal.lock().push(format!("ticket {} {result:?}", ticket.token));
    }
    fn kick(&self, _: model::PartyKey, _: Close, _: bool) {}
}

impl Bus for World {
    fn emit(&self, batch: &mut Vec<Event>) {
        for event in batch.drain(..) {
            let Event::PointsStored { points } = event else { panic!("the telemetry room tells of points only") };
            self.journal.lock().push(format!("tell{}", shown(&points)));
        }
    }
    fn watched(&self) -> bool {
        false
    }
}

fn up(room: &Telemetry, rest: &str, body: &[u8], token: Option<u32>) {
    let ticket =
        token.map(|token| Ticket { shard: 0, conn: ConnId { index: 0, generation: 0 }, session: None, promise: None, token });
    let message = Message::new(Topic::of_device("lamp", rest), Bytes::copy_from_slice(body), NOW);
    room.on_event(&Event::Up { device: LAMP, message: Arc::new(message), ticket });
}

fn reading(stream: &str, value: f64, at: UnixMs) -> Reading {
    Reading { stream: stream.into(), at, value: Value::Number(value) }
}

#[tokio::test]
async fn uploads_that_came_together_are_stored_at_once_and_then_answered() {
    let world = World::new();
    let room = world.room();
    up(&room, "data", br#"{"temp":21.5,"on":true}"#, Some(1));
    up(&room, "data/door/front", b"open", None);
    up(&room, "data", br#"[{"ts":1794000000000,"temp":20}]"#, Some(2));
    up(&room, "data", b"{}", Some(3));
    up(&room, "database", b"not ours", None);
    up(&room, "answer/1", b"not ours", Some(9));
    room.flush().await;
    assert_eq!(
        world.take(),
        [
            r#"store on=true temp=21.5 door/front="open" temp=20.0@1794000000000"#,
            "ticket 1 Ok(())",
            "ticket 2 Ok(())",
            "ticket 3 Ok(())",
            "tell on=true temp=21.5",
            r#"tell door/front="open""#,
            "tell temp=20.0@1794000000000",
        ]
    );
    assert_eq!(room.points_stored(), 4);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_costs_nobody_else() {
    let world = World::new();
    let room = world.room();
    up(&room, "data", b"21.5", Some(1));
    up(&room, "data", br#"{"a":1,"b":{"c":2}}"#, Some(2));
    up(&room, "data/", b"1", Some(3));
    up(&room, "data", b"garbage", None);
    up(&room, "data", br#"{"temp":1}"#, Some(4));
    room.flush().await;
    assert_eq!(
        world.take(),
        [
            "ticket 1 Err(BadPayload)",
            "ticket 2 Err(BadPayload)",
            "ticket 3 Err(BadTopic)",
            "store temp=1.0",
            "ticket 4 Ok(())",
            "tell temp=1.0"
        ]
    );
    assert_eq!((room.uploads_refused(), room.uploads_dropped()), (4, 0));
}

#[tokio::test]
async fn a_device_may_open_only_so_many_streams() {
    let world = World::new();
    let first: Vec<Reading> = (0..limits::STREAMS_PER_DEVICE_MAX - 1).map(|i| reading(&format!("s{i}"), 1.0, NOW)).collect();
    assert_eq!(world.room().ingest(LAMP, NOW, first).await.unwrap(), limits::STREAMS_PER_DEVICE_MAX - 1);
    world.take();
    // Another room on the same store, as after a restart.
    let room = world.room();
    up(&room, "data", br#"{"new1":1,"new2":2}"#, Some(1));
    up(&room, "data", br#"{"new1":1,"s0":2}"#, Some(2));
    up(&room, "data", br#"{"new2":1}"#, Some(3));
    room.flush().await;
    assert_eq!(
        world.take(),
        ["ticket 1 Err(Quota)", "ticket 3 Err(Quota)", "store new1=1.0 s0=2.0", "ticket 2 Ok(())", "tell new1=1.0 s0=2.0"]
    );
}

#[tokio::test]
async fn ingested_readings_are_checked_and_on_disk_when_it_returns() {
    let world = World::new();
    let room = world.room();
    let readings = vec![reading("temp", 21.0, UnixMs(1_794_000_000_000)), reading("temp", 22.0, UnixMs(NOW.0 * 2))];
    assert_eq!(room.ingest(LAMP, NOW, readings).await.unwrap(), 2);
    assert_eq!(world.take()[0], "store temp=21.0@1794000000000 temp=22.0");
    let bad = room.ingest(LAMP, NOW, vec![reading("a#b", 1.0, NOW)]).await;
    assert!(matches!(bad, Err(IngestError::Refused(Refusal::BadTopic))));
    let many = vec![reading("a", 1.0, NOW); limits::POINTS_PER_UPLOAD_MAX + 1];
    assert!(matches!(room.ingest(LAMP, NOW, many).await, Err(IngestError::Refused(Refusal::Quota))));
    world.broken.store(true, Ordering::Relaxed);
    let unlucky = room.ingest(LAMP, NOW, vec![reading("temp", 1.0, NOW)]).await;
    assert!(matches!(unlucky, Err(IngestError::Store(_))));
}

#[tokio::test]
async fn values_that_came_in_one_millisecond_are_all_kept() {
    let world = World::new();
    let room = world.room();
    for token in 0..100 {
        up(&room, "data/count", token.to_string().as_bytes(), Some(token));
    }
    up(&room, "data", br#"[{"count":100},{"count":101}]"#, Some(100));
    room.flush().await;
    let two = vec![reading("count", 102.0, NOW), reading("count", 103.0, NOW)];
    assert_eq!(room.ingest(LAMP, NOW, two).await.unwrap(), 2);
    let kept: Vec<_> = world.points.lock().iter().map(|((_, _, at), value)| (at.0 - NOW.0, value.clone())).collect();
    let sent: Vec<_> = (0..104).map(|n| (n, Value::Number(n as f64))).collect();
    assert_eq!(kept, sent, "in their order, a millisecond apart");

    // A device's own time is its own word: the same time again is a repetition or a correction.
    up(&room, "data", br#"{"ts":1794000000000,"count":1}"#, Some(101));
    up(&room, "data", br#"{"ts":1794000000000,"count":2}"#, Some(102));
    room.flush().await;
    let key = (LAMP, "count".to_owned(), UnixMs(1_794_000_000_000));
    let points = world.points.lock();
    assert_eq!((points.len(), &points[&key]), (105, &Value::Number(2.0)));
}

#[tokio::test]
async fn a_stream_faster_than_its_clock_is_refused_in_the_end_and_not_overwritten() {
    let world = World::new();
    let room = world.room();
    let uploads = limits::POINTS_AHEAD_MS_MAX as usize / limits::POINTS_PER_UPLOAD_MAX;
    for _ in 0..uploads {
        room.ingest(LAMP, NOW, vec![reading("a", 1.0, NOW); limits::POINTS_PER_UPLOAD_MAX]).await.unwrap();
    }
    let many = room.ingest(LAMP, NOW, vec![reading("a", 1.0, NOW); 2]).await;
    assert!(matches!(many, Err(IngestError::Refused(Refusal::Quota))));
    assert_eq!(world.points.lock().len(), uploads * limits::POINTS_PER_UPLOAD_MAX);
    assert_eq!(room.ingest(LAMP, NOW, vec![reading("b", 1.0, NOW)]).await.unwrap(), 1, "another stream is not concerned");
}

#[tokio::test]
async fn a_store_in_trouble_is_told_to_those_who_wait() {
    let world = World::new();
    let room = world.room();
    world.broken.store(true, Ordering::Relaxed);
    up(&room, "data", br#"{"temp":1}"#, Some(1));
    up(&room, "data", br#"{"temp":1}"#, None);
    room.flush().await;
    assert_eq!(world.take(), ["ticket 1 Err(Unavailable)"]);
    assert_eq!(room.uploads_dropped(), 2);
    world.broken.store(false, Ordering::Relaxed);
    up(&room, "data", br#"{"temp":1}"#, Some(2));
    room.flush().await;
    assert_eq!(world.take()[1], "ticket 2 Ok(())");
}

#[tokio::test]
async fn a_store_that_does_not_keep_up_drops_what_nobody_waits_for_and_refuses_the_rest() {
    let world = World::new();
    let room = world.room();
    // Large, and quickly seen not to be JSON: only its weight matters here.
    let body = "x".repeat(250_000);
    let fits = limits::UPLOADS_WAITING_BYTES_MAX / body.len();
    // Nothing is awaited here, so the room's task does not run: everything waits.
    for _ in 0..fits {
        up(&room, "data", body.as_bytes(), None);
    }
    let dropped = room.uploads_dropped();
    assert!(dropped > 0 && dropped < fits as u64);
    for token in 0..fits as u32 {
        up(&room, "data", body.as_bytes(), Some(token));
    }
    let refused = world.take();
    assert!(!refused.is_empty() && refused.iter().all(|line| line.ends_with("Err(Unavailable)")));
    room.flush().await;
    let answered = world.take().iter().filter(|line| line.starts_with("ticket")).count();
    assert_eq!(refused.len() + answered, fits, "whoever waits gets an answer");
    up(&room, "data", br#"{"temp":1}"#, None);
    room.flush().await;
    assert_eq!(world.take(), ["store temp=1.0", "tell temp=1.0"], "there is room again");
}

#[tokio::test]
async fn messages_of_both_ways_are_remembered_until_the_device_is_removed() {
    let world = World::new();
    let room = world.room();
    up(&room, "log", b"booted", None);
    let push = Message::new(Topic::of_device("lamp", "push"), &b"on"[..], UnixMs(5));
    room.on_event(&Event::Down { device: LAMP, message: Arc::new(push), at: NOW });
    let seen: Vec<_> = room.messages(LAMP).into_iter().map(|m| (m.direction, m.topic.to_string(), m.at)).collect();
    assert_eq!(seen, [(Direction::Up, "dev/lamp/log".to_owned(), NOW), (Direction::Down, "dev/lamp/push".to_owned(), NOW)]);
    room.on_event(&Event::DeviceChanged { device: LAMP, change: Change::Removed });
    assert!(room.messages(LAMP).is_empty());
}

#[tokio::test]
async fn newest_values_are_read_once_and_kept_up_to_date() {
    let world = World::new();
    let room = world.room();
    let (fan, none) = (DeviceNumber(8), DeviceNumber(9));
    room.ingest(LAMP, NOW, vec![reading("temp", 20.0, UnixMs(NOW.0 - 5)), reading("temp", 21.0, NOW)]).await.unwrap();
    room.ingest(fan, NOW, vec![reading("temp", 5.0, NOW)]).await.unwrap();
    world.take();
    let streams: [Box<str>; 2] = ["temp".into(), "other".into()];
    let asked = tokio::spawn({
        let (room, streams) = (room.clone(), streams.clone());
        async move { room.newest_of(&streams).await.unwrap() }
    });
    while world.journal.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    // While it is read: a newer value, a late one, and one that takes the place of another.
    let later = UnixMs(NOW.0 + 1);
    room.ingest(LAMP, NOW, vec![reading("temp", 22.0, later), reading("temp", 1.0, UnixMs(1_000_000))]).await.unwrap();
    room.ingest(fan, later, vec![reading("temp", 6.0, NOW)]).await.unwrap();
    world.go.add_permits(9);
    let newest = asked.await.unwrap();
    let of = |device, place| newest.latest(device, place);
    assert_eq!((of(LAMP, 0), of(fan, 0)), (Some(Value::Number(22.0)), Some(Value::Number(6.0))));
    assert_eq!((of(none, 0), of(LAMP, 1), of(LAMP, 2)), (None, None, None));
    world.take();
    room.ingest(none, NOW, vec![reading("other", 7.0, NOW)]).await.unwrap();
    let again = room.newest_of(&streams).await.unwrap();
    assert_eq!((again.latest(LAMP, 0), again.latest(none, 1)), (Some(Value::Number(22.0)), Some(Value::Number(7.0))));
    assert!(world.take().iter().all(|line| !line.starts_with("read")), "the store is asked once");
    room.on_event(&Event::DeviceChanged { device: LAMP, change: Change::Removed });
    room.flush().await;
    assert_eq!(again.latest(LAMP, 0), None);
}
