//! Each rule finds what breaks it, and nothing in the same history when it is not broken.

use model::Qos;

use super::violations;
use crate::history::{Disk, Fact, History, How, KeepS, Key, Kind, Sheet, Step, Who};

const FOREVER: KeepS = u32::MAX;

/// A history, told in a line of Rust a fact; each takes a millisecond.
#[derive(Default)]
struct Tale(History);

impl Tale {
    fn tell(&mut self, fact: Fact) -> &mut Tale {
        self.0.now += 1;
        self.0.tell(fact);
        self
    }

    fn wait_s(&mut self, s: u64) -> &mut Tale {
        self.0.now += s * 1000;
        self
    }

    fn open(&mut self, who: Who, keep_s: KeepS, present: bool) -> &mut Tale {
        self.tell(Fact::Hello { who, clean: false, keep_s }).tell(Fact::Opened { who, present, will: None })
    }

    fn close(&mut self, who: Who) -> &mut Tale {
        self.tell(Fact::Closed { who, how: How::Broken })
    }

    fn want(&mut self, who: Who, filter: &str, qos: Qos) -> &mut Tale {
        self.tell(Fact::Asked(who, filter.into(), qos)).tell(Fact::Granted(who, filter.into(), qos))
    }

    fn sheet(&mut self, who: Who, kind: Kind, topic: &str, qos: Qos) -> Key {
        let retain = topic.starts_with("r/");
        self.0.sheet(Sheet { who, kind, topic: topic.into(), qos, retain, empty: false, expiry_s: None })
    }

    /// An acknowledged publish.
    fn publish(&mut self, who: Who, topic: &str, qos: Qos) -> Key {
        let key = self.sheet(who, Kind::Publish, topic, qos);
        self.tell(Fact::Sent(key)).tell(Fact::Acked(key));
        key
    }

    fn receive(&mut self, who: Who, key: Key, qos: Qos, dup: bool) -> &mut Tale {
        let Sheet { topic, retain, .. } = self.0.sheets[key].clone();
        self.tell(Fact::Received { who, key: Some(key), topic, qos, dup, retain, fresh: true })
    }

    /// Of what is a violation, by the words that they begin with.
    fn broken(&self) -> Vec<String> {
        let mut words: Vec<String> =
            violations(&self.0).iter().map(|v| v.split(':').next().unwrap_or_default().to_owned()).collect();
        words.dedup();
        words
    }

    #[track_caller]
    fn is_well(&self) {
        assert_eq!(violations(&self.0), [] as [&str; 0]);
    }

    #[track_caller]
    fn breaks(&self, rule: &str) {
        assert_eq!(self.broken(), [rule], "{:?}", violations(&self.0));
    }
}

/// Client 1 has a kept session that wants `t/#` and `r/#`; client 0 is there to publish.
fn two(qos: Qos) -> Tale {
    let mut tale = Tale::default();
    tale.open(0, 0, false).open(1, FOREVER, false).want(1, "t/#", qos).want(1, "r/#", qos);
    tale
}

const ONE: Qos = Qos::AtLeastOnce;
const TWO: Qos = Qos::ExactlyOnce;

#[test]
fn what_was_acknowledged_arrives() {
    let mut tale = two(ONE);
    let key = tale.publish(0, "t/1", ONE);
    tale.breaks("lost");
    tale.receive(1, key, ONE, false).is_well();

    let mut tale = two(Qos::AtMostOnce);
    tale.publish(0, "t/1", ONE);
    tale.is_well();

    let mut tale = two(ONE);
    tale.tell(Fact::Unasked(1, "t/#".into()));
    tale.publish(0, "t/1", ONE);
    tale.is_well();
}

#[test]
fn a_group_gets_it_through_one_of_its_members() {
    let mut tale = Tale::default();
    for who in [1, 2] {
        tale.open(who, FOREVER, false).want(who, "$share/kept/s/#", ONE);
    }
    tale.open(0, 0, false);
    let key = tale.publish(0, "s/1", ONE);
    tale.breaks("lost");
    tale.receive(2, key, ONE, false).is_well();
}

#[test]
fn exactly_once_is_once_in_a_session_and_in_a_group() {
    let mut tale = two(TWO);
    let key = tale.publish(0, "t/1", TWO);
    tale.receive(1, key, TWO, false).is_well();
    tale.receive(1, key, TWO, true).breaks("twice");

    let mut tale = Tale::default();
    for who in [1, 2] {
        tale.open(who, FOREVER, false).want(who, "$share/kept/s/#", TWO);
    }
    tale.open(0, 0, false);
    let key = tale.publish(0, "s/1", TWO);
    tale.receive(1, key, TWO, false).receive(2, key, TWO, false).breaks("twice");
}

