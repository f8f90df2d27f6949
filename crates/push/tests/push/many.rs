//! Pushes to many: kept with their audience at once, made in batches, taken back and resumed in the middle.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::house::*;
use bytes::Bytes;
use contract::{Consumer, Event, Step};
use model::{DeliveryState, DeviceNumber, Order, PushId, Receipt, Terms, limits};
use push::{NewPush, Push, Resend, SubmitError, To};

const P1: PushId = PushId(1);
const PART: u32 = limits::PUSH_PART_DEVICES_MAX as u32;

fn to(devices: impl IntoIterator<Item = u32>) -> NewPush {
    NewPush { to: To::Many(devices.into_iter().map(DeviceNumber).collect()), ..new(Order::Message) }
}

fn report(room: &Push, world: &World, device: u32, step: Step) {
    let receipt = Receipt { push: P1, device: DeviceNumber(device) };
    room.on_event(&Event::Receipt { receipt, step, at: contract::Clock::unix(world) });
}

/// How many deliveries of push 1 the store has, by state.
fn states(world: &World) -> Vec<(DeliveryState, usize)> {
    let deliveries = world.deliveries.lock();
    let of = |state| deliveries.values().filter(|delivery| delivery.push == P1 && delivery.state == state).count();
    DeliveryState::ALL.into_iter().map(|state| (state, of(state))).filter(|(_, count)| *count > 0).collect()
}

/// Does something while the store makes one batch after the other, no faster than the room takes turns.
async fn paced<T>(world: &World, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::task::yield_now() => world.batches.add_permits(1),
        }
    }
}

