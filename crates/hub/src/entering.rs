//! Coming in: from a peer's hello to its session, by way of the gate and, if need be, of another shard.

use std::sync::Arc;

use contract::{
    Admission, Answer, Close, ConnId, Ending, Event, Fault, Hello, Login, Refusal, SessionId, Ticket, Verdict, Welcome,
};
use model::limits::{self, QueuePolicy};
use model::{Millis, Party, PartyKey, UnixMs};

use crate::journal::After;
use crate::mail::Transfer;
use crate::session::{KeptAs, Session};
use crate::shard::{ConnState, Shard, home_shard};

/// The app's setting that says what happens when a queue is full.
const QUEUE_SETTING: &str = "session.queue";

impl Shard {
    pub(crate) fn hello(&mut self, id: ConnId, mut hello: Hello, now: Millis, unix: UnixMs) {
        let index = self.index;
        let Some(conn) = self.conn(id) else { return };
        debug_assert!(matches!(conn.state, ConnState::New | ConnState::Vouched(_)), "a machine says hello once");
        if let ConnState::Vouched(login) = &conn.state
            && hello.login == Login::Anonymous
        {
            hello.login = (**login).clone();
        }
        if hello.client.len() > limits::CLIENT_ID_BYTES_MAX {
            return self.decided(id, hello, Err(Refusal::BadClientId), now, unix);
        }
        let Some((_, remote)) = self.peer_of(id) else { return };
        match self.gate.admit(&hello.login, remote, Ticket { shard: index, conn: id, session: None, promise: None, token: 0 }) {
            Some(verdict) => self.decided(id, hello, verdict, now, unix),
            None => {
                if let Some(conn) = self.conn(id) {
                    conn.state = ConnState::Asking(Box::new(hello));
                }
            }
        }
    }

    /// The peer wants to prove who it is.
    pub(crate) fn scram(&mut self, id: ConnId, user: &str) {
        let index = self.index;
        let Some(conn) = self.conn(id) else { return };
        debug_assert!(matches!(conn.state, ConnState::New | ConnState::In(_)), "a hello that is decided upon has its proof");
        let Some((_, remote)) = self.peer_of(id) else { return };
        self.gate.scram(user, remote, Ticket { shard: index, conn: id, session: None, promise: None, token: 0 });
    }

    pub(crate) fn decided(&mut self, id: ConnId, hello: Hello, verdict: Verdict, now: Millis, unix: UnixMs) {
        let (index, shards) = (self.index, self.shards);
        let Some(conn) = self.conn(id) else { return };
        match verdict {
            Err(refusal) => {
                conn.state = ConnState::Over;
                let Some((protocol, remote)) = self.peer_of(id) else { return };
                self.counters.refused += 1;
                // Only this refusal says that the app's key was right.
                let device = (refusal == Refusal::AppClosed).then(|| hello.login.newcomer()).flatten();
                let claim = hello.login.claim();
                self.work.events.push(Event::Knocked { protocol, remote, claim, device, refusal, at: unix });
                self.work.answers.push((id, Answer::Refused(refusal)));
            }
            Ok(admission) => {
                // Without a name there is no session to go on with: any shard will do, and this one is near.
                let nameless = hello.client.is_empty() && admission.party.device().is_none();
                let home = if nameless { index } else { home_shard(&admission.party, &hello.client, shards) };
                if home == index {
                    self.enter(id, hello, admission, now, unix);
                } else {
                    conn.state = ConnState::Over;
                    self.work.transfers.push((id, home, Box::new(Transfer { hello, admission })));
                }
            }
        }
    }

    /// A name for a client that has none. One that leads back here: a client that is told its name may come
    /// again with it.
    pub(crate) fn new_name(&mut self, party: &Party) -> Arc<str> {
        loop {
            self.names_given += 1;
            let name = format!("auto-{}-{}", self.index, self.names_given);
            let name: Arc<str> = name.into();
            // One that was given in an earlier run may still be somebody's.
            let free = self.sessions.find(party.key(), &name).is_none();
            if free && home_shard(party, &name, self.shards) == self.index {
                return name;
            }
        }
    }

