//! The room's one task: takes everything that waits, lets the [`Book`] decide, stores all changes in
//! one go, and only then announces them, answers devices and callers, and speaks to the lines. One
//! task, so that events are handled in the order in which they happened.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use contract::store::{DeliveryChange, Pushes, StoreError, StoredPush, UnmadePush};
use contract::{Bus, Clock, Event, Line, Refusal, Step, Ticket};
use futures_util::future::join_all;
use model::{Delivery, DeliveryState, DeviceNumber, Millis, PushId, Receipt, UnixMs, limits};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

use crate::book::{Book, Now, Standing, Todo, Touched, replaced_by};
use crate::making::{self, Making, Part, is_unhurried};
use crate::{Counts, NewPush, SubmitError, To, WaitFor};

/// Commands taken at once: enough to share one fsync among many, few enough to stay prompt.
const BATCH: usize = 1024;
/// Commands that may wait while further deliveries of a push to many are made. Each brings some facts back
/// (sent, delivered): without this bound they would pile up in memory.
const MAKING_COMMANDS_MAX: usize = 4 * BATCH;
/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest sleep: the wall clock, by which pushes expire, may be set while we sleep.
const NAP: Duration = Duration::from_secs(60);

pub(crate) type Reply<T> = oneshot::Sender<T>;

/// What the task is told.
pub(crate) enum Command {
    Receipt { receipt: Receipt, step: Step, at: UnixMs },
    Listening { device: DeviceNumber },
    Answer { device: DeviceNumber, push: Option<PushId>, body: Bytes, bytes: usize, ticket: Option<Ticket>, at: UnixMs },
    Removed { device: DeviceNumber },
    Submit { new: Box<NewPush>, guard: Option<OwnedMutexGuard<()>>, reply: Reply<Result<PushId, SubmitError>> },
    Cancel { push: PushId, reply: Reply<usize> },
    Wait { push: PushId, until: WaitFor, reply: Reply<Option<Delivery>> },
    WaitAll { push: PushId, reply: Reply<()> },
    Preview { new: Box<NewPush>, reply: Reply<Result<BTreeSet<DeviceNumber>, SubmitError>> },
    Over { pushes: Vec<PushId>, reply: Reply<Vec<PushId>> },
    Flush { reply: Reply<()> },
}

/// A push that is to be kept, and who waits for that.
struct Creation {
    push: Arc<StoredPush>,
    to: Made,
    _guard: Option<OwnedMutexGuard<()>>,
    reply: Reply<Result<PushId, SubmitError>>,
}

/// What is kept together with a new push.
enum Made {
    Delivery(Delivery),
    Parts(Vec<(u32, Vec<DeviceNumber>)>),
}

/// Somebody who waits for all deliveries of a push.
struct Gathering {
    push: PushId,
    // All before this device were met.
    from: DeviceNumber,
    reply: Reply<()>,
}

struct Waiter {
    until: WaitFor,
    reply: Reply<Option<Delivery>>,
}

pub(crate) struct Actor {
    book: Book,
    last: PushId,
    store: Arc<dyn Pushes>,
    line: Arc<dyn Line>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
    // What is decided and not yet stored. Empty after each turn, unless the store is in trouble.
    todo: Todo,
    cancelled: Vec<(Reply<usize>, usize)>,
    arriving: Vec<(PushId, Waiter)>,
    flushes: Vec<Reply<()>>,
    waiters: HashMap<PushId, Vec<Waiter>>,
    gatherings: Vec<Gathering>,
    making: Making,
    /// Pushes in the making that were taken back, which the store does not know yet.
    stopped: Vec<PushId>,
    /// Until when no batch is made, because one could not be kept.
    making_rests: Option<Millis>,
    /// The store's disk failed: nothing is stored any more.
    hopeless: bool,
}

