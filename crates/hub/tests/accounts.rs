//! Broker accounts in the hub, on one shard and on three: what their rules let through, where a message
//! is looked at, and what a change of rules ends.

use model::{PartyKey, Qos};
use protocols::mqtt::PROTOCOL;
use protocols::mqtt::codec::{Connect, Level, Options, Packet, Properties, Property, PropertyList, Publish, Subscribe, Will};
use testkit::{House, LineId};

struct Client {
    line: LineId,
}

fn connect(house: &mut House, user: Option<&str>, client: &str, clean: bool, will: Option<&str>) -> Client {
    let props = Properties::NONE;
    let will = will.map(|topic| Will { topic, payload: b"gone", qos: Qos::AtMostOnce, retain: false, props });
    let password = user.map(|_| &b"secret"[..]);
    let hello = Connect { level: Level::V311, clean, keep_alive_s: 0, props, client, will, user, password };
    let mut bytes = Vec::new();
    hello.encode(&mut bytes).unwrap();
    let line = house.connect(&PROTOCOL);
    house.send(line, &bytes);
    Client { line }
}

impl Client {
    /// Subscribes, and tells which filters were granted.
    fn subscribe(&self, house: &mut House, filters: &[&str]) -> Vec<bool> {
        self.seen(house);
        let mut bytes = Vec::new();
        let filters: Vec<_> = filters.iter().map(|filter| (*filter, Options::at(Qos::AtLeastOnce))).collect();
        Subscribe::encode(Level::V311, &mut bytes, 7, Properties::NONE, &filters).unwrap();
        house.send(self.line, &bytes);
        let bytes = house.received(self.line);
        assert_eq!((bytes[0], &bytes[2..4]), (0x90, &[0, 7][..]), "a SUBACK comes first");
        bytes[4..2 + usize::from(bytes[1])].iter().map(|code| *code != 0x80).collect()
    }

    fn publish(&self, house: &mut House, topic: &str, retain: bool) {
        let mut bytes = Vec::new();
        let props = Properties::NONE;
        Publish { dup: false, qos: Qos::AtLeastOnce, retain, topic, id: 9, props, payload: b"x" }
            .encode(Level::V311, &mut bytes)
            .unwrap();
        house.send(self.line, &bytes);
    }

    /// The topics of the messages that came.
    fn seen(&self, house: &mut House) -> Vec<String> {
        let bytes = house.received(self.line);
        let mut rest = &bytes[..];
        let mut topics = Vec::new();
        while let Some((packet, used)) = Packet::read(Level::V311, rest).unwrap() {
            if let Packet::Publish(publish) = packet {
                topics.push(publish.topic.to_owned());
            }
            rest = &rest[used..];
        }
        topics.sort();
        topics
    }
}

fn each_size(test: impl Fn(&mut House)) {
    for shards in [1, 3] {
        test(&mut House::new(shards));
    }
}

#[test]
fn a_filter_that_is_allowed_in_part_brings_that_part() {
    each_size(|house| {
        house.gate().add_account("ann", "secret", &["deny both home/safe", "allow subscribe home/#", "allow subscribe news"]);
        house.gate().add_account("root", "secret", &[]);
        let root = connect(house, Some("root"), "r", true, None);
        for topic in ["home/old", "home/safe", "garden/old"] {
            root.publish(house, topic, true);
        }
        let ann = connect(house, Some("ann"), "a", true, None);
        assert_eq!(ann.subscribe(house, &["#", "garden/#", "home/safe", "news"]), [true, false, false, true]);
        ann.seen(house);
        let late = connect(house, Some("ann"), "late", true, None);
        assert_eq!(late.subscribe(house, &["home/#"]), [true]);
        for topic in ["home/door", "home/safe", "garden", "news", "home"] {
            root.publish(house, topic, false);
        }
        assert_eq!(ann.seen(house), ["home", "home/door", "news"]);
        assert_eq!(late.seen(house), ["home", "home/door"]);
    });
}

#[test]
fn retained_messages_are_looked_at_too() {
    each_size(|house| {
        house.gate().add_account("ann", "secret", &["deny both home/safe", "allow subscribe home/#"]);
        house.gate().add_account("root", "secret", &[]);
        let root = connect(house, Some("root"), "r", true, None);
        root.publish(house, "home/safe", true);
        let ann = connect(house, Some("ann"), "a", true, None);
        let mut bytes = Vec::new();
        Subscribe::encode(Level::V311, &mut bytes, 7, Properties::NONE, &[("home/#", Options::at(Qos::AtLeastOnce))]).unwrap();
        house.send(ann.line, &bytes);
        assert!(ann.seen(house).is_empty());
        root.publish(house, "home/door", true);
        house.send(ann.line, &bytes);
        assert_eq!(ann.seen(house), ["home/door", "home/door"], "live, and once more as it is retained");
    });
}

