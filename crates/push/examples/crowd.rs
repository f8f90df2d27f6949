//! What a push to many costs: `cargo run --release -p push --example crowd -- 100000` pushes to so many devices
//! that are away, on a real store, and prints how long the call took, how long until every delivery was
//! made, how long pushes to one device took meanwhile, and the memory of an open delivery. Linux only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::Clock;
use contract::store::Registry;
use model::{DeviceNumber, Millis, Order, UnixMs};
use push::{NewPush, Push, To};
use testkit::{Nobody, crowd};

/// The time since the start.
struct Since(Instant);

impl Clock for Since {
    fn unix(&self) -> UnixMs {
        UnixMs(self.millis().0 as i64)
    }
    fn millis(&self) -> Millis {
        Millis(self.0.elapsed().as_millis() as u64)
    }
}

/// A line of `/proc/self/status` in KiB.
fn memory_kib(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn order(to: To) -> NewPush {
    let payload = Bytes::from_static(b"lights out");
    let (sender, audience) = ("example".to_owned(), "{}".to_owned());
    NewPush {
        to,
        order: Order::Message,
        payload,
        sender,
        audience,
        ttl_s: None,
        idempotency_key: None,
        terms: Default::default(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let devices: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir()?;
    let store = Arc::new(store::Store::open(dir.path())?);
    store.put_app(crowd::app()).await?;
    let numbers: Vec<u32> = (1..=devices + 1).collect();
    for some in numbers.chunks(1000) {
        crowd::register(&*store, some).await?;
    }
    let (nobody, clock) = (Arc::new(Nobody), Arc::new(Since(Instant::now())));
    let room = Push::open(store.clone(), nobody.clone(), nobody, clock).await?;
    let before = memory_kib("VmRSS");
    let begun = Instant::now();
    let many = room.submit(order(To::Many((1..=devices).map(DeviceNumber).collect()))).await?;
    println!("taken after {} ms", begun.elapsed().as_millis());
    let mut waits: Vec<Duration> = Vec::new();
    while room.standing(many).await?.1 > 0 {
        let begun = Instant::now();
        let one = room.submit(order(To::One(DeviceNumber(devices + 1), crowd::device(devices + 1).id))).await?;
        waits.push(begun.elapsed());
        room.cancel(one).await?;
    }
    println!("all {devices} deliveries made after {} ms", begun.elapsed().as_millis());
    waits.sort_unstable();
    if let Some(longest) = waits.last() {
        let middle = waits[waits.len() / 2];
        println!("{} pushes to one device meanwhile: {middle:?} in the middle, {longest:?} at the most", waits.len());
    }
    let used = memory_kib("VmRSS").saturating_sub(before) * 1024;
    println!("memory: {} bytes an open delivery", used / u64::from(devices));
    Ok(())
}
