//! What is to survive the program: telling it to the journal, and carrying out what waited for the disk.
//! What a client must be able to rely on as a whole (an exactly-once publish and everywhere it waits, a will
//! and its end) is gathered from all shards first and kept in one go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::{Answer, Close, ConnId, Ending, Event, Fault, KeptSession, Note, PromiseId, Refusal, SessionPlace};
use model::message::SharedMessage;
use model::{Message, Millis, UnixMs, limits};

use crate::backlog::{Done, OnDisk};
use crate::journal::{After, Publishing, Refused, Then};
use crate::mail::{Gathered, Mail, Safe};
use crate::shard::Shard;

impl Shard {
    /// Says how long a session is kept without a line, and counts those that messages are kept for.
    pub(crate) fn set_keep_s(&mut self, at: usize, keep_s: u32) {
        let session = &mut self.sessions[at];
        let was = session.durable().is_some();
        session.keep_s = keep_s;
        match (was, session.durable().is_some()) {
            (false, true) => {
                self.keeping += 1;
                self.commons.keeping.fetch_add(1, Ordering::AcqRel);
            }
            (true, false) => {
                self.keeping -= 1;
                self.commons.keeping.fetch_sub(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }

    /// Notes a session as it is now, if it is kept at all.
    pub(crate) fn note_session(&mut self, at: usize, due: Millis) {
        let session = &mut self.sessions[at];
        let before = session.kept.as_ref().map_or(0, |kept| kept.sent_before);
        let sent = session.with_backlog(|b| b.sent_last(before)).unwrap_or(0);
        let Some(kept) = &session.kept else { return };
        let note = Note::Session(KeptSession {
            id: kept.id,
            owner: session.party.key(),
            client: session.client.as_str().into(),
            keep_s: session.keep_s,
            away: session.away.as_ref().map(|away| away.since),
            sent,
        });
        self.journal.note(note, due);
    }

    /// Notes the will of a session, or that it has none any more, if that is news to the vault.
    pub(crate) fn note_will(&mut self, at: usize, now: Millis) {
        let session = &mut self.sessions[at];
        let (Some(kept), will) = (&mut session.kept, session.will.clone()) else { return };
        if kept.will != 0 {
            self.journal.note(Note::WillSaid(kept.id, std::mem::take(&mut kept.will)), now);
        }
        if let Some(will) = will {
            kept.will = self.commons.next_number();
            self.journal.note(Note::Will { session: kept.id, number: kept.will, will }, now);
        }
    }

    /// Does `work` and keeps in one go all that comes of it, together with what it comes `from`.
    /// Returns the promise as long as other shards have not said what they have of it.
    pub(crate) fn together(
        &mut self,
        from: Option<Note>,
        now: Millis,
        work: impl FnOnce(&mut Shard, Option<PromiseId>),
    ) -> Option<PromiseId> {
        let Some(from) = from else {
            work(self, None);
            return None;
        };
        let promise = self.journal.begin(Then::Gathered(Box::new(Publishing { from, client: None })));
        self.gathering = Some(promise);
        work(self, Some(promise));
        self.gathering = None;
        self.journal.settle(promise, Ok(()));
        self.follow_journal(now);
        self.journal.is_open(promise).then_some(promise)
    }

    /// A publish that had to be kept is, or is not. An exactly-once publish is answered on whatever line
    /// the session has now; any other only where it came from, because on a newer line the peer may have
    /// given its id to something else.
    pub(crate) fn published(&mut self, place: SessionPlace, from: ConnId, token: u32, result: Result<(), Refusal>) {
        let Some(session) = self.sessions.get_mut(place.index as usize).filter(|s| s.epoch == place.epoch) else { return };
        let exactly_once = session.with_backlog(|b| b.claims.answered(token, result.is_ok())).unwrap_or(false);
        let Some(conn) = session.conn.filter(|conn| exactly_once || *conn == from) else { return };
        let answers = &mut self.work.answers;
        // A newer line on which it was not repeated yet may not even have been welcomed: it is answered there
        // when it is.
        session.pay(token, result, |token, result| answers.push((conn, Answer::Published { token, result })));
    }

    /// Carries out what the journal has brought to its end.
    pub(crate) fn follow_journal(&mut self, now: Millis) {
        loop {
            let finished = std::mem::take(&mut self.journal.finished);
            for (promise, then, result) in finished {
                let gathered = self.gathered.remove(&promise).unwrap_or_default();
                match then {
                    Then::Publish { session, conn, token } => self.published(session, conn, token, result),
                    Then::Gathered(publishing) => match result {
                        Ok(()) => {
                            self.keep_together(publishing, gathered, now);
                            for (_, after) in self.welcomes.extract_if(.., |(end, _)| *end == promise) {
                                self.journal.wait(after);
                            }
                        }
                        Err(_) => self.kept_together(*publishing, gathered, result),
                    },
                    Then::Together(publishing, gathered) => self.kept_together(*publishing, gathered, result),
                    Then::Sent(send, reached) => {
                        self.work.events.push(Event::Sent { send, result: result.map(|()| reached) });
                    }
                    // What this shard does not take at all is not gathered either.
                    Then::Shard(Safe { shard, promise, together: true }) if result.is_ok() => {
                        self.work.posts.push((shard, Mail::Gathered(promise, gathered)));
                    }
                    Then::Shard(Safe { shard, promise, .. }) => self.work.posts.push((shard, Mail::Safe(promise, result))),
                }
            }
            // First, so that nobody is told that a step is safe which was refused.
            for (place, number, what) in std::mem::take(&mut self.journal.refused) {
                let session = self.sessions.get_mut(place.index as usize).filter(|s| s.epoch == place.epoch);
                let Some(session) = session else { continue };
                if let (Refused::Step, Some(conn)) = (what, session.conn) {
                    let close = Close { fault: Fault::Ours, why: Refusal::Unavailable.to_string().into() };
                    self.work.answers.push((conn, Answer::Closing { ending: Ending::NotKept, close }));
                    continue;
                }
                let online = session.conn.is_some();
                if session.with_backlog(|b| b.refused(number, online)) == Some(true) {
                    self.counters.dropped += 1;
                }
            }
            for (After { conn, answer, hold }, result) in std::mem::take(&mut self.journal.passed) {
                let Some(at) = self.session_of(conn) else { continue };
                if let Some(kept) = self.sessions[at].kept.as_mut().filter(|_| hold) {
                    kept.holding = kept.holding.saturating_sub(1);
                }
                let answer = match result {
                    Ok(()) => *answer,
                    Err(refusal) => {
                        let close = Close { fault: Fault::Ours, why: refusal.to_string().into() };
                        Answer::Closing { ending: Ending::NotKept, close }
                    }
                };
                self.work.answers.push((conn, answer));
                self.work.ready.push(conn);
            }
            for place in std::mem::take(&mut self.journal.woken) {
                let session = self.sessions.get(place.index as usize).filter(|s| s.epoch == place.epoch);
                self.work.ready.extend(session.and_then(|s| s.conn));
            }
            if self.journal.finished.is_empty() {
                return;
            }
        }
    }

    /// Does `work` under a promise to another shard, which hears of it when all is kept, or of what it is to keep.
    pub(crate) fn keep_for(&mut self, safe: Option<Safe>, work: impl FnOnce(&mut Shard, Option<PromiseId>)) {
        let own = safe.map(|safe| self.journal.begin(Then::Shard(safe)));
        self.gathering = own.filter(|_| safe.is_some_and(|safe| safe.together));
        work(self, own);
        self.gathering = None;
        if let Some(own) = own {
            self.journal.settle(own, Ok(()));
        }
    }

    /// Everywhere that a message waits is known: on to the disk with it and what it comes from.
    pub(crate) fn keep_together(&mut self, publishing: Box<Publishing>, gathered: Vec<Gathered>, now: Millis) {
        let mut notes: Vec<Note> = gathered.iter().filter_map(Gathered::note).cloned().collect();
        notes.push(publishing.from.clone());
        let promise = self.journal.begin(Then::Together(publishing, gathered));
        self.journal.note_for(Note::Together(notes), Some(promise), None, now);
        self.journal.settle(promise, Ok(()));
    }

    /// A message is on disk everywhere, or nowhere: its queues may go on.
    pub(crate) fn kept_together(&mut self, publishing: Publishing, gathered: Vec<Gathered>, result: Result<(), Refusal>) {
        let mut by_shard: BTreeMap<u16, Vec<(SessionPlace, u64)>> = BTreeMap::new();
        for one in gathered {
            if let Gathered::Queued { shard, session, seq, .. } = one {
                by_shard.entry(shard).or_default().push((session, seq));
            }
        }
        for (shard, places) in by_shard {
            if shard == self.index {
                self.go_on(places, result);
            } else {
                self.work.posts.push((shard, Mail::Together(places, result)));
            }
        }
        if let Some((session, conn, token)) = publishing.client {
            self.published(session, conn, token, result);
        }
    }

    /// Messages that waited for the rest of their publish may go out, or go away.
    pub(crate) fn go_on(&mut self, places: Vec<(SessionPlace, u64)>, result: Result<(), Refusal>) {
        for (place, seq) in places {
            let Some(session) = self.sessions.get_mut(place.index as usize).filter(|s| s.epoch == place.epoch) else { continue };
            let found = session.with_backlog(|b| b.together(seq, result.is_ok())).unwrap_or(false);
            self.work.ready.extend(session.conn);
            if found && result.is_ok() {
                self.hold_until_here(place.index as usize);
            }
            self.counters.dropped += u64::from(found && result.is_err());
        }
    }

    /// Remembers a topic's last value, here and for the vault.
    pub(crate) fn retain(&mut self, message: &SharedMessage, promise: Option<PromiseId>, now: Millis) -> Result<(), Refusal> {
        let version = self.commons.retained.set(message).map_err(|_| Refusal::Quota)?;
        let note = Note::Retained { version, message: message.clone(), expires: self.unix_at(message.expires) };
        match self.gathering {
            Some(promise) => self.gathered.entry(promise).or_default().push(Gathered::Retained(note)),
            // What nobody waits for is not worth more memory than there is.
            None if promise.is_none() && self.journal.is_full() => {}
            None => drop(self.journal.note_for(note, promise, None, now)),
        }
        Ok(())
    }

    /// Forgets retained messages whose time is over, here and in the vault.
    pub(crate) fn expire_retained(&mut self, now: Millis, unix: UnixMs) {
        for _ in 0..limits::RETAINED_ENDS_PER_TICK_MAX {
            let Some((topic, version)) = self.commons.retained.expire(now) else { return };
            self.counters.expired += 1;
            let message = Arc::new(Message::new(topic, "", unix));
            self.journal.note(Note::Retained { version, message, expires: None }, now);
        }
    }

    /// How another shard is asked to keep something for a promise of this one.
    pub(crate) fn safe(&self, promise: Option<PromiseId>) -> Option<Safe> {
        promise.map(|promise| Safe { shard: self.index, promise, together: self.gathering.is_some() })
    }

    /// A place in a session's queue is no longer needed on disk, if it is there.
    pub(crate) fn forget_place(&mut self, at: usize, done: &Done, now: Millis) {
        let on_disk = match done.on_disk {
            OnDisk::NeedNot => false,
            // Only with a session that ends, and then all of it goes.
            OnDisk::Together => false,
            OnDisk::Noted(number) => !self.journal.take_back(number),
            OnDisk::Yes => true,
        };
        if let (true, Some(kept)) = (on_disk, &self.sessions[at].kept) {
            let due = now.plus_ms(u64::from(self.commons.limits.commit_window_ms));
            self.journal.note(Note::Settled(kept.id, done.seq), due);
        }
    }

    /// Has a session's queue read from disk, if it lies there.
    pub(crate) fn load(&mut self, at: usize) {
        let session = &mut self.sessions[at];
        let Some(kept) = &session.kept else { return };
        let (id, place) = (kept.id, SessionPlace { index: at as u32, epoch: session.epoch });
        if session.with_backlog(|b| b.take_resting()) == Some(true) {
            self.work.loads.push((place, id));
        }
    }
}
