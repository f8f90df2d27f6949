//! From a publish to everyone who wants it: sessions of this shard directly, other shards through one
//! broadcast, the platform through events. Order is kept per publisher, because every step is a queue.

use std::sync::Arc;

use bytes::Bytes;
use contract::{Accepted, Answer, Close, ConnId, Ending, Event, Fault, Publish, Refusal, SessionPlace, Step, Ticket};
use model::limits::QueuePolicy;
use model::message::SharedMessage;
use model::topic::Space;
use model::{Filter, Message, Millis, Party, Qos, UnixMs};

use crate::access;
use crate::backlog::{Claim, Rare, Waiting};
use crate::mail::Mail;
use crate::shard::Shard;
use crate::shared::Member;

/// What a device's publish in its own space is to the platform.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// A room must keep it before it is acknowledged.
    Kept,
    /// A question to the program; not for other subscribers.
    Question,
    /// Told, not kept.
    Told,
}

fn own_kind(rest: &str) -> Own {
    match rest.split('/').next() {
        Some("data" | "answer") => Own::Kept,
        Some("time") => Own::Question,
        _ => Own::Told,
    }
}

impl Shard {
    /// A peer's publish. An exactly-once publish is taken once, however often it comes.
    pub(crate) fn publish(&mut self, conn: ConnId, publish: Publish<'_>, now: Millis, unix: UnixMs) -> Accepted {
        let Some(session) = self.session_of(conn) else { return Accepted::Refused(Refusal::Unavailable) };
        if publish.qos != Qos::ExactlyOnce {
            return self.take(session, conn, publish, now, unix);
        }
        match self.sessions[session].backlog_mut().claim(publish.id) {
            Claim::Kept => return Accepted::Now,
            Claim::Waits => return Accepted::Later,
            Claim::Full => return Accepted::Refused(Refusal::Quota),
            Claim::New => {}
        }
        let (id, token) = (publish.id, publish.token);
        let accepted = self.take(session, conn, publish, now, unix);
        let backlog = self.sessions[session].backlog_mut();
        match accepted {
            Accepted::Now => {}
            Accepted::Later => backlog.claim_waits(id, token),
            Accepted::Refused(_) => backlog.disclaim(id),
        }
        accepted
    }

