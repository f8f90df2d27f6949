//! Shared subscriptions (`$share/<group>/<filter>`, MQTT 5.0 section 4.8.2, for every protocol and level):
//! each message goes to one member of the group, wherever it lives. Known to all shards; while there is no
//! group at all, a publish pays one look at a counter for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use contract::SessionPlace;
use hashbrown::HashMap;
use model::{Filter, Qos};
use parking_lot::RwLock;
use slab::Slab;

use crate::subscriptions::{Entry, Subscriptions};

/// A session that shares a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The shard that the session lives on.
    pub shard: u16,
    /// The session.
    pub session: SessionPlace,
    /// How it wants it.
    pub entry: Entry,
    /// Whether it has a line.
    pub online: bool,
}

/// All groups.
#[derive(Default)]
pub struct SharedGroups {
    inner: RwLock<Inner>,
    count: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    groups: Slab<Group>,
    by_name: HashMap<(Box<str>, Filter), usize>,
    /// Filters with groups behind them: an entry's `session` is a place in `groups`.
    filters: Subscriptions,
}

struct Group {
    name: Box<str>,
    filter: Filter,
    members: Vec<Member>,
    next: AtomicUsize,
}

impl Group {
    /// The next member in turn, one with a line if there is any. Members that may not see a reserved
    /// topic through their wildcard are passed over.
    fn choose(&self, reserved: bool) -> Option<Member> {
        let start = self.next.fetch_add(1, Ordering::Relaxed) % self.members.len().max(1);
        let (before, from) = self.members.split_at(start.min(self.members.len()));
        let mut fit = from.iter().chain(before).filter(|m| m.entry.reach || !reserved);
        let first = *fit.next()?;
        Some(if first.online { first } else { fit.find(|m| m.online).copied().unwrap_or(first) })
    }
}

impl SharedGroups {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Adds a member, or replaces what it wanted before. Whether it is new.
    pub fn join(&self, name: &str, filter: &Filter, member: Member) -> bool {
        let mut inner = self.inner.write();
        let Inner { groups, by_name, filters } = &mut *inner;
        let at = *by_name.entry((name.into(), filter.clone())).or_insert_with(|| {
            let group = Group { name: name.into(), filter: filter.clone(), members: Vec::new(), next: AtomicUsize::new(0) };
            let at = groups.insert(group);
            // Who may see what is looked at member by member.
            filters.insert(filter, Entry::new(at as u32, Qos::ExactlyOnce, true));
            at
        });
        let members = &mut groups[at].members;
        let new = match members.iter_mut().find(|m| m.shard == member.shard && m.session == member.session) {
            Some(old) => {
                *old = member;
                false
            }
            None => {
                members.push(member);
                true
            }
        };
        self.count.store(groups.len(), Ordering::Relaxed);
        new
    }

    /// Removes a member. Whether it was there.
    pub fn leave(&self, name: &str, filter: &Filter, shard: u16, session: SessionPlace) -> bool {
        let mut inner = self.inner.write();
        let Inner { groups, by_name, filters } = &mut *inner;
        let key = (Box::from(name), filter.clone());
        let Some(&at) = by_name.get(&key) else { return false };
        let members = &mut groups[at].members;
        let before = members.len();
        members.retain(|m| m.shard != shard || m.session != session);
        let was = members.len() < before;
        if members.is_empty() {
            let group = groups.remove(at);
            filters.remove(&group.filter, at as u32);
            by_name.remove(&key);
        }
        self.count.store(groups.len(), Ordering::Relaxed);
        was
    }

    /// Tells whether a member has a line now.
    pub fn set_online(&self, name: &str, filter: &Filter, shard: u16, session: SessionPlace, online: bool) {
        let mut inner = self.inner.write();
        let Inner { groups, by_name, .. } = &mut *inner;
        if let Some(&at) = by_name.get(&(Box::from(name), filter.clone()))
            && let Some(member) = groups[at].members.iter_mut().find(|m| m.shard == shard && m.session == session)
        {
            member.online = online;
        }
    }

    /// One member of each group that wants `topic`, with the group's name and filter.
    pub fn choose(&self, topic: &str, mut each: impl FnMut(&str, &Filter, Member)) {
        let inner = self.inner.read();
        let mut found = Vec::new();
        inner.filters.matches(topic, &mut found);
        let reserved = model::topic::is_reserved(topic);
        for entry in found {
            let group = &inner.groups[entry.session as usize];
            if let Some(member) = group.choose(reserved && group.filter.as_str().starts_with(['+', '#'])) {
                each(&group.name, &group.filter, member);
            }
        }
    }

    /// One member of one group, for a message that another member can no longer take.
    pub fn choose_of(&self, name: &str, filter: &Filter, topic: &str) -> Option<Member> {
        let inner = self.inner.read();
        let at = *inner.by_name.get(&(Box::from(name), filter.clone()))?;
        inner.groups[at].choose(model::topic::is_reserved(topic) && filter.as_str().starts_with(['+', '#']))
    }
}

/// `$share/<group>/<filter>` taken apart: group and filter. `None` for any other text; `Some(None)` for one
/// that begins so and is malformed [MQTT-4.8.2-1], [MQTT-4.8.2-2].
pub fn split(text: &str) -> Option<Option<(&str, &str)>> {
    let rest = text.strip_prefix("$share/")?;
    Some(rest.split_once('/').filter(|(group, filter)| !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(index: u32, online: bool) -> Member {
        let session = SessionPlace { index, epoch: 1 };
        Member { shard: 0, session, entry: Entry::new(index, Qos::AtLeastOnce, true), online }
    }

    fn chosen(groups: &SharedGroups, topic: &str) -> Vec<u32> {
        let mut chosen = Vec::new();
        groups.choose(topic, |_, _, member| chosen.push(member.session.index));
        chosen
    }

    #[test]
    fn members_take_turns_and_those_with_a_line_come_first() {
        let groups = SharedGroups::default();
        let filter = Filter::parse("t/+").unwrap();
        assert!(groups.is_empty());
        for index in 1..=3 {
            assert!(groups.join("g", &filter, member(index, true)));
        }
        assert!(!groups.join("g", &filter, member(1, true)));
        let mut turns: Vec<u32> = (0..6).flat_map(|_| chosen(&groups, "t/1")).collect();
        turns.sort_unstable();
        assert_eq!(turns, [1, 1, 2, 2, 3, 3]);
        assert_eq!(chosen(&groups, "other"), [] as [u32; 0]);
        for index in [1, 2] {
            groups.set_online("g", &filter, 0, SessionPlace { index, epoch: 1 }, false);
        }
        assert!((0..6).all(|_| chosen(&groups, "t/1") == [3]));
        for index in 1..=3 {
            assert!(groups.leave("g", &filter, 0, SessionPlace { index, epoch: 1 }));
        }
        assert!(groups.is_empty() && groups.choose_of("g", &filter, "t/1").is_none());
    }

    #[test]
    fn the_text_of_a_shared_subscription_is_taken_apart() {
        assert_eq!(split("a/b"), None);
        assert_eq!(split("$share/g/a/#"), Some(Some(("g", "a/#"))));
        for bad in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/#/a"] {
            assert_eq!(split(bad), Some(None), "{bad}");
        }
    }
}
