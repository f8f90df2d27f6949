//! One shard of the hub: its connections and their sessions, logins, takeovers and ends. The floor
//! drives it; machines see it as `contract::Hub`, one connection at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use contract::{
    Admission, Answer, Bus, Close, ConnId, Delivery, Ending, Event, Fault, Gate, Hello, Hub, KeptSession, Login, Note, PromiseId,
    Refusal, SessionId, SessionPlace, Step, Ticket, Verdict, Welcome, Will,
};
use hashbrown::HashMap;
use model::limits::{self, Limits, QueuePolicy};
use model::{DeviceNumber, Filter, Message, Millis, Party, PartyKey, UnixMs};
use slab::Slab;
use smallvec::SmallVec;

use crate::access;
use crate::backlog::Next;
use crate::journal::{After, Journal, Publishing, Then};
use crate::mail::{Broadcast, Counters, Gathered, Mail, Safe, Transfer, Work};
use crate::retained::Retained;
use crate::session::{KeptAs, Session, SessionKey};
use crate::shared::{self, SharedGroups};
use crate::subscriptions::{Entry, Subscriptions};
use crate::verbs::Verbs;

/// The shard on which the sessions of `party` named `client` live. All of a device's sessions share a
/// shard, so that takeover, presence and pushes never leave it.
pub fn home_shard(party: &Party, client: &str, shards: u16) -> u16 {
    let number = match party {
        Party::Device { number, .. } => return home_of_device(*number, shards),
        // Any spread will do for the few others: FNV-1a over the session's name.
        _ => client.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)),
    };
    (number % u32::from(shards)) as u16
}

/// What all shards share.
#[derive(Default)]
pub struct Commons {
    pub(crate) limits: Limits,
    pub(crate) retained: Retained,
    pub(crate) groups: SharedGroups,
    /// Sessions that are kept across a restart, in all shards.
    keeping: AtomicUsize,
    /// The highest number of a kept session or message.
    number_last: AtomicU64,
}

impl Commons {
    /// What shards share under the owner's limits.
    pub fn new(limits: Limits) -> Commons {
        Commons { limits, retained: Retained::new(limits), ..Commons::default() }
    }

    /// A number for a session or a message that is to be kept.
    pub(crate) fn next_number(&self) -> u64 {
        self.number_last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Goes on counting behind what was given before the program was started.
    pub(crate) fn count_from(&self, number_last: u64) {
        self.number_last.store(number_last, Ordering::Relaxed);
    }

    /// Whether there is a session anywhere that messages are kept for.
    pub(crate) fn keeps(&self) -> bool {
        self.keeping.load(Ordering::Acquire) > 0
    }

    /// Whether there is one beside the `own` of a shard.
    pub(crate) fn keeps_beside(&self, own: usize) -> bool {
        self.keeping.load(Ordering::Acquire) > own
    }
}

/// A moment of the monotonic clock by the wall clock, with both as they stand now.
pub(crate) fn unix_at((now, unix): (Millis, UnixMs), at: Option<Millis>) -> Option<UnixMs> {
    at.map(|at| UnixMs(unix.0.saturating_add_unsigned(at.0).saturating_sub_unsigned(now.0)))
}

/// The home shard of a device.
pub fn home_of_device(device: DeviceNumber, shards: u16) -> u16 {
    (device.0 % u32::from(shards)) as u16
}

/// Whether the sessions of a party are few, so that a list of them pays. A whole fleet may share an
/// account or come as nobody; for those, a kick looks through all sessions instead.
fn is_grouped(party: &PartyKey) -> bool {
    matches!(party, PartyKey::Device(_) | PartyKey::Token(_))
}

/// The app's setting that says what happens when a queue is full.
const QUEUE_SETTING: &str = "session.queue";

struct Conn {
    generation: u32,
    protocol: &'static str,
    remote: SocketAddr,
    state: ConnState,
}

enum ConnState {
    /// Nothing said yet.
    New,
    /// Nothing said yet, and this login stands in if nothing will be presented.
    Vouched(Box<Login>),
    /// The gate is thinking.
    Asking(Box<Hello>),
    /// Has a session.
    In(usize),
    /// Refused, taken over or leaving for another shard: nothing more to do but close.
    Over,
}

/// One shard.
pub struct Shard {
    pub(crate) index: u16,
    pub(crate) shards: u16,
    gate: Arc<dyn Gate>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) commons: Arc<Commons>,
    conns: Vec<Option<Conn>>,
    pub(crate) sessions: Slab<Session>,
    by_key: HashMap<SessionKey, usize>,
    /// The sessions of each device and token, see [`is_grouped`].
    by_party: HashMap<PartyKey, SmallVec<[u32; 4]>>,
    pub(crate) subscriptions: Subscriptions,
    /// Sessions without a line for which something is to happen by itself, by place and epoch. Looked
    /// through at each tick.
    pub(crate) ending: Vec<(usize, u32)>,
    /// The number behind the last note that a session has ended because its client wanted it forgotten.
    forgetting: u64,
    /// Sessions whose queues could not be read. Tried again at each tick.
    pub(crate) unread: Vec<SessionPlace>,
    epoch_last: u32,
    names_given: u64,
    /// What is to outlive the program, on its way to the disk.
    pub(crate) journal: Journal,
    /// While a message is routed: the promise under which everywhere that it waits is gathered.
    pub(crate) gathering: Option<PromiseId>,
    /// What was gathered.
    pub(crate) gathered: HashMap<PromiseId, Vec<Gathered>>,
    /// How many of `sessions` messages are kept for.
    pub(crate) keeping: usize,
    /// Both clocks as they were told last.
    pub(crate) time: (Millis, UnixMs),
    pub(crate) counters: Counters,
    pub(crate) work: Work,
    /// Scratch for matching, kept so that routing does not allocate.
    pub(crate) found: Vec<Entry>,
}

