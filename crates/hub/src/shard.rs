//! One shard of the hub: its connections and their sessions, logins, takeovers and ends. The floor
//! drives it; machines see it as `contract::Hub`, one connection at a time.

use std::net::SocketAddr;
use std::sync::Arc;

use contract::{
    Answer, Bus, Close, ConnId, Delivery, Event, Fault, Gate, Hello, Hub, Login, Note, PromiseId, SessionPlace, Step, Will,
};
use hashbrown::HashMap;
use model::limits::Limits;
use model::{DeviceNumber, Millis, Party, PartyKey, Remote, UnixMs};

use crate::answering::Answering;
use crate::backlog::Next;
use crate::commons::{Commons, unix_at};
use crate::heard::Heard;
use crate::journal::{After, Journal};
use crate::mail::{Broadcast, Counters, Gathered, Mail, Transfer, Work};
use crate::session::Away;
use crate::sessions::Sessions;
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

/// The home shard of a device.
pub fn home_of_device(device: DeviceNumber, shards: u16) -> u16 {
    (device.0 % u32::from(shards)) as u16
}

pub(crate) struct Conn {
    pub(crate) generation: u32,
    /// Its place among the names of protocols.
    protocol: u8,
    remote: Remote,
    pub(crate) state: ConnState,
}

const _: () = assert!(size_of::<Option<Conn>>() <= 40, "a million of them lie here");

pub(crate) enum ConnState {
    /// Nothing said yet.
    New,
    /// Nothing said yet, and this login stands in if nothing will be presented.
    Vouched(Box<Login>),
    /// The gate is thinking.
    Asking(Box<Hello>),
    /// Has a session.
    In(u32),
    /// Refused, taken over or leaving for another shard: nothing more to do but close.
    Over,
}

