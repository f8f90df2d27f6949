//! One shard of the hub: its connections and their sessions, logins, takeovers and ends. The floor
//! drives it; machines see it as `contract::Hub`, one connection at a time.

use std::net::SocketAddr;
use std::sync::Arc;

use contract::{
    Accepted, Admission, Answer, Bus, Close, ConnId, Delivery, Event, Fault, Gate, Hello, Hub, Outcome, Publish, Refusal,
    Released, SessionPlace, Slot, Step, SubscribeOptions, Ticket, Verdict, Welcome, Will,
};
use hashbrown::HashMap;
use model::limits;
use model::{DeviceNumber, Message, Millis, Party, PartyKey, Qos, UnixMs};
use slab::Slab;
use smallvec::SmallVec;

use crate::access;
use crate::backlog::{Next, Waiting};
use crate::mail::{Counters, Mail, Transfer, Work};
use crate::retained::Retained;
use crate::session::{Session, SessionKey};
use crate::subscriptions::{Entry, Subscriptions};

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

/// The home shard of a device.
pub fn home_of_device(device: DeviceNumber, shards: u16) -> u16 {
    (device.0 % u32::from(shards)) as u16
}

struct Conn {
    generation: u32,
    protocol: &'static str,
    remote: SocketAddr,
    state: ConnState,
}

enum ConnState {
    /// Nothing said yet.
    New,
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
    pub(crate) retained: Arc<Retained>,
    conns: Vec<Option<Conn>>,
    pub(crate) sessions: Slab<Session>,
    by_key: HashMap<SessionKey, usize>,
    /// The sessions of each device and token; those of anonymous clients have nothing in common.
    by_party: HashMap<PartyKey, SmallVec<[u32; 4]>>,
    pub(crate) subscriptions: Subscriptions,
    /// Sessions without a line that end by themselves, by place and epoch. Looked through at each tick.
    ending: Vec<(usize, u32)>,
    epoch_last: u32,
    names_given: u64,
    pub(crate) counters: Counters,
    pub(crate) work: Work,
    /// Scratch for matching, kept so that routing does not allocate.
    pub(crate) found: Vec<Entry>,
}

