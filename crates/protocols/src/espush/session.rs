//! The machine of one line: registration first, then frames both ways. It keeps the deadlines (login, a
//! begun frame, silence, an order's answer) and knows which order waits for which answer; what a frame
//! means stands in the verbs' files. Frames of a type that a device may not send, and answers that nobody
//! waits for, are passed over in silence: to answer what a P1 device did not ask drops its line (H1, H2).

use contract::session::Peer;
use contract::{
    Answer, Bye, Context, Delivery, Fault, Hello, Hub, Login, Outcome, Publish, Refusal, RetainedWanted, Session, Slot,
    SubscribeOptions, Welcome,
};
use model::limits::{ADDRESSED_ANSWER_S, ESPUSH_ANSWER_S_MAX, ESPUSH_FRAME_BYTES_MAX, ESPUSH_IDLE_S_MAX, PACKET_S_MAX};
use model::{Millis, Party, Qos};

use super::codec::{Frame, decode, encode, kind};
use super::quirks::{INFLIGHT, Reach};
use super::register::{LONG_BYTES, Registration, SingleRegistration, is_wrong_credentials, write_enrolled};
use super::{Settings, answers, heartbeat, orders, upload};

/// The machine of one connection.
pub struct Machine {
    phase: Phase,
    /// When the login must be done.
    login_by: Millis,
    /// When the last byte came.
    heard: Millis,
    /// Since when a frame is incomplete.
    frame_since: Option<Millis>,
    /// Orders that the device has not answered. At most [`INFLIGHT`], kept by the hub's window.
    waiting: Vec<Waiting>,
    /// Our own counter: the two directions overlap, the parity of the type tells them apart.
    msgid_last: u32,
    app: u32,
    chip: u32,
    reach: Reach,
    gbk: bool,
    /// Who wrote to the device last (0: nobody yet), and until which second of the clock it is answered by
    /// what the device streams.
    wrote: (u32, u32),
    /// The 50-byte form, which the 2018 dialect uses too (H10).
    short: bool,
}

/// A hundred thousand of these may be idle at once.
const _: () = assert!(size_of::<Machine>() <= 88);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was said yet.
    Fresh,
    /// The gate was asked; the answer to this registration is owed.
    Asked {
        /// Its msgid.
        msgid: u32,
        /// Its type: 00 or 24.
        asked: u16,
    },
    /// Registered.
    In,
}

/// An order under way.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    msgid: u32,
    asked: u16,
    slot: Slot,
    until: Millis,
}

impl Machine {
    /// The machine for a new connection.
    pub fn new(peer: Peer) -> Machine {
        Machine {
            phase: Phase::Fresh,
            login_by: peer.now.plus_s(u64::from(peer.limits.login_s)),
            heard: peer.now,
            frame_since: None,
            waiting: Vec::new(),
            msgid_last: 0,
            app: 0,
            chip: 0,
            reach: Reach::Push,
            gbk: false,
            wrote: (0, 0),
            short: false,
        }
    }

    /// Takes whole frames off `input` and returns what is left: an unfinished frame, or everything behind
    /// a registration that is not answered yet.
    fn frames<'a>(&mut self, cx: &mut Context<'_>, mut input: &'a [u8]) -> &'a [u8] {
        while !matches!(self.phase, Phase::Asked { .. }) && !cx.is_closing() {
            // A stranger may only announce a registration: nothing longer is waited for.
            let bytes_max = if self.phase == Phase::In { ESPUSH_FRAME_BYTES_MAX } else { LONG_BYTES };
            match decode(input, bytes_max) {
                Ok(Some((frame, rest))) => {
                    input = rest;
                    self.frame_since = None;
                    self.frame(cx, &frame);
                }
                Ok(None) => break,
                Err(bad) => cx.close(Fault::Peer, bad.to_string()),
            }
        }
        if input.is_empty() {
            self.frame_since = None;
        } else if self.frame_since.is_none() {
            self.frame_since = Some(cx.now);
        }
        input
    }

    fn frame(&mut self, cx: &mut Context<'_>, frame: &Frame<'_>) {
        match (self.phase, frame.kind) {
            (Phase::Fresh, kind::REGISTER) => match Registration::read(frame.body) {
                Ok(registration) => self.register(cx, frame.msgid, &registration),
                Err(_) => cx.close(Fault::Peer, "a registration has 50 or 86 bytes"),
            },
            (Phase::Fresh, kind::REGISTER_SINGLE) => match SingleRegistration::read(frame.body) {
                Ok(registration) => self.register_single(cx, frame.msgid, &registration),
                Err(_) => cx.close(Fault::Peer, "a single-device registration has 50 bytes"),
            },
            (Phase::Fresh, _) => cx.close(Fault::Peer, "the first frame must be a registration"),
            (_, kind::REGISTER) => self.register_again(cx, frame),
            (_, kind::REGISTER_SINGLE) => cx.close(Fault::Peer, "a second registration on the same line"),
            (_, kind::HEARTBEAT) => heartbeat::answer(cx, frame),
            (_, kind::UPLOAD) => upload::take(cx, frame, self.gbk),
            (_, kind::UART) => self.stream(cx, frame),
            (_, kind::LOG_OFF) => {
                cx.hub.bye(Bye::default());
                cx.close(Fault::Nobody, "the device logged off");
            }
            (_, kind::TELEMETRY_2018) if self.short => {
                cx.close(Fault::Lack, "this is ES-PUSH firmware of 2018, which this port does not speak; its own port is 10001");
            }
            (_, answer) if answer % 2 == 1 => self.answered(cx, answer - 1, frame),
            _ => {}
        }
    }

