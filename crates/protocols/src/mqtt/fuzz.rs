//! What the fuzz targets call, so that the same inputs are also replayed by `cargo test`. Each entry
//! takes any bytes and asserts what must hold for all of them.

use std::sync::Arc;

use contract::{Accepted, Answer, Delivery, Refusal};
use model::message::Props;
use model::{Message, Qos, Topic, UnixMs, limits};

use super::codec::{Head, Kind, Level, Packet, Property, Reason, Suback, Subscribe, Unsuback, Unsubscribe, put_empty};
use super::rig::Rig;

/// Any bytes as a stream of packets, both directions, at either level. What decodes must encode to
/// something that decodes to the same.
pub fn fuzz_packets(data: &[u8]) {
    for level in [Level::V311, Level::V5] {
        let mut rest = data;
        while let Ok(Some((packet, bytes))) = Packet::read(level, rest) {
            let mut again = Vec::new();
            encode(level, &packet, &mut again);
            assert_eq!(Packet::read(level, &again), Ok(Some((packet, again.len()))));
            rest = rest.split_at(bytes).1;
        }
    }
}

/// Encodes any packet that was decoded.
fn encode(level: Level, packet: &Packet<'_>, out: &mut Vec<u8>) {
    let fits = match *packet {
        Packet::Connect(connect) => connect.encode(out),
        Packet::Connack(connack) => connack.encode(level, out),
        Packet::Publish(publish) => publish.encode(level, out),
        Packet::Subscribe(s) => Subscribe::encode(level, out, s.id, s.props, &s.filters().collect::<Vec<_>>()),
        Packet::Suback(s) => Suback::encode(level, out, s.id, s.props, &s.reasons().collect::<Vec<_>>()),
        Packet::Unsubscribe(u) => Unsubscribe::encode(level, out, u.id, u.props, &u.filters().collect::<Vec<_>>()),
        Packet::Unsuback(u) => Unsuback::encode(level, out, u.id, u.props, &u.reasons().collect::<Vec<_>>()),
        Packet::Puback(ack) => ack.encode(level, Kind::Puback, out),
        Packet::Pubrec(ack) => ack.encode(level, Kind::Pubrec, out),
        Packet::Pubrel(ack) => ack.encode(level, Kind::Pubrel, out),
        Packet::Pubcomp(ack) => ack.encode(level, Kind::Pubcomp, out),
        Packet::Disconnect(disconnect) => disconnect.encode(level, Kind::Disconnect, out),
        Packet::Auth(auth) => auth.encode(level, Kind::Auth, out),
        Packet::Pingreq => return put_empty(out, Kind::Pingreq),
        Packet::Pingresp => return put_empty(out, Kind::Pingresp),
    };
    assert_eq!(fits, Ok(()), "what was decoded fits");
}

/// Any bytes as a connection: eight bytes of seed, then what the client sends. The seed decides how the
/// stream is split, what the hub says and when, and when time passes.
pub fn fuzz_session(data: &[u8]) {
    let Some((seed, stream)) = data.split_first_chunk::<8>() else { return };
    let seed = u64::from_le_bytes(*seed);
    any_answers(Dice(seed), stream);
    any_split(Dice(seed), stream);
}

/// Whatever happens, the machine uses no more than it was shown, makes progress, holds little, and
/// writes nothing but a server's packets.
fn any_answers(mut dice: Dice, stream: &[u8]) {
    let mut rig = Rig::new();
    let (mut rest, mut out) = (stream, Vec::new());
    while !rest.is_empty() && rig.closing.is_none() {
        let (chunk, behind) = rest.split_at(1 + dice.below(rest.len().min(64)));
        rest = behind;
        rig.hub.accepts =
            [Accepted::Now, Accepted::Later, Accepted::Refused(REFUSALS[dice.below(REFUSALS.len())])][dice.below(3)];
        rig.hub.grants = [Ok(Qos::ExactlyOnce), Ok(Qos::AtMostOnce), Err(Refusal::NotAllowed)][dice.below(3)];
        rig.send(chunk);
        match dice.below(8) {
            0 => rig.published(Ok(())),
            1 => rig.published(Err(REFUSALS[dice.below(REFUSALS.len())])),
            2 if rig.machine.is_open() => rig.answer(Answer::Published { token: dice.next() as u32, result: Ok(()) }),
            3 => rig.wait_ms(dice.next() % 60_000),
            4 if rig.machine.is_open() => rig.deliver(&delivery(&mut dice)),
            5 if rig.machine.is_asked() => rig.answer(Answer::Refused(REFUSALS[dice.below(REFUSALS.len())])),
            _ if rig.machine.is_asked() => rig.gate_answers(dice.below(2) == 1),
            _ => {}
        }
        assert!(rig.kept().len() <= limits::MQTT_PACKET_BYTES_MAX + 5);
        if rig.machine.is_open() && rig.closing.is_none() {
            let whole = Head::read(rig.machine.level(), rig.kept())
                .ok()
                .flatten()
                .is_some_and(|head| head.packet_bytes() <= rig.kept().len());
            assert!(!whole, "a whole packet was left lying");
        }
        out.extend(rig.written());
        rig.hub.calls.clear();
    }
    check_written(&rig, &out);
}

