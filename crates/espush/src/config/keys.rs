//! Every key that there is: what it takes, what it is for, and how it lands in [`Config`]. The only list;
//! `espush serve --help` is printed from it.

use std::net::SocketAddr;
use std::path::PathBuf;

use contract::Protocol;
use model::limits::{self, QueuePolicy};
use tracing::level_filters::LevelFilter;

use super::sources::Table;
use super::{Config, Listen, bridges};

/// A value as a source gave it. Variables and `--set` have only text; a file has types.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// Text of a file, a variable or an option.
    Text(String),
    /// `true` or `false` in a file.
    Bool(bool),
    /// A whole number in a file, as written.
    Integer(String),
    /// A list of texts in a file.
    List(Vec<String>),
    /// A list of tables in a file.
    Tables(Vec<Table>),
    /// Anything else in a file, by its TOML name: no key takes it.
    Other(&'static str),
}

/// One key: what it takes in words (after "expected"), what it is for, and how it is set. Setting
/// answers `None` when the value does not fit.
struct Key {
    name: &'static str,
    expected: &'static str,
    about: &'static str,
    set: fn(&mut Config, &Raw) -> Option<()>,
}

const ADDRESS: &str = "an address with a port, such as \"0.0.0.0:1883\" (port 0 takes a free one), or \"\" for off";

/// One key of every protocol: `<protocol>.<name>`.
struct ListenKey {
    name: &'static str,
    expected: &'static str,
    about: &'static str,
    set: fn(&mut Listen, &Raw) -> Option<()>,
}

const FILES: &str = "a PEM file, or several in a list (in text: with commas between)";
const YES_OR_NO: &str = "true or false";

const LISTEN_KEYS: &[ListenKey] = &[
    ListenKey {
        name: "listen",
        expected: ADDRESS,
        about: "devices that speak it",
        set: |l, raw| address(raw).map(|a| l.addr = a),
    },
    ListenKey {
        name: "proxy_protocol",
        expected: YES_OR_NO,
        about: "want the header of a load balancer that tells the peer's address (PROXY v1 or v2)",
        set: |l, raw| boolean(raw).map(|b| l.proxy_protocol = b),
    },
    ListenKey {
        name: "tls.listen",
        expected: ADDRESS,
        about: "the same in TLS",
        set: |l, raw| address(raw).map(|a| l.tls.addr = a),
    },
    ListenKey {
        name: "tls.certificate",
        expected: FILES,
        about: "its certificate; without: what `espush tls self-signed` made",
        set: |l, raw| files(raw).map(|f| l.tls.certificate = f),
    },
    ListenKey {
        name: "tls.key",
        expected: FILES,
        about: "the certificate's key",
        set: |l, raw| files(raw).map(|f| l.tls.key = f),
    },
    ListenKey {
        name: "tls.client_ca",
        expected: "a PEM file, or \"\" for none",
        about: "devices may log in with a certificate of this CA; its common name is the device's id",
        set: |l, raw| text(raw).map(|name| l.tls.client_ca = (!name.is_empty()).then(|| name.into())),
    },
    ListenKey {
        name: "tls.psk",
        expected: YES_OR_NO,
        about: "devices may prove their secret (TLS-PSK: identity = device id); the listener then speaks TLS 1.2",
        set: |l, raw| boolean(raw).map(|b| l.tls.psk = b),
    },
    ListenKey {
        name: "tls.record_bytes_max",
        expected: "a number from 64 to 16384",
        about: "most payload bytes of one TLS record, for boards with small buffers",
        set: |l, raw| {
            let most = number(raw).filter(|n| (64..=limits::TLS_RECORD_BYTES_MAX).contains(n))?;
            l.tls.record_bytes_max = most;
            Some(())
        },
    },
];