/// Waits until all is made. Each flush is a turn of the room.
async fn made(room: &Push, world: &World) {
    world.batches.add_permits(1_000_000);
    while !world.unmade.lock().is_empty() {
        room.flush().await;
    }
    room.flush().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_kept_with_its_audience_at_once_and_made_in_batches() {
    let world = World::new();
    let room = world.room().await;
    world.hold_batches();
    // In any order, some twice: each device gets it once.
    let push = room.submit(to((1..=2 * PART + 5).rev().chain([3, 4]))).await.unwrap();
    let mut journal = world.take();
    assert_eq!((push, journal[0].as_str()), (P1, "create 1 for [1000, 1000, 5]"));
    assert!(room.standing(P1).await.unwrap().1 >= 1005, "the caller does not wait for the batches");
    made(&room, &world).await;
    assert_eq!(states(&world), [(DeliveryState::Queued, 2005)]);
    assert_eq!((room.open_now(), room.submitted(), world.lines.lock().len()), (2005, 1, 2005));
    journal.extend(world.take());
    let makes: Vec<&String> = journal.iter().filter(|line| line.starts_with("make")).collect();
    assert_eq!(makes, ["make 1.0", "make 1.1", "make 1.2"]);
    let first_line = journal.iter().position(|line| line.starts_with("line 1 dev/d1/push")).unwrap();
    assert!(journal.iter().position(|line| line == "make 1.0").unwrap() < first_line, "nothing goes out that is not kept");
}

#[tokio::test(start_paused = true)]
async fn others_are_served_between_its_batches() {
    let world = World::new();
    let room = world.room().await;
    world.hold_batches();
    room.submit(to(1..=20 * PART)).await.unwrap();
    let other = paced(&world, room.submit(new(Order::Message))).await.unwrap();
    let third = paced(&world, room.submit(to([1, 2]))).await.unwrap();
    while room.standing(third).await.unwrap().1 > 0 {
        paced(&world, room.flush()).await;
    }
    assert_eq!(world.stored(other), "queued");
    assert!(room.standing(P1).await.unwrap().1 > 0, "pushes in the making take turns");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_every_device_is_through_or_rests() {
    let world = World::new();
    let room = world.room().await;
    room.submit(to(1..=PART + 2)).await.unwrap();
    let waiting = tokio::spawn({
        let room = room.clone();
        async move { room.wait_all(P1, Duration::from_secs(3600)).await.unwrap() }
    });
    made(&room, &world).await;
    for device in 2..=PART + 2 {
        report(&room, &world, device, Step::Delivered);
    }
    room.flush().await;
    assert!(!waiting.is_finished());
    report(&room, &world, 1, Step::Nobody { online: false });
    waiting.await.unwrap();
    assert_eq!(states(&world), [(DeliveryState::Queued, 1), (DeliveryState::Delivered, 1001)]);
    // One that is over already, and one that never was.
    room.wait_all(P1, Duration::from_secs(3600)).await.unwrap();
    room.wait_all(PushId(9), Duration::from_secs(3600)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_in_the_middle_is_cancelled_everywhere() {
    let world = World::new();
    let room = world.room().await;
    world.hold_batches();
    room.submit(to(1..=9 * PART)).await.unwrap();
    assert_eq!(paced(&world, room.cancel(P1)).await.unwrap(), 9000, "made or not");
    assert!(world.take().contains(&"cancel the rest of 1".to_owned()));
    made(&room, &world).await;
    assert_eq!(states(&world), [(DeliveryState::Cancelled, 9000)]);
    assert_eq!((room.open_now(), room.reached(DeliveryState::Cancelled)), (0, 9000));
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_where_it_was() {
    for (ttl_s, cancelled, states_wanted) in [
        (None, false, vec![(DeliveryState::Queued, 3000)]),
        (Some(0), false, vec![(DeliveryState::Expired, 3000)]),
        (None, true, vec![(DeliveryState::Cancelled, 3000)]),
    ] {
        let world = World::new();
        let room = world.room().await;
        world.hold_batches();
        room.submit(NewPush { ttl_s, ..to(1..=3 * PART) }).await.unwrap();
        if cancelled {
            paced(&world, room.cancel(P1)).await.unwrap();
        }
        let world = world.after_kill();
        let room = world.room().await;
        made(&room, &world).await;
        assert_eq!(states(&world), states_wanted, "{ttl_s:?} {cancelled}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_cannot_be_kept_is_tried_again() {
    let world = World::new();
    let room = world.room().await;
    room.submit(to(1..=2 * PART)).await.unwrap();
    world.broken.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(5)).await;
    room.preview(&to([1])).await.unwrap();
    world.broken.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    made(&room, &world).await;
    assert_eq!(states(&world), [(DeliveryState::Queued, 2000)]);
}

#[tokio::test(start_paused = true)]
async fn a_crowded_device_refuses_alone_and_nobody_is_an_error() {
    let world = World::new();
    let room = world.room().await;
    for _ in 0..limits::PENDING_PER_DEVICE_MAX {
        room.submit(NewPush { to: To::Many(vec![LAMP]), ..new(Order::Message) }).await.unwrap();
        room.flush().await;
    }
    while world.deliveries.lock().len() < limits::PENDING_PER_DEVICE_MAX {
        room.flush().await;
    }
    assert_eq!(room.preview(&to([1])).await.unwrap().into_iter().collect::<Vec<_>>(), [LAMP]);
    let push = room.submit(to([LAMP.0, 8])).await.unwrap();
    made(&room, &world).await;
    assert_eq!(world.stored(push), "refused: 100 pushes already wait for this device");
    assert_eq!(shown(&world.deliveries.lock()[&(push, DeviceNumber(8))]), "queued");
    assert!(matches!(room.submit(to([])).await, Err(SubmitError::Nobody)));
}

#[tokio::test(start_paused = true)]
async fn it_is_sent_again_where_it_did_not_arrive() {
    let world = World::new();
    let room = world.room().await;
    let terms = Terms { collapse: Some("colour".into()), ..Terms::default() };
    room.submit(NewPush { ttl_s: Some(90), terms, ..to(1..=5) }).await.unwrap();
    made(&room, &world).await;
    report(&room, &world, 1, Step::Delivered);
    report(&room, &world, 2, Step::Refused("too large".into()));
    report(&room, &world, 3, Step::Sent);
    room.flush().await;
    let again = |states: &[DeliveryState], key: Option<&str>| Resend {
        states: states.into(),
        sender: "test".into(),
        ttl_s: None,
        idempotency_key: key.map(Into::into),
    };
    let second = room.resend(P1, again(&Resend::STATES, Some("k"))).await.unwrap().unwrap();
    made(&room, &world).await;
    let kept = world.pushes.lock()[&second].clone();
    assert_eq!((kept.terms.resend_of, kept.terms.collapse.as_deref()), (Some(P1), Some("colour")));
    assert_eq!((&kept.payload[..], kept.expires.unwrap().0 - kept.created.0), (&b"on"[..], 90_000));
    assert_eq!(kept.audience, r#"{"push":1,"states":["failed","expired","refused"]}"#);
    let devices = || world.deliveries.lock().keys().filter(|(push, _)| *push == second).map(|(_, d)| d.0).collect::<Vec<_>>();
    assert_eq!(devices(), [2]);
    assert_eq!(room.resend(P1, again(&Resend::STATES, Some("k"))).await.unwrap(), Some(second), "the same key");
    assert!(matches!(room.resend(P1, again(&[DeliveryState::Failed], None)).await, Err(SubmitError::Nobody)));
    assert_eq!(room.resend(PushId(99), again(&Resend::STATES, None)).await.unwrap(), None);
    tokio::time::advance(Duration::from_secs(90)).await;
    room.flush().await;
    let third = room.resend(P1, Resend { ttl_s: Some(0), ..again(&Resend::STATES, None) }).await.unwrap().unwrap();
    made(&room, &world).await;
    assert_eq!(world.pushes.lock()[&third].expires, None);
    assert_eq!(world.deliveries.lock().keys().filter(|(push, _)| *push == third).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_many_wait_for_counts_once() {
    let world = World::new();
    let room = world.room().await;
    // A hundred thousand times this would be far beyond what may wait.
    let payload = Bytes::from(vec![b'x'; limits::PUSH_PAYLOAD_BYTES_MAX]);
    for _ in 0..3 {
        let devices = 1..=2 * limits::PENDING_BYTES_MAX as u32 / limits::PUSH_PAYLOAD_BYTES_MAX as u32;
        room.submit(NewPush { payload: payload.clone(), ..to(devices) }).await.unwrap();
        made(&room, &world).await;
    }
    let too_many = to(1..=limits::PENDING_DELIVERIES_MAX as u32);
    assert!(matches!(room.preview(&too_many).await, Err(SubmitError::Full)), "as would be said");
    assert!(matches!(room.submit(too_many).await, Err(SubmitError::Full)), "but there may be only so many");
}

#[tokio::test(start_paused = true)]
async fn the_same_key_is_the_same_push_whoever_is_there_by_now() {
    let world = World::new();
    let room = world.room().await;
    let keyed = |push: NewPush| NewPush { idempotency_key: Some("k".into()), ..push };
    room.submit(keyed(to([1, 2]))).await.unwrap();
    assert_eq!(room.submit(keyed(to([]))).await.unwrap(), P1);
}
