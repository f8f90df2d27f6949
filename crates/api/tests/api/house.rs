//! The house: store in a temporary directory, fleet, push, telemetry, feed, and a line that does what a
//! test tells it to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use api::{App, Feed, Info};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use contract::event::Change;
use contract::store::{Points, Pushes, Registry};
use contract::{Bus, Clock, Close, Consumer, Event, Line, Reached, Refusal, Step, Ticket, Verdict};
use fleet::meter::Rate;
use fleet::{Fleet, Settings};
use model::{Address, DeviceNumber, Message, Millis, Receipt, Topic, UnixMs};
use parking_lot::Mutex;
use push::Push;
use schedule::Schedules;
use serde_json::Value;
use telemetry::Telemetry;
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt;
use twin::Twins;
use webhook::{Courier, Later, Parcel, Webhooks};

use crate::described;

pub const OWNER: &str = "owner-token-of-the-tests";

/// How the fake line treats a push.
#[derive(Clone, Default)]
pub enum Device {
    /// There is no line.
    #[default]
    Away,
    /// Acknowledges, and never answers.
    Quiet,
    /// Acknowledges and answers with this.
    Answers(&'static [u8]),
    /// Cannot be given it.
    Refuses(&'static str),
}

/// The outside of the rooms: the line to the devices, the bus, and the clock.
pub struct Outside {
    /// How far the wall clock is ahead.
    pub ahead_ms: AtomicI64,
    pub device: Mutex<Device>,
    pub given: Mutex<Vec<Message>>,
    /// What was said to publishes that waited.
    pub answered: Mutex<Vec<(u32, Result<(), Refusal>)>>,
    /// What was posted to targets, and what they answer.
    pub posted: Mutex<Vec<Parcel>>,
    pub target_says: Mutex<Result<u16, String>>,
    pub watchers: Arc<AtomicUsize>,
    events: mpsc::UnboundedSender<Told>,
}

/// What the dispatcher is told.
enum Told {
    Event(Box<Event>),
    Done(oneshot::Sender<()>),
}

impl Line for Outside {
    fn publish(&self, _: Message) {}

    fn push(&self, device: DeviceNumber, message: Message) {
        let receipt = message.receipt.expect("a push has a receipt");
        let mode = self.device.lock().clone();
        self.given.lock().push(message.clone());
        match mode {
            Device::Away => self.step(receipt, Step::Nobody { online: false }),
            Device::Refuses(why) => self.step(receipt, Step::Refused(why.into())),
            Device::Quiet => {
                self.step(receipt, Step::Sent);
                self.step(receipt, Step::Delivered);
            }
            Device::Answers(body) => {
                self.step(receipt, Step::Sent);
                self.step(receipt, Step::Delivered);
                let topic = message.topic.as_str().replace("/ask/", "/answer/").replace("/cmd/reboot/", "/answer/");
                self.up(device, &topic, body);
            }
        }
    }

    fn send(&self, send: u64, from: Address, _: DeviceNumber, message: Message) {
        assert!(message.topic.as_str().ends_with(&format!("/from/{from}")));
        let result = match &*self.device.lock() {
            Device::Away => Err(Refusal::Unreachable),
            Device::Refuses(_) => Err(Refusal::Quota),
            Device::Quiet => Ok(Reached::Sent),
            Device::Answers(_) => Ok(Reached::Kept),
        };
        self.given.lock().push(message);
        self.tell(Event::Sent { send, result });
    }

    fn decide(&self, _: Ticket, _: Verdict) {}
    fn scram(&self, _: contract::Ticket, _: contract::ScramKeys) {}
    fn published(&self, ticket: Ticket, result: Result<(), Refusal>) {
        self.answered.lock().push((ticket.token, result));
    }
    fn kick(&self, _: model::PartyKey, _: Close, _: bool) {}
}

impl Outside {
    fn step(&self, receipt: Receipt, step: Step) {
        self.tell(Event::Receipt { receipt, step, at: self.unix() });
    }

    pub fn up(&self, device: DeviceNumber, topic: &str, body: &'static [u8]) {
        let message = Message::new(Topic::parse(topic).unwrap(), body, self.unix());
        self.tell(Event::Up { device, message: Arc::new(message), ticket: None });
    }

    pub fn tell(&self, event: Event) {
        let _ = self.events.send(Told::Event(Box::new(event)));
    }
}

impl Bus for Outside {
    fn emit(&self, batch: &mut Vec<Event>) {
        batch.drain(..).for_each(|event| self.tell(event));
    }
    fn watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }
}

impl Clock for Outside {
    fn unix(&self) -> UnixMs {
        UnixMs(self.ahead_ms.load(Ordering::Relaxed) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
    }
    fn millis(&self) -> Millis {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        Millis(START.get_or_init(std::time::Instant::now).elapsed().as_millis() as u64)
    }
}

/// The targets of webhooks.
struct Courtyard(Arc<Outside>);

impl Courier for Courtyard {
    fn post(&self, parcel: Parcel) -> Later<Result<u16, String>> {
        self.0.posted.lock().push(parcel);
        let answer = self.0.target_says.lock().clone();
        Box::pin(async move { answer })
    }
}

/// The API and what is around it.
pub struct House {
    pub router: Router,
    pub schedules: Arc<Schedules>,
    /// What schedules push by. No task runs them: a test lets the room look.
    pub carrier: Arc<api::Sender>,
    /// Nor does one write down or post what webhooks want.
    pub webhooks: Arc<Webhooks>,
    pub chooser: Arc<api::Chooser>,
    pub outside: Arc<Outside>,
    pub feed: Arc<Feed>,
    pub push: Arc<Push>,
    pub telemetry: Arc<Telemetry>,
    pub twins: Arc<Twins>,
    pub fleet: Arc<Fleet>,
    _dir: tempfile::TempDir,
}

/// An answer of the API.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {:?}", self.status, self.body))
    }

