//! The `[[bridge]]` tables of the settings file: each a connection out to another MQTT broker. The words
//! are Mosquitto's where it has one for the thing; docs/en/bridge.md shows both side by side.

use std::fs;
use std::path::PathBuf;

use model::{Qos, Topic};
use protocols::mqtt::bridge::{BridgePlan, BridgeTopic, Direction};

use super::ConfigError;
use super::keys::{Raw, boolean, number, text, unknown};
use super::sources::{Given, Table};

/// The key of the list.
pub const KEY: &str = "bridge";
/// What it is for.
pub const ABOUT: &str = "lines out to other MQTT brokers: [[bridge]] tables in the file, see docs/en/bridge.md";

const BRIDGE_KEYS: &[&str] = &[
    "name",
    "address",
    "client_id",
    "username",
    "password",
    "password_file",
    "clean",
    "keep_alive_s",
    "try_private",
    "notification_topic",
    "tls",
    "ca",
    "topics",
];
const TOPIC_KEYS: &[&str] = &["pattern", "direction", "qos", "local_prefix", "remote_prefix"];
const PORT_PLAIN: u16 = 1883;
const PORT_TLS: u16 = 8883;

/// A bridge of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// What it is to do.
    pub plan: BridgePlan,
    /// The remote, `host:port`.
    pub address: String,
    /// Speak TLS with it.
    pub tls: bool,
    /// The file with the certificate of its CA; else those count that the system trusts.
    pub ca: Option<PathBuf>,
}

/// Whether a key speaks of bridges.
pub fn is_meant(key: &str) -> bool {
    key.split('.').next() == Some(KEY)
}

/// Reads all bridges, or says what is wrong with the first that is.
pub fn read(given: &Given) -> Result<Vec<Bridge>, ConfigError> {
    let Raw::Tables(tables) = &given.value else {
        let what = "a bridge is a [[bridge]] table in the settings file, with two brackets because there may be several";
        return Err(ConfigError { place: given.place.clone(), what: what.to_owned() });
    };
    let mut all: Vec<Bridge> = Vec::new();
    for table in tables {
        let bridge = bridge(&Fields::new(table, BRIDGE_KEYS)?)?;
        if all.iter().any(|other| other.plan.name == bridge.plan.name) {
            let what = format!("there are two bridges called {:?}; each needs a name of its own", bridge.plan.name);
            return Err(ConfigError { place: table.place.clone(), what });
        }
        all.push(bridge);
    }
    Ok(all)
}

fn bridge(fields: &Fields<'_>) -> Result<Bridge, ConfigError> {
    let name = fields.need("name", "1 to 64 letters, digits, dots, dashes or underscores", |raw| {
        let name = text(raw).filter(|name| (1..=64).contains(&name.len()))?;
        let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        good.then(|| name.to_owned())
    })?;
    let tls = fields.get("tls", "true or false", boolean)?.unwrap_or(false);
    let port = if tls { PORT_TLS } else { PORT_PLAIN };
    let expected = "a host with or without a port, such as \"broker.example.org:1883\"";
    let address = fields.need("address", expected, |raw| address(raw, port))?;
    let ca = fields.get("ca", "the name of a file", |raw| short_text(raw, 1))?.map(PathBuf::from);
    if ca.is_some() && !tls {
        return Err(fields.wrong("ca", "there are certificates in TLS only; add tls = true".to_owned()));
    }
    let clean = fields.get("clean", "true or false", boolean)?.unwrap_or(false);
    let client_id = fields.get("client_id", "text of 1 to 256 bytes", |raw| short_text(raw, 1))?;
    let username = fields.get("username", "text of 1 to 256 bytes", |raw| short_text(raw, 1))?;
    let password = password(fields)?;
    if password.is_some() && username.is_none() {
        return Err(fields.wrong("password", "MQTT 3.1.1 knows no password without a user name; add username".to_owned()));
    }
    let keep_alive_s = fields.get("keep_alive_s", "seconds from 5 to 65535, or 0 for none", |raw| {
        number(raw).filter(|s| *s == 0 || *s >= 5).and_then(|s| u16::try_from(s).ok())
    })?;
    let notification_topic = fields.get("notification_topic", "a topic without wildcards", |raw| {
        text(raw).filter(|topic| Topic::parse(topic).is_ok()).map(str::to_owned)
    })?;
    let tables =
        fields.need("topics", "a list such as [{ pattern = \"lamps/#\", direction = \"both\", qos = 1 }]", |raw| match raw {
            Raw::Tables(tables) if !tables.is_empty() => Some(tables.clone()),
            _ => None,
        })?;
    let topics = tables.iter().map(|table| topic(&Fields::new(table, TOPIC_KEYS)?)).collect::<Result<_, _>>()?;
    let plan = BridgePlan {
        client_id: client_id.unwrap_or_else(|| format!("espush-{name}")),
        name,
        username,
        password,
        clean,
        keep_alive_s: keep_alive_s.unwrap_or(60),
        try_private: fields.get("try_private", "true or false", boolean)?.unwrap_or(true),
        notification_topic,
        topics,
    };
    Ok(Bridge { plan, address, tls, ca })
}

