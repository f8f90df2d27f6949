//! Rules about wills: one whose client went without a goodbye is published, once; one whose client said
//! goodbye never is. That it comes once is among the rules about messages.

use std::collections::{BTreeMap, BTreeSet};

use model::Qos;

use super::told::{Connection, NEVER, Place, Told, matches, shared};
use crate::history::{How, Key, Kind, Who};

/// Connections with a will that the client knows to be taken, by its message.
fn wills<'a>(told: &'a Told<'_>) -> impl Iterator<Item = (Who, Key, &'a Connection, Option<Place>)> {
    told.connections.iter().flat_map(|(who, all)| {
        all.iter().enumerate().filter_map(move |(at, connection)| {
            let next = all.get(at + 1).map(|next| next.hello);
            Some((*who, connection.will?, connection, next))
        })
    })
}

/// A will whose line died comes to whoever wanted it.
pub fn lost(told: &Told<'_>) -> Vec<String> {
    let have = told.have();
    let lasting: Vec<_> = (told.surely.iter())
        .filter(|wish| wish.until == NEVER && wish.qos != Qos::AtMostOnce && shared(&wish.filter).is_none())
        .collect();
    let kept = |who: Who| told.connections.get(&who).and_then(|all| all.last()).is_some_and(|last| last.keep_s > 0);
    let mut found = Vec::new();
    for (who, key, connection, next) in wills(told) {
        let sheet = &told.sheets[key];
        let waits = sheet.kind != Kind::Will { delay_s: 0 } && next.is_some();
        let due = connection.closed != NEVER && connection.how == How::Broken && !waits;
        if !due || sheet.qos == Qos::AtMostOnce {
            continue;
        }
        for wish in lasting.iter().filter(|wish| wish.from < connection.hello && kept(wish.who)) {
            if matches(&wish.filter, &sheet.topic) && !have.contains(&(wish.who, key)) {
                let at = told.at(connection.closed);
                found.push(format!("lost: {key}, the will of {who} whose line died at {at} ms, never came to {}", wish.who));
            }
        }
    }
    found
}

/// A will whose client is known to have said goodbye never comes.
pub fn undue(told: &Told<'_>) -> Vec<String> {
    // Nor does a program hear it that died before.
    let heard = |c: &Connection| !told.is_died_over(c.closed) && !told.died_between(c.hello, c.closed);
    let polite = |connection: &Connection| connection.how == How::Polite && heard(connection);
    let undue: BTreeMap<Key, Who> = wills(told).filter(|(_, _, c, _)| polite(c)).map(|(who, key, ..)| (key, who)).collect();
    let mut told_of = BTreeSet::new();
    let mut found = Vec::new();
    for r in &told.received {
        if let Some((key, who)) = r.key.and_then(|key| undue.get_key_value(&key))
            && told_of.insert(*key)
        {
            found.push(format!(
                "undue: {key}, the will of {who} which had said goodbye, came to {} at {} ms",
                r.who,
                told.at(r.place)
            ));
        }
    }
    found
}