const KEYS: &[Key] = &[
    Key {
        name: "data",
        expected: "a directory",
        about: "where everything is kept",
        set: |c, raw| text(raw).filter(|t| !t.is_empty()).map(|t| c.data = PathBuf::from(t)),
    },
    Key {
        name: "http.listen",
        expected: ADDRESS,
        about: "console and API",
        set: |c, raw| address(raw).map(|a| c.http.listen = a),
    },
    Key {
        name: "http.base_url",
        expected: "a URL such as \"https://push.example.org\", or \"\" for none",
        about: "how people reach the console, for links",
        set: |c, raw| base_url(raw).map(|url| c.http.base_url = url),
    },
    Key {
        name: "http.rate_per_s",
        expected: "a number from 0 (no limit) to 1000000",
        about: "requests a second that one token may make",
        set: |c, raw| number(raw).filter(|n| *n <= 1_000_000).map(|n| c.http.rate_per_s = n as u32),
    },
    Key {
        name: "http.rate_burst",
        expected: "a number from 0 (twice the rate) to 1000000",
        about: "requests that one token may make at once before its rate counts",
        set: |c, raw| number(raw).filter(|n| *n <= 1_000_000).map(|n| c.http.rate_burst = n as u32),
    },
    Key {
        name: "webhooks.allow_private",
        expected: YES_OR_NO,
        about: "let webhooks call this machine and private networks, too",
        set: |c, raw| boolean(raw).map(|b| c.webhooks.allow_private = b),
    },
    Key {
        name: "webhooks.ca",
        expected: "a PEM file, or \"\" for what the system trusts",
        about: "the CA that certificates of webhooks' targets are checked against",
        set: |c, raw| text(raw).map(|name| c.webhooks.ca = (!name.is_empty()).then(|| name.into())),
    },
    Key {
        name: "webhooks.attempts",
        expected: "a number from 1 to 20",
        about: "how often a delivery is tried before it counts as failed",
        set: |c, raw| number(raw).filter(|n| (1..=20).contains(n)).map(|n| c.webhooks.attempts = n as u32),
    },
    Key {
        name: "webhooks.first_retry_ms",
        expected: "a number of milliseconds from 10 to 3600000",
        about: "the pause after a delivery's first failure; each further one is four times as long",
        set: |c, raw| number(raw).filter(|n| (10..=3_600_000).contains(n)).map(|n| c.webhooks.first_retry_ms = n as u64),
    },
    Key {
        name: "webhooks.timeout_ms",
        expected: "a number of milliseconds from 100 to 60000",
        about: "how long a target may take to answer",
        set: |c, raw| number(raw).filter(|n| (100..=60_000).contains(n)).map(|n| c.webhooks.timeout_ms = n as u64),
    },
    Key {
        name: "https.listen",
        expected: ADDRESS,
        about: "console and API in TLS, such as 0.0.0.0:8443",
        set: |c, raw| address(raw).map(|a| c.https.addr = a),
    },
    Key {
        name: "https.certificate",
        expected: FILES,
        about: "its certificate; without: what `espush tls self-signed` made",
        set: |c, raw| files(raw).map(|f| c.https.certificate = f),
    },
    Key { name: "https.key", expected: FILES, about: "the certificate's key", set: |c, raw| files(raw).map(|f| c.https.key = f) },
    Key {
        name: "auth.anonymous",
        expected: YES_OR_NO,
        about: "let any MQTT client in, for free topics only",
        set: |c, raw| boolean(raw).map(|b| c.auth.anonymous = b),
    },
    Key {
        name: "auth.bootstrap_token",
        expected: "text of at least 8 characters, or \"\" for none",
        about: "an owner token valid for this run, for scripts",
        set: |c, raw| {
            let token = text(raw).filter(|t| t.is_empty() || t.len() >= 8)?;
            c.auth.bootstrap_token = (!token.is_empty()).then(|| token.to_owned());
            Some(())
        },
    },
    Key {
        name: "shards",
        expected: "a number from 0 (half the cores) to 1024",
        about: "threads that carry connections; 0 = half as many as there are cores, at least one",
        set: |c, raw| number(raw).filter(|n| *n <= 1024).map(|n| c.shards = n),
    },
    Key {
        name: "limits.packet_bytes",
        expected: "a whole number of bytes from 1024 to 268435455",
        about: "largest MQTT packet of a client that has logged in",
        set: |c, raw| number(raw).filter(|n| (1024..=268_435_455).contains(n)).map(|n| c.limits.packet_bytes = n),
    },
    Key {
        name: "limits.topic_levels",
        expected: "a whole number from 1 to 32",
        about: "levels of a topic or filter",
        set: |c, raw| number(raw).filter(|n| (1..=limits::TOPIC_LEVELS_MAX).contains(n)).map(|n| c.limits.topic_levels = n),
    },
    Key {
        name: "limits.topic_bytes",
        expected: "a whole number from 1 to 1024",
        about: "length of a topic or filter",
        set: |c, raw| number(raw).filter(|n| (1..=limits::TOPIC_BYTES_MAX).contains(n)).map(|n| c.limits.topic_bytes = n),
    },
    Key {
        name: "limits.keep_alive_s",
        expected: "a number of seconds from 0 (what clients ask for) to 65535",
        about: "longest keep-alive; MQTT 5.0 clients that want a longer one are told",
        set: |c, raw| number(raw).and_then(|n| u16::try_from(n).ok()).map(|n| c.limits.keep_alive_s = n),
    },
    Key {
        name: "limits.login_s",
        expected: "a number of seconds from 1 to 600",
        about: "how long a connection may take to log in",
        set: |c, raw| number(raw).filter(|n| (1..=600).contains(n)).map(|n| c.limits.login_s = n as u16),
    },
    Key {
        name: "limits.subscriptions_per_session",
        expected: "a whole number from 1 to 1000000",
        about: "subscriptions that one session may have",
        set: |c, raw| number(raw).filter(|n| (1..=1000000).contains(n)).map(|n| c.limits.subscriptions_per_session = n),
    },
    Key {
        name: "limits.in_flight",
        expected: "a whole number from 1 to 1000",
        about: "messages sent to a client and not yet acknowledged",
        set: |c, raw| number(raw).filter(|n| (1..=1000).contains(n)).map(|n| c.limits.in_flight = n as u16),
    },
    Key {
        name: "limits.queue_messages",
        expected: "a whole number from 1 to 1000000",
        about: "messages that may wait for one client",
        set: |c, raw| number(raw).filter(|n| (1..=1000000).contains(n)).map(|n| c.limits.queue_messages = n),
    },
    Key {
        name: "limits.queue_bytes",
        expected: "a whole number from 1 to 1073741824",
        about: "payload bytes that may wait for one client",
        set: |c, raw| number(raw).filter(|n| (1..=1073741824).contains(n)).map(|n| c.limits.queue_bytes = n),
    },
    Key {
        name: "limits.queue_policy",
        expected: "one of drop-newest, drop-oldest, disconnect",
        about: "what happens when a client's queue is full",
        set: |c, raw| QueuePolicy::parse(text(raw)?).map(|policy| c.limits.queue_policy = policy),
    },
    Key {
        name: "limits.retained_messages",
        expected: "a whole number from 1 to 100000000",
        about: "retained messages in all",
        set: |c, raw| number(raw).filter(|n| (1..=100000000).contains(n)).map(|n| c.limits.retained_messages = n),
    },
    Key {
        name: "limits.retained_bytes",
        expected: "a whole number from 1 to 68719476736",
        about: "bytes of retained messages in all",
        set: |c, raw| number(raw).filter(|n| (1..=68719476736).contains(n)).map(|n| c.limits.retained_bytes = n),
    },
    Key {
        name: "limits.connections_per_address",
        expected: "a whole number from 0 (no limit) to 1000000",
        about: "connections of devices and MQTT clients from one IP address (IPv6: one /64); 0 = no limit",
        set: |c, raw| number(raw).filter(|n| *n <= 1000000).map(|n| c.limits.connections_per_address = n as u32),
    },
    Key {
        name: "mqtt.go_to",
        expected: "host:port of another server, or \"\" for none",
        about: "where MQTT 5.0 clients are told to go when this server stops",
        set: |c, raw| {
            let server =
                text(raw).filter(|t| t.is_empty() || t.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()))?;
            c.mqtt_go_to = (!server.is_empty()).then(|| server.to_owned());
            Some(())
        },
    },
    Key {
        name: "store.max_bytes",
        expected: "a whole number of bytes: 0 (no limit) or from 16777216 on",
        about: "most bytes of the database and its log; what would make it grow beyond is refused; 0 = no limit",
        set: |c, raw| {
            let most = number(raw).map(|n| n as u64).filter(|n| *n == 0 || *n >= limits::STORE_BYTES_MAX_MIN)?;
            c.store.max_bytes = most;
            Some(())
        },
    },
    Key {
        name: "store.free_bytes_min",
        expected: "a whole number of bytes, 0 for none",
        about: "bytes of the store's file system that stay free; what would take them is refused",
        set: |c, raw| number(raw).map(|n| c.store.free_bytes_min = n as u64),
    },
    Key {
        name: "store.commit_window_ms",
        expected: "a whole number from 0 to 1000",
        about: "ms that a message for a client that is there may wait for its acknowledgement before it is written to disk",
        set: |c, raw| number(raw).filter(|n| (0..=1000).contains(n)).map(|n| c.limits.commit_window_ms = n as u16),
    },
    Key {
        name: "push.keep_days",
        expected: "a number of days from 0 (for ever) to 36500",
        about: "how long a push that is over is kept, from when it was made",
        set: |c, raw| number(raw).filter(|n| *n <= 36_500).map(|n| c.push_keep_days = n as u32),
    },
    Key {
        name: "sys.interval_s",
        expected: "a number of seconds from 0 (off) to 3600",
        about: "how often $SYS/broker/… is published",
        set: |c, raw| number(raw).filter(|n| *n <= 3600).map(|n| c.sys_interval_s = n),
    },
    Key {
        name: "log.level",
        expected: "one of off, error, warn, info, debug, trace",
        about: "what is logged on stderr",
        set: |c, raw| text(raw)?.parse::<LevelFilter>().ok().map(|level| c.log.level = level),
    },
];

