//! What waits for a group outlives the program too, and its members: what one does not take another gets,
//! once. The disk is the testkit's vault, at the test's command.

use contract::store::StoreError;
use model::Qos;
use testkit::{Disk, House};

mod clients;
use clients::{
    connect, connect_5, connect_without_will, house, publish, publish_as, publish_for_s, received, subscribe, subscribe_5,
};

const PRESENT: &str = "connack Success present=true";
const FRESH: &str = "connack Success present=false";

/// A house in which four jobs wait for a crew of two, `a` and `c`, who are away.
fn house_with_four_jobs() -> House {
    let (mut house, _) = house(3);
    for (device, client) in [("a", "one"), ("c", "two")] {
        let member = connect(&mut house, device, client, false);
        subscribe(&mut house, member, "$share/crew/job", Qos::AtLeastOnce);
        house.cut(member);
    }
    let sender = connect(&mut house, "b", "s", true);
    for n in 0..4 {
        publish(&mut house, sender, "job", n.to_string().as_bytes(), Qos::AtLeastOnce);
    }
    house
}

#[test]
fn a_group_keeps_its_backlog_and_another_member_gets_it_when_the_first_does_not_come_back() {
    let mut house = house_with_four_jobs();
    house.crash(2);
    let member = connect(&mut house, "a", "one", false);
    let mut jobs = received(&mut house, member).split_off(1);
    assert_eq!(jobs.len(), 2);
    // The other forgets its session: what waited there moves, also across another death of the program.
    let other = connect(&mut house, "c", "two", true);
    assert_eq!(received(&mut house, other), [FRESH]);
    house.crash(3);
    let member = connect(&mut house, "a", "one", false);
    house.advance_ms(2000);
    jobs.extend(received(&mut house, member).split_off(1));
    let mut told: Vec<_> = jobs.iter().map(|job| job[4..5].to_owned()).collect();
    told.sort();
    told.dedup();
    assert_eq!(told, ["0", "1", "2", "3"]);
}

#[test]
fn what_a_group_waits_for_is_read_before_its_member_ends() {
    let (mut house, _) = house(1);
    let member = connect_without_will(&mut house, "c", "two", false);
    let ending = connect_5(&mut house, "a", "one", 60);
    subscribe_5(&mut house, ending, "$share/crew/job", Qos::AtLeastOnce);
    house.cut(ending);
    let sender = connect(&mut house, "b", "s", true);
    publish(&mut house, sender, "job", b"1", Qos::AtLeastOnce);
    subscribe(&mut house, member, "$share/crew/job", Qos::AtLeastOnce);
    house.cut(member);
    house.set_unreadable(true);
    house.crash(1);
    house.advance_ms(70_000);
    house.set_unreadable(false);
    house.advance_ms(2000);
    assert_eq!(house.sessions(), (1, 1), "its time was over");
    let member = connect_without_will(&mut house, "c", "two", false);
    assert_eq!(received(&mut house, member), [PRESENT, "job 1 id=1"]);
}

#[test]
fn what_a_group_waits_for_stays_when_a_member_starts_clean_before_it_was_read() {
    for dies_again in [false, true] {
        let mut house = house_with_four_jobs();
        house.set_unreadable(true);
        house.crash(2);
        let fresh = connect(&mut house, "a", "one", true);
        assert_eq!(received(&mut house, fresh), [FRESH]);
        house.advance_ms(1000);
        if dies_again {
            house.crash(3);
            let fresh = connect(&mut house, "a", "one", false);
            assert_eq!(received(&mut house, fresh), [FRESH], "its end is for good");
        }
        house.set_unreadable(false);
        house.advance_ms(3000);
        let member = connect(&mut house, "c", "two", false);
        let mut told: Vec<_> = received(&mut house, member)[1..].iter().map(|job| job[4..5].to_owned()).collect();
        told.sort();
        assert_eq!(told, ["0", "1", "2", "3"], "{dies_again}");
    }
}

#[test]
fn what_a_group_need_not_get_any_more_does_not_move_to_another_member() {
    let (mut house, _) = house(1);
    // One is given as many as its window takes, and more wait that it may have begun to take for all that is
    // known when the program has died.
    let one = connect_5(&mut house, "a", "one", 1000);
    subscribe_5(&mut house, one, "$share/crew/job", Qos::ExactlyOnce);
    for id in 1..=40 {
        publish_for_s(&mut house, one, id, false, "job", Qos::ExactlyOnce, 10);
    }
    house.crash(1);
    house.advance_ms(20_000);
    let other = connect(&mut house, "c", "two", true);
    subscribe(&mut house, other, "$share/crew/job", Qos::ExactlyOnce);
    assert_eq!(received(&mut house, other), [FRESH, "suback"]);
    // It forgets its session; what waited there is over.
    connect(&mut house, "a", "one", true);
    house.advance_ms(1000);
    assert_eq!(received(&mut house, other), [] as [&str; 0]);
}

#[test]
fn a_publish_that_is_refused_was_given_to_nobody_and_can_be_tried_again() {
    for shards in 1..=3 {
        let (mut house, _) = house(shards);
        // One session that is kept, and three that end with their lines: alone, and as members of a group.
        let away = connect(&mut house, "a", "x", false);
        subscribe(&mut house, away, "job", Qos::AtLeastOnce);
        house.cut(away);
        let watcher = connect(&mut house, "c", "w", true);
        subscribe(&mut house, watcher, "job", Qos::ExactlyOnce);
        let member = connect(&mut house, "lamp", "one", true);
        subscribe(&mut house, member, "$share/crew/job", Qos::AtLeastOnce);
        let sender = connect_without_will(&mut house, "b", "s", false);
        for line in [watcher, member] {
            received(&mut house, line);
        }
        house.set_disk(Disk::Manual);
        publish_as(&mut house, sender, 9, false, "job", b"once", Qos::ExactlyOnce);
        assert_eq!(received(&mut house, watcher), [] as [&str; 0], "it is not decided yet");
        // The member goes, and another comes.
        house.cut(member);
        let other = connect_without_will(&mut house, "c", "two", true);
        subscribe(&mut house, other, "$share/crew/job", Qos::ExactlyOnce);
        house.set_disk(Disk::Failing(StoreError::Full("the disk is full".into())));
        house.disk_answers(Err(StoreError::Full("the disk is full".into())));
        house.advance_ms(1000);
        assert!(house.closed(sender).is_some(), "3.1.1 has no other word: it still has the message");
        house.set_disk(Disk::Fast);
        house.advance_ms(1000);
        let sender = connect_without_will(&mut house, "b", "s", false);
        publish_as(&mut house, sender, 9, false, "job", b"once", Qos::ExactlyOnce);
        assert_eq!(received(&mut house, sender), [PRESENT, "pubrec 9"]);
        for line in [watcher, other] {
            let jobs = received(&mut house, line).iter().filter(|packet| packet.starts_with("job")).count();
            assert_eq!(jobs, 1, "{shards} shards");
        }
    }
}
