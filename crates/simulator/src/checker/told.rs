//! A history, sorted once for all rules.

use std::collections::{BTreeMap, BTreeSet};

use model::Qos;

use crate::history::{Disk, Entry, Fact, History, How, KeepS, Key, Sheet, Who};

/// Where something stands in the history.
pub type Place = usize;

/// That there is no such place: it has not happened.
pub const NEVER: Place = usize::MAX;

/// How long the disk may take at most to have something, unless it is broken.
const SPARE_MS: i64 = 15_000;

/// A connection, as its client knows it.
#[derive(Debug)]
pub struct Connection {
    pub hello: Place,
    pub clean: bool,
    pub keep_s: KeepS,
    /// `NEVER` when it was not let in.
    pub opened: Place,
    pub present: bool,
    pub will: Option<Key>,
    pub closed: Place,
    pub how: How,
    /// Where its session began.
    pub life_from: Place,
}

/// A time in which a client has or may have a subscription.
#[derive(Debug)]
pub struct Wish {
    pub who: Who,
    pub filter: String,
    pub qos: Qos,
    pub from: Place,
    pub until: Place,
}

/// A message that came.
#[derive(Clone, Copy, Debug)]
pub struct Reception<'a> {
    pub place: Place,
    pub who: Who,
    /// Which session of the client it came in.
    pub life: usize,
    /// It outlives its line.
    pub kept: bool,
    pub key: Option<Key>,
    pub topic: &'a str,
    pub qos: Qos,
    pub dup: bool,
    pub retain: bool,
    pub fresh: bool,
}

/// The history, sorted.
pub struct Told<'a> {
    pub entries: &'a [Entry],
    pub sheets: &'a [Sheet],
    pub sent: BTreeMap<Key, Place>,
    pub resent: BTreeMap<Key, Vec<Place>>,
    pub acked: BTreeMap<Key, Place>,
    pub connections: BTreeMap<Who, Vec<Connection>>,
    /// From the grant until the client no longer wants it or its session may have ended.
    pub surely: Vec<Wish>,
    /// From the question until the end was acknowledged or the session has ended.
    pub maybe: Vec<Wish>,
    pub received: Vec<Reception<'a>>,
    pub receipted: BTreeMap<(Who, Key), Vec<Place>>,
    /// Receipts that the server is known to have read.
    pub settled: BTreeMap<(Who, Key), Place>,
    pub deaths: Vec<Place>,
    /// How many sessions a client has had.
    pub lives: BTreeMap<Who, usize>,
    disk: Vec<(Place, Disk)>,
    clock: Vec<(Place, i64)>,
}

/// What a client has asked on its line and was not answered yet.
#[derive(Default)]
struct Open {
    asked: Vec<(Place, String)>,
    unasked: Vec<(Place, String)>,
    receipts: Vec<(Place, Key)>,
    pinged: Place,
}

