//! The hub as a whole, several shards in one thread, with MQTT as the language to speak to it: sessions
//! across lines, hand-overs, pushes and their receipts, slow readers, ends.

use contract::{Event, Refusal, Step, Ticket};
use model::limits::{Limits, QueuePolicy};
use model::{DeviceNumber, Message, PushId, Qos, Receipt, Topic, limits};
use protocols::mqtt::codec::{Kind, Level, Properties, Publish, put_ack, put_empty};
use testkit::{House, Keep, LineId};

mod clients;
use clients::{ack, connect, house, publish, received, subscribe};

fn push(house: &mut House, device: &str, number: DeviceNumber, payload: &'static str) {
    let receipt = Some(Receipt { push: PushId(1), device: number });
    let message = Message::new(Topic::of_device(device, "push"), payload, house.unix());
    house.push(number, Message { qos: Qos::AtLeastOnce, receipt, ..message });
}

/// The steps of pushes since the last look.
fn steps(house: &mut House) -> Vec<Step> {
    house.events().into_iter().filter_map(|e| if let Event::Receipt { step, .. } = e { Some(step) } else { None }).collect()
}

#[test]
fn messages_cross_shards_and_reach_each_subscriber_once() {
    for shards in 1..=3 {
        let (mut house, _) = house(shards);
        let lines = ["a", "b", "c"].map(|id| connect(&mut house, id, "same-name", true));
        for line in lines {
            assert_eq!(
                received(&mut house, line),
                ["connack Success present=false"],
                "one client id, three devices: no takeover"
            );
            subscribe(&mut house, line, "foo_topic", Qos::AtMostOnce);
            received(&mut house, line);
        }
        for sender in lines {
            publish(&mut house, sender, "foo_topic", b"hi", Qos::AtMostOnce);
            for line in lines {
                assert_eq!(received(&mut house, line), ["foo_topic hi id=0"], "{shards} shards");
            }
        }
        assert_eq!(house.connections(), 3);
    }
}

#[test]
fn a_newer_line_takes_the_session_over_and_the_older_will_speaks() {
    let (mut house, numbers) = house(2);
    let witness = connect(&mut house, "b", "w", true);
    subscribe(&mut house, witness, "gone", Qos::AtMostOnce);
    received(&mut house, witness);
    let old = connect(&mut house, "a", "x", true);
    let new = connect(&mut house, "a", "x", true);
    assert!(house.closed(old).unwrap().why.contains("taken over"));
    assert!(house.closed(new).is_none());
    assert_eq!(received(&mut house, witness), ["gone a id=0"]);
    let presence: Vec<bool> = house
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::LineOpened { device, .. } if *device == numbers["a"] => Some(true),
            Event::LineClosed { device, .. } if *device == numbers["a"] => Some(false),
            _ => None,
        })
        .collect();
    assert_eq!(presence, [true, false, true], "whoever counts lines never counts two");
    assert_eq!(house.connections(), 2);
}

#[test]
fn a_kept_session_waits_and_gives_what_came_meanwhile() {
    let (mut house, _) = house(2);
    let away = connect(&mut house, "a", "x", false);
    subscribe(&mut house, away, "t/+", Qos::AtLeastOnce);
    house.cut(away);
    assert_eq!(house.sessions(), (1, 1));
    let sender = connect(&mut house, "b", "s", true);
    publish(&mut house, sender, "t/1", b"first", Qos::AtLeastOnce);
    publish(&mut house, sender, "t/2", b"lost", Qos::AtMostOnce);
    publish(&mut house, sender, "t/3", b"second", Qos::AtLeastOnce);
    let back = connect(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), ["connack Success present=true", "t/1 first id=1", "t/3 second id=2"]);
    ack(&mut house, back, 1);
    house.cut(back);
    let again = connect(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, again), ["connack Success present=true", "t/3 second id=2 dup"]);
    // A clean start forgets all of it.
    let fresh = connect(&mut house, "a", "x", true);
    assert_eq!(received(&mut house, fresh), ["connack Success present=false"]);
    assert_eq!(house.sessions(), (2, 0));
}