#[test]
fn messages_of_one_publisher_keep_their_order() {
    let mut tale = two(ONE);
    let (first, second) = (tale.publish(0, "t/1", ONE), tale.publish(0, "t/1", ONE));
    let other = tale.publish(0, "t/2", ONE);
    tale.receive(1, other, ONE, false).receive(1, second, ONE, false).receive(1, first, ONE, false).breaks("order");
}

#[test]
fn what_was_acknowledged_by_its_receiver_does_not_come_again_as_new() {
    let mut tale = two(ONE);
    let key = tale.publish(0, "t/1", ONE);
    tale.receive(1, key, ONE, false).tell(Fact::Receipted(1, key)).tell(Fact::Pinged(1)).tell(Fact::Ponged(1)).wait_s(20);
    tale.receive(1, key, ONE, true).is_well();
    tale.receive(1, key, ONE, false);
    assert_eq!(tale.broken(), ["again", "unmarked"]);
}

#[test]
fn what_comes_again_says_so_unless_its_publisher_repeated_it() {
    let mut tale = two(ONE);
    let key = tale.publish(0, "t/1", ONE);
    tale.receive(1, key, ONE, false).receive(1, key, ONE, false).breaks("unmarked");
    tale.tell(Fact::Resent(key)).is_well();
}

#[test]
fn nothing_comes_after_the_end_of_a_subscription_but_what_was_there_before() {
    let mut tale = two(ONE);
    let before = tale.publish(0, "t/1", ONE);
    tale.tell(Fact::Unasked(1, "t/#".into())).tell(Fact::Ungranted(1, "t/#".into()));
    tale.receive(1, before, ONE, false).is_well();
    let after = tale.publish(0, "t/1", ONE);
    tale.receive(1, after, ONE, false).breaks("unwanted");
}

#[test]
fn what_is_too_old_does_not_come_and_nothing_comes_that_nobody_sent() {
    let mut tale = two(ONE);
    let key = tale.publish(0, "t/1", ONE);
    tale.0.sheets[key].expiry_s = Some(10);
    tale.wait_s(60).receive(1, key, ONE, false).breaks("stale");

    let mut tale = two(ONE);
    let topic = "t/9".to_owned();
    tale.tell(Fact::Received { who: 1, key: Some(99), topic, qos: ONE, dup: false, retain: false, fresh: true });
    tale.breaks("invented");
}

#[test]
fn a_session_that_was_promised_is_there() {
    let mut tale = two(ONE);
    tale.close(1).wait_s(10).open(1, FOREVER, true).is_well();
    tale.close(1).open(1, FOREVER, false).breaks("session");

    // One whose time may be over by a clock that was set, one that was forgotten on demand, one that nothing
    // was entrusted to when the program died.
    let mut tale = Tale::default();
    tale.open(1, 90, false).want(1, "t", ONE).close(1).tell(Fact::ClockSet(3_600_000)).open(1, 90, false).is_well();
    let mut tale = Tale::default();
    tale.open(1, 90, false).close(1).tell(Fact::Hello { who: 1, clean: true, keep_s: 90 });
    tale.tell(Fact::Opened { who: 1, present: false, will: None }).is_well();
    let mut tale = Tale::default();
    tale.open(1, FOREVER, false).tell(Fact::Died).close(1).tell(Fact::Born).open(1, FOREVER, false).is_well();
}

#[test]
fn a_session_that_has_ended_is_not_there() {
    let mut tale = Tale::default();
    tale.open(1, 0, false).close(1).open(1, 0, true).breaks("session");
    let mut tale = Tale::default();
    tale.open(1, FOREVER, true).breaks("session");
    let mut tale = Tale::default();
    tale.open(1, 20, false).tell(Fact::Closed { who: 1, how: How::Polite }).wait_s(60).open(1, 20, true).breaks("session");
    let mut tale = Tale::default();
    tale.open(1, FOREVER, false).close(1).tell(Fact::Hello { who: 1, clean: true, keep_s: FOREVER });
    tale.tell(Fact::Opened { who: 1, present: true, will: None }).breaks("session");
}

#[test]
fn nobody_waits_in_vain_or_hears_nonsense() {
    let mut tale = two(ONE);
    tale.tell(Fact::Starved(1, "a SUBACK".into())).breaks("starved");
    let mut tale = two(ONE);
    tale.tell(Fact::Nonsense(1, "a second CONNACK".into())).breaks("nonsense");
}