impl<'a> Told<'a> {
    /// Sorts a history.
    pub fn of(history: &'a History) -> Told<'a> {
        let (entries, sheets) = (&history.entries[..], &history.sheets[..]);
        let mut told = Told {
            entries,
            sheets,
            sent: BTreeMap::new(),
            resent: BTreeMap::new(),
            acked: BTreeMap::new(),
            connections: BTreeMap::new(),
            surely: Vec::new(),
            maybe: Vec::new(),
            received: Vec::new(),
            receipted: BTreeMap::new(),
            settled: BTreeMap::new(),
            deaths: Vec::new(),
            lives: BTreeMap::new(),
            disk: Vec::new(),
            clock: Vec::new(),
        };
        let mut open: BTreeMap<Who, Open> = BTreeMap::new();
        for (place, entry) in entries.iter().enumerate() {
            told.sort_line(place, &entry.fact, &mut open);
            match &entry.fact {
                Fact::Sent(key) | Fact::Pushed(key) => drop(told.sent.insert(*key, place)),
                Fact::Resent(key) => told.resent.entry(*key).or_default().push(place),
                Fact::Acked(key) => drop(told.acked.insert(*key, place)),
                Fact::Died => told.deaths.push(place),
                Fact::Disk(disk) => told.disk.push((place, *disk)),
                Fact::ClockSet(ms) => told.clock.push((place, *ms)),
                Fact::Received { who, key, topic, qos, dup, retain, fresh } => {
                    let life = told.lives.get(who).copied().unwrap_or(0);
                    let (who, key, qos, dup, retain, fresh) = (*who, *key, *qos, *dup, *retain, *fresh);
                    let kept = told.connections.get(&who).and_then(|all| all.last()).is_some_and(|last| last.keep_s > 0);
                    told.received.push(Reception { place, who, life, kept, key, topic, qos, dup, retain, fresh });
                }
                _ => {}
            }
        }
        told
    }

    /// What is about lines, sessions and subscriptions.
    fn sort_line(&mut self, place: Place, fact: &Fact, open: &mut BTreeMap<Who, Open>) {
        match fact {
            Fact::Hello { who, clean, keep_s } => {
                let (clean, keep_s) = (*clean, *keep_s);
                let (opened, present, will, closed, how) = (NEVER, false, None, NEVER, How::Broken);
                let life_from = place;
                let connection = Connection { hello: place, clean, keep_s, opened, present, will, closed, how, life_from };
                self.connections.entry(*who).or_default().push(connection);
                open.insert(*who, Open::default());
                if clean {
                    self.end_wishes(*who, place, false);
                }
            }
            Fact::Opened { who, present, will } => {
                let all = self.connections.entry(*who).or_default();
                // One that is there after a connection that was not to be kept began somewhere between.
                let before = all.iter().rev().skip(1).find(|connection| connection.opened != NEVER);
                // So may one whose time was perhaps over when a connection between was not answered.
                let between = all.iter().rev().skip(1).take_while(|connection| connection.opened == NEVER).count() > 0;
                let known = before.map(|before| (before.hello, before.opened, before.keep_s, before.life_from));
                // Or when that it was there again need not have been on disk, and its time went on from before.
                let doubtful = |hello, from, keep_s| {
                    let over = || self.elapsed_ms(from, place).1 >= i64::from(keep_s) * 1000 || self.is_died_over(hello);
                    keep_s == 0 || between && keep_s != KeepS::MAX && over()
                };
                let goes_on = known.filter(|(hello, from, keep_s, _)| *present && !doubtful(*hello, *from, *keep_s));
                let life_from = goes_on.map_or(place, |(.., life_from)| life_from);
                let all = self.connections.entry(*who).or_default();
                if let Some(connection) = all.last_mut() {
                    (connection.opened, connection.present, connection.will) = (place, *present, *will);
                    connection.life_from = life_from;
                }
                if life_from == place {
                    *self.lives.entry(*who).or_default() += 1;
                    self.end_wishes(*who, place, false);
                }
                if !present {
                    self.end_wishes(*who, place, true);
                }
            }
            Fact::Closed { who, how } => {
                let mut ended = false;
                if let Some(connection) = self.connections.entry(*who).or_default().last_mut() {
                    (connection.closed, connection.how) = (place, *how);
                    ended = connection.keep_s == 0;
                }
                if ended {
                    self.end_wishes(*who, place, false);
                }
                open.remove(who);
            }
            Fact::Asked(who, filter, qos) => {
                open.entry(*who).or_default().asked.push((place, filter.clone()));
                self.maybe.push(Wish { who: *who, filter: filter.clone(), qos: *qos, from: place, until: NEVER });
            }
            Fact::Granted(who, filter, qos) => {
                let open = open.entry(*who).or_default();
                let Some(at) = open.asked.iter().position(|(_, asked)| asked == filter) else { return };
                let (asked, _) = open.asked.remove(at);
                if !open.unasked.iter().any(|(place, other)| other == filter && *place > asked) {
                    self.surely.push(Wish { who: *who, filter: filter.clone(), qos: *qos, from: place, until: NEVER });
                }
            }
            Fact::Unasked(who, filter) => {
                open.entry(*who).or_default().unasked.push((place, filter.clone()));
                let wishes = self.surely.iter_mut().filter(|w| w.who == *who && w.filter == *filter && w.until == NEVER);
                wishes.for_each(|wish| wish.until = place);
            }
            Fact::Ungranted(who, filter) => {
                let open = open.entry(*who).or_default();
                let Some(at) = open.unasked.iter().position(|(_, unasked)| unasked == filter) else { return };
                let (unasked, _) = open.unasked.remove(at);
                let wishes = self.maybe.iter_mut().filter(|w| w.who == *who && w.filter == *filter && w.until == NEVER);
                wishes.filter(|wish| wish.from < unasked).for_each(|wish| wish.until = place);
            }
            Fact::Receipted(who, key) => {
                open.entry(*who).or_default().receipts.push((place, *key));
                self.receipted.entry((*who, *key)).or_default().push(place);
            }
            Fact::Pinged(who) => open.entry(*who).or_default().pinged = place,
            Fact::Ponged(who) => {
                let open = open.entry(*who).or_default();
                for (place, key) in open.receipts.extract_if(.., |(place, _)| *place < open.pinged) {
                    self.settled.entry((*who, key)).or_insert(place);
                }
            }
            _ => {}
        }
    }

    fn end_wishes(&mut self, who: Who, place: Place, maybe: bool) {
        let wishes = if maybe { &mut self.maybe } else { &mut self.surely };
        wishes.iter_mut().filter(|wish| wish.who == who && wish.until == NEVER).for_each(|wish| wish.until = place);
    }

    /// The time of a place.
    pub fn at(&self, place: Place) -> i64 {
        self.entries[place].at as i64
    }

    /// The least and the most that may have passed between two places, by whatever clock.
    pub fn elapsed_ms(&self, from: Place, to: Place) -> (i64, i64) {
        let straight = self.at(to) - self.at(from);
        let jumps = || self.clock.iter().filter(|(place, _)| (from..to).contains(place)).map(|(_, ms)| *ms);
        (straight + jumps().filter(|ms| *ms < 0).sum::<i64>(), straight + jumps().filter(|ms| *ms > 0).sum::<i64>())
    }

    /// Whether the program died so soon after something, counting from when the disk last worked, that it
    /// need not have been on disk.
    pub fn is_died_over(&self, place: Place) -> bool {
        self.deaths.iter().filter(|death| **death > place).any(|death| {
            let last = match self.disk.iter().rfind(|(at, _)| at < death) {
                Some((since, Disk::Broken)) => *since,
                _ => *death,
            };
            self.at(last) - self.at(place) < SPARE_MS
        })
    }

    /// Whether the disk took less than it was given at some time between two places.
    pub fn was_refusing(&self, from: Place, to: Place) -> bool {
        let refuses = |disk: &Disk| matches!(disk, Disk::Full | Disk::Broken);
        let before = self.disk.iter().rfind(|(place, _)| *place < from).is_some_and(|(_, disk)| refuses(disk));
        before || self.disk.iter().any(|(place, disk)| (from..to).contains(place) && refuses(disk))
    }

    /// Whether a message was repeated by a client that by then had another session and could not tell: it was
    /// not answered when that began. The server cannot tell either that it had the message before.
    pub fn is_begun_anew(&self, key: Key, until: Place) -> bool {
        let Some(repeats) = self.resent.get(&key) else { return false };
        let lives = self.connections.get(&self.sheets[key].who).into_iter().flatten().map(|c| c.life_from);
        let another = |life| repeats.iter().any(|repeat| (self.sent[&key]..*repeat).contains(&life) && *repeat < until);
        lives.into_iter().any(another)
    }

    /// Whether the program died between two places.
    pub fn died_between(&self, from: Place, to: Place) -> bool {
        self.deaths.iter().any(|death| (from..to).contains(death))
    }

    /// Who received which messages.
    pub fn have(&self) -> BTreeSet<(Who, Key)> {
        self.received.iter().filter_map(|r| Some((r.who, r.key?))).collect()
    }
}

/// MQTT's wildcards, written down once more.
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut given = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match given.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    given.next().is_none()
}

/// Group and filter of a shared subscription.
pub fn shared(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix("$share/")?.split_once('/')
}