/// What holds for everything that we write, and is on the conformance page as shown by the replayed corpus:
/// one CONNACK and nothing of the open connection before it or behind a refusal, a DISCONNECT at the very
/// end, no packet above the client's maximum, and no properties that nobody asked us for.
fn check_written(rig: &Rig, mut out: &[u8]) {
    let level = rig.machine.level();
    let bytes_max = rig.machine.terms.as_ref().map_or(usize::MAX, |terms| terms.packet_bytes_max);
    let (mut answered, mut open) = (false, false);
    while !out.is_empty() {
        let Ok(Some((packet, bytes))) = Packet::read(level, out) else { panic!("the server wrote what is no packet") };
        assert!(bytes <= bytes_max, "a packet of {bytes} bytes to a client that takes {bytes_max}");
        match packet {
            Packet::Connack(connack) => {
                assert!(!answered, "one answer to one CONNECT");
                (answered, open) = (true, connack.reason == Reason::Success);
                assert!(open || bytes == out.len(), "nothing behind a refusal");
                assert!(open || !connack.session_present, "a refusal has no session");
            }
            Packet::Auth(auth) => {
                assert!(!answered && auth.reason == Reason::ContinueAuth, "a challenge before the answer, and nothing else");
            }
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::Pingreq => {
                panic!("the server wrote a packet that only clients send, or that nobody asked for")
            }
            Packet::Disconnect(_) => {
                assert!(level == Level::V5 && bytes == out.len(), "3.1.1 has no goodbye of the server's, and 5.0 one at the end");
                assert!(open, "no goodbye before the CONNACK");
            }
            _ => assert!(open, "nothing before the CONNACK"),
        }
        check_properties(&packet);
        out = out.split_at(bytes).1;
    }
}

/// User properties are the publisher's; a reason in words stands where a refusal may need one; how long a
/// session is kept is the client's word in a DISCONNECT.
fn check_properties(packet: &Packet<'_>) {
    let (props, words) = match packet {
        Packet::Connack(connack) => (connack.props, true),
        Packet::Puback(ack) | Packet::Pubrec(ack) => (ack.props, true),
        Packet::Pubrel(ack) | Packet::Pubcomp(ack) => (ack.props, false),
        Packet::Suback(suback) => (suback.props, true),
        Packet::Unsuback(unsuback) => (unsuback.props, true),
        Packet::Disconnect(disconnect) => (disconnect.props, true),
        Packet::Auth(auth) => (auth.props, false),
        _ => return,
    };
    for property in props.iter() {
        match property {
            Property::User(..) => panic!("a user property in a packet that is no PUBLISH"),
            Property::ReasonString(_) => assert!(words, "words where we have none to say"),
            Property::SessionExpiryS(_) => panic!("a session expiry of the server's"),
            _ => {}
        }
    }
}

/// However the same bytes are split, the same comes of them.
fn any_split(mut dice: Dice, stream: &[u8]) {
    if stream.len() > limits::MQTT_PACKET_BYTES_MAX {
        return; // sent at once it may be too much before the login, sent in parts it is not
    }
    let accepts = [Accepted::Now, Accepted::Refused(REFUSALS[dice.below(REFUSALS.len())])][dice.below(2)];
    let play = |chunks: &mut dyn FnMut(usize) -> usize| {
        let mut rig = Rig::new();
        rig.hub.accepts = accepts;
        let mut rest = stream;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(chunks(rest.len()));
            rest = behind;
            rig.send(chunk);
            if rig.machine.is_asked() {
                rig.gate_answers(false);
            }
        }
        (rig.written(), rig.closing.take(), std::mem::take(&mut rig.hub.calls))
    };
    let whole = play(&mut |len| len);
    let parts = play(&mut |len| 1 + dice.below(len.min(32)));
    assert_eq!(whole, parts);
}

const REFUSALS: [Refusal; 6] =
    [Refusal::NotAllowed, Refusal::BadTopic, Refusal::Quota, Refusal::Unavailable, Refusal::BadPayload, Refusal::BadCredentials];

fn delivery(dice: &mut Dice) -> Delivery {
    let slot = 1 + dice.below(usize::from(limits::INFLIGHT_MAX)) as u16;
    let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][dice.below(3)];
    match dice.below(4) {
        0 => Delivery::Release { slot },
        _ => Delivery::Message {
            message: Arc::new(message(dice)),
            as_me: dice.below(2) == 0,
            qos,
            slot: (qos != Qos::AtMostOnce).then_some(slot),
            retained: dice.below(2) == 0,
            retain: dice.below(2) == 0,
            ids: (1..=dice.below(3) as u32).collect(),
            expiry_s: (dice.below(4) == 0).then(|| dice.next() as u32),
            again: dice.below(2) == 0,
        },
    }
}

fn message(dice: &mut Dice) -> Message {
    let topic = Topic::of_device("lamp", ["push", "ask/1", "cmd/led/2"][dice.below(3)]);
    let props = Props { user: vec![("a".to_owned(), "b".to_owned())], utf8: dice.below(2) == 0, ..Props::default() };
    let props = (dice.below(4) == 0).then(|| Box::new(props));
    Message { props, ..Message::new(topic, vec![b'x'; dice.below(40)], UnixMs(0)) }
}

/// A small generator of the splitmix family: the same seed, the same run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when there is none.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
