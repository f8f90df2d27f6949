//! What outlives the program: nothing is acknowledged before it is on disk, and what was acknowledged is
//! there after the program died at any moment. The disk is the testkit's vault, at the test's command.

use contract::store::StoreError;
use model::Qos;
use model::limits::Limits;
use protocols::mqtt::codec::Kind;
use testkit::{Disk, House};

mod clients;
use clients::{
    ack, answer, connect, connect_5, connect_with_will, connect_without_will, house, publish, publish_as, publish_for_s,
    received, subscribe,
};

const PRESENT: &str = "connack Success present=true";
const FRESH: &str = "connack Success present=false";

/// A house in which `a` has a kept session that wants `t/#` at `qos` and is away.
fn house_with_a_away(shards: u16, qos: Qos) -> House {
    let (mut house, _) = house(shards);
    let away = connect(&mut house, "a", "x", false);
    subscribe(&mut house, away, "t/#", qos);
    assert_eq!(received(&mut house, away), [FRESH, "suback"]);
    house.cut(away);
    house
}

#[test]
fn a_publish_that_someone_must_still_get_is_acknowledged_when_it_is_on_disk() {
    for shards in 1..=3 {
        let mut house = house_with_a_away(shards, Qos::AtLeastOnce);
        let sender = connect(&mut house, "b", "s", true);
        received(&mut house, sender);
        house.set_disk(Disk::Manual);
        publish_as(&mut house, sender, 1, false, "t/1", b"one", Qos::AtLeastOnce);
        publish_as(&mut house, sender, 2, false, "elsewhere", b"two", Qos::AtLeastOnce);
        assert_eq!(received(&mut house, sender), [] as [&str; 0], "nor does a later one overtake it [MQTT-4.6.0-2]");
        house.disk_answers(Ok(()));
        assert_eq!(received(&mut house, sender), ["puback", "puback"], "{shards} shards");
        house.crash(4 - shards);
        let back = connect(&mut house, "a", "x", false);
        house.disk_answers(Ok(())); // its will
        assert_eq!(received(&mut house, back), [PRESENT, "t/1 one id=1"]);
    }
}

#[test]
fn what_was_not_acknowledged_may_be_gone_but_what_was_is_there_in_order() {
    let mut house = house_with_a_away(2, Qos::ExactlyOnce);
    let sender = connect(&mut house, "b", "s", true);
    for (id, qos) in [(1, Qos::AtLeastOnce), (2, Qos::ExactlyOnce), (3, Qos::AtLeastOnce)] {
        publish_as(&mut house, sender, id, false, "t/1", id.to_string().as_bytes(), qos);
    }
    assert_eq!(received(&mut house, sender), [FRESH, "puback", "pubrec 2", "puback"]);
    house.set_disk(Disk::Manual);
    publish_as(&mut house, sender, 4, false, "t/1", b"4", Qos::AtLeastOnce);
    house.crash(2);
    house.set_disk(Disk::Fast);
    let back = connect(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [PRESENT, "t/1 1 id=1", "t/1 2 id=2", "t/1 3 id=3"]);
}

#[test]
fn a_message_that_everybody_acknowledges_in_time_never_touches_the_disk() {
    let mut house = House::with_limits(2, Limits { commit_window_ms: 2000, ..Limits::default() });
    for id in ["a", "b"] {
        house.gate().add_device(id, "secret", 7);
    }
    let reader = connect(&mut house, "a", "x", false);
    subscribe(&mut house, reader, "t", Qos::AtLeastOnce);
    house.advance_ms(2000);
    received(&mut house, reader);
    let sender = connect(&mut house, "b", "s", true);
    received(&mut house, sender);
    publish(&mut house, sender, "t", b"quick", Qos::AtLeastOnce);
    assert_eq!(received(&mut house, reader), ["t quick id=1"]);
    assert_eq!(received(&mut house, sender), [] as [&str; 0]);
    ack(&mut house, reader, 1);
    assert_eq!(received(&mut house, sender), ["puback"], "all who had to get it have it");
    publish(&mut house, sender, "t", b"slow", Qos::AtLeastOnce);
    received(&mut house, reader);
    assert_eq!(house.vault().waiting(), 0);
    house.advance_ms(3000);
    assert_eq!(received(&mut house, sender), ["puback"]);
    assert_eq!(house.vault().waiting(), 1, "who is slow has it written down");
    ack(&mut house, reader, 2);
    house.advance_ms(3000);
    assert_eq!(house.vault().waiting(), 0);
}

