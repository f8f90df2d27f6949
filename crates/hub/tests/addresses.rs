//! Messages to a number, on one shard and on several: who gets them, who may write to whom, what a sender is
//! told, and what a kept session keeps.

use contract::store::StoreError;
use contract::{Event, Reached, Refusal};
use model::{Address, DeviceNumber, Message, Qos, Topic, limits};
use testkit::{Disk, House, LineId};

mod clients;
use clients::{connect, connect_5, connect_without_will, house, publish, publish_as, received, subscribe, subscribe_5};

/// A page that is open.
const PAGE: Address = Address(u32::MAX);

/// What became of what the platform sent, since the last look.
fn outcomes(house: &mut House) -> Vec<(u64, Result<Reached, Refusal>)> {
    let sent = |event| if let Event::Sent { send, result } = event { Some((send, result)) } else { None };
    house.events().into_iter().filter_map(sent).collect()
}

/// The platform sends to a device for a page.
fn send(house: &mut House, send: u64, id: &str, number: DeviceNumber, text: &'static str) {
    let message = Message::new(Topic::of_device(id, &format!("from/{PAGE}")), text, house.unix());
    house.send_to(send, PAGE, number, Message { qos: Qos::AtLeastOnce, ..message });
}

/// A device writes to a number, at QoS 1, and what came of it is told by the events: nothing but an
/// acknowledgement is said in 3.1.1.
fn write(house: &mut House, line: LineId, to: Address, text: &[u8]) {
    publish(house, line, &format!("me/to/{to}"), text, Qos::AtLeastOnce);
}

#[test]
fn a_number_is_reached_wherever_it_lives_and_nobody_else_sees_it() {
    for shards in 1..=4 {
        let (mut house, numbers) = house(shards);
        let lines = ["a", "b", "c"].map(|id| connect(&mut house, id, "x", true));
        for line in lines {
            subscribe(&mut house, line, "me/from/+", Qos::AtMostOnce);
            subscribe(&mut house, line, "me/#", Qos::AtMostOnce);
            received(&mut house, line);
        }
        for (from, sender) in lines.into_iter().zip(["a", "b", "c"]) {
            for (to, line) in [("a", lines[0]), ("b", lines[1]), ("c", lines[2])] {
                write(&mut house, from, numbers[to].into(), b"hi");
                let (told, came) = (received(&mut house, from), received(&mut house, line));
                let message = format!("me/from/{} hi id=0", numbers[sender]);
                if from == line {
                    let mut told = told;
                    told.sort();
                    assert_eq!(told, [message, "puback".to_owned()], "{shards} shards: one may write to oneself");
                } else {
                    assert_eq!((told, came), (vec!["puback".to_owned()], vec![message]), "{shards} shards, {sender} to {to}");
                }
            }
        }
        assert!(lines.iter().all(|line| received(&mut house, *line).is_empty()));
    }
}

#[test]
fn what_a_device_is_told_of_its_sender_is_true() {
    let (mut house, numbers) = house(2);
    let device = connect(&mut house, "a", "x", true);
    subscribe(&mut house, device, "me/from/+", Qos::AtMostOnce);
    received(&mut house, device);
    let other = connect(&mut house, "b", "x", true);
    for topic in ["me/from/3", "dev/a/from/3", "dev/a/to/3", "dev/b/from/3"] {
        publish(&mut house, other, topic, b"forged", Qos::AtLeastOnce);
    }
    // Retained is nothing that an address has.
    publish_as(&mut house, other, 9, true, &format!("me/to/{}", numbers["a"]), b"once", Qos::AtMostOnce);
    assert_eq!(received(&mut house, device), [format!("me/from/{} once id=0", numbers["b"])]);
    subscribe(&mut house, device, "me/from/#", Qos::AtMostOnce);
    assert_eq!(received(&mut house, device), ["suback"], "and nothing is retained");
}

