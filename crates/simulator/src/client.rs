//! An honest MQTT client, as a machine without a line: what it keeps over its reconnects (the publishes that
//! are not acknowledged, the exactly-once messages that it has begun to take) and what it says on a line.
//! It tells the history what it says, hears and knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::Qos;
use protocols::mqtt::codec::{
    Connect, Kind as Packets, Level, Options, Packet, Properties, Property, PropertyList, Publish, Reason, Subscribe,
    Unsubscribe, Will, put_ack, put_empty,
};

use crate::history::{Fact, History, How, Key, Kind, Sheet, Who};
use crate::nature::{Acks, Nature};
use crate::rng::Rng;

/// Publishes that a client has open at most.
const OPEN_MAX: usize = 20;

/// A publish that is not acknowledged to its end.
#[derive(Debug)]
struct Outgoing {
    id: u16,
    key: Key,
    qos: Qos,
    /// The server has it; the client only ends the exchange.
    released: bool,
    /// When it was said on this line.
    since: u64,
}

#[derive(Debug)]
enum Pending {
    Subscribe(String, Qos),
    Unsubscribe(String),
}

/// What a client knows of its line.
#[derive(Debug, Default)]
struct Line {
    input: Vec<u8>,
    opened: bool,
    since: u64,
    will: Option<Key>,
    pending: BTreeMap<u16, (u64, Pending)>,
    /// Acknowledgements that are to be said, in order, and when.
    owed: VecDeque<(u64, Packets, u16, Option<Key>)>,
    pinged: Option<u64>,
    spoke: u64,
    goodbye: bool,
    aliases: BTreeMap<u16, String>,
    /// Its session outlives it.
    lasting: bool,
}

/// The client.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub who: Who,
    /// What it is like.
    pub nature: Nature,
    rng: Rng,
    id_last: u16,
    outgoing: Vec<Outgoing>,
    incoming: BTreeSet<u16>,
    wanted: BTreeSet<usize>,
    line: Option<Line>,
    /// What it remembers belongs to a session that outlives its line. Else it is not for the next, even where
    /// that is told to go on: it may have been begun by a line that was never let in.
    lasting: bool,
    /// What it says; the world takes it.
    pub out: Vec<u8>,
    /// Nothing new is begun any more, and everything is acknowledged at once.
    pub calm: bool,
}

impl Client {
    /// A client that was never there before.
    pub fn new(who: Who, nature: Nature, rng: Rng) -> Client {
        let wanted = (0..nature.filters.len()).collect();
        let (outgoing, incoming) = (Vec::new(), BTreeSet::new());
        Client {
            who,
            nature,
            rng,
            id_last: 0,
            outgoing,
            incoming,
            wanted,
            line: None,
            lasting: false,
            out: Vec::new(),
            calm: false,
        }
    }

    /// Whether it has a line, as far as it knows.
    pub fn has_line(&self) -> bool {
        self.line.is_some()
    }

