//! The HTTP API: REST under `/api/v1` with its description, live events, the bare push address `/d/{device}`, `/healthz` and
//! `/metrics`. One file of [`routes`] a noun. It translates and checks who may; everything else is done
//! by the rooms behind it. Deliberately absent: sockets, TLS, the console, and any rule about devices.

mod audience;
mod audit;
mod auth;
mod codes;
mod csv;
mod feed;
mod in_use;
mod input;
pub mod metrics;
mod openapi;
mod parties;
mod problem;
pub mod qr;
mod rates;
mod routes;
mod scopes;
mod shown;
mod told;

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use contract::Clock;
use contract::store::Audit;
use fleet::Fleet;
use fleet::meter::Rate;
use model::UnixMs;
use push::Push;
use schedule::Schedules;
use schemars::JsonSchema;
use telemetry::Telemetry;
use twin::Twins;
use webhook::Webhooks;

use crate::openapi::shape;

pub use feed::Feed;
pub use parties::Parties;
pub use routes::{Chooser, Sender, chooser, router, sender};
pub use told::KINDS;

/// Writes some lines of `/metrics`.
pub type MetricsSource = Box<dyn Fn(&mut String) + Send + Sync>;

/// Tells of every bridge as it is now.
pub type BridgesSource = Box<dyn Fn() -> Vec<BridgeStatus> + Send + Sync>;

/// A bridge to another broker, as `/api/v1/status` shows it.
#[derive(Clone, Debug, serde::Serialize, JsonSchema)]
pub struct BridgeStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The remote.
    pub address: String,
    /// Whether messages go across.
    pub connected: bool,
    /// Since when it is connected, or is not.
    #[schemars(with = "shape::Time")]
    pub since: UnixMs,
    /// What is wrong, as a sentence.
    pub why: Option<String>,
    /// When the remote is called next.
    #[schemars(with = "Option<shape::Time>")]
    pub next: Option<UnixMs>,
}

/// Tells how the store is.
pub type StoreSource = Box<dyn Fn() -> StoreStatus + Send + Sync>;

/// The store, as `/api/v1/status` shows it.
#[derive(Clone, Debug, Default, serde::Serialize, JsonSchema)]
pub struct StoreStatus {
    /// Bytes that hold something, the log included.
    pub used_bytes: u64,
    /// The most that there may be; 0 is no limit.
    pub max_bytes: u64,
    /// Bytes left on the file system.
    pub free_bytes: u64,
    /// Bytes of the file system that must stay free.
    pub free_bytes_min: u64,
    /// Whether pages carry checksums.
    pub checksums: bool,
    /// Why nothing may grow, if so.
    pub full: Option<String>,
    /// Why nothing is acknowledged any more, if so.
    pub failed: Option<String>,
    /// What was found damaged, if something was.
    pub damaged: Option<String>,
}

/// The rooms that the API stands before.
pub struct App {
    /// Apps, devices, tokens.
    pub fleet: Arc<Fleet>,
    /// Pushes.
    pub push: Arc<Push>,
    /// Pushes that recur.
    pub schedules: Arc<Schedules>,
    /// Events for other people's servers.
    pub webhooks: Arc<Webhooks>,
    /// Points and messages.
    pub telemetry: Arc<Telemetry>,
    /// What is wanted of devices, and what they tell of themselves.
    pub twins: Arc<Twins>,
    /// Who changed what.
    pub audit: Arc<dyn Audit>,
    /// Live events.
    pub feed: Arc<Feed>,
    /// Programs and pages that have a number.
    pub parties: Arc<Parties>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The most bytes that a push can carry, by protocol.
    pub carries: Vec<(&'static str, usize)>,
    /// The protocols whose devices cannot be told what is wanted of them.
    pub untold: Vec<&'static str>,
    /// What the program says of itself.
    pub info: Info,
    /// Further lines for `/metrics`.
    pub metrics: Vec<MetricsSource>,
    /// The bridges to other brokers.
    pub bridges: BridgesSource,
    /// How the store is.
    pub store: StoreSource,
    /// How much one token may ask; none for as much as it likes.
    pub rate: Option<Rate>,
}

/// What the program says of itself.
#[derive(Clone, Debug)]
pub struct Info {
    /// Its version.
    pub version: String,
    /// When it started.
    pub started: UnixMs,
    /// Where it listens: protocol and bound address.
    pub listeners: Vec<(String, String)>,
    /// The address that people reach it by (`https://push.example.org`), if the configuration tells it.
    /// Else sign-in links are made from the request's `Host`.
    pub base_url: Option<String>,
}

impl Info {
    /// The address that people reach the server by, without a slash at the end. `headers` are those of the caller,
    /// to whom alone the result is shown: without a `base_url` it is the caller's own way to us.
    pub(crate) fn base(&self, headers: &HeaderMap) -> String {
        match &self.base_url {
            Some(base) => base.trim_end_matches('/').to_owned(),
            None => format!("http://{}", headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost")),
        }
    }
}

/// The app as the routes share it.
pub(crate) type Api = Arc<App>;
