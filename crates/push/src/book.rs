//! The book of open deliveries: the rules of their life, as values. Facts and the time come in, a
//! [`Todo`] goes out. No store, no channel, no clock; who calls must store what [`Todo::touched`] names as
//! changed before anything else of the `Todo` is done.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque, hash_map};
use std::sync::Arc;

use bytes::Bytes;
use contract::store::StoredPush;
use contract::{Refusal, Step, Ticket};
use model::topic::Space;
use model::{
    Delivery, DeliveryState, DeviceNumber, Message, Millis, Order, Priority, PushId, Qos, Receipt, Topic, UnixMs, limits,
};

/// Answered receipts that are remembered, so that a device which sends its answer twice (its
/// acknowledgement was lost with the line) is told that it is kept.
const ANSWERED_REMEMBERED: usize = 1024;

/// How long a line rests that did not take a push: its queue is full, and would be full again at once.
const REST_MS: u64 = 1_000;

/// The time of a call, on both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub unix: UnixMs,
    pub millis: Millis,
}

/// What a call wants done.
#[derive(Default)]
pub(crate) struct Todo {
    /// Deliveries that were touched, in order.
    pub touched: Vec<Touched>,
    /// Messages for devices' lines.
    pub lines: Vec<(DeviceNumber, Message)>,
    /// Answers for devices that wait.
    pub tickets: Vec<(Ticket, Result<(), Refusal>)>,
}

/// A delivery as a call left it.
#[derive(Clone)]
pub(crate) struct Touched {
    pub delivery: Arc<Delivery>,
    /// It is to be stored and announced.
    pub changed: bool,
    /// It is to be announced, but was stored already.
    pub created: bool,
    /// It waits in the queue and nothing is under way, or nothing more can be heard of it.
    pub resting: bool,
    /// Its order wants an answer.
    pub wants_answer: bool,
}

impl Touched {
    /// A delivery that was made and ended in one: it never stood in the book.
    pub fn ended(delivery: Delivery, wants_answer: bool) -> Touched {
        Touched { delivery: Arc::new(delivery), changed: false, created: true, resting: false, wants_answer }
    }

    pub fn standing(&self) -> Standing {
        Standing { state: self.delivery.state, resting: self.resting, wants_answer: self.wants_answer }
    }
}

/// What of a delivery decides whether a wait for it is over.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    pub state: DeliveryState,
    pub resting: bool,
    pub wants_answer: bool,
}

struct Entry {
    order: Order,
    // Empty from the acknowledgement on: only the answer is missing then.
    payload: Bytes,
    delivery: Delivery,
    // Now or never: not kept for a device that is away.
    online_only: bool,
    // The hub has it: it must not be given a second time.
    out: bool,
    // In which turn the hub was given it last.
    given: u32,
    priority: Priority,
    // Apart: most have none, and there may be a million entries.
    collapse: Option<Box<Collapse>>,
    due: UnixMs,
}

/// What is to be known of a delivery with a collapse key.
struct Collapse {
    key: Arc<str>,
    // A later push with the same key.
    by: Option<PushId>,
}

/// The word for a push that a device has, or has not, got: it subscribed at QoS 0.
pub(crate) const AT_MOST_ONCE: &str = "the device subscribed with QoS 0 and acknowledges nothing; let it subscribe with QoS 1";

impl Entry {
    /// It was sent to a device that acknowledges nothing, and no answer is wanted.
    fn is_let_go(&self) -> bool {
        self.delivery.state == DeliveryState::Sent && self.delivery.detail == AT_MOST_ONCE && !self.order.wants_answer()
    }

    /// The later push that it gives way to.
    fn overtaken_by(&self) -> Option<PushId> {
        self.collapse.as_ref().and_then(|collapse| collapse.by)
    }

    fn standing(&self) -> Standing {
        let waits = self.delivery.state == DeliveryState::Queued && !self.out && self.overtaken_by().is_none();
        let resting = waits || self.is_let_go();
        Standing { state: self.delivery.state, resting, wants_answer: self.order.wants_answer() }
    }

