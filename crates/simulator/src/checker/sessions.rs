//! Rules about sessions: one that was promised is there, one that has ended is not; and nobody waits in vain.

use super::told::{Connection, NEVER, Told};
use crate::history::{Fact, How, Who};

/// How much earlier than its client the server may know that a line is over.
const EARLIER_MS: i64 = 60_000;
/// How much later than it should a session may end.
const LATER_MS: i64 = 2000;

/// Pairs of a connection that was let in and the next that was, with whether others between them were clean,
/// or were at all.
fn pairs<'a>(told: &'a Told<'_>) -> Vec<(Who, &'a Connection, &'a Connection, bool, bool)> {
    let mut pairs = Vec::new();
    for (who, all) in &told.connections {
        let mut before: Option<(&Connection, bool, bool)> = None;
        for connection in all {
            if connection.opened == NEVER {
                before = before.map(|(known, clean, _)| (known, clean || connection.clean, true));
                continue;
            }
            if let Some((known, clean, other)) = before {
                pairs.push((*who, known, connection, clean, other));
            }
            before = Some((connection, false, false));
        }
    }
    pairs
}

/// A session that was kept is there the next time, unless its time was over.
pub fn missing(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (who, before, now, cleaned, _) in pairs(told) {
        if before.keep_s == 0 || now.clean || now.present || cleaned {
            continue;
        }
        let end = if before.closed == NEVER { before.opened } else { before.closed };
        let known = (before.opened..end).find(|place| told.at(*place) + EARLIER_MS >= told.at(end)).unwrap_or(end);
        let (_, most_ms) = told.elapsed_ms(known, now.opened);
        let over = before.keep_s != u32::MAX && most_ms >= i64::from(before.keep_s) * 1000;
        // A session that nothing was entrusted to yet may be forgotten when the program dies.
        let entrusted = before.will.is_some() || is_entrusted(told, who, before.life_from, now.opened);
        // That it was there again need not be on disk, and its time goes on from before.
        let unknown = before.keep_s != u32::MAX && told.is_died_over(before.hello);
        if !over && !unknown && (entrusted || !told.died_between(before.hello, now.opened)) {
            found.push(format!("session: that of {who} was to be kept and is gone at {} ms", told.at(now.opened)));
        }
    }
    found
}

/// Whether a subscription was granted or an exactly-once publish acknowledged in a session.
fn is_entrusted(told: &Told<'_>, who: Who, from: usize, until: usize) -> bool {
    told.entries[from..until].iter().any(|entry| match &entry.fact {
        Fact::Granted(other, ..) => *other == who,
        Fact::Acked(key) => told.sheets[*key].who == who && told.sheets[*key].qos == model::Qos::ExactlyOnce,
        _ => false,
    })
}

/// A session that was not to be kept, or whose time is over, is not there any more.
pub fn undead(told: &Told<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |who: Who, now: &Connection, why: &str| {
        found.push(format!("session: that of {who} is there at {} ms, {why}", told.at(now.opened)));
    };
    for (who, before, now, _, other) in pairs(told) {
        if !now.present {
            continue;
        }
        if now.clean {
            wrong(who, now, "though it was to be forgotten");
        } else if other {
            // A connection that was not answered may have made one.
        } else if before.keep_s == 0 {
            wrong(who, now, "though it was to end with its line");
        } else if before.keep_s != u32::MAX && before.how == How::Polite && !told.is_died_over(before.closed) {
            let (least_ms, _) = told.elapsed_ms(before.closed, now.hello);
            if least_ms > i64::from(before.keep_s) * 1000 + LATER_MS {
                wrong(who, now, "though its time is over");
            }
        }
    }
    for (who, all) in &told.connections {
        if let Some(first) = all.iter().find(|connection| connection.opened != NEVER).filter(|first| first.present)
            && all[0].opened == first.opened
        {
            wrong(*who, first, "though it was never there before");
        }
    }
    found
}

/// Whoever waits for an answer gets it while all is well, and nobody is told what makes no sense.
pub fn unanswered(told: &Told<'_>) -> Vec<String> {
    let facts = told.entries.iter();
    facts
        .filter_map(|entry| match &entry.fact {
            Fact::Starved(who, what) => Some(format!("starved: {who} waits in vain for {what}, at {} ms", entry.at)),
            Fact::Nonsense(who, what) => Some(format!("nonsense: {who} was told {what}, at {} ms", entry.at)),
            _ => None,
        })
        .collect()
}