    /// The device streams. Never answered: 23 is in no device's table (H2). Nobody waits for it, so nothing is
    /// lost that was promised when the hub does not take it.
    fn stream(&mut self, cx: &mut Context<'_>, frame: &Frame<'_>) {
        let publish = Publish { payload: frame.body, qos: Qos::AtMostOnce, token: frame.msgid, ..Publish::default() };
        let _ = cx.hub.publish(Publish { topic: "me/uart", ..publish.clone() });
        // As on the original, whose page saw the stream of the device that it wrote to.
        let (wrote, until_s) = self.wrote;
        if wrote != 0 && seconds(cx.now) < until_s {
            let _ = cx.hub.publish(Publish { topic: &format!("me/to/{wrote}"), ..publish });
        }
    }

    fn register(&mut self, cx: &mut Context<'_>, msgid: u32, registration: &Registration) {
        (self.app, self.chip) = (registration.app, registration.chip);
        self.reach = registration.reach();
        self.short = registration.details.is_none();
        self.ask(cx, msgid, kind::REGISTER, registration.login(), registration.firmware());
    }

    fn register_single(&mut self, cx: &mut Context<'_>, msgid: u32, registration: &SingleRegistration) {
        self.chip = registration.chip;
        self.reach = SingleRegistration::REACH;
        self.ask(cx, msgid, kind::REGISTER_SINGLE, registration.login(), registration.firmware());
    }

    fn ask(&mut self, cx: &mut Context<'_>, msgid: u32, asked: u16, login: Login, firmware: Option<String>) {
        self.phase = Phase::Asked { msgid, asked };
        cx.hub.hello(Hello {
            login,
            client: "espush".to_owned(),
            // The push room keeps what an absent device is to get; the line's session has nothing to keep.
            clean: true,
            keep_s: 0,
            will: None,
            inflight_max: INFLIGHT,
            firmware,
        });
    }

    /// The same device may say again who it is; another one may not take over a line that has a name (H11).
    fn register_again(&mut self, cx: &mut Context<'_>, frame: &Frame<'_>) {
        match Registration::read(frame.body) {
            Ok(again) if (again.app, again.chip) == (self.app, self.chip) => {
                encode(cx.out, frame.msgid, kind::answer_to(kind::REGISTER), &[0]);
            }
            _ => cx.close(Fault::Peer, "a second registration on the same line, as another device"),
        }
    }

    fn welcome(&mut self, cx: &mut Context<'_>, msgid: u32, asked: u16, welcome: &Welcome) {
        let Party::Device { app, .. } = &*welcome.party else {
            return cx.close(Fault::Ours, "a registration was admitted that is no device's");
        };
        let settings = Settings::read(&welcome.settings);
        self.gbk = settings.gbk;
        self.reach = self.reach.max(settings.accepts);
        self.app = app.0;
        if let Err(refusal) = listen(cx.hub, &format!("app/{app}/push")) {
            return cx.close(Fault::Ours, format!("the device cannot listen to its own topics: {refusal}"));
        }
        let body = match &welcome.enrolled {
            Some((app, key)) => write_enrolled(app.0, key.reveal()),
            None if asked == kind::REGISTER => vec![0],
            None => return cx.close(Fault::Ours, "a single device was admitted without an app to tell it"),
        };
        encode(cx.out, msgid, kind::answer_to(asked), &body);
        self.phase = Phase::In;
    }

    /// Wrong credentials are told; of any other trouble a device hears nothing, so that it comes back (H3).
    fn refused(cx: &mut Context<'_>, msgid: u32, asked: u16, refusal: Refusal) {
        if is_wrong_credentials(refusal) {
            encode(cx.out, msgid, kind::answer_to(asked), &[1]);
        }
        cx.close(Fault::Refused, refusal.to_string());
    }

    fn answered(&mut self, cx: &mut Context<'_>, asked: u16, frame: &Frame<'_>) {
        let Some(at) = self.waiting.iter().position(|order| (order.msgid, order.asked) == (frame.msgid, asked)) else {
            return; // late, or to a message that nobody follows
        };
        let order = self.waiting.swap_remove(at);
        if self.waiting.is_empty() {
            self.waiting = Vec::new(); // an idle line holds no memory for orders
        }
        cx.hub.settle(order.slot, answers::outcome(asked, frame.body, self.gbk));
    }