#[test]
fn an_app_says_whom_its_devices_may_write_to() {
    // The words of the sender's app and of the other's; whether the device of the same app, of the other app, and a
    // page are written to.
    let rows = [
        ("none", "app", false, false, false),
        ("none", "any", false, false, false),
        ("app", "app", true, false, false),
        ("app", "any", true, false, false),
        ("any", "none", true, false, true),
        ("any", "app", true, false, true),
        ("any", "any", true, true, true),
    ];
    for (own, other, same, across, page) in rows {
        for shards in [1, 2] {
            let mut house = House::new(shards);
            house.gate().add_app(7, "", &[&format!("peers={own}")]);
            house.gate().add_app(8, "", &[&format!("peers={other}")]);
            let numbers = [("a", 7), ("b", 7), ("c", 8)].map(|(id, app)| house.gate().add_device(id, "secret", app));
            let lines = ["a", "b", "c"].map(|id| connect_without_will(&mut house, id, "x", true));
            for line in &lines[1..] {
                subscribe(&mut house, *line, "me/from/+", Qos::AtMostOnce);
                received(&mut house, *line);
            }
            write(&mut house, lines[0], numbers[1].into(), b"hi");
            write(&mut house, lines[0], numbers[2].into(), b"hi");
            write(&mut house, lines[0], PAGE, b"hi");
            let come = |house: &mut House, at: usize| received(house, lines[at]).len() == 1;
            assert_eq!((come(&mut house, 1), come(&mut house, 2)), (same, across), "{own} to {other}, {shards} shards");
            let told = house.events().iter().any(|e| matches!(e, Event::Addressed { to: PAGE, ticket: Some(_), .. }));
            assert_eq!(told, page, "{own} to a page");
        }
    }
}

#[test]
fn a_device_may_answer_who_wrote_to_it_for_a_while() {
    for shards in [1, 2] {
        let mut house = House::new(shards);
        house.gate().add_app(7, "", &["peers=none"]);
        let number = house.gate().add_device("lamp", "secret", 7);
        let line = connect_without_will(&mut house, "lamp", "x", true);
        subscribe(&mut house, line, "me/from/+", Qos::AtLeastOnce);
        let asked = |house: &mut House| {
            write(house, line, PAGE, b"yes");
            house.events().iter().any(|e| matches!(e, Event::Addressed { .. }))
        };
        assert!(!asked(&mut house), "of itself it may not");
        send(&mut house, 5, "lamp", number, "on?");
        assert_eq!(outcomes(&mut house), [(5, Ok(Reached::Sent))]);
        assert!(asked(&mut house));
        house.advance_ms(limits::ADDRESSED_ANSWER_S * 1000 - 1);
        assert!(asked(&mut house));
        house.advance_ms(1);
        assert!(!asked(&mut house));
        send(&mut house, 6, "lamp", number, "on?");
        assert!(asked(&mut house));
        house.crash(shards);
        let line = connect_without_will(&mut house, "lamp", "x", true);
        write(&mut house, line, PAGE, b"yes");
        assert!(!house.events().iter().any(|e| matches!(e, Event::Addressed { .. })), "a restart forgets it");
    }
}

#[test]
fn devices_that_are_blocked_or_gone_are_not_reached_and_write_to_nobody() {
    let (mut house, numbers) = house(2);
    let lines = ["a", "b"].map(|id| connect_without_will(&mut house, id, "x", true));
    for line in lines {
        subscribe(&mut house, line, "me/from/+", Qos::AtMostOnce);
        received(&mut house, line);
    }
    house.gate().turn_away(numbers["b"]);
    write(&mut house, lines[0], numbers["b"].into(), b"hi");
    write(&mut house, lines[1], numbers["a"].into(), b"hi");
    assert_eq!((received(&mut house, lines[0]), received(&mut house, lines[1])), (vec!["puback".into()], vec!["puback".into()]));
    write(&mut house, lines[0], Address(999), b"hi");
    assert_eq!(received(&mut house, lines[0]), ["puback"]);
}