    /// The peer belongs here and may come in.
    pub(crate) fn enter(&mut self, id: ConnId, hello: Hello, admission: Admission, now: Millis, unix: UnixMs) {
        // Whoever revokes an admission ends its lines after that: what comes in before it is found, what comes later is refused.
        if let Err(refusal) = self.gate.stands(&admission) {
            return self.decided(id, hello, Err(refusal), now, unix);
        }
        let client: Arc<str> = if hello.client.is_empty() { self.new_name(&admission.party) } else { hello.client.into() };
        let party = admission.party.as_client(&client);
        let mut known = self.sessions.find(party.key(), &client);
        let mut ending = None;
        if let Some(at) = known {
            if let Some(old) = self.sessions[at].conn {
                // One line a session: the newer wins [MQTT-3.1.4-2].
                let close = Close { fault: Fault::Nobody, why: "taken over by a newer connection of the same client".into() };
                self.line_gone(old, &close, now, unix);
                self.work.answers.push((old, Answer::Closing { ending: Ending::TakenOver, close }));
                // A session that was not to outlive its line ended with it.
                known = self.sessions.find(party.key(), &client);
            }
            if let Some(at) = known {
                self.counters.sessions_away -= 1;
                // Its time may be over since the last tick, or since the program was there last.
                let away = self.sessions[at].away.as_deref().copied();
                let (ends, will_at) = away.map_or((None, None), |away| (away.ends, away.will_at));
                if hello.clean || ends.is_some_and(|ends| ends <= now) {
                    // With its will, if that was still to come: both are on disk in one go.
                    let was_kept = self.sessions[at].kept.is_some();
                    ending = self.let_go(at, now, unix);
                    known = None;
                    if was_kept {
                        self.forgetting = self.journal.next();
                    }
                } else if will_at.is_some_and(|due| due <= now) {
                    self.will_due(at, now, unix);
                }
            }
        }
        if known.is_none() {
            self.make_room_for(party.key(), now, unix);
        }
        let resumed = known.is_some();
        // Also by an earlier line of this client, which was gone before it could be told.
        let forgot = self.forgetting > self.journal.kept();
        let at = known.unwrap_or_else(|| self.new_session(&client, party.clone()));
        let app_says = admission.settings.get(QUEUE_SETTING).and_then(|word| QueuePolicy::parse(word));
        let queue_policy = app_says.unwrap_or(self.commons.limits.queue_policy);
        let session = &mut self.sessions[at];
        session.conn = Some(id);
        session.party = party.clone();
        // Back in time: a will that waited is not needed [MQTT-3.1.3-9].
        session.away = None;
        session.in_flight_max = hello.inflight_max.clamp(1, self.commons.limits.in_flight);
        session.queue_policy = queue_policy;
        session.told_full = false;
        session.denials_told = 0;
        session.will = hello.will.map(Box::new);
        let (listens, will) = (session.listens_own, session.will.is_some());
        let waiting = session.durable().is_some() && session.has_backlog();
        if session.kept.is_none() && (hello.keep_s > 0 || will) {
            let id = SessionId(self.commons.next_number());
            session.kept = Some(Box::new(KeptAs { id, will: 0, noted: 0, here: 0, seq_last: 0, holding: 0, sent_before: 0 }));
        }
        self.set_keep_s(at, hello.keep_s);
        self.note_session(at, now);
        self.note_will(at, now);
        if let Some(kept) = &mut self.sessions[at].kept {
            kept.here = self.journal.next();
        }
        let Some(conn) = self.conn(id) else { return };
        conn.state = ConnState::In(at as u32);
        let Some((protocol, remote)) = self.peer_of(id) else { return };
        self.counters.welcomed += 1;
        let welcome = Answer::Welcome(Welcome {
            party: party.clone(),
            resumed,
            client,
            settings: admission.settings,
            enrolled: admission.enrolled,
        });
        if will || forgot || ending.is_some() {
            // What it entrusts us with, or has us forget, is so after a crash too.
            if let Some(kept) = &mut self.sessions[at].kept {
                kept.holding += 1;
            }
            let after = After { conn: id, answer: Box::new(welcome), hold: true };
            match ending {
                Some(promise) => self.welcomes.push((promise, after)),
                None => self.journal.wait(after),
            }
        } else {
            self.work.answers.push((id, welcome));
            if waiting {
                self.hold_until_here(at);
            }
            if self.sessions[at].has_next() {
                self.work.ready.push(id);
            }
        }
        self.load(at);
        self.share_online(at, true);
        if let Some(device) = party.device() {
            self.work.events.push(Event::LineOpened { device, protocol, remote, firmware: hello.firmware, at: unix });
            if listens {
                self.work.events.push(Event::Listening { device });
            }
        }
    }

    /// What is on disk of a session's queue is sent when it is on disk too that its line is there, so that
    /// after a crash the client is told that it may have seen it before [MQTT-3.3.1-1].
    pub(crate) fn hold_until_here(&mut self, at: usize) {
        let session = &mut self.sessions[at];
        if let (Some(conn), Some(kept)) = (session.conn, &mut session.kept)
            && kept.here > self.journal.kept()
        {
            kept.holding += 1;
            self.journal.wait(After { conn, answer: Box::new(Answer::Say(Vec::new())), hold: true });
        }
    }

    /// Of a device or token with too many sessions the one that has been away for longest goes.
    fn make_room_for(&mut self, party: PartyKey, now: Millis, unix: UnixMs) {
        let all = || self.sessions.listed(party);
        if all().nth(limits::SESSIONS_PER_PARTY_MAX - 1).is_none() {
            return;
        }
        let away = all().filter_map(|at| Some((self.sessions[at].away.as_deref()?.since, at)));
        if let Some((_, oldest)) = away.min() {
            self.counters.sessions_away -= 1;
            self.let_go(oldest, now, unix);
        }
    }

    /// A session of that name, with nothing in it.
    pub(crate) fn new_session(&mut self, client: &str, party: Arc<Party>) -> usize {
        let at = self.nameless_session(client, party);
        self.sessions.name(at);
        at
    }

    /// A session that nobody finds.
    pub(crate) fn nameless_session(&mut self, client: &str, party: Arc<Party>) -> usize {
        self.epoch_last = self.epoch_last.wrapping_add(1);
        self.sessions.insert(Session::new(client.into(), party, self.epoch_last))
    }
}
