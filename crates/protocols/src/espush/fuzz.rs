//! Entry points for fuzzing and the bench that the room's tests use: one machine, a hub that writes down
//! what it is asked and says what it is told to say, and clocks that move by hand. The checks of the bench
//! hold at every step, whatever the bytes: what a device must never be sent is looked for in every output.

use std::sync::Arc;

use bytes::Bytes;
use contract::session::Peer;
use contract::{
    Accepted, Answer, Awaited, Bye, Close, Context, Delivery, Hello, Hub, Outcome, Publish, Refusal, Released, Session, Slot,
    SubscribeOptions, Welcome,
};
use model::app::ProtocolSettings;
use model::limits::ESPUSH_FRAME_BYTES_MAX;
use model::{AppId, AppKey, DeviceId, DeviceNumber, Message, Millis, Party, Qos, Topic, UnixMs};

use super::Machine;
use super::codec::{self, kind};
use super::register::{Registration, SingleRegistration};
use super::upload::Upload;

/// What the bench's hub wrote down.
#[derive(Default)]
pub struct Notebook {
    /// What the peer said it is.
    pub hello: Option<Hello>,
    /// Topic, payload, QoS and token of each publish.
    pub published: Vec<(String, Vec<u8>, Qos, u32)>,
    /// The filters subscribed to.
    pub filters: Vec<String>,
    /// Deliveries that came to an end.
    pub settled: Vec<(Slot, Outcome)>,
    /// Whether the peer said goodbye.
    pub bye: bool,
    /// What the hub says to a publish at QoS 1; at once when `None`.
    pub accept: Option<Accepted>,
}

impl Hub for Notebook {
    fn hello(&mut self, hello: Hello) {
        assert!(self.hello.is_none(), "one hello a line");
        self.hello = Some(hello);
    }

    fn scram(&mut self, _user: &str) {}

    fn publish(&mut self, publish: Publish<'_>) -> Accepted {
        self.published.push((publish.topic.to_owned(), publish.payload.to_vec(), publish.qos, publish.token));
        self.accept.unwrap_or(Accepted::Now)
    }

    fn subscribe(&mut self, filter: &str, options: SubscribeOptions) -> Result<Qos, Refusal> {
        self.filters.push(filter.to_owned());
        Ok(options.qos)
    }

    fn unsubscribe(&mut self, _filter: &str) -> Result<bool, Refusal> {
        Ok(false)
    }

    fn received(&mut self, _slot: Slot) -> bool {
        false
    }

    fn awaited(&mut self, _: Slot) -> Option<Awaited> {
        None
    }

    fn settle(&mut self, slot: Slot, outcome: Outcome) -> bool {
        self.settled.push((slot, outcome));
        true
    }

    fn note(&mut self, _what: &str) {}

    fn release(&mut self, _id: u16) -> Released {
        Released::Unknown
    }

    fn say_when_kept(&mut self, _: &mut Vec<u8>, _: usize, _: bool) {} // all is safe at once

    fn bye(&mut self, _: Bye) {
        self.bye = true;
    }
}

/// One machine and everything around it.
pub struct Bench {
    machine: Machine,
    /// What the hub was asked.
    pub hub: Notebook,
    /// What the machine wrote and nobody took yet.
    pub out: Vec<u8>,
    /// Why the connection ended, if it did.
    pub closing: Option<Close>,
    /// What the gate says; not yet, when `None`.
    pub verdict: Option<Answer>,
    now: Millis,
    unix: UnixMs,
    wake_at: Option<Millis>,
    tail: Vec<u8>,
    welcomed: bool,
}

impl Bench {
    /// A fresh connection at the time of the worked examples; the gate answers with `verdict`.
    pub fn new(verdict: Option<Answer>) -> Bench {
        let now = Millis(5_000);
        let machine = Machine::new(Peer { remote: ([127, 0, 0, 1], 1).into(), now, limits: model::limits::Limits::default() });
        let mut bench = Bench {
            machine,
            hub: Notebook::default(),
            out: Vec::new(),
            closing: None,
            verdict,
            now,
            unix: UnixMs(1_466_599_588_000),
            wake_at: None,
            tail: Vec::new(),
            welcomed: false,
        };
        bench.turn(|machine, cx| machine.on_open(cx));
        bench
    }

