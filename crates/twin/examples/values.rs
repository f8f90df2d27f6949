//! What twins cost: `cargo run --release -p twin --example values -- 1000000` stores a twin for each of so many
//! devices, every tenth of which is still to be told something, and prints how long a start takes, how long the
//! first question for two of their values and the second, and the memory that each is held in. Linux only.

use std::sync::Arc;
use std::time::Instant;

use contract::store::{Registry, StoredPart, StoredTwin};
use model::{DeviceNumber, Query, UnixMs, Value};
use testkit::Nobody;
use testkit::crowd::{self, Crowd};
use twin::Twins;

/// The resident memory in KiB.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn twin(number: u32) -> StoredTwin {
    let part = |value: String| StoredPart { value, version: 1, at: Some(UnixMs(1)) };
    let (patch, rssi) = (number % 10, -30 - i64::from(number % 60));
    let wifi = format!(r#"{{"rssi":{rssi},"ssid":"hall"}}"#);
    StoredTwin {
        device: DeviceNumber(number),
        desired: part(r#"{"every_s":60,"led":"on","schedule":{"from":"07:30","to":"22:00"}}"#.to_owned()),
        reported: part(format!(r#"{{"every_s":60,"firmware":"1.4.{patch}","led":"on","uptime":{number},"wifi":{wifi}}}"#)),
        dropped: "{}".to_owned(),
        acknowledged: 1,
        owed: number.is_multiple_of(10),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use contract::store::Twins as _;

    let devices: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir()?;
    let store = Arc::new(store::Store::open(dir.path())?);
    store.put_app(crowd::app()).await?;
    let begun = Instant::now();
    let numbers: Vec<u32> = (1..=devices).collect();
    for some in numbers.chunks(1000) {
        crowd::register(&*store, some).await?;
        store.put_twins(some.iter().map(|number| twin(*number)).collect(), Vec::new()).await?;
    }
    println!("{devices} devices with twins stored in {} s", begun.elapsed().as_secs());

    let (begun, before) = (Instant::now(), memory_kib());
    let clock = Arc::new(Crowd { devices });
    let room = Twins::open(store.clone(), Arc::new(Nobody), Arc::new(Nobody), clock, Arc::new(|_| None)).await?;
    let held = (memory_kib() - before) >> 10;
    println!(
        "the room opened in {} ms: {} devices are owed something, held in {held} MiB",
        begun.elapsed().as_millis(),
        room.owed()
    );

    let query = Query::parse("twin.led = on and twin.wifi.rssi < -60")?;
    let before = memory_kib();
    for what in ["first", "second"] {
        let begun = Instant::now();
        let values = room.values_of(query.twins()).await?;
        println!("the {what} question for two values: {} ms", begun.elapsed().as_millis());
        let begun = Instant::now();
        let found = numbers.iter().filter(|number| {
            let number = DeviceNumber(**number);
            values.twin(number, 0) == Some(Value::Text("on".to_owned()))
                && matches!(values.twin(number, 1), Some(Value::Number(rssi)) if rssi < -60.0)
        });
        println!("{} of all looked up by both: {} ms", found.count(), begun.elapsed().as_millis());
    }
    println!("held in {} MiB", (memory_kib() - before) >> 10);
    Ok(())
}
