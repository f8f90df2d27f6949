//! What runs here.

use axum::Json;
use axum::extract::State;
use model::UnixMs;
use serde::Serialize;

use crate::auth::Viewer;
use crate::{Api, BridgeStatus};

#[derive(Serialize)]
pub(crate) struct Status {
    version: String,
    started: UnixMs,
    devices: usize,
    online: usize,
    apps: usize,
    listeners: Vec<Listener>,
    bridges: Vec<BridgeStatus>,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    addr: String,
}

pub(crate) async fn show(State(api): State<Api>, _: Viewer) -> Json<Status> {
    let counts = api.fleet.counts();
    let listeners = api.info.listeners.iter().cloned().map(|(name, addr)| Listener { name, addr });
    Json(Status {
        version: api.info.version.clone(),
        started: api.info.started,
        devices: counts.devices,
        online: counts.online,
        apps: counts.apps,
        listeners: listeners.collect(),
        bridges: (api.bridges)(),
    })
}