    /// The gate's yes to device `1234-8454703` of app 1234 with these settings.
    pub fn welcome(settings: &[(&str, &str)]) -> Answer {
        let app = AppId(1234);
        let id = DeviceId::of_chip(app, "8454703").expect("a chip id of digits");
        let pairs = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Answer::Welcome(Welcome {
            party: Arc::new(Party::Device { number: DeviceNumber(9), id, app }),
            resumed: false,
            client: "espush".into(),
            settings: Arc::new(pairs.collect::<ProtocolSettings>()),
            enrolled: None,
        })
    }

    /// The gate's yes to a single device: it is to use app 15000.
    pub fn enrolled() -> Answer {
        let key = AppKey::parse("25b28f0ffb9711e4a96d446d579b49a1").expect("32 hex characters");
        match Bench::welcome(&[]) {
            Answer::Welcome(welcome) => Answer::Welcome(Welcome { enrolled: Some((AppId(15_000), key)), ..welcome }),
            other => other,
        }
    }

    fn turn(&mut self, call: impl FnOnce(&mut Machine, &mut Context<'_>)) {
        if self.closing.is_some() {
            return;
        }
        let before = self.out.len();
        let mut cx = Context {
            now: self.now,
            unix: self.unix,
            out: &mut self.out,
            hub: &mut self.hub,
            wake_at: &mut self.wake_at,
            cuts: &mut Vec::new(),
            closing: &mut self.closing,
        };
        call(&mut self.machine, &mut cx);
        check_output(&self.out[before..]);
        assert!(self.closing.is_some() || self.wake_at.is_some(), "an open line always has a deadline");
    }

    /// Bytes come in. The gate's answer, when there is one, follows the turn as in the house.
    pub fn send(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.show_tail();
        if self.hub.hello.is_some() && !self.welcomed {
            self.decide();
        }
    }

    fn show_tail(&mut self) {
        let input = std::mem::take(&mut self.tail);
        let mut used = 0;
        self.turn(|machine, cx| used = machine.on_bytes(cx, &input));
        self.tail = input[used..].to_vec();
        assert!(self.closing.is_some() || self.tail.len() <= ESPUSH_FRAME_BYTES_MAX, "no more than a frame is left");
    }

    /// The gate answers, if it has an answer; after the welcome the machine sees what it left, as in the house.
    pub fn decide(&mut self) {
        if let Some(verdict) = self.verdict.take() {
            self.welcomed = true;
            self.answer(verdict);
            self.show_tail();
        }
    }

    /// A question is answered.
    pub fn answer(&mut self, answer: Answer) {
        self.turn(|machine, cx| machine.on_answer(cx, answer));
    }

    /// The hub has a message for the device.
    pub fn deliver(&mut self, topic: &str, payload: &[u8], slot: Option<Slot>) {
        let Ok(topic) = Topic::parse(topic) else { return };
        let message = Message::new(topic, Bytes::copy_from_slice(payload), self.unix);
        let qos = if slot.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let delivery = Delivery::Message {
            message: Arc::new(message),
            as_me: true,
            qos,
            slot,
            retained: false,
            again: false,
            retain: false,
            ids: Vec::new(),
            expiry_s: None,
        };
        self.turn(|machine, cx| machine.on_delivery(cx, &delivery));
    }

    /// Time passes; the machine is woken when it asked to be.
    pub fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        self.unix.0 += ms as i64;
        while let Some(at) = self.wake_at.filter(|at| *at <= end && self.closing.is_none()) {
            assert!(at > self.now || self.now == end, "a deadline that passed is not set again");
            self.now = at.max(self.now);
            self.turn(|machine, cx| machine.on_timer(cx));
            if self.now == end {
                break;
            }
        }
        self.now = end;
    }

