//! Pushes and the truthful life of each delivery. The room takes an order ([`Push::submit`]), has it on
//! disk before anything else happens, gives it to the device's line, and writes down what the hub and
//! the device report of it. A state changes only by such a fact, and nobody hears of it before the store
//! has it. [`book`] holds the rules and touches nothing; [`actor`] is the one task that feeds it. A push
//! to many is kept with its audience at once, and its deliveries are made in batches ([`making`]).
//!
//! Deliberately absent: any protocol, HTTP, and deciding who is in an audience. Only what is still open
//! is in memory; everything else is asked of the store.
//!
//! A device answers an ask or a command on `me/answer/<push id>`. Convention: an answer that is a JSON
//! object with a text member `"error"` means that the device could not do it, and the delivery becomes
//! `failed` with that text; any other answer, an empty one too, makes it `applied`.

mod actor;
mod book;
mod making;
mod pruning;

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use contract::store::{DeliveryLife, Page, Pushes, StoreError, StoredPush};
use contract::{Bus, Clock, Consumer, Event, Line, Refusal, Ticket};
use model::{Delivery, DeliveryState, DeviceId, DeviceNumber, Message, Order, PushId, Terms, UnixMs, limits};
use tokio::sync::{Mutex, mpsc, oneshot};

use actor::{Actor, Command};
use book::{Book, answer_to};

/// What a sender asks for.
#[derive(Clone, Debug)]
pub struct NewPush {
    /// Who is to get it.
    pub to: To,
    /// What is asked of it.
    pub order: Order,
    /// The bytes for it.
    pub payload: Bytes,
    /// Who asks, for people (`token ci`, `browser`).
    pub sender: String,
    /// The audience as the sender wrote it, in JSON.
    pub audience: String,
    /// Seconds that it is kept for an absent device: `None` is the default, 0 is "now or never".
    pub ttl_s: Option<u64>,
    /// The sender's key against doing it twice.
    pub idempotency_key: Option<String>,
    /// The rest of its terms.
    pub terms: Terms,
}

impl NewPush {
    /// What can be said of it without looking at anything else.
    pub fn check(&self) -> Result<(), SubmitError> {
        if self.payload.len() > limits::PUSH_PAYLOAD_BYTES_MAX {
            return Err(SubmitError::TooLarge);
        }
        if matches!(&self.order, Order::Command { verb } if !Order::is_verb(verb)) {
            return Err(SubmitError::BadVerb);
        }
        if self.ttl_s.is_some_and(|ttl| ttl > limits::PUSH_TTL_S_MAX) {
            return Err(SubmitError::BadTtl);
        }
        if self.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX) {
            return Err(SubmitError::BadKey);
        }
        if self.terms.collapse.as_ref().is_some_and(|key| key.is_empty() || key.len() > limits::COLLAPSE_BYTES_MAX) {
            return Err(SubmitError::BadCollapse);
        }
        if self.terms.per_second.is_some_and(|rate| !(1..=limits::PUSH_PER_SECOND_MAX).contains(&rate)) {
            return Err(SubmitError::BadPace);
        }
        Ok(())
    }
}

/// How a push is to be sent again.
#[derive(Clone, Debug)]
pub struct Resend {
    /// To the devices whose delivery is in one of these.
    pub states: Vec<DeliveryState>,
    /// Who asks, for people.
    pub sender: String,
    /// Another time to live than the first time.
    pub ttl_s: Option<u64>,
    /// The sender's key against doing it twice.
    pub idempotency_key: Option<String>,
}

impl Resend {
    /// The states that are sent again unless others are named: those in which the device should have got it.
    pub const STATES: [DeliveryState; 3] = [DeliveryState::Failed, DeliveryState::Expired, DeliveryState::Refused];
}

/// Who is to get a push.
#[derive(Clone, Debug)]
pub enum To {
    /// One device: the push is taken with its delivery or not at all.
    One(DeviceNumber, DeviceId),
    /// Any number of devices: the push is taken, and their deliveries are made one batch after the other.
    Many(Vec<DeviceNumber>),
}

