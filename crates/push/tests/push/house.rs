//! A house around the push room for tests: a store, a line and a bus in memory that write one journal
//! of what was done in which order, and a clock that is tokio's, so that a paused test moves it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use contract::store::{DeliveryChange, DeliveryLife, FreshDelivery, Later, Page, Pushes, StoreError, StoredPush, UnmadePush};
use contract::{Bus, Clock, Close, ConnId, Consumer, Event, Line, Refusal, Step, Ticket, Verdict};
use model::{
    Delivery, DeliveryState, DeliveryStep, DeviceId, DeviceNumber, Message, Millis, Order, PushId, Receipt, Terms, Topic, UnixMs,
};
use parking_lot::Mutex;
use push::{NewPush, Push, To};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub const LAMP: DeviceNumber = DeviceNumber(7);

/// Batches by push and number: their devices, and whether they are cancelled.
type Batches = BTreeMap<(PushId, u32), (Vec<DeviceNumber>, bool)>;

/// Everything that the room touches, and what it did there.
pub struct World {
    pub journal: Mutex<Vec<String>>,
    pub pushes: Mutex<BTreeMap<PushId, StoredPush>>,
    pub deliveries: Mutex<BTreeMap<(PushId, DeviceNumber), Delivery>>,
    /// Batches of pushes to many that have no deliveries yet, and whether those are cancelled.
    pub unmade: Mutex<Batches>,
    pub lines: Mutex<Vec<Message>>,
    /// What deliveries passed through within a turn.
    pub passed: Mutex<Vec<(PushId, DeliveryStep)>>,
    /// How many batches the store may still make; it waits with the next.
    pub batches: Arc<Semaphore>,
    pub broken: AtomicBool,
    started: Instant,
}