#[test]
fn what_a_client_acknowledged_does_not_come_again_and_what_it_may_have_seen_comes_as_a_repetition() {
    let (mut house, _) = house(1);
    let reader = connect(&mut house, "a", "x", false);
    subscribe(&mut house, reader, "t", Qos::AtLeastOnce);
    let sender = connect(&mut house, "b", "s", true);
    for payload in ["one", "two", "three"] {
        publish(&mut house, sender, "t", payload.as_bytes(), Qos::AtLeastOnce);
    }
    assert_eq!(received(&mut house, reader)[2..], ["t one id=1", "t two id=2", "t three id=3"]);
    ack(&mut house, reader, 2);
    house.crash(1);
    let back = connect(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [PRESENT, "t one id=1 dup", "t three id=3 dup"], "with the ids it knows");
}

#[test]
fn an_exactly_once_delivery_goes_on_after_each_step() {
    // Where the program dies, and what the client is then sent: the message again under its id, or the rest.
    let cases = [
        ("sent", vec!["t once id=1 dup"]),
        ("received, not on disk", vec!["t once id=1 dup"]),
        ("received", vec!["pubrel 1"]),
        ("done", vec![]),
    ];
    for (step, wanted) in cases {
        let (mut house, _) = house(1);
        let reader = connect(&mut house, "a", "x", false);
        subscribe(&mut house, reader, "t", Qos::ExactlyOnce);
        received(&mut house, reader);
        let sender = connect(&mut house, "b", "s", true);
        house.set_disk(Disk::Manual);
        publish(&mut house, sender, "t", b"once", Qos::ExactlyOnce);
        assert_eq!(received(&mut house, reader), [] as [&str; 0], "not before it is on disk");
        house.disk_answers(Ok(()));
        assert_eq!(received(&mut house, reader), ["t once id=1"]);
        if step != "sent" {
            answer(&mut house, reader, Kind::Pubrec, 1);
            assert_eq!(received(&mut house, reader), [] as [&str; 0], "the second half waits for the disk too");
        }
        if step != "sent" && step != "received, not on disk" {
            house.disk_answers(Ok(()));
            assert_eq!(received(&mut house, reader), ["pubrel 1"]);
        }
        if step == "done" {
            answer(&mut house, reader, Kind::Pubcomp, 1);
            house.disk_answers(Ok(()));
        }
        house.crash(2);
        house.set_disk(Disk::Fast);
        let back = connect(&mut house, "a", "x", false);
        assert_eq!(received(&mut house, back), [vec![PRESENT], wanted].concat(), "{step}");
        answer(&mut house, back, Kind::Pubrec, 1);
        assert_eq!(received(&mut house, back), ["pubrel 1"]);
        answer(&mut house, back, Kind::Pubcomp, 1);
        house.crash(1);
        let back = connect(&mut house, "a", "x", false);
        assert_eq!(received(&mut house, back), [PRESENT], "{step}: it is over");
    }
}

#[test]
fn an_exactly_once_publish_is_taken_once_whatever_dies() {
    let mut house = house_with_a_away(2, Qos::ExactlyOnce);
    let sender = connect(&mut house, "b", "s", false);
    received(&mut house, sender);
    house.set_disk(Disk::Manual);
    publish(&mut house, sender, "t/1", b"once", Qos::ExactlyOnce);
    publish(&mut house, sender, "t/1", b"once", Qos::ExactlyOnce);
    assert_eq!(received(&mut house, sender), [] as [&str; 0]);
    house.disk_answers(Ok(()));
    assert_eq!(received(&mut house, sender), ["pubrec 9"], "one answer for both");
    house.crash(2);
    house.set_disk(Disk::Fast);
    let sender = connect(&mut house, "b", "s", false);
    publish(&mut house, sender, "t/1", b"once", Qos::ExactlyOnce);
    assert_eq!(received(&mut house, sender), [PRESENT, "pubrec 9"], "known across the crash");
    house.set_disk(Disk::Manual);
    answer(&mut house, sender, Kind::Pubrel, 9);
    assert_eq!(received(&mut house, sender), [] as [&str; 0], "the id is not free before that is on disk");
    house.disk_answers(Ok(()));
    assert_eq!(received(&mut house, sender), ["pubcomp 9"]);
    house.crash(1);
    house.set_disk(Disk::Fast);
    let sender = connect(&mut house, "b", "s", false);
    publish(&mut house, sender, "t/1", b"another", Qos::ExactlyOnce);
    assert_eq!(received(&mut house, sender), [PRESENT, "pubrec 9"]);
    let back = connect(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [PRESENT, "t/1 once id=1", "t/1 another id=2"]);
}