/// Why a setting was not taken, as a sentence.
pub enum Misfit {
    /// There is no such key.
    Key(String),
    /// The key does not take that value.
    Value(String),
}

/// Sets `key` in `config`, or says why not.
pub fn apply(config: &mut Config, key: &str, raw: &Raw) -> Result<(), Misfit> {
    if let Some(known) = KEYS.iter().find(|known| known.name == key) {
        return (known.set)(config, raw).ok_or_else(|| Misfit::Value(unfit(key, known.expected, raw)));
    }
    if let Some((protocol, name)) = key.split_once('.')
        && let Some(listen) = config.listen.iter_mut().find(|l| l.protocol == protocol)
        && let Some(known) = LISTEN_KEYS.iter().find(|known| known.name == name)
    {
        return (known.set)(listen, raw).ok_or_else(|| Misfit::Value(unfit(key, known.expected, raw)));
    }
    Err(Misfit::Key(unknown(key, &names(config))))
}

/// Every key with what it is for and its default, for `--help`.
pub fn help(protocols: &[Protocol]) -> String {
    let mut text = String::from("Settings (--set KEY=VALUE; the same names stand in the file and as ESPUSH_… variables):\n");
    let defaults = Config::new(protocols);
    let default = |name: &str| match name {
        "data" => defaults.data.display().to_string(),
        "http.listen" => defaults.http.listen.map_or(String::new(), |a| a.to_string()),
        "auth.anonymous" => defaults.auth.anonymous.to_string(),
        "shards" => defaults.shards.to_string(),
        "limits.packet_bytes" => defaults.limits.packet_bytes.to_string(),
        "limits.topic_levels" => defaults.limits.topic_levels.to_string(),
        "limits.topic_bytes" => defaults.limits.topic_bytes.to_string(),
        "limits.keep_alive_s" => defaults.limits.keep_alive_s.to_string(),
        "limits.login_s" => defaults.limits.login_s.to_string(),
        "limits.subscriptions_per_session" => defaults.limits.subscriptions_per_session.to_string(),
        "limits.in_flight" => defaults.limits.in_flight.to_string(),
        "limits.queue_messages" => defaults.limits.queue_messages.to_string(),
        "limits.queue_bytes" => defaults.limits.queue_bytes.to_string(),
        "limits.queue_policy" => defaults.limits.queue_policy.as_str().to_owned(),
        "limits.retained_messages" => defaults.limits.retained_messages.to_string(),
        "limits.retained_bytes" => defaults.limits.retained_bytes.to_string(),
        "limits.connections_per_address" => defaults.limits.connections_per_address.to_string(),
        "store.max_bytes" => defaults.store.max_bytes.to_string(),
        "store.free_bytes_min" => defaults.store.free_bytes_min.to_string(),
        "store.commit_window_ms" => defaults.limits.commit_window_ms.to_string(),
        "push.keep_days" => defaults.push_keep_days.to_string(),
        "sys.interval_s" => defaults.sys_interval_s.to_string(),
        "log.level" => defaults.log.level.to_string(),
        _ => String::new(),
    };
    let mut line = |name: &str, about: &str, value: &str| {
        let value = if value.is_empty() { String::new() } else { format!(" [{value}]") };
        text.push_str(&format!("  {name:<33} {about}{value}\n"));
    };
    for key in KEYS {
        line(key.name, key.about, &default(key.name));
    }
    for protocol in protocols {
        for key in LISTEN_KEYS {
            let default = match key.name {
                "listen" => protocol.listen_default.to_owned(),
                "proxy_protocol" => false.to_string(),
                "tls.record_bytes_max" => limits::TLS_RECORD_BYTES_DEFAULT.to_string(),
                _ => String::new(),
            };
            line(&format!("{}.{}", protocol.name, key.name), key.about, &default);
        }
    }
    line(bridges::KEY, bridges::ABOUT, "");
    text
}

