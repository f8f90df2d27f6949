//! What a machine may ask of the hub, bound to its connection for as long as one call lasts.

use contract::{
    Accepted, Awaited, Bye, ConnId, Event, Hello, Hub, Outcome, Publish, Refusal, Released, RetainedWanted, SessionPlace, Slot,
    Step, SubscribeOptions,
};
use model::{Millis, Qos, UnixMs};

use crate::access;
use crate::backlog::{Rare, Waiting};
use crate::shard::Shard;
use crate::shared::Member;
use crate::subscriptions::Entry;

/// The hub's verbs for one connection.
pub(crate) struct Verbs<'a> {
    pub shard: &'a mut Shard,
    pub conn: ConnId,
    pub now: Millis,
    pub unix: UnixMs,
}

impl Hub for Verbs<'_> {
    fn hello(&mut self, hello: Hello) {
        self.shard.hello(self.conn, hello, self.now, self.unix);
    }

    fn scram(&mut self, user: &str) {
        self.shard.scram(self.conn, user);
    }

    fn publish(&mut self, publish: Publish<'_>) -> Accepted {
        self.shard.publish(self.conn, publish, self.now, self.unix)
    }

    fn subscribe(&mut self, filter: &str, options: SubscribeOptions) -> Result<Qos, Refusal> {
        let at = self.shard.session_of(self.conn).ok_or(Refusal::Unavailable)?;
        let session = &mut self.shard.sessions[at];
        let grant = match access::filter_to_subscribe(&session.party, filter, &self.shard.commons.limits) {
            Ok(grant) => grant,
            Err(refusal) => {
                self.shard.deny(at, refusal, "subscribe to", filter, self.unix);
                return Err(refusal);
            }
        };
        let held = grant.held();
        let known = session.filters.contains(&held);
        if !known && session.filters.len() >= self.shard.commons.limits.subscriptions_per_session {
            self.shard.deny(at, Refusal::Quota, "subscribe to", filter, self.unix);
            return Err(Refusal::Quota);
        }
        let entry = Entry {
            id: options.id.unwrap_or(0),
            as_me: grant.as_me,
            no_local: options.no_local,
            as_published: options.as_published,
            checked: grant.checked,
            ..Entry::new(at as u32, options.qos, grant.reach)
        };
        let wanted = match options.retained {
            RetainedWanted::Always => true,
            RetainedWanted::IfNew => !known,
            RetainedWanted::Never => false,
        };
        if let Some(group) = &grant.group {
            let place = SessionPlace { index: at as u32, epoch: session.epoch };
            let member = Member { shard: self.shard.index, session: place, entry, online: true };
            self.shard.commons.groups.join(group, &grant.filter, member);
        } else {
            self.shard.subscriptions.insert(&grant.filter, entry);
        }
        // Retained messages are not for shared subscriptions [MQTT-3.8.4-8's note, section 4.8.2].
        if wanted && grant.group.is_none() {
            let mut left_out = 0;
            let now = self.now;
            self.shard.commons.retained.matching(&grant.filter, grant.reach, |message| {
                if message.expires.is_some_and(|at| at <= now)
                    || (grant.checked && !access::may_receive(&session.party, &message.topic))
                {
                    return true;
                }
                let waiting = Waiting {
                    message: message.clone(),
                    qos: options.qos.min(message.qos),
                    as_me: grant.as_me,
                    retained: true,
                    retain: true,
                    rare: options.id.map(|id| Box::new(Rare { ids: vec![id], group: None })),
                };
                left_out += u64::from(session.enqueue(waiting, &self.shard.commons.limits).is_err());
                true
            });
            self.shard.counters.dropped += left_out;
            if session.has_next() {
                self.shard.work.ready.push(self.conn);
            }
        }
        if !known {
            session.filters.push(held);
        }
        if grant.own
            && let Some(device) = session.party.device()
        {
            session.listens_own = true;
            self.shard.work.events.push(Event::Listening { device });
        }
        Ok(options.qos)
    }

    fn unsubscribe(&mut self, filter: &str) -> Result<bool, Refusal> {
        let at = self.shard.session_of(self.conn).ok_or(Refusal::Unavailable)?;
        let session = &mut self.shard.sessions[at];
        let held = access::filter_to_subscribe(&session.party, filter, &self.shard.commons.limits)?.held();
        let Some(place) = session.filters.iter().position(|f| *f == held) else { return Ok(false) };
        session.filters.swap_remove(place);
        let epoch = session.epoch;
        Ok(self.shard.unwant(at, epoch, &held))
    }

    fn received(&mut self, slot: Slot) -> bool {
        let Some(at) = self.shard.session_of(self.conn) else { return false };
        self.shard.sessions[at].with_backlog(|b| b.received(slot)).unwrap_or(false)
    }

    fn awaited(&mut self, slot: Slot) -> Option<Awaited> {
        let at = self.shard.session_of(self.conn)?;
        self.shard.sessions[at].with_backlog(|b| b.awaited(slot)).flatten()
    }

    fn settle(&mut self, slot: Slot, outcome: Outcome) -> bool {
        let Some(at) = self.shard.session_of(self.conn) else { return false };
        let session = &mut self.shard.sessions[at];
        let Some(message) = session.with_backlog(|b| b.settle(slot)).flatten() else { return false };
        if session.has_next() {
            self.shard.work.ready.push(self.conn);
        }
        let addressee = message.receipt.is_some_and(|r| session.party.device() == Some(r.device));
        if addressee {
            let step = match outcome {
                Outcome::Delivered => Step::Delivered,
                Outcome::Applied(answer) => Step::Applied(answer),
                Outcome::Failed(why, answer) => Step::Failed(why, answer),
                Outcome::Refused(why) => Step::Refused(why),
            };
            self.shard.step(&message, step, self.unix);
        }
        true
    }

    fn note(&mut self, what: &str) {
        if let Some(at) = self.shard.session_of(self.conn) {
            self.shard.tell_owner(at, what.to_owned(), self.unix);
        }
    }

    fn release(&mut self, id: u16) -> Released {
        let Some(at) = self.shard.session_of(self.conn) else { return Released::Unknown };
        self.shard.sessions[at].with_backlog(|b| b.release(id)).unwrap_or(Released::Unknown)
    }

    fn bye(&mut self, bye: Bye) {
        let Some(at) = self.shard.session_of(self.conn) else { return };
        let session = &mut self.shard.sessions[at];
        if !bye.with_will {
            session.will = None;
        }
        session.keep_s = bye.keep_s.unwrap_or(session.keep_s);
    }
}