#[test]
fn an_exactly_once_publish_is_everywhere_or_nowhere() {
    // The shards' batches reach the disk one by one; the program dies after each number of them.
    for answers in 0..6 {
        let (mut house, _) = house(3);
        for device in ["a", "c", "lamp"] {
            let away = connect(&mut house, device, "x", false);
            subscribe(&mut house, away, "t", if device == "a" { Qos::ExactlyOnce } else { Qos::AtLeastOnce });
            house.cut(away);
        }
        let sender = connect(&mut house, "b", "s", false);
        received(&mut house, sender);
        house.set_disk(Disk::Manual);
        publish_as(&mut house, sender, 9, true, "t", b"once", Qos::ExactlyOnce);
        for answer in 0..answers {
            house.disk_answers_one(answer % 3, Ok(()));
        }
        house.crash(2);
        house.set_disk(Disk::Fast);
        let sender = connect(&mut house, "b", "s", false);
        publish_as(&mut house, sender, 9, true, "t", b"once", Qos::ExactlyOnce);
        assert_eq!(received(&mut house, sender), [PRESENT, "pubrec 9"]);
        for device in ["a", "c", "lamp"] {
            let back = connect(&mut house, device, "x", false);
            assert_eq!(received(&mut house, back), [PRESENT, "t once id=1"], "{device} after {answers} answers");
        }
        let witness = connect(&mut house, "b", "w", true);
        subscribe(&mut house, witness, "t", Qos::AtMostOnce);
        assert_eq!(received(&mut house, witness)[2..], ["t once id=0"], "the retained message too");
    }
}

#[test]
fn a_place_is_not_given_again_before_the_disk_knows_that_it_is_free() {
    let (mut house, _) = house(2);
    let reader = connect(&mut house, "a", "x", false);
    subscribe(&mut house, reader, "t", Qos::ExactlyOnce);
    let sender = connect(&mut house, "b", "s", false);
    house.set_disk(Disk::Manual);
    let (readers, senders) = (1, 0); // their shards
    for round in 1..=3 {
        publish_as(&mut house, sender, round, false, "t", b"x", Qos::ExactlyOnce);
        house.disk_answers_one(senders, Ok(())); // the vault would complain
        answer(&mut house, reader, Kind::Pubrec, round);
        house.disk_answers_one(readers, Ok(()));
        answer(&mut house, reader, Kind::Pubcomp, round);
    }
    house.disk_answers(Ok(()));
    assert_eq!(house.vault().waiting(), 0);
    assert_eq!(received(&mut house, reader).iter().filter(|packet| packet.starts_with("t x")).count(), 3);
}

#[test]
fn subscriptions_are_acknowledged_when_they_are_on_disk_and_retained_messages_follow() {
    let (mut house, _) = house(2);
    let sender = connect(&mut house, "b", "s", true);
    publish_as(&mut house, sender, 1, true, "t", b"last", Qos::AtLeastOnce);
    publish_as(&mut house, sender, 2, true, "gone", b"x", Qos::AtLeastOnce);
    publish_as(&mut house, sender, 3, true, "gone", b"", Qos::AtLeastOnce);
    house.crash(2);
    let reader = connect(&mut house, "a", "x", false);
    received(&mut house, reader);
    house.set_disk(Disk::Manual);
    subscribe(&mut house, reader, "#", Qos::AtMostOnce);
    assert_eq!(received(&mut house, reader), [] as [&str; 0]);
    house.disk_answers(Ok(()));
    assert_eq!(
        received(&mut house, reader),
        ["suback", "t last id=0"],
        "the retained message survived, the one taken away did not"
    );
}

