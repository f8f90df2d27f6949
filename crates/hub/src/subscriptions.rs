//! Who wants what on this shard. Filters without wildcards, which nearly all devices use, are one look-up
//! in a hash map; only filters with wildcards are walked in a trie. The plain definition is
//! `Filter::matches`, and a property test holds this file to it.

use hashbrown::HashMap;
use model::{Filter, Qos};
use smallvec::SmallVec;

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

type Entries = SmallVec<[Entry; 1]>;

/// All subscriptions of a shard.
#[derive(Default)]
pub struct Subscriptions {
    exact: HashMap<Filter, Entries>,
    wild: Node,
    count: usize,
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

/// Adds `entry` or replaces the session's earlier one. Whether it is new.
fn put(entries: &mut Entries, entry: Entry) -> bool {
    match entries.iter_mut().find(|e| e.session == entry.session) {
        Some(old) => {
            *old = entry;
            false
        }
        None => {
            entries.push(entry);
            true
        }
    }
}

fn take(entries: &mut Entries, session: u32) -> bool {
    match entries.iter().position(|e| e.session == session) {
        Some(at) => {
            entries.swap_remove(at);
            true
        }
        None => false,
    }
}

impl Subscriptions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Adds a subscription; the same session's earlier one with the same filter is replaced. Whether it is new.
    pub fn insert(&mut self, filter: &Filter, entry: Entry) -> bool {
        let new = if filter.is_exact() {
            put(self.exact.entry_ref(filter).or_default(), entry)
        } else {
            let mut node = &mut self.wild;
            let mut levels = filter.as_str().split('/').peekable();
            loop {
                match levels.next() {
                    None => break put(&mut node.here, entry),
                    Some("#") => break put(&mut node.below, entry),
                    Some(level) => node = node.children.entry_ref(level).or_default(),
                }
            }
        };
        self.count += usize::from(new);
        new
    }

    /// Removes a subscription. Whether it was there.
    pub fn remove(&mut self, filter: &Filter, session: u32) -> bool {
        let was = if filter.is_exact() {
            match self.exact.get_mut(filter) {
                None => false,
                Some(entries) => {
                    let was = take(entries, session);
                    if entries.is_empty() {
                        self.exact.remove(filter);
                    }
                    was
                }
            }
        } else {
            remove_below(&mut self.wild, filter.as_str().split('/'), session)
        };
        self.count -= usize::from(was);
        was
    }

    /// Puts into `found`, which is empty, everyone who wants `topic`. A session that wants it by several
    /// filters stands there several times in a row.
    pub fn matches(&self, topic: &str, found: &mut Vec<Entry>) {
        debug_assert!(found.is_empty());
        if let Some(entries) = self.exact.get(topic) {
            found.extend_from_slice(entries);
        }
        if self.wild.is_empty() {
            return;
        }
        let exact_end = found.len();
        if topic.starts_with('$') {
            // Wildcards in first place do not match `$…` [MQTT-4.7.2-1]: enter by the literal child only.
            let (first, rest) = topic.split_once('/').map_or((topic, None), |(first, rest)| (first, Some(rest)));
            if let Some(child) = self.wild.children.get(first) {
                walk(child, rest, found);
            }
        } else {
            walk(&self.wild, Some(topic), found);
            if model::topic::is_reserved(topic) {
                // Those of exact filters reach what they name.
                let mut at = 0;
                found.retain(|entry| {
                    at += 1;
                    at <= exact_end || entry.reach
                });
            }
        }
        if found.len() > exact_end {
            found.sort_unstable_by_key(|entry| entry.session);
        }
    }
}

/// `rest` is what remains of the topic below `node`; `None` when the topic ends here.
fn walk(node: &Node, rest: Option<&str>, found: &mut Vec<Entry>) {
    found.extend_from_slice(&node.below);
    let Some(rest) = rest else {
        found.extend_from_slice(&node.here);
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
        None => take(&mut node.here, session),
        Some("#") => take(&mut node.below, session),
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
                subscriptions.len() == 0 && subscriptions.wild.is_empty() && subscriptions.exact.is_empty(),
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
