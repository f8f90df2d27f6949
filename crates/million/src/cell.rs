//! One measurement in a process of its own: so many devices on so many shards, from nothing to a million
//! pushes, weighed at every step.

use anyhow::{Context, ensure};
use model::{DeviceNumber, Message, PushId, Qos, Receipt, Topic, UnixMs};

use crate::house::House;
use crate::scales::Reading;
use crate::{packets, platform};

/// What is measured.
pub struct Wish {
    /// How many devices.
    pub devices: u32,
    /// On how many shards.
    pub shards: u16,
    /// How many pushes.
    pub pushes: u32,
    /// What each device subscribes to.
    pub filter: String,
}

/// What a device promises.
const KEEP_ALIVE_S: u16 = 300;

/// Where a push goes.
fn push(device: u32, number: u64, payload: Vec<u8>) -> Message {
    let receipt = Receipt { push: PushId(number), device: DeviceNumber(device) };
    let topic = Topic::of_device(&platform::id(device), "push");
    Message { qos: Qos::AtLeastOnce, receipt: Some(receipt), ..Message::new(topic, payload, UnixMs(0)) }
}

/// A device chosen by chance: the same ones in every run.
pub fn random(state: &mut u64, below: u32) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) % u64::from(below)) as u32
}

/// The scales of a run: what each step added.
struct Weighing {
    devices: u32,
    last: Reading,
    first: Reading,
}

impl Weighing {
    fn begin(devices: u32) -> Weighing {
        let now = Reading::now();
        Weighing { devices, last: now, first: now }
    }

    fn line(&self, what: &str, added: Reading) {
        let each = |total: i64| total as f64 / f64::from(self.devices);
        println!(
            "  {what:<44} {:>8.0} {:>8.0} {:>8.2} {:>8.1}",
            each(added.resident),
            each(added.asked),
            each(added.cpu_ns as i64) / 1000.0,
            each(added.allocations as i64),
        );
    }

    fn step(&mut self, what: &str) {
        let now = Reading::now();
        self.line(what, now.since(&self.last));
        self.last = Reading::now();
    }

    /// What was added since the last step is not the devices'.
    fn leave_out(&mut self) {
        let now = Reading::now();
        let added = now.since(&self.last);
        self.first.asked += added.asked;
        self.first.resident += added.resident;
        self.first.allocations += added.allocations;
        self.first.cpu_ns += added.cpu_ns;
        self.last = now;
    }

    fn whole(&self, what: &str) {
        self.line(what, Reading::now().since(&self.first));
    }
}

/// Sends to every device and checks that each is answered with `answer` and nothing else.
fn ask_all(house: &mut House, devices: u32, question: impl Fn(u32) -> Vec<u8>, answer: &[u8]) -> anyhow::Result<()> {
    let mut wrong = 0;
    for device in 1..=devices {
        house.send(device, &question(device));
        let mut right = 0;
        house.seen(|line, bytes| right += if line == device && bytes == answer { 1 } else { 2 });
        wrong += u32::from(right != 1);
    }
    ensure!(wrong == 0, "{wrong} devices were not answered with {answer:?}");
    Ok(())
}

/// Brings every device in, pushes, and prints what it weighs and costs.
pub async fn run(wish: &Wish) -> anyhow::Result<House> {
    let Wish { devices, shards, pushes, ref filter } = *wish;
    let (user, key) = (platform::APP.to_string(), platform::KEY);
    println!("{devices} devices on {shards} shards, each subscribed to {filter}");
    println!("  {:<44} {:>8} {:>8} {:>8} {:>8}", "each device", "RSS B", "asked B", "CPU us", "allocs");
    let mut weighing = Weighing::begin(devices);
    let fleet = platform::fleet(devices).await?;
    weighing.step("registered: the fleet's roster");
    let mut house = House::new(fleet.clone(), shards, devices);
    weighing.leave_out(); // what the house itself needs for each line
    house.hold_events = true;
    (1..=devices).for_each(|device| house.open(device));
    weighing.step("connected: seat, machine, timer");
    let connect = |device| packets::connect(&platform::chip(device), &user, key, KEEP_ALIVE_S);
    ask_all(&mut house, devices, connect, packets::CONNACK)?;
    weighing.step("logged in: session, party, keys (+ its event)");
    house.tell();
    fleet.close().await?;
    weighing.step("told: presence (- its event)");
    ensure!(fleet.counts().online == devices as usize, "{} devices are online", fleet.counts().online);
    ask_all(&mut house, devices, |_| packets::subscribe(filter), packets::SUBACK)?;
    house.tell();
    weighing.step("subscribed");
    // Beyond the time for logging in, and with a ping in the middle of the promised silence, so that all timers
    // stand where they stand from now on.
    for _ in 0..2 {
        house.advance_s(u64::from(KEEP_ALIVE_S) * 2 / 3);
        ask_all(&mut house, devices, |_| packets::PINGREQ.to_vec(), packets::PINGRESP)?;
    }
    weighing.step("idle for seven minutes with two pings");
    weighing.whole("altogether");
    house.hold_events = false;
    ensure!(house.connections() == (devices as usize, 0), "connections: {:?}", house.connections());
    ensure!(house.counted() == (u64::from(devices), u64::from(devices), 0), "sessions: {:?}", house.counted());
    let cost = push_all(&mut house, devices, pushes)?;
    weighing.step("after the pushes");
    println!("  {pushes} pushes to random devices, acknowledged: {cost:.2} us of CPU each, all at the right device\n");
    Ok(house)
}

/// Pushes to random devices, each of which must get exactly its own and acknowledges it. Microseconds each.
pub fn push_all(house: &mut House, devices: u32, pushes: u32) -> anyhow::Result<f64> {
    let mut chance = 42;
    let (mut spent_ns, delivered) = (0, house.delivered);
    for first in (0..pushes).step_by(1000) {
        let batch = first..pushes.min(first + 1000);
        // Made before the clock runs: making them is the platform's part.
        let all: Vec<(u32, Vec<u8>, Message)> = batch
            .map(|number| {
                let device = 1 + random(&mut chance, devices);
                let payload = format!("{number} for {device}").into_bytes();
                (device, payload.clone(), push(device, u64::from(number), payload))
            })
            .collect();
        let begun = Reading::now();
        for (device, payload, message) in all {
            house.push(device, message);
            let mut got = None;
            let mut writes = 0;
            house.seen(|line, bytes| {
                writes += 1;
                if line == device && bytes.first() == Some(&0x32) && bytes.ends_with(&payload) {
                    let topic = usize::from(bytes[2]) * 256 + usize::from(bytes[3]);
                    got = Some([bytes[4 + topic], bytes[5 + topic]]);
                }
            });
            let id = got.filter(|_| writes == 1).with_context(|| format!("a push to {device} went astray: {writes} writes"))?;
            house.send(device, &packets::puback(id));
        }
        spent_ns += Reading::now().since(&begun).cpu_ns;
    }
    ensure!(house.delivered - delivered == u64::from(pushes), "{} of {pushes} were acknowledged", house.delivered - delivered);
    Ok(spent_ns as f64 / f64::from(pushes) / 1000.0)
}
