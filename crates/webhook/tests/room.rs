//! Webhooks on a real store, with a clock that only the test moves and a courier that does what it is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use contract::Clock;
use contract::webhooks::Webhooks as _;
use model::{Millis, UnixMs, limits};
use parking_lot::Mutex;
use serde_json::Value;
use store::Store;
use webhook::{Courier, Filter, Fit, Later, NewWebhook, Parcel, Settings, WebhookEdit, WebhookError, Webhooks};

const START: i64 = 1_795_000_000_000;

/// The clock, the targets and the devices.
#[derive(Default)]
struct World {
    now: AtomicI64,
    posted: Mutex<Vec<Parcel>>,
    /// What the next answers are; then 204.
    answers: Mutex<VecDeque<Result<u16, String>>>,
    /// What is answered once those are used up.
    always: Mutex<Option<u16>>,
    dropped: AtomicU64,
    watchers: Arc<AtomicUsize>,
}

impl Clock for World {
    fn unix(&self) -> UnixMs {
        UnixMs(self.now.load(Ordering::Relaxed))
    }
    fn millis(&self) -> Millis {
        Millis(0)
    }
}

struct Courtyard(Arc<World>);

impl Courier for Courtyard {
    fn post(&self, parcel: Parcel) -> Later<Result<u16, String>> {
        self.0.posted.lock().push(parcel);
        let answer = self.0.answers.lock().pop_front().unwrap_or(Ok(self.0.always.lock().unwrap_or(204)));
        Box::pin(async move { answer })
    }
}

/// `lamp` fits `id = lamp`, `ghost` is gone, and there is no group `gone`.
struct Devices;

impl Filter for Devices {
    fn fits(&self, query: Arc<str>, device: Arc<str>) -> Later<Fit> {
        let fit = match &*query {
            "group = gone" => Fit::Unknown,
            _ if &*device == "ghost" => Fit::Gone,
            _ if *query == format!("id = {device}") => Fit::Yes,
            _ => Fit::No,
        };
        Box::pin(async move { fit })
    }
}

struct House {
    dir: tempfile::TempDir,
    world: Arc<World>,
    store: Option<Arc<Store>>,
    room: Arc<Webhooks>,
}

async fn open(world: &Arc<World>, store: &Arc<Store>) -> Arc<Webhooks> {
    let of_world = world.clone();
    let settings = Settings {
        attempts: 3,
        first_retry_ms: 5_000,
        allow_private: false,
        kinds: &["presence", "message"],
        by_name_only: &["message"],
        watchers: world.watchers.clone(),
        dropped: Box::new(move || of_world.dropped.load(Ordering::Relaxed)),
    };
    Webhooks::open(store.clone(), world.clone(), Arc::new(Courtyard(world.clone())), settings).await.unwrap()
}

