//! The demo's virtual lamp: app "demo", device "lamp", played by `sim` over the program's own MQTT port
//! like any other board, so that the first minute shows the real thing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use sim::{Counts, Link, Options, OptionsError, Who};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::assemble::House;

/// The running lamp.
pub struct Lamp {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Counts, OptionsError>>,
}

/// Registers the lamp if it is new and switches it on. `None` when MQTT is off.
pub async fn start(house: &House) -> anyhow::Result<Option<Lamp>> {
    let Some(addr) = house.listeners.iter().find(|(name, _)| name == "mqtt").map(|(_, addr)| *addr) else {
        tracing::warn!("the demo lamp needs MQTT: set mqtt.listen");
        return Ok(None);
    };
    let (lamp, secret) = house.fleet.ensure_demo().await.context("cannot register the demo lamp")?;
    let ip = if addr.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { addr.ip() };
    let who = Who::Devices(vec![(lamp.device.id.to_string(), secret)]);
    let mut options = Options::new(SocketAddr::new(ip, addr.port()).to_string(), Link::Mqtt, who);
    options.upload_every = Some(Duration::from_secs(5));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(sim::run(options, async { drop(stopped.await) }, |_| {}));
    Ok(Some(Lamp { stop, task }))
}

impl Lamp {
    /// Switches the lamp off.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        match self.task.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the demo lamp had ended"),
            Err(error) => tracing::warn!(%error, "the demo lamp had ended"),
        }
    }
}
