//! What a fleet weighs: `cargo run --release -p fleet --example weight -- 1000000` fills a fleet, brings every
//! device online and prints the memory per device, as the system counts it; then how long some queries
//! over all of them take. Linux only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use contract::Consumer;
use contract::event::Event;
use fleet::{Asked, Audience, Fleet, Settings};
use model::query::Latest;
use model::{DeviceNumber, Query, UnixMs, Value};
use parking_lot::RwLock;
use testkit::Nobody;
use testkit::crowd::Crowd;

/// What is asked of the fleet.
const QUERIES: [&str; 9] = [
    "online",
    "tags has \"hall 3\"",
    "firmware < \"AT 1.10\"",
    "name contains kitchen or id contains 99999",
    "data.temp > 98",
    "twin.temp > 98",
    "twin.desired.temp > 50 and not twin.temp = 60 and online",
    "app = 15000 and tags has \"hall 2\" and firmware < \"AT 1.4.0\" and online and data.temp > 30",
    "not (app = 7 or alias = x) and since > 2h ago and protocol in (espush, mqtt) and created < 1d ago",
];

/// One value a device, held as the rooms of telemetry and twins hold them.
struct Readings(RwLock<HashMap<DeviceNumber, Value>>);

impl Latest for Readings {
    fn latest(&self, device: DeviceNumber, _: usize) -> Option<Value> {
        self.0.read().get(&device).cloned()
    }

    fn twin(&self, device: DeviceNumber, _: usize) -> Option<Value> {
        self.0.read().get(&device).cloned()
    }
}

/// A line of `/proc/self/status` in KiB.
fn memory_kib(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), fleet::FleetError> {
    let devices: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let crowd = Arc::new(Crowd { devices });
    let settings = Settings { anonymous: false, bootstrap_token: None, clock: crowd.clone() };
    let before = memory_kib("VmRSS");
    let fleet = Fleet::open(crowd, Arc::new(Nobody), Arc::new(Nobody), settings).await?;
    for number in 1..=devices {
        let remote = ([10, 0, (number >> 8) as u8, number as u8], 4000).into();
        fleet.on_event(&Event::LineOpened {
            device: DeviceNumber(number),
            protocol: "mqtt",
            remote,
            firmware: None,
            at: UnixMs(0),
        });
    }
    fleet.close().await?;
    let used = (memory_kib("VmRSS") - before) * 1024;
    println!("{} devices online: {} MiB, {} bytes each", fleet.counts().online, used >> 20, used / u64::from(devices));
    println!("at the most while loading: {} MiB", memory_kib("VmHWM") >> 10);
    let points =
        Arc::new(Readings(RwLock::new((1..=devices).map(|n| (DeviceNumber(n), Value::Number(f64::from(n % 100)))).collect())));
    for text in QUERIES {
        let query = Arc::new(Query::parse(text).expect("a good query"));
        let begun = Instant::now();
        let found = fleet.select(Audience::Query(Asked { query, points: points.clone() })).await?.devices.len();
        println!("{:>4} ms, {found:>7} devices: {text}", begun.elapsed().as_millis());
    }
    Ok(())
}
