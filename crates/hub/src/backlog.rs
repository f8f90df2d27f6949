//! What waits for a client: its queue and what is in flight; and, in [`Claims`], what it has begun itself.
//! Boxed and made on first use, so that a session with nothing waiting pays one pointer.

use std::collections::VecDeque;

use contract::keep::ReturnedWaiting;
use contract::{Awaited, Delivery, Slot, Waiting};
use model::limits::{self, Limits};
use model::message::SharedMessage;
use model::{DeviceNumber, Millis, Qos};

use crate::claims::Claims;

/// Whether something is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDisk {
    /// It is not and need not be.
    #[default]
    NeedNot,
    /// The journal has it under this number.
    Noted(u64),
    /// Another journal has it, or will, together with the rest of its publish.
    Together,
    /// It is.
    Yes,
}

impl OnDisk {
    /// Whether nothing is to be waited for when all notes below `kept` are on disk.
    fn is_safe(self, kept: u64) -> bool {
        match self {
            OnDisk::Noted(number) => number < kept,
            OnDisk::Together => false,
            OnDisk::NeedNot | OnDisk::Yes => true,
        }
    }
}

/// A message in the queue.
#[derive(Debug)]
struct Queued {
    /// Its place, from which its slot follows; 0 at QoS 0, which has neither.
    seq: u64,
    waiting: Waiting,
    on_disk: OnDisk,
    /// It may have been sent before the program was started again, as far as its client is told.
    again: bool,
    /// The same, as far as another member of its group may have it in this one's place.
    seen: bool,
    /// The client had it then, and owes only the end of the exchange.
    received: bool,
}

/// A message that was sent and not settled.
#[derive(Debug)]
struct InFlight {
    seq: u64,
    waiting: Waiting,
    on_disk: OnDisk,
    /// The client has it and owes only the end of the exchange; and whether that is on disk.
    received: Option<OnDisk>,
}

/// What has come out of a backlog and what is to be forgotten of it.
#[derive(Debug)]
pub struct Done {
    /// The message.
    pub message: SharedMessage,
    /// Its place.
    pub seq: u64,
    /// Whether its place is on disk.
    pub on_disk: OnDisk,
}

impl Done {
    fn of(queued: Queued) -> Done {
        Done { message: queued.waiting.message, seq: queued.seq, on_disk: queued.on_disk }
    }
}

/// What lies on disk and was not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nobody has asked for it.
    Resting,
    /// It is being read.
    Coming,
}

/// The slot of a place. Places of one session only grow, so that the slot need not be kept.
fn slot_of(seq: u64) -> Slot {
    (seq.saturating_sub(1) % u64::from(u16::MAX)) as Slot + 1
}

fn delivery(waiting: &Waiting, slot: Option<Slot>, again: bool, now: Millis) -> Delivery {
    Delivery::Message {
        message: waiting.message.clone(),
        as_me: waiting.as_me,
        qos: waiting.qos,
        slot,
        retained: waiting.retained,
        again,
        retain: waiting.retain,
        ids: waiting.rare.as_ref().map(|rare| rare.ids.clone()).unwrap_or_default(),
        expiry_s: waiting.message.seconds_left(now),
    }
}
/// What waits for one client.
#[derive(Debug, Default)]
pub struct Backlog {
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    in_flight: Vec<InFlight>,
    /// How many of `in_flight` have been sent on the present line.
    sent_here: usize,
    seq_last: u64,
    /// The exactly-once publishes that the client has begun.
    pub claims: Claims,
    /// What comes before all of `queue` and lies on disk only.
    stored: Option<Stored>,
    /// Its last place: what has come since may be on disk too by the time that it is read.
    stored_last: u64,
}

/// What [`Backlog::next`] found.
pub enum Next {
    /// Something to give to the client.
    Give(Delivery),
    /// A message whose time had run out, dropped. Ask again.
    Expired(Done),
    /// Nothing now.
    Nothing,
}

