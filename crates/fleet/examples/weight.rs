//! What a fleet weighs: `cargo run --release -p fleet --example weight -- 1000000` fills a fleet, brings every
//! device online and prints the memory per device, as the system counts it; then how long some queries
//! over all of them take. Linux only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use contract::event::Event;
use contract::store::{Later, Registry, RegistrySnapshot, StoredAccount, StoredDevice, StoredGroup, StoredToken};
use contract::{Bus, Clock, Close, Consumer, Line, Refusal, Ticket, Verdict};
use fleet::{Asked, Audience, Fleet, Settings};
use model::query::Latest;
use model::{App, AppId, AppKey, Device, DeviceId, DeviceNumber, Message, Millis, Presence, Query, UnixMs, Value};
use parking_lot::RwLock;

/// A registry that remembers nothing but the fleet it is asked for, a line and a bus that nobody listens to.
struct Nobody {
    devices: u32,
}

impl Registry for Nobody {
    fn load(&self) -> Later<RegistrySnapshot> {
        let app = App {
            id: AppId(15000),
            key: AppKey::parse(&"0".repeat(32)).expect("32 hex characters"),
            name: "sensors".into(),
            open: true,
            single: false,
            settings: Default::default(),
            created: UnixMs(0),
        };
        let device = |number: u32| StoredDevice {
            device: Device {
                number: DeviceNumber(number),
                id: DeviceId::of_chip(AppId(15000), &(8_000_000 + number).to_string()).expect("digits"),
                app: AppId(15000),
                name: String::new(),
                alias: String::new(),
                tags: vec!["batch 7".into(), "hall 2".into()],
                firmware: "AT 1.2".into(),
                open: false,
                created: UnixMs(0),
            },
            secret_hash: [7; 32],
            presence: Presence::default(),
        };
        let devices = (1..=self.devices).map(device).collect();
        let last = self.devices;
        Box::pin(async move { Ok(RegistrySnapshot { apps: vec![app], devices, device_last: last, ..Default::default() }) })
    }
    fn put_app(&self, _: App) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
    fn delete_app(&self, _: AppId) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
    fn put_device(&self, _: Device, _: Option<String>) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
    fn rotate_secret(&self, _: DeviceNumber, _: String, _: Option<UnixMs>) -> Later<()> {
        unreachable!("nobody gets a secret here")
    }
    fn drop_old_secret(&self, _: DeviceNumber) -> Later<()> {
        unreachable!("nobody gets a secret here")
    }
    fn reveal_old_secret(&self, _: DeviceNumber) -> Later<Option<String>> {
        unreachable!("nobody gets a secret here")
    }
    fn put_group(&self, _: StoredGroup, _: Option<String>) -> Later<()> {
        unreachable!("nobody makes groups here")
    }
    fn delete_group(&self, _: String) -> Later<()> {
        unreachable!("nobody makes groups here")
    }
    fn block_device(&self, _: DeviceNumber, _: bool) -> Later<()> {
        unreachable!("nobody is blocked here")
    }
    fn reveal_secret(&self, _: DeviceNumber) -> Later<Option<String>> {
        unreachable!("nobody proves anything here")
    }
    fn delete_device(&self, _: DeviceNumber) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
    fn put_presence(&self, _: Vec<(DeviceNumber, Presence)>) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
    fn put_account(&self, _: StoredAccount) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
    fn delete_account(&self, _: u64) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
    fn put_token(&self, _: StoredToken) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
    fn delete_token(&self, _: u64) -> Later<()> {
        Box::pin(async { Ok(()) })
    }
}

impl Line for Nobody {
    fn publish(&self, _: Message) {}
    fn push(&self, _: DeviceNumber, _: Message) {}
    fn decide(&self, _: Ticket, _: Verdict) {}
    fn scram(&self, _: contract::Ticket, _: contract::ScramKeys) {}
    fn published(&self, _: Ticket, _: Result<(), Refusal>) {}
    fn kick(&self, _: model::PartyKey, _: Close, _: bool) {}
}

impl Bus for Nobody {
    fn emit(&self, batch: &mut Vec<Event>) {
        batch.clear();
    }
    fn watched(&self) -> bool {
        false
    }
}

impl Clock for Nobody {
    fn unix(&self) -> UnixMs {
        UnixMs(0)
    }
    fn millis(&self) -> Millis {
        Millis(0)
    }
}

/// What is asked of the fleet.
const QUERIES: [&str; 7] = [
    "online",
    "tags has \"hall 3\"",
    "firmware < \"AT 1.10\"",
    "name contains kitchen or id contains 99999",
    "data.temp > 98",
    "app = 15000 and tags has \"hall 2\" and firmware < \"AT 1.4.0\" and online and data.temp > 30",
    "not (app = 7 or alias = x) and since > 2h ago and protocol in (espush, mqtt) and created < 1d ago",
];

/// One value a device, held as the telemetry room holds them.
struct Readings(RwLock<HashMap<DeviceNumber, Value>>);

impl Latest for Readings {
    fn latest(&self, device: DeviceNumber, _: usize) -> Option<Value> {
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
    let nobody = Arc::new(Nobody { devices });
    let settings = Settings { anonymous: false, bootstrap_token: None, clock: nobody.clone() };
    let before = memory_kib("VmRSS");
    let fleet = Fleet::open(nobody.clone(), nobody.clone(), nobody.clone(), settings).await?;
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