impl Shard {
    /// Shard `index` of `shards`.
    pub fn new(index: u16, shards: u16, gate: Arc<dyn Gate>, bus: Arc<dyn Bus>, commons: Arc<Commons>) -> Shard {
        Shard {
            index,
            shards,
            gate,
            bus,
            commons,
            conns: Vec::new(),
            sessions: Slab::new(),
            by_key: HashMap::new(),
            by_party: HashMap::new(),
            subscriptions: Subscriptions::default(),
            ending: Vec::new(),
            forgetting: 0,
            unread: Vec::new(),
            epoch_last: 0,
            names_given: 0,
            journal: Journal::default(),
            gathering: None,
            gathered: HashMap::new(),
            keeping: 0,
            time: (Millis(0), UnixMs(0)),
            counters: Counters::default(),
            work: Work::default(),
            found: Vec::new(),
        }
    }

    /// What the owner lets peers use.
    pub fn limits(&self) -> Limits {
        self.commons.limits
    }

    /// Both clocks, for all calls until the next telling.
    pub fn set_time(&mut self, now: Millis, unix: UnixMs) {
        self.time = (now, unix);
    }

    /// A moment of the monotonic clock by the wall clock.
    pub(crate) fn unix_at(&self, at: Option<Millis>) -> Option<UnixMs> {
        unix_at(self.time, at)
    }

    fn conn(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(conn.index as usize)?.as_mut().filter(|c| c.generation == conn.generation)
    }

    /// The session of a connection that is in.
    pub(crate) fn session_of(&self, conn: ConnId) -> Option<usize> {
        match self.conns.get(conn.index as usize)?.as_ref()? {
            Conn { generation, state: ConnState::In(session), .. } if *generation == conn.generation => Some(*session),
            _ => None,
        }
    }

    pub(crate) fn peer_of(&self, conn: ConnId) -> Option<(&'static str, SocketAddr)> {
        self.conns.get(conn.index as usize)?.as_ref().map(|c| (c.protocol, c.remote))
    }