    /// The JSON of what must have gone well.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text());
        self.json()
    }

    /// The `code` of a problem with this status, and its sentence.
    #[track_caller]
    pub fn problem(&self, status: u16) -> (String, String) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let json = self.json();
        assert_eq!((json["status"].as_u64(), json["type"].as_str()), (Some(status.into()), Some("about:blank")));
        (json["code"].as_str().unwrap().to_owned(), json["detail"].as_str().unwrap().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl House {
    pub async fn new() -> House {
        House::with_rate(None).await
    }

    /// A house that measures how much each token asks.
    pub async fn with_rate(rate: Option<Rate>) -> House {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(store::Store::open(dir.path()).unwrap());
        let (events, mut inbox) = mpsc::unbounded_channel();
        let watchers = Arc::new(AtomicUsize::new(0));
        let outside = Arc::new(Outside {
            ahead_ms: AtomicI64::new(0),
            device: Mutex::default(),
            given: Mutex::default(),
            answered: Mutex::default(),
            posted: Mutex::default(),
            target_says: Mutex::new(Ok(204)),
            watchers: watchers.clone(),
            events,
        });
        let settings = Settings { anonymous: false, bootstrap_token: Some(OWNER.into()), clock: outside.clone() };
        let fleet = Fleet::open(store.clone() as Arc<dyn Registry>, outside.clone(), outside.clone(), settings).await.unwrap();
        let push = Push::open(store.clone() as Arc<dyn Pushes>, outside.clone(), outside.clone(), outside.clone()).await.unwrap();
        let schedules = Schedules::open(store.clone(), outside.clone()).await.unwrap();
        let telemetry = Telemetry::open(store.clone() as Arc<dyn Points>, outside.clone(), outside.clone());
        let of_fleet = fleet.clone();
        let names = Arc::new(move |device| of_fleet.id_of(device));
        let twins = Twins::open(store.clone(), outside.clone(), outside.clone(), outside.clone(), names).await.unwrap();
        let feed = Feed::new(fleet.clone(), outside.clone(), watchers);
        let parties = api::Parties::new(outside.clone(), outside.clone());
        let consumers: [Arc<dyn Consumer>; 6] =
            [fleet.clone(), push.clone(), telemetry.clone(), twins.clone(), feed.clone(), parties.clone()];
        let courier = Arc::new(Courtyard(outside.clone()));
        let settings = webhook::Settings {
            attempts: 2,
            first_retry_ms: 5_000,
            allow_private: false,
            kinds: api::KINDS,
            by_name_only: &["message"],
            watchers: outside.watchers.clone(),
            dropped: Box::new(|| 0),
        };
        let webhooks = Webhooks::open(store.clone(), outside.clone(), courier, settings).await.unwrap();
        feed.tell_too(webhooks.clone());
        tokio::spawn(async move {
            while let Some(told) = inbox.recv().await {
                match told {
                    Told::Event(event) => consumers.iter().for_each(|consumer| consumer.on_event(&event)),
                    Told::Done(reply) => drop(reply.send(())),
                }
            }
        });
        let app = Arc::new(App {
            fleet: fleet.clone(),
            push: push.clone(),
            schedules: schedules.clone(),
            telemetry: telemetry.clone(),
            twins: twins.clone(),
            webhooks: webhooks.clone(),
            audit: store.clone(),
            feed: feed.clone(),
            parties,
            clock: outside.clone(),
            carries: vec![("espush", 8)],
            untold: vec!["espush"],
            info: Info {
                version: "1.2.3".into(),
                started: UnixMs(0),
                listeners: vec![("mqtt".into(), "127.0.0.1:1883".into())],
                base_url: None,
            },
            metrics: vec![Box::new(|out| api::metrics::metric(out, "counter", "espush_shard_test_total", "A test.", 7))],
            rate,
            store: Box::new(|| api::StoreStatus {
                used_bytes: 3,
                free_bytes: 5,
                free_bytes_min: 1,
                checksums: true,
                ..api::StoreStatus::default()
            }),
            bridges: Box::new(|| {
                vec![api::BridgeStatus {
                    name: "old".into(),
                    address: "broker.example.org:1883".into(),
                    connected: false,
                    since: UnixMs(0),
                    why: Some("cannot reach it".into()),
                    next: None,
                }]
            }),
        });
        let carrier = api::sender(&app);
        let chooser = api::chooser(&app);
        let router = api::router(app);
        House { router, schedules, carrier, webhooks, chooser, outside, feed, push, telemetry, twins, fleet, _dir: dir }
    }

    /// A house with app 1 and a device `lamp`, whose secret is returned.
    pub async fn with_lamp(device: Device) -> (House, String) {
        let house = House::new().await;
        *house.outside.device.lock() = device;
        house.post("apps", r#"{"name":"lamps"}"#).await.ok();
        let secret = house.post("devices", r#"{"app":1,"id":"lamp"}"#).await.ok()["secret"].as_str().unwrap().to_owned();
        (house, secret)
    }

    pub fn lamp(&self) -> DeviceNumber {
        self.fleet.number_of("lamp").unwrap()
    }

    pub async fn request(&self, request: Request<Body>) -> Answer {
        self.request_with(request, None).await
    }

    /// A call whose body is known. It and its answer must be as they are described.
    async fn request_with(&self, request: Request<Body>, sent: Option<&str>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        described::check(&method, &path, sent, parts.status, &parts.headers, &body);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A call as the owner.
    pub async fn call(&self, method: Method, path: &str, body: &str) -> Answer {
        self.call_as(OWNER, method, path, body).await
    }

    pub async fn call_as(&self, token: &str, method: Method, path: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        let request = request.header("Authorization", format!("Bearer {token}"));
        self.request_with(request.body(Body::from(body.to_owned())).unwrap(), Some(body)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.call(Method::POST, path, body).await
    }

    pub async fn patch(&self, path: &str, body: &str) -> Answer {
        self.call(Method::PATCH, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, "").await
    }

    /// Makes a token with a role.
    pub async fn token(&self, role: &str) -> String {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let name = format!("{role} {}", NAMES.fetch_add(1, Ordering::Relaxed));
        let made = self.post("tokens", &format!(r#"{{"name":"{name}","role":"{role}"}}"#)).await.ok();
        made["token"].as_str().unwrap().to_owned()
    }

    /// Returns when everything told before is through all rooms, and what came of it too.
    pub async fn settle(&self) {
        for _ in 0..3 {
            let (reply, done) = oneshot::channel();
            let _ = self.outside.events.send(Told::Done(reply));
            done.await.unwrap();
            self.push.flush().await;
            self.telemetry.flush().await;
            self.twins.flush().await;
        }
    }
}

pub fn edited(device: DeviceNumber) -> Event {
    Event::DeviceChanged { device, change: Change::Edited }
}

pub fn line_opened(device: DeviceNumber) -> Event {
    Event::LineOpened { device, protocol: "mqtt", remote: peer(), firmware: None, at: UnixMs(1_795_000_000_000) }
}

pub fn peer() -> SocketAddr {
    "192.0.2.7:4711".parse().unwrap()
}
