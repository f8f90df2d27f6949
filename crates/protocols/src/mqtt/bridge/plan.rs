//! What a bridge is to do, in Mosquitto's terms: a topic line is `pattern direction qos local-prefix
//! remote-prefix`, and a prefix stands in front of the pattern on its own side only.

use model::topic::{Space, TopicError};
use model::{Filter, Qos};

/// One bridge, as configured and checked.
#[derive(Clone, PartialEq, Eq)]
pub struct BridgePlan {
    /// Its name, unique among the bridges.
    pub name: String,
    /// The client id at the remote.
    pub client_id: String,
    /// The user name at the remote.
    pub username: Option<String>,
    /// The password at the remote.
    pub password: Option<String>,
    /// Whether both sides forget the bridge's session when the line is gone.
    pub clean: bool,
    /// The longest silence towards the remote, in seconds; 0 promises nothing.
    pub keep_alive_s: u16,
    /// Whether the remote is told that a bridge calls, see [`super::Machine`].
    pub try_private: bool,
    /// Where the remote keeps `1` while the bridge is there and `0` while it is not.
    pub notification_topic: Option<String>,
    /// What goes across.
    pub topics: Vec<BridgeTopic>,
}

impl BridgePlan {
    /// The name of its session here.
    pub fn session(&self) -> String {
        format!("bridge-{}", self.name)
    }

    /// The topics that the remote sends us.
    pub(super) fn inward(&self) -> impl Iterator<Item = &BridgeTopic> {
        self.topics.iter().filter(|topic| topic.direction != Direction::Out)
    }

    /// The topics that we send to the remote.
    pub(super) fn outward(&self) -> impl Iterator<Item = &BridgeTopic> {
        self.topics.iter().filter(|topic| topic.direction != Direction::In)
    }
}

/// Without the password, so that it reaches no log.
impl std::fmt::Debug for BridgePlan {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "BridgePlan({:?} as {:?}, {} topics)", self.name, self.client_id, self.topics.len())
    }
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the remote to us.
    In,
    /// From us to the remote.
    Out,
    /// Both ways.
    Both,
}

impl Direction {
    /// The direction of a word.
    pub fn parse(word: &str) -> Option<Direction> {
        match word {
            "in" => Some(Direction::In),
            "out" => Some(Direction::Out),
            "both" => Some(Direction::Both),
            _ => None,
        }
    }
}

/// Why a topic line cannot be. The texts name the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicRefused {
    /// Prefix and pattern together are no filter.
    #[error("{0:?} is no topic filter: {1}")]
    Filter(String, TopicError),
    /// A prefix is text, not a filter.
    #[error("the prefix {0:?} has a wildcard; wildcards belong into the pattern")]
    Prefix(String),
    /// Nobody can be "me" for both brokers.
    #[error("\"me/…\" is what a device calls its own topics; write dev/<device id>/… instead")]
    Me,
    /// The broker's own topics are not for others to write.
    #[error("topics that begin with $ cannot be bridged on this side; add a local_prefix")]
    System,
    /// What arrives could not be told from what is asked for.
    #[error("a shared subscription cannot be bridged; write the filter without $share/…")]
    Shared,
}

/// One topic line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTopic {
    /// Which way.
    pub direction: Direction,
    /// The highest QoS that it is carried with.
    pub qos: Qos,
    local: Filter,
    remote: Filter,
    local_prefix: String,
    remote_prefix: String,
}

impl BridgeTopic {
    /// Checks a topic line. The pattern may be empty when the prefixes name the topic.
    pub fn new(
        pattern: &str,
        direction: Direction,
        qos: Qos,
        local_prefix: &str,
        remote_prefix: &str,
    ) -> Result<BridgeTopic, TopicRefused> {
        for prefix in [local_prefix, remote_prefix] {
            if prefix.contains(['+', '#']) {
                return Err(TopicRefused::Prefix(prefix.to_owned()));
            }
        }
        let filter = |prefix| {
            let text = format!("{prefix}{pattern}");
            Filter::parse(&text).map_err(|error| TopicRefused::Filter(text, error))
        };
        let (local, remote) = (filter(local_prefix)?, filter(remote_prefix)?);
        if remote.as_str().starts_with("$share/") {
            return Err(TopicRefused::Shared);
        }
        match local.space() {
            Space::Me { .. } => Err(TopicRefused::Me),
            Space::System => Err(TopicRefused::System),
            _ => Ok(BridgeTopic {
                direction,
                qos,
                local,
                remote,
                local_prefix: local_prefix.to_owned(),
                remote_prefix: remote_prefix.to_owned(),
            }),
        }
    }

