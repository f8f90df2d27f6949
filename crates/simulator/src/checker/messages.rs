//! Rules about messages: none is lost, doubled, out of order, late or invented.

use std::collections::{BTreeMap, BTreeSet};

use model::Qos;

use super::told::{NEVER, Place, Reception, Told, Wish, matches, shared};
use crate::history::{Key, Kind, Who};

/// How much later than its time a message may come: lines are slow, and readers are stuck for a while.
const LATE_MS: i64 = 40_000;

/// Publishes that were acknowledged and must have come to whoever wanted them then, with their topics.
fn owed<'a>(told: &'a Told<'_>) -> impl Iterator<Item = (Key, Place, &'a str)> + 'a {
    told.acked.keys().filter_map(|key| {
        let sheet = &told.sheets[*key];
        let counts = sheet.kind == Kind::Publish && sheet.qos != Qos::AtMostOnce && sheet.expiry_s.is_none() && !sheet.empty;
        counts.then(|| (*key, told.sent[key], sheet.topic.as_str()))
    })
}

/// Wishes that held to the end, above QoS 0.
fn lasting<'a>(told: &'a Told<'_>) -> impl Iterator<Item = &'a Wish> {
    told.surely.iter().filter(|wish| wish.until == NEVER && wish.qos != Qos::AtMostOnce)
}

/// A publish that was acknowledged after a kept session's subscription was granted arrives there.
pub fn lost(told: &Told<'_>) -> Vec<String> {
    let have = told.have();
    let wishes: Vec<_> = lasting(told).filter(|wish| shared(&wish.filter).is_none() && is_kept(told, wish.who)).collect();
    let mut found = Vec::new();
    let mut by_topic: BTreeMap<&str, Vec<&Wish>> = BTreeMap::new();
    for (key, place, topic) in owed(told) {
        let wanted =
            by_topic.entry(topic).or_insert_with(|| wishes.iter().copied().filter(|wish| matches(&wish.filter, topic)).collect());
        for wish in wanted.iter().filter(|wish| wish.from < place && !have.contains(&(wish.who, key))) {
            found.push(format!(
                "lost: {key} ({topic}) was sent at {} ms and acknowledged, and never came to {} which had {}",
                told.at(place),
                wish.who,
                wish.filter
            ));
        }
    }
    found
}

fn is_kept(told: &Told<'_>, who: Who) -> bool {
    told.connections.get(&who).and_then(|all| all.last()).is_some_and(|last| last.keep_s > 0)
}

/// The same for groups: one of the members has it.
pub fn lost_in_groups(told: &Told<'_>) -> Vec<String> {
    let have = told.have();
    type Members<'a> = (BTreeSet<Who>, Vec<&'a Wish>);
    let mut groups: BTreeMap<(&str, &str), Members<'_>> = BTreeMap::new();
    for wish in &told.maybe {
        if let Some(group) = shared(&wish.filter) {
            groups.entry(group).or_default().0.insert(wish.who);
        }
    }
    for wish in lasting(told) {
        if let Some(group) = shared(&wish.filter) {
            groups.entry(group).or_default().1.push(wish);
        }
    }
    let mut found = Vec::new();
    for ((name, filter), (members, lasting)) in groups {
        if !members.iter().all(|who| is_kept(told, *who)) || members.iter().any(|who| was_clean(told, *who)) {
            continue;
        }
        let one_life = members.iter().all(|who| told.lives.get(who) == Some(&1));
        for (key, place, topic) in owed(told).filter(|(_, _, topic)| matches(filter, topic)) {
            // What one had begun to take exactly once when its session ended is given to nobody else.
            let moves = one_life || told.sheets[key].qos != Qos::ExactlyOnce;
            let had = members.iter().any(|who| have.contains(&(*who, key)));
            if moves && !had && lasting.iter().any(|wish| wish.from < place) {
                found.push(format!("lost: {key} ({topic}), sent at {} ms, came to nobody of the group {name}", told.at(place)));
            }
        }
    }
    found
}

/// Whether a client ever had a session that ended with its line: what it was given is lost with it.
fn was_clean(told: &Told<'_>, who: Who) -> bool {
    told.connections.get(&who).is_some_and(|all| all.iter().any(|connection| connection.keep_s == 0))
}