    fn touched(&self, changed: bool) -> Touched {
        let Standing { resting, wants_answer, .. } = self.standing();
        Touched { delivery: Arc::new(self.delivery.clone()), changed, created: false, resting, wants_answer }
    }
}

type Key = (DeviceNumber, PushId);

/// All open deliveries.
#[derive(Default)]
pub(crate) struct Book {
    // By device first: what waits for one device is one range, in order of push id.
    open: BTreeMap<Key, Entry>,
    of_push: BTreeSet<(PushId, DeviceNumber)>,
    due: BTreeSet<(UnixMs, DeviceNumber, PushId)>,
    // What no line took although there is one: given once more when the rest is over.
    again: BTreeSet<Key>,
    again_at: Option<Millis>,
    answered: VecDeque<Receipt>,
    // How many entries still hold the payload of a push: they share its bytes, which count once.
    holders: HashMap<PushId, usize>,
    payload_bytes: usize,
    // The newest open delivery of each collapse key.
    newest: HashMap<(DeviceNumber, Arc<str>), PushId>,
    // What was so before a restart: deliveries and the later pushes of their collapse keys.
    collapsed: HashMap<Key, PushId>,
    // New deliveries that wait behind an older one, and why: told when they are stored.
    behind: Vec<(Key, String)>,
    // What gives way to a later push in the next turn: that this one does is on disk already.
    giving_way: Vec<Key>,
    // Counted up when what was given has left for the hub.
    turn: u32,
}

impl Book {
    /// The book after a restart, with what [`load`](Book::load) is to know: which deliveries had a later push with
    /// their collapse key.
    pub fn after(collapsed: HashMap<Key, PushId>) -> Book {
        Book { collapsed, ..Book::default() }
    }

    /// A delivery from before a restart.
    pub fn load(&mut self, push: &StoredPush, mut delivery: Delivery, now: Now, todo: &mut Todo) {
        let key = (delivery.number, delivery.push);
        let was = delivery.state;
        if was.is_final() || (was == DeliveryState::Delivered && !push.order.wants_answer()) {
            return;
        }
        let online_only = push.expires.is_none();
        if was == DeliveryState::Sent && delivery.detail == AT_MOST_ONCE {
            // To send it again would be twice; whether it arrived was never to be known.
            if push.order.wants_answer() {
                self.insert(push, delivery);
            }
            return;
        }
        if was == DeliveryState::Sent && !online_only {
            delivery.state = DeliveryState::Queued;
            delivery.at = now.unix;
            delivery.detail = "the server restarted before the device acknowledged it; it is sent again".into();
        }
        let changed = delivery.state != was;
        self.insert(push, delivery);
        let collapsed_by = self.collapsed.remove(&key);
        if changed && let Some(entry) = self.open.get(&key) {
            todo.touched.push(entry.touched(true));
        }
        if online_only && was != DeliveryState::Delivered {
            self.step(
                key,
                DeliveryState::Expired,
                now.unix,
                "the server restarted, and the push was for that moment only",
                None,
                todo,
            );
        }
        match collapsed_by {
            Some(by) => self.overtake(key, by),
            None => self.collapse(key),
        }
    }

    /// A new delivery, already stored: announces it and gives it to the line.
    pub fn add(&mut self, push: &StoredPush, delivery: Delivery, now: Now, todo: &mut Todo) {
        let key = (delivery.number, delivery.push);
        self.insert(push, delivery);
        let behind = self.rests_behind(key);
        if behind.is_none() {
            self.give(key, now, todo);
        }
        if let Some(entry) = self.open.get(&key) {
            todo.touched.push(Touched { created: true, ..entry.touched(false) });
        }
        if let Some((older, why)) = behind {
            if self.again.contains(&older) {
                self.again.insert(key);
            }
            self.behind.push((key, why));
        }
        self.collapse(key);
    }