#[test]
fn a_push_tells_every_step_of_its_fate() {
    let (mut house, numbers) = house(3);
    let lamp = numbers["lamp"];
    push(&mut house, "lamp", lamp, "1");
    assert_eq!(steps(&mut house), [Step::Nobody { online: false }]);
    let line = connect(&mut house, "lamp", "x", true);
    push(&mut house, "lamp", lamp, "2");
    assert_eq!(steps(&mut house), [Step::Nobody { online: true }]);
    subscribe(&mut house, line, "me/push", Qos::AtLeastOnce);
    assert!(house.events().iter().any(|e| matches!(e, Event::Listening { device } if *device == lamp)));
    received(&mut house, line);
    push(&mut house, "lamp", lamp, "3");
    assert_eq!(steps(&mut house), [Step::Sent]);
    assert_eq!(received(&mut house, line), ["me/push 3 id=1"]);
    ack(&mut house, line, 1);
    assert_eq!(steps(&mut house), [Step::Delivered]);
    ack(&mut house, line, 1);
    assert_eq!(steps(&mut house), [], "a second acknowledgement says nothing new");
    push(&mut house, "lamp", lamp, "4");
    house.cut(line);
    assert_eq!(steps(&mut house), [Step::Sent, Step::Lost], "nothing will resend it: the session ended with its line");
}

#[test]
fn a_push_in_flight_on_a_kept_session_is_resent_and_not_lost() {
    let (mut house, numbers) = house(2);
    let line = connect(&mut house, "lamp", "x", false);
    subscribe(&mut house, line, "me/push", Qos::AtLeastOnce);
    push(&mut house, "lamp", numbers["lamp"], "on");
    house.cut(line);
    assert_eq!(steps(&mut house), [Step::Sent]);
    push(&mut house, "lamp", numbers["lamp"], "off");
    assert_eq!(steps(&mut house), [Step::Nobody { online: false }], "the push room keeps it, not the session");
    let back = connect(&mut house, "lamp", "x", false);
    assert!(house.events().iter().any(|e| matches!(e, Event::Listening { .. })), "a resumed session listens at once");
    assert_eq!(received(&mut house, back), ["connack Success present=true", "me/push on id=1 dup"]);
    ack(&mut house, back, 1);
    assert_eq!(steps(&mut house), [Step::Delivered]);
}

#[test]
fn others_may_watch_a_push_but_only_its_device_speaks_for_it() {
    let (mut house, numbers) = house(2);
    house.gate().add_token("ci", "secret", model::Role::Owner);
    let line = connect(&mut house, "lamp", "x", true);
    subscribe(&mut house, line, "me/push", Qos::AtLeastOnce);
    let watcher = connect(&mut house, "token", "w", true);
    subscribe(&mut house, watcher, "dev/+/push", Qos::AtLeastOnce);
    received(&mut house, line);
    received(&mut house, watcher);
    push(&mut house, "lamp", numbers["lamp"], "on");
    assert_eq!(received(&mut house, watcher), ["dev/lamp/push on id=1"]);
    ack(&mut house, watcher, 1);
    assert_eq!(steps(&mut house), [Step::Sent], "the watcher's acknowledgement is not the lamp's");
    ack(&mut house, line, 1);
    assert_eq!(steps(&mut house), [Step::Delivered]);
}

#[test]
fn a_reader_that_stops_holds_a_bounded_queue_and_goes_on_in_order() {
    let (mut house, _) = house(2);
    let slow = connect(&mut house, "a", "x", true);
    subscribe(&mut house, slow, "t", Qos::AtMostOnce);
    received(&mut house, slow);
    house.set_stuck(slow, true);
    let sender = connect(&mut house, "b", "s", true);
    let big = vec![b'x'; 10_000];
    for n in 0..1000 {
        let mut payload = format!("{n:04}").into_bytes();
        payload.extend_from_slice(&big);
        publish(&mut house, sender, "t", &payload, Qos::AtMostOnce);
    }
    assert!(house.closed(slow).is_none(), "its own messages wait; nobody else suffers");
    house.set_stuck(slow, false);
    let numbers: Vec<usize> = received(&mut house, slow).iter().map(|p| p[2..6].parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers[0] == 0, "what arrives is in order");
    assert!(numbers.len() > 50 && numbers.len() < 200, "one queue of 1 MiB and what the wire took: {}", numbers.len());
    publish(&mut house, sender, "t", b"9999", Qos::AtMostOnce);
    assert_eq!(received(&mut house, slow), ["t 9999 id=0"]);
}

