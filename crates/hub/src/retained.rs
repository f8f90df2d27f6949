//! The last value of each topic that was published with `retain`, shared by all shards. The one lock of
//! the hub: retained publishes and subscriptions take it, ordinary messages never do. Whoever sets one
//! notes it for the vault.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use model::limits::Limits;
use model::message::SharedMessage;
use model::{Filter, Millis, Topic};
use parking_lot::RwLock;

/// All retained messages.
#[derive(Default)]
pub struct Retained {
    inner: RwLock<Inner>,
    limits: Limits,
}

#[derive(Default)]
struct Inner {
    // Ordered, so that a filter with a literal beginning reads only the topics that share it.
    messages: BTreeMap<Topic, SharedMessage>,
    bytes: usize,
    /// When those that are not worth keeping for ever go.
    ends: BTreeSet<(Millis, Topic)>,
    /// Counts all changes, so that the vault can order what shards tell it apart from each other.
    version: u64,
}

impl Inner {
    fn remove(&mut self, topic: &Topic) {
        let Some(old) = self.messages.remove(topic) else { return };
        self.bytes -= old.cost_bytes();
        if let Some(at) = old.expires {
            self.ends.remove(&(at, topic.clone()));
        }
    }
}

/// Why a message was not retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Retained {
    /// No messages yet, and never more than `limits` say.
    pub fn new(limits: Limits) -> Retained {
        Retained { inner: RwLock::default(), limits }
    }

    /// Remembers `message` as its topic's last value; an empty payload forgets the topic
    /// [MQTT-3.3.1-10], [MQTT-3.3.1-11]. Returns the version of this change.
    pub fn set(&self, message: &SharedMessage) -> Result<u64, Full> {
        let mut inner = self.inner.write();
        let old = inner.messages.get(&message.topic).map_or(0, |m| m.cost_bytes());
        if !message.payload.is_empty() {
            let bytes = inner.bytes - old + message.cost_bytes();
            let count = inner.messages.len() + usize::from(old == 0);
            if bytes > self.limits.retained_bytes || count > self.limits.retained_messages {
                return Err(Full);
            }
        }
        inner.remove(&message.topic);
        if !message.payload.is_empty() {
            inner.bytes += message.cost_bytes();
            inner.ends.extend(message.expires.map(|at| (at, message.topic.clone())));
            inner.messages.insert(message.topic.clone(), message.clone());
        }
        inner.version += 1;
        Ok(inner.version)
    }

    /// Forgets one whose time is over by `now`. Returns its topic and the version of this change; ask until
    /// there is none.
    pub fn expire(&self, now: Millis) -> Option<(Topic, u64)> {
        if self.inner.read().ends.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let mut inner = self.inner.write();
        let topic = inner.ends.first().filter(|(at, _)| *at <= now)?.1.clone();
        inner.remove(&topic);
        inner.version += 1;
        Some((topic, inner.version))
    }

    /// Goes on counting versions behind `last`.
    pub fn count_from(&self, last: u64) {
        self.inner.write().version = last;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inner.read().messages.len()
    }

    /// Calls `each` with the retained messages that `filter` matches until it says `false`. With `reach`
    /// unset a first-place wildcard does not see `dev/…` and `app/…`.
    pub fn matching(&self, filter: &Filter, reach: bool, mut each: impl FnMut(&SharedMessage) -> bool) {
        let inner = self.inner.read();
        let text = filter.as_str();
        if filter.is_exact() {
            inner.messages.get(text).map(&mut each);
            return;
        }
        // The literal beginning, without its last slash: `a/#` matches `a` too.
        let prefix = text[..text.find(['+', '#']).unwrap_or(text.len())].trim_end_matches('/');
        for (topic, message) in inner.messages.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)) {
            let name = topic.as_str();
            if !name.starts_with(prefix) {
                break;
            }
            let reserved = !reach && (name.starts_with("dev/") || name.starts_with("app/"));
            if !reserved && filter.matches(name) && !each(message) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Message, UnixMs};

    use super::*;

    fn message(topic: &str, payload: &'static str) -> SharedMessage {
        Arc::new(Message::new(Topic::parse(topic).unwrap(), payload, UnixMs(0)))
    }

    fn seen(retained: &Retained, filter: &str, reach: bool) -> Vec<String> {
        let mut seen = Vec::new();
        retained.matching(&Filter::parse(filter).unwrap(), reach, |m| {
            seen.push(m.topic.to_string());
            true
        });
        seen
    }

    #[test]
    fn the_last_value_stays_and_an_empty_one_forgets() {
        let retained = Retained::default();
        for topic in ["a", "a/b", "a/b/c", "ab", "dev/lamp/state", "/x"] {
            retained.set(&message(topic, "1")).unwrap();
        }
        retained.set(&message("a/b", "2")).unwrap();
        assert_eq!(retained.len(), 6);
        assert_eq!(seen(&retained, "a/#", true), ["a", "a/b", "a/b/c"]);
        assert_eq!(seen(&retained, "a/b", true), ["a/b"]);
        assert_eq!(seen(&retained, "/+", true), ["/x"]);
        assert_eq!(seen(&retained, "#", true).len(), 6);
        assert_eq!(seen(&retained, "#", false).len(), 5);
        retained.set(&message("a/b", "")).unwrap();
        assert_eq!(seen(&retained, "a/+", true), [] as [&str; 0]);
        for topic in ["a", "a/b/c", "ab", "dev/lamp/state", "/x", "never"] {
            retained.set(&message(topic, "")).unwrap();
        }
        assert_eq!(retained.len(), 0);
        assert_eq!(retained.inner.read().bytes, 0);
    }

    #[test]
    fn what_has_an_end_goes_when_it_comes_and_what_replaced_it_stays() {
        let retained = Retained::default();
        let until = |topic: &str, at: u64| {
            let message = Message { expires: Some(Millis(at)), ..Message::clone(&message(topic, "1")) };
            retained.set(&Arc::new(message)).unwrap()
        };
        until("a", 10);
        until("b", 10);
        until("c", 20);
        until("c", 30);
        let last = retained.set(&message("b", "for ever")).unwrap();
        assert_eq!(retained.expire(Millis(9)), None);
        assert_eq!(retained.expire(Millis(20)), Some((Topic::parse("a").unwrap(), last + 1)));
        assert_eq!(retained.expire(Millis(20)), None);
        assert_eq!(seen(&retained, "#", true), ["b", "c"]);
        assert_eq!(retained.inner.read().ends.len(), 1);
    }

    #[test]
    fn matching_agrees_with_the_definition() {
        arbtest::arbtest(|u| {
            let retained = Retained::default();
            let mut topics = Vec::new();
            for _ in 0..u.int_in_range(0..=8)? {
                let topic = (0..u.int_in_range(1..=3)?)
                    .map(|_| u.choose(&["a", "b", "", "ab"]).copied())
                    .collect::<Result<Vec<_>, _>>()?
                    .join("/");
                if !topic.is_empty() {
                    retained.set(&message(&topic, "1")).unwrap();
                    topics.push(topic);
                }
            }
            let text = (0..u.int_in_range(1..=3)?)
                .map(|_| u.choose(&["a", "", "+", "#", "ab"]).copied())
                .collect::<Result<Vec<_>, _>>()?
                .join("/");
            let Ok(filter) = Filter::parse(&text) else { return Ok(()) };
            topics.retain(|topic| filter.matches(topic));
            topics.sort();
            topics.dedup();
            assert_eq!(seen(&retained, &text, true), topics, "{text}");
            Ok(())
        });
    }
}
