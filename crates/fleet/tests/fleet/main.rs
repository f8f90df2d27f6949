//! The fleet on the real store, with a line and a bus that only write down what they are told and a
//! clock that stands still until a test moves it.

mod accounts;
mod apps;
mod audience;
mod devices;
mod gate;
mod groups;
mod presence;
mod tokens;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use contract::store::Registry;
use contract::{Bus, Clock, Close, ConnId, Event, Line, Login, Refusal, Ticket, Verdict};
use fleet::{AppView, Fleet, NewApp, NewDevice, Settings};
use model::{DeviceNumber, Message, Millis, PartyKey, UnixMs};
use store::Store;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What the line was told.
#[derive(Debug)]
enum Said {
    Publish(Message),
    Decide(Ticket, Verdict),
    Published(Ticket, Result<(), Refusal>),
    Kick(PartyKey, Close, bool),
    Scram(Ticket, contract::ScramKeys),
}

struct Wire(UnboundedSender<Said>);

impl Line for Wire {
    fn publish(&self, message: Message) {
        self.0.send(Said::Publish(message)).unwrap();
    }
    fn send(&self, _: u64, _: model::Address, _: model::DeviceNumber, _: model::Message) {}
    fn push(&self, device: DeviceNumber, message: Message) {
        panic!("the fleet pushes nothing: {device} {message:?}");
    }
    fn decide(&self, ticket: Ticket, verdict: Verdict) {
        self.0.send(Said::Decide(ticket, verdict)).unwrap();
    }
    fn scram(&self, ticket: Ticket, keys: contract::ScramKeys) {
        self.0.send(Said::Scram(ticket, keys)).unwrap();
    }
    fn published(&self, ticket: Ticket, result: Result<(), Refusal>) {
        self.0.send(Said::Published(ticket, result)).unwrap();
    }
    fn kick(&self, whom: PartyKey, why: Close, forget: bool) {
        self.0.send(Said::Kick(whom, why, forget)).unwrap();
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Bus for Told {
    fn emit(&self, batch: &mut Vec<Event>) {
        self.0.lock().unwrap().append(batch);
    }
    fn watched(&self) -> bool {
        false
    }
}

struct Hand(AtomicI64);

impl Clock for Hand {
    fn unix(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::Relaxed))
    }
    fn millis(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed) as u64)
    }
}

/// One fleet in its directory.
struct House {
    dir: TempDir,
    store: Arc<Store>,
    fleet: Arc<Fleet>,
    said: UnboundedReceiver<Said>,
    told: Arc<Told>,
    clock: Arc<Hand>,
}

impl House {
    async fn new() -> House {
        House::with(TempDir::new().unwrap(), |_| {}, |store| store).await
    }

    async fn with(
        dir: TempDir,
        set: impl FnOnce(&mut Settings),
        registry: impl FnOnce(Arc<dyn Registry>) -> Arc<dyn Registry>,
    ) -> House {
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let (saying, said) = unbounded_channel();
        let told = Arc::new(Told::default());
        let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
        let mut settings = Settings { anonymous: false, bootstrap_token: None, clock: clock.clone() };
        set(&mut settings);
        let registry = registry(store.clone());
        let fleet = Fleet::open(registry, Arc::new(Wire(saying)), told.clone(), settings).await.unwrap();
        House { dir, store, fleet, said, told, clock }
    }

    /// Stops everything and starts again on the same directory.
    async fn restart(self) -> House {
        self.fleet.close().await.unwrap();
        let House { dir, store, fleet, clock, .. } = self;
        drop(fleet);
        store.close().await;
        drop(store);
        let now = clock.0.load(Ordering::Relaxed);
        let house = House::with(dir, |_| {}, |store| store).await;
        house.clock.0.store(now, Ordering::Relaxed);
        house
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn advance_s(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds as i64 * 1000, Ordering::Relaxed);
    }

    /// The events since the last look, as they read.
    fn told(&self) -> Vec<Event> {
        std::mem::take(&mut self.told.0.lock().unwrap())
    }

    /// The answer to a login that had to wait.
    async fn decided(&mut self) -> (Ticket, Verdict) {
        match self.said.recv().await {
            Some(Said::Decide(ticket, verdict)) => (ticket, verdict),
            other => panic!("{other:?}"),
        }
    }

    async fn app(&self, name: &str, open: bool) -> AppView {
        self.fleet.create_app(NewApp { name: name.into(), open, ..NewApp::default() }).await.unwrap()
    }

    async fn device(&self, app: &AppView, id: &str) -> (DeviceNumber, String) {
        let new = NewDevice { id: Some(id.into()), ..NewDevice::of(app.app.id) };
        let (view, secret) = self.fleet.create_device(new).await.unwrap();
        (view.device.number, secret)
    }
}

fn ticket(index: u32) -> Ticket {
    Ticket { shard: 0, conn: ConnId { index, generation: 0 }, session: None, promise: None, token: 0 }
}

fn password(user: &str, password: &str, client: &str) -> Login {
    Login::Password { user: user.into(), password: password.into(), client: client.into() }
}

fn remote(port: u16) -> std::net::SocketAddr {
    ([10, 0, 0, 9], port).into()
}