    /// Whether it was let in on its line.
    pub fn is_open(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.opened && !line.goodbye)
    }

    /// Whether it waits for nothing and owes nothing.
    pub fn is_done(&self) -> bool {
        self.outgoing.is_empty() && self.line.as_ref().is_none_or(|line| line.pending.is_empty() && line.owed.is_empty())
    }

    /// What it has waited for longest on its line.
    pub fn waits(&self) -> Option<(u64, String)> {
        let line = self.line.as_ref()?;
        if line.goodbye {
            return None;
        }
        if !line.opened {
            return Some((line.since, "a CONNACK".into()));
        }
        let publishes = self.outgoing.iter().map(|o| (o.since, format!("the acknowledgement of {} (id {})", o.key, o.id)));
        let pending = line.pending.values().map(|(since, what)| (*since, format!("the answer to {what:?}")));
        let ping = line.pinged.map(|since| (since, "a PINGRESP".to_owned()));
        publishes.chain(pending).chain(ping).min()
    }

    // ---- the line ----

    /// It has a new line and says hello.
    pub fn connect(&mut self, history: &mut History) {
        self.lost(How::Broken, history);
        let Nature { level, keep_s, forgets_percent, .. } = self.nature;
        let forget = !self.calm && self.rng.percent(forgets_percent);
        let clean = keep_s == 0 && level == Level::V311 || forget || keep_s == 0 && self.rng.percent(50);
        // Before 5.0 a session that begins clean also ends with its line.
        let keep_s = if level == Level::V311 && clean { 0 } else { keep_s };
        let will = self.nature.will.filter(|_| !self.calm);
        let will_key = will.map(|(qos, delay_s)| {
            let (kind, topic) = (Kind::Will { delay_s }, format!("w/{}", self.who));
            history.sheet(Sheet { who: self.who, kind, topic, qos, retain: false, empty: false, expiry_s: None })
        });
        self.line = Some(Line { since: history.now, spoke: history.now, will: will_key, lasting: keep_s > 0, ..Line::default() });
        let (mut said, mut said_of_will) = (PropertyList::default(), PropertyList::default());
        let receive_max = (self.nature.receive_max > 0).then_some(Property::ReceiveMax(self.nature.receive_max));
        for property in
            [Property::SessionExpiryS(keep_s), Property::TopicAliasMax(self.nature.aliases)].into_iter().chain(receive_max)
        {
            said.push(property).expect("a number fits");
        }
        if let Some((_, delay_s)) = will {
            said_of_will.push(Property::WillDelayS(delay_s)).expect("a number fits");
        }
        let (topic, payload) = (format!("w/{}", self.who), will_key.map(payload_of).unwrap_or_default());
        let hello = Connect {
            level,
            clean,
            keep_alive_s: self.nature.keep_alive_s,
            props: said.view(),
            client: &self.nature.client,
            will: will.map(|(qos, _)| Will { topic: &topic, payload: &payload, qos, retain: false, props: said_of_will.view() }),
            user: Some(&self.nature.user),
            password: Some(b"secret"),
        };
        hello.encode(&mut self.out).expect("its fields are short");
        history.tell(Fact::Hello { who: self.who, clean, keep_s });
    }

    /// The line is over.
    pub fn lost(&mut self, how: How, history: &mut History) {
        if let Some(line) = self.line.take() {
            self.out.clear();
            let how = match (line.goodbye, how) {
                (true, How::Polite) => How::Polite,
                (true, _) => How::Goodbye,
                (false, _) => How::Broken,
            };
            history.tell(Fact::Closed { who: self.who, how });
        }
    }

    /// Something came.
    pub fn on_bytes(&mut self, bytes: &[u8], history: &mut History) {
        let Some(line) = &mut self.line else { return };
        line.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut line.input);
        let mut rest = &input[..];
        loop {
            match Packet::read(self.nature.level, rest) {
                Ok(Some((packet, used))) => {
                    self.on_packet(packet, history);
                    rest = &rest[used..];
                }
                Ok(None) => break,
                Err(error) => {
                    history.tell(Fact::Nonsense(self.who, error.to_string()));
                    rest = &[];
                    break;
                }
            }
        }
        if let Some(line) = &mut self.line {
            line.input = rest.to_vec();
        }
        self.acknowledge(history);
    }

    fn on_packet(&mut self, packet: Packet<'_>, history: &mut History) {
        let who = self.who;
        let Some(line) = &mut self.line else { return };
        let mut nonsense = |what: &str| history.tell(Fact::Nonsense(who, what.to_owned()));
        if !line.opened && !matches!(packet, Packet::Connack(_)) {
            nonsense(&format!("{packet:?} before the CONNACK")); // [MQTT-3.2.0-1]
        }
        match packet {
            Packet::Connack(connack) if connack.reason == Reason::Success && !line.opened => {
                (line.opened, line.spoke) = (true, history.now);
                history.tell(Fact::Opened { who, present: connack.session_present, will: line.will });
                self.opened(connack.session_present, history);
            }
            Packet::Connack(connack) if connack.reason == Reason::Success => nonsense("a second CONNACK"),
            // It is over; the server ends the line by itself.
            Packet::Connack(_) | Packet::Disconnect(_) => {}
            Packet::Publish(publish) => self.on_publish(&publish, history),
            Packet::Puback(ack) => match self.outgoing.iter().position(|o| o.id == ack.id && o.qos == Qos::AtLeastOnce) {
                None => nonsense(&format!("a PUBACK for {}", ack.id)),
                Some(at) => {
                    let key = self.outgoing.remove(at).key;
                    history.tell(if ack.reason.is_error() { Fact::Rejected(key) } else { Fact::Acked(key) });
                }
            },
            Packet::Pubrec(ack) => match self.outgoing.iter().position(|o| o.id == ack.id && o.qos == Qos::ExactlyOnce) {
                None => nonsense(&format!("a PUBREC for {}", ack.id)),
                Some(at) if ack.reason.is_error() => history.tell(Fact::Rejected(self.outgoing.remove(at).key)),
                Some(at) => {
                    let open = &mut self.outgoing[at];
                    open.since = history.now;
                    if !std::mem::replace(&mut open.released, true) {
                        history.tell(Fact::Acked(open.key));
                    }
                    put_ack(&mut self.out, Packets::Pubrel, ack.id);
                }
            },
            Packet::Pubcomp(ack) => match self.outgoing.iter().position(|o| o.id == ack.id && o.released) {
                None => nonsense(&format!("a PUBCOMP for {}", ack.id)),
                Some(at) => drop(self.outgoing.remove(at)),
            },
            Packet::Pubrel(ack) => {
                self.incoming.remove(&ack.id);
                put_ack(&mut self.out, Packets::Pubcomp, ack.id);
            }
            Packet::Suback(suback) => match (line.pending.remove(&suback.id), suback.reasons().next()) {
                (Some((_, Pending::Subscribe(filter, qos))), Some(reason)) if !reason.is_error() => {
                    history.tell(Fact::Granted(who, filter, qos));
                }
                (Some((_, Pending::Subscribe(..))), _) => {}
                _ => nonsense("a SUBACK that nobody waits for"),
            },
            Packet::Unsuback(unsuback) => match line.pending.remove(&unsuback.id) {
                Some((_, Pending::Unsubscribe(filter))) => history.tell(Fact::Ungranted(who, filter)),
                _ => nonsense("an UNSUBACK that nobody waits for"),
            },
            Packet::Pingresp => match line.pinged.take() {
                Some(_) => history.tell(Fact::Ponged(who)),
                None => nonsense("a PINGRESP that nobody waits for"),
            },
            other => nonsense(&format!("{:?}", std::mem::discriminant(&other))),
        }
    }

    /// It was let in: it goes on where it was, or begins anew.
    fn opened(&mut self, present: bool, history: &mut History) {
        let lasting = self.line.as_ref().is_some_and(|line| line.lasting);
        let lasted = std::mem::replace(&mut self.lasting, lasting);
        let present = present && lasted;
        if !present {
            self.incoming.clear();
            let mut given_up = Vec::new();
            self.outgoing.retain(|o| {
                if o.qos == Qos::ExactlyOnce && !o.released {
                    given_up.push(o.key);
                }
                o.qos != Qos::ExactlyOnce
            });
            given_up.into_iter().for_each(|key| history.tell(Fact::Abandoned(key)));
        }
        for at in 0..self.outgoing.len() {
            let open = &mut self.outgoing[at];
            open.since = history.now;
            let (id, key, released) = (open.id, open.key, open.released);
            if released {
                put_ack(&mut self.out, Packets::Pubrel, id);
            } else {
                history.tell(Fact::Resent(key));
                self.put_publish(key, id, present, 0, history);
            }
        }
        if !present {
            let all: Vec<usize> = self.wanted.iter().copied().collect();
            all.into_iter().for_each(|at| self.subscribe(at, history));
        }
    }

    fn on_publish(&mut self, publish: &Publish<'_>, history: &mut History) {
        let (who, now) = (self.who, history.now);
        let Some(line) = &mut self.line else { return };
        let alias = publish.props.iter().find_map(|p| if let Property::TopicAlias(alias) = p { Some(alias) } else { None });
        let topic = match alias {
            Some(alias) if publish.topic.is_empty() => line.aliases.get(&alias).cloned().unwrap_or_default(),
            Some(alias) => {
                line.aliases.insert(alias, publish.topic.to_owned());
                publish.topic.to_owned()
            }
            None => publish.topic.to_owned(),
        };
        let key = key_of(publish.payload);
        let fresh = publish.qos != Qos::ExactlyOnce || self.incoming.insert(publish.id);
        let (qos, dup, retain) = (publish.qos, publish.dup, publish.retain);
        history.tell(Fact::Received { who, key, topic, qos, dup, retain, fresh });
        let due = match self.nature.acks {
            _ if self.calm => now,
            Acks::Prompt => now,
            Acks::Late(mean) => now + self.rng.around(mean),
            Acks::Never => u64::MAX,
        };
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => line.owed.push_back((due, Packets::Puback, publish.id, key)),
            Qos::ExactlyOnce => line.owed.push_back((due, Packets::Pubrec, publish.id, key)),
        }
    }

    /// Says the acknowledgements whose time has come, in the order of their messages [MQTT-4.6.0-2].
    pub fn acknowledge(&mut self, history: &mut History) {
        let (now, calm) = (history.now, self.calm);
        let Some(line) = &mut self.line else { return };
        while let Some((_, kind, id, key)) = line.owed.pop_front_if(|(due, ..)| calm || *due <= now) {
            put_ack(&mut self.out, kind, id);
            if let Some(key) = key {
                history.tell(Fact::Receipted(self.who, key));
            }
        }
    }

    /// When the next acknowledgement is to be said, in milliseconds.
    pub fn acknowledges_at(&self) -> Option<u64> {
        self.line.as_ref()?.owed.front().map(|(due, ..)| *due).filter(|due| *due < u64::MAX)
    }

    // ---- what it does by itself ----

    fn free_id(&mut self) -> u16 {
        loop {
            self.id_last = self.id_last % 500 + 1;
            let id = self.id_last;
            let pending = self.line.as_ref().is_some_and(|line| line.pending.contains_key(&id));
            if !pending && self.outgoing.iter().all(|o| o.id != id) {
                return id;
            }
        }
    }

    /// Publishes something.
    pub fn publish(&mut self, history: &mut History) {
        if !self.is_open() || self.outgoing.len() >= OPEN_MAX || self.nature.topics.is_empty() {
            return;
        }
        let topic = self.rng.pick(&self.nature.topics).clone();
        let qos = *self.rng.pick(&self.nature.qos);
        let (upload, retain) = (topic.starts_with("me/"), topic.starts_with("r/"));
        let kind = if upload { Kind::Upload } else { Kind::Publish };
        let expiry_s = (self.nature.level == Level::V5 && !retain && self.rng.percent(10)).then(|| self.rng.within(1, 40) as u32);
        let empty = retain && self.rng.percent(15);
        let key = history.sheet(Sheet { who: self.who, kind, topic, qos, retain, empty, expiry_s });
        let id = if qos == Qos::AtMostOnce { 0 } else { self.free_id() };
        history.tell(Fact::Sent(key));
        let padding = if self.rng.percent(3) { self.rng.below(6000) as usize } else { 0 };
        self.put_publish(key, id, false, padding, history);
        if qos != Qos::AtMostOnce {
            self.outgoing.push(Outgoing { id, key, qos, released: false, since: history.now });
        }
    }

    fn put_publish(&mut self, key: Key, id: u16, dup: bool, padding: usize, history: &History) {
        let Sheet { topic, qos, retain, empty, expiry_s, .. } = &history.sheets[key];
        let mut payload = if *empty { Vec::new() } else { payload_of(key) };
        if !empty {
            payload.resize(payload.len() + padding, b'.');
        }
        let mut list = PropertyList::default();
        if let Some(s) = expiry_s {
            list.push(Property::MessageExpiryS(*s)).expect("a number fits");
        }
        let publish = Publish { dup, qos: *qos, retain: *retain, topic, id, props: list.view(), payload: &payload };
        publish.encode(self.nature.level, &mut self.out).expect("its fields are short");
    }

    fn subscribe(&mut self, at: usize, history: &mut History) {
        let id = self.free_id();
        let (filter, qos) = self.nature.filters[at].clone();
        let wanted = [(filter.as_str(), Options::at(qos))];
        Subscribe::encode(self.nature.level, &mut self.out, id, Properties::NONE, &wanted).expect("its fields are short");
        history.tell(Fact::Asked(self.who, filter.clone(), qos));
        if let Some(line) = &mut self.line {
            line.pending.insert(id, (history.now, Pending::Subscribe(filter, qos)));
        }
    }

    /// Subscribes to something, or no longer wants something, or asks once more for what it may have.
    pub fn change_mind(&mut self, history: &mut History) {
        if !self.is_open() || self.nature.filters.is_empty() {
            return;
        }
        let at = self.rng.below(self.nature.filters.len() as u64) as usize;
        if self.wanted.contains(&at) && self.rng.percent(60) {
            self.wanted.remove(&at);
            let (id, filter) = (self.free_id(), self.nature.filters[at].0.clone());
            Unsubscribe::encode(self.nature.level, &mut self.out, id, Properties::NONE, &[&filter])
                .expect("its fields are short");
            history.tell(Fact::Unasked(self.who, filter.clone()));
            if let Some(line) = &mut self.line {
                line.pending.insert(id, (history.now, Pending::Unsubscribe(filter)));
            }
        } else {
            self.wanted.insert(at);
            self.subscribe(at, history);
        }
    }

    /// Asks for a filter that it did not know of when it was made.
    pub fn ask_for(&mut self, filter: &str, qos: Qos, history: &mut History) {
        self.nature.filters.push((filter.to_owned(), qos));
        self.wanted.insert(self.nature.filters.len() - 1);
        self.subscribe(self.nature.filters.len() - 1, history);
    }

    /// Shows that it is alive, if it has to or wants to know.
    pub fn ping(&mut self, history: &mut History) {
        if !self.is_open() {
            return;
        }
        if let Some(line) = &mut self.line
            && line.pinged.is_none()
        {
            (line.pinged, line.spoke) = (Some(history.now), history.now);
            put_empty(&mut self.out, Packets::Pingreq);
            history.tell(Fact::Pinged(self.who));
        }
    }

    /// Whether it must speak soon.
    pub fn must_speak(&self, now: u64) -> bool {
        let silence = u64::from(self.nature.keep_alive_s) * 500;
        silence > 0 && self.line.as_ref().is_some_and(|line| now - line.spoke >= silence)
    }

    /// Says goodbye.
    pub fn goodbye(&mut self) {
        if let Some(line) = self.line.as_mut().filter(|line| line.opened && !line.goodbye) {
            line.goodbye = true;
            put_empty(&mut self.out, Packets::Disconnect);
        }
    }
}

/// What a message says: its number.
pub fn payload_of(key: Key) -> Vec<u8> {
    format!("k{key}").into_bytes()
}

fn key_of(payload: &[u8]) -> Option<Key> {
    let digits = payload.strip_prefix(b"k")?;
    let end = digits.iter().position(|c| !c.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}
