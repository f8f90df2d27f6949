//! What waits for a client: its queue, what is in flight, and the exactly-once publishes it has begun.
//! Boxed and made on first use, so that a session with nothing waiting pays one pointer.

use std::collections::VecDeque;

use contract::{Awaited, Delivery, Released, Slot};
use model::limits::{self, Limits};
use model::message::SharedMessage;
use model::{Filter, Millis, Qos};

/// A message that waits.
#[derive(Debug)]
pub struct Waiting {
    /// The message.
    pub message: SharedMessage,
    /// The QoS of this delivery.
    pub qos: Qos,
    /// The device subscribed with `me/…`.
    pub as_me: bool,
    /// Sent because the client has just subscribed.
    pub retained: bool,
    /// The retain flag to show.
    pub retain: bool,
    /// What few messages have.
    pub rare: Option<Box<Rare>>,
}

/// What few waiting messages have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// The numbers of the subscriptions that brought it.
    pub ids: Vec<u32>,
    /// The group and filter of the shared subscription that brought it.
    pub group: Option<(String, Filter)>,
}

/// A message that was sent and not settled.
#[derive(Debug)]
struct InFlight {
    slot: Slot,
    waiting: Waiting,
    /// The client has it and owes only the end of the exchange.
    received: bool,
}

impl Waiting {
    fn delivery(&self, slot: Option<Slot>, again: bool, now: Millis) -> Delivery {
        Delivery::Message {
            message: self.message.clone(),
            as_me: self.as_me,
            qos: self.qos,
            slot,
            retained: self.retained,
            again,
            retain: self.retain,
            ids: self.rare.as_ref().map(|rare| rare.ids.clone()).unwrap_or_default(),
            expiry_s: self.message.seconds_left(now),
        }
    }
}

/// What waits for one client.
#[derive(Debug, Default)]
pub struct Backlog {
    queue: VecDeque<Waiting>,
    queue_bytes: usize,
    in_flight: Vec<InFlight>,
    /// How many of `in_flight` have been sent on the present line.
    sent_here: usize,
    slot_last: Slot,
    inbound: Vec<Inbound>,
}

/// An exactly-once publish that the client has begun and not ended.
#[derive(Debug)]
struct Inbound {
    id: u16,
    /// The token under which somebody is still keeping it.
    waits: Option<u32>,
}

/// What the id of an exactly-once publish tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is new.
    New,
    /// It came before and is kept.
    Kept,
    /// It came before and is still being kept.
    Waits,
    /// Too many are open.
    Full,
}

/// What [`Backlog::next`] found.
pub enum Next {
    /// Something to give to the client.
    Give(Delivery),
    /// A message whose time had run out, dropped. Ask again.
    Expired(SharedMessage),
    /// Nothing now.
    Nothing,
}

