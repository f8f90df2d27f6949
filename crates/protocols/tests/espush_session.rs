//! ES-PUSH classic on the bare machine: the worked examples of the protocol notes byte by byte, every
//! compatibility hazard by its number, the deadlines, and what hostile bytes may not do.

use contract::{Accepted, Answer, Fault, Login, Outcome, Refusal};
use model::text::from_hex;
use protocols::espush::codec::{encode, kind};
use protocols::espush::fuzz::Bench;
use protocols::espush::register::{Details, Registration, SingleRegistration, firmware};
use protocols::espush::upload::Upload;

const KEY: [u8; 32] = *b"25b28f0ffb9711e4a96d446d579b49a1";
const ACCEPTED: &str = "00 00 00 0b 00 00 00 01 00 01 00";
const PUSH: &str = "dev/1234-8454703/push";

fn hex(text: &str) -> Vec<u8> {
    from_hex(text).expect("hex in a test")
}

fn frame(msgid: u32, kind: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, msgid, kind, body);
    out
}

fn long(family: u8) -> Vec<u8> {
    let details = Details { device_id: "AT_DEV_ANONYMOUS".into(), firmware: family, ..Details::default() };
    frame(1, kind::REGISTER, &Registration { app: 1234, key: KEY, chip: 0x81_022f, details: Some(details) }.write())
}

fn short() -> Vec<u8> {
    frame(1, kind::REGISTER, &Registration { app: 1234, key: KEY, chip: 0x81_022f, details: None }.write())
}

/// A registered device whose registration answer was already taken.
fn line(registration: &[u8], settings: &[(&str, &str)]) -> Bench {
    let mut bench = Bench::new(Some(Bench::welcome(settings)));
    bench.send(registration);
    assert_eq!(bench.taken(), hex(ACCEPTED));
    bench
}

fn at_line() -> Bench {
    line(&long(firmware::AT), &[])
}

fn newest_line() -> Bench {
    line(&long(firmware::AT_PLUS), &[])
}

/// Gives an order, checks the frame, plays the device's answer, returns how the delivery ended.
fn order(bench: &mut Bench, rest: &str, payload: &[u8], down: &str, up: &str) -> Outcome {
    bench.deliver(&format!("dev/1234-8454703/{rest}"), payload, Some(7));
    assert_eq!(bench.taken(), hex(down), "{rest}");
    bench.send(&hex(up));
    assert_eq!(bench.taken(), b"", "an answer is not answered");
    let (slot, outcome) = bench.hub.settled.pop().expect("settled");
    assert_eq!(slot, 7);
    outcome
}

fn fault(bench: &Bench) -> Option<Fault> {
    bench.closing.as_ref().map(|close| close.fault)
}

// ---- the worked examples (section 1.4 of the notes) ----