    /// An older delivery that no line takes and this one is not to overtake, and why it waits. The hub would
    /// refuse this one too, or the device begins to listen in this very moment and both go out in order.
    fn rests_behind(&self, key: Key) -> Option<(Key, String)> {
        let new = self.open.get(&key).filter(|new| !new.online_only)?;
        let waits = |key: &Key, older: &Entry| {
            let rests = !older.out || self.again.contains(key);
            rests && older.delivery.state == DeliveryState::Queued && heard_on(&older.order) == heard_on(&new.order)
        };
        let mut older = self.of_device(key.0).filter(|(other, _)| **other != key);
        older.find(|(key, older)| waits(key, older)).map(|(key, older)| (*key, older.delivery.detail.clone()))
    }

    /// Ends what gives way to a later push that was taken in the turn before, and says why such a push waits.
    pub fn give_way(&mut self, now: Now, todo: &mut Todo) {
        for (key, why) in std::mem::take(&mut self.behind) {
            if self.open.get(&key).is_some_and(|entry| !entry.out) {
                self.requeue(key, now.unix, &why, todo);
            }
        }
        for key in std::mem::take(&mut self.giving_way) {
            self.replace_overtaken(key, now.unix, todo);
        }
    }

    /// Whether [`give_way`](Book::give_way) has something to do.
    pub fn gives_way(&self) -> bool {
        !self.giving_way.is_empty() || !self.behind.is_empty()
    }

