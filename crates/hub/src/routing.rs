//! From a publish to everyone who wants it: sessions of this shard directly, other shards through one
//! broadcast, the platform through events. Order is kept per publisher, because every step is a queue.

use std::sync::Arc;

use bytes::Bytes;
use contract::{
    Accepted, Answer, Close, ConnId, Ending, Event, Fault, Note, PromiseId, Publish, Rare, Refusal, SessionPlace, Step, Ticket,
    Waiting,
};
use model::limits::QueuePolicy;
use model::message::SharedMessage;
use model::topic::Space;
use model::{DeviceNumber, Filter, Message, Millis, Party, Qos, UnixMs};

use crate::access;
use crate::backlog::OnDisk;
use crate::claims::Claim;
use crate::commons::unix_at;
use crate::journal::{Publishing, Then, Waits};
use crate::mail::{Broadcast, Gathered, Mail};
use crate::shard::Shard;
use crate::shared::Member;

/// What a device's publish in its own space is to the platform.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// A room must keep it before it is acknowledged.
    Kept,
    /// A question to the program; not for other subscribers.
    Question,
    /// For the one who has a number, and for nobody else.
    Addressed,
    /// Told, not kept.
    Told,
}

fn own_kind(rest: &str) -> Own {
    match rest.split('/').next() {
        Some("data" | "answer") => Own::Kept,
        Some("twin") if rest == "twin/reported" => Own::Kept,
        Some("time") => Own::Question,
        Some("to") => Own::Addressed,
        _ => Own::Told,
    }
}

impl Shard {
    /// A peer's publish. An exactly-once publish is taken once, however often it comes. Acknowledgements
    /// leave in the order of their publishes [MQTT-4.6.0-2].
    pub(crate) fn publish(&mut self, conn: ConnId, publish: Publish<'_>, now: Millis, unix: UnixMs) -> Accepted {
        let Some(at) = self.session_of(conn) else { return Accepted::Refused(Refusal::Unavailable) };
        let (qos, id, token) = (publish.qos, publish.id, publish.token);
        if qos == Qos::AtMostOnce {
            return self.take(at, conn, publish, now, unix);
        }
        let mut accepted = Accepted::Now;
        if qos == Qos::ExactlyOnce {
            match self.sessions[at].backlog_mut().claims.begin(id) {
                // What is owed already is not owed twice.
                Claim::Waits if self.sessions[at].owes(token) => return Accepted::Later,
                Claim::Waits => accepted = Accepted::Later,
                Claim::Full => accepted = Accepted::Refused(Refusal::Quota),
                Claim::Kept => {}
                Claim::New => {
                    accepted = self.take(at, conn, publish, now, unix);
                    let claims = &mut self.sessions[at].backlog_mut().claims;
                    match accepted {
                        Accepted::Now => {}
                        Accepted::Later => claims.waits(id, token),
                        Accepted::Refused(_) => claims.forget(id),
                    }
                }
            }
        } else {
            accepted = self.take(at, conn, publish, now, unix);
        }
        let result = match accepted {
            Accepted::Now => Some(Ok(())),
            Accepted::Later => None,
            Accepted::Refused(refusal) => Some(Err(refusal)),
        };
        if self.sessions[at].owes_before(token, result) { Accepted::Later } else { accepted }
    }