#[test]
fn registration_of_86_bytes() {
    let bytes = hex("00 00 00 56 00 00 00 01 00 00 00 00 04 d2 32 35 62 32 38 66 30 66 66 62 39 37 31 31 65 34
        61 39 36 64 34 34 36 64 35 37 39 62 34 39 61 31 00 81 02 2f 41 54 5f 44 45 56 5f 41 4e 4f 4e 59
        4d 4f 55 53 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00");
    assert_eq!(bytes, long(firmware::AT), "the device's side of the codec writes the same");
    let mut bench = Bench::new(Some(Bench::welcome(&[])));
    bench.send(&bytes);
    assert_eq!(bench.taken(), hex(ACCEPTED));
    let hello = bench.hub.hello.as_ref().unwrap();
    let login = Login::AppKey { app: 1234, key: String::from_utf8(KEY.to_vec()).unwrap(), chip: "8454703".into() };
    assert_eq!(hello.login, login);
    assert_eq!((hello.client.as_str(), hello.clean, hello.keep_s, hello.inflight_max), ("espush", true, 0, 1));
    assert_eq!(hello.firmware.as_deref(), Some("AT"));
    assert_eq!(bench.hub.filters, ["me/push", "me/ask/+", "me/cmd/+/+", "me/from/#", "app/1234/push"]);
}

#[test]
fn registration_of_50_bytes() {
    let mut bytes = hex("00 00 00 32 00 00 00 01 00 00");
    bytes.extend_from_slice(&long(0)[10..50]);
    assert_eq!(bytes, short());
    let bench = line(&bytes, &[]);
    assert_eq!(bench.hub.hello.as_ref().unwrap().firmware, None);
}

#[test]
fn registration_without_an_app() {
    let mut bytes = hex("00 00 00 32 00 00 00 01 00 24 00 81 02 2f");
    bytes.extend_from_slice(&[b'c'; 32]);
    bytes.extend_from_slice(&[firmware::NODEMCU, 0xAA, 0xBB, 0xCC]);
    let mut bench = Bench::new(Some(Bench::enrolled()));
    bench.send(&bytes);
    let mut answer = hex("00 00 00 30 00 00 00 01 00 25 00 00 00 00 3a 98");
    answer.extend_from_slice(&KEY);
    assert_eq!(bench.taken(), answer);
    let hello = bench.hub.hello.as_ref().unwrap();
    assert_eq!(hello.login, Login::Single { chip: "8454703".into() });
    assert_eq!(hello.firmware.as_deref(), Some("NodeMCU"));
}

#[test]
fn heartbeat_is_answered_with_the_time() {
    let mut bench = at_line();
    bench.send(&hex("00 00 00 0a 00 00 00 02 00 02"));
    assert_eq!(bench.taken(), hex("00 00 00 0e 00 00 00 02 00 03 57 6a 88 a4"));
}

#[test]
fn an_upload_is_a_point_with_the_device_s_own_time() {
    let mut bench = at_line();
    let bytes = hex("00 00 00 17 00 00 00 03 00 06 00 00 57 6a 88 a4 77 64 2c 32 37 30 30");
    assert_eq!(bytes, frame(3, kind::UPLOAD, &Upload { time_s: 0x576a_88a4, data: b"wd,2700" }.write()));
    bench.send(&bytes);
    assert_eq!(bench.taken(), hex("00 00 00 0b 00 00 00 03 00 07 00"));
    let (topic, payload, qos, token) = bench.hub.published.pop().unwrap();
    assert_eq!((topic.as_str(), qos, token), ("me/data", model::Qos::AtLeastOnce, 3));
    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload, serde_json::json!({"ts": 1_466_599_588_000_i64, "wd": 2700}));
}

#[test]
fn what_the_board_streams_goes_to_the_last_who_wrote_for_a_while() {
    let mut bench = at_line();
    let stream = hex("00 00 00 0c 00 00 00 02 00 22 4f 4b");
    let topics = |bench: &mut Bench| {
        bench.send(&stream);
        bench.hub.published.drain(..).map(|(topic, payload, ..)| (topic, payload == b"OK")).collect::<Vec<_>>()
    };
    let uart = ("me/uart".to_owned(), true);
    assert_eq!(topics(&mut bench), std::slice::from_ref(&uart), "nobody wrote yet");
    for (msgid, from) in [(1, "from/7"), (2, "from/4294967295")] {
        let down = format!("00 00 00 0f 00 00 00 0{msgid} 00 04 48 45 4c 4c 4f");
        let up = format!("00 00 00 0b 00 00 00 0{msgid} 00 05 00");
        assert_eq!(order(&mut bench, from, b"HELLO", &down, &up), Outcome::Delivered);
    }
    assert_eq!(topics(&mut bench), [uart.clone(), ("me/to/4294967295".to_owned(), true)]);
    for _ in 0..2 {
        bench.wait(model::limits::ADDRESSED_ANSWER_S * 1000 / 2);
        bench.send(&hex("00 00 00 0a 00 00 00 02 00 02"));
        bench.taken();
    }
    assert_eq!(topics(&mut bench), [uart]);
    assert_eq!(bench.taken(), b"", "H2: a stream is never answered");
}