#[test]
fn what_happens_to_a_full_queue_is_the_owners_choice() {
    let cases = [(QueuePolicy::DropNewest, "0 1 2"), (QueuePolicy::DropOldest, "5 6 7"), (QueuePolicy::Disconnect, "")];
    for (queue_policy, kept) in cases {
        let limits = Limits { queue_messages: 3, queue_policy, ..Limits::default() };
        let mut house = House::with_limits(1, limits);
        for id in ["a", "b"] {
            house.gate().add_device(id, "secret", 7);
        }
        let slow = connect(&mut house, "a", "x", true);
        subscribe(&mut house, slow, "t", Qos::AtLeastOnce);
        received(&mut house, slow);
        let sender = connect(&mut house, "b", "s", true);
        // The window is full of messages that are never acknowledged; what comes now waits.
        for _ in 0..limits::INFLIGHT_MAX {
            publish(&mut house, sender, "t", b"w", Qos::AtLeastOnce);
        }
        received(&mut house, slow);
        house.events();
        for n in 0..8 {
            publish(&mut house, sender, "t", n.to_string().as_bytes(), Qos::AtLeastOnce);
        }
        let told = house
            .events()
            .into_iter()
            .filter(|e| matches!(e, Event::Faulted { close, .. } if close.why.contains("queue is full")));
        let most = if queue_policy == QueuePolicy::Disconnect { 2 } else { 1 };
        assert!((1..=most).contains(&told.count()), "the owner is told once, and once more of the end");
        assert_eq!(house.closed(slow).is_some(), queue_policy == QueuePolicy::Disconnect);
        for id in 1..=limits::INFLIGHT_MAX {
            ack(&mut house, slow, id);
        }
        let got: Vec<String> = received(&mut house, slow).iter().map(|p| p.split(' ').nth(1).unwrap_or("").to_owned()).collect();
        assert_eq!(got.join(" "), kept, "{queue_policy:?}");
    }
}

#[test]
fn a_peer_that_asks_without_reading_is_let_go() {
    let (mut house, _) = house(1);
    let rude = connect(&mut house, "a", "x", true);
    house.set_stuck(rude, true);
    let mut pings = Vec::new();
    (0..1000).for_each(|_| put_empty(&mut pings, Kind::Pingreq));
    for _ in 0..1000 {
        house.send(rude, &pings);
    }
    assert!(house.closed(rude).unwrap().why.contains("does not read"));
}

#[test]
fn an_answer_that_comes_too_late_reaches_nobody() {
    let (mut house, _) = house(2);
    house.set_keep(Keep::Manual);
    let line = connect(&mut house, "a", "x", true);
    publish(&mut house, line, "me/data", b"{}", Qos::AtLeastOnce);
    let ticket = tickets(&mut house)[0];
    assert_eq!(received(&mut house, line), ["connack Success present=false"], "not acknowledged before it is kept");
    house.cut(line);
    // The next line takes the same place; the old ticket must not acknowledge anything there.
    let next = connect(&mut house, "a", "x", true);
    house.published(ticket, Ok(()));
    assert_eq!(received(&mut house, next), ["connack Success present=false"]);
}

#[test]
fn only_what_a_room_keeps_waits_for_it() {
    let (mut house, _) = house(2);
    house.set_keep(Keep::Manual);
    let line = connect(&mut house, "a", "x", true);
    for topic in ["me/twin/reported", "me/answer/7", "me/data/x"] {
        publish(&mut house, line, topic, b"{}", Qos::AtLeastOnce);
        assert_eq!(tickets(&mut house).len(), 1, "{topic}");
    }
    let line = connect(&mut house, "a", "y", true);
    received(&mut house, line);
    for topic in ["me/twin/desired", "me/twin", "me/twin/reported/x", "me/log"] {
        publish(&mut house, line, topic, b"{}", Qos::AtLeastOnce);
        assert_eq!((tickets(&mut house).len(), received(&mut house, line).len()), (0, 1), "{topic} is acknowledged at once");
    }
}

/// The tickets of uploads since the last look.
fn tickets(house: &mut House) -> Vec<Ticket> {
    house.events().into_iter().filter_map(|e| if let Event::Up { ticket, .. } = e { ticket } else { None }).collect()
}

