//! The machine on the bench with a hub that does as it is told: what can be shown without the real hub,
//! above all the clock, the answers that come later, and what is done with refusals.

use std::sync::Arc;

use bytes::Bytes;
use contract::{Accepted, Answer, Close, Delivery, Ending, Fault, Login, Refusal, Released};
use model::limits::Limits;
use model::{Message, Qos, Topic, UnixMs, limits};

use super::rig::Rig;

/// umqtt.simple as it is: clean session, keep-alive 0, client id "c".
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c";
/// The same with a keep-alive of 10 s.
const CONNECT_10_S: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x0a\0\x01c";

#[test]
fn a_connect_becomes_a_hello_and_a_welcome_a_connack() {
    let mut rig = Rig::new();
    rig.send(b"\x10\x28\0\x04MQTT\x04\xf4\0\x3c\0\x06umqtt8\0\x01w\0\x03off\0\x04lamp\0\x06secret");
    let hello = rig.hub.hello.take().unwrap();
    let login = Login::Password { user: "lamp".into(), password: b"secret".to_vec(), client: "umqtt8".into() };
    assert_eq!((hello.login, hello.client.as_str()), (login, "umqtt8"));
    assert_eq!((hello.clean, hello.keep_s), (false, u32::MAX), "a session that is to be kept");
    let will = hello.will.unwrap();
    assert_eq!((will.topic.as_str(), &will.payload[..], will.qos, will.retain), ("w", &b"off"[..], Qos::ExactlyOnce, true));
    assert_eq!(rig.written(), b"", "nothing before the gate has answered");
    rig.welcome(true);
    assert_eq!(rig.written(), b"\x20\x02\x01\x00");
}

#[test]
fn what_comes_behind_the_connect_waits_for_the_gate() {
    let mut rig = Rig::new();
    rig.send(&[CONNECT, b"\x30\x04\0\x01ax", b"\xc0\0"].concat());
    assert_eq!(rig.hub.calls, ["hello \"c\""]);
    rig.welcome(false);
    assert_eq!(rig.hub.calls, ["hello \"c\"", "publish a qos 0 1 bytes"]);
    assert_eq!(rig.written(), b"\x20\x02\0\0\xd0\0");

    let mut rig = Rig::new();
    rig.send(&[CONNECT, b"\x30\x04\0\x01ax"].concat());
    rig.answer(Answer::Refused(Refusal::BadCredentials));
    assert_eq!(rig.hub.calls, ["hello \"c\""], "[MQTT-3.1.4-5]");
    assert_eq!((rig.written(), rig.fault()), (b"\x20\x02\0\x04".to_vec(), Some("refused")));
}

#[test]
fn a_stranger_who_says_too_much_before_the_gate_answers_is_closed() {
    let mut rig = Rig::new();
    rig.send(CONNECT);
    rig.send(&vec![0xc0; limits::MQTT_PACKET_BYTES_MAX]);
    assert_eq!(rig.fault(), None);
    rig.send(&[0xc0]);
    assert_eq!(rig.fault(), Some("refused"));
}

#[test]
fn refusals_have_their_codes() {
    let code = |refusal| {
        let mut rig = Rig::new();
        rig.send(CONNECT);
        rig.answer(Answer::Refused(refusal));
        (rig.written()[3], rig.fault().unwrap())
    };
    assert_eq!(code(Refusal::NoCredentials), (5, "refused"));
    assert_eq!(code(Refusal::BadAppKey), (4, "refused"));
    assert_eq!(code(Refusal::AppClosed), (5, "refused"));
    assert_eq!(code(Refusal::BadChipId), (2, "refused"));
    assert_eq!(code(Refusal::Quota), (3, "refused"));
    assert_eq!(code(Refusal::Unavailable), (3, "internal"));
}