    /// The sessions of a device that have a line.
    pub(crate) fn lines_of(&self, device: DeviceNumber) -> impl Iterator<Item = usize> + '_ {
        let all = self.by_party.get(&PartyKey::Device(device)).map(SmallVec::as_slice).unwrap_or_default();
        all.iter().map(|at| *at as usize).filter(|at| self.sessions[*at].conn.is_some())
    }

    // ---- coming in ----

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
        let remote = conn.remote;
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
        debug_assert!(matches!(conn.state, ConnState::New), "proofs come before the hello");
        let remote = conn.remote;
        self.gate.scram(user, remote, Ticket { shard: index, conn: id, session: None, promise: None, token: 0 });
    }

    fn decided(&mut self, id: ConnId, hello: Hello, verdict: Verdict, now: Millis, unix: UnixMs) {
        let (index, shards) = (self.index, self.shards);
        let Some(conn) = self.conn(id) else { return };
        match verdict {
            Err(refusal) => {
                conn.state = ConnState::Over;
                let (protocol, remote) = (conn.protocol, conn.remote);
                self.counters.refused += 1;
                self.work.events.push(Event::Knocked { protocol, remote, claim: hello.login.claim(), refusal, at: unix });
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
    fn new_name(&mut self, party: &Party) -> Arc<str> {
        loop {
            self.names_given += 1;
            let name = format!("auto-{}-{}", self.index, self.names_given);
            if home_shard(party, &name, self.shards) == self.index {
                return name.into();
            }
        }
    }

    /// The peer belongs here and may come in.
    fn enter(&mut self, id: ConnId, hello: Hello, admission: Admission, now: Millis, unix: UnixMs) {
        let client: Arc<str> = if hello.client.is_empty() { self.new_name(&admission.party) } else { hello.client.into() };
        let party = admission.party.as_client(&client);
        let key = SessionKey::new(&party, client.clone());
        let mut known = self.by_key.get(&key).copied();
        if let Some(at) = known {
            if let Some(old) = self.sessions[at].conn {
                // One line a session: the newer wins [MQTT-3.1.4-2].
                let close = Close { fault: Fault::Nobody, why: "taken over by a newer connection of the same client".into() };
                self.line_gone(old, &close, now, unix);
                self.work.answers.push((old, Answer::Closing { ending: Ending::TakenOver, close }));
                // A session that was not to outlive its line ended with it.
                known = self.by_key.get(&key).copied();
            }
            if let Some(at) = known {
                self.counters.sessions_away -= 1;
                let (ends, will_at) = (self.sessions[at].ends, self.sessions[at].will_at);
                // Its time may be over since the last tick, or since the program was there last.
                let over = ends.is_some_and(|ends| ends <= now);
                if will_at.is_some_and(|at| at <= now) {
                    self.will_due(at, now, unix);
                }
                if hello.clean || over {
                    let was_kept = self.sessions[at].kept.is_some();
                    self.end_session(at, now, unix);
                    known = None;
                    if was_kept {
                        self.forgetting = self.journal.next();
                    }
                }
            }
        }
        let resumed = known.is_some();
        // Also by an earlier line of this client, which was gone before it could be told.
        let forgot = self.forgetting > self.journal.kept();
        let at = known.unwrap_or_else(|| self.new_session(key, party.clone()));
        let app_says = admission.settings.get(QUEUE_SETTING).and_then(|word| QueuePolicy::parse(word));
        let queue_policy = app_says.unwrap_or(self.commons.limits.queue_policy);
        let session = &mut self.sessions[at];
        session.conn = Some(id);
        session.party = party.clone();
        session.ends = None;
        // Back in time: a will that waited is not needed [MQTT-3.1.3-9].
        session.will_at = None;
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
        conn.state = ConnState::In(at);
        let (protocol, remote) = (conn.protocol, conn.remote);
        self.counters.welcomed += 1;
        let welcome = Answer::Welcome(Welcome {
            party: party.clone(),
            resumed,
            client,
            settings: admission.settings,
            enrolled: admission.enrolled,
        });
        if will || forgot {
            // What it entrusts us with, or has us forget, is so after a crash too.
            if let Some(kept) = &mut self.sessions[at].kept {
                kept.holding += 1;
            }
            self.journal.wait(After { conn: id, answer: Box::new(welcome), hold: true });
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

    /// A session of that name, with nothing in it.
    pub(crate) fn new_session(&mut self, key: SessionKey, party: Arc<Party>) -> usize {
        self.epoch_last = self.epoch_last.wrapping_add(1);
        let at = self.sessions.insert(Session::new(key.client.clone(), party.clone(), self.epoch_last));
        self.by_key.insert(key, at);
        if is_grouped(&party.key()) {
            self.by_party.entry(party.key()).or_default().push(at as u32);
        }
        at
    }

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
            client: session.client.clone(),
            keep_s: session.keep_s,
            away: session.conn.is_none().then_some(session.away),
            sent,
        });
        self.journal.note(note, due);
    }

    /// Notes the will of a session, or that it has none any more, if that is news to the vault.
    pub(crate) fn note_will(&mut self, at: usize, now: Millis) {
        let session = &mut self.sessions[at];
        let (Some(kept), will) = (&mut session.kept, session.will.clone()) else { return };
        if will.is_some() || kept.will != 0 {
            kept.will = if will.is_some() { self.commons.next_number() } else { 0 };
            self.journal.note(Note::Will { session: kept.id, number: kept.will, will }, now);
        }
    }

    // ---- going out ----

    /// The connection no longer carries its session: the will goes out, the session ends or waits.
    fn line_gone(&mut self, id: ConnId, close: &Close, now: Millis, unix: UnixMs) {
        let Some(at) = self.session_of(id) else { return };
        let Some(conn) = self.conn(id) else { return };
        conn.state = ConnState::Over;
        let (protocol, remote) = (conn.protocol, conn.remote);
        let session = &mut self.sessions[at];
        session.conn = None;
        session.away = unix;
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
            self.end_session(at, now, unix);
            return;
        }
        self.counters.sessions_away += 1;
        let epoch = session.epoch;
        session.ends = (session.keep_s != u32::MAX).then(|| now.plus_s(u64::from(session.keep_s)));
        session.will_at = session.will.as_ref().map(|will| now.plus_s(u64::from(will.delay_s)));
        if session.will_at == Some(now) {
            self.will_due(at, now, unix);
        }
        self.note_session(at, now.plus_ms(u64::from(self.commons.limits.commit_window_ms)));
        let session = &self.sessions[at];
        if session.ends.is_some() || session.will_at.is_some() {
            self.ending.push((at, epoch));
        }
    }

    /// The time of a session's will has come.
    fn will_due(&mut self, at: usize, now: Millis, unix: UnixMs) {
        let session = &mut self.sessions[at];
        session.will_at = None;
        let Some(will) = session.will.take() else { return };
        let party = session.party.clone();
        let said = session.kept.as_mut().map(|kept| Note::WillSaid(kept.id, std::mem::take(&mut kept.will)));
        self.together(said, now, |shard, promise| shard.publish_will(&party, *will, promise, now, unix));
    }

    /// Does `work` and keeps in one go all that comes of it, together with what it comes `from`.
    fn together(&mut self, from: Option<Note>, now: Millis, work: impl FnOnce(&mut Shard, Option<PromiseId>)) {
        let Some(from) = from else { return work(self, None) };
        let promise = self.journal.begin(Then::Gathered(Box::new(Publishing { from, client: None })));
        self.gathering = Some(promise);
        work(self, Some(promise));
        self.gathering = None;
        self.journal.settle(promise, Ok(()));
        self.follow_journal(now);
    }

    /// Tells the groups of a session whether it has a line.
    fn share_online(&mut self, at: usize, online: bool) {
        let session = &self.sessions[at];
        let place = SessionPlace { index: at as u32, epoch: session.epoch };
        for filter in &session.filters {
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

    fn publish_will(&mut self, party: &Party, will: Will, promise: Option<PromiseId>, now: Millis, unix: UnixMs) {
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
        if will.retain && self.retain(&message, promise, now).is_err() {
            self.counters.dropped += 1;
        }
        if let (Some(device), model::topic::Space::Device { .. }) = (party.device(), message.topic.space()) {
            self.work.events.push(Event::Up { device, message: message.clone(), ticket: None });
        }
        self.route(&message, None, promise, now);
    }

    /// Forgets a session without a line and everything that waits in it. A will that was still to come
    /// comes now; a message of a shared subscription goes to another member.
    pub(crate) fn end_session(&mut self, at: usize, now: Millis, unix: UnixMs) {
        let left: Vec<_> = self.sessions[at].take_backlog().into_iter().flat_map(|b| b.into_left()).collect();
        for (waiting, _) in &left {
            self.step_of(at, &waiting.message, Step::Lost, unix);
        }
        self.set_keep_s(at, 0);
        let mut session = self.sessions.remove(at);
        self.by_key.remove(&session.key());
        for filter in &session.filters {
            self.unwant(at, session.epoch, filter);
        }
        let party = session.party.key();
        if let Some(all) = self.by_party.get_mut(&party) {
            all.retain(|place| *place as usize != at);
            if all.is_empty() {
                self.by_party.remove(&party);
            }
        }
        let ended = session.kept.as_ref().map(|kept| Note::Ended(kept.id));
        self.together(ended, now, |shard, promise| {
            if let Some(will) = session.will.take() {
                shard.publish_will(&session.party, *will, promise, now, unix);
            }
            for (waiting, _) in left.into_iter().filter(|(_, may_move)| *may_move) {
                shard.give_another(waiting, promise, now);
            }
        });
    }

    /// A publish that had to be kept is, or is not. An exactly-once publish is answered on whatever line
    /// the session has now; any other only where it came from, because on a newer line the peer may have
    /// given its id to something else.
    pub(crate) fn published(&mut self, place: SessionPlace, from: ConnId, token: u32, result: Result<(), Refusal>) {
        let Some(session) = self.sessions.get_mut(place.index as usize).filter(|s| s.epoch == place.epoch) else { return };
        let exactly_once = session.with_backlog(|b| b.claim_answered(token, result.is_ok())).unwrap_or(false);
        let Some(conn) = session.conn.filter(|conn| exactly_once || *conn == from) else { return };
        let answers = &mut self.work.answers;
        // A newer line on which it was not repeated yet may not even have been welcomed: it is answered there when it is.
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
                        Ok(()) => self.keep_together(publishing, gathered, now),
                        Err(_) => self.kept_together(*publishing, gathered, result),
                    },
                    Then::Together(publishing, gathered) => self.kept_together(*publishing, gathered, result),
                    Then::Shard(Safe { shard, promise, together: true }) => {
                        self.work.posts.push((shard, Mail::Gathered(promise, gathered)));
                    }
                    Then::Shard(Safe { shard, promise, .. }) => self.work.posts.push((shard, Mail::Safe(promise, result))),
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
            for (place, number) in std::mem::take(&mut self.journal.refused) {
                if let Some(session) = self.sessions.get_mut(place.index as usize).filter(|s| s.epoch == place.epoch)
                    && session.with_backlog(|b| b.refused(number)) == Some(true)
                {
                    self.counters.dropped += 1;
                }
            }
            if self.journal.finished.is_empty() {
                return;
            }
        }
    }

    fn kick(&mut self, whom: PartyKey, why: &Close, forget: bool, now: Millis, unix: UnixMs) {
        let all = match is_grouped(&whom) {
            true => self.by_party.get(&whom).cloned().unwrap_or_default(),
            false => self.sessions.iter().filter(|(_, s)| s.party.key() == whom).map(|(at, _)| at as u32).collect(),
        };
        for at in all {
            let at = at as usize;
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
                self.end_session(at, now, unix);
            }
        }
    }
}