fn topic(fields: &Fields<'_>) -> Result<BridgeTopic, ConfigError> {
    let string = |raw: &Raw| text(raw).map(str::to_owned);
    let pattern = fields.need("pattern", "a topic filter, or \"\" when the prefixes name the topic", string)?;
    let direction = fields.get("direction", "one of in, out, both", |raw| Direction::parse(text(raw)?))?;
    let qos = fields.get("qos", "0, 1 or 2", |raw| Qos::from_u8(u8::try_from(number(raw)?).ok()?))?;
    let local = fields.get("local_prefix", "text", string)?.unwrap_or_default();
    let remote = fields.get("remote_prefix", "text", string)?.unwrap_or_default();
    BridgeTopic::new(&pattern, direction.unwrap_or(Direction::Out), qos.unwrap_or_default(), &local, &remote)
        .map_err(|error| fields.wrong("pattern", error.to_string()))
}

fn short_text(raw: &Raw, bytes_min: usize) -> Option<String> {
    text(raw).filter(|text| (bytes_min..=256).contains(&text.len()) && !text.contains('\0')).map(str::to_owned)
}

fn password(fields: &Fields<'_>) -> Result<Option<String>, ConfigError> {
    let password = fields.get("password", "text of at most 256 bytes", |raw| short_text(raw, 0))?;
    let file = fields.get("password_file", "the name of a file", |raw| short_text(raw, 1))?;
    let Some(file) = file else { return Ok(password) };
    if password.is_some() {
        return Err(fields.wrong("password_file", "give password or password_file, not both".to_owned()));
    }
    let text = fs::read_to_string(&file)
        .map_err(|error| fields.wrong("password_file", format!("cannot read the password from {file:?}: {error}")))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// `host:port`; a host alone means the usual port.
fn address(raw: &Raw, port_usual: u16) -> Option<String> {
    let text = text(raw)?;
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return None;
    }
    match text.rsplit_once(':') {
        // An IPv6 address stands in brackets, else its end could be a port.
        Some((host, _)) if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) => {
            text.ends_with(']').then(|| format!("{text}:{port_usual}"))
        }
        Some((host, port)) => (!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)).then(|| text.to_owned()),
        None => Some(format!("{text}:{port_usual}")),
    }
}

/// A table whose keys are all known.
struct Fields<'a>(&'a Table);

impl<'a> Fields<'a> {
    fn new(table: &'a Table, known: &[&str]) -> Result<Fields<'a>, ConfigError> {
        match table.members.iter().find(|member| !known.contains(&member.key.as_str())) {
            Some(stranger) => {
                let names: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
                Err(ConfigError { place: stranger.place.clone(), what: unknown(&stranger.key, &names) })
            }
            None => Ok(Fields(table)),
        }
    }

    fn find(&self, key: &str) -> Option<&'a Given> {
        self.0.members.iter().find(|member| member.key == key)
    }

    /// What a key says, if it is there.
    fn get<T>(&self, key: &str, expected: &str, read: impl Fn(&Raw) -> Option<T>) -> Result<Option<T>, ConfigError> {
        let Some(given) = self.find(key) else { return Ok(None) };
        // What was found is not repeated: it may be a password that went to the wrong line.
        read(&given.value).map(Some).ok_or_else(|| self.wrong(key, format!("{key} takes {expected}")))
    }

    /// What a key says that must be there.
    fn need<T>(&self, key: &str, expected: &str, read: impl Fn(&Raw) -> Option<T>) -> Result<T, ConfigError> {
        let missing = || ConfigError { place: self.0.place.clone(), what: format!("{key} is missing here; it takes {expected}") };
        self.get(key, expected, read)?.ok_or_else(missing)
    }

    fn wrong(&self, key: &str, what: String) -> ConfigError {
        let place = self.find(key).map_or(&self.0.place, |given| &given.value_place);
        ConfigError { place: place.clone(), what }
    }
}
