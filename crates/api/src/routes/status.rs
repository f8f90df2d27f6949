//! What runs here.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

use crate::auth::Viewer;
use crate::openapi::shape;
use crate::problem::Problem;
use crate::{Api, BridgeStatus, StoreStatus};

/// How the server is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Status {
    version: String,
    #[schemars(with = "shape::Time")]
    started: UnixMs,
    devices: usize,
    online: usize,
    apps: usize,
    listeners: Vec<Listener>,
    bridges: Vec<BridgeStatus>,
    store: StoreStatus,
}

/// Where it listens.
#[derive(Serialize, JsonSchema)]
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
        store: (api.store)(),
    })
}

/// Whether it is worth talking to, for load balancers and supervisors. A disk that failed is only left
/// behind by a restart, so that counts as ill; a full store serves all that it has. Strangers may ask: no
/// path and no figure is told.
pub(crate) async fn health(State(api): State<Api>) -> Result<&'static str, Problem> {
    match (api.store)().failed {
        None => Ok("ok"),
        Some(_) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "disk_failed", "the disk failed: nothing is acknowledged any more"))
        }
    }
}