    /// From the rules to the queues, and to those who must keep it.
    fn take(&mut self, at: usize, conn: ConnId, publish: Publish<'_>, now: Millis, unix: UnixMs) -> Accepted {
        let party = self.sessions[at].party.clone();
        self.counters.published += 1;
        let topic = match access::topic_to_publish(&party, publish.topic, &self.commons.limits) {
            Ok(topic) => topic,
            Err(refusal) => {
                self.deny(at, refusal, "publish to", publish.topic, unix);
                return Accepted::Refused(refusal);
            }
        };
        let message = Arc::new(Message {
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            source: party.device(),
            expires: publish.expiry_s.map(|s| now.plus_s(u64::from(s))),
            props: publish.props,
            ..Message::new(topic, Bytes::new(), unix)
        });
        let own = match (&*party, message.topic.space()) {
            (Party::Device { number, .. }, Space::Device { rest, .. }) => Some((*number, own_kind(rest))),
            _ => None,
        };
        let place = SessionPlace { index: at as u32, epoch: self.sessions[at].epoch };
        let claims = self.sessions[at].durable().filter(|_| publish.qos == Qos::ExactlyOnce);
        let addressed = matches!(own, Some((_, Own::Addressed)));
        let waits = publish.qos != Qos::AtMostOnce && (addressed || message.retain || claims.is_some() || self.commons.keeps());
        if waits && self.journal.is_full() {
            return Accepted::Refused(Refusal::Quota);
        }
        let promise = waits.then(|| {
            let token = publish.token;
            let then = match claims {
                // The claim and everywhere that the message waits are kept together: a claim alone would have
                // us think that the rest is there as well, and the rest alone that it never came.
                Some(id) => {
                    let (from, client) = (Note::Claimed(id, publish.id), Some((place, conn, token)));
                    Then::Gathered(Box::new(Publishing { from, client }))
                }
                None => Then::Publish { session: place, conn, token },
            };
            self.journal.begin(then)
        });
        self.gathering = claims.and(promise);
        let accepted = self.spread(&message, at, own, promise, publish.token, now);
        self.gathering = None;
        match promise.map(|promise| self.journal.seal(promise, claims.is_some())) {
            // Nobody but perhaps a room must keep it.
            None | Some(Some(Ok(()))) => accepted,
            Some(Some(Err(refusal))) => Accepted::Refused(refusal),
            Some(None) if matches!(accepted, Accepted::Refused(_)) => accepted,
            Some(None) => Accepted::Later,
        }
    }

    /// Gives a publish to everyone: the retained messages, queues, the platform.
    fn spread(
        &mut self,
        message: &SharedMessage,
        at: usize,
        own: Option<(DeviceNumber, Own)>,
        promise: Option<PromiseId>,
        token: u32,
        now: Millis,
    ) -> Accepted {
        if message.retain
            && !matches!(own, Some((_, Own::Question | Own::Addressed)))
            && let Err(refusal) = self.retain(message, promise, now)
        {
            if let Some(promise) = promise {
                self.journal.fail(promise, refusal);
            }
            return Accepted::Refused(refusal);
        }
        let Some((device, kind)) = own else {
            if self.bus.watched() {
                self.work.events.push(Event::Passed { message: message.clone() });
            }
            self.route(message, Some(at), promise, now);
            return Accepted::Now;
        };
        let keep = kind == Own::Kept && message.qos != Qos::AtMostOnce;
        let asks = keep || promise.filter(|_| kind == Own::Addressed).is_some();
        let session = &self.sessions[at];
        let place = SessionPlace { index: at as u32, epoch: session.epoch };
        let ticket =
            session.conn.filter(|_| asks).map(|conn| Ticket { shard: self.index, conn, session: Some(place), promise, token });
        if kind == Own::Addressed {
            return self.write_to(message, device, at, ticket, promise, now);
        }
        if keep {
            self.journal.also(promise);
        }
        self.work.events.push(Event::Up { device, message: message.clone(), ticket });
        if kind != Own::Question {
            self.route(message, Some(at), promise, now);
        }
        if keep { Accepted::Later } else { Accepted::Now }
    }

    /// Sends a publish on its way to the number that it names.
    fn write_to(
        &mut self,
        message: &SharedMessage,
        device: DeviceNumber,
        at: usize,
        ticket: Option<Ticket>,
        promise: Option<PromiseId>,
        now: Millis,
    ) -> Accepted {
        self.work.events.push(Event::Up { device, message: message.clone(), ticket: None });
        let Err(refusal) = self.address(device, message, ticket, promise, now) else { return Accepted::Now };
        if let Some(promise) = promise {
            self.journal.fail(promise, refusal);
        }
        if refusal == Refusal::NotAllowed {
            self.deny(at, refusal, "send to", message.topic.as_str(), message.at);
        }
        Accepted::Refused(refusal)
    }