/// One shard.
pub struct Shard {
    pub(crate) index: u16,
    pub(crate) shards: u16,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) commons: Arc<Commons>,
    conns: Vec<Option<Conn>>,
    /// The names of the protocols that connections had so far: a handful.
    protocols: Vec<&'static str>,
    pub(crate) sessions: Sessions,
    pub(crate) subscriptions: Subscriptions,
    /// Sessions without a line for which something is to happen by itself, by place and epoch. Looked
    /// through at each tick.
    pub(crate) ending: Vec<(usize, u32)>,
    pub(crate) epoch_last: u32,
    pub(crate) names_given: u64,
    /// What is to outlive the program, on its way to the disk.
    pub(crate) journal: Journal,
    /// The number behind the last note that a session has ended because its client wanted it forgotten.
    pub(crate) forgetting: u64,
    /// Clients that may come in when it is on disk that their earlier session has ended, by the promise under
    /// which that is gathered.
    pub(crate) welcomes: Vec<(PromiseId, After)>,
    /// Sessions whose queues could not be read. Tried again at each tick.
    pub(crate) unread: Vec<SessionPlace>,
    /// Wills of an earlier run that were being said when it ended.
    pub(crate) overdue: Vec<(Arc<Party>, Box<Will>, Note)>,
    /// While a message is routed: the promise under which everywhere that it waits is gathered.
    pub(crate) gathering: Option<PromiseId>,
    /// What was gathered.
    pub(crate) gathered: HashMap<PromiseId, Vec<Gathered>>,
    /// How many of `sessions` messages are kept for.
    pub(crate) keeping: usize,
    /// Whom devices may answer.
    pub(crate) answering: Answering,
    /// Both clocks as they were told last.
    pub(crate) time: (Millis, UnixMs),
    pub(crate) counters: Counters,
    pub(crate) work: Work,
    /// Scratch for matching, kept so that routing does not allocate.
    pub(crate) found: Vec<Entry>,
    /// What the bytes that are being read are about.
    pub(crate) heard: Heard,
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
            protocols: Vec::new(),
            sessions: Sessions::default(),
            subscriptions: Subscriptions::default(),
            ending: Vec::new(),
            epoch_last: 0,
            names_given: 0,
            journal: Journal::default(),
            forgetting: 0,
            welcomes: Vec::new(),
            unread: Vec::new(),
            overdue: Vec::new(),
            gathering: None,
            gathered: HashMap::new(),
            keeping: 0,
            answering: Answering::default(),
            time: (Millis(0), UnixMs(0)),
            counters: Counters::default(),
            work: Work::default(),
            found: Vec::new(),
            heard: Heard::default(),
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

    pub(crate) fn conn(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(conn.index as usize)?.as_mut().filter(|c| c.generation == conn.generation)
    }

    /// The session of a connection that is in.
    pub(crate) fn session_of(&self, conn: ConnId) -> Option<usize> {
        match self.conns.get(conn.index as usize)?.as_ref()? {
            Conn { generation, state: ConnState::In(session), .. } if *generation == conn.generation => Some(*session as usize),
            _ => None,
        }
    }

    pub(crate) fn peer_of(&self, conn: ConnId) -> Option<(&'static str, SocketAddr)> {
        let conn = self.conns.get(conn.index as usize)?.as_ref()?;
        Some((self.protocols[usize::from(conn.protocol)], conn.remote.addr()))
    }

    /// The sessions of a device that have a line.
    pub(crate) fn lines_of(&self, device: DeviceNumber) -> impl Iterator<Item = usize> + '_ {
        self.sessions.listed(PartyKey::Device(device)).filter(|at| self.sessions[*at].conn.is_some())
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
        let known = self.protocols.iter().position(|name| *name == protocol).unwrap_or_else(|| {
            self.protocols.push(protocol);
            self.protocols.len() - 1
        });
        let (generation, remote) = (id.generation, remote.into());
        self.conns[at] = Some(Conn { generation, protocol: known as u8, remote, state: ConnState::New });
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
        let Some((protocol, remote)) = self.peer_of(id) else { return };
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
                // The broker's own figures are of the moment and not for the disk.
                let retained = match message.retain {
                    true if message.topic.as_str().starts_with("$SYS/") => self.commons.retained.set(&message).is_ok(),
                    true => self.retain(&message, None, now).is_ok(),
                    false => true,
                };
                self.counters.dropped += u64::from(!retained);
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
            Mail::Address(parcel, safe) => self.parcel_came(&parcel, safe, now),
            Mail::Send(send, parcel) => self.send(send, &parcel, now),
            Mail::Verdict(ticket, verdict) => {
                let Some(conn) = self.conn(ticket.conn) else { return };
                match std::mem::replace(&mut conn.state, ConnState::New) {
                    ConnState::Asking(hello) => self.decided(ticket.conn, *hello, verdict, now, unix),
                    other => conn.state = other,
                }
            }
            Mail::Scram(ticket, keys) => {
                if self.conn(ticket.conn).is_some_and(|conn| matches!(conn.state, ConnState::New | ConnState::In(_))) {
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
        if self.index == 0 {
            self.expire_retained(now, unix);
        }
        self.answering.tick(now);
        for place in std::mem::take(&mut self.unread) {
            if self.sessions.get(place.index as usize).is_some_and(|s| s.epoch == place.epoch) {
                self.load(place.index as usize);
            }
        }
        for (party, will, said) in std::mem::take(&mut self.overdue) {
            self.together(Some(said), now, |shard, promise| shard.publish_will(&party, *will, promise, now, unix));
        }
        let mut ending = std::mem::take(&mut self.ending);
        ending.retain(|&(at, epoch)| {
            let Some(session) = self.sessions.get(at).filter(|s| s.epoch == epoch && s.conn.is_none()) else { return false };
            let Some(Away { ends, will_at, .. }) = session.away.as_deref().copied() else { return false };
            if ends.is_some_and(|ends| ends <= now) {
                if self.must_stay(at) {
                    self.load(at);
                    return true;
                }
                self.counters.sessions_away -= 1;
                self.end_session(at, now, unix);
                return false;
            }
            if will_at.is_some_and(|at| at <= now) {
                self.will_due(at, now, unix);
            }
            self.sessions[at].away.as_ref().is_some_and(|away| away.awaits())
        });
        ending.append(&mut self.ending);
        self.ending = ending;
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
