//! The room of twins between a store, a line and a bus in memory that write one journal. "store" always stands
//! before the answer, before "tell" and before "give".

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::event::Change;
use contract::store::{Later, Page, StoreError, StoredTwin, TwinChange, Twins as Kept};
use contract::{Bus, Clock, Close, ConnId, Consumer, Event, Fault, Line, Refusal, Step, Ticket, Verdict};
use model::{DeviceId, DeviceNumber, Message, Millis, PushId, Qos, Receipt, Topic, TwinPart, TwinPath, UnixMs, Value, limits};
use parking_lot::Mutex;
use serde_json::json;
use twin::{Edit, Object, TwinError, Twins};

const LAMP: DeviceNumber = DeviceNumber(7);
const NOW: UnixMs = UnixMs(1_795_000_000_000);

#[derive(Default)]
struct World {
    journal: Mutex<Vec<String>>,
    twins: Mutex<BTreeMap<DeviceNumber, StoredTwin>>,
    changes: Mutex<Vec<TwinChange>>,
    broken: AtomicBool,
}

impl World {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.journal.lock())
    }

    fn note(&self, what: String) {
        self.journal.lock().push(what);
    }

    async fn room(self: &Arc<World>) -> Arc<Twins> {
        let names: twin::Names = Arc::new(|device| DeviceId::parse(&format!("d{device}")));
        Twins::open(self.clone(), self.clone(), self.clone(), self.clone(), names).await.unwrap()
    }

    fn answer<T: Send + 'static>(&self, answer: T) -> Later<T> {
        let broken = self.broken.load(Ordering::Relaxed);
        Box::pin(async move { if broken { Err(StoreError::Engine("disk full".into())) } else { Ok(answer) } })
    }
}

impl Clock for World {
    fn unix(&self) -> UnixMs {
        NOW
    }
    fn millis(&self) -> Millis {
        Millis(0)
    }
}

impl Kept for World {
    fn twins_owed(&self) -> Later<Vec<(DeviceNumber, u64)>> {
        let twins = self.twins.lock();
        self.answer(twins.values().filter(|twin| twin.owed).map(|twin| (twin.device, twin.desired.version)).collect())
    }
    fn twins(&self, devices: Vec<DeviceNumber>) -> Later<Vec<StoredTwin>> {
        let twins = self.twins.lock();
        self.answer(devices.iter().filter_map(|device| twins.get(device).cloned()).collect())
    }
    fn twin_parts(&self, part: TwinPart, after: Option<DeviceNumber>, limit: usize) -> Later<Vec<(DeviceNumber, String)>> {
        let twins = self.twins.lock();
        let value = |twin: &StoredTwin| match part {
            TwinPart::Desired => twin.desired.value.clone(),
            TwinPart::Reported => twin.reported.value.clone(),
        };
        let found = twins.values().filter(|twin| Some(twin.device) > after).take(limit);
        self.answer(found.map(|twin| (twin.device, value(twin))).collect())
    }
    fn put_twins(&self, twins: Vec<StoredTwin>, changes: Vec<TwinChange>) -> Later<()> {
        if !self.broken.load(Ordering::Relaxed) {
            self.note(format!("store {} twins, {} changes", twins.len(), changes.len()));
            self.twins.lock().extend(twins.into_iter().map(|twin| (twin.device, twin)));
            self.changes.lock().extend(changes);
        }
        self.answer(())
    }
    fn twin_changes(&self, _: DeviceNumber, _: Option<TwinPart>, _: Option<u64>, _: usize) -> Later<Page<TwinChange>> {
        self.answer(Page { items: self.changes.lock().clone(), next: None })
    }
}

impl Line for World {
    fn publish(&self, _: Message) {}
    fn send(&self, _: u64, _: model::Address, _: DeviceNumber, _: Message) {}
    fn push(&self, device: DeviceNumber, message: Message) {
        let receipt = message.receipt.expect("its fate is to be told");
        assert_eq!((receipt.device, message.qos, message.retain), (device, Qos::AtLeastOnce, false));
        let payload = std::str::from_utf8(&message.payload).unwrap();
        self.note(format!("give {} {payload}", message.topic.as_str()));
    }
    fn decide(&self, _: Ticket, _: Verdict) {}
    fn scram(&self, _: Ticket, _: contract::ScramKeys) {}
    fn published(&self, ticket: Ticket, result: Result<(), Refusal>) {
        self.note(format!("ticket {} {result:?}", ticket.token));
    }
    fn kick(&self, _: model::PartyKey, _: Close, _: bool) {}
}

impl Bus for World {
    fn emit(&self, batch: &mut Vec<Event>) {
        for event in batch.drain(..) {
            let Event::TwinChanged { change, owed } = event else { panic!("the room tells of twins only") };
            let TwinChange { part, version, who, patch, .. } = &*change;
            self.note(format!("tell {} {version} by {who}: {patch}{}", part.as_str(), if owed { ", owed" } else { "" }));
        }
    }
    fn watched(&self) -> bool {
        false
    }
}

fn ticket(token: u32) -> Ticket {
    let conn = ConnId { index: 0, generation: 0 };
    Ticket { shard: 0, conn, session: None, promise: None, token }
}