    /// The filter on our side.
    pub fn local(&self) -> &Filter {
        &self.local
    }

    /// The filter on the remote's side.
    pub fn remote(&self) -> &Filter {
        &self.remote
    }

    /// What the remote calls our topic `name`, if this line covers it.
    pub fn to_remote(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix(&*self.local_prefix).filter(|_| self.covers(name))?;
        Some(format!("{}{rest}", self.remote_prefix))
    }

    /// What we call the remote's topic `name`, if this line covers it.
    pub fn to_local(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix(&*self.remote_prefix).filter(|_| self.remote.matches(name))?;
        Some(format!("{}{rest}", self.local_prefix)).filter(|local| self.covers(local))
    }

    /// Whether our topic `name` is meant. A wildcard in first place does not reach into the spaces of
    /// devices and apps: whoever writes `#` thinks of the other broker's topics, and would otherwise let
    /// everyone there give orders to every device here.
    fn covers(&self, name: &str) -> bool {
        let reserved = matches!(Space::of(name), Space::Device { .. } | Space::App { .. });
        self.local.matches(name) && !(reserved && self.local.as_str().starts_with(['+', '#']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(pattern: &str, local: &str, remote: &str) -> Result<BridgeTopic, TopicRefused> {
        BridgeTopic::new(pattern, Direction::Both, Qos::AtLeastOnce, local, remote)
    }

    #[test]
    fn prefixes_are_changed_and_the_rest_is_kept() {
        let line = topic("+/temp", "old/", "site/7/").unwrap();
        assert_eq!((line.local().as_str(), line.remote().as_str()), ("old/+/temp", "site/7/+/temp"));
        assert_eq!(line.to_remote("old/shed/temp").as_deref(), Some("site/7/shed/temp"));
        assert_eq!(line.to_local("site/7/shed/temp").as_deref(), Some("old/shed/temp"));
        assert_eq!(line.to_remote("site/7/shed/temp"), None, "that is the remote's name");
        assert_eq!(line.to_local("site/8/shed/temp"), None);
        assert_eq!(line.to_remote("old/shed/hum"), None);
    }

    #[test]
    fn an_empty_pattern_is_one_topic_under_two_names() {
        let line = topic("", "lamp", "old/lamp").unwrap();
        assert_eq!(line.to_remote("lamp").as_deref(), Some("old/lamp"));
        assert_eq!(line.to_remote("lamps"), None);
        assert!(matches!(topic("", "", "x"), Err(TopicRefused::Filter(..))));
    }

    #[test]
    fn a_wildcard_in_first_place_does_not_reach_devices() {
        let all = topic("#", "", "").unwrap();
        assert_eq!(all.to_local("shed/temp").as_deref(), Some("shed/temp"));
        for reserved in ["dev/lamp/push", "app/7/push", "$SYS/uptime"] {
            assert_eq!((all.to_local(reserved), all.to_remote(reserved)), (None, None), "{reserved}");
        }
        assert!(topic("dev/+/data", "", "").unwrap().to_remote("dev/lamp/data").is_some(), "named, it is meant");
        assert!(topic("#", "dev/", "boards/").unwrap().to_local("boards/lamp/push").is_some(), "also by a prefix");
        assert_eq!(topic("+/lamp", "", "").unwrap().to_local("dev/lamp"), None);
    }

    #[test]
    fn what_cannot_be_bridged_is_refused_with_the_fix() {
        assert_eq!(topic("me/#", "", ""), Err(TopicRefused::Me));
        assert_eq!(topic("$SYS/#", "", ""), Err(TopicRefused::System));
        assert!(topic("$SYS/#", "old/", "").is_ok(), "the other broker's figures under a name of ours");
        assert_eq!(topic("x", "a/", "$share/g/"), Err(TopicRefused::Shared));
        assert_eq!(topic("x", "+/", ""), Err(TopicRefused::Prefix("+/".into())));
        assert!(matches!(topic("a#", "", ""), Err(TopicRefused::Filter(..))));
    }
}