    /// What was given has left for the hub.
    pub fn handed_over(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// What the hub reports of a push's message.
    pub fn receipt(&mut self, receipt: Receipt, step: Step, at: UnixMs, now: Now, todo: &mut Todo) {
        let key = (receipt.device, receipt.push);
        let Some(entry) = self.open.get_mut(&key) else { return };
        match step {
            Step::Sent => self.step(key, DeliveryState::Sent, at, "", None, todo),
            Step::SentAtMostOnce => {
                self.step(key, DeliveryState::Sent, at, AT_MOST_ONCE, None, todo);
                // Nothing more will be heard of it, unless an answer is wanted.
                if self.open.get(&key).is_some_and(Entry::is_let_go) {
                    self.forget(key);
                }
            }
            Step::Delivered => self.step(key, DeliveryState::Delivered, at, "", None, todo),
            Step::Applied(body) => self.answered(key, body, None, at, todo),
            Step::Failed(why, body) => self.answered(key, body, Some(why), at, todo),
            Step::Refused(why) => self.step(key, DeliveryState::Refused, at, &why, None, todo),
            Step::Nobody { online } => {
                entry.out = false;
                let why = if online {
                    format!("the device is online but has not subscribed to {}", heard_on(&entry.order))
                } else {
                    "the device is away".to_owned()
                };
                if entry.online_only {
                    let why = format!("{why}, and the push was for this moment only");
                    self.step(key, DeliveryState::Expired, at, &why, None, todo);
                } else {
                    self.requeue(key, at, &why, todo);
                }
            }
            Step::Lost => match entry.delivery.state {
                // It never left: a line broke before its turn came, or its queue was full. Another line may be
                // open, of which no `Listening` would come.
                DeliveryState::Queued => {
                    if entry.overtaken_by().is_some() {
                        entry.out = false;
                        return self.replace_overtaken(key, at, todo);
                    }
                    self.again.insert(key);
                    self.again_at.get_or_insert(now.millis.plus_ms(REST_MS));
                }
                DeliveryState::Sent => {
                    entry.out = false;
                    if entry.overtaken_by().is_none() {
                        self.give(key, now, todo);
                    }
                    self.requeue(key, at, "the line broke before the device acknowledged it; it is sent again", todo);
                }
                _ => {}
            },
        }
    }

    /// The device listens: everything that rests goes out, by priority, of the same the oldest first.
    pub fn listening(&mut self, device: DeviceNumber, now: Now, todo: &mut Todo) {
        let resting = |entry: &Entry| entry.delivery.state == DeliveryState::Queued && !entry.out;
        let resting = self.of_device(device).filter(|(_, entry)| resting(entry));
        let mut keys: Vec<(Priority, Key)> = resting.map(|(key, entry)| (entry.priority, *key)).collect();
        keys.sort_unstable();
        for (_, key) in keys {
            self.give(key, now, todo);
        }
    }

    /// Gives once more what no line took, when its rest is over.
    pub fn retry(&mut self, now: Now, todo: &mut Todo) {
        if self.again_at.is_some_and(|at| at <= now.millis) {
            self.again_at = None;
            let again = std::mem::take(&mut self.again);
            let of = |key: &Key| self.open.get(key).map(|entry| entry.priority).unwrap_or_default();
            let mut keys: Vec<(Priority, Key)> = again.into_iter().map(|key| (of(&key), key)).collect();
            keys.sort_unstable();
            for (_, key) in keys {
                match self.open.get_mut(&key) {
                    Some(entry) if entry.overtaken_by().is_some() => {
                        entry.out = false;
                        self.replace_overtaken(key, now.unix, todo);
                    }
                    _ => self.give(key, now, todo),
                }
            }
        }
    }

    /// When `retry` has something to do.
    pub fn next_retry(&self) -> Option<Millis> {
        self.again_at
    }

    /// The device answers on `me/answer/<push id>`; `push` is `None` when that was no number.
    pub fn answer(
        &mut self,
        device: DeviceNumber,
        push: Option<PushId>,
        body: Bytes,
        ticket: Option<Ticket>,
        at: UnixMs,
        todo: &mut Todo,
    ) {
        let receipt = push.map(|push| Receipt { push, device });
        let result = match receipt {
            Some(receipt) if self.open.contains_key(&(device, receipt.push)) => {
                let error = error_of(&body);
                self.answered((device, receipt.push), body, error, at, todo);
                Ok(())
            }
            Some(receipt) if self.answered.contains(&receipt) => Ok(()),
            _ => Err(Refusal::NotAllowed),
        };
        todo.tickets.extend(ticket.map(|ticket| (ticket, result)));
    }

    /// The device is registered no more.
    pub fn removed(&mut self, device: DeviceNumber, now: Now, todo: &mut Todo) {
        let keys: Vec<Key> = self.of_device(device).map(|(key, _)| *key).collect();
        for key in keys {
            self.step(key, DeliveryState::Refused, now.unix, "the device was removed", None, todo);
            self.forget(key);
        }
    }

    /// The sender takes the push back. How many deliveries that stopped.
    pub fn cancel(&mut self, push: PushId, now: Now, todo: &mut Todo) -> usize {
        let of_push = (push, DeviceNumber(0))..=(push, DeviceNumber(u32::MAX));
        let keys: Vec<Key> = self.of_push.range(of_push).map(|(push, device)| (*device, *push)).collect();
        let mut stopped = 0;
        for key in keys {
            let why = match self.open[&key].delivery.state {
                DeliveryState::Queued => "",
                DeliveryState::Sent => "it was already sent; the device may still act on it",
                _ => continue,
            };
            self.step(key, DeliveryState::Cancelled, now.unix, why, None, todo);
            stopped += 1;
        }
        stopped
    }

    /// Ends what is due.
    pub fn expire(&mut self, now: Now, todo: &mut Todo) {
        while let Some(&(due, device, push)) = self.due.first()
            && due <= now.unix
        {
            let key = (device, push);
            let entry = &self.open[&key];
            let why = match entry.delivery.state {
                DeliveryState::Sent => "its time ran out before the device acknowledged it".to_owned(),
                _ if entry.delivery.detail.is_empty() => "its time ran out while it waited".to_owned(),
                _ => format!("its time ran out while it waited: {}", entry.delivery.detail),
            };
            self.step(key, DeliveryState::Expired, now.unix, &why, None, todo);
            // An acknowledged one stays what it is; no answer is expected any more.
            self.forget(key);
        }
    }

    /// When `expire` has something to do.
    pub fn next_due(&self) -> Option<UnixMs> {
        self.due.first().map(|(due, ..)| *due)
    }

    /// How a push stands, if it is open.
    pub fn standing(&self, push: PushId) -> Option<Touched> {
        let (push, device) = self.of_push.range((push, DeviceNumber(0))..=(push, DeviceNumber(u32::MAX))).next()?;
        self.open.get(&(*device, *push)).map(|entry| entry.touched(false))
    }

    /// The first of a push's open deliveries, from a device on, for which `met` is not so.
    pub fn has(&self, push: PushId) -> bool {
        self.of_push.range((push, DeviceNumber(0))..=(push, DeviceNumber(u32::MAX))).next().is_some()
    }

    pub fn first_unmet(&self, push: PushId, from: DeviceNumber, met: impl Fn(Standing) -> bool) -> Option<DeviceNumber> {
        let mut rest = self.of_push.range((push, from)..=(push, DeviceNumber(u32::MAX)));
        rest.find(|(push, device)| self.open.get(&(*device, *push)).is_some_and(|entry| !met(entry.standing()))).map(|(_, d)| *d)
    }

    /// The devices for which as many pushes wait as may.
    pub fn crowded(&self) -> BTreeSet<DeviceNumber> {
        let mut crowded = BTreeSet::new();
        let (mut device, mut waiting) = (None, 0);
        for ((of, _), entry) in &self.open {
            if device != Some(*of) {
                (device, waiting) = (Some(*of), 0);
            }
            waiting += usize::from(entry.delivery.state == DeliveryState::Queued);
            if waiting == limits::PENDING_PER_DEVICE_MAX {
                crowded.insert(*of);
            }
        }
        crowded
    }

    /// Whether a delivery waits to be sent, and was given.
    pub fn is_waiting(&self, receipt: Receipt) -> bool {
        let waits = |entry: &Entry| entry.delivery.state == DeliveryState::Queued && entry.out;
        self.open.get(&(receipt.device, receipt.push)).is_some_and(waits)
    }

    /// Whether there is room for one more in a device's queue, if `more` are to come before it.
    pub fn has_room(&self, device: DeviceNumber, collapse: Option<&Arc<str>>, more: usize) -> bool {
        let gives_way = || {
            let place = collapse.map(|key| (device, key.clone()));
            let older = place.and_then(|place| self.newest.get(&place)).and_then(|push| self.open.get(&(device, *push)));
            older.is_some_and(|entry| entry.delivery.state == DeliveryState::Queued && !self.has_left(entry))
        };
        let pending = self.pending(device) + more;
        pending < limits::PENDING_PER_DEVICE_MAX || (pending == limits::PENDING_PER_DEVICE_MAX && gives_way())
    }

    /// How many pushes wait to be sent to a device.
    pub fn pending(&self, device: DeviceNumber) -> usize {
        self.of_device(device).filter(|(_, entry)| entry.delivery.state == DeliveryState::Queued).count()
    }

    /// The payload bytes of all that waits.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// How many deliveries are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    fn of_device(&self, device: DeviceNumber) -> impl Iterator<Item = (&Key, &Entry)> {
        self.open.range((device, PushId(0))..=(device, PushId(u64::MAX)))
    }

