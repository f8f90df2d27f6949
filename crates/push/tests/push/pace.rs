//! Pushes that take their time: so many devices a second, or not before a moment.

use std::time::Duration;

use crate::house::*;
use contract::Clock;
use model::{DeliveryState, DeviceNumber, Order, PushId, Terms, UnixMs, limits};
use push::{NewPush, Push, SubmitError, To};

const P1: PushId = PushId(1);

fn slow(per_second: u32, devices: u32) -> NewPush {
    let terms = Terms { per_second: Some(per_second), ..Terms::default() };
    NewPush { to: To::Many((1..=devices).map(DeviceNumber).collect()), terms, ..new(Order::Message) }
}

fn later(world: &World, ms: i64) -> NewPush {
    let starts = Some(UnixMs(world.unix().0 + ms));
    NewPush { terms: Terms { starts, ..Terms::default() }, ..new(Order::Message) }
}

/// Lets time pass; the room wakes up as it asked to.
async fn pass(room: &Push, ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    room.flush().await;
    room.flush().await;
}

fn count(world: &World, state: DeliveryState) -> usize {
    world.deliveries.lock().values().filter(|delivery| delivery.state == state).count()
}

#[tokio::test(start_paused = true)]
async fn no_second_has_more_devices_than_it_may() {
    for (per_second, devices) in [(1, 5), (7, 40), (100, 1500), (25_000, 60_000)] {
        let world = World::new();
        let room = world.room().await;
        room.submit(slow(per_second, devices)).await.unwrap();
        let begun = tokio::time::Instant::now();
        while !world.unmade.lock().is_empty() {
            pass(&room, 10).await;
        }
        let mut times: Vec<i64> = world.deliveries.lock().values().map(|delivery| delivery.at.0).collect();
        times.sort_unstable();
        let most = times.iter().map(|from| times.partition_point(|at| *at < from + 1000) - times.partition_point(|at| at < from));
        assert!(most.max() <= Some(per_second as usize), "{per_second} a second");
        let ideal = u64::from(devices) * 1000 / u64::from(per_second);
        assert!(begun.elapsed().as_millis() as u64 <= ideal * 5 / 4 + 100, "{per_second} a second took {:?}", begun.elapsed());
        assert_eq!((times.len(), world.lines.lock().len()), (devices as usize, devices as usize));
    }
}

#[tokio::test(start_paused = true)]
async fn the_counts_tell_how_far_it_is_and_others_are_not_held_up() {
    let world = World::new();
    let room = world.room().await;
    room.submit(slow(10, 100)).await.unwrap();
    pass(&room, 2_050).await;
    let (states, left) = room.standing(P1).await.unwrap();
    assert_eq!((states, left), (vec![(DeliveryState::Queued, 21)], 79));
    let fast = room.submit(NewPush { terms: Terms::default(), ..slow(1, 5_000) }).await.unwrap();
    for _ in 0..10 {
        room.flush().await;
    }
    assert_eq!(room.standing(fast).await.unwrap().1, 0);
    assert_eq!(room.standing(P1).await.unwrap().1, 79);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_at_the_same_pace_and_does_not_hurry() {
    let world = World::new();
    let room = world.room().await;
    room.submit(NewPush { ttl_s: Some(0), ..slow(10, 50) }).await.unwrap();
    pass(&room, 1_050).await;
    assert_eq!(world.deliveries.lock().len(), 11);
    let world = world.after_kill();
    let room = world.room().await;
    room.flush().await;
    // What was made was for that moment only, and that is over; what is left has its own moment.
    assert_eq!((count(&world, DeliveryState::Expired), world.lines.lock().len()), (11, 0));
    pass(&room, 1_050).await;
    assert_eq!(world.lines.lock().len(), 1, "the first second after a start is a rest");
    pass(&room, 10_000).await;
    let left = room.standing(P1).await.unwrap().1;
    assert_eq!((world.lines.lock().len(), left), (39, 0));
}

#[tokio::test(start_paused = true)]
async fn it_is_taken_back_in_the_middle_and_expires_in_the_middle() {
    for taken_back in [true, false] {
        let world = World::new();
        let room = world.room().await;
        room.submit(NewPush { ttl_s: Some(2), ..slow(10, 3_000) }).await.unwrap();
        pass(&room, 1_050).await;
        if taken_back {
            assert_eq!(room.cancel(P1).await.unwrap(), 3_000);
        } else {
            pass(&room, 1_000).await;
        }
        for _ in 0..5 {
            room.flush().await;
        }
        let state = if taken_back { DeliveryState::Cancelled } else { DeliveryState::Expired };
        assert_eq!((count(&world, state), world.unmade.lock().len()), (3_000, 0), "at once, not at its pace");
        assert!(world.lines.lock().len() <= 21);
    }
}

#[tokio::test(start_paused = true)]
async fn it_starts_at_its_moment_and_lives_from_then_on() {
    let world = World::new();
    let room = world.room().await;
    room.submit(NewPush { ttl_s: Some(60), ..later(&world, 3_600_000) }).await.unwrap();
    pass(&room, 3_599_000).await;
    let left = room.standing(P1).await.unwrap().1;
    assert_eq!((world.lines.lock().len(), left), (0, 1));
    let world = world.after_kill();
    // The clock of the next start is as far as it was.
    tokio::time::sleep(Duration::from_millis(3_599_500)).await;
    let room = world.room().await;
    room.flush().await;
    assert_eq!(world.lines.lock().len(), 0);
    pass(&room, 500).await;
    assert_eq!(world.lines.lock().len(), 1);
    pass(&room, 59_000).await;
    assert_eq!(world.stored(P1), "queued");
    pass(&room, 1_000).await;
    assert_eq!(world.stored(P1), "expired: its time ran out while it waited");
}

#[tokio::test(start_paused = true)]
async fn a_moment_that_the_server_slept_through_is_late_or_over() {
    for (ttl_s, wanted) in [
        (None, "queued"),
        (Some(0), "expired: the server restarted, and the push was for that moment only"),
        (Some(10), "expired: its time ran out before the device's turn came"),
    ] {
        let world = World::new();
        let room = world.room().await;
        room.submit(NewPush { ttl_s, ..later(&world, 5_000) }).await.unwrap();
        let world = world.after_kill();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let room = world.room().await;
        pass(&room, 0).await;
        assert_eq!(world.stored(P1), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn there_may_be_only_so_many_and_a_pace_is_a_number() {
    let world = World::new();
    let room = world.room().await;
    for _ in 0..limits::PUSHES_UNHURRIED_MAX {
        room.submit(later(&world, 60_000)).await.unwrap();
    }
    assert!(matches!(room.submit(later(&world, 60_000)).await, Err(SubmitError::Full)));
    assert!(matches!(room.submit(slow(1, 2)).await, Err(SubmitError::Full)));
    room.submit(NewPush { terms: Terms::default(), ..slow(1, 2) }).await.unwrap();
    for bad in [0, limits::PUSH_PER_SECOND_MAX + 1] {
        assert!(matches!(room.submit(slow(bad, 2)).await, Err(SubmitError::BadPace)));
    }
}