#[test]
fn what_may_not_be_published_reaches_nobody_wills_included() {
    each_size(|house| {
        house.gate().add_account("ann", "secret", &["allow publish %u/%c/#"]);
        house.gate().add_account("root", "secret", &[]);
        let root = connect(house, Some("root"), "r", true, None);
        root.subscribe(house, &["#"]);
        let ann = connect(house, Some("ann"), "phone", true, Some("elsewhere"));
        for topic in ["ann/phone/x", "ann/other/x", "x"] {
            ann.publish(house, topic, true);
        }
        assert_eq!(root.seen(house), ["ann/phone/x"]);
        house.cut(ann.line);
        let ann = connect(house, Some("ann"), "phone", true, Some("ann/phone/gone"));
        house.cut(ann.line);
        assert_eq!(root.seen(house), ["ann/phone/gone"]);
        let wide = connect(house, Some("ann"), "+", true, None);
        wide.publish(house, "ann/phone/x", false);
        wide.publish(house, "ann/+/x", false);
        assert!(root.seen(house).is_empty(), "a client id that is a wildcard opens nothing");
    });
}

#[test]
fn a_shared_subscription_must_be_allowed_as_a_whole() {
    each_size(|house| {
        house.gate().add_account("ann", "secret", &["allow subscribe home/#"]);
        let ann = connect(house, Some("ann"), "a", true, None);
        assert_eq!(ann.subscribe(house, &["$share/g/home/+", "$share/g/#"]), [true, false]);
    });
}

#[test]
fn other_rules_end_lines_and_what_waited_under_the_old_ones() {
    each_size(|house| {
        let whom = house.gate().add_account("ann", "secret", &["allow both #"]);
        house.gate().add_account("root", "secret", &[]);
        let root = connect(house, Some("root"), "r", true, None);
        for client in ["here", "there", "away"] {
            let ann = connect(house, Some("ann"), client, false, None);
            ann.subscribe(house, &["#"]);
            if client == "away" {
                house.cut(ann.line);
            }
        }
        root.publish(house, "home/safe", false);
        house.gate().add_account("ann", "secret", &["deny both home/safe", "allow both #"]);
        house.kick_party(whom, "other rules", true);
        for client in ["here", "there", "away"] {
            let ann = connect(house, Some("ann"), client, false, None);
            assert!(ann.seen(house).is_empty(), "{client}");
        }
        assert!(house.closed(root.line).is_none(), "others stay");
    });
}

#[test]
fn anonymous_clients_can_be_ended_together() {
    each_size(|house| {
        house.gate().open_to_all();
        let lines: Vec<Client> = (0..5).map(|n| connect(house, None, &format!("c{n}"), true, None)).collect();
        house.kick_party(PartyKey::Anonymous, "rules now", true);
        assert!(lines.iter().all(|client| house.closed(client.line).is_some()));
    });
}

/// MQTT 5.0 tells the name that was given, and a client may come again with it [MQTT-3.2.2-16]. The house
/// accepts connections on its shards in turn.
#[test]
fn nameless_clients_stay_where_they_are_and_find_back_by_the_name_they_were_given() {
    let mut house = House::new(3);
    house.gate().add_account("ann", "secret", &[]);
    let connect = |house: &mut House, client: &str, clean: bool| {
        let mut kept = PropertyList::default();
        kept.push(Property::SessionExpiryS(100)).unwrap();
        let props = kept.view();
        let (user, password) = (Some("ann"), Some(&b"secret"[..]));
        let hello = Connect { level: Level::V5, clean, keep_alive_s: 0, props, client, will: None, user, password };
        let mut bytes = Vec::new();
        hello.encode(&mut bytes).unwrap();
        let line = house.connect(&PROTOCOL);
        house.send(line, &bytes);
        let bytes = house.received(line);
        let Some((Packet::Connack(connack), _)) = Packet::read(Level::V5, &bytes).unwrap() else { panic!("{bytes:02x?}") };
        let name = connack.props.iter().find_map(|property| match property {
            Property::AssignedClientId(name) => Some(name.to_owned()),
            _ => None,
        });
        (line, connack.session_present, name)
    };
    for _ in 0..9 {
        let (line, _, name) = connect(&mut house, "", true);
        house.cut(line);
        let (line, present, _) = connect(&mut house, &name.expect("a name was given"), false);
        assert!(present);
        house.cut(line);
    }
}