    /// Delivers here, to one member of each group, and tells the other shards. `from` is the session that
    /// published it, which may not want its own;
    /// `promise` waits for all who must keep it.
    pub(crate) fn route(&mut self, message: &SharedMessage, from: Option<usize>, promise: Option<PromiseId>, now: Millis) {
        self.route_here(message, from, promise, now);
        if !self.commons.groups.is_empty() {
            let mut chosen = Vec::new();
            self.commons.groups.choose(message.topic.as_str(), |group, filter, member| {
                chosen.push((member, (group.to_owned(), filter.clone())));
            });
            for (member, group) in chosen {
                self.give_member(member, message.clone(), group, promise, now);
            }
        }
        if self.shards > 1 {
            // All others are asked if one of them may have to keep it, or to wait for that.
            let waits = self.gathering.is_some() && message.qos == Qos::ExactlyOnce;
            let promise = promise.filter(|_| waits || self.commons.keeps_beside(self.keeping));
            for _ in 1..self.shards {
                self.journal.also(promise);
            }
            let safe = self.safe(promise);
            self.work.broadcast.push(Broadcast { message: message.clone(), safe });
        }
    }

    /// Delivers to the sessions of this shard. A push is given only to those of its device that have a
    /// line; others may watch it but say nothing about its fate.
    pub(crate) fn route_here(&mut self, message: &SharedMessage, from: Option<usize>, promise: Option<PromiseId>, now: Millis) {
        if message.expires.is_some_and(|at| at <= now) {
            self.counters.expired += 1;
            return;
        }
        let mut found = std::mem::take(&mut self.found);
        self.subscriptions.matches(message.topic.as_str(), &mut found);
        for wishes in found.chunk_by(|a, b| a.session == b.session) {
            let at = wishes[0].session as usize;
            let own = from == Some(at);
            let wanted = wishes.iter().filter(|wish| !(own && wish.no_local));
            // One copy, however many filters matched, at the highest QoS that one of them wants
            // [MQTT-3.3.4-2], with the numbers of all of them [MQTT-3.3.4-3].
            let Some(best) = wanted.clone().max_by_key(|wish| wish.qos) else { continue };
            if best.checked && !access::may_receive(&self.sessions[at].party, &message.topic) {
                continue;
            }
            let ids: Vec<u32> = wanted.clone().map(|wish| wish.id).filter(|id| *id != 0).collect();
            let waiting = Waiting {
                message: message.clone(),
                qos: best.qos.min(message.qos),
                as_me: best.as_me,
                retained: false,
                retain: message.retain && wanted.clone().any(|wish| wish.as_published),
                rare: (!ids.is_empty()).then(|| Box::new(Rare { ids, group: None })),
            };
            self.give(at, waiting, promise, now);
        }
        found.clear();
        self.found = found;
    }

    /// Puts a message into a session's queue, and into the journal if it is to survive us there.
    pub(crate) fn give(&mut self, at: usize, waiting: Waiting, promise: Option<PromiseId>, now: Millis) {
        // Gone while this message was on its way round: a full queue may end a line, and a line a session.
        let Some(session) = self.sessions.get_mut(at) else { return };
        let addressee = waiting.message.receipt.is_some_and(|r| session.party.device() == Some(r.device));
        // Without a line: QoS 0 is not kept, and a push is kept by the push room.
        if session.conn.is_none() && (waiting.qos == Qos::AtMostOnce || addressee) {
            return;
        }
        match self.enqueue(at, waiting, promise, now) {
            Ok(()) => match self.sessions[at].conn {
                Some(conn) => self.work.ready.push(conn),
                None => self.load(at),
            },
            Err(waiting) => self.queue_full(at, waiting, promise, now),
        }
    }