    fn insert(&mut self, push: &StoredPush, delivery: Delivery) {
        let key = (delivery.number, delivery.push);
        let online_only = push.expires.is_none();
        let delivered = delivery.state == DeliveryState::Delivered;
        let due = match push.expires {
            Some(expires) if !delivered => expires,
            _ => answer_due(delivery.at),
        };
        let payload = if delivered { Bytes::new() } else { push.payload.clone() };
        self.hold(key.1, payload.len());
        self.due.insert((due, key.0, key.1));
        self.of_push.insert((key.1, key.0));
        let entry = Entry {
            order: push.order.clone(),
            payload,
            delivery,
            online_only,
            out: false,
            given: 0,
            priority: push.terms.priority,
            collapse: push.terms.collapse.clone().map(|key| Box::new(Collapse { key, by: None })),
            due,
        };
        self.open.insert(key, entry);
    }

    /// Whether the hub has it, so that it may be on its way to the device.
    fn has_left(&self, entry: &Entry) -> bool {
        entry.out && entry.given != self.turn
    }

    /// Of an open delivery and the newest with the same collapse key so far, the older one is overtaken.
    fn collapse(&mut self, key: Key) {
        let Some(collapse) = self.open.get(&key).and_then(|entry| entry.collapse.as_ref()) else { return };
        let newest = self.newest.entry((key.0, collapse.key.clone())).or_insert(key.1);
        let (older, newer) = (key.1.min(*newest), key.1.max(*newest));
        *newest = newer;
        if older != newer {
            self.overtake((key.0, older), newer);
        }
    }