impl House {
    async fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(World { now: AtomicI64::new(START), ..World::default() });
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let room = open(&world, &store).await;
        House { dir, world, store: Some(store), room }
    }

    async fn restart(&mut self, in_order: bool) {
        if in_order {
            self.room.close(&Devices).await;
        }
        self.store.take().unwrap().close().await;
        let store = Arc::new(Store::open(self.dir.path()).unwrap());
        self.room = open(&self.world, &store).await;
        self.store = Some(store);
    }

    async fn hook(&self, kinds: &[&str], query: &str) -> u64 {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let url = "https://example.org/hook".into();
        let new = NewWebhook { name: "ops".into(), url, kinds, query: query.into() };
        self.room.create(new).await.unwrap().webhook.id
    }

    /// Something happens; what wants it has it on disk.
    async fn happens(&self, kind: &'static str, id: u64, device: Option<&str>) {
        self.room.offer(kind, id, device.map(Arc::from), &format!(r#"{{"n":{id}}}"#));
        self.room.take_in(&Devices).await.unwrap();
    }

    /// What was posted since it was last asked.
    fn posted(&self) -> Vec<Value> {
        self.world.posted.lock().drain(..).map(|parcel| serde_json::from_str(&parcel.body).unwrap()).collect()
    }

    fn pass(&self, ms: i64) {
        self.world.now.fetch_add(ms, Ordering::Relaxed);
    }

    fn fail(&self, times: usize) {
        self.world.answers.lock().extend(std::iter::repeat_n(Ok(500), times));
    }
}

#[tokio::test]
async fn an_event_is_posted_once_with_its_number_and_a_signature() {
    let house = House::new().await;
    let id = house.hook(&[], "").await;
    house.happens("presence", 41, Some("lamp")).await;
    assert_eq!(house.room.get(id).unwrap().counts.waiting, 1);
    assert_eq!(house.room.deliver(id).await.unwrap(), None);
    let parcel = house.world.posted.lock().pop().unwrap();
    assert_eq!(&*parcel.body, r#"{"event":"presence","id":"41","data":{"n":41}}"#);
    let [(_, message), (_, timestamp), (_, signature)] = &parcel.headers;
    assert_eq!((message.as_str(), timestamp.as_str()), ("msg_1", "1795000000"));
    assert!(signature.starts_with("v1,") && !signature.contains(' '));
    house.room.deliver(id).await.unwrap();
    assert!(house.posted().is_empty());
    let view = house.room.get(id).unwrap();
    assert_eq!((view.counts.waiting, view.counts.waiting_bytes, view.webhook.health.last_ok), (0, 0, Some(UnixMs(START))));
}

#[tokio::test]
async fn what_fails_is_tried_again_with_growing_pauses_and_under_one_name() {
    let house = House::new().await;
    let id = house.hook(&[], "").await;
    house.fail(2);
    house.happens("presence", 1, None).await;
    let mut next = house.room.deliver(id).await.unwrap().unwrap();
    for (least, most) in [(3_750, 6_250), (15_000, 25_000)] {
        let pause = next.0 - house.world.unix().0;
        assert!((least..=most).contains(&pause), "{pause}");
        assert_eq!(house.room.get(id).unwrap().webhook.health.last_error, "answered 500");
        house.pass(pause - 1);
        assert_eq!(house.room.deliver(id).await.unwrap(), Some(next), "not before its time");
        house.pass(1);
        next = house.room.deliver(id).await.unwrap().unwrap_or(UnixMs(0));
    }
    assert_eq!(next, UnixMs(0), "the third was taken");
    let names: Vec<String> = house.world.posted.lock().iter().map(|parcel| parcel.headers[0].1.clone()).collect();
    assert_eq!(names, ["msg_1", "msg_1", "msg_1"]);
    let health = house.room.get(id).unwrap().webhook.health;
    assert_eq!((health.failing_since, health.last_error.as_str()), (None, ""));
}

#[tokio::test]
async fn after_the_last_attempt_it_lies_among_the_failed_until_it_is_replayed() {
    let mut house = House::new().await;
    let id = house.hook(&[], "").await;
    house.fail(6);
    for number in [1, 2] {
        house.happens("presence", number, None).await;
    }
    for _ in 0..3 {
        house.room.deliver(id).await.unwrap();
        house.pass(60_000);
    }
    assert_eq!(house.posted().len(), 6);
    house.restart(true).await;
    let counts = house.room.get(id).unwrap().counts;
    assert_eq!((counts.waiting, counts.failed), (0, 2), "they are counted after a restart, too");
    let failed = house.room.failed(id, None, 1).await.unwrap();
    assert_eq!((failed.items[0].id, failed.items[0].tries, failed.items[0].error.as_str()), (2, 3, "answered 500"));
    assert_eq!(failed.next.as_deref(), Some("2"));
    assert!(matches!(house.room.replay(id, Some(9)).await, Err(WebhookError::NoSuchDelivery(9))));
    assert_eq!(house.room.replay(id, Some(1)).await.unwrap(), 1);
    house.room.deliver(id).await.unwrap();
    assert_eq!(house.posted()[0]["id"], "1");
    assert_eq!(house.room.replay(id, None).await.unwrap(), 1);
    house.room.deliver(id).await.unwrap();
    assert_eq!(house.posted()[0]["id"], "2");
    assert_eq!(house.room.get(id).unwrap().counts.failed, 0);
}

#[tokio::test]
async fn kinds_and_devices_are_chosen_and_messages_only_by_name() {
    let house = House::new().await;
    let (all, lamp) = (house.hook(&[], "").await, house.hook(&[], "id = lamp").await);
    assert!(!house.room.wants("message") && house.world.watchers.load(Ordering::Relaxed) == 0);
    let messages = house.hook(&["message"], "").await;
    assert!(house.room.wants("message"));
    assert_eq!(house.world.watchers.load(Ordering::Relaxed), 1, "messages that pass are told only while somebody watches");
    for (kind, number, device) in [
        ("presence", 1, Some("lamp")),
        ("presence", 2, Some("fan")),
        ("presence", 3, Some("ghost")),
        ("presence", 4, None),
        ("message", 5, Some("lamp")),
    ] {
        house.happens(kind, number, device).await;
    }
    for (id, wanted) in [(all, vec!["1", "2", "3", "4"]), (lamp, vec!["1", "3", "4"]), (messages, vec!["5"])] {
        house.room.deliver(id).await.unwrap();
        let mut seen: Vec<String> = house.posted().iter().map(|body| body["id"].as_str().unwrap().to_owned()).collect();
        seen.sort();
        assert_eq!(seen, wanted);
    }
    house.room.remove(messages).await.unwrap();
    assert_eq!(house.world.watchers.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_cannot_be_told_apart_is_not_sent_and_told_as_a_gap() {
    let house = House::new().await;
    let id = house.hook(&[], "group = gone").await;
    house.happens("presence", 1, Some("lamp")).await;
    house.room.deliver(id).await.unwrap();
    let posted = house.posted();
    assert_eq!(posted.len(), 1, "{posted:?}");
    assert_eq!((&posted[0]["event"], &posted[0]["data"]["lost"]), (&"gap".into(), &1.into()));
}

#[tokio::test]
async fn what_waits_survives_and_a_program_that_died_says_so() {
    let mut house = House::new().await;
    let id = house.hook(&[], "").await;
    let secret = house.room.get(id).unwrap().webhook.secret;
    house.room.offer("presence", 1, None, "{}");
    house.restart(true).await;
    assert_eq!(house.room.get(id).unwrap().webhook.secret, secret);
    house.room.deliver(id).await.unwrap();
    assert_eq!(house.posted().len(), 1, "what was offered last is written down on the way out");
    house.happens("presence", 2, None).await;
    house.restart(false).await;
    house.room.deliver(id).await.unwrap();
    let posted = house.posted();
    let kinds: Vec<&str> = posted.iter().map(|body| body["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["presence", "gap"]);
    assert!(posted[1]["data"]["why"].as_str().unwrap().contains("without being stopped"));
}

#[tokio::test]
async fn what_finds_no_room_is_counted_and_told() {
    let house = House::new().await;
    let id = house.hook(&["message"], "").await;
    for number in 0..limits::WEBHOOK_INTAKE_MAX as u64 + 7 {
        house.room.offer("message", number, None, "0");
    }
    house.world.dropped.store(3, Ordering::Relaxed);
    house.room.take_in(&Devices).await.unwrap();
    assert_eq!(house.room.get(id).unwrap().webhook.lost, 0, "told already");
    let store = house.store.as_ref().unwrap();
    let (kept, _) = store.due_deliveries(id, house.world.unix(), usize::MAX >> 1).await.unwrap();
    assert_eq!(kept.len(), limits::WEBHOOK_INTAKE_MAX + 1);
    let (gap, messages) = kept.split_last().unwrap();
    assert!(messages.iter().all(|delivery| delivery.kind == "message"));
    let body: Value = serde_json::from_str(&gap.body).unwrap();
    assert_eq!((&*gap.kind, &body["event"], &body["data"]["lost"]), ("gap", &"gap".into(), &(7 + 3).into()));
}

#[tokio::test]
async fn one_that_fails_for_days_or_is_told_that_the_target_is_gone_is_switched_off() {
    let house = House::new().await;
    let id = house.hook(&[], "").await;
    *house.world.always.lock() = Some(503);
    house.happens("presence", 1, None).await;
    house.room.deliver(id).await.unwrap();
    house.pass(limits::WEBHOOK_FAILING_S_MAX as i64 * 1000);
    house.room.deliver(id).await.unwrap();
    assert!(house.room.get(id).unwrap().webhook.active, "not a moment too early");
    house.pass(60_000);
    house.happens("presence", 2, None).await;
    house.room.deliver(id).await.unwrap();
    let webhook = house.room.get(id).unwrap().webhook;
    assert!(!webhook.active && webhook.why_off.contains("answered 503"), "{}", webhook.why_off);
    house.happens("presence", 3, None).await;
    *house.world.always.lock() = None;
    house.posted();
    let on = WebhookEdit { active: Some(true), ..WebhookEdit::default() };
    house.pass(60_000);
    house.room.edit(id, on.clone()).await.unwrap();
    house.room.deliver(id).await.unwrap();
    let kinds: Vec<Value> = house.posted().iter().map(|body| body["event"].clone()).collect();
    assert!(kinds.contains(&"gap".into()) && kinds.contains(&"presence".into()), "{kinds:?}");

    *house.world.always.lock() = Some(410);
    house.happens("presence", 4, None).await;
    house.room.deliver(id).await.unwrap();
    let webhook = house.room.get(id).unwrap().webhook;
    assert!(!webhook.active && webhook.why_off.contains("410"));
}

#[tokio::test]
async fn a_new_secret_signs_beside_the_old_one_for_a_while() {
    let house = House::new().await;
    let id = house.hook(&[], "").await;
    let old = house.room.get(id).unwrap().webhook.secret;
    assert!(matches!(house.room.rotate(id, u64::MAX / 2000).await, Err(WebhookError::BadOverlap)));
    assert_ne!(house.room.rotate(id, 60).await.unwrap().webhook.secret, old);
    let signatures = async || {
        assert_eq!(house.room.test(id).await.unwrap(), Ok(()));
        house.world.posted.lock().pop().unwrap().headers[2].1.split(' ').count()
    };
    assert_eq!(signatures().await, 2);
    house.pass(60_000);
    assert_eq!(signatures().await, 1);
}

#[tokio::test]
async fn only_what_can_be_called_is_taken() {
    let house = House::new().await;
    let refusal = async |url: &str| {
        let new = NewWebhook { name: "ops".into(), url: url.into(), kinds: vec![], query: String::new() };
        house.room.create(new).await.unwrap_err().to_string()
    };
    for url in ["example.org", "ftp://example.org", "https://", "https://user:pass@example.org/", "https://exa mple.org"] {
        assert!(refusal(url).await.starts_with("url: "), "{url}");
    }
    for url in ["http://127.0.0.1:8080/", "https://[::1]/", "http://169.254.169.254/latest", "http://[::ffff:10.0.0.1]/"] {
        assert!(refusal(url).await.contains("is not called"), "{url}: {}", refusal(url).await);
    }
    let new = NewWebhook { name: "ops".into(), url: "http://example.org".into(), kinds: vec!["x".into()], query: String::new() };
    assert!(matches!(house.room.create(new).await, Err(WebhookError::BadKind { .. })));
}
