//! A bridge in a house of its own, with the test in the place of the remote broker.

use std::sync::{Arc, Mutex};

use contract::Fault;
use testkit::{House, LineId};

use super::*;
use crate::mqtt::PROTOCOL;
use crate::mqtt::codec::{Connect, Kind, Level, Options, Packet, Properties, Publish, Subscribe, put_ack};
use model::Qos;

const V311: Level = Level::V311;
const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const CONNACK_RESUMED: &[u8] = &[0x20, 2, 1, 0];

fn topic(pattern: &str, direction: Direction, qos: u8, local: &str, remote: &str) -> BridgeTopic {
    BridgeTopic::new(pattern, direction, Qos::from_u8(qos).unwrap(), local, remote).unwrap()
}

fn plan(topics: Vec<BridgeTopic>) -> BridgePlan {
    BridgePlan {
        name: "shed".into(),
        client_id: "espush-shed".into(),
        username: None,
        password: None,
        clean: false,
        keep_alive_s: 60,
        try_private: true,
        notification_topic: None,
        topics,
    }
}

struct Bench {
    house: House,
    plan: Arc<BridgePlan>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new(plan: BridgePlan) -> Bench {
        let house = House::new(2);
        house.gate().open_to_all();
        Bench { house, plan: Arc::new(plan), notes: Arc::default() }
    }

    /// The bridge calls the remote; its CONNECT is left to be read.
    fn call(&mut self, private: bool) -> LineId {
        let (plan, notes) = (self.plan.clone(), self.notes.clone());
        let tell: Tell = Arc::new(move |note| notes.lock().unwrap().push(format!("{note:?}")));
        self.house.connect_machine("bridge", |peer| Box::new(Machine::new(plan, peer, private, tell)))
    }

    /// The bridge calls and is let in.
    fn connected(&mut self, connack: &[u8]) -> LineId {
        let remote = self.call(true);
        self.house.received(remote);
        self.house.send(remote, connack);
        remote
    }

    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap())
    }

    /// A client of this broker, subscribed to these at QoS 2.
    fn client(&mut self, name: &str, filters: &[&str]) -> LineId {
        let line = self.house.connect(&PROTOCOL);
        let mut bytes = Vec::new();
        let connect = Connect {
            level: V311,
            clean: true,
            keep_alive_s: 0,
            props: Properties::NONE,
            client: name,
            will: None,
            user: None,
            password: None,
        };
        connect.encode(&mut bytes).unwrap();
        let wanted: Vec<_> = filters.iter().map(|filter| (*filter, Options::at(Qos::ExactlyOnce))).collect();
        if !wanted.is_empty() {
            Subscribe::encode(V311, &mut bytes, 1, Properties::NONE, &wanted).unwrap();
        }
        self.house.send(line, &bytes);
        self.house.received(line);
        line
    }

    fn publish(&mut self, line: LineId, topic: &str, qos: u8, id: u16, retain: bool, payload: &[u8]) {
        self.house.send(line, &publish(topic, qos, id, retain, payload));
    }

    fn ack(&mut self, line: LineId, kind: Kind, id: u16) {
        let mut bytes = Vec::new();
        put_ack(&mut bytes, kind, id);
        self.house.send(line, &bytes);
    }

    /// What came on a line since the last look, a word a packet.
    fn seen(&mut self, line: LineId) -> Vec<String> {
        let bytes = self.house.received(line);
        let (mut rest, mut words) = (&bytes[..], Vec::new());
        while let Ok(Some((packet, used))) = Packet::read(V311, rest) {
            words.push(word(&packet));
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "{rest:x?}");
        words
    }
}

fn publish(topic: &str, qos: u8, id: u16, retain: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let qos = Qos::from_u8(qos).unwrap();
    Publish { dup: false, qos, retain, topic, id, props: Properties::NONE, payload }.encode(V311, &mut bytes).unwrap();
    bytes
}