impl Actor {
    #[allow(clippy::too_many_arguments)] // a constructor of one caller
    pub fn start(
        mut book: Book,
        open: Vec<(Arc<StoredPush>, Delivery)>,
        unmade: Vec<UnmadePush>,
        last: PushId,
        store: Arc<dyn Pushes>,
        line: Arc<dyn Line>,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        counts: Arc<Counts>,
    ) -> Actor {
        let mut todo = Todo::default();
        let now = Now { unix: clock.unix(), millis: clock.millis() };
        for (push, delivery) in open {
            book.load(&push, delivery, now, &mut todo);
        }
        let mut making = Making::default();
        unmade.into_iter().for_each(|unmade| making.load(unmade, now));
        Actor {
            book,
            last,
            store,
            line,
            bus,
            clock,
            counts,
            todo,
            cancelled: Vec::new(),
            arriving: Vec::new(),
            flushes: Vec::new(),
            waiters: HashMap::new(),
            gatherings: Vec::new(),
            making,
            stopped: Vec::new(),
            making_rests: None,
            hopeless: false,
        }
    }

    /// Runs until nobody can tell it anything more.
    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut batch = Vec::new();
        loop {
            let creations = self.decide(&mut batch);
            if let Err(StoreError::Closed) = self.keep(creations).await {
                return;
            }
            self.counts.open.store(self.book.len(), Ordering::Relaxed);
            tokio::select! {
                // Commands first: whoever speaks while a push to many is made is heard before its next batch.
                biased;
                taken = inbox.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    self.counts.waiting.fetch_sub(taken, Ordering::Relaxed);
                }
                () = rest(self.nap()) => {}
            }
        }
    }

    fn now(&self) -> Now {
        Now { unix: self.clock.unix(), millis: self.clock.millis() }
    }

    fn nap(&self) -> Duration {
        if self.is_behind() {
            return if self.hopeless { NAP } else { RETRY };
        }
        if self.may_make() || self.book.gives_way() {
            return Duration::ZERO;
        }
        let left = |due: UnixMs| Duration::from_millis(u64::try_from(due.0 - self.clock.unix().0).unwrap_or(0));
        let due = self.book.next_due().map_or(NAP, left);
        let rest = |at: Millis| Duration::from_millis(at.since(self.clock.millis()));
        // What may be made and is not waits for the room itself.
        let made = self.making.left_ms(self.now()).filter(|ms| *ms > 0).map_or(NAP, Duration::from_millis);
        NAP.min(due).min(made).min(self.book.next_retry().map_or(NAP, rest)).min(self.making_rests.map_or(NAP, rest))
    }

    /// Whether something is decided and could not be stored yet.
    fn is_behind(&self) -> bool {
        !self.todo.touched.is_empty() || !self.stopped.is_empty()
    }

    /// Whether the next batch of a push to many may be made now.
    fn may_make(&self) -> bool {
        let rested = self.making_rests.is_none_or(|until| until <= self.clock.millis());
        self.making.left_ms(self.now()) == Some(0)
            && rested
            && !self.hopeless
            && !self.is_behind()
            && self.counts.waiting.load(Ordering::Relaxed) < MAKING_COMMANDS_MAX
    }

    /// Lets the book decide on everything that came. New pushes are returned: they must be kept before
    /// the book may know them.
    fn decide(&mut self, batch: &mut Vec<Command>) -> Vec<Creation> {
        let now = self.now();
        let mut creations = Vec::new();
        self.book.give_way(now, &mut self.todo);
        for command in batch.drain(..) {
            match command {
                Command::Receipt { receipt, step, at } => self.book.receipt(receipt, step, at, now, &mut self.todo),
                Command::Listening { device } => self.book.listening(device, now, &mut self.todo),
                Command::Answer { device, push, body, bytes, ticket, at } => {
                    self.counts.answer_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    self.book.answer(device, push, body, ticket, at, &mut self.todo);
                }
                Command::Removed { device } => self.book.removed(device, now, &mut self.todo),
                Command::Submit { new, guard, reply } => match self.admit(&new, &creations) {
                    Ok(()) => creations.push(self.creation(*new, guard, reply, now)),
                    Err(error) => drop(reply.send(Err(error))),
                },
                Command::Cancel { push, reply } => {
                    let unmade = self.making.cancel(push);
                    self.stopped.extend((unmade > 0).then_some(push));
                    let stopped = unmade + self.book.cancel(push, now, &mut self.todo);
                    self.cancelled.push((reply, stopped));
                }
                Command::Wait { push, until, reply } => self.arriving.push((push, Waiter { until, reply })),
                Command::WaitAll { push, reply } => self.gatherings.push(Gathering { push, from: DeviceNumber(0), reply }),
                Command::Preview { new, reply } => {
                    drop(reply.send(self.admit(&new, &creations).map(|()| self.book.crowded())));
                }
                Command::Over { mut pushes, reply } => {
                    pushes.retain(|push| !self.book.has(*push) && !self.making.has(*push));
                    drop(reply.send(pushes));
                }
                Command::Flush { reply } => self.flushes.push(reply),
            }
        }
        self.book.expire(now, &mut self.todo);
        self.book.retry(now, &mut self.todo);
        creations
    }

    /// Whether there is room for one more.
    fn admit(&self, new: &NewPush, before: &[Creation]) -> Result<(), SubmitError> {
        let unhurried = is_unhurried(&new.terms);
        let unmade_max = if unhurried { limits::PUSHES_UNHURRIED_MAX } else { limits::PUSHES_UNMADE_MAX };
        let (mut deliveries, mut unmade, mut bytes, mut of_device) = (0, 0, 0, 0);
        for creation in before {
            bytes += creation.push.payload.len();
            match &creation.to {
                Made::Delivery(delivery) => {
                    deliveries += 1;
                    of_device += usize::from(matches!(new.to, To::One(device, _) if device == delivery.number));
                }
                Made::Parts(parts) => {
                    unmade += usize::from(is_unhurried(&creation.push.terms) == unhurried);
                    deliveries += parts.iter().map(|(_, devices)| devices.len()).sum::<usize>();
                }
            }
        }
        let wanted = match &new.to {
            To::One(device, _) if !self.book.has_room(*device, new.terms.collapse.as_ref(), of_device) => {
                return Err(SubmitError::DeviceFull);
            }
            To::One(..) => 1,
            To::Many(_) if self.making.pushes(unhurried) + unmade >= unmade_max => return Err(SubmitError::Full),
            To::Many(devices) => devices.len(),
        };
        let open = self.book.len() + self.making.devices() + deliveries;
        let bytes = self.book.payload_bytes() + self.making.payload_bytes() + bytes;
        if bytes + new.payload.len() > limits::PENDING_BYTES_MAX || open + wanted > limits::PENDING_DELIVERIES_MAX {
            return Err(SubmitError::Full);
        }
        Ok(())
    }

    fn creation(
        &mut self,
        new: NewPush,
        guard: Option<OwnedMutexGuard<()>>,
        reply: Reply<Result<PushId, SubmitError>>,
        now: Now,
    ) -> Creation {
        self.last = PushId(self.last.0 + 1);
        let expires = match new.ttl_s.unwrap_or(limits::PUSH_TTL_S_DEFAULT) {
            0 => None,
            ttl_s => Some(UnixMs(new.terms.starts.unwrap_or(now.unix).max(now.unix).0 + ttl_s as i64 * 1000)),
        };
        let to = match new.to {
            To::One(number, device) => Made::Delivery(Delivery {
                push: self.last,
                number,
                device,
                state: DeliveryState::Queued,
                at: now.unix,
                detail: String::new(),
                answer: None,
            }),
            To::Many(devices) => Made::Parts(making::parts(&devices)),
        };
        let push = StoredPush {
            id: self.last,
            order: new.order,
            payload: new.payload,
            audience: new.audience,
            sender: new.sender,
            created: now.unix,
            expires,
            idempotency_key: new.idempotency_key,
            terms: new.terms,
        };
        Creation { push: Arc::new(push), to, _guard: guard, reply }
    }

    /// Stores, and then does what had to wait for it. New pushes, the next batch of an older one and changes
    /// never concern the same delivery, so the store may write them all at once.
    async fn keep(&mut self, creations: Vec<Creation>) -> Result<(), StoreError> {
        let mut part = if self.may_make() { self.making.next(&self.book, self.now()) } else { None };
        let create = |creation: &Creation| {
            let push = StoredPush::clone(&creation.push);
            match &creation.to {
                Made::Delivery(delivery) => self.store.create_push(push, vec![delivery.clone()]),
                Made::Parts(parts) => self.store.create_push_to(push, parts.clone()),
            }
        };
        let created = join_all(creations.iter().map(create).collect::<Vec<_>>());
        let make = async {
            match &mut part {
                None => Ok(Vec::new()),
                Some(part) => {
                    give_way(&*self.store, part).await?;
                    self.store
                        .make_part(part.push.id, part.number, self.clock.unix(), part.batch.clone(), part.rest().to_vec())
                        .await
                }
            }
        };
        let changes = last_changes(&self.todo.touched);
        let stops = join_all(self.stopped.iter().map(|push| self.store.cancel_unmade(*push)).collect::<Vec<_>>());
        let update = async {
            let updated = if changes.is_empty() { Ok(()) } else { self.store.update_deliveries(changes).await };
            stops.await.into_iter().chain([updated]).collect::<Result<(), _>>()
        };
        let (created, made, updated) = tokio::join!(created, make, update);

        let now = self.now();
        let mut replies = Vec::new();
        for (creation, result) in creations.into_iter().zip(created) {
            match result {
                Ok(()) => {
                    replies.push((creation.reply, creation.push.id));
                    self.counts.submitted.fetch_add(1, Ordering::Relaxed);
                    match creation.to {
                        Made::Delivery(delivery) => self.book.add(&creation.push, delivery, now, &mut self.todo),
                        Made::Parts(parts) => self.making.begin(creation.push, parts),
                    }
                }
                Err(error) => drop(creation.reply.send(Err(error.into()))),
            }
        }
        if let Some(part) = part {
            if matches!(made, Err(StoreError::Closed)) {
                return Err(StoreError::Closed);
            }
            self.take_part(part, made, now);
        }
        for (reply, id) in replies {
            let _ = reply.send(Ok(id));
        }
        if let Err(error) = updated {
            match &error {
                StoreError::Disk(_) => self.give_up(),
                error => tracing::error!(%error, "deliveries could not be stored; trying again"),
            }
            // A device that waits must not wait for our disk: it may send its answer again.
            for (ticket, result) in self.todo.tickets.drain(..) {
                self.line.published(ticket, result.and(Err(Refusal::Unavailable)));
            }
            return Err(error);
        }
        self.stopped.clear();
        self.act();
        Ok(())
    }

    /// A batch of a push to many was made, or could not be.
    fn take_part(&mut self, part: Part, made: Result<Vec<Delivery>, StoreError>, now: Now) {
        let deliveries = match made {
            Ok(deliveries) => deliveries,
            Err(error) => {
                tracing::error!(%error, push = %part.push.id, "deliveries could not be made; trying again");
                self.hopeless |= matches!(error, StoreError::Disk(_));
                self.making.failed(part);
                self.making_rests = Some(now.millis.plus_ms(RETRY.as_millis() as u64));
                return;
            }
        };
        self.making.made(&part, now);
        self.making_rests = None;
        for delivery in deliveries {
            if delivery.state == DeliveryState::Queued {
                self.book.add(&part.push, delivery, now, &mut self.todo);
            } else {
                self.todo.touched.push(Touched::ended(delivery, part.push.order.wants_answer()));
            }
        }
    }

    /// Nothing will be stored any more: who waits for that must not wait for ever. What is decided and not
    /// stored stays untold.
    fn give_up(&mut self) {
        self.hopeless = true;
        for reply in self.flushes.drain(..) {
            let _ = reply.send(());
        }
    }

    /// Everything in `todo` is on disk: tell the world.
    fn act(&mut self) {
        let mut events = Vec::new();
        for touched in self.todo.touched.drain(..) {
            if touched.changed || touched.created {
                self.counts.reached[touched.delivery.state as usize].fetch_add(1, Ordering::Relaxed);
                events.push(Event::DeliveryChanged { delivery: touched.delivery.clone() });
            }
            if let Some(waiters) = self.waiters.get_mut(&touched.delivery.push) {
                for waiter in
                    waiters.extract_if(.., |waiter| waiter.reply.is_closed() || is_met(waiter.until, touched.standing()))
                {
                    let _ = waiter.reply.send(Some(Delivery::clone(&touched.delivery)));
                }
                if waiters.is_empty() {
                    self.waiters.remove(&touched.delivery.push);
                }
            }
        }
        if !events.is_empty() {
            self.bus.emit(&mut events);
        }
        for (ticket, result) in self.todo.tickets.drain(..) {
            self.line.published(ticket, result);
        }
        for (device, message) in self.todo.lines.drain(..) {
            // Not what came to its end in the same turn (a line was lost, and the sender took it back).
            if message.receipt.is_some_and(|receipt| self.book.is_waiting(receipt)) {
                self.line.push(device, message);
            }
        }
        self.book.handed_over();
        for (reply, stopped) in self.cancelled.drain(..) {
            let _ = reply.send(stopped);
        }
        if !self.arriving.is_empty() {
            // Those who gave up leave nothing behind.
            self.waiters.retain(|_, waiters| {
                waiters.retain(|waiter| !waiter.reply.is_closed());
                !waiters.is_empty()
            });
        }
        for (push, waiter) in self.arriving.drain(..) {
            match self.book.standing(push) {
                None => drop(waiter.reply.send(None)),
                Some(standing) if is_met(waiter.until, standing.standing()) => {
                    let _ = waiter.reply.send(Some(Delivery::clone(&standing.delivery)));
                }
                Some(_) => self.waiters.entry(push).or_default().push(waiter),
            }
        }
        // From where the last look ended: all looks together are one walk through the push's deliveries.
        for mut gathering in std::mem::take(&mut self.gatherings) {
            if gathering.reply.is_closed() {
                continue;
            }
            let unmet = self.book.first_unmet(gathering.push, gathering.from, |standing| is_met(WaitFor::Final, standing));
            gathering.from = unmet.unwrap_or(gathering.from);
            if unmet.is_none() && !self.making.has(gathering.push) {
                let _ = gathering.reply.send(());
            } else {
                self.gatherings.push(gathering);
            }
        }
        for reply in self.flushes.drain(..) {
            let _ = reply.send(());
        }
    }
}

