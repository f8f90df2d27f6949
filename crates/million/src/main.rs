//! What a million devices weigh and what a push to one of them costs: the real hub with the real MQTT
//! machine and the real fleet, in one thread and without sockets. `cargo run --release -p million`.

mod cell;
mod crowds;
mod house;
mod packets;
mod platform;
mod scales;

use std::env::current_exe;
use std::process::Command;

use anyhow::ensure;
use clap::Parser;

/// Weighs devices, and counts what a push costs among them.
#[derive(Parser)]
struct Options {
    /// How many devices; several numbers are measured one after the other, each in a process of its own.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    devices: Vec<u32>,
    /// On how many shards.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    shards: Vec<u16>,
    /// How many pushes to random devices.
    #[arg(long, default_value_t = 100_000)]
    pushes: u32,
    /// What each device subscribes to.
    #[arg(long, default_value = "me/#")]
    filter: String,
    /// Measures messages beside retained messages and subscriptions instead.
    #[arg(long)]
    crowds: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.devices.len() * options.shards.len() > 1 {
        let devices = if options.crowds { &options.devices[..1] } else { &options.devices[..] };
        for (devices, shards) in devices.iter().flat_map(|devices| options.shards.iter().map(move |shards| (devices, shards))) {
            let mut child = Command::new(current_exe()?);
            child.args(["--devices", &devices.to_string(), "--shards", &shards.to_string()]);
            child.args(["--pushes", &options.pushes.to_string(), "--filter", &options.filter]);
            child.args(options.crowds.then_some("--crowds"));
            ensure!(child.status()?.success(), "{devices} devices on {shards} shards failed");
        }
        return Ok(());
    }
    let (devices, shards) = (options.devices[0], options.shards[0]);
    // One thread for everything, the fleet's own task too, so that its time is the whole time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    if options.crowds {
        return runtime.block_on(crowds::run(shards));
    }
    let wish = cell::Wish { devices, shards, pushes: options.pushes, filter: options.filter };
    runtime.block_on(cell::run(&wish)).map(drop)
}