#[test]
fn login_has_its_deadline_and_the_gate_too() {
    let mut rig = Rig::new();
    rig.wait_ms(19_999);
    assert_eq!(rig.fault(), None);
    rig.wait_ms(1);
    assert_eq!((rig.fault(), rig.written()), (Some("line"), vec![]));

    let mut rig = Rig::new();
    rig.wait_ms(5_000);
    rig.send(CONNECT);
    rig.wait_ms(15_000);
    assert_eq!((rig.fault(), rig.written()), (Some("internal"), b"\x20\x02\0\x03".to_vec()));

    let mut rig = Rig::open(CONNECT);
    assert_eq!(rig.wake_at, None, "no keep-alive, no timer");
    rig.wait_ms(1_000_000_000);
    assert_eq!(rig.fault(), None);
}

#[test]
fn silence_beyond_one_and_a_half_keep_alives_ends_the_line() {
    let mut rig = Rig::open(CONNECT_10_S);
    let armed = rig.wake_at;
    rig.wait_ms(10_000);
    rig.send(b"\xc0\0");
    assert_eq!(rig.wake_at, armed, "a packet does not touch the timer");
    rig.wait_ms(5_000);
    assert_eq!(rig.fault(), None, "the timer fires and finds that it is too early");
    rig.wait_ms(9_999);
    assert_eq!(rig.fault(), None);
    rig.wait_ms(1);
    assert_eq!(rig.fault(), Some("line"));
    assert!(!rig.hub.calls.iter().any(|call| call.starts_with("bye")), "so that the will is published");
}

#[test]
fn deliveries_are_no_sign_of_life() {
    let mut rig = Rig::open(CONNECT_10_S);
    rig.wait_ms(14_000);
    rig.deliver(&message(Qos::AtMostOnce, None, false));
    rig.wait_ms(1_000);
    assert_eq!(rig.fault(), Some("line"));
}

#[test]
fn a_begun_packet_must_be_finished_in_time() {
    let mut rig = Rig::open(CONNECT);
    rig.send(b"\x30\x10\0");
    for _ in 0..11 {
        rig.wait_ms(10_000);
        rig.send(b"\x01");
        assert_eq!(rig.fault(), None);
    }
    rig.wait_ms(10_000);
    assert_eq!(rig.fault(), Some("line"), "trickling does not help");

    let mut rig = Rig::open(CONNECT);
    rig.send(b"\xc0");
    rig.wait_ms(119_000);
    rig.send(b"\0\xc0");
    rig.wait_ms(119_000);
    assert_eq!(rig.fault(), None, "each packet has its own time");
    rig.send(b"\0");
    rig.wait_ms(1_000_000);
    assert_eq!((rig.fault(), rig.wake_at), (None, None));
}

#[test]
fn sizes_are_bounded_before_and_after_the_login() {
    let mut rig = Rig::new();
    rig.send(b"\x10\x81\x40"); // 8193 bytes
    assert_eq!(rig.fault(), Some("refused"), "before the packet itself has come");
    let mut rig = Rig::open(CONNECT);
    rig.send(b"\x30\x80\x80\x10"); // 256 KiB
    assert_eq!(rig.fault(), None);
    let mut rig = Rig::open(CONNECT);
    rig.send(b"\x30\x81\x80\x10");
    assert_eq!(rig.fault(), Some("refused"));
}

#[test]
fn an_acknowledgement_waits_until_the_message_is_kept() {
    let mut rig = Rig::open(CONNECT);
    rig.hub.accepts = Accepted::Later;
    rig.send(b"\x32\x06\0\x01a\0\x07x\x34\x06\0\x01a\0\x08x");
    assert_eq!(rig.written(), b"");
    rig.published(Ok(()));
    assert_eq!(rig.written(), b"\x40\x02\0\x07");
    rig.published(Ok(()));
    assert_eq!(rig.written(), b"\x50\x02\0\x08");
    rig.send(b"\x62\x02\0\x08");
    assert_eq!(rig.written(), b"\x70\x02\0\x08");
}