/// A batch may be made when a later push with its collapse key was taken already, and may have been sent.
async fn give_way(store: &dyn Pushes, part: &mut Part) -> Result<(), StoreError> {
    let Some(key) = part.push.terms.collapse.clone() else { return Ok(()) };
    let devices = part.batch.iter().map(|fresh| fresh.device).collect();
    let later: HashMap<_, _> = store.collapsed_by(key, part.push.id, devices).await?.into_iter().collect();
    for fresh in part.batch.iter_mut().filter(|fresh| fresh.state == DeliveryState::Queued) {
        if let Some(by) = later.get(&fresh.device) {
            (fresh.state, fresh.detail) = (DeliveryState::Replaced, replaced_by(*by));
        }
    }
    Ok(())
}

/// A sleep, or none.
async fn rest(nap: Duration) {
    if !nap.is_zero() {
        tokio::time::sleep(nap).await;
    }
}

/// Whether the wait is over.
fn is_met(until: WaitFor, at: Standing) -> bool {
    let state = at.state;
    let arrived = match until {
        WaitFor::Final => state.is_final() || (state == DeliveryState::Delivered && !at.wants_answer),
        WaitFor::Delivered => !matches!(state, DeliveryState::Queued | DeliveryState::Sent),
    };
    arrived || at.resting
}

/// The last change of each delivery, and what it passed through on the way.
fn last_changes(touched: &[Touched]) -> Vec<DeliveryChange> {
    let mut last = HashMap::new();
    let mut changes: Vec<DeliveryChange> = Vec::new();
    for touched in touched.iter().filter(|touched| touched.changed) {
        let delivery = Delivery::clone(&touched.delivery);
        let place = *last.entry((delivery.push, delivery.number)).or_insert(changes.len());
        if place == changes.len() {
            changes.push(DeliveryChange { delivery, passed: Vec::new() });
        } else {
            let change = &mut changes[place];
            change.passed.push((&change.delivery).into());
            change.delivery = delivery;
        }
    }
    changes
}