#[test]
fn the_will_of_a_session_that_died_with_the_program_speaks() {
    let (mut house, _) = house(2);
    let dying = connect(&mut house, "a", "x", true);
    assert_eq!(received(&mut house, dying), [FRESH]);
    house.crash(2);
    let witness = connect(&mut house, "b", "w", true);
    subscribe(&mut house, witness, "gone", Qos::AtMostOnce);
    received(&mut house, witness);
    house.advance_ms(1000);
    assert_eq!(received(&mut house, witness), ["gone a id=0"]);
    house.crash(2);
    let witness = connect(&mut house, "c", "w", true);
    subscribe(&mut house, witness, "gone", Qos::AtMostOnce);
    received(&mut house, witness);
    house.advance_ms(1000);
    assert_eq!(received(&mut house, witness), ["gone b id=0"], "each speaks once");
}

#[test]
fn a_will_speaks_though_its_client_is_back_before_it_was_said() {
    let (mut house, _) = house(2);
    let away = connect(&mut house, "b", "w", false);
    subscribe(&mut house, away, "gone", Qos::AtLeastOnce);
    connect_with_will(&mut house, "a", "x", false, Qos::AtLeastOnce);
    house.crash(2);
    connect_with_will(&mut house, "a", "x", false, Qos::AtLeastOnce);
    house.advance_ms(1000);
    let back = connect(&mut house, "b", "w", false);
    let wills = received(&mut house, back).iter().filter(|packet| packet.contains("gone a")).count();
    assert_eq!(wills, 1, "the line was gone when the program died, and no delay was asked for");
}

#[test]
fn a_will_comes_once_however_often_the_program_dies_over_it() {
    for answers in 0..7 {
        let (mut house, _) = house(3);
        for device in ["a", "c"] {
            let away = connect(&mut house, device, "x", false);
            subscribe(&mut house, away, "gone", Qos::ExactlyOnce);
            house.cut(away);
        }
        house.advance_ms(1000);
        let dying = connect_with_will(&mut house, "b", "s", true, Qos::ExactlyOnce);
        assert_eq!(received(&mut house, dying), [FRESH]);
        house.set_disk(Disk::Manual);
        house.cut(dying);
        for answer in 0..answers {
            house.disk_answers_one(answer % 3, Ok(()));
        }
        house.crash(2);
        house.set_disk(Disk::Fast);
        house.advance_ms(1000);
        for device in ["a", "c"] {
            let back = connect(&mut house, device, "x", false);
            let wills = received(&mut house, back).iter().filter(|packet| packet.contains("gone b")).count();
            assert_eq!(wills, 1, "{device} after {answers} answers");
        }
        assert_eq!(house.vault().kept().sessions.len(), 2, "{answers}: what had only a will is forgotten");
    }
}

#[test]
fn sessions_end_after_their_time_also_across_a_death_and_a_clean_start_forgets_for_good() {
    let mut house = house_with_a_away(2, Qos::AtLeastOnce);
    house.crash(2);
    assert_eq!(house.sessions(), (1, 1));
    let fresh = connect(&mut house, "a", "x", true);
    assert_eq!(received(&mut house, fresh), [FRESH]);
    house.cut(fresh);
    house.crash(2);
    let again = connect(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, again), [FRESH]);
    assert_eq!(house.vault().kept().sessions.len(), 1);
}

#[test]
fn without_room_on_disk_publishes_are_refused_and_what_was_acknowledged_stays() {
    let mut house = house_with_a_away(1, Qos::AtLeastOnce);
    let sender = connect(&mut house, "b", "s", true);
    publish(&mut house, sender, "t/1", b"kept", Qos::AtLeastOnce);
    received(&mut house, sender);
    house.set_disk(Disk::Failing(StoreError::Full("the disk is full".into())));
    publish(&mut house, sender, "t/1", b"refused", Qos::AtLeastOnce);
    assert!(house.closed(sender).is_some(), "3.1.1 has no other word: it still has the message");
    house.set_disk(Disk::Fast);
    house.advance_ms(1000);
    let sender = connect(&mut house, "b", "s", true);
    publish(&mut house, sender, "t/1", b"again", Qos::AtLeastOnce);
    assert_eq!(received(&mut house, sender), [FRESH, "puback"], "there is room again");
    let back = connect(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [PRESENT, "t/1 kept id=1", "t/1 again id=3"]);
}