fn report(room: &Twins, body: &str, token: Option<u32>) {
    let message = Arc::new(Message::new(Topic::of_device("d7", "twin/reported"), body.to_owned(), NOW));
    room.on_event(&Event::Up { device: LAMP, message, ticket: token.map(ticket) });
}

fn object(value: serde_json::Value) -> Object {
    serde_json::from_value(value).unwrap()
}

async fn want(room: &Twins, patch: serde_json::Value) -> twin::Twin {
    room.want(LAMP, Edit::Merge(object(patch)), None, "ci".into()).await.unwrap()
}

fn line_opened(room: &Twins) {
    let remote = SocketAddr::from(([127, 0, 0, 1], 1));
    room.on_event(&Event::LineOpened { device: LAMP, protocol: "mqtt", remote, firmware: None, at: NOW });
}

fn line_closed(room: &Twins) {
    let close = Close { fault: Fault::Peer, why: "gone".into() };
    room.on_event(&Event::LineClosed { device: LAMP, protocol: "mqtt", close, at: NOW });
}

fn step(room: &Twins, push: u64, step: Step) {
    room.on_event(&Event::Receipt { receipt: Receipt { push: PushId(push), device: LAMP }, step, at: NOW });
}

/// What the device is given when it listens.
async fn listens(world: &World, room: &Twins) -> Vec<String> {
    room.on_event(&Event::Listening { device: LAMP });
    room.flush().await;
    world.take()
}

const GIVEN: &str = r#"give dev/d7/twin/desired {"$version":1,"led":"on"}"#;

