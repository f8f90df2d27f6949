//! The room's one task: takes everything that waits, lets the [`Book`] decide, stores all changes in
//! one go, and only then announces them, answers devices and callers, and speaks to the lines. One
//! task, so that events are handled in the order in which they happened.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use contract::store::{Pushes, StoreError, StoredPush};
use contract::{Bus, Clock, Event, Line, Refusal, Step, Ticket};
use futures_util::future::join_all;
use model::{Delivery, DeliveryState, DeviceNumber, Millis, PushId, Receipt, UnixMs, limits};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

use crate::book::{Book, Now, Todo, Touched};
use crate::{Counts, NewPush, SubmitError, WaitFor};

/// Commands taken at once: enough to share one fsync among many, few enough to stay prompt.
const BATCH: usize = 1024;
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
    Flush { reply: Reply<()> },
}

/// A push that is to be kept, and who waits for that.
struct Creation {
    push: StoredPush,
    delivery: Delivery,
    _guard: Option<OwnedMutexGuard<()>>,
    reply: Reply<Result<PushId, SubmitError>>,
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
    /// The store's disk failed: nothing is stored any more.
    hopeless: bool,
}

impl Actor {
    #[allow(clippy::too_many_arguments)] // a constructor of one caller
    pub fn start(
        mut book: Book,
        open: Vec<(StoredPush, Delivery)>,
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
            book.load(push, delivery, now, &mut todo);
        }
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
                taken = inbox.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    self.counts.waiting.fetch_sub(taken, Ordering::Relaxed);
                }
                () = tokio::time::sleep(self.nap()) => {}
            }
        }
    }

    fn now(&self) -> Now {
        Now { unix: self.clock.unix(), millis: self.clock.millis() }
    }

    fn nap(&self) -> Duration {
        if !self.todo.touched.is_empty() {
            return if self.hopeless { NAP } else { RETRY };
        }
        let left = |due: UnixMs| Duration::from_millis(u64::try_from(due.0 - self.clock.unix().0).unwrap_or(0));
        let due = self.book.next_due().map_or(NAP, left);
        let rest = |at: Millis| Duration::from_millis(at.since(self.clock.millis()));
        NAP.min(due).min(self.book.next_retry().map_or(NAP, rest))
    }

    /// Lets the book decide on everything that came. New pushes are returned: they must be kept before
    /// the book may know them.
    fn decide(&mut self, batch: &mut Vec<Command>) -> Vec<Creation> {
        let now = self.now();
        let mut creations = Vec::new();
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
                    let stopped = self.book.cancel(push, now, &mut self.todo);
                    self.cancelled.push((reply, stopped));
                }
                Command::Wait { push, until, reply } => self.arriving.push((push, Waiter { until, reply })),
                Command::Flush { reply } => self.flushes.push(reply),
            }
        }
        self.book.expire(now, &mut self.todo);
        self.book.retry(now, &mut self.todo);
        creations
    }

    /// Whether there is room for one more.
    fn admit(&self, new: &NewPush, before: &[Creation]) -> Result<(), SubmitError> {
        let of_device = before.iter().filter(|creation| creation.delivery.number == new.device).count();
        if self.book.pending(new.device) + of_device >= limits::PENDING_PER_DEVICE_MAX {
            return Err(SubmitError::DeviceFull);
        }
        let bytes: usize = before.iter().map(|creation| creation.push.payload.len()).sum();
        if self.book.payload_bytes() + bytes + new.payload.len() > limits::PENDING_BYTES_MAX {
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
            ttl_s => Some(UnixMs(now.unix.0 + ttl_s as i64 * 1000)),
        };
        let delivery = Delivery {
            push: self.last,
            number: new.device,
            device: new.device_id,
            state: DeliveryState::Queued,
            at: now.unix,
            detail: String::new(),
            answer: None,
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
        };
        Creation { push, delivery, _guard: guard, reply }
    }

    /// Stores, and then does what had to wait for it. New pushes and changes of older ones never concern
    /// the same delivery, so the store may write both at once.
    async fn keep(&mut self, creations: Vec<Creation>) -> Result<(), StoreError> {
        let create = |creation: &Creation| self.store.create_push(creation.push.clone(), vec![creation.delivery.clone()]);
        let created = join_all(creations.iter().map(create).collect::<Vec<_>>());
        let changes = last_changes(&self.todo.touched);
        let update = async { if changes.is_empty() { Ok(()) } else { self.store.update_deliveries(changes).await } };
        let (created, updated) = tokio::join!(created, update);

        let now = self.now();
        let mut replies = Vec::new();
        for (creation, result) in creations.into_iter().zip(created) {
            match result {
                Ok(()) => {
                    replies.push((creation.reply, creation.push.id));
                    self.counts.submitted.fetch_add(1, Ordering::Relaxed);
                    self.book.add(creation.push, creation.delivery, now, &mut self.todo);
                }
                Err(error) => drop(creation.reply.send(Err(error.into()))),
            }
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
        self.act();
        Ok(())
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
                for waiter in waiters.extract_if(.., |waiter| waiter.reply.is_closed() || is_met(waiter.until, &touched)) {
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
                Some(standing) if is_met(waiter.until, &standing) => {
                    let _ = waiter.reply.send(Some(Delivery::clone(&standing.delivery)));
                }
                Some(_) => self.waiters.entry(push).or_default().push(waiter),
            }
        }
        for reply in self.flushes.drain(..) {
            let _ = reply.send(());
        }
    }
}

/// Whether the wait is over.
fn is_met(until: WaitFor, at: &Touched) -> bool {
    let state = at.delivery.state;
    let arrived = match until {
        WaitFor::Final => state.is_final() || (state == DeliveryState::Delivered && !at.wants_answer),
        WaitFor::Delivered => !matches!(state, DeliveryState::Queued | DeliveryState::Sent),
    };
    arrived || at.resting
}

/// The last change of each delivery: the store needs no others.
fn last_changes(touched: &[Touched]) -> Vec<Delivery> {
    let mut last = HashMap::new();
    let mut changes: Vec<Delivery> = Vec::new();
    for touched in touched.iter().filter(|touched| touched.changed) {
        let delivery = Delivery::clone(&touched.delivery);
        let place = *last.entry((delivery.push, delivery.number)).or_insert(changes.len());
        if place == changes.len() { changes.push(delivery) } else { changes[place] = delivery }
    }
    changes
}