#[test]
fn a_kept_session_keeps_what_comes_while_it_is_away_and_the_sender_waits_for_the_disk() {
    for shards in [1, 2] {
        let (mut house, numbers) = house(shards);
        let away = connect_without_will(&mut house, "lamp", "x", false);
        subscribe(&mut house, away, "me/from/+", Qos::AtLeastOnce);
        house.cut(away);
        let sender = connect_without_will(&mut house, "a", "s", true);
        received(&mut house, sender);
        house.set_disk(Disk::Manual);
        write(&mut house, sender, numbers["lamp"].into(), b"first");
        send(&mut house, 1, "lamp", numbers["lamp"], "second");
        assert_eq!(received(&mut house, sender), [""; 0], "not before it is on disk");
        assert_eq!(outcomes(&mut house), []);
        house.disk_answers(Ok(()));
        assert_eq!(received(&mut house, sender), ["puback"]);
        assert_eq!(outcomes(&mut house), [(1, Ok(Reached::Kept))]);
        house.set_disk(Disk::Fast);
        house.crash(shards);
        let back = connect_without_will(&mut house, "lamp", "x", false);
        let first = format!("me/from/{} first id=1", numbers["a"]);
        let second = format!("me/from/{PAGE} second id=2");
        assert_eq!(received(&mut house, back), ["connack Success present=true".to_owned(), first, second]);
    }
}

#[test]
fn what_the_disk_does_not_take_was_not_sent() {
    for shards in [1, 2] {
        let (mut house, numbers) = house(shards);
        let away = connect_without_will(&mut house, "lamp", "x", false);
        subscribe(&mut house, away, "me/from/+", Qos::AtLeastOnce);
        house.cut(away);
        house.set_disk(Disk::Failing(StoreError::Full("full".into())));
        send(&mut house, 1, "lamp", numbers["lamp"], "hi");
        assert_eq!(outcomes(&mut house), [(1, Err(Refusal::Quota))]);
        let sender = connect_without_will(&mut house, "a", "s", true);
        received(&mut house, sender);
        write(&mut house, sender, numbers["lamp"].into(), b"hi");
        assert!(received(&mut house, sender).is_empty() && house.closed(sender).is_some(), "its client still has it");
    }
}

#[test]
fn the_platform_hears_that_nobody_was_reached() {
    for shards in [1, 2] {
        let (mut house, numbers) = house(shards);
        send(&mut house, 1, "lamp", numbers["lamp"], "hi");
        let line = connect(&mut house, "lamp", "x", true);
        send(&mut house, 2, "lamp", numbers["lamp"], "hi");
        subscribe(&mut house, line, "me/from/7", Qos::AtLeastOnce);
        send(&mut house, 3, "lamp", numbers["lamp"], "hi");
        let nobody = Err(Refusal::Unreachable);
        assert_eq!(outcomes(&mut house), [(1, nobody), (2, nobody), (3, nobody)], "away, deaf, and to others only");
        house.cut(line);
        let kept = connect_5(&mut house, "lamp", "y", 600);
        subscribe_5(&mut house, kept, "me/from/+", Qos::AtMostOnce);
        house.cut(kept);
        send(&mut house, 4, "lamp", numbers["lamp"], "hi");
        assert_eq!(outcomes(&mut house), [(4, nobody)], "at QoS 0 nothing is kept");
    }
}

#[test]
fn what_is_too_large_or_finds_no_room_is_refused_and_no_line_ends_for_it() {
    let limits = model::limits::Limits { queue_messages: 2, commit_window_ms: 0, in_flight: 1, ..Default::default() };
    let mut house = House::with_limits(2, limits);
    let numbers = ["lamp", "a"].map(|id| house.gate().add_device(id, "secret", 7));
    let line = connect(&mut house, "lamp", "x", true);
    subscribe(&mut house, line, "me/from/+", Qos::AtLeastOnce);
    received(&mut house, line);
    house.set_stuck(line, true);
    let mut results = Vec::new();
    for number in 0..100 {
        send(&mut house, number, "lamp", numbers[0], "hi");
        results.extend(outcomes(&mut house).into_iter().map(|(_, result)| result));
    }
    assert_eq!((results.len(), results[0]), (100, Ok(Reached::Sent)));
    assert_eq!(results[99], Err(Refusal::Full));
    assert!(house.closed(line).is_none());
    let sender = connect(&mut house, "a", "x", true);
    received(&mut house, sender);
    publish(&mut house, sender, &format!("me/to/{}", numbers[1]), &vec![0; limits::ADDRESSED_BYTES_MAX + 1], Qos::AtLeastOnce);
    assert!(received(&mut house, sender).is_empty() && house.closed(sender).is_some());
}