    /// Puts a message into a session's queue. `Err` gives it back when the queue is full.
    pub(crate) fn enqueue(
        &mut self,
        at: usize,
        waiting: Waiting,
        promise: Option<PromiseId>,
        now: Millis,
    ) -> Result<(), Waiting> {
        let session = &mut self.sessions[at];
        let addressee = waiting.message.receipt.is_some_and(|r| session.party.device() == Some(r.device));
        let durable = session.durable().filter(|_| !addressee);
        let (online, place) = (session.conn.is_some(), SessionPlace { index: at as u32, epoch: session.epoch });
        let expires = unix_at(self.time, waiting.message.expires);
        let (commons, journal, gathered, shard) = (&self.commons, &mut self.journal, &mut self.gathered, self.index);
        let gathering = self.gathering;
        let keep = |seq: u64, waiting: &Waiting| {
            let held = waiting.qos == Qos::ExactlyOnce;
            let note = durable.map(|session| {
                waiting.message.number.get_or(|| commons.next_number());
                Note::Queued { session, seq, waiting: waiting.clone(), expires }
            });
            let exactly_once = waiting.message.qos == Qos::ExactlyOnce;
            if let Some(promise) = gathering.filter(|_| exactly_once || note.is_some()) {
                gathered.entry(promise).or_default().push(Gathered::Queued { note, shard, session: place, seq });
                return OnDisk::Together;
            }
            let Some(note) = note else { return OnDisk::NeedNot };
            // One who is there may acknowledge it before it is worth writing down.
            let due = if online && !held { now.plus_ms(u64::from(commons.limits.commit_window_ms)) } else { now };
            OnDisk::Noted(journal.note_for(note, promise, Some(Waits { session: place, held }), due))
        };
        session.enqueue(waiting, &commons.limits, keep)
    }

    /// A session's queue has no room for `waiting`: its policy decides. The owner is told once a line.
    fn queue_full(&mut self, at: usize, waiting: Waiting, promise: Option<PromiseId>, now: Millis) {
        let policy = self.sessions[at].queue_policy;
        let came = waiting.message.at;
        if policy == QueuePolicy::DropOldest {
            while !self.sessions[at].backlog_mut().has_room(&waiting, &self.commons.limits) {
                let Some(oldest) = self.sessions[at].backlog_mut().drop_oldest() else { break };
                self.forget_place(at, &oldest, now);
                self.dropped(at, &oldest.message);
            }
        }
        // Nothing older may go where all of it is being taken exactly once, or is on its way to the disk.
        if policy == QueuePolicy::DropOldest && self.sessions[at].backlog_mut().has_room(&waiting, &self.commons.limits) {
            self.give(at, waiting, promise, now);
        } else {
            self.dropped(at, &waiting.message);
        }
        let session = &mut self.sessions[at];
        let (conn, device) = (session.conn, session.party.device());
        let first = conn.is_some() && !std::mem::replace(&mut session.told_full, true);
        let why = format!("its queue is full ({}): it reads too slowly for what it subscribed to", policy.as_str());
        let close = Close { fault: Fault::Line, why: why.into() };
        if let Some(conn) = conn.filter(|_| first) {
            if let Some((protocol, remote)) = self.peer_of(conn) {
                self.work.events.push(Event::Faulted { protocol, remote, device, close: close.clone(), at: came });
            }
            if policy == QueuePolicy::Disconnect {
                self.work.answers.push((conn, Answer::Closing { ending: Ending::QueueFull, close }));
            }
        }
    }

    /// A message that was for a session is given to nobody.
    fn dropped(&mut self, at: usize, message: &SharedMessage) {
        self.counters.dropped += 1;
        self.step_of(at, message, Step::Lost, message.at);
    }

    /// Gives a message to the member of a group that was chosen for it.
    fn give_member(
        &mut self,
        member: Member,
        message: SharedMessage,
        group: (String, Filter),
        promise: Option<PromiseId>,
        now: Millis,
    ) {
        let Member { shard, session, entry, .. } = member;
        let ids = if entry.id == 0 { Vec::new() } else { vec![entry.id] };
        let waiting = Waiting {
            qos: entry.qos.min(message.qos),
            as_me: entry.as_me,
            retained: false,
            retain: message.retain && entry.as_published,
            rare: Some(Box::new(Rare { ids, group: Some(group) })),
            message,
        };
        if shard == self.index {
            self.give_shared(session, waiting, promise, now);
        } else {
            self.journal.also(promise);
            let safe = self.safe(promise);
            self.work.posts.push((shard, Mail::Shared { session, waiting: Box::new(waiting), safe }));
        }
    }