#[test]
fn a_subscription_that_finds_no_room_is_not_granted_but_one_that_is_there_goes_on() {
    let (mut house, _) = house(1);
    let reader = connect(&mut house, "a", "x", false);
    subscribe(&mut house, reader, "t", Qos::AtLeastOnce);
    received(&mut house, reader);
    house.set_disk(Disk::Manual);
    let full = || Err(StoreError::Full("the disk is full".into()));
    subscribe(&mut house, reader, "t", Qos::ExactlyOnce);
    house.disk_answers_one(0, Ok(()));
    assert_eq!(received(&mut house, reader), ["suback"], "it takes no room");
    let other = connect(&mut house, "b", "y", false);
    house.disk_answers(Ok(()));
    received(&mut house, other);
    subscribe(&mut house, other, "new", Qos::AtLeastOnce);
    house.disk_answers_one(0, full());
    assert_eq!(received(&mut house, other), [] as [&str; 0]);
    assert!(house.closed(other).is_some() && house.closed(reader).is_none(), "only who asked for it has to go");
}

#[test]
fn a_queue_of_which_nothing_may_go_drops_what_comes() {
    let queue_policy = model::limits::QueuePolicy::DropOldest;
    let mut house = House::with_limits(1, Limits { queue_messages: 2, queue_policy, commit_window_ms: 0, ..Limits::default() });
    for id in ["a", "b"] {
        house.gate().add_device(id, "secret", 7);
    }
    let reader = connect(&mut house, "a", "x", false);
    subscribe(&mut house, reader, "t", Qos::ExactlyOnce);
    let sender = connect(&mut house, "b", "s", false);
    received(&mut house, reader);
    house.set_disk(Disk::Manual);
    for id in 1..=4 {
        publish_as(&mut house, sender, id, false, "t", id.to_string().as_bytes(), Qos::ExactlyOnce);
    }
    house.disk_answers(Ok(()));
    assert_eq!(received(&mut house, reader), ["t 1 id=1", "t 2 id=2"]);
}

#[test]
fn a_broken_disk_acknowledges_nothing() {
    let mut house = house_with_a_away(1, Qos::AtLeastOnce);
    house.set_disk(Disk::Failing(StoreError::Engine("fsync failed".into())));
    let sender = connect(&mut house, "b", "s", true);
    assert!(house.closed(sender).is_some(), "its will cannot be kept");
    let back = connect(&mut house, "a", "x", false);
    assert!(house.closed(back).is_some());
    assert_eq!(received(&mut house, back), [] as [&str; 0]);
    house.set_disk(Disk::Fast);
    house.advance_ms(1000);
    let back = connect(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [PRESENT]);
}

#[test]
fn a_queue_that_cannot_be_read_is_read_when_the_disk_can() {
    let mut house = house_with_a_away(1, Qos::AtLeastOnce);
    let sender = connect(&mut house, "b", "s", true);
    publish(&mut house, sender, "t/1", b"kept", Qos::AtLeastOnce);
    house.crash(1);
    house.set_unreadable(true);
    let back = connect_without_will(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [PRESENT]);
    house.set_unreadable(false);
    house.advance_ms(1000);
    assert_eq!(received(&mut house, back), ["t/1 kept id=1"], "nobody has to come again for it");
}

#[test]
fn what_may_have_been_sent_is_marked_however_often_the_program_dies_before_it_is_sent_again() {
    let (mut house, _) = house(1);
    let reader = connect(&mut house, "a", "x", false);
    subscribe(&mut house, reader, "t", Qos::AtLeastOnce);
    let sender = connect(&mut house, "b", "s", true);
    for n in 0..40 {
        publish(&mut house, sender, "t", n.to_string().as_bytes(), Qos::AtLeastOnce);
    }
    house.set_disk(Disk::Manual);
    // What makes room for the last eight, whose acknowledgement the disk never hears of.
    (1..=32).for_each(|id| ack(&mut house, reader, id));
    assert_eq!(received(&mut house, reader).len(), 2 + 40);
    house.crash(1);
    // It comes back, and goes before its queue is read.
    house.set_disk(Disk::Fast);
    house.set_unreadable(true);
    let back = connect_without_will(&mut house, "a", "x", false);
    house.cut(back);
    house.set_unreadable(false);
    house.advance_ms(1000);
    house.crash(1);
    let back = connect(&mut house, "a", "x", false);
    (1..=32).for_each(|id| ack(&mut house, back, id));
    let again = received(&mut house, back).split_off(1);
    assert_eq!(again.len(), 40);
    assert!(again.iter().all(|message| message.ends_with("dup")), "{again:?}");
}