    /// A delivery gives way to that of a later push: in the next turn if it waits, else as soon as it is back.
    fn overtake(&mut self, key: Key, by: PushId) {
        let turn = self.turn;
        let Some(entry) = self.open.get_mut(&key) else { return };
        let Some(collapse) = &mut entry.collapse else { return };
        collapse.by = Some(by);
        if entry.delivery.state == DeliveryState::Queued && !(entry.out && entry.given != turn) {
            // Given in this very turn, it is still ours, and goes nowhere.
            entry.out = false;
            self.giving_way.push(key);
        }
    }

    /// Ends an overtaken delivery that is back in the queue.
    fn replace_overtaken(&mut self, key: Key, at: UnixMs, todo: &mut Todo) {
        if let Some(entry) = self.open.get(&key)
            && let Some(by) = entry.overtaken_by()
            && entry.delivery.state == DeliveryState::Queued
            && !entry.out
        {
            let why = replaced_by(by);
            self.step(key, DeliveryState::Replaced, at, &why, None, todo);
        }
    }

    /// One more entry holds a push's payload; an empty one holds nothing.
    fn hold(&mut self, push: PushId, bytes: usize) {
        if bytes > 0 {
            let holders = self.holders.entry(push).or_default();
            *holders += 1;
            self.payload_bytes += if *holders == 1 { bytes } else { 0 };
        }
    }