/// What is published and received exactly once is that, in each session and in each group.
pub fn twice(told: &Told<'_>) -> Vec<String> {
    let mut seen: BTreeMap<(Who, usize, Key), Place> = BTreeMap::new();
    let mut in_groups: BTreeMap<((&str, &str), Key), Who> = BTreeMap::new();
    let kept = |who| is_kept(told, who) && !was_clean(told, who);
    let groups: BTreeMap<Who, (&str, &str)> =
        (told.maybe.iter()).filter(|wish| kept(wish.who)).filter_map(|wish| Some((wish.who, shared(&wish.filter)?))).collect();
    let mut found = Vec::new();
    for r in told.received.iter().filter(|r| r.qos == Qos::ExactlyOnce && r.fresh && !r.retain) {
        let Some(key) = r.key.filter(|key| told.sheets.get(*key).is_some_and(|sheet| sheet.qos == Qos::ExactlyOnce)) else {
            continue;
        };
        if let Some(before) = seen.insert((r.who, r.life, key), r.place) {
            if told.is_begun_anew(key, r.place) {
                continue;
            }
            let (first, then) = (told.at(before), told.at(r.place));
            found.push(format!("twice: {key} ({}) came to {} at QoS 2 at {first} ms and at {then} ms", r.topic, r.who));
        }
        if let Some(group) = groups.get(&r.who).filter(|_| r.topic.starts_with("s/"))
            && let Some(other) = in_groups.insert((*group, key), r.who).filter(|other| *other != r.who)
            && !told.is_begun_anew(key, r.place)
        {
            found.push(format!("twice: {key} came to {other} and {} of the group {group:?} at QoS 2", r.who));
        }
    }
    found
}

/// First deliveries of one publisher's messages of a topic and a QoS come in the order in which they were sent.
pub fn order(told: &Told<'_>) -> Vec<String> {
    let mut newest: BTreeMap<(Who, usize, Who, &str, Qos), Key> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let members: BTreeSet<Who> = told.maybe.iter().filter(|wish| shared(&wish.filter).is_some()).map(|wish| wish.who).collect();
    let by_group = |r: &&Reception<'_>| members.contains(&r.who) && r.topic.starts_with("s/");
    for r in told.received.iter().filter(|r| !(r.retain || by_group(r))) {
        let Some(key) = r.key.filter(|key| told.sent.contains_key(key)) else { continue };
        if !seen.insert((r.who, r.life, key)) {
            continue;
        }
        let sheet = &told.sheets[key];
        let before = newest.entry((r.who, r.life, sheet.who, r.topic, sheet.qos)).or_insert(key);
        // Who was not there at first, or could not be given it in time, may get it when its publisher tries
        // again, and others before.
        let resent = told.resent.get(&key).is_some_and(|all| all[0] < r.place);
        let there = r.qos != Qos::AtMostOnce
            && sheet.expiry_s.is_none()
            && !told.was_refusing(told.sent[&key], r.place)
            && was_there(told, r, key);
        let tried_again = resent && !there;
        // One whose time was over is passed by; that it is gone need not be on disk when the program dies, and
        // then it is there again, by a clock that may have been set back, and if it may have been begun too.
        let came_back = sheet.expiry_s.is_some() && told.died_between(told.sent[&key], r.place);
        if told.sent[before] > told.sent[&key] && !tried_again && !came_back {
            found.push(format!("order: {} got {key} ({}) only after {before}, at {} ms", r.who, r.topic, told.at(r.place)));
        } else if told.sent[before] < told.sent[&key] {
            *before = key;
        }
    }
    found
}

/// Whether a client had a subscription from before a message was sent until it came.
fn was_there(told: &Told<'_>, r: &Reception<'_>, key: Key) -> bool {
    let covers = |wish: &&Wish| wish.who == r.who && wish.from < told.sent[&key] && wish.until > r.place;
    told.surely.iter().filter(covers).any(|wish| wish.qos != Qos::AtMostOnce && matches(&wish.filter, r.topic))
}