    /// A message for a member that lives here; if it has gone meanwhile, for another.
    pub(crate) fn give_shared(&mut self, session: SessionPlace, waiting: Waiting, promise: Option<PromiseId>, now: Millis) {
        match self.sessions.get(session.index as usize) {
            Some(found) if found.epoch == session.epoch => self.give(session.index as usize, waiting, promise, now),
            _ => self.give_another(waiting, promise, now),
        }
    }

    /// A message that its member can no longer take goes to another of the group [MQTT-4.8.2-4].
    pub(crate) fn give_another(&mut self, waiting: Waiting, promise: Option<PromiseId>, now: Millis) {
        let Some((name, filter)) = waiting.rare.and_then(|rare| rare.group) else { return };
        if waiting.message.expires.is_some_and(|at| at <= now) {
            self.counters.expired += 1;
            return;
        }
        match self.commons.groups.choose_of(&name, &filter, waiting.message.topic.as_str()) {
            Some(member) => self.give_member(member, waiting.message, (name, filter), promise, now),
            None => self.counters.dropped += 1,
        }
    }

    /// A push for a device that lives here.
    pub(crate) fn push(&mut self, message: &SharedMessage, now: Millis, unix: UnixMs) {
        let Some(receipt) = message.receipt else { return };
        let mut found = std::mem::take(&mut self.found);
        self.subscriptions.matches(message.topic.as_str(), &mut found);
        let wanted = found.drain(..).any(|entry| {
            let session = &self.sessions[entry.session as usize];
            session.conn.is_some() && session.party.device() == Some(receipt.device)
        });
        self.found = found;
        if wanted {
            self.route(message, None, None, now);
        } else {
            let online = self.lines_of(receipt.device).next().is_some();
            self.step(message, Step::Nobody { online }, unix);
        }
    }

    /// Reports a step of a push, if the session is its device's: others may watch but say nothing about its fate.
    pub(crate) fn step_of(&mut self, at: usize, message: &Message, step: Step, unix: UnixMs) {
        if message.receipt.is_some_and(|r| self.sessions[at].party.device() == Some(r.device)) {
            self.step(message, step, unix);
        }
    }

    /// Reports a step of a push.
    pub(crate) fn step(&mut self, message: &Message, step: Step, at: UnixMs) {
        if let Some(receipt) = message.receipt {
            self.work.events.push(Event::Receipt { receipt, step, at });
        }
    }

    /// Counts a refusal and tells the owner of the first few.
    pub(crate) fn deny(&mut self, session: usize, refusal: Refusal, verb: &str, topic: &str, at: UnixMs) {
        self.counters.denied += 1;
        // The topic is the peer's text: cut it, so that a hostile one cannot flood the log.
        let topic: String = topic.chars().take(80).collect();
        self.tell_owner(session, format!("{verb} {topic:?}: {refusal}"), at);
    }

    /// Tells the owner what happened on a line, the first few times a line.
    pub(crate) fn tell_owner(&mut self, session: usize, why: String, at: UnixMs) {
        let session = &mut self.sessions[session];
        if session.denials_told >= model::limits::DENIALS_TOLD_MAX {
            return;
        }
        session.denials_told += 1;
        let why = match &*session.party {
            Party::Account { name, .. } => format!("account {name:?}: {why}"),
            _ => why,
        };
        let (device, conn) = (session.party.device(), session.conn);
        if let Some((protocol, remote)) = conn.and_then(|conn| self.peer_of(conn)) {
            let close = Close { fault: Fault::Refused, why: why.into() };
            self.work.events.push(Event::Faulted { protocol, remote, device, close, at });
        }
    }
}