/// Why a push was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The payload is too large.
    #[error("a push carries at most {} bytes; send a link to larger things", limits::PUSH_PAYLOAD_BYTES_MAX)]
    TooLarge,
    /// The command verb cannot stand in a topic.
    #[error("a command is 1 to 32 of a-z 0-9 . _ -")]
    BadVerb,
    /// The time to live is beyond the limit.
    #[error("a push is kept for at most {} seconds", limits::PUSH_TTL_S_MAX)]
    BadTtl,
    /// The idempotency key is empty or too long.
    #[error("an idempotency key has 1 to {} bytes", limits::IDEMPOTENCY_KEY_BYTES_MAX)]
    BadKey,
    /// The collapse key is empty or too long.
    #[error("a collapse key has 1 to {} bytes", limits::COLLAPSE_BYTES_MAX)]
    BadCollapse,
    /// Slower than anything, or faster than may be.
    #[error("per_second is 1 to {}", limits::PUSH_PER_SECOND_MAX)]
    BadPace,
    /// The device's queue is full.
    #[error("{} pushes already wait for this device; cancel some or wait until it is back", limits::PENDING_PER_DEVICE_MAX)]
    DeviceFull,
    /// Nobody is to get it.
    #[error("no device is in this audience, so nothing was pushed")]
    Nobody,
    /// All queues together are full.
    #[error("too much waits for devices already; cancel pushes, give them a shorter ttl_s, or wait until others are under way")]
    Full,
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a caller waits for. Either ends early when the push rests in the queue because no line of the
/// device takes it: waiting longer would tell nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// The end: the device's answer where one is wanted, else the acknowledgement; or that there will be none.
    Final,
    /// The acknowledgement, or anything beyond it.
    Delivered,
}

/// What the room has counted since it started.
#[derive(Debug, Default)]
struct Counts {
    submitted: AtomicU64,
    reached: [AtomicU64; DeliveryState::ALL.len()],
    open: AtomicUsize,
    waiting: AtomicUsize,
    answer_bytes: AtomicUsize,
}