#[test]
fn what_is_due_when_the_program_starts_is_done_before_its_client_comes_in() {
    let (mut house, _) = house(2);
    let witness = connect(&mut house, "b", "w", false);
    subscribe(&mut house, witness, "gone", Qos::AtLeastOnce);
    let kept = connect_with_will(&mut house, "a", "kept", false, Qos::AtLeastOnce);
    let clean = connect_with_will(&mut house, "a", "clean", true, Qos::AtLeastOnce);
    received(&mut house, clean);
    received(&mut house, kept);
    house.crash(2);
    // Both come back before a tick has passed.
    let kept = connect_without_will(&mut house, "a", "kept", false);
    assert_eq!(received(&mut house, kept), [PRESENT]);
    let clean = connect_without_will(&mut house, "a", "clean", false);
    assert_eq!(received(&mut house, clean), [FRESH], "it was to end with its line");
    let witness = connect_without_will(&mut house, "b", "w", false);
    assert_eq!(received(&mut house, witness), [PRESENT, "gone a id=1", "gone a id=2"], "both lines died with the program");
}

#[test]
fn nothing_comes_before_the_welcome_on_a_newer_line() {
    let mut house = house_with_a_away(1, Qos::ExactlyOnce);
    let sender = connect(&mut house, "b", "s", false);
    received(&mut house, sender);
    house.set_disk(Disk::Manual);
    publish(&mut house, sender, "t/1", b"once", Qos::ExactlyOnce);
    house.cut(sender);
    let sender = connect(&mut house, "b", "s", false);
    house.disk_answers_one(0, Ok(()));
    assert_eq!(received(&mut house, sender), [] as [&str; 0], "its will is still to be kept [MQTT-3.2.0-1]");
    house.disk_answers(Ok(()));
    assert_eq!(received(&mut house, sender), [PRESENT]);
    publish(&mut house, sender, "t/1", b"once", Qos::ExactlyOnce);
    house.disk_answers(Ok(()));
    assert_eq!(received(&mut house, sender), ["pubrec 9"]);
}

#[test]
fn what_waited_is_sent_when_it_is_known_for_good_that_its_client_was_here() {
    let mut house = house_with_a_away(1, Qos::AtLeastOnce);
    let sender = connect(&mut house, "b", "s", true);
    publish(&mut house, sender, "t/1", b"kept", Qos::AtLeastOnce);
    house.set_disk(Disk::Manual);
    let back = connect_without_will(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [PRESENT], "nothing is on disk of its being here");
    house.disk_answers(Ok(()));
    assert_eq!(received(&mut house, back), ["t/1 kept id=1"]);
    house.crash(1);
    house.set_disk(Disk::Fast);
    let back = connect_without_will(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [PRESENT, "t/1 kept id=1 dup"]);
}

#[test]
fn what_another_shard_kept_waits_too_until_it_is_known_for_good_that_its_client_was_here() {
    let (mut house, _) = house(2);
    let away = connect_without_will(&mut house, "a", "x", false);
    subscribe(&mut house, away, "t/#", Qos::AtLeastOnce);
    house.cut(away);
    let sender = connect_without_will(&mut house, "b", "s", false);
    house.set_disk(Disk::Manual);
    let back = connect_without_will(&mut house, "a", "x", false);
    publish(&mut house, sender, "t/1", b"once", Qos::ExactlyOnce);
    received(&mut house, back);
    // Device b is the second, on the shard beside that of device a.
    house.disk_answers_one(0, Ok(()));
    assert_eq!(house.vault().waiting(), 1);
    assert_eq!(received(&mut house, back), [] as [&str; 0]);
    house.disk_answers(Ok(()));
    assert_eq!(received(&mut house, back), ["t/1 once id=1"]);
}

