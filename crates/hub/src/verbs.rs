//! What a machine may ask of the hub, bound to its connection for as long as one call lasts.

use contract::{
    Accepted, Answer, Awaited, Bye, ConnId, Event, Hello, Hub, KeptWish, Note, Outcome, Publish, Rare, Refusal, Released,
    RetainedWanted, SessionPlace, Slot, Step, SubscribeOptions, Waiting,
};
use model::{Millis, Qos, UnixMs};

use crate::access;
use crate::backlog::OnDisk;
use crate::heard::Heard;
use crate::journal::{After, Waits};
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
        self.shard.heard = Heard::More;
        self.shard.hello(self.conn, hello, self.now, self.unix);
    }

    fn scram(&mut self, user: &str) {
        self.shard.heard = Heard::More;
        self.shard.scram(self.conn, user);
    }

    fn publish(&mut self, publish: Publish<'_>) -> Accepted {
        self.shard.heard = Heard::More;
        self.shard.publish(self.conn, publish, self.now, self.unix)
    }

    fn subscribe(&mut self, filter: &str, options: SubscribeOptions) -> Result<Qos, Refusal> {
        self.shard.heard = Heard::More;
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
        let full = session.filters.len() >= self.shard.commons.limits.subscriptions_per_session;
        if full && !session.filters.contains(&held) {
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
        // Who is behind a filter is known there: not by looking through all that the session has.
        let known = if let Some(group) = &grant.group {
            let place = SessionPlace { index: at as u32, epoch: session.epoch };
            let member = Member { shard: self.shard.index, session: place, entry, online: true };
            !self.shard.commons.groups.join(group, &grant.filter, member)
        } else {
            !self.shard.subscriptions.insert(&grant.filter, entry)
        };
        let wanted = match options.retained {
            RetainedWanted::Always => true,
            RetainedWanted::IfNew => !known,
            RetainedWanted::Never => false,
        };
        if let Some(session) = session.durable() {
            let wish = KeptWish {
                filter: held.clone(),
                qos: entry.qos,
                id: entry.id,
                as_me: entry.as_me,
                reach: entry.reach,
                no_local: entry.no_local,
                as_published: entry.as_published,
                checked: entry.checked,
            };
            self.noted(at, if known { Note::WantsAgain(session, wish) } else { Note::Wants(session, wish) });
        }
        // Retained messages are not for shared subscriptions [MQTT-3.8.4-8's note, section 4.8.2].
        if wanted && grant.group.is_none() {
            self.give_retained(at, &grant, options);
        }
        let session = &mut self.shard.sessions[at];
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
        self.shard.heard = Heard::More;
        let at = self.shard.session_of(self.conn).ok_or(Refusal::Unavailable)?;
        let session = &mut self.shard.sessions[at];
        let held = access::filter_to_subscribe(&session.party, filter, &self.shard.commons.limits)?.held();
        let Some(place) = session.filters.iter().position(|f| *f == held) else { return Ok(false) };
        session.filters.swap_remove(place);
        let (epoch, durable) = (session.epoch, session.durable());
        let was = self.shard.unwant(at, epoch, &held);
        if let Some(session) = durable {
            self.noted(at, Note::Unwants(session, held));
        }
        Ok(was)
    }

    fn received(&mut self, slot: Slot) -> bool {
        let Some(at) = self.shard.session_of(self.conn) else { return false };
        let session = &mut self.shard.sessions[at];
        let (durable, journal, now) = (session.durable(), &mut self.shard.journal, self.now);
        let mut noted = None;
        let known = session.with_backlog(|b| {
            b.received(slot, |seq| match durable {
                None => OnDisk::NeedNot,
                Some(session) => {
                    let number = journal.note(Note::Received(session, seq), now);
                    noted = Some(number + 1);
                    OnDisk::Noted(number)
                }
            })
        });
        if let (Some(noted), Some(kept)) = (noted, &mut session.kept) {
            kept.noted = noted;
        }
        known.unwrap_or(false)
    }

    fn awaited(&mut self, slot: Slot) -> Option<Awaited> {
        let at = self.shard.session_of(self.conn)?;
        self.shard.sessions[at].with_backlog(|b| b.awaited(slot)).flatten()
    }

    fn settle(&mut self, slot: Slot, outcome: Outcome) -> bool {
        let Some(at) = self.shard.session_of(self.conn) else { return false };
        let session = &mut self.shard.sessions[at];
        let Some(done) = session.with_backlog(|b| b.settle(slot)).flatten() else { return false };
        let (has_next, durable) = (session.has_next(), session.durable().is_some());
        if has_next {
            self.shard.work.ready.push(self.conn);
        }
        self.shard.heard.acknowledged(has_next || durable || done.message.receipt.is_some());
        self.shard.forget_place(at, &done, self.now);
        let (message, session) = (done.message, &self.shard.sessions[at]);
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
        self.shard.heard = Heard::More;
        if let Some(at) = self.shard.session_of(self.conn) {
            self.shard.tell_owner(at, what.to_owned(), self.unix);
        }
    }

    fn release(&mut self, id: u16) -> Released {
        self.shard.heard = Heard::More;
        let Some(at) = self.shard.session_of(self.conn) else { return Released::Unknown };
        let session = &mut self.shard.sessions[at];
        let released = session.with_backlog(|b| b.claims.release(id)).unwrap_or(Released::Unknown);
        if let (Released::Done, Some(session)) = (released, session.durable()) {
            self.noted(at, Note::Released(session, id));
        }
        released
    }

    fn say_when_kept(&mut self, out: &mut Vec<u8>, from: usize, hold: bool) {
        let Some(at) = self.shard.session_of(self.conn) else { return };
        let Some(kept) = &mut self.shard.sessions[at].kept else { return };
        if kept.noted > self.shard.journal.kept() {
            kept.holding += u32::from(hold);
            let answer = Box::new(Answer::Say(out.split_off(from)));
            self.shard.journal.wait(After { conn: self.conn, answer, hold });
        }
    }

    fn bye(&mut self, bye: Bye) {
        self.shard.heard = Heard::More;
        let Some(at) = self.shard.session_of(self.conn) else { return };
        let session = &mut self.shard.sessions[at];
        if !bye.with_will {
            session.will = None;
        }
        let keep_s = bye.keep_s.unwrap_or(session.keep_s);
        self.shard.set_keep_s(at, keep_s);
        if !bye.with_will {
            self.shard.note_will(at, self.now);
        }
    }
}

