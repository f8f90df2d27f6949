//! Topic names and filters with the rules of MQTT (section 4.7 of 3.1.1), and the reserved spaces of
//! espush: `me/…` (the speaker's own device), `dev/<id>/…`, `app/<id>/…` and `$…`. Matching here is the
//! plain definition; the hub's trie must agree with it and is tested against it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits;

/// Why a text is no topic or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Topics and filters have at least one character [MQTT-4.7.3-1].
    #[error("a topic must not be empty")]
    Empty,
    /// NUL is forbidden [MQTT-4.7.3-2].
    #[error("a topic must not contain the NUL character")]
    Nul,
    /// Longer than our limit.
    #[error("a topic may have at most {} bytes", limits::TOPIC_BYTES_MAX)]
    TooLong,
    /// Deeper than our limit.
    #[error("a topic may have at most {} levels", limits::TOPIC_LEVELS_MAX)]
    TooDeep,
    /// `+` or `#` in a name that one publishes to [MQTT-3.3.2-2].
    #[error("a topic to publish to must not contain + or #")]
    Wildcard,
    /// `#` not last, or a wildcard that does not fill its level [MQTT-4.7.1-2], [MQTT-4.7.1-3].
    #[error("a wildcard must fill its level, and # must be the last")]
    MisplacedWildcard,
}

fn check_common(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > limits::TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    let mut levels = 1;
    for byte in text.bytes() {
        match byte {
            0 => return Err(TopicError::Nul),
            b'/' => levels += 1,
            _ => {}
        }
    }
    if levels > limits::TOPIC_LEVELS_MAX { Err(TopicError::TooDeep) } else { Ok(()) }
}

/// A valid topic name: what one publishes to. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks `text` and keeps it.
    pub fn parse(text: &str) -> Result<Topic, TopicError> {
        check_common(text)?;
        if text.bytes().any(|b| b == b'+' || b == b'#') {
            return Err(TopicError::Wildcard);
        }
        Ok(Topic(text.into()))
    }

    /// `dev/<id>/<rest>`; `rest` is ours, so it is trusted to be well formed.
    pub fn of_device(id: &str, rest: &str) -> Topic {
        Topic(format!("dev/{id}/{rest}").into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which space of the topic tree the name lies in.
    pub fn space(&self) -> Space<'_> {
        Space::of(&self.0)
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, out)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A valid topic filter: what one subscribes to. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Arc<str>);

impl Filter {
    /// Checks `text` and keeps it.
    pub fn parse(text: &str) -> Result<Filter, TopicError> {
        check_common(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let plain = !level.bytes().any(|b| b == b'+' || b == b'#');
            let whole = level == "+" || (level == "#" && levels.peek().is_none());
            if !plain && !whole {
                return Err(TopicError::MisplacedWildcard);
            }
        }
        Ok(Filter(text.into()))
    }

    /// `$share/<group>/<filter>`: how a shared subscription is remembered. It matches nothing by itself.
    pub fn shared(group: &str, filter: &Filter) -> Filter {
        Filter(format!("$share/{group}/{filter}").into())
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the filter has no wildcard, so that it matches exactly one name.
    pub fn is_exact(&self) -> bool {
        !self.0.bytes().any(|b| b == b'+' || b == b'#')
    }

    /// Which space of the topic tree the filter names in its first levels. A filter that begins with a
    /// wildcard is [`Space::Free`]: it never reaches into a reserved space for a device.
    pub fn space(&self) -> Space<'_> {
        Space::of(&self.0)
    }

    /// The definition of matching. `+` and `#` in first place do not match `$…` [MQTT-4.7.2-1]; `a/#`
    /// also matches `a`.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.split('/');
        for level in self.0.split('/') {
            match (level, names.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(name)) if level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl Borrow<str> for Filter {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, out)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whether a name lies in `dev/…` or `app/…`, which wildcards in first place reach only for those who may.
pub fn is_reserved(topic: &str) -> bool {
    topic.starts_with("dev/") || topic.starts_with("app/")
}

/// The part of the topic tree that a name or filter speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space<'a> {
    /// Free for the owner's devices to use between themselves.
    Free,
    /// `me/<rest>`: the speaker's own device.
    Me {
        /// What follows `me/`.
        rest: &'a str,
    },
    /// `dev/<id>/<rest>`. `id` may be a wildcard in a filter.
    Device {
        /// The device's id.
        id: &'a str,
        /// What follows the id; empty when nothing does.
        rest: &'a str,
    },
    /// `app/<id>/<rest>`. `id` may be a wildcard in a filter.
    App {
        /// The app's number as text.
        id: &'a str,
        /// What follows the id; empty when nothing does.
        rest: &'a str,
    },
    /// `$…`, the broker's own.
    System,
}

impl<'a> Space<'a> {
    /// The space that `text` (name or filter) lies in.
    pub fn of(text: &'a str) -> Space<'a> {
        // Asked for every message: nearly all names are told to be free by how they begin.
        match text.as_bytes() {
            [b'$', ..] => return Space::System,
            [b'm', b'e', ..] | [b'd', b'e', b'v', ..] | [b'a', b'p', b'p', ..] => {}
            _ => return Space::Free,
        }
        let (first, rest) = text.split_once('/').unwrap_or((text, ""));
        let (id, tail) = rest.split_once('/').unwrap_or((rest, ""));
        match first {
            "me" => Space::Me { rest },
            "dev" => Space::Device { id, rest: tail },
            "app" => Space::App { id, rest: tail },
            _ => Space::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_filters_are_checked() {
        let name = |t: &str| Topic::parse(t).err();
        assert_eq!(name("a"), None);
        assert_eq!(name("/"), None);
        assert_eq!(name(""), Some(TopicError::Empty));
        assert_eq!(name("a\0b"), Some(TopicError::Nul));
        assert_eq!(name("a/+"), Some(TopicError::Wildcard));
        assert_eq!(name(&"x".repeat(limits::TOPIC_BYTES_MAX + 1)), Some(TopicError::TooLong));
        assert_eq!(name(&"/".repeat(limits::TOPIC_LEVELS_MAX)), Some(TopicError::TooDeep));
        for good in ["#", "+", "a/+/b", "a/#", "+/+", "/", "a//#"] {
            assert!(Filter::parse(good).is_ok(), "{good}");
        }
        for bad in ["a#", "#/a", "a/#/b", "+a", "a/b+", ""] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn matching_follows_the_specification() {
        // The examples of MQTT 3.1.1, section 4.7.
        let rows = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/b", "a/b/", false),
            ("A", "a", false),
        ];
        for (filter, topic, want) in rows {
            assert_eq!(Filter::parse(filter).unwrap().matches(topic), want, "{filter} on {topic}");
        }
    }

    #[test]
    fn spaces_are_told_apart() {
        assert_eq!(Space::of("foo_topic"), Space::Free);
        assert_eq!(Space::of("me/data/temp"), Space::Me { rest: "data/temp" });
        assert_eq!(Space::of("me"), Space::Me { rest: "" });
        assert_eq!(Space::of("dev/lamp/push"), Space::Device { id: "lamp", rest: "push" });
        assert_eq!(Space::of("dev/+/data/#"), Space::Device { id: "+", rest: "data/#" });
        assert_eq!(Space::of("app/7/push"), Space::App { id: "7", rest: "push" });
        assert_eq!(Space::of("$SYS/uptime"), Space::System);
        assert_eq!(Space::of("device/x"), Space::Free);
        for free in ["mead/x", "developer", "apple/1", "de", "", "/"] {
            assert_eq!(Space::of(free), Space::Free, "{free}");
        }
    }
}