#[test]
fn an_exactly_once_upload_is_taken_once_even_when_its_line_breaks_while_it_is_kept() {
    let (mut house, _) = house(2);
    house.set_keep(Keep::Manual);
    let line = connect(&mut house, "a", "x", false);
    publish(&mut house, line, "me/data", b"{}", Qos::ExactlyOnce);
    publish(&mut house, line, "me/data", b"{}", Qos::ExactlyOnce);
    let first = tickets(&mut house);
    assert_eq!(first.len(), 1, "the repetition is not taken again");
    house.cut(line);
    let line = connect(&mut house, "a", "x", false);
    publish(&mut house, line, "me/data", b"{}", Qos::ExactlyOnce);
    assert_eq!(tickets(&mut house), []);
    assert_eq!(received(&mut house, line), ["connack Success present=true"], "nothing is acknowledged that is not kept");
    house.published(first[0], Ok(()));
    assert_eq!(received(&mut house, line), ["pubrec 9"], "on the line of this moment");
    publish(&mut house, line, "me/data", b"{}", Qos::ExactlyOnce);
    assert_eq!(received(&mut house, line), ["pubrec 9"]);
    assert_eq!(tickets(&mut house), []);

    let mut release = Vec::new();
    put_ack(&mut release, Kind::Pubrel, 9);
    house.send(line, &release);
    assert_eq!(received(&mut house, line), ["pubcomp 9"]);
    publish(&mut house, line, "me/data", b"{}", Qos::ExactlyOnce);
    let second = tickets(&mut house);
    assert_eq!(second.len(), 1, "the id is free again");
    house.cut(line);
    house.published(second[0], Err(Refusal::Unavailable));
    let line = connect(&mut house, "a", "x", false);
    publish(&mut house, line, "me/data", b"{}", Qos::ExactlyOnce);
    assert_eq!(tickets(&mut house).len(), 1, "what could not be kept counts as new");
}

