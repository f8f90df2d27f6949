//! What is to be done, and who of the connections does what. Connections are numbered from 0: those that
//! listen first, then those that publish. Each worker process has every nth of both, so that no process
//! needs to be told more than the plan and its own number.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The server's port.
    pub server: SocketAddr,
    /// Who connects, and what they send.
    pub work: Work,
    /// The version of MQTT.
    pub mqtt: Mqtt,
    /// QoS of publishes and subscriptions, 0 to 2.
    pub qos: u8,
    /// Bytes of each payload; latencies of deliveries need [`STAMP_BYTES`].
    pub payload_bytes: usize,
    /// Messages a second in all; without it as fast as the window lets them go.
    pub rate: Option<f64>,
    /// How long the load lasts.
    pub seconds: f64,
    /// The load ends earlier when so many were sent.
    pub messages: Option<u64>,
    /// Messages on their way at once, in all.
    pub window: u32,
    /// What becomes of the sessions of those that listen.
    pub sessions: Sessions,
    /// As whom they log in.
    pub who: Who,
    /// The keep-alive that they promise, and keep.
    pub keep_alive_s: u16,
    /// What topics and client ids begin with.
    pub name: String,
    /// Connections begun a second; without it as fast as the server takes them.
    pub connect_rate: Option<f64>,
    /// Connections being made at once.
    pub handshakes: u32,
    /// The first source address; connections are spread over it and those after it.
    pub from: Option<Ipv4Addr>,
}

/// Bytes at the start of a payload that say when it was due.
pub const STAMP_BYTES: usize = 8;

/// Connections that share a source address: far below the 28,232 ports that Linux gives out for each.
const PER_ADDRESS: u32 = 4_000;

/// The shapes of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Connections that subscribe to a topic of their own and stay.
    Conns {
        /// How many.
        count: u32,
    },
    /// Connections that ask whether the server is there.
    Ping {
        /// How many.
        count: u32,
    },
    /// All that is published goes to all that listen.
    Fan {
        /// How many publish.
        publishers: u32,
        /// How many listen.
        subscribers: u32,
    },
    /// Each that publishes has one that listens.
    Pairs {
        /// How many of both.
        count: u32,
    },
    /// One publishes to one of many at random, each with its own topic.
    Push {
        /// How many listen.
        devices: u32,
    },
}

/// Versions of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mqtt {
    /// 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// 5.0.
    #[serde(rename = "5.0")]
    V5,
}

/// Sessions of those that listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sessions {
    /// End with the connection.
    Clean,
    /// Outlive the connection, until the run is over.
    Kept,
    /// As kept, and the connection ends before the load: the server must keep every message above QoS 0.
    Away,
}

/// How connections log in. `{i}` in a text is the connection's number.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Without a user name.
    Nobody,
    /// With user name and password.
    Named {
        /// The user name.
        user: String,
        /// The password, if any.
        password: Option<String>,
    },
    /// As devices that register themselves: the app's number and key, and a chip id counted up.
    App {
        /// The app's number.
        app: u32,
        /// The app's key.
        key: String,
        /// The first chip id.
        first_chip: u32,
    },
}

impl std::fmt::Debug for Who {
    /// Without passwords and keys.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Nobody => out.write_str("Nobody"),
            Who::Named { user, .. } => write!(out, "Named({user:?})"),
            Who::App { app, first_chip, .. } => write!(out, "App({app}, from chip {first_chip})"),
        }
    }
}

/// What one connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Subscribes to the topic with this number.
    Listens(u32),
    /// Publishes to the topic with this number.
    Publishes(u32),
    /// Publishes to topics at random, below this number.
    Pushes(u32),
    /// Neither.
    Pings,
}

