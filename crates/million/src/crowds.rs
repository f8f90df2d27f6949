//! What a message costs beside what has nothing to do with it: retained messages, other people's
//! subscriptions, and the many subscriptions of one session.

use anyhow::ensure;
use model::{Message, Topic, UnixMs};

use crate::cell::{push_all, random};
use crate::house::House;
use crate::scales::Reading;
use crate::{packets, platform};

/// Devices that pushes go to.
const DEVICES: u32 = 10_000;
/// How much there is of what should not matter.
const CROWD: u32 = 1_000_000;
/// Subscriptions of one of the sessions that make a crowd of them.
const EACH: u32 = 1_000;
/// Subscriptions of the last devices, one size each.
const SIZES: [u32; 3] = [1, 100, 10_000];
/// Messages of one measurement.
const MESSAGES: u32 = 20_000;

/// Brings a device in.
fn enter(house: &mut House, device: u32, filter: &str) {
    house.open(device);
    let user = platform::APP.to_string();
    house.send(device, &packets::connect(&platform::chip(device), &user, platform::KEY, 0));
    house.send(device, &packets::subscribe(filter));
    house.seen(|_, _| ());
}

/// Microseconds and bytes a piece for what `work` does `count` times.
fn measured(count: u32, work: impl FnOnce()) -> (f64, f64) {
    let begun = Reading::now();
    work();
    let spent = Reading::now().since(&begun);
    (spent.cpu_ns as f64 / f64::from(count) / 1000.0, spent.resident as f64 / f64::from(count))
}

/// Prints all of it.
pub async fn run(shards: u16) -> anyhow::Result<()> {
    let others = CROWD / EACH;
    let last = DEVICES + others + SIZES.len() as u32 * 2;
    let fleet = platform::fleet(last).await?;
    let mut house = House::new(fleet, shards, last);
    println!("{DEVICES} devices on {shards} shards, each subscribed to me/#");
    (1..=DEVICES).for_each(|device| enter(&mut house, device, "me/#"));
    println!("  {:<60} {:.2} us", "a push", push_all(&mut house, DEVICES, MESSAGES)?);

    let (us, bytes) = measured(CROWD, || {
        for n in 0..CROWD {
            let mut message = Message::new(Topic::parse(&format!("news/{}/{n}", n % 1000)).expect("a topic"), "21.5", UnixMs(0));
            message.retain = true;
            house.publish(message);
        }
    });
    house.seen(|_, _| ());
    println!("  {:<60} {us:.2} us, {bytes:.0} B", format!("each of {CROWD} retained messages"));
    println!("  {:<60} {:.2} us", "a push beside them", push_all(&mut house, DEVICES, MESSAGES)?);

    let (us, bytes) = measured(CROWD, || {
        for device in DEVICES + 1..=DEVICES + others {
            enter(&mut house, device, "me/#");
            for n in 1..EACH {
                let filter = if n % 2 == 0 { format!("hall/{device}/{n}") } else { format!("hall/{device}/{n}/+/#") };
                house.send(device, &packets::subscribe(&filter));
            }
            house.seen(|_, _| ());
        }
    });
    println!("  {:<60} {us:.2} us, {bytes:.0} B", format!("each of {CROWD} subscriptions of {others} others"));
    println!("  {:<60} {:.2} us", "a push beside them", push_all(&mut house, DEVICES, MESSAGES)?);

    for (n, size) in (0..).zip(SIZES) {
        let device = DEVICES + others + 1 + 2 * n;
        let from = device + 1;
        enter(&mut house, from, "me/#");
        let (us, bytes) = measured(size, || {
            enter(&mut house, device, &format!("room/{device}/0"));
            for n in 1..size {
                house.send(device, &packets::subscribe(&format!("room/{device}/{n}")));
            }
        });
        house.seen(|_, _| ());
        println!("  {:<60} {us:.2} us, {bytes:.0} B", format!("each of the {size} subscriptions of one session"));
        let (mut chance, mut arrived) = (7, 0);
        let (us, _) = measured(MESSAGES, || {
            for _ in 0..MESSAGES {
                let topic = format!("room/{device}/{}", random(&mut chance, size));
                house.send(from, &packets::publish(&topic, b"on"));
                house.seen(|line, _| arrived += u32::from(line == device));
            }
        });
        ensure!(arrived == MESSAGES, "{arrived} of {MESSAGES} messages arrived");
        println!("  {:<60} {us:.2} us", "a message to one of them");
    }
    Ok(())
}