#[test]
fn an_exactly_once_message_is_given_once_and_a_refused_one_is_new_again() {
    for shards in [1, 2] {
        let (mut house, numbers) = house(shards);
        let line = connect(&mut house, "lamp", "x", true);
        let sender = connect_without_will(&mut house, "a", "s", false);
        received(&mut house, sender);
        let topic = format!("me/to/{}", numbers["lamp"]);
        let once = |house: &mut House| publish(house, sender, &topic, b"hi", Qos::ExactlyOnce);
        once(&mut house);
        assert_eq!(received(&mut house, sender), ["pubrec 9"], "3.1.1 has no other word, and nobody was reached");
        subscribe(&mut house, line, "me/from/+", Qos::AtMostOnce);
        received(&mut house, line);
        once(&mut house);
        once(&mut house);
        assert_eq!(received(&mut house, line), [format!("me/from/{} hi id=0", numbers["a"])]);
        assert_eq!(received(&mut house, sender), ["pubrec 9", "pubrec 9"]);
    }
}

#[test]
fn an_exactly_once_message_is_kept_together_with_its_claim_on_whatever_shard() {
    for shards in [1, 2, 3] {
        let (mut house, numbers) = house(shards);
        let away = connect_without_will(&mut house, "lamp", "x", false);
        subscribe(&mut house, away, "me/from/+", Qos::ExactlyOnce);
        house.cut(away);
        let sender = connect_without_will(&mut house, "a", "s", false);
        received(&mut house, sender);
        house.set_disk(Disk::Manual);
        publish(&mut house, sender, &format!("me/to/{}", numbers["lamp"]), b"hi", Qos::ExactlyOnce);
        assert!(received(&mut house, sender).is_empty(), "not before both are on disk");
        house.disk_answers(Ok(()));
        assert_eq!(received(&mut house, sender), ["pubrec 9"], "{shards} shards");
        house.set_disk(Disk::Fast);
        house.crash(shards);
        let sender = connect_without_will(&mut house, "a", "s", false);
        publish(&mut house, sender, &format!("me/to/{}", numbers["lamp"]), b"hi", Qos::ExactlyOnce);
        assert_eq!(received(&mut house, sender), ["connack Success present=true", "pubrec 9"], "the claim is known");
        let back = connect_without_will(&mut house, "lamp", "x", false);
        let message = format!("me/from/{} hi id=1", numbers["a"]);
        assert_eq!(received(&mut house, back), ["connack Success present=true".to_owned(), message], "and once it came");
    }
}

#[test]
fn a_will_may_be_written_to_a_number() {
    use protocols::mqtt::codec::{Connect, Level, Properties, Will};
    let (mut house, numbers) = house(2);
    let line = connect_without_will(&mut house, "lamp", "x", true);
    subscribe(&mut house, line, "me/from/+", Qos::AtMostOnce);
    received(&mut house, line);
    let (props, topic) = (Properties::NONE, format!("me/to/{}", numbers["lamp"]));
    let will = Will { topic: &topic, payload: b"gone", qos: Qos::AtLeastOnce, retain: true, props };
    let hello = Connect {
        level: Level::V311,
        clean: true,
        keep_alive_s: 0,
        props,
        client: "x",
        will: Some(will),
        user: Some("a"),
        password: Some(b"secret"),
    };
    let mut bytes = Vec::new();
    hello.encode(&mut bytes).unwrap();
    let dying = house.connect(&protocols::mqtt::PROTOCOL);
    house.send(dying, &bytes);
    house.cut(dying);
    assert_eq!(received(&mut house, line), [format!("me/from/{} gone id=0", numbers["a"])]);
}
