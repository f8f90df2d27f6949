//! Old pushes go when they are over, and not before.

use std::time::Duration;

use contract::{Clock, Step};
use model::{DeviceNumber, Order, PushId, UnixMs, limits};
use push::{NewPush, To};
use tokio::time::advance;

use crate::house::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn many(devices: u32, order: Order) -> NewPush {
    NewPush { to: To::Many((1..=devices).map(DeviceNumber).collect()), ttl_s: Some(365 * 24 * 3600), ..new(order) }
}

#[tokio::test(start_paused = true)]
async fn what_is_over_goes_and_what_is_not_stays() {
    let world = World::new();
    let room = world.room().await;
    // 1 is done; 2 waits for its answer; 3 waits for the device; 4 is not begun.
    for order in [Order::Message, Order::Ask, Order::Message] {
        room.submit(NewPush { ttl_s: Some(365 * 24 * 3600), ..new(order) }).await.unwrap();
    }
    for push in [1, 2] {
        step(&room, &world, PushId(push), Step::Sent);
        step(&room, &world, PushId(push), Step::Delivered);
    }
    let starts = UnixMs(world.unix().0 + 10 * DAY.as_millis() as i64);
    let later = NewPush { terms: model::Terms { starts: Some(starts), ..Default::default() }, ..new(Order::Message) };
    room.submit(later).await.unwrap();
    room.flush().await;
    assert_eq!(room.prune(world.unix()).await.unwrap(), 0, "nothing was made before this moment");
    advance(Duration::from_secs(60)).await;
    let now = world.unix();
    assert_eq!(room.prune(now).await.unwrap(), 1);
    let left = |world: &World| world.pushes.lock().keys().map(|push| push.0).collect::<Vec<_>>();
    assert_eq!(left(&world), [2, 3, 4]);
    assert!(world.deliveries.lock().keys().all(|(push, _)| push.0 != 1));

    answer(&room, &world, "answer/2", "done", 7);
    room.flush().await;
    assert_eq!((room.prune(now).await.unwrap(), left(&world)), (1, vec![3, 4]));
    // After a restart the room knows what is open as before.
    let world = world.after_kill();
    let room = world.room().await;
    assert_eq!((room.prune(UnixMs(i64::MAX)).await.unwrap(), left(&world)), (0, vec![3, 4]));
    room.cancel(PushId(3)).await.unwrap();
    room.cancel(PushId(4)).await.unwrap();
    room.flush().await;
    assert_eq!((room.prune(UnixMs(i64::MAX)).await.unwrap(), left(&world)), (2, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_large_one_goes_in_steps_and_pushes_do_not_wait_for_it() {
    let world = World::new();
    let room = world.room().await;
    let devices = limits::PUSH_PRUNE_ROWS_MAX as u32 * 3 + 5;
    room.submit(many(devices, Order::Message)).await.unwrap();
    while room.standing(PushId(1)).await.unwrap().1 > 0 {
        room.flush().await;
    }
    room.cancel(PushId(1)).await.unwrap();
    room.flush().await;
    world.take();
    let pruning = tokio::spawn({
        let room = room.clone();
        async move { room.prune(UnixMs(i64::MAX)).await }
    });
    // A push that comes between two steps has its turn before the next.
    while !world.journal.lock().iter().any(|line| line.starts_with("prune")) {
        tokio::task::yield_now().await;
    }
    assert_eq!(room.submit(new(Order::Message)).await.unwrap(), PushId(2));
    assert_eq!(pruning.await.unwrap().unwrap(), 1);
    let journal = world.take();
    let steps: Vec<&String> = journal.iter().filter(|line| line.starts_with("prune")).collect();
    assert_eq!(steps, ["prune 1000 of 1", "prune 1000 of 1", "prune 1000 of 1", "prune 1"]);
    let place = |wanted: &str| journal.iter().position(|line| line == wanted).unwrap();
    assert!(place("create 2") < place("prune 1"), "{journal:?}");
    assert!(world.deliveries.lock().keys().all(|(push, _)| push.0 == 2));
}

#[tokio::test(start_paused = true)]
async fn it_happens_by_itself_after_so_many_days() {
    let world = World::new();
    let room = world.room().await;
    room.keep_for(30, world.clone());
    room.submit(new(Order::Message)).await.unwrap();
    step(&room, &world, PushId(1), Step::Sent);
    step(&room, &world, PushId(1), Step::Delivered);
    room.flush().await;
    tokio::time::sleep(29 * DAY).await;
    assert_eq!(world.pushes.lock().len(), 1);
    tokio::time::sleep(2 * DAY).await;
    assert_eq!(world.pushes.lock().len(), 0);
}
