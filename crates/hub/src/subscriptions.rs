//! Who wants what on this shard. Nearly all devices use filters without wildcards, or with nothing but a
//! `/#` at the end: those are look-ups in hash tables, one for a name and one for each beginning of it.
//! Only filters with other wildcards are walked in a trie. The plain definition is `Filter::matches`, and
//! a property test holds this file to it.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use model::{Filter, Qos};
use slab::Slab;

use crate::entries::Entries;

/// One session's wish behind a filter. Small, because a million of them lie here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The session's place in the shard's table.
    pub session: u32,
    /// The number that deliveries of this subscription carry; 0 is none.
    pub id: u32,
    /// The QoS granted.
    pub qos: Qos,
    /// Whether the device wrote `me/…`.
    pub as_me: bool,
    /// Whether a first-place wildcard may match `dev/…` and `app/…`.
    pub reach: bool,
    /// Not for what the session publishes itself.
    pub no_local: bool,
    /// Show the retain flag as it was published.
    pub as_published: bool,
    /// The party's rules allow only a part of the filter: they are asked for each message.
    pub checked: bool,
}

impl Entry {
    /// A plain wish.
    pub fn new(session: u32, qos: Qos, reach: bool) -> Entry {
        Entry { session, id: 0, qos, as_me: false, reach, no_local: false, as_published: false, checked: false }
    }
}

/// A filter and who wants it.
struct Held {
    filter: Filter,
    entries: Entries,
}

const _: () = assert!(size_of::<Held>() <= 32, "a million of them lie here");

/// All subscriptions of a shard.
#[derive(Default)]
pub struct Subscriptions {
    /// Filters of the two kinds below. The tables have but the places in it: they are half empty at times.
    held: Slab<Held>,
    /// Filters without wildcards.
    exact: HashTable<u32>,
    /// Filters whose only wildcard is a `/#` at the end, by what stands before it.
    below: HashTable<u32>,
    wild: Node,
    count: usize,
    hasher: DefaultHashBuilder,
}

#[derive(Default)]
struct Node {
    children: HashMap<String, Node>,
    /// Filters that end here.
    here: Entries,
    /// Filters that end in `#` below here; they also match here.
    below: Entries,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.below.is_empty()
    }
}

/// Where a filter belongs.
enum Kind<'a> {
    Exact(&'a str),
    /// What stands before the `/#`.
    Below(&'a str),
    Wild,
}

impl Kind<'_> {
    fn of(filter: &Filter) -> Kind<'_> {
        let text = filter.as_str();
        match text.bytes().position(|byte| byte == b'+' || byte == b'#') {
            None => Kind::Exact(text),
            Some(at) if at >= 1 && at + 1 == text.len() && text.ends_with('#') => Kind::Below(&text[..at - 1]),
            Some(_) => Kind::Wild,
        }
    }
}

/// The hashes of a name's beginnings, each with its length: level by level, so that all together cost no more
/// than reading the name once.
fn beginnings<'a>(hasher: &'a DefaultHashBuilder, name: &'a str) -> impl Iterator<Item = (u64, &'a str)> + 'a {
    let (mut hash, mut end) = (0, 0);
    name.split('/').map(move |level| {
        hash = hasher.hash_one((hash, level));
        let beginning = &name[..end + level.len()];
        end += level.len() + 1;
        (hash, beginning)
    })
}

fn hash_of(hasher: &DefaultHashBuilder, kind: &Kind<'_>) -> u64 {
    match kind {
        Kind::Exact(text) => hasher.hash_one(text),
        Kind::Below(text) => beginnings(hasher, text).last().map_or(0, |(hash, _)| hash),
        Kind::Wild => 0,
    }
}

