//! MQTT 3.1.1 clients of a house, in a line of Rust a step.
#![allow(dead_code)] // each test file uses some of it

use std::collections::BTreeMap;

use model::{DeviceNumber, Qos};
use protocols::mqtt::PROTOCOL;
use protocols::mqtt::codec::{
    Connect, Kind, Level, Options, Packet, Properties, Property, PropertyList, Publish, Subscribe, Will, put_ack,
};
use testkit::{House, LineId};

/// A house with four devices.
pub fn house(shards: u16) -> (House, BTreeMap<&'static str, DeviceNumber>) {
    let house = House::new(shards);
    let numbers = ["a", "b", "c", "lamp"].map(|id| (id, house.gate().add_device(id, "secret", 7)));
    (house, numbers.into())
}

/// Connects with a will that says whose it is.
pub fn connect(house: &mut House, device: &str, client: &str, clean: bool) -> LineId {
    connect_with_will(house, device, client, clean, Qos::AtMostOnce)
}

/// The same with a will of that QoS.
pub fn connect_with_will(house: &mut House, device: &str, client: &str, clean: bool, qos: Qos) -> LineId {
    connect_as(house, device, client, clean, Some(qos))
}

/// The same with none.
pub fn connect_without_will(house: &mut House, device: &str, client: &str, clean: bool) -> LineId {
    connect_as(house, device, client, clean, None)
}

fn connect_as(house: &mut House, device: &str, client: &str, clean: bool, will: Option<Qos>) -> LineId {
    let props = Properties::NONE;
    let will = will.map(|qos| Will { topic: "gone", payload: device.as_bytes(), qos, retain: false, props });
    say_hello(house, device, Connect { clean, client, will, ..hello(Level::V311) })
}

/// Connects with MQTT 5.0 and no will, for a session that is kept for so many seconds.
pub fn connect_5(house: &mut House, device: &str, client: &str, keep_s: u32) -> LineId {
    let mut expiry = PropertyList::default();
    expiry.push(Property::SessionExpiryS(keep_s)).unwrap();
    say_hello(house, device, Connect { props: expiry.view(), client, ..hello(Level::V5) })
}

/// What most clients say.
fn hello<'a>(level: Level) -> Connect<'a> {
    let (props, will, user, password) = (Properties::NONE, None, None, Some(&b"secret"[..]));
    Connect { level, clean: false, keep_alive_s: 0, props, client: "", will, user, password }
}

fn say_hello(house: &mut House, device: &str, hello: Connect<'_>) -> LineId {
    let mut bytes = Vec::new();
    Connect { user: Some(device), ..hello }.encode(&mut bytes).unwrap();
    let line = house.connect(&PROTOCOL);
    house.send(line, &bytes);
    line
}

/// Subscribes with MQTT 5.0.
pub fn subscribe_5(house: &mut House, line: LineId, filter: &str, qos: Qos) {
    let mut bytes = Vec::new();
    Subscribe::encode(Level::V5, &mut bytes, 7, Properties::NONE, &[(filter, Options::at(qos))]).unwrap();
    house.send(line, &bytes);
}

/// Publishes with MQTT 5.0 what is over after so many seconds.
pub fn publish_for_s(house: &mut House, line: LineId, id: u16, retain: bool, topic: &str, qos: Qos, expiry_s: u32) {
    let mut expiry = PropertyList::default();
    expiry.push(Property::MessageExpiryS(expiry_s)).unwrap();
    let mut bytes = Vec::new();
    let publish = Publish { dup: false, qos, retain, topic, id, props: expiry.view(), payload: b"soon" };
    publish.encode(Level::V5, &mut bytes).unwrap();
    house.send(line, &bytes);
}

/// Subscribes.
pub fn subscribe(house: &mut House, line: LineId, filter: &str, qos: Qos) {
    let mut bytes = Vec::new();
    Subscribe::encode(Level::V311, &mut bytes, 7, Properties::NONE, &[(filter, Options::at(qos))]).unwrap();
    house.send(line, &bytes);
}

/// Publishes with packet id 9.
pub fn publish(house: &mut House, line: LineId, topic: &str, payload: &[u8], qos: Qos) {
    publish_as(house, line, 9, false, topic, payload, qos);
}

/// Publishes.
pub fn publish_as(house: &mut House, line: LineId, id: u16, retain: bool, topic: &str, payload: &[u8], qos: Qos) {
    let mut bytes = Vec::new();
    let publish = Publish { dup: false, qos, retain, topic, id, props: Properties::NONE, payload };
    publish.encode(Level::V311, &mut bytes).unwrap();
    house.send(line, &bytes);
}

/// Sends a PUBACK.
pub fn ack(house: &mut House, line: LineId, id: u16) {
    answer(house, line, Kind::Puback, id);
}

/// Sends one of the packets that are an id.
pub fn answer(house: &mut House, line: LineId, kind: Kind, id: u16) {
    let mut bytes = Vec::new();
    put_ack(&mut bytes, kind, id);
    house.send(line, &bytes);
}

/// What a client was sent, a line of text a packet.
pub fn received(house: &mut House, line: LineId) -> Vec<String> {
    let bytes = house.received(line);
    let mut rest = &bytes[..];
    let mut packets = Vec::new();
    while let Some((packet, used)) = Packet::read(Level::V311, rest).unwrap() {
        packets.push(match packet {
            Packet::Connack(connack) => format!("connack {:?} present={}", connack.reason, connack.session_present),
            Packet::Publish(p) => {
                let dup = if p.dup { " dup" } else { "" };
                format!("{} {} id={}{dup}", p.topic, String::from_utf8_lossy(p.payload), p.id)
            }
            Packet::Suback(_) => "suback".to_owned(),
            Packet::Unsuback(_) => "unsuback".to_owned(),
            Packet::Puback(_) => "puback".to_owned(),
            Packet::Pubrel(ack) => format!("pubrel {}", ack.id),
            Packet::Pubrec(ack) => format!("pubrec {}", ack.id),
            Packet::Pubcomp(ack) => format!("pubcomp {}", ack.id),
            other => format!("{:?}", std::mem::discriminant(&other)),
        });
        rest = &rest[used..];
    }
    assert!(rest.is_empty(), "a client is only ever sent whole packets");
    packets
}