/// Deliveries that say that they are new, by session and message, and how many there may be: a publisher that
/// had to repeat itself may have made two messages of one.
fn as_new<'a>(told: &'a Told<'_>) -> impl Iterator<Item = ((Who, usize, Key), Vec<&'a Reception<'a>>, usize)> {
    let mut all: BTreeMap<(Who, usize, Key), Vec<&Reception<'_>>> = BTreeMap::new();
    for r in told.received.iter().filter(|r| r.qos != Qos::AtMostOnce && !r.dup && !r.retain && r.fresh) {
        if let Some(key) = r.key {
            all.entry((r.who, r.life, key)).or_default().push(r);
        }
    }
    all.into_iter().filter_map(|(of, receptions)| {
        let sheet = told.sheets.get(of.2)?;
        let resent = told.resent.get(&of.2).map_or(0, Vec::len);
        // The same for what is given at once while the disk refuses it: to a clean session, and at QoS 1 to anybody.
        let may_repeat = !receptions[0].kept || receptions.iter().all(|r| r.qos == Qos::AtLeastOnce);
        let last = receptions.last()?.place;
        let refused = may_repeat && told.was_refusing(told.sent.get(&of.2).copied()?, last);
        let repeats = sheet.qos == Qos::AtLeastOnce || refused || told.is_begun_anew(of.2, last);
        let most = 1 + if repeats { resent } else { 0 };
        (receptions.len() > most).then_some((of, receptions, most))
    })
}

/// What a client has acknowledged, so that the server read it and had time to keep that, is not sent again as new.
pub fn again(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for ((who, _, key), receptions, most) in as_new(told) {
        let Some(settled) = told.settled.get(&(who, key)) else { continue };
        let last = receptions[most];
        if *settled < last.place && !told.is_died_over(*settled) {
            let (acknowledged, came) = (told.at(*settled), told.at(last.place));
            found.push(format!("again: {key} came to {who} as new at {came} ms, which had acknowledged it at {acknowledged} ms"));
        }
    }
    found
}

/// What is delivered once more says so [MQTT-3.3.1-1].
pub fn unmarked(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for ((who, _, key), receptions, most) in as_new(told) {
        let (first, last) = (receptions[0], receptions[most]);
        if told.sheets[key].kind == (Kind::Will { delay_s: 0 }) && told.died_between(first.place, last.place) {
            continue;
        }
        found.push(format!(
            "unmarked: {key} ({}) came to {who} at {} ms and at {} ms, and never says that it may have come before",
            last.topic,
            told.at(first.place),
            told.at(last.place)
        ));
    }
    found
}

/// Nothing comes that a client has not asked for, nor what was sent after the end of a subscription was acknowledged.
pub fn unwanted(told: &Told<'_>) -> Vec<String> {
    let mut wishes: BTreeMap<Who, Vec<&Wish>> = BTreeMap::new();
    told.maybe.iter().for_each(|wish| wishes.entry(wish.who).or_default().push(wish));
    let mut found = Vec::new();
    for r in &told.received {
        let Some(sent) = r.key.and_then(|key| told.sent.get(&key)) else { continue };
        let wanted = wishes.get(&r.who).into_iter().flatten().any(|wish| {
            let filter = shared(&wish.filter).map_or(wish.filter.as_str(), |(_, filter)| filter);
            wish.from < r.place && wish.until > *sent && matches(filter, r.topic)
        });
        if !wanted {
            found.push(format!("unwanted: {:?} ({}) came to {} at {} ms", r.key, r.topic, r.who, told.at(r.place)));
        }
    }
    found
}

/// A message whose time is over does not come any more, unless it had been sent before.
pub fn stale(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for r in told.received.iter().filter(|r| !r.dup) {
        let Some(key) = r.key.filter(|key| told.sent.contains_key(key)) else { continue };
        let Some(expiry_s) = told.sheets[key].expiry_s else { continue };
        let sent = told.resent.get(&key).into_iter().flatten().copied().filter(|place| *place < r.place).max();
        // It may be the first copy of several, which lives by a clock that was set back since.
        let first = told.sent[&key];
        let set_back_ms = told.elapsed_ms(first, r.place).0 - (told.at(r.place) - told.at(first));
        let least_ms = told.at(r.place) - told.at(sent.unwrap_or(first)) + set_back_ms;
        if least_ms > i64::from(expiry_s) * 1000 + LATE_MS {
            found.push(format!("stale: {key} was good for {expiry_s} s and came to {} after {least_ms} ms", r.who));
        }
    }
    found
}

/// Nothing comes that nobody sent, nor by another topic.
pub fn invented(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for r in &told.received {
        let known = match r.key.and_then(|key| told.sheets.get(key)) {
            Some(sheet) => sheet.topic == r.topic,
            // A retained message that takes another away says nothing.
            None => r.key.is_none() && r.topic.starts_with("r/"),
        };
        if !known {
            found.push(format!("invented: {} got {:?} by {} at {} ms", r.who, r.key, r.topic, told.at(r.place)));
        }
    }
    found
}
