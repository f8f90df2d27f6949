//! Going out: a line breaks, a session ends, a will speaks, an owner shows somebody the door.

use std::sync::Arc;

use contract::{Answer, Close, ConnId, Ending, Event, Fault, Note, PromiseId, SessionPlace, Step, Will};
use model::{Filter, Message, Millis, Party, PartyKey, UnixMs, limits};

use crate::access;
use crate::address::is_addressed;
use crate::session::Away;
use crate::shard::{ConnState, Shard};
use crate::shared;

impl Shard {
    /// The connection no longer carries its session: the will goes out, the session ends or waits.
    pub(crate) fn line_gone(&mut self, id: ConnId, close: &Close, now: Millis, unix: UnixMs) {
        let Some(at) = self.session_of(id) else { return };
        let Some(conn) = self.conn(id) else { return };
        conn.state = ConnState::Over;
        let Some((protocol, remote)) = self.peer_of(id) else { return };
        let session = &mut self.sessions[at];
        session.conn = None;
        session.owe_nothing();
        let party = session.party.clone();
        let unsent = session.with_backlog(|b| b.line_lost(party.device())).unwrap_or_default();
        for message in unsent {
            self.step(&message, Step::Lost, unix);
        }
        if let Some(device) = party.device() {
            self.work.events.push(Event::LineClosed { device, protocol, close: close.clone(), at: unix });
        }
        if !matches!(close.fault, Fault::Nobody | Fault::Line) {
            self.work.events.push(Event::Faulted { protocol, remote, device: party.device(), close: close.clone(), at: unix });
        }
        self.share_online(at, false);
        let away_max = limits::SESSIONS_AWAY_MAX as u64 / u64::from(self.shards);
        let session = &mut self.sessions[at];
        if session.keep_s == 0 || self.counters.sessions_away >= away_max {
            self.let_go(at, now, unix);
            return;
        }
        self.counters.sessions_away += 1;
        let epoch = session.epoch;
        let ends = (session.keep_s != u32::MAX).then(|| now.plus_s(u64::from(session.keep_s)));
        let will_at = session.will.as_ref().map(|will| now.plus_s(u64::from(will.delay_s)));
        session.away = Some(Box::new(Away { since: unix, ends, will_at }));
        if will_at == Some(now) {
            self.will_due(at, now, unix);
        }
        self.note_session(at, now.plus_ms(u64::from(self.commons.limits.commit_window_ms)));
        if self.sessions[at].away.as_ref().is_some_and(|away| away.awaits()) {
            self.ending.push((at, epoch));
        }
    }

    /// The time of a session's will has come.
    pub(crate) fn will_due(&mut self, at: usize, now: Millis, unix: UnixMs) {
        let session = &mut self.sessions[at];
        if let Some(away) = &mut session.away {
            away.will_at = None;
        }
        let Some(will) = session.will.take() else { return };
        let party = session.party.clone();
        let said = session.kept.as_mut().map(|kept| Note::WillSaid(kept.id, std::mem::take(&mut kept.will)));
        self.together(said, now, |shard, promise| shard.publish_will(&party, *will, promise, now, unix));
    }

    /// Tells the groups of a session whether it has a line.
    pub(crate) fn share_online(&mut self, at: usize, online: bool) {
        let session = &self.sessions[at];
        let place = SessionPlace { index: at as u32, epoch: session.epoch };
        for filter in session.filters.iter() {
            if let Some((group, filter)) = shared_parts(filter) {
                self.commons.groups.set_online(group, &filter, self.index, place, online);
            }
        }
    }

    /// Takes a subscription of a session out of wherever it stands. Whether it was there.
    pub(crate) fn unwant(&mut self, at: usize, epoch: u32, filter: &Filter) -> bool {
        match shared_parts(filter) {
            Some((group, filter)) => {
                self.commons.groups.leave(group, &filter, self.index, SessionPlace { index: at as u32, epoch })
            }
            None => self.subscriptions.remove(filter, at as u32),
        }
    }