#[test]
fn too_many_open_exactly_once_publishes_close() {
    let (mut house, _) = house(1);
    let line = connect(&mut house, "a", "x", true);
    for id in 1..=limits::INBOUND_OPEN_MAX as u16 + 1 {
        assert!(house.closed(line).is_none());
        let mut bytes = Vec::new();
        Publish { dup: false, qos: Qos::ExactlyOnce, retain: false, topic: "t", id, props: Properties::NONE, payload: b"" }
            .encode(Level::V311, &mut bytes)
            .unwrap();
        house.send(line, &bytes);
    }
    assert!(house.closed(line).is_some());
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member_wherever_it_lives() {
    let (mut house, _) = house(3);
    let members = ["a", "b", "c"].map(|id| connect(&mut house, id, "x", true));
    for line in members {
        subscribe(&mut house, line, "$share/workers/jobs/+", Qos::AtLeastOnce);
        received(&mut house, line);
    }
    let sender = connect(&mut house, "lamp", "s", true);
    for n in 0..9u8 {
        publish(&mut house, sender, "jobs/1", &[b'0' + n], Qos::AtMostOnce);
    }
    let shares = members.map(|line| received(&mut house, line).len());
    assert_eq!(shares, [3, 3, 3], "in turn");
    // A second group, and a plain subscription, have theirs beside it.
    subscribe(&mut house, members[0], "$share/others/jobs/#", Qos::AtMostOnce);
    subscribe(&mut house, members[1], "jobs/1", Qos::AtMostOnce);
    for line in members {
        received(&mut house, line);
    }
    publish(&mut house, sender, "jobs/1", b"x", Qos::AtMostOnce);
    let copies: usize = members.map(|line| received(&mut house, line).len()).iter().sum();
    assert_eq!(copies, 3);
}

#[test]
fn what_a_member_that_ends_has_not_acknowledged_goes_to_another() {
    let (mut house, _) = house(2);
    let dying = connect(&mut house, "a", "x", true);
    subscribe(&mut house, dying, "$share/workers/jobs", Qos::AtLeastOnce);
    let sender = connect(&mut house, "lamp", "s", true);
    publish(&mut house, sender, "jobs", b"1", Qos::AtLeastOnce);
    publish(&mut house, sender, "jobs", b"2", Qos::AtLeastOnce);
    assert_eq!(received(&mut house, dying), ["connack Success present=false", "suback", "jobs 1 id=1", "jobs 2 id=2"]);
    ack(&mut house, dying, 1);
    let other = connect(&mut house, "b", "x", true);
    subscribe(&mut house, other, "$share/workers/jobs", Qos::AtLeastOnce);
    received(&mut house, other);
    house.cut(dying);
    assert_eq!(received(&mut house, other), ["jobs 2 id=1"]);
    // A member that is only away keeps its session; new jobs go to those who are here.
    let away = connect(&mut house, "c", "x", false);
    subscribe(&mut house, away, "$share/workers/jobs", Qos::AtLeastOnce);
    house.cut(away);
    for payload in [b"3", b"4", b"5"] {
        publish(&mut house, sender, "jobs", payload, Qos::AtLeastOnce);
    }
    assert_eq!(received(&mut house, other), ["jobs 3 id=2", "jobs 4 id=3", "jobs 5 id=4"]);
    house.cut(other);
    let back = connect(&mut house, "c", "x", false);
    let mut jobs = received(&mut house, back);
    jobs.remove(0);
    assert_eq!(jobs, ["jobs 2 id=1", "jobs 3 id=2", "jobs 4 id=3", "jobs 5 id=4"], "nobody else was left");
}

#[test]
fn a_removed_device_is_gone_at_once_without_its_will() {
    let (mut house, numbers) = house(2);
    let witness = connect(&mut house, "b", "w", true);
    subscribe(&mut house, witness, "gone", Qos::AtMostOnce);
    received(&mut house, witness);
    let line = connect(&mut house, "a", "kept", false);
    let away = connect(&mut house, "a", "away", false);
    house.cut(away);
    received(&mut house, witness);
    house.kick(numbers["a"], "the device was removed", true);
    assert!(house.closed(line).is_some());
    assert_eq!(received(&mut house, witness), [] as [&str; 0]);
    assert_eq!(house.sessions(), (1, 0), "nothing of the device is kept");
}

#[test]
fn whose_admission_was_taken_back_on_the_way_does_not_come_in() {
    // On one shard and on its way between several.
    for shards in 1..=4 {
        let (mut house, numbers) = house(shards);
        house.gate().turn_away(numbers["a"]);
        let line = connect(&mut house, "a", "late", false);
        assert!(house.closed(line).is_some(), "{shards}");
        assert_eq!(house.sessions(), (0, 0), "nothing of it is kept");
        let other = connect(&mut house, "b", "in time", true);
        assert!(house.closed(other).is_none());
    }
}

/// Random lives of a few devices: whatever happens, places and sessions are given back and packets are whole.
#[test]
fn nothing_leaks_whatever_happens() {
    arbtest::arbtest(|u| {
        let (mut house, numbers) = house(u.int_in_range(1..=3)?);
        let mut open: Vec<LineId> = Vec::new();
        for _ in 0..u.int_in_range(0..=40)? {
            let device = *u.choose(&["a", "b", "c"])?;
            match u.int_in_range(0..=7)? {
                0 | 1 => {
                    let client = *u.choose(&["x", "y"])?;
                    open.push(connect(&mut house, device, client, u.arbitrary()?));
                }
                2 if !open.is_empty() => {
                    let line = open.swap_remove(u.choose_index(open.len())?);
                    house.cut(line);
                }
                3 if !open.is_empty() => subscribe(&mut house, *u.choose(&open)?, "me/push", Qos::AtLeastOnce),
                4 if !open.is_empty() => subscribe(&mut house, *u.choose(&open)?, "t/#", Qos::AtLeastOnce),
                5 if !open.is_empty() => publish(&mut house, *u.choose(&open)?, "t/1", b"m", Qos::AtLeastOnce),
                6 => push(&mut house, device, numbers[device], "p"),
                7 => house.advance_ms(u.int_in_range(0..=5000)?),
                _ => {}
            }
            for line in &open {
                received(&mut house, *line);
            }
        }
        assert!(house.connections() <= open.len());
        open.into_iter().for_each(|line| house.cut(line));
        for device in ["a", "b", "c"] {
            house.kick(numbers[device], "the end", true);
        }
        assert_eq!(house.connections(), 0);
        assert_eq!(house.sessions(), (0, 0));
        Ok(())
    });
}