impl Subscriptions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The place of a filter in `held`.
    fn place(&self, kind: &Kind<'_>, hash: u64, filter: &Filter) -> Option<usize> {
        let table = match kind {
            Kind::Exact(_) => &self.exact,
            Kind::Below(_) => &self.below,
            Kind::Wild => return None,
        };
        table.find(hash, |at| self.held[*at as usize].filter == *filter).map(|at| *at as usize)
    }

    /// Adds a subscription; the same session's earlier one with the same filter is replaced. Whether it is new.
    pub fn insert(&mut self, filter: &Filter, entry: Entry) -> bool {
        let kind = Kind::of(filter);
        let hash = hash_of(&self.hasher, &kind);
        let new = match (&kind, self.place(&kind, hash, filter)) {
            (Kind::Wild, _) => {
                let mut node = &mut self.wild;
                let mut levels = filter.as_str().split('/');
                loop {
                    match levels.next() {
                        None => break node.here.put(entry),
                        Some("#") => break node.below.put(entry),
                        Some(level) => node = node.children.entry_ref(level).or_default(),
                    }
                }
            }
            (_, Some(at)) => self.held[at].entries.put(entry),
            (_, None) => {
                let at = self.held.insert(Held { filter: filter.clone(), entries: Entries::One(entry) }) as u32;
                let (held, hasher) = (&self.held, &self.hasher);
                let table = if matches!(kind, Kind::Exact(_)) { &mut self.exact } else { &mut self.below };
                let rehash = |at: &u32| hash_of(hasher, &Kind::of(&held[*at as usize].filter));
                table.insert_unique(hash, at, rehash);
                true
            }
        };
        self.count += usize::from(new);
        new
    }

    /// Removes a subscription. Whether it was there.
    pub fn remove(&mut self, filter: &Filter, session: u32) -> bool {
        let kind = Kind::of(filter);
        let hash = hash_of(&self.hasher, &kind);
        let was = match (&kind, self.place(&kind, hash, filter)) {
            (Kind::Wild, _) => remove_below(&mut self.wild, filter.as_str().split('/'), session),
            (_, None) => false,
            (_, Some(at)) => {
                let was = self.held[at].entries.take(session);
                if self.held[at].entries.is_empty() {
                    let table = if matches!(kind, Kind::Exact(_)) { &mut self.exact } else { &mut self.below };
                    let found = table.find_entry(hash, |place| *place as usize == at);
                    found.ok().map(|found| found.remove());
                    self.held.remove(at);
                }
                was
            }
        };
        self.count -= usize::from(was);
        was
    }

    /// Puts into `found`, which is empty, everyone who wants `topic`. A session that wants it by several
    /// filters stands there several times in a row.
    pub fn matches(&self, topic: &str, found: &mut Vec<Entry>) {
        debug_assert!(found.is_empty());
        if let Some(at) = self.exact.find(self.hasher.hash_one(topic), |at| self.held[*at as usize].filter.as_str() == topic) {
            found.extend_from_slice(self.held[*at as usize].entries.as_slice());
        }
        let exact_end = found.len();
        if !self.below.is_empty() {
            for (hash, beginning) in beginnings(&self.hasher, topic) {
                let is = |at: &u32| self.held[*at as usize].filter.as_str().strip_suffix("/#") == Some(beginning);
                if let Some(at) = self.below.find(hash, is) {
                    found.extend_from_slice(self.held[*at as usize].entries.as_slice());
                }
            }
        }
        if !self.wild.is_empty() {
            self.walk_wild(topic, found);
        }
        if found.len() > exact_end {
            found.sort_unstable_by_key(|entry| entry.session);
        }
    }

    fn walk_wild(&self, topic: &str, found: &mut Vec<Entry>) {
        if topic.starts_with('$') {
            // Wildcards in first place do not match `$…` [MQTT-4.7.2-1]: enter by the literal child only.
            let (first, rest) = topic.split_once('/').map_or((topic, None), |(first, rest)| (first, Some(rest)));
            if let Some(child) = self.wild.children.get(first) {
                walk(child, rest, found);
            }
            return;
        }
        let literal_end = found.len();
        walk(&self.wild, Some(topic), found);
        if model::topic::is_reserved(topic) {
            // Those of filters without a wildcard in first place reach what they name.
            let mut at = 0;
            found.retain(|entry| {
                at += 1;
                at <= literal_end || entry.reach
            });
        }
    }
}