    pub(crate) fn publish_will(&mut self, party: &Party, will: Will, promise: Option<PromiseId>, now: Millis, unix: UnixMs) {
        // The rules are the same as for a publish; one that is not allowed is silently not sent, because
        // nobody is left to be told.
        let Ok(topic) = access::topic_to_publish(party, &will.topic, &self.commons.limits) else {
            self.counters.denied += 1;
            return;
        };
        let message = Arc::new(Message {
            qos: will.qos,
            retain: will.retain,
            source: party.device(),
            expires: will.expiry_s.map(|s| now.plus_s(u64::from(s))),
            props: will.props,
            ..Message::new(topic, will.payload, unix)
        });
        let addressed = matches!(message.topic.space(), model::topic::Space::Device { rest, .. } if is_addressed(rest));
        if will.retain && !addressed && self.retain(&message, promise, now).is_err() {
            self.counters.dropped += 1;
        }
        if let (Some(device), model::topic::Space::Device { rest, .. }) = (party.device(), message.topic.space()) {
            self.work.events.push(Event::Up { device, message: message.clone(), ticket: None });
            if is_addressed(rest) {
                // Whether it was reached: nobody is left to be told either.
                let _ = self.address(device, &message, None, promise, now);
                return;
            }
        }
        self.route(&message, None, promise, now);
    }

    /// Ends a session without a line. One whose group is to have what lies on disk and was not read yet, or
    /// what is on its way there, is nobody's from now on, and goes when that is known.
    pub(crate) fn let_go(&mut self, at: usize, now: Millis, unix: UnixMs) -> Option<PromiseId> {
        if !self.must_stay(at) {
            return self.end_session(at, now, unix);
        }
        self.load(at);
        self.set_keep_s(at, 0);
        self.unname(at);
        let session = &mut self.sessions[at];
        let away = session.away.as_deref().copied().unwrap_or(Away { since: unix, ends: None, will_at: None });
        session.away = Some(Box::new(Away { ends: Some(now), ..away }));
        self.ending.push((at, session.epoch));
        self.counters.sessions_away += 1;
        self.note_session(at, now);
        None
    }

    /// Whether a session has something that others of a group may have to get, and it is not known yet what. It
    /// need not be a member any more: what it was given before it left waits in it all the same.
    pub(crate) fn must_stay(&mut self, at: usize) -> bool {
        !self.commons.groups.is_empty() && self.sessions[at].with_backlog(|b| b.is_unknown()) == Some(true)
    }

    /// A session is found no more, by its name or by what it subscribed to.
    fn unname(&mut self, at: usize) {
        self.sessions.unname(at);
        let (filters, epoch) = (std::mem::take(&mut self.sessions[at].filters), self.sessions[at].epoch);
        for filter in filters.iter() {
            self.unwant(at, epoch, filter);
        }
        self.sessions[at].filters = filters;
    }

    /// Forgets a session without a line and everything that waits in it. A will that was still to come
    /// comes now; a message of a shared subscription goes to another member. Returns the promise of its end
    /// as long as other shards have a part in that.
    pub(crate) fn end_session(&mut self, at: usize, now: Millis, unix: UnixMs) -> Option<PromiseId> {
        let left: Vec<_> = self.sessions[at].take_backlog().into_iter().flat_map(|b| b.into_left()).collect();
        for (waiting, _) in &left {
            self.step_of(at, &waiting.message, Step::Lost, unix);
        }
        self.set_keep_s(at, 0);
        self.unname(at);
        let mut session = self.sessions.remove(at);
        let ended = session.kept.as_ref().map(|kept| Note::Ended(kept.id));
        self.together(ended, now, |shard, promise| {
            if let Some(will) = session.will.take() {
                shard.publish_will(&session.party, *will, promise, now, unix);
            }
            for (waiting, _) in left.into_iter().filter(|(_, may_move)| *may_move) {
                shard.give_another(waiting, promise, now);
            }
        })
    }

    pub(crate) fn kick(&mut self, whom: PartyKey, why: &Close, forget: bool, now: Millis, unix: UnixMs) {
        for at in self.sessions.of(whom) {
            if let Some(conn) = self.sessions[at].conn {
                if forget {
                    // Gone for good: its session must not wait for it, nor its will speak for it.
                    self.set_keep_s(at, 0);
                    self.sessions[at].will = None;
                }
                self.line_gone(conn, why, now, unix);
                self.work.answers.push((conn, Answer::Closing { ending: Ending::Removed, close: why.clone() }));
            } else if forget {
                self.counters.sessions_away -= 1;
                self.sessions[at].will = None;
                self.let_go(at, now, unix);
            }
        }
    }
}

/// Group and filter of a shared subscription as a session holds it.
pub(crate) fn shared_parts(held: &Filter) -> Option<(&str, Filter)> {
    let (group, filter) = shared::split(held.as_str()).flatten()?;
    Some((group, Filter::parse(filter).ok()?))
}