/// Client 2 has a will and ends so; the number of the will.
fn will(tale: &mut Tale, how: How, delay_s: u32) -> Key {
    let key = tale.sheet(2, Kind::Will { delay_s }, "t/will", TWO);
    tale.tell(Fact::Hello { who: 2, clean: false, keep_s: FOREVER });
    tale.tell(Fact::Opened { who: 2, present: false, will: Some(key) }).wait_s(1).tell(Fact::Closed { who: 2, how }).wait_s(60);
    key
}

#[test]
fn a_will_speaks_once_when_its_line_died_and_never_after_a_goodbye() {
    let mut tale = two(TWO);
    let key = will(&mut tale, How::Broken, 0);
    tale.breaks("lost");
    tale.receive(1, key, TWO, false).is_well();
    tale.receive(1, key, TWO, false);
    assert!(tale.broken().contains(&"twice".to_owned()));

    let mut tale = two(TWO);
    let key = will(&mut tale, How::Polite, 0);
    tale.is_well();
    tale.receive(1, key, TWO, false).breaks("undue");

    let mut tale = two(TWO);
    will(&mut tale, How::Broken, 5);
    tale.breaks("lost");
    tale.open(2, FOREVER, true).is_well();
}

#[test]
fn a_goodbye_that_the_program_died_over_may_not_have_been_heard_for_good() {
    let mut tale = two(TWO);
    tale.tell(Fact::Disk(Disk::Broken));
    let key = will(&mut tale, How::Polite, 0);
    tale.tell(Fact::Died).tell(Fact::Born).receive(1, key, TWO, false).is_well();
}

#[test]
fn the_retained_value_is_the_last_acknowledged_or_a_later_one() {
    let seen = |which: Option<usize>| {
        let mut tale = two(ONE);
        let keys = [tale.publish(0, "r/1", ONE), tale.publish(0, "r/1", ONE), tale.sheet(0, Kind::Publish, "r/1", ONE)];
        tale.tell(Fact::Sent(keys[2]));
        for key in &keys[..2] {
            let (key, topic) = (Some(*key), "r/1".to_owned());
            tale.tell(Fact::Received { who: 1, key, topic, qos: ONE, dup: false, retain: false, fresh: true });
        }
        tale.open(3, 0, false).want(3, "r/#", ONE);
        if let Some(which) = which {
            tale.receive(3, keys[which], ONE, false);
        }
        tale.tell(Fact::Seen(3, "r/#".into()));
        tale.broken()
    };
    assert_eq!(seen(Some(0)), ["retained"]);
    assert_eq!(seen(None), ["retained"]);
    assert!(seen(Some(1)).is_empty() && seen(Some(2)).is_empty());
}

#[test]
fn no_step_of_a_push_claims_more_than_its_device_did_and_each_push_has_one() {
    let mut tale = Tale::default();
    tale.open(1, 0, false).want(1, "me/push", ONE);
    let key = tale.sheet(1, Kind::Push, "me/push", ONE);
    tale.tell(Fact::Pushed(key)).breaks("silence");
    tale.tell(Fact::Stepped(key, Step::Sent)).receive(1, key, ONE, false).is_well();
    tale.tell(Fact::Stepped(key, Step::Delivered)).breaks("untrue");

    let mut tale = Tale::default();
    tale.open(1, 0, false).want(1, "me/push", ONE);
    let key = tale.sheet(1, Kind::Push, "me/push", ONE);
    tale.tell(Fact::Pushed(key)).receive(1, key, ONE, false).tell(Fact::Receipted(1, key));
    tale.tell(Fact::Stepped(key, Step::Delivered)).is_well();
}

#[test]
fn an_upload_is_acknowledged_when_the_platform_has_it_which_hears_of_it_once() {
    let upload = |stored: usize, acked: bool| {
        let mut tale = Tale::default();
        tale.open(1, 0, false);
        let key = tale.sheet(1, Kind::Upload, "me/data", TWO);
        tale.tell(Fact::Sent(key));
        for _ in 0..stored {
            tale.tell(Fact::Stored(key));
        }
        if acked {
            tale.tell(Fact::Acked(key));
        }
        tale.broken()
    };
    assert!(upload(0, false).is_empty() && upload(1, true).is_empty());
    assert_eq!(upload(0, true), ["untrue"]);
    assert_eq!(upload(2, true), ["twice"]);
}
