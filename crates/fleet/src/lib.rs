//! The fleet: apps, devices and their secrets, presence, tokens and sign-in, and the gate that every
//! connection passes. All of it stands in memory, read whole from the [`Registry`] at the start and
//! written through to it before a change counts. It decides who may come in, never what a party may do
//! on topics (the hub does), and knows no protocol.

mod apps;
mod devices;
mod error;
mod gate;
mod knocks;
mod presence;
mod signin;
mod tokens;

use std::sync::Arc;

use contract::store::Registry;
use contract::{Bus, Clock, Line};

pub use apps::{AppEdit, AppView, NewApp};
pub use devices::{Counts, DeviceEdit, DeviceFilter, DeviceView, NewDevice};
pub use error::{FleetError, Kind};
pub use knocks::Knock;
pub use signin::SigninCode;
pub use tokens::{Caller, NewToken, TokenView};

/// How the fleet is to behave.
pub struct Settings {
    /// Whether anybody may come in without credentials (`auth.anonymous`).
    pub anonymous: bool,
    /// An owner token that is valid for this run (`auth.bootstrap_token`).
    pub bootstrap_token: Option<String>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Apps, devices, tokens and presence. One per program, shared.
pub struct Fleet {}

impl Fleet {
    /// Reads the registry. Must run on the platform's runtime: the fleet's own tasks are spawned there.
    pub async fn open(
        registry: Arc<dyn Registry>,
        line: Arc<dyn Line>,
        bus: Arc<dyn Bus>,
        settings: Settings,
    ) -> Result<Arc<Fleet>, FleetError> {
        let _ = (registry, line, bus, settings);
        todo!()
    }

    /// Writes what is not yet written (presence, firmware) and stops the fleet's task.
    pub async fn close(&self) -> Result<(), FleetError> {
        todo!()
    }
}