#[tokio::test]
async fn a_report_is_stored_before_it_is_acknowledged() {
    let world = Arc::new(World::default());
    let room = world.room().await;
    report(&room, r#"{"led":"on"}"#, Some(1));
    room.flush().await;
    let wanted = ["store 1 twins, 1 changes", "ticket 1 Ok(())", r#"tell reported 1 by device: {"led":"on"}"#];
    assert_eq!(world.take(), wanted);
    // The same once more changes nothing, and is acknowledged.
    report(&room, r#"{"led":"on"}"#, Some(2));
    report(&room, "led=on", Some(3));
    report(&room, r#"{"$nothing":1}"#, Some(4));
    report(&room, &format!("{:width$}", "{}", width = limits::TWIN_REPORT_BYTES_MAX + 1), Some(5));
    report(&room, "[", None);
    room.flush().await;
    let mut answers = world.take();
    answers.sort();
    let wanted = ["ticket 2 Ok(())", "ticket 3 Err(BadPayload)", "ticket 4 Err(BadPayload)", "ticket 5 Err(Quota)"];
    assert_eq!(answers, wanted);
    assert_eq!((room.changes_stored(), room.reports_refused(), room.reports_dropped()), (1, 4, 0));
    // Reports of a moment share one write, and each has its version.
    for n in 0..3 {
        report(&room, &format!("{{\"n\":{n}}}"), None);
    }
    room.flush().await;
    assert_eq!(world.take()[0], "store 1 twins, 3 changes");
    let versions: Vec<(u64, u64)> = world.changes.lock().iter().map(|change| (change.version, change.place)).collect();
    assert_eq!(versions, [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert_eq!(room.twin(LAMP).await.unwrap().reported.value, object(json!({"led": "on", "n": 2})));
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_and_did_not_happen() {
    let world = Arc::new(World::default());
    let room = world.room().await;
    want(&room, json!({"led": "on"})).await;
    world.take();
    world.broken.store(true, Ordering::Relaxed);
    report(&room, r#"{"led":"on"}"#, Some(1));
    report(&room, r#"{"led":"on"}"#, None);
    let refused = room.want(LAMP, Edit::Merge(object(json!({"led": "off"}))), None, "ci".into()).await;
    assert!(matches!(refused, Err(TwinError::Store(StoreError::Engine(_)))), "{refused:?}");
    assert_eq!(world.take(), ["ticket 1 Err(Unavailable)"]);
    assert_eq!(room.reports_dropped(), 2);
    world.broken.store(false, Ordering::Relaxed);
    assert_eq!(want(&room, json!({"led": "off"})).await.desired.version, 2);
}

#[tokio::test]
async fn an_order_goes_down_at_once_and_with_it_all_that_still_differs() {
    let world = Arc::new(World::default());
    let room = world.room().await;
    let twin = want(&room, json!({"led": "on"})).await;
    room.flush().await;
    assert_eq!((twin.desired.version, twin.delta()), (1, object(json!({"led": "on"}))));
    assert_eq!(world.take(), ["store 1 twins, 1 changes", r#"tell desired 1 by ci: {"led":"on"}, owed"#, GIVEN]);
    want(&room, json!({"every": {"s": 5}})).await;
    room.flush().await;
    assert_eq!(world.take()[2], r#"give dev/d7/twin/desired {"$version":2,"every":{"s":5},"led":"on"}"#);
    // Nothing changes: nothing is told.
    want(&room, json!({"led": "on", "gone": null})).await;
    room.flush().await;
    assert!(world.take().is_empty());
    report(&room, r#"{"led":"on","every":{"s":5},"$version":2}"#, None);
    room.flush().await;
    assert_eq!((world.take().len(), room.owed(), room.twin(LAMP).await.unwrap().acknowledged), (2, 0, 2));
    // Back to what is still reported, while the device is at it: it must hear of it all the same.
    want(&room, json!({"led": "off"})).await;
    want(&room, json!({"led": "on"})).await;
    room.flush().await;
    let journal = world.take();
    let given: Vec<&str> = journal.iter().filter_map(|line| line.strip_prefix("give dev/d7/twin/desired ")).collect();
    assert_eq!(given, [r#"{"$version":3,"led":"off"}"#, r#"{"$version":4,"led":"on"}"#]);
    // What is wanted no more is said too.
    want(&room, json!({"led": null})).await;
    room.flush().await;
    assert_eq!(world.take()[2], r#"give dev/d7/twin/desired {"$version":5,"led":null}"#);
}

#[tokio::test]
async fn a_device_that_comes_back_is_given_what_differs_once_a_line() {
    let world = Arc::new(World::default());
    want(&*world.room().await, json!({"led": "on"})).await;
    // After a restart too.
    let room = world.room().await;
    assert_eq!(room.owed(), 1);
    world.take();
    line_opened(&room);
    // It subscribes to several topics; the first time it is not there yet.
    assert_eq!(listens(&world, &room).await, [GIVEN]);
    step(&room, 0, Step::Nobody { online: true });
    assert_eq!(listens(&world, &room).await, [GIVEN]);
    step(&room, 0, Step::Sent);
    step(&room, 3, Step::Nobody { online: true });
    assert!(listens(&world, &room).await.is_empty(), "a push of the same device is another matter");
    step(&room, 0, Step::Lost);
    assert_eq!(listens(&world, &room).await, [GIVEN]);
    line_closed(&room);
    line_opened(&room);
    assert_eq!(listens(&world, &room).await, [GIVEN]);
    report(&room, r#"{"led":"on"}"#, None);
    room.flush().await;
    world.take();
    line_opened(&room);
    assert!(listens(&world, &room).await.is_empty(), "nothing differs");
}

#[tokio::test]
async fn a_report_that_shows_an_order_missed_is_answered_with_it() {
    let world = Arc::new(World::default());
    let room = world.room().await;
    report(&room, r#"{"led":"off"}"#, None);
    want(&room, json!({"led": "on"})).await;
    // It has heard that, and is away when the order is taken back. Nothing differs from what it told last.
    want(&room, json!({"led": "off"})).await;
    step(&room, 0, Step::Nobody { online: false });
    line_opened(&room);
    room.flush().await;
    world.take();
    assert!(listens(&world, &room).await.is_empty());
    report(&room, r#"{"led":"on"}"#, None);
    room.flush().await;
    assert_eq!(world.take()[2], r#"give dev/d7/twin/desired {"$version":2,"led":"off"}"#);
    // But what it was given on this line is not said again and again.
    report(&room, r#"{"n":1}"#, None);
    room.flush().await;
    assert_eq!(world.take().len(), 2);
}

#[tokio::test]
async fn queries_see_values_as_they_are_now() {
    let world = Arc::new(World::default());
    let room = world.room().await;
    let path = |part, name: &str| TwinPath { part, members: vec![name.into()] };
    want(&room, json!({"led": "on"})).await;
    let paths = [path(TwinPart::Reported, "led"), path(TwinPart::Desired, "led"), path(TwinPart::Reported, "n")];
    let values = room.values_of(&paths).await.unwrap();
    assert_eq!((values.twin(LAMP, 0), values.twin(LAMP, 1)), (None, Some(Value::Text("on".into()))));
    report(&room, r#"{"led":"off","n":3}"#, None);
    room.flush().await;
    assert_eq!((values.twin(LAMP, 0), values.twin(LAMP, 2)), (Some(Value::Text("off".into())), Some(Value::Number(3.0))));
    want(&room, json!({"led": null})).await;
    assert_eq!(values.twin(LAMP, 1), None);
    room.on_event(&Event::DeviceChanged { device: LAMP, change: Change::Removed });
    assert_eq!((values.twin(LAMP, 0), room.owed()), (None, 0));
}

#[tokio::test]
async fn too_many_reports_are_refused_in_words() {
    let world = Arc::new(World::default());
    let room = world.room().await;
    let body = format!("{{\"x\":\"{}\"}}", "x".repeat(100 * 1024));
    let many = limits::TWINS_WAITING_BYTES_MAX / body.len() + 2;
    for n in 0..many as u32 {
        report(&room, &body, Some(n));
    }
    let refused = world.take();
    assert!((1..many).contains(&refused.len()) && refused.iter().all(|line| line.ends_with("Err(Unavailable)")), "{refused:?}");
    room.flush().await;
    assert_eq!(world.take().len() + refused.len(), many, "each is answered once");
    report(&room, "{}", Some(1000));
    room.flush().await;
    assert_eq!(world.take(), ["ticket 1000 Ok(())"], "and then there is room again");
}
