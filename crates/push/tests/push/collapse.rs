//! Collapse keys: a newer push takes the place of what still waits, never of what was sent; and what was
//! under way does not come back after it. And priorities, by which the rest goes out.

use std::sync::atomic::Ordering;

use crate::house::*;
use contract::Step;
use model::{DeviceNumber, Order, PushId, Terms, limits};
use push::{NewPush, SubmitError, To};

const P1: PushId = PushId(1);
const P2: PushId = PushId(2);

fn keyed(key: &str) -> NewPush {
    NewPush { terms: Terms { collapse: Some(key.into()), ..Terms::default() }, ..new(Order::Message) }
}

fn many(key: &str, devices: impl IntoIterator<Item = u32>) -> NewPush {
    NewPush { to: To::Many(devices.into_iter().map(DeviceNumber).collect()), ..keyed(key) }
}

/// Pushes to the lamp, which is away.
async fn queued(room: &push::Push, world: &World, new: NewPush) -> PushId {
    let push = room.submit(new).await.unwrap();
    step(room, world, push, Step::Nobody { online: false });
    room.flush().await;
    push
}

#[tokio::test(start_paused = true)]
async fn what_waits_with_the_same_key_gives_way() {
    let world = World::new();
    let room = world.room().await;
    for key in ["colour", "volume"] {
        queued(&room, &world, keyed(key)).await;
    }
    queued(&room, &world, new(Order::Message)).await;
    world.take();
    assert_eq!(queued(&room, &world, keyed("colour")).await, PushId(4));
    let replaced = "1 replaced: push 4 took its place";
    let journal = world.take();
    assert_eq!(journal[0], "create 4");
    assert!(journal.contains(&format!("store {replaced}")) && journal.contains(&format!("tell {replaced}")), "{journal:?}");
    for other in [2, 3, 4] {
        assert_eq!(world.stored(PushId(other)), "queued: the device is away");
    }
    listening(&room);
    room.flush().await;
    assert!(!world.take().iter().any(|line| line.starts_with("line 1 ")));
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_stays_and_does_not_come_back_after_it() {
    let world = World::new();
    let room = world.room().await;
    for _ in 0..2 {
        let push = room.submit(keyed("colour")).await.unwrap();
        step(&room, &world, push, Step::Sent);
    }
    queued(&room, &world, keyed("colour")).await;
    step(&room, &world, P1, Step::Delivered);
    room.flush().await;
    assert_eq!(world.stored(P1), "delivered");
    assert_eq!(world.stored(P2), "sent");
    world.take();
    step(&room, &world, P2, Step::Lost);
    room.flush().await;
    assert_eq!(world.stored(P2), "replaced: push 3 took its place");
    assert!(!world.take().iter().any(|line| line.starts_with("line")), "the newer one may be at the device already");
}

#[tokio::test(start_paused = true)]
async fn what_the_hub_has_may_still_be_sent_and_gives_way_only_when_it_is_back() {
    for back in [Step::Lost, Step::Nobody { online: true }] {
        let world = World::new();
        let room = world.room().await;
        for _ in 0..2 {
            room.submit(keyed("colour")).await.unwrap();
            room.flush().await;
        }
        assert_eq!(world.stored(P1), "queued");
        step(&room, &world, P1, back);
        room.flush().await;
        assert_eq!(world.stored(P1), "replaced: push 2 took its place");
        assert_eq!(world.lines.lock().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_line_took_gives_way_when_its_rest_is_over() {
    let world = World::new();
    let room = world.room().await;
    room.submit(keyed("colour")).await.unwrap();
    step(&room, &world, P1, Step::Lost);
    room.submit(keyed("colour")).await.unwrap();
    room.flush().await;
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    room.flush().await;
    assert_eq!(world.stored(P1), "replaced: push 2 took its place");
    assert_eq!(world.lines.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_come_together_only_the_second_goes_out() {
    let world = World::new();
    let room = world.room().await;
    let (first, second) = tokio::join!(room.submit(keyed("colour")), room.submit(keyed("colour")));
    room.flush().await;
    assert_eq!((first.unwrap(), second.unwrap()), (P1, P2));
    assert_eq!(world.stored(P1), "replaced: push 2 took its place");
    assert_eq!(world.take().iter().filter(|line| line.starts_with("line")).collect::<Vec<_>>(), ["line 2 dev/lamp/push on"]);
}

#[tokio::test(start_paused = true)]
async fn keys_survive_a_restart_and_so_does_what_was_overtaken() {
    let world = World::new();
    let room = world.room().await;
    queued(&room, &world, keyed("volume")).await;
    let sent = room.submit(keyed("colour")).await.unwrap();
    step(&room, &world, sent, Step::Sent);
    let newer = room.submit(keyed("colour")).await.unwrap();
    step(&room, &world, newer, Step::Delivered);
    room.flush().await;
    let world = world.after_kill();
    let room = world.room().await;
    room.flush().await;
    assert_eq!(world.stored(sent), "replaced: push 3 took its place", "sent again it would come after the newer one");
    queued(&room, &world, keyed("volume")).await;
    assert_eq!(world.stored(P1), "replaced: push 4 took its place");
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_and_not_stored_is_decided_again() {
    let world = World::new();
    let room = world.room().await;
    queued(&room, &world, keyed("colour")).await;
    // Killed when the newer push was on disk and the older one's end was not.
    let newer = model::Delivery { push: P2, ..world.deliveries.lock()[&(P1, LAMP)].clone() };
    world.deliveries.lock().insert((P2, LAMP), newer);
    let stored = contract::store::StoredPush { id: P2, ..world.pushes.lock()[&P1].clone() };
    world.pushes.lock().insert(P2, stored);
    let world = world.after_kill();
    let room = world.room().await;
    room.flush().await;
    assert_eq!(world.stored(P1), "replaced: push 2 took its place");
    assert_eq!(world.stored(P2), "queued: the device is away");
}

/// Waits until every delivery is made. Each flush is a turn of the room.
async fn made(room: &push::Push, world: &World) {
    while !world.unmade.lock().is_empty() {
        room.flush().await;
    }
    room.flush().await;
}

#[tokio::test(start_paused = true)]
async fn of_many_each_device_has_the_newest() {
    let world = World::new();
    let room = world.room().await;
    room.submit(many("colour", [LAMP.0, 8])).await.unwrap();
    made(&room, &world).await;
    step(&room, &world, P1, Step::Nobody { online: false });
    room.submit(many("colour", [6, LAMP.0])).await.unwrap();
    made(&room, &world).await;
    assert_eq!(world.stored(P1), "replaced: push 2 took its place");
    assert_eq!(world.stored(P2), "queued");
    assert_eq!(shown(&world.deliveries.lock()[&(P1, DeviceNumber(8))]), "queued");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_made_late_gives_way_to_what_came_before_it() {
    let world = World::new();
    let room = world.room().await;
    world.hold_batches();
    let part = limits::PUSH_PART_DEVICES_MAX as u32;
    room.submit(many("colour", 1..=3 * part)).await.unwrap();
    // Two batches may be made: the second in one turn with the newer push.
    world.batches.add_permits(2);
    let last = DeviceNumber(3 * part);
    let to = To::One(last, model::DeviceId::parse("last").unwrap());
    room.submit(NewPush { to, ..keyed("colour") }).await.unwrap();
    world.batches.add_permits(1_000_000);
    made(&room, &world).await;
    assert_eq!(shown(&world.deliveries.lock()[&(P1, last)]), "replaced: push 2 took its place");
    assert_eq!(shown(&world.deliveries.lock()[&(P1, DeviceNumber(last.0 - 1))]), "queued");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_takes_what_replaces_something_in_it() {
    let world = World::new();
    let room = world.room().await;
    queued(&room, &world, keyed("colour")).await;
    for _ in 1..limits::PENDING_PER_DEVICE_MAX {
        queued(&room, &world, new(Order::Message)).await;
    }
    for refused in [new(Order::Message), keyed("volume")] {
        assert!(matches!(room.submit(refused).await, Err(SubmitError::DeviceFull)));
    }
    let newer = queued(&room, &world, keyed("colour")).await;
    assert_eq!(world.stored(P1), format!("replaced: push {newer} took its place"));
    assert_eq!(room.open_now(), limits::PENDING_PER_DEVICE_MAX);
    let batch = room.submit(many("colour", [LAMP.0])).await.unwrap();
    while !world.unmade.lock().is_empty() {
        room.flush().await;
    }
    room.flush().await;
    assert_eq!(world.stored(batch), "queued");
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_out_by_priority_when_the_device_is_back_after_a_restart_too() {
    use model::Priority::*;
    for restart in [false, true] {
        let mut world = World::new();
        let mut room = world.room().await;
        for priority in [Low, Normal, High, Normal, High] {
            let terms = Terms { priority, ..Terms::default() };
            queued(&room, &world, NewPush { terms, ..new(Order::Message) }).await;
        }
        if restart {
            world = world.after_kill();
            room = world.room().await;
        }
        world.take();
        listening(&room);
        room.flush().await;
        let lines: Vec<String> = world.take().into_iter().filter(|line| line.starts_with("line")).collect();
        let order: Vec<&str> = lines.iter().map(|line| &line[5..6]).collect();
        assert_eq!(order, ["3", "5", "2", "4", "1"]);
        // What no line took has its turn again in the same order.
        for push in 1..=5 {
            step(&room, &world, PushId(push), Step::Lost);
        }
        room.flush().await;
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        room.flush().await;
        let again: Vec<String> = world.take().into_iter().filter(|line| line.starts_with("line")).collect();
        assert_eq!(again, lines);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_has_its_length_and_a_broken_store_tells_nothing() {
    let world = World::new();
    let room = world.room().await;
    for bad in ["", &"k".repeat(limits::COLLAPSE_BYTES_MAX + 1)] {
        assert!(matches!(room.submit(keyed(bad)).await, Err(SubmitError::BadCollapse)));
    }
    queued(&room, &world, keyed(&"k".repeat(limits::COLLAPSE_BYTES_MAX))).await;
    world.broken.store(true, Ordering::Relaxed);
    assert!(room.submit(keyed("k")).await.is_err());
    assert_eq!(world.stored(P1), "queued: the device is away");
}