#[test]
fn what_cannot_be_kept_is_not_acknowledged() {
    for refusal in [Refusal::Unavailable, Refusal::Quota, Refusal::BadPayload] {
        let mut rig = Rig::open(CONNECT);
        rig.hub.accepts = Accepted::Later;
        rig.send(b"\x34\x06\0\x01a\0\x08x");
        rig.published(Err(refusal));
        assert_eq!((rig.written(), rig.closing.is_some()), (vec![], true), "{refusal:?}");

        let mut rig = Rig::open(CONNECT);
        rig.hub.accepts = Accepted::Refused(refusal);
        rig.send(b"\x30\x04\0\x01ax\x32\x06\0\x01a\0\x08x\xc0\0");
        assert_eq!((rig.written(), rig.closing.is_some()), (vec![], true), "QoS 0 is dropped, QoS 1 closes");
    }
}

#[test]
fn what_is_not_allowed_is_acknowledged_and_dropped() {
    let mut rig = Rig::open(CONNECT);
    rig.hub.accepts = Accepted::Refused(Refusal::NotAllowed);
    rig.send(b"\x30\x04\0\x01ax\x32\x06\0\x01a\0\x07x\x34\x06\0\x01a\0\x08x\x62\x02\0\x08");
    assert_eq!(rig.written(), b"\x40\x02\0\x07\x50\x02\0\x08\x70\x02\0\x08");
    assert_eq!(rig.fault(), None);
}

#[test]
fn a_pubrel_for_what_is_not_kept_yet_closes() {
    let mut rig = Rig::open(CONNECT);
    rig.hub.accepts = Accepted::Later;
    rig.hub.releases = Released::TooEarly;
    rig.send(b"\x34\x06\0\x01a\0\x08x\x62\x02\0\x08");
    assert_eq!((rig.written(), rig.fault()), (vec![], Some("peer")));
}

#[test]
fn an_answer_that_makes_no_sense_changes_nothing() {
    let mut rig = Rig::open(CONNECT);
    for token in [0, 8, 0x3_0008, u32::MAX] {
        rig.answer(Answer::Published { token, result: Ok(()) });
    }
    assert_eq!(rig.written(), b"");
    rig.welcome(true);
    assert_eq!(rig.written(), b"", "one CONNACK a connection");
}

#[test]
fn deliveries_carry_their_flags_and_the_topic_as_subscribed() {
    let mut rig = Rig::open(CONNECT);
    rig.deliver(&message(Qos::AtMostOnce, None, false));
    assert_eq!(rig.written(), b"\x30\x0b\0\x07me/pushon");
    rig.deliver(&message(Qos::AtLeastOnce, Some(5), false));
    assert_eq!(rig.written(), b"\x32\x0d\0\x07me/push\0\x05on");
    rig.deliver(&message(Qos::ExactlyOnce, Some(6), true));
    assert_eq!(rig.written(), b"\x3c\x0d\0\x07me/push\0\x06on");
    rig.deliver(&Delivery::Release { slot: 6 });
    assert_eq!(rig.written(), b"\x62\x02\0\x06");
    rig.send(b"\x40\x02\0\x05\x50\x02\0\x06\x70\x02\0\x06");
    assert_eq!(rig.written(), b"\x62\x02\0\x06");
    assert_eq!(rig.hub.calls[1..], ["settle 5 Delivered", "received 6", "settle 6 Delivered"]);
}

#[test]
fn a_malformed_filter_closes_and_a_refused_one_does_not() {
    let mut rig = Rig::open(CONNECT);
    rig.hub.grants = Err(Refusal::NotAllowed);
    rig.send(b"\x82\x06\0\x01\0\x01a\0");
    assert_eq!((rig.written(), rig.fault()), (b"\x90\x03\0\x01\x80".to_vec(), None));
    rig.send(b"\x82\x0b\0\x02\0\x01a\0\0\x02b#\0");
    assert_eq!((rig.written(), rig.fault()), (vec![], Some("peer")));
    assert_eq!(rig.hub.calls.len(), 2, "not even the good filter beside it was subscribed");
}

#[test]
fn strangers_are_told_apart_by_their_first_byte() {
    for (bytes, word) in [(&b"GET / HTTP/1.1\r\n"[..], "HTTP"), (b"\x16\x03\x01", "TLS"), (b"\xc0\0", "CONNECT")] {
        let mut rig = Rig::new();
        rig.send(bytes);
        let close = rig.closing.unwrap();
        assert!(close.fault == Fault::Peer && close.why.contains(word), "{close:?}");
    }
}