/// Towards the floor, which owns the machines and knows when bytes come and go.
impl Shard {
    /// The verbs for one connection, for as long as one call into a machine lasts.
    pub fn verbs(&mut self, conn: ConnId, now: Millis, unix: UnixMs) -> impl Hub + '_ {
        Verbs { shard: self, conn, now, unix }
    }

    /// A connection was accepted here.
    pub fn opened(&mut self, id: ConnId, protocol: &'static str, remote: SocketAddr) {
        let at = id.index as usize;
        if self.conns.len() <= at {
            self.conns.resize_with(at + 1, || None);
        }
        debug_assert!(self.conns[at].is_none(), "a place is free before it is used again");
        self.conns[at] = Some(Conn { generation: id.generation, protocol, remote, state: ConnState::New });
    }

    /// What came before the protocol has shown who the peer is: `login` stands in if it presents nothing.
    pub fn vouch(&mut self, id: ConnId, login: Login) {
        if let Some(conn) = self.conn(id)
            && matches!(conn.state, ConnState::New)
        {
            conn.state = ConnState::Vouched(Box::new(login));
        }
    }

    /// A connection was handed over from another shard, after `opened`.
    pub fn arrived(&mut self, conn: ConnId, transfer: Transfer, now: Millis, unix: UnixMs) {
        self.enter(conn, transfer.hello, transfer.admission, now, unix);
    }

    /// A connection is gone, whatever the reason.
    pub fn closed(&mut self, id: ConnId, close: &Close, now: Millis, unix: UnixMs) {
        self.line_gone(id, close, now, unix);
        let Some(conn) = self.conn(id) else { return };
        let stranger = matches!(conn.state, ConnState::New | ConnState::Vouched(_) | ConnState::Asking(_));
        let (protocol, remote) = (conn.protocol, conn.remote);
        self.conns[id.index as usize] = None;
        // A line that breaks before its owner is known is everyday life (scanners, health checks).
        if stranger && !matches!(close.fault, Fault::Nobody | Fault::Line) {
            self.work.events.push(Event::Faulted { protocol, remote, device: None, close: close.clone(), at: unix });
        }
    }

    /// Mail came in.
    pub fn mail(&mut self, mail: Mail, now: Millis, unix: UnixMs) {
        match mail {
            Mail::Message(Broadcast { message, safe }) => {
                self.keep_for(safe, |shard, promise| shard.route_here(&message, None, promise, now));
            }
            Mail::Publish(message) => {
                if message.retain && self.retain(&message, None, now).is_err() {
                    self.counters.dropped += 1;
                }
                self.route(&message, None, None, now);
            }
            Mail::Shared { session, waiting, safe } => {
                self.keep_for(safe, |shard, promise| shard.give_shared(session, *waiting, promise, now));
            }
            Mail::Safe(promise, result) => self.journal.settle(promise, result),
            Mail::Gathered(promise, gathered) => {
                self.gathered.entry(promise).or_default().extend(gathered);
                self.journal.settle(promise, Ok(()));
            }
            Mail::Together(places, result) => self.go_on(places, result),
            Mail::Kept(result) => self.journal.answered(result, now),
            Mail::Came(place, rows) => self.came(place, rows),
            Mail::Push(message) => self.push(&message, now, unix),
            Mail::Verdict(ticket, verdict) => {
                let Some(conn) = self.conn(ticket.conn) else { return };
                match std::mem::replace(&mut conn.state, ConnState::New) {
                    ConnState::Asking(hello) => self.decided(ticket.conn, *hello, verdict, now, unix),
                    other => conn.state = other,
                }
            }
            Mail::Scram(ticket, keys) => {
                if self.conn(ticket.conn).is_some_and(|conn| matches!(conn.state, ConnState::New)) {
                    self.work.answers.push((ticket.conn, Answer::Scram(keys)));
                }
            }
            Mail::Published(ticket, result) => match (ticket.promise, ticket.session) {
                (Some(promise), _) => self.journal.settle(promise, result),
                (None, Some(place)) => self.published(place, ticket.conn, ticket.token, result),
                (None, None) => {}
            },
            Mail::Kick { whom, why, forget } => self.kick(whom, &why, forget, now, unix),
        }
    }

    /// Does `work` under a promise to another shard, which hears of it when all is kept, or of what it is to keep.
    fn keep_for(&mut self, safe: Option<Safe>, work: impl FnOnce(&mut Shard, Option<PromiseId>)) {
        let own = safe.map(|safe| self.journal.begin(Then::Shard(safe)));
        self.gathering = own.filter(|_| safe.is_some_and(|safe| safe.together));
        work(self, own);
        self.gathering = None;
        if let Some(own) = own {
            self.journal.settle(own, Ok(()));
        }
    }

    /// The next thing for a connection's peer, if its window is open.
    pub fn next_delivery(&mut self, conn: ConnId, now: Millis, unix: UnixMs) -> Option<Delivery> {
        let at = self.session_of(conn)?;
        loop {
            let session = &mut self.sessions[at];
            if session.kept.as_ref().is_some_and(|kept| kept.holding > 0) {
                return None;
            }
            let (window, journal) = (session.in_flight_max, &self.journal);
            match session.with_backlog(|b| b.next(now, window, journal.kept()))? {
                Next::Nothing => return None,
                Next::Expired(done) => {
                    self.counters.expired += 1;
                    self.forget_place(at, &done, now);
                    self.step_of(at, &done.message, Step::Lost, unix);
                }
                Next::Give(delivery) => {
                    self.counters.delivered += 1;
                    if let Delivery::Message { message, slot, retained: false, again: false, .. } = &delivery
                        && let (Party::Device { number, id, .. }, model::topic::Space::Device { id: whose, .. }) =
                            (&*session.party, message.topic.space())
                        && whose == id.as_str()
                        && message.source != Some(*number)
                    {
                        let device = *number;
                        self.work.events.push(Event::Down { device, message: message.clone(), at: unix });
                        if message.receipt.is_some_and(|r| r.device == device) {
                            let step = if slot.is_some() { Step::Sent } else { Step::SentAtMostOnce };
                            self.step(message, step, unix);
                        }
                    }
                    return Some(delivery);
                }
            }
        }
    }

    /// Time passes: sessions whose keeping ended go, and what could not be read is asked for again.
    pub fn tick(&mut self, now: Millis, unix: UnixMs) {
        for place in std::mem::take(&mut self.unread) {
            if self.sessions.get(place.index as usize).is_some_and(|s| s.epoch == place.epoch) {
                self.load(place.index as usize);
            }
        }
        let mut ending = std::mem::take(&mut self.ending);
        ending.retain(|&(at, epoch)| {
            let Some(session) = self.sessions.get(at).filter(|s| s.epoch == epoch && s.conn.is_none()) else { return false };
            let (ends, will_at) = (session.ends, session.will_at);
            if ends.is_some_and(|ends| ends <= now) {
                if self.must_be_read(at) {
                    return true;
                }
                self.counters.sessions_away -= 1;
                self.end_session(at, now, unix);
                return false;
            }
            if will_at.is_some_and(|at| at <= now) {
                self.will_due(at, now, unix);
            }
            ends.is_some() || self.sessions[at].will_at.is_some()
        });
        ending.append(&mut self.ending);
        self.ending = ending;
    }

    /// Whether others of a group are to have what lies on disk of a session, which was not read yet.
    fn must_be_read(&mut self, at: usize) -> bool {
        let session = &mut self.sessions[at];
        let shares = session.filters.iter().any(|filter| shared_parts(filter).is_some());
        shares && session.with_backlog(|b| b.is_stored()) == Some(true)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        let sessions = self.sessions.len() as u64;
        let retained = if self.index == 0 { self.commons.retained.len() as u64 } else { 0 };
        let (noted, taken_back) = self.journal.counted;
        Counters { sessions, retained, subscriptions: self.subscriptions.len() as u64, noted, taken_back, ..self.counters }
    }

    /// What is to be done.
    pub fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

/// Group and filter of a shared subscription as a session holds it.
pub(crate) fn shared_parts(held: &Filter) -> Option<(&str, Filter)> {
    let (group, filter) = shared::split(held.as_str()).flatten()?;
    Some((group, Filter::parse(filter).ok()?))
}