    /// From the rules to the queues.
    fn take(&mut self, session: usize, conn: ConnId, publish: Publish<'_>, now: Millis, unix: UnixMs) -> Accepted {
        let party = self.sessions[session].party.clone();
        self.counters.published += 1;
        let topic = match access::topic_to_publish(&party, publish.topic, &self.commons.limits) {
            Ok(topic) => topic,
            Err(refusal) => {
                self.deny(session, refusal, "publish to", publish.topic, unix);
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
        if message.retain && !matches!(own, Some((_, Own::Question))) && self.commons.retained.set(&message).is_err() {
            return Accepted::Refused(Refusal::Quota);
        }
        match own {
            None => {
                if self.bus.watched() {
                    self.work.events.push(Event::Passed { message: message.clone() });
                }
                self.route(&message, Some(session), now);
                Accepted::Now
            }
            Some((device, kind)) => {
                let keep = kind == Own::Kept && publish.qos != Qos::AtMostOnce;
                let place = SessionPlace { index: session as u32, epoch: self.sessions[session].epoch };
                let ticket = keep.then_some(Ticket { shard: self.index, conn, session: Some(place), token: publish.token });
                self.work.events.push(Event::Up { device, message: message.clone(), ticket });
                if kind != Own::Question {
                    self.route(&message, Some(session), now);
                }
                if keep { Accepted::Later } else { Accepted::Now }
            }
        }
    }

    /// Delivers here, to one member of each group, and tells the other shards. `from` is the session that
    /// published it, which may not want its own.
    pub(crate) fn route(&mut self, message: &SharedMessage, from: Option<usize>, now: Millis) {
        self.route_here(message, from, now);
        if !self.commons.groups.is_empty() {
            let mut chosen = Vec::new();
            self.commons.groups.choose(message.topic.as_str(), |group, filter, member| {
                chosen.push((member, (group.to_owned(), filter.clone())));
            });
            for (member, group) in chosen {
                self.give_member(member, message.clone(), group);
            }
        }
        if self.shards > 1 {
            self.work.broadcast.push(message.clone());
        }
    }

    /// Delivers to the sessions of this shard. A push is given only to those of its device that have a
    /// line; others may watch it but say nothing about its fate.
    pub(crate) fn route_here(&mut self, message: &SharedMessage, from: Option<usize>, now: Millis) {
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
            self.give(at, waiting);
        }
        found.clear();
        self.found = found;
    }

    /// Puts a message into a session's queue.
    fn give(&mut self, at: usize, waiting: Waiting) {
        // Gone while this message was on its way round: a full queue may end a line, and a line a session.
        let Some(session) = self.sessions.get_mut(at) else { return };
        let addressee = waiting.message.receipt.is_some_and(|r| session.party.device() == Some(r.device));
        // Without a line: QoS 0 is not kept, and a push is kept by the push room.
        if session.conn.is_none() && (waiting.qos == Qos::AtMostOnce || addressee) {
            return;
        }
        match session.enqueue(waiting, &self.commons.limits) {
            Ok(()) => {
                if let Some(conn) = session.conn {
                    self.work.ready.push(conn);
                }
            }
            Err(waiting) => self.queue_full(at, waiting),
        }
    }

    /// A session's queue has no room for `waiting`: its policy decides. The owner is told once a line.
    fn queue_full(&mut self, at: usize, waiting: Waiting) {
        let session = &mut self.sessions[at];
        let (policy, conn, device) = (session.queue_policy, session.conn, session.party.device());
        let dropped = match policy {
            QueuePolicy::DropOldest => {
                let backlog = session.backlog_mut();
                let oldest = backlog.drop_oldest();
                // Only a message larger than the whole queue finds no room now.
                match backlog.push(waiting, &self.commons.limits) {
                    Ok(()) => oldest,
                    Err(waiting) => Some(waiting),
                }
            }
            QueuePolicy::DropNewest | QueuePolicy::Disconnect => Some(waiting),
        };
        let first = conn.is_some() && !std::mem::replace(&mut session.told_full, true);
        let why = format!("its queue is full ({}): it reads too slowly for what it subscribed to", policy.as_str());
        let close = Close { fault: Fault::Line, why: why.into() };
        if let Some(conn) = conn.filter(|_| first) {
            if let Some((protocol, remote)) = self.peer_of(conn) {
                let at = dropped.as_ref().map_or(UnixMs(0), |waiting| waiting.message.at);
                self.work.events.push(Event::Faulted { protocol, remote, device, close: close.clone(), at });
            }
            if policy == QueuePolicy::Disconnect {
                self.work.answers.push((conn, Answer::Closing { ending: Ending::QueueFull, close }));
            }
        }
        if let Some(Waiting { message, .. }) = dropped {
            self.counters.dropped += 1;
            if message.receipt.is_some_and(|r| device == Some(r.device)) {
                self.step(&message, Step::Lost, message.at);
            }
        }
    }

    /// Gives a message to the member of a group that was chosen for it.
    fn give_member(&mut self, member: Member, message: SharedMessage, group: (String, Filter)) {
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
            self.give_shared(session, waiting);
        } else {
            self.work.posts.push((shard, Mail::Shared { session, waiting: Box::new(waiting) }));
        }
    }

    /// A message for a member that lives here; if it has gone meanwhile, for another.
    pub(crate) fn give_shared(&mut self, session: SessionPlace, waiting: Waiting) {
        match self.sessions.get(session.index as usize) {
            Some(found) if found.epoch == session.epoch => self.give(session.index as usize, waiting),
            _ => self.give_another(waiting),
        }
    }

    /// A message that its member can no longer take goes to another of the group [MQTT-4.8.2-4].
    pub(crate) fn give_another(&mut self, waiting: Waiting) {
        let Some((name, filter)) = waiting.rare.and_then(|rare| rare.group) else { return };
        match self.commons.groups.choose_of(&name, &filter) {
            Some(member) => self.give_member(member, waiting.message, (name, filter)),
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
            self.route(message, None, now);
        } else {
            let online = self.lines_of(receipt.device).next().is_some();
            self.step(message, Step::Nobody { online }, unix);
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
