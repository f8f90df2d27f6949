//! The server's settings, typed, each with its default. Four sources, the stronger last: default, TOML
//! file, environment (`ESPUSH_MQTT__LISTEN`), `--set mqtt.listen=…`. An unknown key or an unfit value is
//! refused with its place, what was expected and the nearest known key; nothing is ever guessed.
//! This room reads files and variables, but opens no socket and creates no directory.

mod bridges;
mod keys;
mod sources;

use std::net::SocketAddr;
use std::path::PathBuf;

use contract::Protocol;
use model::limits::{self, Limits};
use store::Budget;
use tracing::level_filters::LevelFilter;

pub use bridges::Bridge;
use keys::Misfit;
pub use keys::help;
pub use sources::Sources;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// The console and API.
    pub http: Http,
    /// The same in TLS.
    pub https: TlsListen,
    /// Where each protocol listens, in the order of the registration.
    pub listen: Vec<Listen>,
    /// Who may come in.
    pub auth: Auth,
    /// Threads that carry connections; 0 = half as many as there are cores, at least one.
    pub shards: usize,
    /// Where clients that understand it are told to go when the server stops.
    pub mqtt_go_to: Option<String>,
    /// What peers may make grow.
    pub limits: Limits,
    /// Seconds between two publications of `$SYS/broker/…`; 0 is off.
    pub sys_interval_s: usize,
    /// Days that a push which is over is kept; 0 is for ever.
    pub push_keep_days: u32,
    /// What the store may use.
    pub store: Budget,
    /// How events are sent to other people's servers.
    pub webhooks: Webhooks,
    /// Connections out to other MQTT brokers.
    pub bridges: Vec<Bridge>,
    /// What is logged.
    pub log: Log,
}

/// The console and API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; `None` = off.
    pub listen: Option<SocketAddr>,
    /// How people reach it from outside, for links; without a slash at the end.
    pub base_url: Option<String>,
    /// Requests a second that one token may make; 0 = no limit.
    pub rate_per_s: u32,
    /// Requests that one token may make at once, before the rate counts; 0 = twice the rate.
    pub rate_burst: u32,
}

/// How events are sent to other people's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// Whether every address may be called, not only public ones.
    pub allow_private: bool,
    /// The CA that targets' certificates are checked against; `None` = what the system trusts.
    pub ca: Option<PathBuf>,
    /// How often a delivery is tried.
    pub attempts: u32,
    /// The pause after the first failure.
    pub first_retry_ms: u64,
    /// How long a target may take.
    pub timeout_ms: u64,
}

impl Default for Webhooks {
    fn default() -> Webhooks {
        Webhooks {
            allow_private: false,
            ca: None,
            attempts: limits::WEBHOOK_ATTEMPTS_DEFAULT,
            first_retry_ms: limits::WEBHOOK_RETRY_MS_DEFAULT,
            timeout_ms: limits::WEBHOOK_TIMEOUT_MS_DEFAULT,
        }
    }
}

/// A protocol's listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The protocol's one word.
    pub protocol: &'static str,
    /// Where it listens; `None` = off.
    pub addr: Option<SocketAddr>,
    /// A load balancer tells by a PROXY header who the peer is.
    pub proxy_protocol: bool,
    /// The same protocol in TLS.
    pub tls: TlsListen,
}

/// A listener for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListen {
    /// Where it listens; `None` = off.
    pub addr: Option<SocketAddr>,
    /// Certificate chains in PEM. With no certificate and no key, what `espush tls self-signed` made.
    pub certificate: Vec<PathBuf>,
    /// Their keys, in the same order.
    pub key: Vec<PathBuf>,
    /// The CA whose certificates speak for devices.
    pub client_ca: Option<PathBuf>,
    /// Devices may prove their secrets (TLS-PSK).
    pub psk: bool,
    /// Most payload bytes of one record.
    pub record_bytes_max: usize,
}

impl TlsListen {
    fn off(record_bytes_max: usize) -> TlsListen {
        TlsListen { addr: None, certificate: Vec::new(), key: Vec::new(), client_ca: None, psk: false, record_bytes_max }
    }
}

/// Who may come in.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Whether MQTT clients without credentials may use free topics.
    pub anonymous: bool,
    /// An owner token for this run only.
    pub bootstrap_token: Option<String>,
}

// By hand: a token must not reach a log through `{:?}`.
impl std::fmt::Debug for Auth {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.bootstrap_token.as_ref().map(|_| "…");
        out.debug_struct("Auth").field("anonymous", &self.anonymous).field("bootstrap_token", &token).finish()
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The most talkative level that is shown.
    pub level: LevelFilter,
}

/// Why the settings cannot be used: where, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct ConfigError {
    /// `espush.toml:3:10`, `ESPUSH_MQTT__LISTEN`, `--set mqtt.listen=…`.
    pub place: String,
    /// The sentence.
    pub what: String,
}

impl Config {
    /// The defaults, with one listener for each of `protocols`.
    pub fn new(protocols: &[Protocol]) -> Config {
        let listen = |p: &Protocol| Listen {
            protocol: p.name,
            // A protocol's own default is ours to get right; one that does not parse is off.
            addr: p.listen_default.parse().ok(),
            proxy_protocol: false,
            tls: TlsListen::off(limits::TLS_RECORD_BYTES_DEFAULT),
        };
        Config {
            data: PathBuf::from("./espush-data"),
            http: Http {
                listen: Some(SocketAddr::from(([0, 0, 0, 0], 8080))),
                base_url: None,
                rate_per_s: limits::HTTP_RATE_PER_S_DEFAULT,
                rate_burst: 0,
            },
            // Browsers have memory for the largest records.
            https: TlsListen::off(limits::TLS_RECORD_BYTES_MAX),
            listen: protocols.iter().map(listen).collect(),
            auth: Auth::default(),
            shards: 0,
            mqtt_go_to: None,
            limits: Limits::default(),
            sys_interval_s: 10,
            push_keep_days: limits::PUSH_KEEP_DAYS_DEFAULT,
            store: Budget { max_bytes: 0, free_bytes_min: limits::STORE_FREE_BYTES_MIN },
            webhooks: Webhooks::default(),
            bridges: Vec::new(),
            log: Log { level: LevelFilter::INFO },
        }
    }

    /// The defaults overlaid with every source.
    pub fn load(protocols: &[Protocol], sources: &Sources) -> Result<Config, ConfigError> {
        let mut config = Config::new(protocols);
        for given in sources.read()? {
            if bridges::is_meant(&given.key) {
                config.bridges = bridges::read(&given)?;
                continue;
            }
            keys::apply(&mut config, &given.key, &given.value).map_err(|misfit| match misfit {
                Misfit::Key(what) => ConfigError { place: given.place, what },
                Misfit::Value(what) => ConfigError { place: given.value_place, what },
            })?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
