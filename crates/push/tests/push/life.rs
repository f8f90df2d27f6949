//! The life of a delivery, told as a journal of the store, the bus and the line. "store" always stands
//! before the "tell" of the same state: nobody hears of what is not kept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::house::*;
use bytes::Bytes;
use contract::event::Change;
use contract::{Consumer, Event, Step};
use model::{DeliveryState, Millis, Order, PushId, limits};
use push::{SubmitError, WaitFor};

const P1: PushId = PushId(1);

#[tokio::test(start_paused = true)]
async fn a_push_is_kept_before_it_is_told_and_told_before_it_goes_out() {
    let world = World::new();
    let room = world.room().await;
    assert_eq!(room.submit(new(Order::Message)).await.unwrap(), P1);
    room.flush().await;
    assert_eq!(world.take(), ["create 1", "tell 1 queued", "line 1 dev/lamp/push on"]);
    step(&room, &world, P1, Step::Sent);
    room.flush().await;
    assert_eq!(world.take(), ["store 1 sent", "tell 1 sent"]);
    step(&room, &world, P1, Step::Delivered);
    room.flush().await;
    assert_eq!(world.take(), ["store 1 delivered", "tell 1 delivered"]);
    assert_eq!(room.open_now(), 0, "nothing more can be told of a plain message");
    assert_eq!((room.submitted(), room.reached(DeliveryState::Delivered)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn steps_that_came_together_are_stored_at_once_and_told_one_by_one() {
    let world = World::new();
    let room = world.room().await;
    room.submit(new(Order::Ask)).await.unwrap();
    room.flush().await;
    assert_eq!(world.take()[2], "line 1 dev/lamp/ask/1 on");
    step(&room, &world, P1, Step::Sent);
    step(&room, &world, P1, Step::Delivered);
    answer(&room, &world, "answer/1", "21.5", 4);
    room.flush().await;
    assert_eq!(
        world.take(),
        ["store 1 applied = 21.5", "tell 1 sent", "tell 1 delivered", "tell 1 applied = 21.5", "ticket 4 Ok(())"]
    );
    let passed: Vec<DeliveryState> = world.passed.lock().iter().map(|(_, step)| step.state).collect();
    assert_eq!(passed, [DeliveryState::Sent, DeliveryState::Delivered], "and what was between is not lost");
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_overtake_the_acknowledgement_and_stays() {
    let world = World::new();
    let room = world.room().await;
    room.submit(new(Order::Ask)).await.unwrap();
    step(&room, &world, P1, Step::Sent);
    answer(&room, &world, "answer/1", "done", 4);
    step(&room, &world, P1, Step::Delivered);
    step(&room, &world, P1, Step::Lost);
    room.flush().await;
    assert_eq!(world.stored(P1), "applied = done");
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_an_error_is_a_failure_and_any_other_is_not() {
    let rows = [
        (r#" {"error":"no relay","code":3}"#, r#"failed: no relay =  {"error":"no relay","code":3}"#),
        (r#"{"error":null}"#, r#"applied = {"error":null}"#),
        (r#"{"state":"on"}"#, r#"applied = {"state":"on"}"#),
        (r#"["error"]"#, r#"applied = ["error"]"#),
        ("{", "applied = {"),
        ("", "applied = "),
    ];
    for (body, want) in rows {
        let world = World::new();
        let room = world.room().await;
        room.submit(new(Order::Ask)).await.unwrap();
        answer(&room, &world, "answer/1", body, 4);
        room.flush().await;
        assert_eq!(world.stored(P1), want);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_hub_s_steps_are_kept_and_long_ones_are_cut() {
    let world = World::new();
    let room = world.room().await;
    let reboot = Order::Command { verb: "reboot".into() };
    for _ in 0..3 {
        room.submit(new(reboot.clone())).await.unwrap();
    }
    room.flush().await;
    assert!(world.take().contains(&"line 1 dev/lamp/cmd/reboot/1 on".to_owned()));
    step(&room, &world, P1, Step::Applied(Bytes::from_static(b"ok")));
    step(&room, &world, PushId(2), Step::Failed("the firmware said 4".into(), Bytes::from_static(b"\x04")));
    step(&room, &world, PushId(3), Step::Applied(Bytes::from(vec![b'x'; limits::ANSWER_BYTES_MAX + 1])));
    room.flush().await;
    assert_eq!(world.stored(P1), "applied = ok");
    assert_eq!(world.stored(PushId(2)), "failed: the firmware said 4 = \u{4}");
    assert!(world.stored(PushId(3)).starts_with("applied: the answer had 65537 bytes; the first 65536 are kept = xx"));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_answer_is_acknowledged_and_a_stranger_s_is_not() {
    let world = World::new();
    let room = world.room().await;
    room.submit(new(Order::Ask)).await.unwrap();
    room.flush().await;
    world.take();
    answer(&room, &world, "answer/1", "first", 4);
    answer(&room, &world, "answer/1", "first", 5);
    answer(&room, &world, "answer/2", "unknown", 6);
    answer(&room, &world, "answer/x", "no number", 7);
    answer(&room, &world, "answer", "no id", 8);
    answer(&room, &world, "data", "not ours", 9);
    room.flush().await;
    let refused = "Err(NotAllowed)";
    assert_eq!(
        world.take()[2..],
        [
            "ticket 4 Ok(())".to_owned(),
            "ticket 5 Ok(())".to_owned(),
            format!("ticket 6 {refused}"),
            format!("ticket 7 {refused}"),
            format!("ticket 8 {refused}"),
        ]
    );
    assert_eq!(world.stored(P1), "applied = first");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_given_rests_until_the_device_listens_and_goes_out_in_order() {
    let world = World::new();
    let room = world.room().await;
    for id in 1..=3 {
        room.submit(new(Order::Message)).await.unwrap();
        step(&room, &world, PushId(id), Step::Nobody { online: id == 2 });
    }
    room.flush().await;
    assert_eq!(world.stored(P1), "queued: the device is away");
    assert_eq!(world.stored(PushId(2)), "queued: the device is online but has not subscribed to me/push");
    world.take();
    world.lines.lock().clear();
    // Twice, as a device that subscribes to two topics does: nothing goes out twice.
    listening(&room);
    listening(&room);
    room.flush().await;
    let out: Vec<u64> = world.lines.lock().iter().map(|message| message.receipt.unwrap().push.0).collect();
    assert_eq!(out, [1, 2, 3]);
    // The same refusal again is no news, and is not written again.
    world.take();
    step(&room, &world, P1, Step::Nobody { online: false });
    room.flush().await;
    assert_eq!(world.take(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_lost_line_queues_again_and_tries_another_line_at_once() {
    let world = World::new();
    let room = world.room().await;
    room.submit(new(Order::Message)).await.unwrap();
    step(&room, &world, P1, Step::Sent);
    room.flush().await;
    world.take();
    step(&room, &world, P1, Step::Lost);
    room.flush().await;
    let lost = "queued: the line broke before the device acknowledged it; it is sent again";
    assert_eq!(world.take(), [format!("store 1 {lost}"), format!("tell 1 {lost}"), "line 1 dev/lamp/push on".into()]);
    step(&room, &world, P1, Step::Nobody { online: false });
    room.flush().await;
    assert_eq!(world.stored(P1), "queued: the device is away");
    // Once acknowledged, a lost line takes nothing back.
    listening(&room);
    step(&room, &world, P1, Step::Delivered);
    step(&room, &world, P1, Step::Lost);
    room.flush().await;
    assert_eq!(world.stored(P1), "delivered");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_takes_no_more_is_given_a_rest() {
    let world = World::new();
    let room = world.room().await;
    room.submit(new(Order::Message)).await.unwrap();
    room.flush().await;
    world.take();
    // The session's queue is full: giving it again at once would turn in a circle.
    for _ in 0..3 {
        step(&room, &world, P1, Step::Lost);
        room.flush().await;
        assert_eq!(world.take(), Vec::<String>::new());
        tokio::time::sleep(std::time::Duration::from_millis(1_001)).await;
        assert_eq!(world.take(), ["line 1 dev/lamp/push on"]);
    }
    step(&room, &world, P1, Step::Delivered);
    room.flush().await;
    assert_eq!(world.stored(P1), "delivered");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_acknowledges_nothing_can_be_pushed_to_all_the_same() {
    let world = World::new();
    let room = world.room().await;
    let many = limits::PENDING_PER_DEVICE_MAX as u64 + 2;
    for id in 1..=many {
        room.submit(new(Order::Message)).await.unwrap();
        step(&room, &world, PushId(id), Step::Sent);
    }
    room.flush().await;
    let let_go =
        "expired: it was sent, and neither it nor the many after it were acknowledged; let the device subscribe with QoS 1";
    assert_eq!((world.stored(P1), world.stored(PushId(2))), (let_go.to_owned(), let_go.to_owned()));
    assert_eq!(world.stored(PushId(3)), "sent");
    assert_eq!(room.open_now(), limits::PENDING_PER_DEVICE_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_answers_is_refused_beyond_a_bound() {
    let world = World::new();
    let room = world.room().await;
    let body = "x".repeat(1_000_000);
    let many = 2 * limits::ANSWERS_WAITING_BYTES_MAX / body.len();
    // Nothing is awaited here, so the room's task does not run: everything waits.
    for token in 0..many {
        answer(&room, &world, "answer/1", &body, token as u32);
    }
    let refused = world.take();
    assert!(refused.len() >= many / 2 && refused.iter().all(|line| line.ends_with("Err(Unavailable)")), "{}", refused.len());
    room.flush().await;
    let answered = world.take().len();
    assert_eq!(refused.len() + answered, many, "whoever waits gets an answer");
    answer(&room, &world, "answer/1", "late", 7);
    room.flush().await;
    assert_eq!(world.take(), ["ticket 7 Err(NotAllowed)"], "there is room again");
}

#[tokio::test(start_paused = true)]
async fn what_nothing_will_acknowledge_is_let_go_and_not_sent_again_after_a_restart() {
    let sent = "sent: the device subscribed with QoS 0 and acknowledges nothing; let it subscribe with QoS 1";
    let world = World::new();
    let room = world.room().await;
    room.submit(new(Order::Message)).await.unwrap();
    room.submit(new(Order::Ask)).await.unwrap();
    step(&room, &world, P1, Step::SentAtMostOnce);
    step(&room, &world, PushId(2), Step::SentAtMostOnce);
    room.flush().await;
    assert_eq!((world.stored(P1), world.stored(PushId(2))), (sent.to_owned(), sent.to_owned()));
    assert_eq!(room.open_now(), 1, "only the ask has something to come");
    drop(room);
    world.take();
    let room = world.room().await;
    listening(&room);
    room.flush().await;
    assert_eq!(world.take(), Vec::<String>::new(), "neither goes out a second time");
    assert_eq!(room.open_now(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_nothing_and_claims_nothing() {
    let world = World::new();
    let room = world.room().await;
    for id in 1..=5 {
        let mut push = new(if id < 4 { Order::Ask } else { Order::Message });
        push.ttl_s = (id == 5).then_some(0);
        room.submit(push).await.unwrap();
    }
    step(&room, &world, P1, Step::Nobody { online: false });
    step(&room, &world, PushId(2), Step::Sent);
    step(&room, &world, PushId(3), Step::Delivered);
    step(&room, &world, PushId(4), Step::Delivered);
    room.flush().await;
    drop(room);

    let room = world.room().await;
    room.flush().await;
    assert_eq!(world.stored(P1), "queued: the device is away");
    assert_eq!(world.stored(PushId(2)), "queued: the server restarted before the device acknowledged it; it is sent again");
    assert_eq!(world.stored(PushId(3)), "delivered");
    assert_eq!(world.stored(PushId(4)), "delivered");
    assert_eq!(world.stored(PushId(5)), "expired: the server restarted, and the push was for that moment only");
    world.take();
    answer(&room, &world, "answer/3", "late", 1);
    listening(&room);
    room.flush().await;
    assert_eq!(
        world.take(),
        [
            "store 3 applied = late",
            "tell 3 applied = late",
            "ticket 1 Ok(())",
            "line 1 dev/lamp/ask/1 on",
            "line 2 dev/lamp/ask/2 on"
        ]
    );
    assert_eq!(room.submit(new(Order::Message)).await.unwrap(), PushId(6), "numbers are never used again");
}

#[tokio::test(start_paused = true)]
async fn time_runs_out_for_what_is_not_acknowledged() {
    let world = World::new();
    let room = world.room().await;
    for id in 1..=3 {
        let mut push = new(Order::Ask);
        push.ttl_s = Some(10 * id);
        room.submit(push).await.unwrap();
    }
    step(&room, &world, P1, Step::Nobody { online: false });
    step(&room, &world, PushId(2), Step::Sent);
    step(&room, &world, PushId(3), Step::Delivered);
    room.flush().await;
    assert_eq!(world.lines.lock()[0].expires, Some(Millis(10_000)));
    tokio::time::advance(Duration::from_millis(9_999)).await;
    room.flush().await;
    assert_eq!(world.stored(P1), "queued: the device is away");
    // The timer fires by itself; who waits for a later delivery hears of it.
    let waited = room.wait(PushId(2), WaitFor::Final, Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(shown(&waited), "expired: its time ran out before the device acknowledged it");
    assert_eq!(world.stored(P1), "expired: its time ran out while it waited: the device is away");
    tokio::time::advance(Duration::from_secs(3600)).await;
    room.flush().await;
    assert_eq!(world.stored(PushId(3)), "delivered", "an acknowledged one cannot expire");
    answer(&room, &world, "answer/3", "at last", 1);
    room.flush().await;
    assert_eq!(world.stored(PushId(3)), "applied = at last");
    assert_eq!(room.open_now(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_awaited_for_ever() {
    let world = World::new();
    let room = world.room().await;
    for id in 0..limits::PENDING_PER_DEVICE_MAX as u64 + 1 {
        room.submit(new(Order::Ask)).await.unwrap();
        step(&room, &world, PushId(id + 1), Step::Delivered);
    }
    room.flush().await;
    assert_eq!(room.open_now(), limits::PENDING_PER_DEVICE_MAX, "the oldest was let go");
    tokio::time::advance(Duration::from_secs(limits::ANSWER_S_MAX + 1)).await;
    room.flush().await;
    assert_eq!(room.open_now(), 0);
    assert_eq!(world.stored(P1), "delivered");
}

#[tokio::test(start_paused = true)]
async fn now_or_never_is_not_queued() {
    let world = World::new();
    let room = world.room().await;
    let push = push::NewPush { ttl_s: Some(0), ..new(Order::Message) };
    room.submit(push).await.unwrap();
    step(&room, &world, P1, Step::Nobody { online: false });
    room.flush().await;
    assert_eq!(world.stored(P1), "expired: the device is away, and the push was for this moment only");
}

#[tokio::test(start_paused = true)]
async fn a_sender_may_take_it_back_until_it_is_acknowledged() {
    let world = World::new();
    let room = world.room().await;
    for _ in 0..3 {
        room.submit(new(Order::Ask)).await.unwrap();
    }
    step(&room, &world, PushId(2), Step::Sent);
    step(&room, &world, PushId(3), Step::Delivered);
    assert_eq!(room.cancel(P1).await.unwrap(), 1);
    assert_eq!(room.cancel(PushId(2)).await.unwrap(), 1);
    assert_eq!(room.cancel(PushId(3)).await.unwrap(), 0);
    assert_eq!(room.cancel(PushId(9)).await.unwrap(), 0);
    assert_eq!(world.stored(P1), "cancelled");
    assert_eq!(world.stored(PushId(2)), "cancelled: it was already sent; the device may still act on it");
    assert_eq!(world.stored(PushId(3)), "delivered");
    step(&room, &world, P1, Step::Delivered);
    room.flush().await;
    assert_eq!(world.stored(P1), "cancelled");
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_does_not_go_out_again() {
    let world = World::new();
    let room = world.room().await;
    room.submit(new(Order::Message)).await.unwrap();
    room.flush().await;
    world.take();
    // Both wait for the room at once: by the time the message could go out again, it is cancelled.
    step(&room, &world, P1, Step::Lost);
    assert_eq!(room.cancel(P1).await.unwrap(), 1);
    room.flush().await;
    assert!(!world.take().iter().any(|line| line.starts_with("line")));
}

#[tokio::test(start_paused = true)]
async fn a_refused_or_removed_device_ends_it() {
    let world = World::new();
    let room = world.room().await;
    for _ in 0..3 {
        room.submit(new(Order::Ask)).await.unwrap();
    }
    step(&room, &world, P1, Step::Refused("too long for this firmware; send at most 4000 bytes".into()));
    step(&room, &world, PushId(3), Step::Delivered);
    room.on_event(&Event::DeviceChanged { device: LAMP, change: Change::Edited });
    room.on_event(&Event::DeviceChanged { device: LAMP, change: Change::Removed });
    room.flush().await;
    assert_eq!(world.stored(P1), "refused: too long for this firmware; send at most 4000 bytes");
    assert_eq!(world.stored(PushId(2)), "refused: the device was removed");
    assert_eq!(world.stored(PushId(3)), "delivered");
    assert_eq!(room.open_now(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_key_is_one_push_even_when_asked_twice_at_once() {
    let world = World::new();
    let room = world.room().await;
    let keyed = |key: &str| push::NewPush { idempotency_key: Some(key.into()), ..new(Order::Message) };
    let (a, b, c) = tokio::join!(room.submit(keyed("k")), room.submit(keyed("k")), room.submit(keyed("other")));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!(a, b);
    assert_ne!(a, c);
    assert_eq!(world.pushes.lock().len(), 2);
    let room = world.room().await;
    assert_eq!(room.submit(keyed("k")).await.unwrap(), a, "a restart does not forget it");
    assert!(matches!(room.submit(keyed("")).await, Err(SubmitError::BadKey)));
}

#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_limits_is_not_taken() {
    let world = World::new();
    let room = world.room().await;
    let large = push::NewPush { payload: vec![0; limits::PUSH_PAYLOAD_BYTES_MAX + 1].into(), ..new(Order::Message) };
    assert!(matches!(room.submit(large).await, Err(SubmitError::TooLarge)));
    let verb = new(Order::Command { verb: "a/b".into() });
    assert!(matches!(room.submit(verb).await, Err(SubmitError::BadVerb)));
    let long = push::NewPush { ttl_s: Some(limits::PUSH_TTL_S_MAX + 1), ..new(Order::Message) };
    assert!(matches!(room.submit(long).await, Err(SubmitError::BadTtl)));
    // All at once, so that the limit holds within one batch too.
    let all = (0..=limits::PENDING_PER_DEVICE_MAX).map(|_| room.submit(new(Order::Message)));
    let results = futures_util::future::join_all(all).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), limits::PENDING_PER_DEVICE_MAX);
    assert!(matches!(results.last().unwrap(), Err(SubmitError::DeviceFull)));
    step(&room, &world, P1, Step::Delivered);
    room.flush().await;
    assert!(room.submit(new(Order::Message)).await.is_ok(), "room was made");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_what_was_waited_for() {
    let world = World::new();
    let room = world.room().await;
    let long = Duration::from_secs(60);
    let id = room.submit(new(Order::Ask)).await.unwrap();
    let wait = |until| room.wait(id, until, long);
    let play = async {
        step(&room, &world, id, Step::Sent);
        room.flush().await;
        step(&room, &world, id, Step::Delivered);
        room.flush().await;
        answer(&room, &world, "answer/1", "yes", 1);
    };
    let (delivered, applied, ()) = tokio::join!(wait(WaitFor::Delivered), wait(WaitFor::Final), play);
    assert_eq!(shown(&delivered.unwrap().unwrap()), "delivered");
    assert_eq!(shown(&applied.unwrap().unwrap()), "applied = yes");
    // It is over already: the store answers.
    assert_eq!(shown(&wait(WaitFor::Final).await.unwrap().unwrap()), "applied = yes");
    assert!(room.wait(PushId(99), WaitFor::Final, long).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_plain_message_ends_with_the_acknowledgement() {
    let world = World::new();
    let room = world.room().await;
    let id = room.submit(new(Order::Message)).await.unwrap();
    step(&room, &world, id, Step::Delivered);
    let got = room.wait(id, WaitFor::Final, Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(shown(&got), "delivered");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_device_that_is_away_nor_longer_than_asked() {
    let world = World::new();
    let room = world.room().await;
    let started = tokio::time::Instant::now();
    let id = room.submit(new(Order::Ask)).await.unwrap();
    let nobody = async { step(&room, &world, id, Step::Nobody { online: false }) };
    let (got, ()) = tokio::join!(room.wait(id, WaitFor::Final, Duration::from_secs(60)), nobody);
    assert_eq!(shown(&got.unwrap().unwrap()), "queued: the device is away");
    // The same for one that was resting before.
    let got = room.wait(id, WaitFor::Final, Duration::from_secs(60)).await.unwrap();
    assert_eq!(shown(&got.unwrap()), "queued: the device is away");
    assert_eq!(started.elapsed(), Duration::ZERO, "neither took any time");
    listening(&room);
    step(&room, &world, id, Step::Sent);
    let got = room.wait(id, WaitFor::Final, Duration::from_secs(5)).await.unwrap();
    assert_eq!(shown(&got.unwrap()), "sent");
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_store_in_trouble_delays_the_news_and_loses_none() {
    let world = World::new();
    let room = world.room().await;
    room.submit(new(Order::Ask)).await.unwrap();
    room.flush().await;
    world.take();
    world.broken.store(true, Ordering::Relaxed);
    step(&room, &world, P1, Step::Sent);
    answer(&room, &world, "answer/1", "yes", 4);
    assert!(matches!(room.submit(new(Order::Message)).await, Err(SubmitError::Store(_))));
    assert_eq!(world.take(), ["ticket 4 Err(Unavailable)"]);
    world.broken.store(false, Ordering::Relaxed);
    room.flush().await;
    assert_eq!(world.take(), ["store 1 applied = yes", "tell 1 sent", "tell 1 applied = yes"]);
}