impl World {
    pub fn new() -> Arc<World> {
        Arc::new(World {
            journal: Mutex::default(),
            pushes: Mutex::default(),
            deliveries: Mutex::default(),
            unmade: Mutex::default(),
            lines: Mutex::default(),
            passed: Mutex::default(),
            batches: Arc::new(Semaphore::new(1_000_000)),
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

    /// The world of the next start, with what was kept when the program was killed at this moment.
    pub fn after_kill(&self) -> Arc<World> {
        let next = World::new();
        next.pushes.lock().extend(self.pushes.lock().clone());
        next.deliveries.lock().extend(self.deliveries.lock().clone());
        next.unmade.lock().extend(self.unmade.lock().clone());
        next
    }

    /// The store makes no further batch until it is given permits.
    pub fn hold_batches(&self) {
        self.batches.forget_permits(usize::MAX);
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

fn life(delivery: &Delivery) -> DeliveryLife {
    DeliveryLife { delivery: delivery.clone(), before: Vec::new() }
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
    fn create_push_to(&self, push: StoredPush, parts: Vec<(u32, Vec<DeviceNumber>)>) -> Later<()> {
        if !self.broken.load(Ordering::Relaxed) {
            self.note(format!("create {} for {:?}", push.id, parts.iter().map(|(_, devices)| devices.len()).collect::<Vec<_>>()));
            self.unmade.lock().extend(parts.into_iter().map(|(part, devices)| ((push.id, part), (devices, false))));
            self.pushes.lock().insert(push.id, push);
        }
        self.result(())
    }
    fn make_part(
        &self,
        push: PushId,
        part: u32,
        at: UnixMs,
        batch: Vec<FreshDelivery>,
        rest: Vec<DeviceNumber>,
    ) -> Later<Vec<Delivery>> {
        let mut made = Vec::new();
        if !self.broken.load(Ordering::Relaxed) {
            self.note(format!("make {push}.{part}"));
            let (devices, cancelled) = self.unmade.lock().remove(&(push, part)).expect("a batch is made once");
            assert!(devices.iter().eq(batch.iter().map(|fresh| &fresh.device).chain(&rest)));
            if !rest.is_empty() {
                self.unmade.lock().insert((push, part), (rest, cancelled));
            }
            for FreshDelivery { device, state, detail } in batch {
                let id = DeviceId::parse(&format!("d{device}")).unwrap();
                made.push(Delivery { push, number: device, device: id, state, at, detail, answer: None });
            }
            self.deliveries.lock().extend(made.iter().map(|delivery| ((push, delivery.number), delivery.clone())));
        }
        let (made, batches) = (self.result(made), self.batches.clone());
        Box::pin(async move {
            batches.acquire().await.expect("it is never closed").forget();
            made.await
        })
    }
    fn cancel_unmade(&self, push: PushId) -> Later<()> {
        if !self.broken.load(Ordering::Relaxed) {
            self.note(format!("cancel the rest of {push}"));
            self.unmade.lock().iter_mut().filter(|((of, _), _)| *of == push).for_each(|(_, (_, cancelled))| *cancelled = true);
        }
        self.result(())
    }
    fn unmade_pushes(&self) -> Later<Vec<UnmadePush>> {
        let mut found: Vec<UnmadePush> = Vec::new();
        for ((push, part), (devices, cancelled)) in &*self.unmade.lock() {
            if found.last().is_none_or(|last| last.push.id != *push) {
                found.push(UnmadePush { push: self.pushes.lock()[push].clone(), parts: Vec::new(), cancelled: *cancelled });
            }
            found.last_mut().unwrap().parts.push((*part, devices.clone()));
        }
        self.result(found)
    }
    fn collapsed_by(&self, key: Arc<str>, push: PushId, devices: Vec<DeviceNumber>) -> Later<Vec<(DeviceNumber, PushId)>> {
        let (pushes, deliveries) = (self.pushes.lock(), self.deliveries.lock());
        let is_later = |delivery: &&Delivery| {
            delivery.push > push
                && delivery.state != DeliveryState::Refused
                && pushes[&delivery.push].terms.collapse.as_ref() == Some(&key)
        };
        let last = |device| deliveries.values().filter(|d| d.number == device).filter(is_later).map(|d| d.push).max();
        self.result(devices.into_iter().filter_map(|device| Some((device, last(device)?))).collect())
    }
    fn update_deliveries(&self, batch: Vec<DeliveryChange>) -> Later<()> {
        if !self.broken.load(Ordering::Relaxed) {
            for DeliveryChange { delivery, passed } in batch {
                self.passed.lock().extend(passed.into_iter().map(|step| (delivery.push, step)));
                self.note(format!("store {} {}", delivery.push, shown(&delivery)));
                self.deliveries.lock().insert((delivery.push, delivery.number), delivery);
            }
        }
        self.result(())
    }
    fn open_deliveries(&self, _: UnixMs) -> Later<Vec<(Arc<StoredPush>, Delivery)>> {
        let deliveries = self.deliveries.lock();
        let open = deliveries.values().filter(|delivery| !delivery.state.is_final());
        self.result(open.map(|delivery| (Arc::new(self.pushes.lock()[&delivery.push].clone()), delivery.clone())).collect())
    }
    fn devices_in(&self, push: PushId, states: Vec<DeliveryState>) -> Later<Vec<DeviceNumber>> {
        let deliveries = self.deliveries.lock();
        let found = deliveries.values().filter(|delivery| delivery.push == push && states.contains(&delivery.state));
        self.result(found.map(|delivery| delivery.number).collect())
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
    fn deliveries(&self, push: PushId, _: Option<DeviceNumber>, _: usize) -> Later<Page<DeliveryLife>> {
        let deliveries = self.deliveries.lock();
        self.result(Page { items: deliveries.values().filter(|delivery| delivery.push == push).map(life).collect(), next: None })
    }
    fn deliveries_of(&self, device: DeviceNumber, _: Option<PushId>, _: usize) -> Later<Page<DeliveryLife>> {
        let deliveries = self.deliveries.lock();
        let of_device = deliveries.values().rev().filter(|delivery| delivery.number == device);
        self.result(Page { items: of_device.map(life).collect(), next: None })
    }
    fn pushes_of(&self, device: DeviceNumber, _: Option<PushId>, _: usize) -> Later<Page<StoredPush>> {
        let (pushes, deliveries) = (self.pushes.lock(), self.deliveries.lock());
        let has = |push: &&StoredPush| deliveries.contains_key(&(push.id, device));
        self.result(Page { items: pushes.values().rev().filter(has).cloned().collect(), next: None })
    }
    fn old_pushes(&self, before: UnixMs, after: Option<(UnixMs, PushId)>, limit: usize) -> Later<Vec<(UnixMs, PushId)>> {
        let pushes = self.pushes.lock();
        let mut old: Vec<_> = pushes.values().map(|push| (push.created, push.id)).filter(|(at, _)| *at < before).collect();
        old.sort_unstable();
        self.result(old.into_iter().filter(|one| after.is_none_or(|after| *one > after)).take(limit).collect())
    }
    /// Looks at nothing by itself: that the room asks for no push that is not over is what its tests are to see.
    fn prune_pushes(&self, wanted: Vec<PushId>, rows: usize) -> Later<(u64, Vec<PushId>)> {
        let (mut pushes, mut deliveries) = (self.pushes.lock(), self.deliveries.lock());
        let (mut left, mut gone) = (rows, 0);
        for (at, push) in wanted.iter().enumerate() {
            let of_push: Vec<_> = deliveries.keys().filter(|(of, _)| of == push).copied().collect();
            of_push.iter().take(left).for_each(|key| drop(deliveries.remove(key)));
            if of_push.len() >= left {
                self.note(format!("prune {left} of {push}"));
                return self.result((gone, wanted[at..].to_vec()));
            }
            left -= of_push.len() + 1;
            self.note(format!("prune {push}"));
            pushes.remove(push);
            gone += 1;
        }
        self.result((gone, Vec::new()))
    }
    fn push_standing(&self, push: PushId) -> Later<(Vec<(DeliveryState, u64)>, u64)> {
        let (deliveries, unmade) = (self.deliveries.lock(), self.unmade.lock());
        let of = |state| deliveries.values().filter(|delivery| delivery.push == push && delivery.state == state).count() as u64;
        let counts = DeliveryState::ALL.into_iter().map(|state| (state, of(state))).filter(|(_, count)| *count > 0).collect();
        let left = unmade.iter().filter(|((of, _), _)| *of == push).map(|(_, (devices, _))| devices.len() as u64).sum();
        self.result((counts, left))
    }
}

impl Line for World {
    fn publish(&self, _: Message) {}
    fn send(&self, _: u64, _: model::Address, _: model::DeviceNumber, _: model::Message) {}
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
        to: To::One(LAMP, DeviceId::parse("lamp").unwrap()),
        order,
        payload: Bytes::from_static(b"on"),
        sender: "test".into(),
        audience: r#"{"device":"lamp"}"#.into(),
        ttl_s: None,
        idempotency_key: None,
        terms: Terms::default(),
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