impl Shard {
    /// Shard `index` of `shards`.
    pub fn new(index: u16, shards: u16, gate: Arc<dyn Gate>, bus: Arc<dyn Bus>, retained: Arc<Retained>) -> Shard {
        Shard {
            index,
            shards,
            gate,
            bus,
            retained,
            conns: Vec::new(),
            sessions: Slab::new(),
            by_key: HashMap::new(),
            by_party: HashMap::new(),
            subscriptions: Subscriptions::default(),
            ending: Vec::new(),
            epoch_last: 0,
            names_given: 0,
            counters: Counters::default(),
            work: Work::default(),
            found: Vec::new(),
        }
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

    fn hello(&mut self, id: ConnId, hello: Hello, now: Millis, unix: UnixMs) {
        let index = self.index;
        let Some(conn) = self.conn(id) else { return };
        debug_assert!(matches!(conn.state, ConnState::New), "a machine says hello once");
        if hello.client.len() > limits::CLIENT_ID_BYTES_MAX {
            return self.decided(id, hello, Err(Refusal::BadClientId), now, unix);
        }
        let remote = conn.remote;
        match self.gate.admit(&hello.login, remote, Ticket { shard: index, conn: id, session: None, token: 0 }) {
            Some(verdict) => self.decided(id, hello, verdict, now, unix),
            None => {
                if let Some(conn) = self.conn(id) {
                    conn.state = ConnState::Asking(Box::new(hello));
                }
            }
        }
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
                let home = home_shard(&admission.party, &hello.client, shards);
                if home == index {
                    self.enter(id, hello, admission, now, unix);
                } else {
                    conn.state = ConnState::Over;
                    self.work.transfers.push((id, home, Box::new(Transfer { hello, admission })));
                }
            }
        }
    }

    /// The peer belongs here and may come in.
    fn enter(&mut self, id: ConnId, hello: Hello, admission: Admission, now: Millis, unix: UnixMs) {
        let party = admission.party;
        let client: Arc<str> = if hello.client.is_empty() {
            self.names_given += 1;
            format!("auto-{}-{}", self.index, self.names_given).into()
        } else {
            hello.client.into()
        };
        let key = SessionKey::new(&party, client.clone());
        let mut known = self.by_key.get(&key).copied();
        if let Some(at) = known {
            if let Some(old) = self.sessions[at].conn {
                // One line a session: the newer wins [MQTT-3.1.4-2].
                let close = Close { fault: Fault::Nobody, why: "taken over by a newer connection of the same client".into() };
                self.line_gone(old, &close, now, unix);
                self.work.answers.push((old, Answer::Closing(close)));
                // A session that was not to outlive its line ended with it.
                known = self.by_key.get(&key).copied();
            }
            if let Some(at) = known {
                self.counters.sessions_away -= 1;
                if hello.clean {
                    self.end_session(at, unix);
                    known = None;
                }
            }
        }
        let resumed = known.is_some();
        let at = known.unwrap_or_else(|| {
            self.epoch_last = self.epoch_last.wrapping_add(1);
            let at = self.sessions.insert(Session::new(client.clone(), party.clone(), self.epoch_last));
            self.by_key.insert(key, at);
            if *party != Party::Anonymous {
                self.by_party.entry(party.key()).or_default().push(at as u32);
            }
            at
        });
        let session = &mut self.sessions[at];
        session.conn = Some(id);
        session.keep_s = hello.keep_s;
        session.ends = None;
        session.in_flight_max = hello.inflight_max.clamp(1, limits::INFLIGHT_MAX);
        session.denials_told = 0;
        session.will = hello.will.map(Box::new);
        let (waits, listens) = (session.has_next(), session.listens_own);
        let Some(conn) = self.conn(id) else { return };
        conn.state = ConnState::In(at);
        let (protocol, remote) = (conn.protocol, conn.remote);
        self.counters.welcomed += 1;
        self.work.answers.push((
            id,
            Answer::Welcome(Welcome {
                party: party.clone(),
                resumed,
                client,
                settings: admission.settings,
                enrolled: admission.enrolled,
            }),
        ));
        if waits {
            self.work.ready.push(id);
        }
        if let Some(device) = party.device() {
            self.work.events.push(Event::LineOpened { device, protocol, remote, firmware: hello.firmware, at: unix });
            if listens {
                self.work.events.push(Event::Listening { device });
            }
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
        let party = session.party.clone();
        let will = session.will.take();
        let unsent = session.with_backlog(|b| b.line_lost()).unwrap_or_default();
        for message in unsent {
            self.step(&message, Step::Lost, unix);
        }
        if let Some(device) = party.device() {
            self.work.events.push(Event::LineClosed { device, protocol, close: close.clone(), at: unix });
        }
        if !matches!(close.fault, Fault::Nobody | Fault::Line) {
            self.work.events.push(Event::Faulted { protocol, remote, device: party.device(), close: close.clone(), at: unix });
        }
        if let Some(will) = will {
            self.publish_will(&party, *will, now, unix);
        }
        let away_max = limits::SESSIONS_AWAY_MAX as u64 / u64::from(self.shards);
        let session = &mut self.sessions[at];
        if session.keep_s == 0 || self.counters.sessions_away >= away_max {
            self.end_session(at, unix);
            return;
        }
        self.counters.sessions_away += 1;
        if session.keep_s != u32::MAX {
            session.ends = Some(now.plus_s(u64::from(session.keep_s)));
            let epoch = session.epoch;
            self.ending.push((at, epoch));
        }
    }

    fn publish_will(&mut self, party: &Party, will: Will, now: Millis, unix: UnixMs) {
        // The rules are the same as for a publish; one that is not allowed is silently not sent, because
        // nobody is left to be told.
        let Ok(topic) = access::topic_to_publish(party, &will.topic) else {
            self.counters.denied += 1;
            return;
        };
        let message = Arc::new(Message {
            qos: will.qos,
            retain: will.retain,
            source: party.device(),
            ..Message::new(topic, will.payload, unix)
        });
        if will.retain && self.retained.set(&message).is_err() {
            self.counters.dropped += 1;
        }
        if let (Some(device), model::topic::Space::Device { .. }) = (party.device(), message.topic.space()) {
            self.work.events.push(Event::Up { device, message: message.clone(), ticket: None });
        }
        self.route(&message, now);
    }

    /// Forgets a session without a line and everything that waits in it.
    fn end_session(&mut self, at: usize, unix: UnixMs) {
        let mut session = self.sessions.remove(at);
        self.by_key.remove(&session.key());
        for filter in &session.filters {
            self.subscriptions.remove(filter, at as u32);
        }
        let party = session.party.key();
        if let Some(all) = self.by_party.get_mut(&party) {
            all.retain(|place| *place as usize != at);
            if all.is_empty() {
                self.by_party.remove(&party);
            }
        }
        for message in session.take_backlog().into_iter().flat_map(|b| b.into_messages()) {
            self.step(&message, Step::Lost, unix);
        }
    }

    /// A publish that had to be kept is, or is not. An exactly-once publish is answered on whatever line
    /// the session has now; any other only where it came from, because on a newer line the peer may have
    /// given its id to something else.
    fn published(&mut self, ticket: Ticket, result: Result<(), Refusal>) {
        let Some(SessionPlace { index, epoch }) = ticket.session else { return };
        let Some(session) = self.sessions.get_mut(index as usize).filter(|s| s.epoch == epoch) else { return };
        let exactly_once = session.with_backlog(|b| b.claim_answered(ticket.token, result.is_ok())).unwrap_or(false);
        if let Some(conn) = session.conn
            && (exactly_once || conn == ticket.conn)
        {
            self.work.answers.push((conn, Answer::Published { token: ticket.token, result }));
        }
    }

    fn kick(&mut self, whom: PartyKey, why: &Close, forget: bool, now: Millis, unix: UnixMs) {
        let all = self.by_party.get(&whom).cloned().unwrap_or_default();
        for at in all {
            let at = at as usize;
            if let Some(conn) = self.sessions[at].conn {
                if forget {
                    // Gone for good: its session must not wait for it, nor its will speak for it.
                    self.sessions[at].keep_s = 0;
                    self.sessions[at].will = None;
                }
                self.line_gone(conn, why, now, unix);
                self.work.answers.push((conn, Answer::Closing(why.clone())));
            } else if forget {
                self.counters.sessions_away -= 1;
                self.end_session(at, unix);
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

    /// A connection was handed over from another shard, after `opened`.
    pub fn arrived(&mut self, conn: ConnId, transfer: Transfer, now: Millis, unix: UnixMs) {
        self.enter(conn, transfer.hello, transfer.admission, now, unix);
    }

    /// A connection is gone, whatever the reason.
    pub fn closed(&mut self, id: ConnId, close: &Close, now: Millis, unix: UnixMs) {
        self.line_gone(id, close, now, unix);
        let Some(conn) = self.conn(id) else { return };
        let stranger = matches!(conn.state, ConnState::New | ConnState::Asking(_));
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
            Mail::Message(message) => self.route_here(&message, now),
            Mail::Push(message) => self.push(&message, now, unix),
            Mail::Verdict(ticket, verdict) => {
                let Some(conn) = self.conn(ticket.conn) else { return };
                match std::mem::replace(&mut conn.state, ConnState::New) {
                    ConnState::Asking(hello) => self.decided(ticket.conn, *hello, verdict, now, unix),
                    other => conn.state = other,
                }
            }
            Mail::Published(ticket, result) => self.published(ticket, result),
            Mail::Kick { whom, why, forget } => self.kick(whom, &why, forget, now, unix),
        }
    }

    /// The next thing for a connection's peer, if its window is open.
    pub fn next_delivery(&mut self, conn: ConnId, now: Millis, unix: UnixMs) -> Option<Delivery> {
        let at = self.session_of(conn)?;
        loop {
            let session = &mut self.sessions[at];
            let window = session.in_flight_max;
            match session.with_backlog(|b| b.next(now, window))? {
                Next::Nothing => return None,
                Next::Expired(message) => {
                    self.counters.expired += 1;
                    self.step(&message, Step::Lost, unix);
                }
                Next::Give(delivery) => {
                    self.counters.delivered += 1;
                    if let Delivery::Message { message, retained: false, again: false, .. } = &delivery
                        && let (Party::Device { number, id, .. }, model::topic::Space::Device { id: whose, .. }) =
                            (&*session.party, message.topic.space())
                        && whose == id.as_str()
                        && message.source != Some(*number)
                    {
                        let device = *number;
                        self.work.events.push(Event::Down { device, message: message.clone() });
                        if message.receipt.is_some_and(|r| r.device == device) {
                            self.step(message, Step::Sent, unix);
                        }
                    }
                    return Some(delivery);
                }
            }
        }
    }

    /// Time passes: sessions whose keeping ended go.
    pub fn tick(&mut self, now: Millis, unix: UnixMs) {
        let mut ending = std::mem::take(&mut self.ending);
        ending.retain(|&(at, epoch)| match self.sessions.get(at) {
            Some(s) if s.epoch == epoch && s.conn.is_none() => match s.ends {
                Some(ends) if ends <= now => {
                    self.counters.sessions_away -= 1;
                    self.end_session(at, unix);
                    false
                }
                ends => ends.is_some(),
            },
            _ => false,
        });
        self.ending = ending;
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        let sessions = self.sessions.len() as u64;
        Counters { sessions, subscriptions: self.subscriptions.len() as u64, ..self.counters }
    }

    /// What is to be done.
    pub fn work(&mut self) -> &mut Work {
        &mut self.work
    }
}

/// The hub's verbs for one connection.
struct Verbs<'a> {
    shard: &'a mut Shard,
    conn: ConnId,
    now: Millis,
    unix: UnixMs,
}

impl Hub for Verbs<'_> {
    fn hello(&mut self, hello: Hello) {
        self.shard.hello(self.conn, hello, self.now, self.unix);
    }

    fn publish(&mut self, publish: Publish<'_>) -> Accepted {
        self.shard.publish(self.conn, publish, self.now, self.unix)
    }

    fn subscribe(&mut self, filter: &str, options: SubscribeOptions) -> Result<Qos, Refusal> {
        let at = self.shard.session_of(self.conn).ok_or(Refusal::Unavailable)?;
        let session = &mut self.shard.sessions[at];
        let grant = match access::filter_to_subscribe(&session.party, filter) {
            Ok(grant) => grant,
            Err(refusal) => {
                self.shard.deny(at, refusal, "subscribe to", filter, self.unix);
                return Err(refusal);
            }
        };
        let known = session.filters.contains(&grant.filter);
        if !known && session.filters.len() >= limits::SUBSCRIPTIONS_PER_SESSION_MAX {
            self.shard.deny(at, Refusal::Quota, "subscribe to", filter, self.unix);
            return Err(Refusal::Quota);
        }
        let entry = Entry { session: at as u32, qos: options.qos, as_me: grant.as_me, reach: grant.reach };
        self.shard.subscriptions.insert(&grant.filter, entry);
        if options.retained {
            let mut left_out = 0;
            self.shard.retained.matching(&grant.filter, grant.reach, |message| {
                let qos = options.qos.min(message.qos);
                let waiting = Waiting { message: message.clone(), qos, as_me: grant.as_me, retained: true };
                left_out += u64::from(session.enqueue(waiting).is_err());
                true
            });
            self.shard.counters.dropped += left_out;
            if session.has_next() {
                self.shard.work.ready.push(self.conn);
            }
        }
        if !known {
            session.filters.push(grant.filter);
        }
        if grant.own
            && let Some(device) = session.party.device()
        {
            session.listens_own = true;
            self.shard.work.events.push(Event::Listening { device });
        }
        Ok(options.qos)
    }

    fn unsubscribe(&mut self, filter: &str) -> bool {
        let Some(at) = self.shard.session_of(self.conn) else { return false };
        let session = &mut self.shard.sessions[at];
        let Ok(grant) = access::filter_to_subscribe(&session.party, filter) else { return false };
        match session.filters.iter().position(|f| *f == grant.filter) {
            Some(place) => {
                session.filters.swap_remove(place);
                self.shard.subscriptions.remove(&grant.filter, at as u32)
            }
            None => false,
        }
    }

    fn received(&mut self, slot: Slot) -> bool {
        let Some(at) = self.shard.session_of(self.conn) else { return false };
        self.shard.sessions[at].with_backlog(|b| b.received(slot)).unwrap_or(false)
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

    fn release(&mut self, id: u16) -> Released {
        let Some(at) = self.shard.session_of(self.conn) else { return Released::Unknown };
        self.shard.sessions[at].with_backlog(|b| b.release(id)).unwrap_or(Released::Unknown)
    }

    fn bye(&mut self, with_will: bool) {
        let Some(at) = self.shard.session_of(self.conn) else { return };
        if !with_will {
            self.shard.sessions[at].will = None;
        }
    }
}
