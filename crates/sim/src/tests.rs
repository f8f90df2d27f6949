//! Boards against the server's own machines and hub, in memory: what a board says must be what the
//! server understands, over each protocol.

use contract::{Event, Step};
use model::{DeviceNumber, Message, PushId, Qos, Receipt, Topic};
use testkit::{House, LineId};

use crate::board::Board;
use crate::espush::Espush;
use crate::mqtt::Mqtt;
use crate::wire::{Ended, Told, Wire};

const KEY: &str = "25b28f0ffb9711e4a96d446d579b49a1";

/// A board at a house.
struct Played {
    house: House,
    line: LineId,
    device: DeviceNumber,
    board: Board,
    wire: Box<dyn Wire>,
    tail: Vec<u8>,
    told: Told,
    ended: Option<Ended>,
}

impl Played {
    fn new(protocol: &contract::Protocol, mut wire: Box<dyn Wire>) -> Played {
        let mut house = House::new(2);
        house.gate().add_app(7, KEY, &[]);
        let device = house.gate().add_device("7-100", "", 7);
        let line = house.connect(protocol);
        let (board, mut out) = (Board::new(1), Vec::new());
        wire.hello(&board, &mut out);
        house.send(line, &out);
        let mut played = Played { house, line, device, board, wire, tail: vec![], told: Told::default(), ended: None };
        played.settle();
        played
    }

    fn mqtt() -> Played {
        Played::new(&protocols::mqtt::PROTOCOL, Box::new(Mqtt::new("7".into(), KEY.into(), "100".into())))
    }

    fn espush() -> Played {
        let key = KEY.as_bytes().first_chunk().copied().unwrap();
        Played::new(&protocols::espush::PROTOCOL, Box::new(Espush::new(7, key, 100)))
    }

    /// Both sides speak until neither has anything to say.
    fn settle(&mut self) {
        loop {
            self.tail.extend(self.house.received(self.line));
            let mut out = Vec::new();
            match self.wire.on_bytes(&mut self.board, &self.tail, &mut out, &mut self.told) {
                Ok(used) => drop(self.tail.drain(..used)),
                Err(ended) => {
                    self.ended = Some(ended);
                    self.tail.clear();
                }
            }
            if out.is_empty() {
                return;
            }
            self.house.send(self.line, &out);
        }
    }

    fn upload(&mut self) {
        let mut out = Vec::new();
        self.wire.upload(&mut self.board, &mut out);
        self.house.send(self.line, &out);
        self.settle();
    }

    /// Pushes, lets the board answer, and returns the steps of the push and what the board published.
    fn push(&mut self, rest: &str, payload: &str) -> (Vec<Step>, Vec<(String, String)>) {
        self.house.events();
        let receipt = Some(Receipt { push: PushId(1), device: self.device });
        let topic = Topic::of_device("7-100", rest);
        let message = Message { qos: Qos::AtLeastOnce, receipt, ..Message::new(topic, payload.to_owned(), self.house.unix()) };
        self.house.push(self.device, message);
        self.settle();
        let (mut steps, mut said) = (vec![], vec![]);
        for event in self.house.events() {
            match event {
                Event::Receipt { step, .. } => steps.push(step),
                Event::Up { message, .. } => {
                    said.push((message.topic.to_string(), String::from_utf8_lossy(&message.payload).into_owned()));
                }
                _ => {}
            }
        }
        (steps, said)
    }
}

fn applied(answer: &str) -> Step {
    Step::Applied(answer.to_owned().into())
}