fn word(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(p) => {
            let flags = [if p.dup { " again" } else { "" }, if p.retain { " retained" } else { "" }].concat();
            format!("{} {} qos {} id {}{flags}", p.topic, String::from_utf8_lossy(p.payload), p.qos as u8, p.id)
        }
        Packet::Puback(ack) => format!("puback {}", ack.id),
        Packet::Pubrec(ack) => format!("pubrec {}", ack.id),
        Packet::Pubrel(ack) => format!("pubrel {}", ack.id),
        Packet::Pubcomp(ack) => format!("pubcomp {}", ack.id),
        Packet::Subscribe(s) => {
            let filters: Vec<_> = s.filters().map(|(filter, options)| format!("{filter} {}", options.qos as u8)).collect();
            format!("subscribe {}", filters.join(", "))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn the_call_says_what_the_plan_says() {
    let mut bench = Bench::new(BridgePlan {
        username: Some("u".into()),
        password: Some("p".into()),
        notification_topic: Some("state".into()),
        ..plan(vec![topic("a/#", Direction::In, 1, "", ""), topic("b", Direction::Out, 0, "", "")])
    });
    let remote = bench.call(true);
    let connect = bench.house.received(remote);
    let wanted = b"\x10\x27\x00\x04MQTT\x84\xec\x00\x3c\x00\x0bespush-shed\x00\x05state\x00\x010\x00\x01u\x00\x01p";
    assert_eq!(connect, wanted, "level 4 with the bridge's bit; will retained at QoS 1; not clean");
    bench.house.send(remote, CONNACK);
    assert_eq!(bench.seen(remote), ["subscribe a/# 1", "state 1 qos 0 id 0 retained"]);
    assert_eq!(bench.notes(), ["Connected"]);

    let newer = bench.call(false);
    assert_eq!(bench.house.received(newer)[8], 4, "an ordinary client's level");
    bench.house.send(newer, CONNACK_RESUMED);
    let end = bench.seen(remote);
    assert_eq!(end[0], "state 0 qos 0 id 0 retained", "a goodbye drops the will, so the bridge says it itself");
    assert!(end[1].starts_with("Disconnect"), "{end:?}");
}

/// [MQTT 3.1.1: 2.3.1-2, 7.0.0-1]
#[test]
fn messages_go_out_under_the_remotes_names_and_are_acknowledged() {
    let mut bench = Bench::new(plan(vec![topic("+/temp", Direction::Out, 2, "here/", "there/")]));
    let remote = bench.connected(CONNACK);
    assert_eq!(bench.seen(remote), [""; 0], "nothing is wanted of the remote");
    let client = bench.client("c", &[]);
    bench.publish(client, "here/shed/temp", 0, 0, false, b"20");
    bench.publish(client, "here/shed/temp", 1, 1, true, b"21");
    bench.publish(client, "here/shed/temp", 2, 2, false, b"22");
    bench.publish(client, "here/shed/hum", 1, 3, false, b"50");
    assert_eq!(
        bench.seen(remote),
        ["there/shed/temp 20 qos 0 id 0", "there/shed/temp 21 qos 1 id 1 retained", "there/shed/temp 22 qos 2 id 2"]
    );
    bench.ack(remote, Kind::Puback, 1);
    bench.ack(remote, Kind::Pubrec, 2);
    assert_eq!(bench.seen(remote), ["pubrel 2"]);
    bench.ack(remote, Kind::Pubcomp, 2);
    bench.house.cut(remote);
    let remote = bench.connected(CONNACK_RESUMED);
    assert_eq!(bench.seen(remote), ["there/shed/temp 21 qos 1 id 3 retained"], "all was settled; the last value is told again");
}

/// [MQTT 3.1.1: 7.0.0-1]
#[test]
fn messages_come_in_under_our_names_and_are_acknowledged() {
    let mut bench = Bench::new(plan(vec![topic("#", Direction::In, 2, "old/", "site/")]));
    let remote = bench.connected(CONNACK);
    assert_eq!(bench.seen(remote), ["subscribe site/# 2"]);
    let client = bench.client("c", &["old/#"]);
    for qos in 0..=2 {
        bench.publish(remote, "site/x", qos, u16::from(qos), false, b"v");
    }
    assert_eq!(bench.seen(remote), ["puback 1", "pubrec 2"]);
    bench.ack(remote, Kind::Pubrel, 2);
    assert_eq!(bench.seen(remote), ["pubcomp 2"]);
    assert_eq!(bench.seen(client), ["old/x v qos 0 id 0", "old/x v qos 1 id 1", "old/x v qos 2 id 2"]);
    bench.publish(remote, "site/last", 1, 9, true, b"kept");
    let late = bench.client("late", &[]);
    bench.house.received(client);
    let mut bytes = Vec::new();
    Subscribe::encode(V311, &mut bytes, 1, Properties::NONE, &[("old/last", Options::at(Qos::AtMostOnce))]).unwrap();
    bench.house.send(late, &bytes);
    assert!(bench.seen(late).contains(&"old/last kept qos 0 id 0 retained".to_owned()), "a last value there is one here");
}

#[test]
fn what_came_from_the_remote_does_not_go_back() {
    let mut bench = Bench::new(plan(vec![topic("#", Direction::Both, 1, "", "")]));
    let remote = bench.connected(CONNACK);
    assert_eq!(bench.seen(remote), ["subscribe # 1"]);
    let client = bench.client("c", &["#"]);
    bench.publish(remote, "lamp", 1, 7, true, b"on");
    assert_eq!(bench.seen(remote), ["puback 7"]);
    assert_eq!(bench.seen(client), ["lamp on qos 1 id 1"]);
    bench.publish(client, "lamp", 1, 1, true, b"off");
    assert_eq!(bench.seen(remote), ["lamp off qos 1 id 1 retained"]);
    bench.ack(remote, Kind::Puback, 1);
    bench.house.cut(remote);
    let remote = bench.connected(CONNACK_RESUMED);
    assert_eq!(bench.seen(remote), ["subscribe # 1"], "with both ways the remote's last values win: ours are not sent");
}

/// [MQTT 3.1.1: 2.3.1-3, 7.0.0-1]
#[test]
fn what_is_published_before_the_remote_is_there_and_while_it_is_away_waits() {
    let mut bench = Bench::new(plan(vec![topic("a", Direction::Out, 2, "", "")]));
    let reserve = Reserve::new(bench.plan.clone()).unwrap();
    bench.house.connect_machine("bridge", |_| Box::new(reserve));
    let client = bench.client("c", &[]);
    bench.publish(client, "a", 1, 1, false, b"early");
    let remote = bench.connected(CONNACK);
    assert_eq!(bench.seen(remote), ["a early qos 1 id 1"]);
    bench.house.cut(remote);
    bench.publish(client, "a", 2, 2, false, b"later");
    bench.publish(client, "a", 0, 0, false, b"lost, as QoS 0 may be");
    let remote = bench.connected(CONNACK_RESUMED);
    assert_eq!(bench.seen(remote), ["a early qos 1 id 1 again", "a later qos 2 id 2"]);
    bench.ack(remote, Kind::Puback, 1);
    bench.ack(remote, Kind::Pubrec, 2);
    bench.house.cut(remote);
    let remote = bench.connected(CONNACK_RESUMED);
    assert_eq!(bench.seen(remote), ["pubrel 2"], "the remote has it, and is only told to forget its id");
    assert!(Reserve::new(Arc::new(BridgePlan { clean: true, ..plan(vec![]) })).is_none());
}

#[test]
fn exactly_once_holds_over_a_broken_line_and_over_a_remote_that_forgot() {
    let mut bench = Bench::new(plan(vec![topic("a", Direction::In, 2, "", "")]));
    let client = bench.client("c", &["a"]);
    let remote = bench.connected(CONNACK);
    bench.publish(remote, "a", 2, 5, false, b"one");
    bench.house.cut(remote);
    let remote = bench.connected(CONNACK_RESUMED);
    bench.publish(remote, "a", 2, 5, false, b"one");
    assert_eq!(bench.seen(remote), ["subscribe a 2", "pubrec 5"]);
    assert_eq!(bench.seen(client), ["a one qos 2 id 1"], "the repetition is none");
    bench.house.cut(remote);
    let remote = bench.connected(CONNACK);
    bench.publish(remote, "a", 2, 5, false, b"two");
    assert_eq!(bench.seen(remote), ["subscribe a 2", "pubrec 5"]);
    assert_eq!(bench.seen(client), ["a two qos 2 id 2"], "the remote began anew, and so did its ids");
}

/// [MQTT 3.1.1: 4.5.0-2]
#[test]
fn what_was_not_asked_for_is_acknowledged_and_goes_nowhere() {
    let mut bench = Bench::new(plan(vec![topic("#", Direction::In, 1, "", ""), topic("b", Direction::Out, 1, "x/", "")]));
    bench.house.gate().add_token("ops", "secret", model::Role::Owner);
    let remote = bench.connected(CONNACK);
    bench.house.received(remote);
    bench.publish(remote, "dev/lamp/push", 1, 1, false, b"open the door");
    bench.publish(remote, "$SYS/uptime", 2, 2, false, b"1");
    assert_eq!(bench.seen(remote), ["puback 1", "pubrec 2"]);
    assert!(bench.house.events().is_empty(), "nothing was even tried");
}

#[test]
fn refusals_are_sentences() {
    let rows = [
        (1, "does not speak MQTT 3.1.1"),
        (2, "client id \"espush-shed\""),
        (3, "not available"),
        (4, "user name or password"),
        (5, "does not let this bridge in"),
    ];
    for (code, wanted) in rows {
        let mut bench = Bench::new(plan(vec![]));
        let remote = bench.call(false);
        bench.house.send(remote, &[0x20, 2, 0, code]);
        let close = bench.house.closed(remote).unwrap();
        assert!(close.why.contains(wanted), "{code}: {}", close.why);
        assert_eq!(close.fault, Fault::Refused);
        assert_eq!(bench.house.sessions(), (0, 0), "who was not let in there has nothing here");
    }
    let mut bench = Bench::new(plan(vec![topic("a", Direction::In, 1, "", ""), topic("b", Direction::In, 1, "", "")]));
    let remote = bench.call(true);
    bench.house.send(remote, &[0x20, 2, 0, 1]);
    assert_eq!(bench.notes(), ["NoBridges"]);
    assert_eq!(bench.house.closed(remote).unwrap().fault, Fault::Lack);
    let remote = bench.connected(CONNACK);
    bench.house.send(remote, &[0x90, 4, 0xff, 0xff, 1, 0x80]);
    assert_eq!(bench.notes(), ["Connected", "NotGranted(\"b\")"]);
    assert_eq!(bench.house.closed(remote), None, "the rest goes on");
}

#[test]
fn a_remote_that_is_no_broker_or_says_nothing_is_left() {
    let mut bench = Bench::new(plan(vec![]));
    let silent = bench.call(true);
    bench.house.advance_ms(21_000);
    assert!(bench.house.closed(silent).unwrap().why.contains("did not answer the CONNECT"));
    let greeter = bench.call(true);
    bench.house.send(greeter, b"\xd0\x00");
    assert!(bench.house.closed(greeter).unwrap().why.contains("is it an MQTT broker?"));
    let remote = bench.connected(CONNACK);
    bench.house.send(remote, &[0x90, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(bench.house.closed(remote).unwrap().fault, Fault::Lack, "before the rest of it has come");
}

#[test]
fn a_message_that_is_too_large_does_not_stand_before_the_others() {
    let mut bench = Bench::new(plan(vec![topic("#", Direction::In, 2, "", "")]));
    let client = bench.client("c", &["#"]);
    let remote = bench.connected(CONNACK);
    bench.house.received(remote);
    let large = vec![b'x'; 300_000];
    for (qos, answer) in [(0, &[][..]), (1, &["puback 7"]), (2, &["pubrec 7"])] {
        let bytes = [publish("picture", qos, 7, false, &large), publish("small", 0, 0, false, b"v")].concat();
        for piece in bytes.chunks(7_777) {
            bench.house.send(remote, piece);
        }
        assert_eq!(bench.seen(remote), answer);
        assert_eq!(bench.seen(client), ["small v qos 0 id 0"]);
    }
    bench.ack(remote, Kind::Pubrel, 7);
    assert_eq!(bench.seen(remote), ["pubcomp 7"]);
    assert!(bench.notes().contains(&"LeftOut { topic: \"picture\", bytes: 300011 }".to_owned()));
    let mut bytes = publish("picture", 1, 8, false, &large);
    bytes.truncate(4);
    for byte in bytes.into_iter().chain(*b"\x00\x01a\x00\x09") {
        bench.house.send(remote, &[byte]);
    }
    assert_eq!(bench.seen(remote), ["puback 9"], "as soon as its beginning is there, byte by byte");
    bench.house.cut(remote);
}

/// [MQTT 3.1.1: 3.1.2-23]
#[test]
fn an_idle_line_is_kept_alive_and_a_dead_one_is_left() {
    let mut bench = Bench::new(plan(vec![topic("a", Direction::Out, 0, "", "")]));
    let remote = bench.connected(CONNACK);
    for _ in 0..5 {
        bench.house.advance_ms(46_000);
        let seen = bench.seen(remote);
        assert!(seen.contains(&"Pingreq".to_owned()) && seen.iter().all(|word| word == "Pingreq"), "{seen:?}");
        bench.house.send(remote, &[0xd0, 0]);
    }
    assert_eq!(bench.house.closed(remote), None);
    // Messages that only come prove nothing about us: the remote waits for a word, too.
    let mut said = Vec::new();
    for _ in 0..10 {
        bench.publish(remote, "a", 0, 0, false, b"x");
        bench.house.advance_ms(10_000);
        said.extend(bench.seen(remote));
    }
    assert!(said.len() >= 2 && said.iter().all(|word| word == "Pingreq"), "{said:?}");
    // Messages that go out prove nothing about the remote.
    let client = bench.client("c", &[]);
    for _ in 0..10 {
        bench.publish(client, "a", 0, 0, false, b"x");
        bench.house.advance_ms(10_000);
    }
    let close = bench.house.closed(remote).unwrap();
    assert!(close.fault == Fault::Line && close.why.contains("silent"), "{close:?}");
}

#[test]
fn hostile_bytes_do_no_harm() {
    arbtest::arbtest(|u| {
        let mut bench = Bench::new(plan(vec![topic("#", Direction::Both, 2, "", "")]));
        let remote = bench.call(true);
        if u.arbitrary()? {
            bench.house.send(remote, CONNACK);
        }
        while !u.is_empty() {
            let mut bytes: Vec<u8> = u.arbitrary()?;
            // Nearly right is worse than quite wrong.
            if u.arbitrary()? && !bytes.is_empty() {
                bytes.truncate(100);
                let kind = [0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90][usize::from(bytes[0] % 8)];
                bytes = [&[kind, bytes.len() as u8], &bytes[..]].concat();
            }
            bench.house.send(remote, &bytes);
        }
        Ok(())
    });
}

/// The login of bridges asks for no secret: it is safe only as long as no other machine can present it.
#[test]
fn no_other_room_logs_in_as_a_bridge() {
    let mut rooms = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut found = Vec::new();
    while let Some(room) = rooms.pop() {
        for entry in std::fs::read_dir(room).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rooms.push(path);
            } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("Login::Bridge {")) {
                found.push(path.file_name().unwrap().to_owned());
            }
        }
    }
    found.retain(|name| name != "tests.rs");
    assert_eq!(found, ["machine.rs"]);
}