fn names(config: &Config) -> Vec<String> {
    let listen = config.listen.iter().flat_map(|l| LISTEN_KEYS.iter().map(move |k| format!("{}.{}", l.protocol, k.name)));
    KEYS.iter().map(|k| k.name.to_owned()).chain(listen).chain([bridges::KEY.to_owned()]).collect()
}

fn unfit(key: &str, expected: &str, raw: &Raw) -> String {
    let found = match raw {
        // The value of a secret is not repeated, not even a wrong one.
        _ if key == "auth.bootstrap_token" => "something else".to_owned(),
        Raw::Text(text) => format!("{text:?}"),
        Raw::Bool(value) => value.to_string(),
        Raw::Integer(digits) => digits.clone(),
        Raw::List(items) => format!("{items:?}"),
        Raw::Tables(_) => "a list of tables".to_owned(),
        Raw::Other(name) => format!("a TOML {name}"),
    };
    format!("{key} takes {expected}; found {found}")
}

pub(super) fn unknown(key: &str, names: &[String]) -> String {
    let nearest = names.iter().map(|name| (distance(key, name), name)).min();
    match nearest {
        Some((steps, name)) if steps <= 2 + name.len() / 4 => format!("unknown key {key:?}; did you mean {name:?}?"),
        _ => format!("unknown key {key:?}; known keys: {}", names.join(", ")),
    }
}

/// Edit distance: insertions, deletions and replacements of single bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

pub(super) fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) => Some(text),
        _ => None,
    }
}

fn files(raw: &Raw) -> Option<Vec<PathBuf>> {
    match raw {
        Raw::Text(text) => Some(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(PathBuf::from).collect()),
        Raw::List(names) => Some(names.iter().map(PathBuf::from).collect()),
        _ => None,
    }
}

pub(super) fn boolean(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Bool(value) => Some(*value),
        Raw::Text(text) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn number(raw: &Raw) -> Option<usize> {
    match raw {
        Raw::Integer(digits) | Raw::Text(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// `Some(None)` is "off". `localhost` is the one name that is taken: others would need a resolver at start-up.
fn address(raw: &Raw) -> Option<Option<SocketAddr>> {
    let text = text(raw)?;
    if text.is_empty() {
        return Some(None);
    }
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().ok().map(Some)
}

fn base_url(raw: &Raw) -> Option<Option<String>> {
    let text = text(raw)?.trim_end_matches('/');
    if text.is_empty() {
        return Some(None);
    }
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let good = !host.is_empty() && !host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#' || c == '?');
    good.then(|| Some(text.to_owned()))
}