#[test]
fn a_board_over_mqtt_comes_in_uploads_and_answers() {
    let mut played = Played::mqtt();
    assert!(played.told.logged_in && played.ended.is_none());
    played.upload();
    assert_eq!(played.told.uploads, 1, "acknowledged by the server");

    let (steps, said) = played.push("ask/1", "on");
    assert_eq!(steps, [Step::Sent, Step::Delivered]);
    assert_eq!(said[0], ("dev/7-100/answer/1".to_owned(), "on".to_owned()));
    assert_eq!(said[1].0, "dev/7-100/data");
    assert!(said[1].1.starts_with(r#"{"led":true,"adc":"#), "{said:?}");
    assert!(played.board.led());

    let (_, said) = played.push("push", "press");
    assert_eq!(said, [("dev/7-100/data".to_owned(), r#"{"button":1}"#.to_owned())]);
    let (_, said) = played.push("cmd/status/9", "led");
    assert_eq!(said, [("dev/7-100/answer/9".to_owned(), "on".to_owned())]);
    let (_, said) = played.push("cmd/dance/9", "");
    assert!(said[0].1.starts_with("error: "), "{said:?}");
    assert_eq!(played.told.orders, 4);

    let (steps, _) = played.push("cmd/reboot/9", "");
    assert_eq!((steps.last(), played.ended), (Some(&Step::Delivered), Some(Ended::Restart)));
}

#[test]
fn a_board_over_mqtt_follows_its_twin() {
    let mut played = Played::mqtt();
    let (steps, said) = played.push("twin/desired", r#"{"$version":1,"led":"on","mode":"party"}"#);
    assert_eq!(steps, [Step::Sent, Step::Delivered]);
    let reported = |body: &str| ("dev/7-100/twin/reported".to_owned(), body.to_owned());
    assert_eq!(said[0], reported(r#"{"$version":1,"led":"on"}"#));
    assert!(played.board.led() && said[1].0 == "dev/7-100/data");
    let (_, said) = played.push("push", "off");
    assert_eq!(said[1], reported(r#"{"led":"off"}"#), "what others do to it is told too");
    let (_, said) = played.push("twin/desired", r#"{"$version":2,"led":null}"#);
    assert_eq!(said, [reported(r#"{"$version":2}"#)]);
    assert!(played.push("twin/desired", "on").1.is_empty());
    assert_eq!(played.told.orders, 1);
}

#[test]
fn a_board_over_mqtt_keeps_its_line_and_says_goodbye() {
    let mut played = Played::mqtt();
    for _ in 0..5 {
        played.house.advance_ms(played.wire.heartbeat().as_millis() as u64);
        let mut out = Vec::new();
        played.wire.beat(&mut out).unwrap();
        played.house.send(played.line, &out);
        played.settle();
    }
    assert_eq!(played.house.closed(played.line), None);
    assert_eq!(played.wire.beat(&mut Vec::new()), Ok(()));
    assert!(played.wire.beat(&mut Vec::new()).is_err(), "two pings without an answer: the server is gone");
    let mut out = Vec::new();
    played.wire.goodbye(&mut out);
    played.house.send(played.line, &out);
    assert_eq!(played.house.closed(played.line).unwrap().fault, contract::Fault::Nobody);
}

#[test]
fn a_board_over_espush_comes_in_uploads_and_answers() {
    let mut played = Played::espush();
    assert!(played.told.logged_in && played.ended.is_none());
    played.upload();
    assert_eq!(played.told.uploads, 2, "LED and ADC are an upload each");

    let (steps, said) = played.push("push", "on");
    assert_eq!(steps, [Step::Sent, Step::Delivered]);
    let [(topic, payload)] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(topic, "dev/7-100/data", "with the time that the board was told");
    assert!(payload.contains(r#""led":1"#) && payload.contains(r#""ts":"#), "{payload}");

    let (steps, _) = played.push("cmd/gpio.read/1", "");
    let pins = r#"{"0":0,"1":0,"2":1,"3":0,"4":0,"5":0,"9":0,"10":0,"12":0,"13":0,"14":0,"15":0}"#;
    assert_eq!(steps, [Step::Sent, applied(pins)]);
    assert_eq!(played.push("cmd/gpio.write/1", "2 0").0, [Step::Sent, applied("")]);
    assert!(!played.board.led());
    assert_eq!(played.push("cmd/at/1", "AT+GPIO_LOW=2").0, [Step::Sent, applied("")]);
    assert!(played.board.led());
    assert_eq!(played.push("cmd/status/1", "led").0, [Step::Sent, applied("on")]);
    assert_eq!(played.push("cmd/probe/1", "").0, [Step::Sent, applied("")]);
    assert!(matches!(played.push("cmd/gpio.write/1", "99 1").0[1], Step::Failed(..)));
    assert!(matches!(played.push("cmd/lua/1", "print(1)").0[1], Step::Failed(..)));
    assert!(matches!(played.push("cmd/status/1", "mood").0[1], Step::Failed(..)));

    assert_eq!(played.push("cmd/reboot/1", "").0, [Step::Sent, applied("")]);
    assert_eq!(played.ended, Some(Ended::Restart));
}

#[test]
fn a_refused_board_says_why() {
    let wrong = "0".repeat(32);
    let played = Played::new(&protocols::mqtt::PROTOCOL, Box::new(Mqtt::new("7".into(), wrong, "100".into())));
    assert!(matches!(played.ended, Some(Ended::Refused(_))));
    let played = Played::new(&protocols::espush::PROTOCOL, Box::new(Espush::new(7, [b'0'; 32], 100)));
    assert!(matches!(played.ended, Some(Ended::Refused(_))));
}

#[test]
fn an_espush_board_drops_the_line_at_a_type_that_it_does_not_know() {
    let mut played = Played::espush();
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    protocols::espush::codec::encode(&mut frame, 1, 0x23, &[0]);
    let ended = played.wire.on_bytes(&mut played.board, &frame, &mut out, &mut played.told);
    assert!(matches!(ended, Err(Ended::Broken(_))));
}
