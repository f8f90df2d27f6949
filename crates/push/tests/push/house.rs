//! A house around the push room for tests: a store, a line and a bus in memory that write one journal
//! of what was done in which order, and a clock that is tokio's, so that a paused test moves it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use contract::store::{Later, Page, Pushes, StoreError, StoredPush};
use contract::{Bus, Clock, Close, ConnId, Consumer, Event, Line, Refusal, Step, Ticket, Verdict};
use model::{Delivery, DeliveryState, DeviceId, DeviceNumber, Message, Millis, Order, PushId, Receipt, Topic, UnixMs};
use parking_lot::Mutex;
use push::{NewPush, Push};
use tokio::time::Instant;

pub const LAMP: DeviceNumber = DeviceNumber(7);

/// Everything that the room touches, and what it did there.
pub struct World {
    pub journal: Mutex<Vec<String>>,
    pub pushes: Mutex<BTreeMap<PushId, StoredPush>>,
    pub deliveries: Mutex<BTreeMap<(PushId, DeviceNumber), Delivery>>,
    pub lines: Mutex<Vec<Message>>,
    pub broken: AtomicBool,
    started: Instant,
}

impl World {
    pub fn new() -> Arc<World> {
        Arc::new(World {
            journal: Mutex::default(),
            pushes: Mutex::default(),
            deliveries: Mutex::default(),
            lines: Mutex::default(),
            broken: AtomicBool::new(false),
            started: Instant::now(),
        })
    }

    /// A room on this world, as after a start of the program.
    pub async fn room(self: &Arc<World>) -> Arc<Push> {
        Push::open(self.clone(), self.clone(), self.clone(), self.clone()).await.unwrap()
    }

    /// What was done since the last look.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.journal.lock())
    }

    /// How the store has it: `queued: why`, `applied = answer`.
    pub fn stored(&self, push: PushId) -> String {
        shown(&self.deliveries.lock()[&(push, LAMP)])
    }

    fn note(&self, line: String) {
        self.journal.lock().push(line);
    }

    fn result<T: Send + 'static>(&self, value: T) -> Later<T> {
        let result = if self.broken.load(Ordering::Relaxed) { Err(StoreError::Engine("disk full".into())) } else { Ok(value) };
        Box::pin(async move { result })
    }
}

pub fn shown(delivery: &Delivery) -> String {
    let mut text = delivery.state.as_str().to_owned();
    if !delivery.detail.is_empty() {
        text += &format!(": {}", delivery.detail);
    }
    if let Some(answer) = &delivery.answer {
        text += &format!(" = {}", String::from_utf8_lossy(answer));
    }
    text
}

impl Clock for World {
    fn unix(&self) -> UnixMs {
        UnixMs(1_795_000_000_000 + self.millis().0 as i64)
    }
    fn millis(&self) -> Millis {
        Millis(self.started.elapsed().as_millis() as u64)
    }
}