/// `rest` is what remains of the topic below `node`; `None` when the topic ends here.
fn walk(node: &Node, rest: Option<&str>, found: &mut Vec<Entry>) {
    found.extend_from_slice(node.below.as_slice());
    let Some(rest) = rest else {
        found.extend_from_slice(node.here.as_slice());
        return;
    };
    let (level, rest) = rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest)));
    if let Some(child) = node.children.get(level) {
        walk(child, rest, found);
    }
    if let Some(child) = node.children.get("+") {
        walk(child, rest, found);
    }
}

fn remove_below<'a>(node: &mut Node, mut levels: impl Iterator<Item = &'a str>, session: u32) -> bool {
    match levels.next() {
        None => node.here.take(session),
        Some("#") => node.below.take(session),
        Some(level) => {
            let Some(child) = node.children.get_mut(level) else { return false };
            let was = remove_below(child, levels, session);
            if child.is_empty() {
                node.children.remove(level);
            }
            was
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(session: u32) -> Entry {
        Entry::new(session, Qos::AtMostOnce, true)
    }

    fn who(subscriptions: &Subscriptions, topic: &str) -> Vec<u32> {
        let mut found = Vec::new();
        subscriptions.matches(topic, &mut found);
        let mut sessions: Vec<u32> = found.iter().map(|e| e.session).collect();
        sessions.dedup();
        let runs = sessions.len();
        sessions.sort_unstable();
        sessions.dedup();
        assert_eq!(runs, sessions.len(), "one session's entries stand together");
        sessions
    }

    /// Random filters and topics over a tiny alphabet against `Filter::matches`, with removals.
    #[test]
    fn the_trie_agrees_with_the_definition() {
        const LEVELS: [&str; 7] = ["a", "b", "", "+", "#", "$s", "dev"];
        arbtest::arbtest(|u| {
            let mut subscriptions = Subscriptions::default();
            let mut plain: Vec<(Filter, u32)> = Vec::new();
            for _ in 0..u.int_in_range(0..=12)? {
                let text =
                    (0..u.int_in_range(1..=4)?).map(|_| u.choose(&LEVELS).copied()).collect::<Result<Vec<_>, _>>()?.join("/");
                let Ok(filter) = Filter::parse(&text) else { continue };
                let session = u.int_in_range(0..=4)?;
                if u.ratio(1, 4)? {
                    let was = plain.iter().position(|p| *p == (filter.clone(), session)).map(|at| plain.remove(at)).is_some();
                    assert_eq!(subscriptions.remove(&filter, session), was);
                } else {
                    let known = plain.contains(&(filter.clone(), session));
                    assert_eq!(subscriptions.insert(&filter, entry(session)), !known);
                    if !known {
                        plain.push((filter, session));
                    }
                }
            }
            assert_eq!(subscriptions.len(), plain.len());
            let topic = (0..u.int_in_range(1..=4)?)
                .map(|_| u.choose(&["a", "b", "", "$s", "dev"]).copied())
                .collect::<Result<Vec<_>, _>>()?
                .join("/");
            let mut want: Vec<u32> = plain.iter().filter(|(filter, _)| filter.matches(&topic)).map(|(_, s)| *s).collect();
            want.sort_unstable();
            want.dedup();
            assert_eq!(who(&subscriptions, &topic), want, "{topic:?} in {plain:?}");
            for (filter, session) in &plain {
                assert!(subscriptions.remove(filter, *session));
            }
            assert!(
                subscriptions.len() == 0 && subscriptions.wild.is_empty() && subscriptions.held.is_empty(),
                "nothing stays behind"
            );
            Ok(())
        });
    }

    #[test]
    fn a_first_place_wildcard_without_reach_does_not_see_reserved_topics() {
        let mut subscriptions = Subscriptions::default();
        let short = Entry { reach: false, ..entry(1) };
        for filter in ["#", "+/lamp/push"] {
            subscriptions.insert(&Filter::parse(filter).unwrap(), short);
        }
        assert_eq!(who(&subscriptions, "dev/lamp/push"), [] as [u32; 0]);
        assert_eq!(who(&subscriptions, "app/7/push"), [] as [u32; 0]);
        assert_eq!(who(&subscriptions, "device/lamp/push"), [1]);
        subscriptions.insert(&Filter::parse("dev/lamp/#").unwrap(), entry(1));
        assert_eq!(who(&subscriptions, "dev/lamp/push"), [1]);
    }
}