impl Backlog {
    /// Whether there is nothing worth keeping.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty() && self.inbound.is_empty()
    }

    /// Whether [`Backlog::next`] may have something.
    pub fn has_next(&self) -> bool {
        self.sent_here < self.in_flight.len() || !self.queue.is_empty()
    }

    /// Puts a message at the end. `Err` gives it back when the queue is full. Retained messages of a new
    /// subscription have a wider limit: the client asked for all of them at once.
    pub fn push(&mut self, waiting: Waiting, limits: &Limits) -> Result<(), Waiting> {
        let count_max = if waiting.retained { limits::RETAINED_BURST_MAX } else { limits.queue_messages };
        let bytes = self.queue_bytes + waiting.message.cost_bytes();
        let too_much = bytes > limits.queue_bytes && !waiting.retained && !self.queue.is_empty();
        if self.queue.len() >= count_max || too_much {
            return Err(waiting);
        }
        self.queue_bytes = bytes;
        self.queue.push_back(waiting);
        Ok(())
    }

    /// Takes out what has waited longest.
    pub fn drop_oldest(&mut self) -> Option<Waiting> {
        let oldest = self.queue.pop_front()?;
        self.queue_bytes -= oldest.message.cost_bytes();
        Some(oldest)
    }

    /// The next thing for the client: first what an earlier line left unfinished, in its old order
    /// [MQTT-4.6.0-1], then the queue while the window of `in_flight_max` is open.
    pub fn next(&mut self, now: Millis, in_flight_max: u16) -> Next {
        if let Some(open) = self.in_flight.get(self.sent_here) {
            self.sent_here += 1;
            return Next::Give(match open.received {
                true => Delivery::Release { slot: open.slot },
                false => open.waiting.delivery(Some(open.slot), true, now),
            });
        }
        let full = self.in_flight.len() >= usize::from(in_flight_max);
        match self.queue.front() {
            Some(first) if first.qos == Qos::AtMostOnce || !full => {}
            _ => return Next::Nothing,
        }
        let Some(waiting) = self.queue.pop_front() else { return Next::Nothing };
        self.queue_bytes -= waiting.message.cost_bytes();
        if waiting.message.expires.is_some_and(|at| at <= now) {
            return Next::Expired(waiting.message);
        }
        if waiting.qos == Qos::AtMostOnce {
            return Next::Give(waiting.delivery(None, false, now));
        }
        let slot = self.free_slot();
        let delivery = waiting.delivery(Some(slot), false, now);
        self.in_flight.push(InFlight { slot, waiting, received: false });
        self.sent_here += 1;
        Next::Give(delivery)
    }

    /// The next number after the last given that is not in flight. The window is far smaller than the
    /// number space, so one is always free.
    fn free_slot(&mut self) -> Slot {
        loop {
            self.slot_last = self.slot_last.checked_add(1).unwrap_or(1);
            if !self.in_flight.iter().any(|open| open.slot == self.slot_last) {
                return self.slot_last;
            }
        }
    }

    /// The client has the exactly-once message of `slot`.
    pub fn received(&mut self, slot: Slot) -> bool {
        match self.in_flight.iter_mut().find(|open| open.slot == slot && open.waiting.qos == Qos::ExactlyOnce) {
            Some(open) => {
                open.received = true;
                true
            }
            None => false,
        }
    }

    /// What `slot` waits for, if it is in flight.
    pub fn awaited(&self, slot: Slot) -> Option<Awaited> {
        let open = self.in_flight.iter().find(|open| open.slot == slot)?;
        Some(match open.waiting.qos {
            Qos::ExactlyOnce if open.received => Awaited::Ended,
            Qos::ExactlyOnce => Awaited::Received,
            _ => Awaited::Settled,
        })
    }

    /// The exchange of `slot` is over.
    pub fn settle(&mut self, slot: Slot) -> Option<SharedMessage> {
        let at = self.in_flight.iter().position(|open| open.slot == slot)?;
        self.sent_here -= usize::from(at < self.sent_here);
        Some(self.in_flight.remove(at).waiting.message)
    }

    /// Begins the exactly-once publish `id`.
    pub fn claim(&mut self, id: u16) -> Claim {
        match self.inbound.iter().find(|open| open.id == id) {
            Some(Inbound { waits: None, .. }) => Claim::Kept,
            Some(_) => Claim::Waits,
            None if self.inbound.len() >= limits::INBOUND_OPEN_MAX => Claim::Full,
            None => {
                self.inbound.push(Inbound { id, waits: None });
                Claim::New
            }
        }
    }

    /// Somebody must keep `id` first, and will answer under `token`.
    pub fn claim_waits(&mut self, id: u16, token: u32) {
        if let Some(open) = self.inbound.iter_mut().find(|open| open.id == id) {
            open.waits = Some(token);
        }
    }

    /// What waited under `token` is kept, or is not: then it must count as new when it comes again.
    /// Whether anything waited under it.
    pub fn claim_answered(&mut self, token: u32, kept: bool) -> bool {
        let Some(at) = self.inbound.iter().position(|open| open.waits == Some(token)) else { return false };
        if kept {
            self.inbound[at].waits = None;
        } else {
            self.inbound.swap_remove(at);
        }
        true
    }

    /// Forgets `id`, which was not taken after all.
    pub fn disclaim(&mut self, id: u16) {
        self.inbound.retain(|open| open.id != id);
    }

    /// Ends the exactly-once publish `id`.
    pub fn release(&mut self, id: u16) -> Released {
        match self.inbound.iter().position(|open| open.id == id) {
            None => Released::Unknown,
            Some(at) if self.inbound[at].waits.is_some() => Released::TooEarly,
            Some(at) => {
                self.inbound.swap_remove(at);
                Released::Done
            }
        }
    }

    /// The line is gone: what is in flight will be sent again on the next. Queued messages that carry a
    /// receipt come out, because the push room keeps those itself.
    pub fn line_lost(&mut self) -> Vec<SharedMessage> {
        self.sent_here = 0;
        let (tracked, rest) = std::mem::take(&mut self.queue).into_iter().partition(|w| w.message.receipt.is_some());
        self.queue = rest;
        self.queue_bytes = self.queue.iter().map(|w| w.message.cost_bytes()).sum();
        tracked.into_iter().map(|w: Waiting| w.message).collect()
    }

    /// Everything still here, for the end of the session, and whether another member of a shared
    /// subscription may have it: not what this client may already have seen at QoS 2 [MQTT-4.8.2-5].
    pub fn into_left(self) -> impl Iterator<Item = (Waiting, bool)> {
        let sent = self.in_flight.into_iter().map(|open| {
            let once = open.waiting.qos == Qos::ExactlyOnce;
            (open.waiting, !once)
        });
        sent.chain(self.queue.into_iter().map(|waiting| (waiting, true)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Message, Topic, UnixMs};

    use super::*;

    const LIMITS: fn() -> Limits = Limits::default;

    fn waiting(payload: &'static str, qos: Qos) -> Waiting {
        let message = Arc::new(Message::new(Topic::parse("t").unwrap(), payload, UnixMs(0)));
        Waiting { message, qos, as_me: false, retained: false, retain: false, rare: None }
    }

    /// (payload or `release`, slot, again) of the next delivery.
    fn next(backlog: &mut Backlog, window: u16) -> Option<(String, Option<Slot>, bool)> {
        match backlog.next(Millis(0), window) {
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
            backlog.push(waiting(payload, Qos::AtLeastOnce), &LIMITS()).unwrap();
        }
        backlog.push(waiting("d", Qos::AtMostOnce), &LIMITS()).unwrap();
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
            backlog.push(waiting(payload, Qos::ExactlyOnce), &LIMITS()).unwrap();
        }
        next(&mut backlog, 2);
        next(&mut backlog, 2);
        assert!(backlog.received(1));
        assert!(!backlog.received(9));
        backlog.line_lost();
        assert_eq!(next(&mut backlog, 2), Some(("release".into(), Some(1), true)));
        assert_eq!(next(&mut backlog, 2), Some(("b".into(), Some(2), true)));
        assert_eq!(next(&mut backlog, 2), None);
        assert!(backlog.settle(1).is_some());
        assert_eq!(next(&mut backlog, 2), Some(("c".into(), Some(3), false)));
    }

    #[test]
    fn numbers_wrap_and_skip_what_is_in_flight() {
        let mut backlog = Backlog { slot_last: u16::MAX - 1, ..Backlog::default() };
        for _ in 0..4 {
            backlog.push(waiting("x", Qos::AtLeastOnce), &LIMITS()).unwrap();
        }
        assert_eq!(next(&mut backlog, 9).unwrap().1, Some(u16::MAX));
        assert_eq!(next(&mut backlog, 9).unwrap().1, Some(1));
        backlog.slot_last = u16::MAX - 1;
        assert_eq!(next(&mut backlog, 9).unwrap().1, Some(2), "65535 and 1 are taken, 0 is no number");
    }

    #[test]
    fn the_queue_is_bounded_in_count_and_bytes() {
        let mut backlog = Backlog::default();
        let pushed = (0..).take_while(|_| backlog.push(waiting("x", Qos::AtMostOnce), &LIMITS()).is_ok()).count();
        assert_eq!(pushed, limits::QUEUE_MESSAGES_MAX);
        let mut backlog = Backlog::default();
        let big = Arc::new(Message::new(Topic::parse("t").unwrap(), vec![0; limits::QUEUE_BYTES_MAX / 2], UnixMs(0)));
        let big = || Waiting { message: big.clone(), ..waiting("", Qos::AtMostOnce) };
        assert!(backlog.push(big(), &LIMITS()).is_ok());
        assert!(backlog.push(big(), &LIMITS()).is_err());
    }

    #[test]
    fn open_publishes_are_remembered_and_bounded() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.claim(7), Claim::New);
        assert_eq!(backlog.claim(7), Claim::Kept);
        backlog.claim_waits(7, 70);
        assert_eq!((backlog.claim(7), backlog.release(7)), (Claim::Waits, Released::TooEarly));
        assert!(backlog.claim_answered(70, true) && !backlog.claim_answered(70, true));
        assert_eq!((backlog.release(7), backlog.release(7)), (Released::Done, Released::Unknown));
        backlog.claim(8);
        backlog.claim_waits(8, 80);
        assert!(backlog.claim_answered(80, false));
        assert_eq!(backlog.claim(8), Claim::New, "what could not be kept counts as new");
        backlog.disclaim(8);
        assert!(backlog.is_empty());
        for id in 0..limits::INBOUND_OPEN_MAX as u16 {
            assert_eq!(backlog.claim(id), Claim::New);
        }
        assert_eq!(backlog.claim(u16::MAX), Claim::Full);
    }

    #[test]
    fn what_is_too_old_is_not_given() {
        let mut backlog = Backlog::default();
        let message = Message { expires: Some(Millis(10)), ..Message::new(Topic::parse("t").unwrap(), "old", UnixMs(0)) };
        backlog.push(Waiting { message: Arc::new(message), ..waiting("", Qos::AtLeastOnce) }, &LIMITS()).unwrap();
        assert!(matches!(backlog.next(Millis(10), 9), Next::Expired(_)));
        assert!(backlog.is_empty());
    }
}