#[test]
fn every_order_and_its_answer() {
    let mut bench = newest_line();
    let empty = || Outcome::Applied(bytes::Bytes::new());
    let rows: [(&str, &[u8], &str, &str, Outcome); 8] = [
        (
            "push",
            b"HELLO",
            "00 00 00 0f 00 00 00 01 00 04 48 45 4c 4c 4f",
            "00 00 00 0b 00 00 00 01 00 05 00",
            Outcome::Delivered,
        ),
        (
            "cmd/at/1",
            b"AT+GPIO_LOW=12",
            "00 00 00 1a 00 00 00 02 00 14 41 54 2b 47 50 49 4f 5f 4c 4f 57 3d 31 32 0d 0a",
            "00 00 00 0b 00 00 00 02 00 15 00",
            empty(),
        ),
        (
            "cmd/gpio.write/1",
            br#"{"pin":12,"level":1}"#,
            "00 00 00 0c 00 00 00 03 00 1e 0c 01",
            "00 00 00 0b 00 00 00 03 00 1f 00",
            empty(),
        ),
        (
            "cmd/gpio.read/1",
            b"",
            "00 00 00 0a 00 00 00 04 00 20",
            "00 00 00 16 00 00 00 04 00 21 01 00 01 00 01 00 00 00 00 00 00 00",
            Outcome::Applied(r#"{"0":1,"1":0,"2":1,"3":0,"4":1,"5":0,"9":0,"10":0,"12":0,"13":0,"14":0,"15":0}"#.into()),
        ),
        (
            "cmd/status/1",
            b"KEY",
            "00 00 00 0d 00 00 00 05 00 1c 4b 45 59",
            "00 00 00 16 00 00 00 05 00 1d 00 32 37 30 30 3d 3d 3d 34 35 30 30",
            Outcome::Applied("2700===4500".into()),
        ),
        ("cmd/reboot/1", b"", "00 00 00 0a 00 00 00 06 00 12", "00 00 00 0b 00 00 00 06 00 13 00", empty()),
        ("cmd/probe/1", b"", "00 00 00 0a 00 00 00 07 00 18", "00 00 00 0a 00 00 00 07 00 19", empty()),
        (
            "cmd/lua/1",
            b"print(1)",
            "00 00 00 12 00 00 00 08 00 16 70 72 69 6e 74 28 31 29",
            "00 00 00 0b 00 00 00 08 00 17 00",
            empty(),
        ),
    ];
    for (rest, payload, down, up, outcome) in rows {
        assert_eq!(order(&mut bench, rest, payload, down, up), outcome, "{rest}");
    }
    assert_eq!(bench.closing, None);
}

#[test]
fn custom_messages_of_the_examples() {
    let mut bench = newest_line();
    let payload = [0x11, 0, 0, 7, 0xd0, 1];
    let down = "00 00 00 10 00 00 00 01 00 26 11 00 00 07 d0 01";
    let outcome = order(&mut bench, "cmd/custom/1", &payload, down, "00 00 00 0c 00 00 00 01 00 27 00 00");
    assert_eq!(outcome, Outcome::Applied([0, 0][..].to_vec().into()));
    let payload = [&[2, 1][..], b"print(1)"].concat();
    let down = "00 00 00 14 00 00 00 02 00 26 02 01 70 72 69 6e 74 28 31 29";
    let outcome = order(&mut bench, "cmd/custom/1", &payload, down, "00 00 00 0a 00 00 00 02 00 27");
    assert_eq!(outcome, Outcome::Applied(bytes::Bytes::new()));
}

// ---- the hazards (section 1.11) ----

#[test]
fn h1_a_type_that_the_device_may_not_know_is_never_sent() {
    let verbs = ["reboot", "at", "lua", "probe", "status", "gpio.write", "gpio.read", "custom"];
    // What each registration and setting opens: how many of the verbs, in that order.
    let rows: [(Vec<u8>, &str, usize); 9] = [
        (short(), "", 0),
        (short(), "remote", 4),
        (short(), "gpio", 7),
        (long(firmware::AT), "", 4),
        (long(firmware::SDK), "status", 5),
        (long(firmware::NODEMCU), "gpio", 7),
        (long(firmware::AT), "status,gpio,custom", 8),
        (long(firmware::AT_PLUS), "", 8),
        (long(0), "nonsense", 4),
    ];
    for (registration, accepts, open) in rows {
        let mut bench = line(&registration, &[("espush.accepts", accepts)]);
        for (index, verb) in verbs.iter().enumerate() {
            let payload: &[u8] = if *verb == "at" { b"AT" } else { b"1 1" };
            bench.deliver(&format!("dev/1234-8454703/cmd/{verb}/1"), payload, Some(1));
            let sent = !bench.taken().is_empty();
            assert_eq!(sent, index < open, "{verb} with {accepts:?}");
            if !sent {
                let Some((1, Outcome::Refused(why))) = bench.hub.settled.pop() else { panic!("{verb} was not refused") };
                assert!(why.contains("espush.accepts"), "{why}");
            }
        }
        bench.deliver(PUSH, b"x", Some(2));
        assert!(!bench.taken().is_empty(), "a push is for everyone");
    }
}

#[test]
fn h1_single_device_mode_proves_the_gpio_frames() {
    let mut bench = Bench::new(Some(Bench::enrolled()));
    let single = SingleRegistration { chip: 0x81_022f, random: [b'c'; 32], firmware: firmware::AT };
    bench.send(&frame(1, kind::REGISTER_SINGLE, &single.write()));
    bench.taken();
    bench.deliver("dev/1234-8454703/cmd/gpio.read/1", b"", Some(1));
    assert_eq!(bench.taken(), hex("00 00 00 0a 00 00 00 01 00 20"));
    bench.deliver("dev/1234-8454703/cmd/custom/2", b"x", Some(2));
    assert!(matches!(bench.hub.settled.pop(), Some((2, Outcome::Refused(_)))));
}

#[test]
fn h1_unknown_types_from_a_device_are_passed_over() {
    let mut bench = at_line();
    for kind in [0x0A, 0x0B, 0x10, 0x1A, 0x1B, 0x27, 0x29, 0x30, 0x31, 0x7777, 0xFFFF] {
        bench.send(&frame(9, kind, b"anything"));
    }
    assert_eq!(bench.taken(), b"");
    assert_eq!(bench.closing, None);
}

#[test]
fn h2_a_uart_stream_is_never_answered() {
    let mut bench = at_line();
    bench.send(&frame(9, kind::UART, b"IR1"));
    assert_eq!(bench.taken(), b"");
    assert_eq!(bench.hub.published, [("me/uart".to_owned(), b"IR1".to_vec(), model::Qos::AtMostOnce, 9)]);
}

#[test]
fn h3_only_wrong_credentials_are_refused_by_word() {
    for refusal in [Refusal::BadAppKey, Refusal::BadCredentials] {
        let mut bench = Bench::new(Some(Answer::Refused(refusal)));
        bench.send(&long(firmware::AT));
        assert_eq!(bench.taken(), hex("00 00 00 0b 00 00 00 01 00 01 01"));
        assert_eq!(fault(&bench), Some(Fault::Refused));
    }
    for refusal in [Refusal::Unavailable, Refusal::AppClosed, Refusal::NoSingleApp, Refusal::Quota] {
        let mut bench = Bench::new(Some(Answer::Refused(refusal)));
        bench.send(&long(firmware::AT));
        assert_eq!(bench.taken(), b"", "{refusal:?}");
        assert_eq!(fault(&bench), Some(Fault::Refused));
    }
    // The gate never answers: the line ends without a word, and by our fault.
    let mut bench = Bench::new(None);
    bench.send(&long(firmware::AT));
    bench.wait(20_000);
    assert_eq!((bench.taken(), fault(&bench)), (vec![], Some(Fault::Ours)));
}

#[test]
fn h4_each_order_waits_for_the_one_before() {
    // P2 takes one frame a segment; P1's one-shot timer wants the same care. The hub keeps the window.
    assert_eq!(at_line().hub.hello.as_ref().unwrap().inflight_max, 1);
}

#[test]
fn h5_a_device_that_comes_back_every_second_is_never_told_no() {
    for _ in 0..100 {
        let mut bench = at_line();
        bench.wait(1_000);
        assert_eq!(bench.closing, None);
    }
}

#[test]
fn h6_the_slowest_heartbeat_keeps_the_line() {
    let mut bench = at_line();
    for msgid in 2..20 {
        bench.wait(290_000);
        bench.send(&frame(msgid, kind::HEARTBEAT, &[]));
        assert_eq!(bench.closing, None);
    }
    bench.wait(329_000);
    assert_eq!(bench.closing, None);
    bench.wait(1_000);
    assert_eq!(fault(&bench), Some(Fault::Line));
}

#[test]
fn h7_undefined_bytes_are_ignored() {
    let mut registration = long(firmware::AT);
    registration[67..82].copy_from_slice(b"\xff\xfe\x01garbage\x80\x81\x82xy");
    let mut bench = line(&registration, &[]);
    bench.send(&frame(3, kind::UPLOAD, b"\xAA\x55\0\0\0\0wd,1"));
    assert_eq!(bench.taken(), hex("00 00 00 0b 00 00 00 03 00 07 00"));
    assert_eq!(bench.hub.published[0].1, b"1");
    let mut single = frame(1, kind::REGISTER_SINGLE, &SingleRegistration { chip: 5, random: [0xFF; 32], firmware: 9 }.write());
    single[47..50].copy_from_slice(&[0xFF; 3]);
    let mut bench = Bench::new(Some(Bench::enrolled()));
    bench.send(&single);
    assert_eq!(bench.taken().len(), 48);
}

#[test]
fn h8_the_line_end_of_old_firmware_is_trimmed() {
    let mut bench = at_line();
    bench.send(&frame(3, kind::UPLOAD, b"\0\0\0\0\0\0wd,2700\r\n"));
    bench.send(&frame(4, kind::UPLOAD, b"\0\0\0\0\0\0hello\r\n"));
    assert_eq!(bench.hub.published[0].0, "me/data/wd");
    assert_eq!(bench.hub.published[0].1, b"2700");
    assert_eq!(bench.hub.published[1].0, "me/data/upload");
    assert_eq!(bench.hub.published[1].1, b"hello");
}

#[test]
fn h9_a_clock_that_is_not_set_gives_no_time() {
    for time_s in [0, 12, u32::MAX] {
        let mut bench = at_line();
        bench.send(&frame(3, kind::UPLOAD, &Upload { time_s, data: b"wd,2700" }.write()));
        assert_eq!(bench.hub.published[0].0, "me/data/wd", "{time_s}");
        assert_eq!(bench.hub.published[0].1, b"2700");
    }
}

#[test]
fn h10_the_2018_dialect_on_this_port_is_told_apart() {
    let mut bench = line(&short(), &[]);
    bench.send(&frame(2, kind::HEARTBEAT, &[]));
    bench.send(&frame(3, kind::TELEMETRY_2018, b"{\"rssi\":-60}"));
    assert_eq!(fault(&bench), Some(Fault::Lack));
    assert!(bench.closing.unwrap().why.contains("10001"));
    let mut bench = at_line();
    bench.send(&frame(3, kind::TELEMETRY_2018, b"{\"rssi\":-60}"));
    assert_eq!(bench.closing, None, "after 86 bytes it is just an unknown type");
}

#[test]
fn h11_identity_is_app_and_chip_and_a_line_keeps_it() {
    let mut bench = at_line();
    bench.send(&short());
    assert_eq!(bench.taken(), hex(ACCEPTED), "the same device may say it again");
    let other_app = Registration { app: 1235, key: KEY, chip: 0x81_022f, details: None };
    bench.send(&frame(2, kind::REGISTER, &other_app.write()));
    assert_eq!((bench.taken(), fault(&bench)), (vec![], Some(Fault::Peer)));
    let mut bench = at_line();
    bench.send(&frame(2, kind::REGISTER_SINGLE, &SingleRegistration { chip: 0x81_022f, random: [0; 32], firmware: 1 }.write()));
    assert_eq!(fault(&bench), Some(Fault::Peer));
}

#[test]
fn h12_nothing_of_an_upgrade_is_ever_sent() {
    let mut bench = newest_line();
    for verb in ["ota", "upgrade", "0e", "switch", "unregister"] {
        bench.deliver(&format!("dev/1234-8454703/cmd/{verb}/1"), b"x", Some(1));
        assert!(matches!(bench.hub.settled.pop(), Some((1, Outcome::Refused(_)))), "{verb}");
    }
    assert_eq!(bench.taken(), b"");
}

#[test]
fn h13_lengths_are_bounded_both_ways() {
    for length in [0_u32, 9, 4225, u32::MAX] {
        let mut bench = at_line();
        bench.send(&length.to_be_bytes());
        assert_eq!(fault(&bench), Some(Fault::Peer), "{length}");
    }
    let mut bench = at_line();
    bench.send(&frame(3, kind::UPLOAD, &[0; 4214]));
    assert_eq!((bench.taken().len(), &bench.closing), (11, &None), "the longest frame is welcome");
    bench.deliver(PUSH, &[b'x'; 4214], Some(1));
    assert_eq!(bench.taken().len(), 4224);
    bench.deliver(PUSH, &[b'x'; 4215], Some(2));
    assert!(matches!(bench.hub.settled.pop(), Some((2, Outcome::Refused(why))) if why.contains("4214")));
    // A stranger may announce a registration and nothing longer.
    let mut bench = Bench::new(Some(Bench::welcome(&[])));
    bench.send(&87_u32.to_be_bytes());
    assert_eq!(fault(&bench), Some(Fault::Peer));
}

// ---- promises ----

#[test]
fn an_upload_is_acknowledged_only_when_it_is_kept() {
    let mut bench = at_line();
    bench.hub.accept = Some(Accepted::Later);
    bench.send(&frame(3, kind::UPLOAD, b"\0\0\0\0\0\0a,1"));
    bench.send(&frame(4, kind::UPLOAD, b"\0\0\0\0\0\0a,2"));
    assert_eq!(bench.taken(), b"");
    bench.answer(Answer::Published { token: 4, result: Ok(()) });
    assert_eq!(bench.taken(), hex("00 00 00 0b 00 00 00 04 00 07 00"));
    bench.answer(Answer::Published { token: 3, result: Err(Refusal::Unavailable) });
    assert_eq!(bench.taken(), hex("00 00 00 0b 00 00 00 03 00 07 01"));
    bench.hub.accept = Some(Accepted::Refused(Refusal::Quota));
    bench.send(&frame(5, kind::UPLOAD, b"\0\0\0\0\0\0a,3"));
    assert_eq!(bench.taken(), hex("00 00 00 0b 00 00 00 05 00 07 01"));
}

#[test]
fn a_push_without_a_callback_has_failed() {
    let mut bench = at_line();
    let down = "00 00 00 0b 00 00 00 01 00 04 78";
    match order(&mut bench, "ask/3", b"x", down, "00 00 00 0b 00 00 00 01 00 05 01") {
        Outcome::Failed(why, _) => assert!(why.contains("callback")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_are_matched_by_msgid_and_type() {
    let mut bench = at_line();
    bench.deliver(PUSH, b"x", Some(1));
    bench.send(&frame(2, 0x05, &[0])); // another msgid
    bench.send(&frame(1, 0x13, &[0])); // another type
    bench.send(&frame(1, 0x03, &[0]));
    assert_eq!(bench.hub.settled, []);
    bench.send(&frame(1, 0x05, &[0]));
    bench.send(&frame(1, 0x05, &[0])); // twice
    assert_eq!(bench.hub.settled, [(1, Outcome::Delivered)]);
    assert_eq!(bench.closing, None);
}

#[test]
fn a_message_that_nobody_follows_is_sent_and_forgotten() {
    let mut bench = at_line();
    bench.deliver("app/1234/push", b"x", None);
    assert_eq!(bench.taken(), hex("00 00 00 0b 00 00 00 01 00 04 78"));
    bench.wait(60_000);
    assert_eq!((bench.hub.settled.len(), &bench.closing), (0, &None));
}

#[test]
fn text_is_gbk_where_the_app_says_so() {
    let mut bench = line(&long(firmware::AT_PLUS), &[("espush.text", "gbk")]);
    bench.send(&frame(3, kind::UPLOAD, b"\0\0\0\0\0\0\xce\xc2\xb6\xc8,21"));
    assert_eq!(bench.hub.published[0].0, "me/data/温度");
    bench.taken();
    bench.deliver(PUSH, "温度".as_bytes(), Some(1));
    assert_eq!(bench.taken(), hex("00 00 00 0e 00 00 00 01 00 04 ce c2 b6 c8"));
    bench.deliver("dev/1234-8454703/cmd/status/1", "温".as_bytes(), Some(2));
    assert_eq!(bench.taken(), hex("00 00 00 0c 00 00 00 02 00 1c ce c2"));
    bench.send(&frame(2, 0x1D, b"\0\xb6\xc8"));
    assert_eq!(bench.hub.settled, [(2, Outcome::Applied("度".into()))]);
    bench.deliver(PUSH, "🔆".as_bytes(), Some(3));
    assert!(matches!(bench.hub.settled.pop(), Some((3, Outcome::Refused(_)))));
    let mut bench = at_line();
    bench.send(&frame(3, kind::UPLOAD, b"\0\0\0\0\0\0\xce\xc2,21"));
    assert_eq!(bench.hub.published[0].0, "me/data/\u{fffd}\u{fffd}");
}

// ---- time ----

#[test]
fn a_stranger_has_twenty_seconds_to_register() {
    let mut bench = Bench::new(Some(Bench::welcome(&[])));
    bench.wait(19_000);
    bench.send(&short()[..30]);
    assert_eq!(bench.closing, None);
    bench.wait(1_000);
    assert_eq!(fault(&bench), Some(Fault::Line));
}

#[test]
fn a_begun_frame_must_become_whole() {
    let mut bench = at_line();
    for byte in &frame(3, kind::UPLOAD, &[0; 600])[..600] {
        bench.send(&[*byte]);
        bench.wait(250);
    }
    assert_eq!(fault(&bench), Some(Fault::Peer), "a trickle keeps no line open");
    let mut bench = at_line();
    bench.send(&[0]);
    bench.wait(100_000);
    bench.send(&frame(3, kind::HEARTBEAT, &[])[1..]);
    bench.wait(100_000);
    assert_eq!(bench.closing, None, "the next frame has its own time");
}

#[test]
fn a_device_that_does_not_answer_a_push_is_gone() {
    let mut bench = at_line();
    bench.deliver(PUSH, b"x", Some(1));
    bench.wait(7_000);
    bench.send(&frame(3, kind::HEARTBEAT, &[]));
    assert_eq!(bench.closing, None);
    bench.wait(1_000);
    assert_eq!(fault(&bench), Some(Fault::Line));
    assert_eq!(bench.hub.settled, [], "the hub reports it lost, so that it is sent again");
}

#[test]
fn silence_on_a_status_query_only_fails_the_query() {
    let mut bench = newest_line();
    bench.deliver("dev/1234-8454703/cmd/status/1", b"x", Some(1));
    bench.wait(8_000);
    assert!(matches!(bench.hub.settled.pop(), Some((1, Outcome::Failed(..)))));
    bench.send(&frame(1, 0x1D, b"\0late"));
    assert_eq!((bench.hub.settled.len(), &bench.closing), (0, &None), "a late answer is passed over");
    bench.wait(300_000);
    assert_eq!(bench.closing, None);
}

// ---- order of things, hostile bytes ----

#[test]
fn the_first_frame_must_be_a_registration() {
    for first in
        [frame(1, kind::HEARTBEAT, &[]), frame(1, kind::UPLOAD, b"\0\0\0\0\0\0a,1"), frame(1, 0x05, &[0]), frame(1, 0, b"x")]
    {
        let mut bench = Bench::new(Some(Bench::welcome(&[])));
        bench.send(&first);
        assert_eq!((bench.taken(), fault(&bench)), (vec![], Some(Fault::Peer)));
        assert!(bench.hub.hello.is_none());
    }
    let mut bench = Bench::new(Some(Bench::welcome(&[])));
    bench.send(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(fault(&bench), Some(Fault::Peer));
}

#[test]
fn what_follows_the_registration_at_once_waits_for_the_gate() {
    let mut bench = Bench::new(None);
    bench.send(&[long(firmware::AT), frame(2, kind::HEARTBEAT, &[]), frame(3, kind::HEARTBEAT, &[])[..4].to_vec()].concat());
    bench.send(&frame(3, kind::HEARTBEAT, &[])[4..7]);
    assert_eq!(bench.taken(), b"");
    bench.verdict = Some(Bench::welcome(&[]));
    bench.decide();
    assert_eq!(bench.taken(), [hex(ACCEPTED), hex("00 00 00 0e 00 00 00 02 00 03 57 6a 88 a4")].concat());
    bench.send(&frame(3, kind::HEARTBEAT, &[])[7..]);
    assert_eq!(bench.taken(), hex("00 00 00 0e 00 00 00 03 00 03 57 6a 88 a4"));
}

#[test]
fn not_much_may_come_before_the_gate_has_decided() {
    let mut bench = Bench::new(None);
    bench.send(&long(firmware::AT));
    for msgid in 0..400 {
        bench.send(&frame(msgid, kind::HEARTBEAT, &[]));
    }
    assert_eq!(bench.closing, None);
    bench.send(&[0; 300]);
    assert_eq!(fault(&bench), Some(Fault::Peer));
}

#[test]
fn a_device_may_log_off() {
    let mut bench = at_line();
    bench.send(&frame(2, kind::LOG_OFF, &[]));
    assert_eq!((bench.hub.bye, fault(&bench)), (true, Some(Fault::Nobody)));
}

#[test]
fn any_bytes_do_no_harm() {
    arbtest::arbtest(|u| {
        let data: Vec<u8> = u.arbitrary()?;
        protocols::espush::fuzz::session(&data);
        protocols::espush::fuzz::frames(&data);
        let mut bench = at_line();
        bench.send(&data);
        Ok(())
    });
}

#[test]
fn any_split_of_the_stream_means_the_same() {
    arbtest::arbtest(|u| {
        let mut stream = long(firmware::AT_PLUS);
        for _ in 0..u.int_in_range(0..=6)? {
            let kind = *u.choose(&[0x00, 0x02, 0x05, 0x06, 0x08, 0x10, 0x1D, 0x22, 0x24, 0x77])?;
            let body: Vec<u8> = u.arbitrary()?;
            stream.extend_from_slice(&frame(u.int_in_range(0..=3)?, kind, &body));
        }
        let play = |sizes: &mut dyn FnMut() -> usize| {
            let mut bench = Bench::new(Some(Bench::welcome(&[])));
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (part, after) = rest.split_at(sizes().clamp(1, rest.len()));
                bench.send(part);
                rest = after;
            }
            (bench.taken(), bench.hub.published, bench.hub.settled, bench.closing)
        };
        let whole = play(&mut || usize::MAX);
        let bytewise = play(&mut || 1);
        let split = play(&mut || u.int_in_range(1..=40).unwrap_or(1));
        assert_eq!(whole, bytewise);
        assert_eq!(whole, split);
        Ok(())
    });
}
