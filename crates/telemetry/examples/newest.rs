//! What the newest values of a stream cost: `cargo run --release -p telemetry --example newest -- 1000000`
//! stores three values of a stream for each of so many devices, and prints how long the first question for
//! the newest takes, how long the second, and the memory that they are held in. Linux only.

use std::sync::Arc;
use std::time::Instant;

use contract::store::{Points, Registry};
use model::{DeviceNumber, Point, UnixMs, Value};
use telemetry::Telemetry;
use testkit::{Nobody, crowd};

/// The resident memory in MiB.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 10
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let devices: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir()?;
    let store = Arc::new(store::Store::open(dir.path())?);
    store.put_app(crowd::app()).await?;
    let begun = Instant::now();
    let numbers: Vec<u32> = (1..=devices).collect();
    for some in numbers.chunks(1000) {
        crowd::register(&*store, some).await?;
        let of = |number: &u32| {
            let point = |at: i64| Point {
                device: DeviceNumber(*number),
                stream: "temp".to_owned(),
                at: UnixMs(at),
                value: Value::Number(at as f64),
            };
            [point(1), point(2), point(3)]
        };
        store.append(some.iter().flat_map(of).collect()).await?;
    }
    println!("{devices} devices stored in {} s", begun.elapsed().as_secs());
    let room = Telemetry::open(store.clone(), Arc::new(Nobody), Arc::new(Nobody));
    let before = memory_mib();
    for what in ["first", "second"] {
        let begun = Instant::now();
        let newest = room.newest_of(&["temp".into()]).await?;
        assert_eq!(newest.latest(DeviceNumber(devices), 0), Some(Value::Number(3.0)));
        println!("the {what} question: {} ms", begun.elapsed().as_millis());
    }
    println!("held in {} MiB", memory_mib() - before);
    Ok(())
}