impl Backlog {
    /// What was kept of a session: how far its queue went, and which exactly-once publishes are open.
    pub fn returned(seq_last: u64, claims: Vec<u16>) -> Backlog {
        Backlog {
            seq_last,
            claims: Claims::kept(claims),
            stored: (seq_last > 0).then_some(Stored::Resting),
            stored_last: seq_last,
            ..Backlog::default()
        }
    }

    /// A queue whose places begin behind `seq_last`.
    pub fn behind(seq_last: u64) -> Backlog {
        Backlog { seq_last, ..Backlog::default() }
    }

    /// The last place that was given.
    pub fn seq_last(&self) -> u64 {
        self.seq_last
    }

    /// Whether there is nothing worth keeping.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty() && self.claims.is_empty() && self.stored.is_none()
    }

    /// Whether [`Backlog::next`] may have something.
    pub fn has_next(&self) -> bool {
        self.sent_here < self.in_flight.len() || !self.queue.is_empty()
    }

    /// Whether something lies on disk that was not read yet, or is on its way there with the rest of its publish,
    /// which may still be refused.
    pub fn is_unknown(&self) -> bool {
        self.stored.is_some() || self.queue.iter().any(|queued| queued.on_disk == OnDisk::Together)
    }

    /// Whether what lies on disk is to be read now; it then counts as coming.
    pub fn take_resting(&mut self) -> bool {
        let resting = self.stored == Some(Stored::Resting);
        if resting {
            self.stored = Some(Stored::Coming);
        }
        resting
    }

    /// What lay on disk, to the front of what has come since. Everything up to the place `sent` may have been
    /// sent before, of exactly-once messages no more than `window` that the client has not said to have.
    /// An error leaves it where it is, to be asked for again.
    pub fn stored_came(&mut self, rows: Option<Vec<ReturnedWaiting>>, sent: u64, window: usize) {
        let Some(mut rows) = rows else {
            self.stored = Some(Stored::Resting);
            return;
        };
        self.stored = None;
        rows.retain(|row| row.seq <= self.stored_last);
        let (mut open, before) = (0, self.queue.len());
        for ReturnedWaiting { seq, waiting, received, .. } in rows {
            self.queue_bytes += waiting.message.cost_bytes();
            let again = seq <= sent;
            open += usize::from(waiting.qos == Qos::ExactlyOnce && !received);
            let seen = again && open <= window;
            self.queue.push_back(Queued { seq, waiting, on_disk: OnDisk::Yes, again, seen, received });
        }
        self.queue.rotate_left(before);
    }

    /// Whether a message fits. Retained messages of a new subscription have a wider limit: the client
    /// asked for all of them at once.
    pub fn has_room(&self, waiting: &Waiting, limits: &Limits) -> bool {
        let count_max = if waiting.retained { limits::RETAINED_BURST_MAX } else { limits.queue_messages };
        let bytes = self.queue_bytes + waiting.message.cost_bytes();
        let too_much = bytes > limits.queue_bytes && !waiting.retained;
        self.queue.is_empty() || (self.queue.len() < count_max && !too_much)
    }

    /// Puts a message at the end: `keep` is asked for how its place is kept. `Err` gives the message back when the queue is full.
    pub fn push(&mut self, waiting: Waiting, limits: &Limits, keep: impl FnOnce(u64, &Waiting) -> OnDisk) -> Result<(), Waiting> {
        if !self.has_room(&waiting, limits) {
            return Err(waiting);
        }
        self.queue_bytes += waiting.message.cost_bytes();
        let (mut seq, mut on_disk) = (0, OnDisk::NeedNot);
        if waiting.qos != Qos::AtMostOnce {
            self.seq_last += 1;
            seq = self.seq_last;
            on_disk = keep(seq, &waiting);
        }
        self.queue.push_back(Queued { seq, waiting, on_disk, again: false, seen: false, received: false });
        Ok(())
    }

    fn pop(&mut self) -> Option<Queued> {
        let first = self.queue.pop_front()?;
        self.queue_bytes -= first.waiting.message.cost_bytes();
        Some(first)
    }

    /// Takes out what has waited longest, but for what the client may have begun to take exactly once.
    pub fn drop_oldest(&mut self) -> Option<Done> {
        let begun = |q: &Queued| q.received || (q.again && q.waiting.qos == Qos::ExactlyOnce);
        let may_go = |q: &Queued| !begun(q) && q.on_disk != OnDisk::Together;
        let at = self.queue.iter().position(may_go)?;
        let oldest = self.queue.remove(at)?;
        self.queue_bytes -= oldest.waiting.message.cost_bytes();
        Some(Done::of(oldest))
    }

    /// The next thing for the client: first what an earlier line left unfinished, in its old order
    /// [MQTT-4.6.0-1], then the queue while the window of `in_flight_max` is open. What is to arrive
    /// exactly once waits until it is on disk: were it lost after it was sent, the client could take
    /// another message of the same number for a repetition.
    pub fn next(&mut self, now: Millis, in_flight_max: u16, kept: u64) -> Next {
        if let Some(open) = self.in_flight.get(self.sent_here) {
            let slot = slot_of(open.seq);
            let next = match open.received {
                Some(on_disk) if !on_disk.is_safe(kept) => return Next::Nothing,
                Some(_) => Delivery::Release { slot },
                None => delivery(&open.waiting, Some(slot), true, now),
            };
            self.sent_here += 1;
            return Next::Give(next);
        }
        if self.stored.is_some() {
            return Next::Nothing;
        }
        let full = self.in_flight.len() >= usize::from(in_flight_max);
        let Some(first) = self.queue.front() else { return Next::Nothing };
        // One that the client may have begun to take exactly once is brought to its end [MQTT-4.3.3-7].
        let begun = first.received || (first.again && first.waiting.qos == Qos::ExactlyOnce);
        let expired = first.waiting.message.expires.is_some_and(|at| at <= now) && !begun;
        let (slot, qos) = (slot_of(first.seq), first.waiting.qos);
        let blocked = qos != Qos::AtMostOnce && (full || self.in_flight.iter().any(|open| slot_of(open.seq) == slot));
        if first.on_disk == OnDisk::Together {
            // Not even to be dropped: another journal may bring it to the disk behind the word that it is gone.
            return Next::Nothing;
        }
        let held = qos == Qos::ExactlyOnce;
        if !expired && (blocked || (held && !first.on_disk.is_safe(kept))) {
            return Next::Nothing;
        }
        let Some(queued) = self.pop() else { return Next::Nothing };
        if expired {
            return Next::Expired(Done::of(queued));
        }
        let Queued { seq, waiting, on_disk, again, received, .. } = queued;
        if qos == Qos::AtMostOnce {
            return Next::Give(delivery(&waiting, None, false, now));
        }
        let next = match received {
            true => Delivery::Release { slot },
            false => delivery(&waiting, Some(slot), again, now),
        };
        self.in_flight.push(InFlight { seq, waiting, on_disk, received: received.then_some(OnDisk::Yes) });
        self.sent_here += 1;
        Next::Give(next)
    }

    /// The last place that may have been sent, also by an earlier run of the program, which had sent
    /// everything up to the place `before` of what lies on disk.
    pub fn sent_last(&self, before: u64) -> u64 {
        let again = self.queue.iter().take_while(|queued| queued.again).map(|queued| queued.seq);
        let stored = self.stored.map(|_| before.min(self.stored_last));
        self.in_flight.iter().map(|open| open.seq).chain(again).chain(stored).max().unwrap_or(0)
    }

    /// The client has the exactly-once message of `slot`; `keep` is asked for how that is kept, the first time.
    pub fn received(&mut self, slot: Slot, keep: impl FnOnce(u64) -> OnDisk) -> bool {
        match self.in_flight.iter_mut().find(|open| slot_of(open.seq) == slot && open.waiting.qos == Qos::ExactlyOnce) {
            Some(open) => {
                let seq = open.seq;
                open.received.get_or_insert_with(|| keep(seq));
                true
            }
            None => false,
        }
    }

    /// What `slot` waits for, if it is in flight.
    pub fn awaited(&self, slot: Slot) -> Option<Awaited> {
        let open = self.in_flight.iter().find(|open| slot_of(open.seq) == slot)?;
        Some(match open.waiting.qos {
            Qos::ExactlyOnce if open.received.is_some() => Awaited::Ended,
            Qos::ExactlyOnce => Awaited::Received,
            _ => Awaited::Settled,
        })
    }

    /// The exchange of `slot` is over.
    pub fn settle(&mut self, slot: Slot) -> Option<Done> {
        let at = self.in_flight.iter().position(|open| slot_of(open.seq) == slot)?;
        self.sent_here -= usize::from(at < self.sent_here);
        let InFlight { seq, waiting, on_disk, .. } = self.in_flight.remove(at);
        Some(Done { message: waiting.message, seq, on_disk })
    }

    /// What is kept together with others at this place is on disk, or its publisher was told that it is not
    /// and it goes. Whether it was still there.
    pub fn together(&mut self, seq: u64, kept: bool) -> bool {
        let waits = |q: &Queued| q.seq == seq && q.on_disk == OnDisk::Together;
        let Some(at) = self.queue.iter().rposition(waits) else { return false };
        if kept {
            self.queue[at].on_disk = OnDisk::Yes;
        } else if let Some(gone) = self.queue.remove(at) {
            self.queue_bytes -= gone.waiting.message.cost_bytes();
        }
        true
    }

    /// The note of a message could not be kept, and its publisher was told so: it goes, unless it was sent
    /// already. One that may come twice stays for a client that is there, so that it gets all in order.
    pub fn refused(&mut self, number: u64, online: bool) -> bool {
        let Some(at) = self.queue.iter().position(|q| q.on_disk == OnDisk::Noted(number)) else { return false };
        if online && self.queue[at].waiting.qos != Qos::ExactlyOnce {
            self.queue[at].on_disk = OnDisk::NeedNot;
            return false;
        }
        if let Some(gone) = self.queue.remove(at) {
            self.queue_bytes -= gone.waiting.message.cost_bytes();
        }
        true
    }

    /// The line is gone: what is in flight will be sent again on the next. Queued pushes to the `device`
    /// whose session it is come out, because the push room keeps those itself.
    pub fn line_lost(&mut self, device: Option<DeviceNumber>) -> Vec<SharedMessage> {
        self.sent_here = 0;
        let pushed = |q: &Queued| q.waiting.message.receipt.is_some_and(|receipt| device == Some(receipt.device));
        let (tracked, rest) = std::mem::take(&mut self.queue).into_iter().partition(pushed);
        self.queue = rest;
        self.queue_bytes = self.queue.iter().map(|q| q.waiting.message.cost_bytes()).sum();
        tracked.into_iter().map(|q: Queued| q.waiting.message).collect()
    }

    /// Everything still here, for the end of the session, and whether another member of a shared
    /// subscription may have it: not what this client may already have seen at QoS 2 [MQTT-4.8.2-5].
    pub fn into_left(self) -> impl Iterator<Item = (Waiting, bool)> {
        let sent = self.in_flight.into_iter().map(|open| {
            let once = open.waiting.qos == Qos::ExactlyOnce;
            (open.waiting, !once)
        });
        let seen = |q: &Queued| (q.seen || q.received) && q.waiting.qos == Qos::ExactlyOnce;
        sent.chain(self.queue.into_iter().map(move |queued| (!seen(&queued), queued)).map(|(may, queued)| (queued.waiting, may)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Message, Topic, UnixMs};

    use super::*;

    const LIMITS: fn() -> Limits = Limits::default;

    fn volatile(_: u64, _: &Waiting) -> OnDisk {
        OnDisk::NeedNot
    }

    fn waiting(payload: &'static str, qos: Qos) -> Waiting {
        let message = Arc::new(Message::new(Topic::parse("t").unwrap(), payload, UnixMs(0)));
        Waiting { message, qos, as_me: false, retained: false, retain: false, rare: None }
    }

    /// (payload or `release`, slot, again) of the next delivery.
    fn next(backlog: &mut Backlog, window: u16) -> Option<(String, Option<Slot>, bool)> {
        match backlog.next(Millis(0), window, 0) {
            Next::Give(Delivery::Message { message, slot, again, .. }) => {
                Some((String::from_utf8(message.payload.to_vec()).unwrap(), slot, again))
            }
            Next::Give(Delivery::Release { slot }) => Some(("release".into(), Some(slot), true)),
            Next::Expired(_) => Some(("expired".into(), None, false)),
            Next::Nothing => None,
        }
    }

    #[test]
    fn the_window_holds_back_and_order_is_kept() {
        let mut backlog = Backlog::default();
        for payload in ["a", "b", "c"] {
            backlog.push(waiting(payload, Qos::AtLeastOnce), &LIMITS(), volatile).unwrap();
        }
        backlog.push(waiting("d", Qos::AtMostOnce), &LIMITS(), volatile).unwrap();
        assert_eq!(next(&mut backlog, 2), Some(("a".into(), Some(1), false)));
        assert_eq!(next(&mut backlog, 2), Some(("b".into(), Some(2), false)));
        assert_eq!(next(&mut backlog, 2), None, "the window is full, and d must not overtake c");
        assert!(backlog.settle(1).is_some());
        assert!(backlog.settle(1).is_none(), "a second acknowledgement is not one");
        assert_eq!(next(&mut backlog, 2), Some(("c".into(), Some(3), false)));
        assert_eq!(next(&mut backlog, 2), Some(("d".into(), None, false)));
    }

    #[test]
    fn a_new_line_resends_what_was_open_in_order_with_the_same_numbers() {
        let mut backlog = Backlog::default();
        for payload in ["a", "b", "c"] {
            backlog.push(waiting(payload, Qos::ExactlyOnce), &LIMITS(), volatile).unwrap();
        }
        next(&mut backlog, 2);
        next(&mut backlog, 2);
        assert!(backlog.received(1, |_| OnDisk::NeedNot));
        assert!(!backlog.received(9, |_| OnDisk::NeedNot));
        backlog.line_lost(None);
        assert_eq!(next(&mut backlog, 2), Some(("release".into(), Some(1), true)));
        assert_eq!(next(&mut backlog, 2), Some(("b".into(), Some(2), true)));
        assert_eq!(next(&mut backlog, 2), None);
        assert!(backlog.settle(1).is_some());
        assert_eq!(next(&mut backlog, 2), Some(("c".into(), Some(3), false)));
    }

    #[test]
    fn numbers_wrap_and_one_that_is_in_flight_is_not_given_twice() {
        let mut backlog = Backlog { seq_last: u64::from(u16::MAX) - 1, ..Backlog::default() };
        for _ in 0..2 {
            backlog.push(waiting("x", Qos::AtLeastOnce), &LIMITS(), volatile).unwrap();
        }
        assert_eq!(next(&mut backlog, 9).unwrap().1, Some(u16::MAX));
        assert_eq!(next(&mut backlog, 9).unwrap().1, Some(1), "0 is no number");
        backlog.seq_last += u64::from(u16::MAX) - 1;
        backlog.push(waiting("x", Qos::AtLeastOnce), &LIMITS(), volatile).unwrap();
        assert_eq!(next(&mut backlog, 9), None, "1 is taken");
        backlog.settle(1).unwrap();
        assert_eq!(next(&mut backlog, 9).unwrap().1, Some(1));
    }

    #[test]
    fn what_is_to_arrive_once_waits_for_the_disk_and_so_does_its_second_half() {
        let mut backlog = Backlog::default();
        backlog.push(waiting("once", Qos::ExactlyOnce), &LIMITS(), |_, _| OnDisk::Noted(7)).unwrap();
        assert!(matches!(backlog.next(Millis(0), 9, 7), Next::Nothing));
        assert!(matches!(backlog.next(Millis(0), 9, 8), Next::Give(Delivery::Message { slot: Some(1), again: false, .. })));
        assert!(backlog.received(1, |seq| OnDisk::Noted(seq + 9)));
        backlog.line_lost(None);
        assert!(matches!(backlog.next(Millis(0), 9, 10), Next::Nothing));
        assert!(matches!(backlog.next(Millis(0), 9, 11), Next::Give(Delivery::Release { slot: 1 })));
        backlog.push(waiting("gone", Qos::ExactlyOnce), &LIMITS(), |_, _| OnDisk::Noted(20)).unwrap();
        assert!(backlog.refused(20, true) && !backlog.refused(20, true));
        assert_eq!(backlog.queue_bytes, 0);
    }

    #[test]
    fn what_lay_on_disk_comes_before_what_came_since() {
        let mut backlog = Backlog::returned(3, vec![5]);
        assert_eq!(backlog.claims.begin(5), crate::claims::Claim::Kept);
        backlog.push(waiting("new", Qos::AtLeastOnce), &LIMITS(), volatile).unwrap();
        assert_eq!(next(&mut backlog, 9), None, "what is on disk comes first");
        assert!(backlog.take_resting() && !backlog.take_resting());
        let row = |seq, payload, qos, received| ReturnedWaiting { seq, waiting: waiting(payload, qos), expires: None, received };
        let rows =
            vec![row(1, "a", Qos::ExactlyOnce, true), row(2, "b", Qos::AtLeastOnce, false), row(3, "c", Qos::AtLeastOnce, false)];
        // "new" was written before the rest was read.
        let rows = rows.into_iter().chain([row(4, "new", Qos::AtLeastOnce, false)]).collect();
        backlog.stored_came(Some(rows), 2, 0);
        assert_eq!(next(&mut backlog, 9), Some(("release".into(), Some(1), true)));
        assert_eq!(next(&mut backlog, 9), Some(("b".into(), Some(2), true)));
        assert_eq!(next(&mut backlog, 9), Some(("c".into(), Some(3), false)));
        assert_eq!(next(&mut backlog, 9), Some(("new".into(), Some(4), false)));
        assert_eq!(next(&mut backlog, 9), None);
    }

    #[test]
    fn the_queue_is_bounded_in_count_and_bytes() {
        let mut backlog = Backlog::default();
        let pushed = (0..).take_while(|_| backlog.push(waiting("x", Qos::AtMostOnce), &LIMITS(), volatile).is_ok()).count();
        assert_eq!(pushed, limits::QUEUE_MESSAGES_MAX);
        let mut backlog = Backlog::default();
        let big = Arc::new(Message::new(Topic::parse("t").unwrap(), vec![0; limits::QUEUE_BYTES_MAX / 2], UnixMs(0)));
        let big = || Waiting { message: big.clone(), ..waiting("", Qos::AtMostOnce) };
        assert!(backlog.push(big(), &LIMITS(), volatile).is_ok());
        assert!(backlog.push(big(), &LIMITS(), volatile).is_err());
    }

    #[test]
    fn what_is_too_old_is_not_given() {
        let mut backlog = Backlog::default();
        let message = Message { expires: Some(Millis(10)), ..Message::new(Topic::parse("t").unwrap(), "old", UnixMs(0)) };
        backlog.push(Waiting { message: Arc::new(message), ..waiting("", Qos::AtLeastOnce) }, &LIMITS(), volatile).unwrap();
        assert!(matches!(backlog.next(Millis(10), 9, 0), Next::Expired(_)));
        assert!(backlog.is_empty());
    }
}