    /// Ends what was to be answered by now.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        for order in std::mem::take(&mut self.waiting) {
            if cx.now < order.until {
                self.waiting.push(order);
            } else if let Some(outcome) = answers::silence(order.asked) {
                cx.hub.settle(order.slot, outcome);
            } else {
                cx.close(Fault::Line, format!("no answer to an order within {ESPUSH_ANSWER_S_MAX} s"));
            }
        }
    }

    /// Sets the one wake-up time to the next deadline.
    fn arm(&self, cx: &mut Context<'_>) {
        let quiet = match self.phase {
            Phase::In => self.heard.plus_s(ESPUSH_IDLE_S_MAX),
            _ => self.login_by,
        };
        let frame = self.frame_since.map(|since| since.plus_s(PACKET_S_MAX));
        let order = self.waiting.iter().map(|order| order.until).min();
        *cx.wake_at = [Some(quiet), frame, order].into_iter().flatten().min();
    }
}

fn seconds(now: Millis) -> u32 {
    (now.0 / 1000) as u32
}

/// Orders are events, so what was retained on these topics earlier is not run again at every reconnect.
fn listen(hub: &mut dyn Hub, app_filter: &str) -> Result<(), Refusal> {
    for filter in orders::FILTERS.into_iter().chain([app_filter]) {
        hub.subscribe(
            filter,
            SubscribeOptions { qos: Qos::AtLeastOnce, retained: RetainedWanted::Never, ..SubscribeOptions::default() },
        )?;
    }
    Ok(())
}

impl Session for Machine {
    fn on_open(&mut self, cx: &mut Context<'_>) {
        self.arm(cx);
    }

    fn on_bytes(&mut self, cx: &mut Context<'_>, input: &[u8]) -> usize {
        self.heard = cx.now;
        let rest = self.frames(cx, input);
        // Real devices wait for the answer to their registration; the driver shows what came behind it
        // again after the welcome, and this is all that it has to keep until then.
        if matches!(self.phase, Phase::Asked { .. }) && rest.len() > ESPUSH_FRAME_BYTES_MAX {
            cx.close(Fault::Peer, "the device sent too much before its registration was answered");
        }
        self.arm(cx);
        input.len() - rest.len()
    }

    fn on_delivery(&mut self, cx: &mut Context<'_>, delivery: &Delivery) {
        match delivery {
            Delivery::Message { message, slot, .. } => {
                match orders::frame(&message.topic, &message.payload, self.reach, self.gbk) {
                    Ok((asked, body)) => {
                        if let Some(from) = orders::sender(&message.topic) {
                            self.wrote = (from.0, seconds(cx.now.plus_s(ADDRESSED_ANSWER_S)));
                        }
                        self.msgid_last = self.msgid_last.wrapping_add(1).max(1);
                        encode(cx.out, self.msgid_last, asked, &body);
                        let until = cx.now.plus_s(ESPUSH_ANSWER_S_MAX);
                        // Without a slot nobody waits for the fate of the message, nor do we.
                        self.waiting.extend(slot.map(|slot| Waiting { msgid: self.msgid_last, asked, slot, until }));
                    }
                    Err(why) => {
                        if let Some(slot) = slot {
                            cx.hub.settle(*slot, Outcome::Refused(why));
                        }
                    }
                }
            }
            // Only exactly-once deliveries need a release, and this machine asks for none.
            Delivery::Release { slot } => {
                cx.hub.settle(*slot, Outcome::Delivered);
            }
        }
        self.arm(cx);
    }

    fn on_answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        match (self.phase, answer) {
            (Phase::Asked { msgid, asked }, Answer::Welcome(welcome)) => self.welcome(cx, msgid, asked, &welcome),
            (Phase::Asked { msgid, asked }, Answer::Refused(refusal)) => Machine::refused(cx, msgid, asked, refusal),
            (Phase::In, Answer::Published { token, result }) => upload::answer(cx, token, result),
            // P1 has no goodbye: the line just ends.
            _ => {}
        }
        self.arm(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) {
        self.give_up(cx);
        if self.frame_since.is_some_and(|since| cx.now >= since.plus_s(PACKET_S_MAX)) {
            cx.close(Fault::Peer, format!("a frame was not complete after {PACKET_S_MAX} s"));
        }
        match self.phase {
            Phase::Fresh if cx.now >= self.login_by => {
                cx.close(Fault::Line, "no registration in time");
            }
            Phase::Asked { .. } if cx.now >= self.login_by => {
                cx.close(Fault::Ours, "the registration was not decided in time");
            }
            Phase::In if cx.now >= self.heard.plus_s(ESPUSH_IDLE_S_MAX) => {
                cx.close(Fault::Line, format!("no byte for {ESPUSH_IDLE_S_MAX} s"));
            }
            _ => {}
        }
        self.arm(cx);
    }
}