/// The push room.
pub struct Push {
    store: Arc<dyn Pushes>,
    line: Arc<dyn Line>,
    commands: mpsc::UnboundedSender<Command>,
    counts: Arc<Counts>,
    // Two submissions with one key must not both find it unused. Striped, so that different keys
    // rarely wait for each other and the fsync is shared.
    keys: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

impl Push {
    /// Reads what is open and starts the room's task on the current runtime. No line has survived the
    /// restart, so what was on its way waits again.
    pub async fn open(
        store: Arc<dyn Pushes>,
        line: Arc<dyn Line>,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Push>, StoreError> {
        let last = store.last_push().await?;
        let open = store.open_deliveries(UnixMs(clock.unix().0 - limits::ANSWER_S_MAX as i64 * 1000)).await?;
        let collapsed = collapsed(&*store, &open).await?;
        let unmade = store.unmade_pushes().await?;
        let counts = Arc::new(Counts::default());
        let (commands, inbox) = mpsc::unbounded_channel();
        let actor =
            Actor::start(Book::after(collapsed), open, unmade, last, store.clone(), line.clone(), bus, clock, counts.clone());
        tokio::spawn(actor.run(inbox));
        let keys = (0..64).map(|_| Arc::default()).collect();
        Ok(Arc::new(Push { store, line, commands, counts, keys, hasher: RandomState::new() }))
    }

    /// Takes a push. When this returns `Ok` the push is on disk and under way. The same idempotency key
    /// again returns the push of the first time, whatever else stands in `new`.
    pub async fn submit(&self, mut new: NewPush) -> Result<PushId, SubmitError> {
        if let To::One(device, _) = new.to
            && new.terms.starts.is_some()
        {
            // One that starts later is kept as those are, and made when its time has come.
            new.to = To::Many(vec![device]);
        }
        if let To::Many(devices) = &mut new.to {
            devices.sort_unstable();
            devices.dedup();
        }
        new.check()?;
        let mut guard = None;
        if let Some(key) = &new.idempotency_key {
            let stripe = self.hasher.hash_one(key) as usize % self.keys.len();
            guard = Some(self.keys[stripe].clone().lock_owned().await);
            if let Some(id) = self.store.push_by_key(key.clone()).await? {
                return Ok(id);
            }
        }
        // After the key: who asks again is told of the first time, even if the audience is empty by now.
        if matches!(&new.to, To::Many(devices) if devices.is_empty()) {
            return Err(SubmitError::Nobody);
        }
        let (reply, answer) = oneshot::channel();
        // The guard travels along: a caller that goes away must not free the key before the push is kept.
        self.tell(Command::Submit { new: Box::new(new), guard, reply });
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Sends a push's content once more, to the devices whose delivery is in one of `states`. The terms are those
    /// of the first time, its time to live too unless `ttl_s` is another. `None` for a push that there is not.
    pub async fn resend(&self, push: PushId, again: Resend) -> Result<Option<PushId>, SubmitError> {
        let Some(first) = self.store.push(push).await? else { return Ok(None) };
        let devices = self.store.devices_in(push, again.states.clone()).await?;
        let words: Vec<&str> = again.states.iter().map(|state| state.as_str()).collect();
        let began = first.terms.starts.unwrap_or(first.created);
        let kept_s = first.expires.map_or(0, |expires| u64::try_from((expires.0 - began.0) / 1000).unwrap_or(0));
        let new = NewPush {
            to: To::Many(devices),
            order: first.order,
            payload: first.payload,
            sender: again.sender,
            audience: serde_json::json!({ "push": push, "states": words }).to_string(),
            ttl_s: Some(again.ttl_s.unwrap_or(kept_s)),
            idempotency_key: again.idempotency_key,
            terms: Terms { resend_of: Some(push), starts: None, ..first.terms },
        };
        self.submit(new).await.map(Some)
    }

    /// Takes a push back from every device that has not acknowledged it yet. How many those were.
    pub async fn cancel(&self, push: PushId) -> Result<usize, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Cancel { push, reply });
        answer.await.map_err(|_| StoreError::Closed)
    }