impl Pushes for World {
    fn last_push(&self) -> Later<PushId> {
        self.result(self.pushes.lock().keys().last().copied().unwrap_or(PushId(0)))
    }
    fn create_push(&self, push: StoredPush, deliveries: Vec<Delivery>) -> Later<()> {
        if !self.broken.load(Ordering::Relaxed) {
            self.note(format!("create {}", push.id));
            self.pushes.lock().insert(push.id, push);
            self.deliveries.lock().extend(deliveries.into_iter().map(|delivery| ((delivery.push, delivery.number), delivery)));
        }
        self.result(())
    }
    fn update_deliveries(&self, batch: Vec<Delivery>) -> Later<()> {
        if !self.broken.load(Ordering::Relaxed) {
            for delivery in batch {
                self.note(format!("store {} {}", delivery.push, shown(&delivery)));
                self.deliveries.lock().insert((delivery.push, delivery.number), delivery);
            }
        }
        self.result(())
    }
    fn open_deliveries(&self, _: UnixMs) -> Later<Vec<(StoredPush, Delivery)>> {
        let deliveries = self.deliveries.lock();
        let open = deliveries.values().filter(|delivery| !delivery.state.is_final());
        self.result(open.map(|delivery| (self.pushes.lock()[&delivery.push].clone(), delivery.clone())).collect())
    }
    fn push(&self, id: PushId) -> Later<Option<StoredPush>> {
        self.result(self.pushes.lock().get(&id).cloned())
    }
    fn push_by_key(&self, key: String) -> Later<Option<PushId>> {
        let pushes = self.pushes.lock();
        self.result(pushes.values().find(|push| push.idempotency_key.as_ref() == Some(&key)).map(|push| push.id))
    }
    fn pushes(&self, _: Option<PushId>, _: usize) -> Later<Page<StoredPush>> {
        self.result(Page { items: self.pushes.lock().values().rev().cloned().collect(), next: None })
    }
    fn deliveries(&self, push: PushId, _: Option<DeviceNumber>, _: usize) -> Later<Page<Delivery>> {
        let deliveries = self.deliveries.lock();
        self.result(Page { items: deliveries.values().filter(|delivery| delivery.push == push).cloned().collect(), next: None })
    }
    fn delivery_counts(&self, push: PushId) -> Later<Vec<(DeliveryState, u64)>> {
        let deliveries = self.deliveries.lock();
        self.result(deliveries.values().filter(|delivery| delivery.push == push).map(|delivery| (delivery.state, 1)).collect())
    }
}

impl Line for World {
    fn publish(&self, _: Message) {}
    fn push(&self, device: DeviceNumber, message: Message) {
        assert_eq!(message.receipt.map(|receipt| receipt.device), Some(device));
        let push = message.receipt.map_or(0, |receipt| receipt.push.0);
        self.note(format!("line {push} {} {}", message.topic, String::from_utf8_lossy(&message.payload)));
        self.lines.lock().push(message);
    }
    fn decide(&self, _: Ticket, _: Verdict) {}
    fn scram(&self, _: contract::Ticket, _: contract::ScramKeys) {}
    fn published(&self, ticket: Ticket, result: Result<(), Refusal>) {
        self.note(format!("ticket {} {result:?}", ticket.token));
    }
    fn kick(&self, _: model::PartyKey, _: Close, _: bool) {}
}

impl Bus for World {
    fn emit(&self, batch: &mut Vec<Event>) {
        for event in batch.drain(..) {
            let Event::DeliveryChanged { delivery } = event else { panic!("the push room tells of deliveries only") };
            self.note(format!("tell {} {}", delivery.push, shown(&delivery)));
        }
    }
    fn watched(&self) -> bool {
        false
    }
}

/// A message for the lamp that says `on`.
pub fn new(order: Order) -> NewPush {
    NewPush {
        device: LAMP,
        device_id: DeviceId::parse("lamp").unwrap(),
        order,
        payload: Bytes::from_static(b"on"),
        sender: "test".into(),
        audience: r#"{"device":"lamp"}"#.into(),
        ttl_s: None,
        idempotency_key: None,
    }
}

/// The hub reports a step of a push's message.
pub fn step(room: &Push, world: &World, push: PushId, step: Step) {
    room.on_event(&Event::Receipt { receipt: Receipt { push, device: LAMP }, step, at: world.unix() });
}

/// The lamp listens on one of its topics.
pub fn listening(room: &Push) {
    room.on_event(&Event::Listening { device: LAMP });
}

/// The lamp publishes an answer and waits with `token`.
pub fn answer(room: &Push, world: &World, rest: &str, body: &str, token: u32) {
    let ticket = Ticket { shard: 0, conn: ConnId { index: 0, generation: 0 }, session: None, promise: None, token };
    let message = Message::new(Topic::of_device("lamp", rest), Bytes::copy_from_slice(body.as_bytes()), world.unix());
    room.on_event(&Event::Up { device: LAMP, message: Arc::new(message), ticket: Some(ticket) });
}