impl Plan {
    /// How many listen and how many publish or ping.
    pub fn sides(&self) -> (u32, u32) {
        match self.work {
            Work::Conns { count } => (count, 0),
            Work::Ping { count } => (0, count),
            Work::Fan { publishers, subscribers } => (subscribers, publishers),
            Work::Pairs { count } => (count, count),
            Work::Push { devices } => (devices, 1),
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> u32 {
        let (listen, publish) = self.sides();
        listen + publish
    }

    /// What connection `index` does.
    pub fn role(&self, index: u32) -> Role {
        let (listen, _) = self.sides();
        match self.work {
            Work::Ping { .. } => Role::Pings,
            Work::Fan { .. } if index < listen => Role::Listens(0),
            _ if index < listen => Role::Listens(index),
            Work::Fan { .. } => Role::Publishes(0),
            Work::Push { devices } => Role::Pushes(devices),
            _ => Role::Publishes(index - listen),
        }
    }

    /// Which of `workers` processes has connection `index`. Pairs stay together.
    pub fn worker_of(&self, index: u32, workers: u32) -> u32 {
        let (listen, _) = self.sides();
        let place = if index < listen { index } else { index - listen };
        place % workers.max(1)
    }

    /// How many get each message that is published.
    pub fn fan_out(&self) -> u32 {
        match self.work {
            Work::Fan { subscribers, .. } => subscribers,
            Work::Pairs { .. } | Work::Push { .. } => 1,
            Work::Conns { .. } | Work::Ping { .. } => 0,
        }
    }

    /// Whether there is a load after the connections are made.
    pub fn has_load(&self) -> bool {
        !matches!(self.work, Work::Conns { .. })
    }

    /// Messages that one publisher may have on their way.
    pub fn window_each(&self) -> u32 {
        (self.window / self.sides().1.max(1)).max(1)
    }

    /// The topic with this number.
    pub fn topic(&self, number: u32) -> String {
        format!("{}/{number}", self.name)
    }

    /// User name, password and client id of connection `index`.
    pub fn login(&self, index: u32) -> (Option<String>, Option<String>, String) {
        let named = |text: &str| text.replace("{i}", &index.to_string());
        let client = format!("{}-{index}", self.name);
        match &self.who {
            Who::Nobody => (None, None, client),
            Who::Named { user, password } => (Some(named(user)), password.as_deref().map(named), client),
            Who::App { app, key, first_chip } => {
                (Some(app.to_string()), Some(key.clone()), first_chip.wrapping_add(index).to_string())
            }
        }
    }

    /// Where connection `index` comes from: a loopback server sees many addresses, so that ports never run
    /// out; elsewhere the system chooses unless it was told.
    pub fn source(&self, index: u32) -> Option<Ipv4Addr> {
        let first = match (self.from, self.server.ip()) {
            (Some(first), _) => first,
            (None, IpAddr::V4(server)) if server.is_loopback() => Ipv4Addr::new(127, 0, 1, 1),
            _ => return None,
        };
        Some(Ipv4Addr::from(u32::from(first).wrapping_add(index / PER_ADDRESS)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan(work: Work) -> Plan {
        Plan {
            server: "127.0.0.1:1883".parse().unwrap(),
            work,
            mqtt: Mqtt::V311,
            qos: 0,
            payload_bytes: 64,
            rate: None,
            seconds: 1.0,
            messages: None,
            window: 500,
            sessions: Sessions::Clean,
            who: Who::Nobody,
            keep_alive_s: 60,
            name: "bench".to_owned(),
            connect_rate: None,
            handshakes: 10,
            from: None,
        }
    }

    #[test]
    fn everybody_has_a_role() {
        let roles = |work| {
            let plan = plan(work);
            (0..plan.connections()).map(|i| plan.role(i)).collect::<Vec<_>>()
        };
        use Role::*;
        assert_eq!(roles(Work::Conns { count: 2 }), [Listens(0), Listens(1)]);
        assert_eq!(roles(Work::Ping { count: 2 }), [Pings, Pings]);
        assert_eq!(roles(Work::Fan { publishers: 2, subscribers: 1 }), [Listens(0), Publishes(0), Publishes(0)]);
        assert_eq!(roles(Work::Pairs { count: 2 }), [Listens(0), Listens(1), Publishes(0), Publishes(1)]);
        assert_eq!(roles(Work::Push { devices: 2 }), [Listens(0), Listens(1), Pushes(2)]);
    }

    #[test]
    fn processes_share_the_connections_and_keep_pairs_together() {
        let plan = plan(Work::Pairs { count: 7 });
        for pair in 0..7 {
            assert_eq!(plan.worker_of(pair, 3), plan.worker_of(pair + 7, 3));
        }
        let of = |worker| (0..14).filter(|i| plan.worker_of(*i, 3) == worker).count();
        assert_eq!([of(0), of(1), of(2)], [6, 4, 4]);
    }

    #[test]
    fn a_loopback_server_sees_many_addresses() {
        let mut plan = plan(Work::Conns { count: 10_000 });
        assert_eq!(plan.source(0), Some(Ipv4Addr::new(127, 0, 1, 1)));
        assert_eq!(plan.source(9_999), Some(Ipv4Addr::new(127, 0, 1, 3)));
        plan.server = "192.0.2.1:1883".parse().unwrap();
        assert_eq!(plan.source(0), None);
        plan.from = Some(Ipv4Addr::new(192, 0, 2, 8));
        assert_eq!(plan.source(4_000), Some(Ipv4Addr::new(192, 0, 2, 9)));
    }

    #[test]
    fn names_follow_their_pattern_and_secrets_are_not_shown() {
        let mut plan = plan(Work::Conns { count: 1 });
        plan.who = Who::Named { user: "board-{i}".into(), password: Some("p{i}".into()) };
        assert_eq!(plan.login(7), (Some("board-7".into()), Some("p7".into()), "bench-7".into()));
        assert!(!format!("{plan:?}").contains("p{i}"));
        plan.who = Who::App { app: 3, key: "k".into(), first_chip: 100 };
        assert_eq!(plan.login(7), (Some("3".into()), Some("k".into()), "107".into()));
    }
}