impl Verbs<'_> {
    /// Notes what the client is told of only when it is on disk.
    fn noted(&mut self, at: usize, note: Note) {
        let session = SessionPlace { index: at as u32, epoch: self.shard.sessions[at].epoch };
        let number = self.shard.journal.note_for(note, None, Some(Waits { session, held: false }), self.now);
        if let Some(kept) = &mut self.shard.sessions[at].kept {
            kept.noted = number + 1;
        }
    }

    /// Puts the retained messages of a new subscription into its session's queue.
    fn give_retained(&mut self, at: usize, grant: &access::Grant, options: SubscribeOptions) {
        let party = self.shard.sessions[at].party.clone();
        let mut found = Vec::new();
        self.shard.commons.retained.matching(&grant.filter, grant.reach, |message| {
            let gone = message.expires.is_some_and(|at| at <= self.now);
            if !gone && (!grant.checked || access::may_receive(&party, &message.topic)) {
                found.push(message.clone());
            }
            true
        });
        for message in found {
            let waiting = Waiting {
                qos: options.qos.min(message.qos),
                message,
                as_me: grant.as_me,
                retained: true,
                retain: true,
                rare: options.id.map(|id| Box::new(Rare { ids: vec![id], group: None })),
            };
            self.shard.counters.dropped += u64::from(self.shard.enqueue(at, waiting, None, self.now).is_err());
        }
        if self.shard.sessions[at].has_next() {
            self.shard.work.ready.push(self.conn);
        }
    }
}