#[test]
fn a_closing_by_the_hub_keeps_its_reason() {
    let mut rig = Rig::open(CONNECT);
    let close = Close { fault: Fault::Nobody, why: "taken over".into() };
    rig.answer(Answer::Closing { ending: Ending::TakenOver, close: close.clone() });
    assert_eq!((rig.closing, rig.hub.calls.len()), (Some(close), 1));
}

fn message(qos: Qos, slot: Option<u16>, again: bool) -> Delivery {
    saying("on", qos, slot, again)
}

fn saying(payload: &str, qos: Qos, slot: Option<u16>, again: bool) -> Delivery {
    let message = Message::new(Topic::of_device("lamp", "push"), Bytes::copy_from_slice(payload.as_bytes()), UnixMs(0));
    let message = Arc::new(message);
    Delivery::Message { message, as_me: true, qos, slot, retained: false, again, retain: false, ids: Vec::new(), expiry_s: None }
}

/// A client whose app says something about its firmware.
fn with_firmware(settings: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::new();
    rig.settings = Arc::new(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    rig.send(CONNECT);
    rig.welcome(true);
    rig
}

#[test]
fn session_present_can_be_hidden_from_firmware_that_trips_over_it() {
    assert_eq!(with_firmware(&[]).written(), b"\x20\x02\x01\0");
    assert_eq!(with_firmware(&[("mqtt.session_present", "off")]).written(), b"\x20\x02\0\0");
    assert_eq!(with_firmware(&[("mqtt.session_present", "maybe")]).written(), b"\x20\x02\x01\0", "nonsense changes nothing");
}

#[test]
fn firmware_that_loses_joined_packets_gets_each_by_a_write_of_its_own() {
    let mut rig = with_firmware(&[("mqtt.segments", "one-packet")]);
    rig.written();
    rig.send(b"\xc0\0\xc0\0\x32\x06\0\x01a\0\x07x");
    assert_eq!(rig.cuts, [2, 4, 8], "PINGRESP, PINGRESP, PUBACK");
    let mut rig = with_firmware(&[]);
    rig.send(b"\xc0\0\xc0\0");
    assert_eq!(rig.cuts, [0; 0], "nobody else pays for it");
}

#[test]
fn firmware_that_drops_long_reads_gets_short_writes() {
    let mut rig = with_firmware(&[("mqtt.write_bytes_max", "10")]);
    rig.written();
    rig.deliver(&saying(&"x".repeat(17), Qos::AtMostOnce, None, false));
    assert_eq!(rig.cuts, [10, 20, 28], "2 bytes of header, 9 of topic, 17 of payload");
}

#[test]
fn a_message_beyond_the_devices_buffer_is_refused_and_its_owner_told() {
    let mut rig = with_firmware(&[("mqtt.packet_bytes_max", "30")]);
    rig.written();
    rig.deliver(&saying(&"x".repeat(40), Qos::AtLeastOnce, Some(3), false));
    rig.deliver(&saying(&"x".repeat(40), Qos::AtMostOnce, None, false));
    assert_eq!(rig.written(), b"");
    let notes = rig.hub.calls.iter().filter(|call| call.starts_with("note the device takes packets of at most 30 bytes")).count();
    assert_eq!(notes, 2);
    assert!(rig.hub.calls.iter().any(|call| call.starts_with("settle 3 Refused")));
    rig.deliver(&saying("ok", Qos::AtMostOnce, None, false));
    assert_ne!(rig.written(), b"", "what fits goes on");
}

// ---- level 5: what needs a hub that answers later, or a clock ----

/// The same client at level 5, without wishes but request problem information = 0.
const CONNECT_5: &[u8] = b"\x10\x10\0\x04MQTT\x05\x02\0\0\x02\x17\0\0\x01c";
/// One that wants words and is to be kept for a minute.
const CONNECT_5_KEPT: &[u8] = b"\x10\x13\0\x04MQTT\x05\0\0\x0a\x05\x11\0\0\0\x3c\0\x01c";

#[test]
fn a_level_5_connect_becomes_a_hello() {
    let mut rig = Rig::new();
    // Receive maximum 2, session expiry 60 s; a will with a delay, an expiry and a user property.
    rig.send(
        b"\x10\x2e\0\x04MQTT\x05\x04\0\0\x08\x21\0\x02\x11\0\0\0\x3c\0\x01c\x11\x18\0\0\0\x05\x02\0\0\0\x09\x26\0\x01a\0\x01b\0\x01w\0\x01x",
    );
    let hello = rig.hub.hello.take().unwrap();
    assert_eq!((hello.login, hello.clean, hello.keep_s, hello.inflight_max), (Login::Anonymous, false, 60, 2));
    let will = hello.will.unwrap();
    assert_eq!((will.delay_s, will.expiry_s), (5, Some(9)));
    assert_eq!(will.props.unwrap().user, [("a".to_owned(), "b".to_owned())]);
}

#[test]
fn refusals_have_their_reasons_at_level_5() {
    for (refusal, reason) in [
        (Refusal::NoCredentials, 0x87),
        (Refusal::BadAppKey, 0x86),
        (Refusal::BadChipId, 0x85),
        (Refusal::Quota, 0x97),
        (Refusal::Unavailable, 0x88),
    ] {
        let mut rig = Rig::new();
        rig.send(CONNECT_5);
        rig.answer(Answer::Refused(refusal));
        assert_eq!((rig.written(), rig.closing.is_some()), (vec![0x20, 3, 0, reason, 0], true), "{refusal:?}");
    }
}

/// [MQTT 5.0: 3.14.0-1]
#[test]
fn a_level_5_client_is_told_why_it_ends() {
    for (ending, reason) in [(Ending::TakenOver, 0x8e), (Ending::Removed, 0x98), (Ending::QueueFull, 0x97)] {
        let mut rig = Rig::open(CONNECT_5);
        let why = format!("{ending:?}");
        rig.answer(Answer::Closing { ending, close: Close { fault: Fault::Nobody, why: "why".into() } });
        assert_eq!(rig.written(), [0xe0, 1, reason], "{why}");
    }
    // To a client that can be sent elsewhere, where to (section 4.11); to the older levels nothing can be said.
    let stopping = || Ending::Stopping { go_to: Some("b.example:1883".into()) };
    for (connect, want) in [(CONNECT_5, &b"\xe0\x13\x9c\x11\x1c\0\x0eb.example:1883"[..]), (CONNECT, b"")] {
        let mut rig = Rig::open(connect);
        rig.answer(Answer::Closing { ending: stopping(), close: Close { fault: Fault::Nobody, why: "why".into() } });
        assert_eq!((rig.written(), rig.closing.is_some()), (want.to_vec(), true));
    }
    // While the gate is being asked, in the CONNACK that the client waits for [MQTT-3.14.0-1].
    let mut rig = Rig::new();
    rig.send(CONNECT_5);
    rig.answer(Answer::Closing { ending: Ending::Removed, close: Close { fault: Fault::Nobody, why: "why".into() } });
    assert_eq!(rig.written(), b"\x20\x03\0\x88\0");
}

/// [MQTT 5.0: 4.12.0-3]
#[test]
fn the_answer_to_a_challenge_is_an_auth_that_continues() {
    for (reason, refused) in [(0x18, 0x86), (0x19, 0x87)] {
        let mut rig = Rig::new();
        let first = b"\x17\0\x15\0\x0dSCRAM-SHA-256\x16\0\x0cn,,n=u,r=abc";
        rig.send(&[b"\x10\x2f\0\x04MQTT\x05\x02\0\0", &[first.len() as u8][..], first, b"\0\x01c"].concat());
        rig.gate_answers(false);
        let challenge = String::from_utf8_lossy(&rig.written()).into_owned();
        let nonce = challenge.split_once("r=").unwrap().1.split(',').next().unwrap();
        // The form is right and the proof is wrong, so that the reason alone makes the difference.
        let proof = format!("c=biws,r={nonce},p={}=", "A".repeat(43));
        let props = [b"\x15\0\x0dSCRAM-SHA-256\x16\0", &[proof.len() as u8][..], proof.as_bytes()].concat();
        rig.send(&[&[0xf0, props.len() as u8 + 2, reason, props.len() as u8], &props[..]].concat());
        assert_eq!(rig.written(), [0x20, 3, 0, refused, 0], "{reason:#x}");
    }
}

/// [MQTT 5.0: 3.1.2-24]
#[test]
fn a_challenge_that_is_too_large_for_the_client_is_not_sent() {
    for (bytes_max, fits) in [(80, false), (200, true)] {
        let mut rig = Rig::new();
        let props = [b"\x17\0\x27\0\0\0", &[bytes_max][..], b"\x15\0\x0dSCRAM-SHA-256\x16\0\x0cn,,n=u,r=abc"].concat();
        let body = [b"\0\x04MQTT\x05\x02\0\0", &[props.len() as u8][..], &props, b"\0\x01c"].concat();
        rig.send(&[&[0x10, body.len() as u8], &body[..]].concat());
        rig.gate_answers(false);
        let (written, fault) = (rig.written(), rig.fault());
        if fits {
            assert_eq!((written[0], fault), (0xf0, None));
        } else {
            assert_eq!((written, fault), (b"\x20\x03\0\x80\0".to_vec(), Some("unsupported")));
        }
    }
}

#[test]
fn the_gates_silence_and_the_clients_have_reasons() {
    let mut rig = Rig::new();
    rig.send(CONNECT_5);
    rig.wait_ms(20_000);
    assert_eq!((rig.fault(), rig.written()), (Some("internal"), b"\x20\x03\0\x88\0".to_vec()));

    let mut rig = Rig::open(CONNECT_5_KEPT);
    rig.wait_ms(15_000);
    assert_eq!(rig.fault(), Some("line"));
    let words = "silent for one and a half times its keep-alive of 10 s";
    assert_eq!(rig.written(), [b"\xe0\x3b\x8d\x39\x1f\0\x36", words.as_bytes()].concat(), "with words for one that wants them");

    let mut rig = Rig::open(CONNECT_5);
    rig.send(b"\x30\x10\0");
    rig.wait_ms(120_000);
    assert_eq!((rig.fault(), rig.written()), (Some("line"), b"\xe0\x01\x80".to_vec()), "a packet that is never finished");
}

#[test]
fn what_cannot_be_kept_has_its_reason_and_the_line_stays() {
    for (refusal, reason) in
        [(Refusal::Unavailable, 0x83), (Refusal::Quota, 0x97), (Refusal::BadPayload, 0x99), (Refusal::NotAllowed, 0x87)]
    {
        let mut rig = Rig::open(CONNECT_5);
        rig.hub.accepts = Accepted::Later;
        rig.send(b"\x32\x07\0\x01a\0\x07\0x\x34\x07\0\x01a\0\x08\0x");
        assert_eq!(rig.written(), b"");
        rig.published(Err(refusal));
        rig.published(Err(refusal));
        assert_eq!(rig.written(), [0x40, 3, 0, 7, reason, 0x50, 3, 0, 8, reason], "{refusal:?}");
        assert_eq!(rig.fault(), None);
    }
}

#[test]
fn publishes_that_wait_to_be_kept_are_open() {
    let mut rig = Rig::open(CONNECT_5);
    rig.hub.accepts = Accepted::Later;
    for id in 1..=limits::MQTT_RECEIVE_MAX as u8 {
        rig.send(&[0x32, 7, 0, 1, b'a', 0, id, 0, b'x']);
    }
    rig.published(Ok(()));
    assert_eq!(rig.written(), b"\x40\x02\0\x01");
    rig.send(b"\x32\x07\0\x01a\x01\0\0x");
    assert_eq!(rig.fault(), None, "one was acknowledged");
    rig.send(b"\x32\x07\0\x01a\x01\x01\0x");
    assert_eq!((rig.written(), rig.fault()), (b"\xe0\x01\x93".to_vec(), Some("peer")));
}

#[test]
fn a_pubrel_that_comes_too_early_is_a_protocol_error() {
    let mut rig = Rig::open(CONNECT_5);
    rig.hub.releases = Released::TooEarly;
    rig.send(b"\x62\x02\0\x08");
    assert_eq!((rig.written(), rig.fault()), (b"\xe0\x01\x82".to_vec(), Some("peer")));
}

#[test]
fn what_a_publisher_says_reaches_the_hub_as_it_was_said() {
    let mut rig = Rig::open(CONNECT_5);
    rig.send(b"\x30\x26\0\x01a\x21\x01\x01\x02\0\0\0\x3c\x03\0\x01c\x08\0\x01r\x09\0\x01d\x26\0\x01b\0\x011\x26\0\x01a\0\x012x");
    let (expiry_s, props) = rig.hub.said.clone();
    let props = props.unwrap();
    assert_eq!((expiry_s, props.utf8), (Some(60), true));
    assert_eq!((props.content_type.as_deref(), props.response_topic.as_deref()), (Some("c"), Some("r")));
    assert_eq!(props.correlation.as_deref(), Some(&b"d"[..]));
    let user = [("b", "1"), ("a", "2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(props.user, user, "in their order");
    rig.send(b"\x30\x05\0\x01a\0x");
    assert_eq!(rig.hub.said, (None, None), "nothing said takes no memory");
}

#[test]
fn the_wishes_of_a_level_5_subscribe_reach_the_hub() {
    let mut rig = Rig::open(CONNECT_5);
    rig.send(b"\x82\x09\0\x01\x02\x0b\x07\0\x01a\x1d");
    let wanted = rig.hub.options.unwrap();
    assert_eq!((wanted.qos, wanted.no_local, wanted.as_published, wanted.id), (Qos::AtLeastOnce, true, true, Some(7)));
    assert_eq!(wanted.retained, contract::RetainedWanted::IfNew);
}

#[test]
fn a_level_5_goodbye_has_a_reason_and_an_expiry() {
    let bye = |bytes: &[u8]| {
        let mut rig = Rig::open(CONNECT_5_KEPT);
        rig.send(bytes);
        rig.hub.calls.last().cloned().unwrap()
    };
    assert_eq!(bye(b"\xe0\x00"), "bye Bye { with_will: false, keep_s: None }");
    assert_eq!(bye(b"\xe0\x01\x04"), "bye Bye { with_will: true, keep_s: None }");
    assert_eq!(bye(b"\xe0\x07\0\x05\x11\0\0\0\x09"), "bye Bye { with_will: false, keep_s: Some(9) }");
}

#[test]
fn the_devices_own_words_for_a_refusal_reach_the_owner() {
    let mut rig = Rig::open(CONNECT_5);
    rig.send(b"\x40\x0a\0\x05\x99\x06\x1f\0\x03odd");
    assert_eq!(rig.hub.calls[1], "settle 5 Failed(\"the device says: payload format invalid: odd\", b\"\")");
    rig.hub.knows = false;
    rig.send(b"\x50\x02\0\x09");
    assert_eq!(rig.written(), b"\x62\x03\0\x09\x92");
}

#[test]
fn only_level_5_pays_for_terms() {
    assert!(Rig::open(CONNECT).machine.terms.is_none());
    assert!(Rig::open(CONNECT_5).machine.terms.is_some());
}

/// [MQTT 5.0: 3.1.2-21, 3.2.2-21, 3.2.2-22]
#[test]
fn a_level_5_client_is_told_the_longest_keep_alive_that_we_take() {
    for (wish, told) in [(0, true), (100, true), (30, false)] {
        let mut rig = Rig::with_limits(Limits { keep_alive_s: 60, ..Limits::default() });
        let mut connect = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01c".to_vec();
        connect[11] = wish;
        rig.send(&connect);
        rig.welcome(false);
        let connack = rig.written();
        assert_eq!(connack.windows(3).any(|w| w == b"\x13\0\x3c"), told, "{wish}: {connack:02x?}");
        rig.wait_ms(if told { 90_000 } else { 45_000 });
        assert_eq!(rig.fault(), Some("line"), "and is held to it");
    }
}
