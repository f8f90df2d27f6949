//! Rules about what the platform and latecomers see: retained messages, pushes, uploads.

use std::collections::{BTreeMap, BTreeSet};

use model::Qos;

use super::told::{NEVER, Place, Told, matches};
use crate::history::{Fact, Key, Kind, Step};

/// The retained value is the last that was acknowledged, or one that was sent later. (One publisher a topic.)
pub fn retained(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (place, entry) in told.entries.iter().enumerate() {
        let Fact::Seen(who, filter) = &entry.fact else { continue };
        let asked = told.maybe.iter().rfind(|wish| wish.who == *who && wish.filter == *filter && wish.from < place);
        let Some(asked) = asked.map(|wish| wish.from) else { continue };
        let seen: BTreeMap<&str, Option<Key>> = (told.received.iter())
            .filter(|r| r.who == *who && r.retain && (asked..place).contains(&r.place))
            .map(|r| (r.topic, r.key))
            .collect();
        for (topic, sent) in published(told, filter, asked) {
            let (mut allowed, mut nothing) = (BTreeSet::new(), true);
            for (place, key) in sent {
                if told.sent[&key] == place && told.acked.get(&key).is_some_and(|acked| *acked < asked) {
                    (allowed, nothing) = (BTreeSet::new(), false);
                }
                if told.sheets[key].empty {
                    nothing = true;
                } else {
                    allowed.insert(key);
                }
            }
            let value = seen.get(topic).copied().flatten();
            if !value.map_or(nothing, |key| allowed.contains(&key)) {
                let nothing = if nothing { " and nothing" } else { "" };
                found.push(format!("retained: {topic} is {value:?}, allowed are {allowed:?}{nothing}"));
            }
        }
    }
    found
}

/// Retained publishes below a filter that were sent before a place, by topic, in their order.
fn published<'a>(told: &'a Told<'_>, filter: &str, before: Place) -> BTreeMap<&'a str, Vec<(Place, Key)>> {
    let mut all: BTreeMap<&str, Vec<(Place, Key)>> = BTreeMap::new();
    // What is sent again at QoS 1 counts again, and what followed it at QoS 2 does not.
    let again = told.resent.iter().flat_map(|(key, places)| places.iter().map(move |place| (key, place)));
    for (key, sent) in told.sent.iter().chain(again).filter(|(_, sent)| **sent < before) {
        let sheet = &told.sheets[*key];
        if sheet.retain && matches(filter, &sheet.topic) {
            all.entry(&sheet.topic).or_default().push((*sent, *key));
        }
    }
    all.values_mut().for_each(|keys| keys.sort_unstable());
    all
}

/// No step of a push claims more than the device did, and each push comes to a step.
pub fn pushes(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let mut stepped = BTreeSet::new();
    for (place, entry) in told.entries.iter().enumerate() {
        let Fact::Stepped(key, step) = &entry.fact else { continue };
        stepped.insert(*key);
        let who = told.sheets[*key].who;
        let done = told.receipted.get(&(who, *key)).and_then(|all| all.first()).copied().unwrap_or(NEVER);
        if *step == Step::Delivered && done > place {
            found.push(format!("untrue: push {key} is called delivered at {} ms, and {who} had not said so", entry.at));
        }
    }
    for (key, place) in told.sent.iter().filter(|(key, _)| told.sheets[**key].kind == Kind::Push) {
        if !stepped.contains(key) && !told.died_between(*place, NEVER) {
            found.push(format!("silence: nothing was ever told of push {key}"));
        }
    }
    found
}

/// An upload is acknowledged when the platform has it, which is told of an exactly-once one once.
pub fn uploads(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let mut stored: BTreeMap<Key, Place> = BTreeMap::new();
    for (place, entry) in told.entries.iter().enumerate() {
        match &entry.fact {
            Fact::Stored(key) => {
                // When the disk refuses the claim, the platform has the upload and its client tries again.
                let may_come_again = |from| told.died_between(from, place) || told.was_refusing(from, place);
                let before = stored.insert(*key, place);
                if before.is_some_and(|from| !may_come_again(from)) && told.sheets[*key].qos == Qos::ExactlyOnce {
                    found.push(format!("twice: upload {key} was told to the platform twice, at {} ms", entry.at));
                }
            }
            Fact::Acked(key) if told.sheets[*key].kind == Kind::Upload && !stored.contains_key(key) => {
                found.push(format!("untrue: upload {key} was acknowledged at {} ms, and nobody had it", entry.at));
            }
            _ => {}
        }
    }
    found
}