    /// Waits until the push's delivery is where `until` says, or `timeout` is over, and returns it as it
    /// then stands. `None` for a push that does not exist.
    pub async fn wait(&self, push: PushId, until: WaitFor, timeout: Duration) -> Result<Option<Delivery>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Wait { push, until, reply });
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(Some(delivery))) => Ok(Some(delivery)),
            Ok(Err(_)) => Err(StoreError::Closed),
            // Not open any more, or not in time: the store knows how it stands.
            Ok(Ok(None)) | Err(_) => Ok(self.store.deliveries(push, None, 1).await?.items.pop().map(|life| life.delivery)),
        }
    }

    /// Waits until every delivery of a push is made and is where [`WaitFor::Final`] says, or `timeout` is over.
    pub async fn wait_all(&self, push: PushId, timeout: Duration) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::WaitAll { push, reply });
        match tokio::time::timeout(timeout, answer).await {
            Ok(Err(_)) => Err(StoreError::Closed),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// What would be said to a push without taking it: why not, or the devices that alone would refuse it,
    /// because as many pushes wait for them as may.
    pub async fn preview(&self, new: &NewPush) -> Result<BTreeSet<DeviceNumber>, SubmitError> {
        new.check()?;
        if matches!(&new.to, To::Many(devices) if devices.is_empty()) {
            return Err(SubmitError::Nobody);
        }
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Preview { new: Box::new(new.clone()), reply });
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Returns when everything that the room was told before is stored and announced.
    pub async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        self.tell(Command::Flush { reply });
        let _ = done.await;
    }

    /// One push.
    pub async fn get(&self, push: PushId) -> Result<Option<StoredPush>, StoreError> {
        self.store.push(push).await
    }

    /// Pushes, newest first.
    pub async fn list(&self, before: Option<PushId>, limit: usize) -> Result<Page<StoredPush>, StoreError> {
        self.store.pushes(before, limit).await
    }

    /// The deliveries of a push, by device number.
    pub async fn deliveries(
        &self,
        push: PushId,
        after: Option<DeviceNumber>,
        limit: usize,
    ) -> Result<Page<DeliveryLife>, StoreError> {
        self.store.deliveries(push, after, limit).await
    }

    /// The deliveries of a device, newest push first.
    pub async fn deliveries_of(
        &self,
        device: DeviceNumber,
        before: Option<PushId>,
        limit: usize,
    ) -> Result<Page<DeliveryLife>, StoreError> {
        self.store.deliveries_of(device, before, limit).await
    }

    /// The pushes that have a delivery for a device, newest first.
    pub async fn list_of(
        &self,
        device: DeviceNumber,
        before: Option<PushId>,
        limit: usize,
    ) -> Result<Page<StoredPush>, StoreError> {
        self.store.pushes_of(device, before, limit).await
    }

    /// How many deliveries of a push are in which state, and how many of its devices have none yet because
    /// it is still being made.
    pub async fn standing(&self, push: PushId) -> Result<(Vec<(DeliveryState, u64)>, u64), StoreError> {
        self.store.push_standing(push).await
    }

    /// Pushes taken since the start.
    pub fn submitted(&self) -> u64 {
        self.counts.submitted.load(Ordering::Relaxed)
    }

    /// How many times deliveries came into `state` since the start.
    pub fn reached(&self, state: DeliveryState) -> u64 {
        self.counts.reached[state as usize].load(Ordering::Relaxed)
    }

    /// Deliveries that are open, and so in memory.
    pub fn open_now(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// Facts and orders that wait for the room's task.
    pub fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// An answer waits for the task like everything else, but a device may send them without end.
    fn take_answer(&self, device: DeviceNumber, push: Option<PushId>, message: &Message, ticket: Option<Ticket>) {
        let (bytes, body) = (message.cost_bytes(), message.payload.clone());
        if self.counts.answer_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= limits::ANSWERS_WAITING_BYTES_MAX {
            self.tell(Command::Answer { device, push, body, bytes, ticket, at: message.at });
            return;
        }
        self.counts.answer_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(ticket) = ticket {
            self.line.published(ticket, Err(Refusal::Unavailable));
        }
    }

    fn tell(&self, command: Command) {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        // Only fails when the task is gone; whoever waits for an answer then hears that the store is closed.
        let _ = self.commands.send(command);
    }
}

/// What was under way when a later push with its collapse key came, and by which: once it comes back it must
/// not go out after that one.
async fn collapsed(
    store: &dyn Pushes,
    open: &[(Arc<StoredPush>, Delivery)],
) -> Result<HashMap<(DeviceNumber, PushId), PushId>, StoreError> {
    let mut collapsed = HashMap::new();
    for of_push in open.chunk_by(|(a, _), (b, _)| a.id == b.id) {
        let (push, _) = &of_push[0];
        let Some(key) = push.terms.collapse.clone() else { continue };
        let devices = of_push.iter().map(|(_, delivery)| delivery.number).collect();
        let later = store.collapsed_by(key, push.id, devices).await?;
        collapsed.extend(later.into_iter().map(|(device, by)| ((device, push.id), by)));
    }
    Ok(collapsed)
}

impl Consumer for Push {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Receipt { receipt, step, at } => {
                self.tell(Command::Receipt { receipt: *receipt, step: step.clone(), at: *at });
            }
            Event::Listening { device } => self.tell(Command::Listening { device: *device }),
            Event::Up { device, message, ticket } => {
                if let Some(push) = answer_to(&message.topic) {
                    self.take_answer(*device, push, message, *ticket);
                }
            }
            Event::DeviceChanged { device, change: contract::event::Change::Removed } => {
                self.tell(Command::Removed { device: *device });
            }
            _ => {}
        }
    }
}