    /// One fewer does.
    fn release(&mut self, push: PushId, bytes: usize) {
        if bytes > 0
            && let Some(holders) = self.holders.get_mut(&push)
        {
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(&push);
                self.payload_bytes -= bytes;
            }
        }
    }

    /// Gives a waiting delivery to the device's line.
    fn give(&mut self, key: Key, now: Now, todo: &mut Todo) {
        let Some(entry) = self.open.get_mut(&key) else { return };
        let left_ms = u64::try_from(entry.due.0 - now.unix.0).unwrap_or(0);
        entry.out = true;
        entry.given = self.turn;
        let message = Message {
            qos: Qos::AtLeastOnce,
            expires: Some(now.millis.plus_ms(left_ms)),
            receipt: Some(Receipt { push: key.1, device: key.0 }),
            ..Message::new(
                Topic::of_device(entry.delivery.device.as_str(), &entry.order.topic_rest(key.1)),
                entry.payload.clone(),
                now.unix,
            )
        };
        todo.lines.push((key.0, message));
    }

    /// Back into the queue, or still there for another reason.
    fn requeue(&mut self, key: Key, at: UnixMs, why: &str, todo: &mut Todo) {
        let Some(entry) = self.open.get_mut(&key) else { return };
        match entry.delivery.state {
            DeliveryState::Sent => self.step(key, DeliveryState::Queued, at, why, None, todo),
            DeliveryState::Queued => {
                let changed = entry.delivery.detail != why;
                if changed {
                    why.clone_into(&mut entry.delivery.detail);
                }
                todo.touched.push(entry.touched(changed));
            }
            _ => {}
        }
        self.replace_overtaken(key, at, todo);
    }

    /// The device's own word on it.
    fn answered(&mut self, key: Key, body: Bytes, error: Option<String>, at: UnixMs, todo: &mut Todo) {
        let next = if error.is_some() { DeliveryState::Failed } else { DeliveryState::Applied };
        let mut why = error.unwrap_or_default();
        let kept = if body.len() > limits::ANSWER_BYTES_MAX {
            let cut = format!("the answer had {} bytes; the first {} are kept", body.len(), limits::ANSWER_BYTES_MAX);
            why = if why.is_empty() { cut } else { format!("{why} ({cut})") };
            Bytes::copy_from_slice(&body[..limits::ANSWER_BYTES_MAX])
        } else {
            body
        };
        if self.answered.len() == ANSWERED_REMEMBERED {
            self.answered.pop_front();
        }
        self.answered.push_back(Receipt { push: key.1, device: key.0 });
        self.step(key, next, at, &why, Some(kept), todo);
    }

    /// The one place where a state changes. A step that cannot follow is no news: a late or repeated report.
    fn step(&mut self, key: Key, next: DeliveryState, at: UnixMs, why: &str, answer: Option<Bytes>, todo: &mut Todo) {
        let Some(entry) = self.open.get_mut(&key) else { return };
        if !entry.delivery.state.may_become(next) {
            return;
        }
        entry.delivery.state = next;
        entry.delivery.at = at;
        entry.delivery.detail = cut(why, limits::DETAIL_BYTES_MAX).to_owned();
        entry.delivery.answer = answer;
        todo.touched.push(entry.touched(true));
        if next.is_final() || (next == DeliveryState::Delivered && !entry.order.wants_answer()) {
            self.forget(key);
        } else if next == DeliveryState::Delivered {
            self.await_answer(key);
        } else if next == DeliveryState::Sent
            && let Some(oldest) = self.oldest_of_too_many(key.0, DeliveryState::Sent)
        {
            // A device that subscribed with QoS 0 acknowledges nothing; it must not fill the memory either.
            let why = "it was sent, and neither it nor the many after it were acknowledged; let the device subscribe with QoS 1";
            self.step(oldest, DeliveryState::Expired, at, why, None, todo);
        }
    }

    /// Acknowledged, and an answer may come: its payload is not needed again, and it has a new time to end.
    fn await_answer(&mut self, key: Key) {
        let Some(entry) = self.open.get_mut(&key) else { return };
        let released = std::mem::take(&mut entry.payload).len();
        self.due.remove(&(entry.due, key.0, key.1));
        entry.due = answer_due(entry.delivery.at);
        self.due.insert((entry.due, key.0, key.1));
        self.release(key.1, released);
        // A device that never answers must not fill the memory: the oldest of too many is let go.
        if let Some(oldest) = self.oldest_of_too_many(key.0, DeliveryState::Delivered) {
            self.forget(oldest);
        }
    }

    /// The oldest of a device's deliveries that are in `state`, if there are too many of them.
    fn oldest_of_too_many(&self, device: DeviceNumber, state: DeliveryState) -> Option<Key> {
        let mut alike = self.of_device(device).filter(|(_, entry)| entry.delivery.state == state);
        let (oldest, _) = alike.next()?;
        (alike.count() >= limits::PENDING_PER_DEVICE_MAX).then_some(*oldest)
    }

    fn forget(&mut self, key: Key) {
        if let Some(entry) = self.open.remove(&key) {
            self.release(key.1, entry.payload.len());
            self.due.remove(&(entry.due, key.0, key.1));
            self.of_push.remove(&(key.1, key.0));
            if let Some(collapse) = entry.collapse
                && let hash_map::Entry::Occupied(newest) = self.newest.entry((key.0, collapse.key))
                && *newest.get() == key.1
            {
                newest.remove();
            }
        }
    }
}

/// Which push a device's own topic answers: `Some(None)` when the topic is an answer's, but names no push.
pub(crate) fn answer_to(topic: &Topic) -> Option<Option<PushId>> {
    let Space::Device { rest, .. } = topic.space() else { return None };
    let id = if rest == "answer" { "" } else { rest.strip_prefix("answer/")? };
    Some(id.parse().ok().map(PushId))
}

/// The word for a delivery that gave way to a later push.
pub(crate) fn replaced_by(push: PushId) -> String {
    format!("push {push} took its place")
}

fn answer_due(at: UnixMs) -> UnixMs {
    UnixMs(at.0 + limits::ANSWER_S_MAX as i64 * 1000)
}

/// The filter a device must subscribe to for this order.
fn heard_on(order: &Order) -> &'static str {
    match order {
        Order::Message => "me/push",
        Order::Ask => "me/ask/+",
        Order::Command { .. } => "me/cmd/#",
    }
}

/// The `"error"` text of an answer that is a JSON object with one.
fn error_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        error: String,
    }
    if body.len() > limits::ANSWER_BYTES_MAX || !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice::<Answer>(body).ok().map(|answer| answer.error)
}

/// At most `bytes_max` of `text`, whole characters only.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