#[test]
fn what_was_forgotten_for_a_line_that_broke_is_forgotten_for_good_before_the_next_is_let_in() {
    let mut house = house_with_a_away(1, Qos::AtLeastOnce);
    house.set_disk(Disk::Manual);
    let first = connect_without_will(&mut house, "a", "x", true);
    house.cut(first);
    for clean in [true, false] {
        let next = connect_without_will(&mut house, "a", "x", clean);
        assert_eq!(received(&mut house, next), [] as [&str; 0]);
        house.cut(next);
    }
    let last = connect_without_will(&mut house, "a", "x", true);
    house.disk_answers(Ok(()));
    assert_eq!(received(&mut house, last), [FRESH]);
    house.crash(1);
    house.set_disk(Disk::Fast);
    let back = connect_without_will(&mut house, "a", "x", false);
    assert_eq!(received(&mut house, back), [FRESH]);
}

#[test]
fn a_will_speaks_also_when_the_wall_clock_was_set_back_while_its_client_was_away() {
    let (mut house, _) = house(1);
    let witness = connect_without_will(&mut house, "b", "w", false);
    subscribe(&mut house, witness, "gone", Qos::AtLeastOnce);
    let dying = connect_with_will(&mut house, "a", "x", false, Qos::AtLeastOnce);
    received(&mut house, dying);
    house.crash(1);
    house.set_disk(Disk::Manual);
    // It speaks, but the program dies before that is on disk.
    house.advance_ms(1000);
    let now = house.now();
    house.set_time(now, -3_600_000);
    house.crash(1);
    house.set_disk(Disk::Fast);
    house.advance_ms(1000);
    let witness = connect_without_will(&mut house, "b", "w", false);
    assert_eq!(received(&mut house, witness), [PRESENT, "gone a id=1"]);
}

#[test]
fn a_session_that_ends_as_its_client_comes_is_not_forgotten_before_its_will_is_said() {
    // However many batches reach the disk before the program dies. The witness lives on the other shard.
    for batches in 0..4 {
        let (mut house, _) = house(2);
        let witness = connect_without_will(&mut house, "b", "w", false);
        subscribe(&mut house, witness, "gone", Qos::AtLeastOnce);
        let dying = connect_with_will(&mut house, "a", "x", true, Qos::AtLeastOnce);
        received(&mut house, dying);
        house.crash(2);
        house.set_disk(Disk::Manual);
        connect_without_will(&mut house, "a", "x", false);
        for _ in 0..batches {
            house.disk_answers_one(1, Ok(()));
        }
        house.crash(2);
        house.set_disk(Disk::Fast);
        house.advance_ms(1000);
        let witness = connect_without_will(&mut house, "b", "w", false);
        let said = received(&mut house, witness);
        assert_eq!(said.iter().filter(|packet| packet.starts_with("gone a")).count(), 1, "{batches}: {said:?}");
    }
}

#[test]
fn a_retained_message_whose_time_is_over_takes_no_room_any_more() {
    let (mut house, _) = house(2);
    let sender = connect(&mut house, "b", "s", true);
    publish_as(&mut house, sender, 1, true, "for/ever", b"1", Qos::AtLeastOnce);
    let sender = connect_5(&mut house, "b", "five", 0);
    publish_for_s(&mut house, sender, 2, true, "for/now", Qos::AtLeastOnce, 10);
    let topics = |house: &House| {
        let retained = house.vault().kept().retained;
        retained.iter().map(|one| one.message.topic.as_str().to_owned()).collect::<Vec<_>>()
    };
    house.crash(1);
    assert_eq!(topics(&house), ["for/ever", "for/now"]);
    house.advance_ms(11_000);
    assert_eq!(topics(&house), ["for/ever"]);
}

#[test]
fn who_takes_a_new_name_each_time_loses_its_own_oldest_session() {
    let (mut house, _) = house(2);
    let other = connect(&mut house, "b", "only", false);
    house.cut(other);
    for name in 0..=model::limits::SESSIONS_PER_PARTY_MAX {
        let line = connect_without_will(&mut house, "a", &format!("name {name}"), false);
        house.cut(line);
        house.advance_ms(1);
    }
    assert_eq!(
        house.sessions(),
        (model::limits::SESSIONS_PER_PARTY_MAX as u64 + 1, model::limits::SESSIONS_PER_PARTY_MAX as u64 + 1)
    );
    for (device, client, known) in [("b", "only", true), ("a", "name 1", true), ("a", "name 0", false)] {
        let line = connect_without_will(&mut house, device, client, false);
        assert_eq!(received(&mut house, line)[0], if known { PRESENT } else { FRESH }, "{client}");
    }
}