    /// What the machine wrote since last time.
    pub fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// What must hold of every output: whole frames, short enough for a device's buffer (H13), of a type that
/// some P1 device knows (H1, H2, H12).
fn check_output(mut out: &[u8]) {
    const MAY_BE_SENT: [u16; 13] = [0x01, 0x03, 0x04, 0x07, 0x12, 0x14, 0x16, 0x18, 0x1C, 0x1E, 0x20, 0x25, 0x26];
    while !out.is_empty() {
        match codec::decode(out, ESPUSH_FRAME_BYTES_MAX) {
            Ok(Some((frame, rest))) => {
                assert!(MAY_BE_SENT.contains(&frame.kind), "type {:02x} must never be sent", frame.kind);
                out = rest;
            }
            other => panic!("not a whole frame: {other:?}"),
        }
    }
}

/// Any bytes through the frame decoder and the body decoders; what decodes must encode to the same bytes.
pub fn frames(data: &[u8]) {
    let mut input = data;
    while let Ok(Some((frame, rest))) = codec::decode(input, ESPUSH_FRAME_BYTES_MAX) {
        let mut again = Vec::new();
        codec::encode(&mut again, frame.msgid, frame.kind, frame.body);
        assert_eq!(again, input[..input.len() - rest.len()]);
        if let Ok(registration) = Registration::read(frame.body) {
            assert!(Registration::read(&registration.write()) == Ok(registration));
        }
        if let Ok(registration) = SingleRegistration::read(frame.body) {
            assert_eq!(SingleRegistration::read(&registration.write()), Ok(registration));
        }
        if let Ok(upload) = Upload::read(frame.body) {
            assert_eq!(Upload::read(&upload.write()), Ok(upload));
        }
        input = rest;
    }
}

/// A whole line played from bytes: each step is a byte that says what happens and what that needs.
pub fn session(data: &[u8]) {
    let settings = ["", "status", "gpio", "custom,remote"];
    let verbs = ["push", "ask/1", "cmd/reboot/1", "cmd/at/1", "cmd/lua/1", "cmd/probe/1", "cmd/status/1", "cmd/gpio.write/1"];
    let more = ["cmd/gpio.read/1", "cmd/custom/1", "cmd/x/1", "cmd", "cmd/", "", "x"];
    let mut input = data;
    let mut next = || {
        let (first, rest) = input.split_first()?;
        input = rest;
        Some(*first)
    };
    let Some(first) = next() else { return };
    let accepts = settings[usize::from(first & 3)];
    let text = if first & 4 == 0 { "" } else { "gbk" };
    let verdict = match first >> 3 {
        0 => Answer::Refused(Refusal::BadAppKey),
        1 => Answer::Refused(Refusal::Unavailable),
        2 => Bench::enrolled(),
        _ => Bench::welcome(&[("espush.accepts", accepts), ("espush.text", text)]),
    };
    let mut bench = Bench::new(Some(verdict));
    let mut slot = 0;
    while let Some(step) = next() {
        let size = usize::from(next().unwrap_or(0));
        let bytes: Vec<u8> = std::iter::from_fn(&mut next).take(size).collect();
        match step % 8 {
            0 | 1 => bench.send(&bytes),
            2 | 3 => {
                // A frame with a good header, so that the bodies are reached.
                let mut frame = Vec::new();
                codec::encode(
                    &mut frame,
                    u32::from(step >> 3),
                    u16::from(bytes.first().copied().unwrap_or(0)),
                    bytes.get(1..).unwrap_or(&[]),
                );
                bench.send(&frame);
            }
            4 => {
                slot += 1;
                let verb = usize::from(step >> 3) % (verbs.len() + more.len());
                let rest = verbs.iter().chain(&more).nth(verb).copied().unwrap_or("push");
                if bench.hub.filters.len() == 4 {
                    bench.deliver(&format!("dev/1234-8454703/{rest}"), &bytes, (size % 2 == 0).then_some(slot));
                }
            }
            5 => bench.answer(Answer::Published {
                token: u32::from(step >> 3),
                result: if size == 0 { Ok(()) } else { Err(Refusal::Quota) },
            }),
            6 => bench.wait(size as u64 * 1000),
            _ => {
                let mut frame = Vec::new();
                let registration = Registration { app: 1234, key: [b'a'; 32], chip: 8_454_703, details: None };
                codec::encode(&mut frame, 1, kind::REGISTER, &registration.write());
                bench.send(&frame);
            }
        }
    }
}
