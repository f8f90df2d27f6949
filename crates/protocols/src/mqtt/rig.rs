//! A machine on the bench: a hub that does as it is told, a clock moved by hand, a buffer in place of the
//! socket. For this room's unit tests and fuzz targets; the real hub is tried by the wire rows.

use std::sync::Arc;

use contract::session::Peer;
use contract::{
    Accepted, Answer, Awaited, Bye, Close, Context, Delivery, Hello, Hub, Outcome, Publish, Refusal, Released, ScramKeys,
    Session, Slot, SubscribeOptions, Welcome,
};
use model::app::ProtocolSettings;
use model::limits::Limits;
use model::message::Props;
use model::{Millis, Party, Qos, UnixMs};

use super::session::Machine;

/// A hub that answers what it was told to and writes down what it was asked.
pub(super) struct TestHub {
    /// The verbs that were called, as words.
    pub calls: Vec<String>,
    /// The last hello.
    pub hello: Option<Hello>,
    /// What the last subscribe wanted.
    pub options: Option<SubscribeOptions>,
    /// The last publish's expiry and properties.
    pub said: (Option<u32>, Option<Box<Props>>),
    /// What an unsubscribe gets.
    pub unsubscribes: Result<bool, Refusal>,
    /// Whether a slot is known.
    pub knows: bool,
    /// What a publish gets.
    pub accepts: Accepted,
    /// What a subscribe gets; a granted QoS is never above the one wanted.
    pub grants: Result<Qos, Refusal>,
    /// Tokens of the publishes that were answered `Later`.
    pub later: Vec<u32>,
    /// Keys were asked for.
    pub owes_keys: bool,
    /// What the end of a QoS 2 publish gets.
    pub releases: Released,
}

impl Hub for TestHub {
    fn hello(&mut self, hello: Hello) {
        self.calls.push(format!("hello {:?}", hello.client));
        self.hello = Some(hello);
    }

    fn scram(&mut self, user: &str) {
        self.calls.push(format!("scram {user}"));
        self.owes_keys = true;
    }

    fn publish(&mut self, publish: Publish<'_>) -> Accepted {
        self.calls.push(format!("publish {} qos {} {} bytes", publish.topic, publish.qos as u8, publish.payload.len()));
        self.said = (publish.expiry_s, publish.props);
        if model::Topic::parse(publish.topic).is_err() {
            return Accepted::Refused(Refusal::BadTopic);
        }
        if self.accepts == Accepted::Later && publish.qos != Qos::AtMostOnce {
            self.later.push(publish.token);
        }
        self.accepts
    }

    fn subscribe(&mut self, filter: &str, options: SubscribeOptions) -> Result<Qos, Refusal> {
        self.calls.push(format!("subscribe {filter} qos {}", options.qos as u8));
        self.options = Some(options);
        self.grants.map(|most| most.min(options.qos))
    }

    fn unsubscribe(&mut self, filter: &str) -> Result<bool, Refusal> {
        self.calls.push(format!("unsubscribe {filter}"));
        self.unsubscribes
    }

    fn received(&mut self, slot: Slot) -> bool {
        self.calls.push(format!("received {slot}"));
        self.knows
    }

    fn awaited(&mut self, _: Slot) -> Option<Awaited> {
        None
    }

    fn settle(&mut self, slot: Slot, outcome: Outcome) -> bool {
        self.calls.push(format!("settle {slot} {outcome:?}"));
        true
    }

    fn note(&mut self, what: &str) {
        self.calls.push(format!("note {what}"));
    }

    fn release(&mut self, id: u16) -> Released {
        self.calls.push(format!("release {id}"));
        self.releases
    }

    fn say_when_kept(&mut self, _: &mut Vec<u8>, _: usize, _: bool) {} // all is safe at once

    fn bye(&mut self, bye: Bye) {
        self.calls.push(format!("bye {bye:?}"));
    }
}

/// A machine with everything that it touches.
pub(super) struct Rig {
    pub machine: Machine,
    pub hub: TestHub,
    pub now: Millis,
    pub wake_at: Option<Millis>,
    pub closing: Option<Close>,
    out: Vec<u8>,
    /// Where the machine asked for a write of its own.
    pub cuts: Vec<usize>,
    /// What the app's settings say.
    pub settings: Arc<ProtocolSettings>,
    kept: Vec<u8>,
}

impl Rig {
    /// A connection that was just opened.
    pub fn new() -> Rig {
        Rig::with_limits(Limits::default())
    }

    /// The same under the owner's limits.
    pub fn with_limits(limits: Limits) -> Rig {
        let remote = ([127, 0, 0, 1], 50_000).into();
        let hub = TestHub {
            calls: Vec::new(),
            hello: None,
            options: None,
            said: (None, None),
            unsubscribes: Ok(true),
            knows: true,
            accepts: Accepted::Now,
            grants: Ok(Qos::ExactlyOnce),
            later: Vec::new(),
            owes_keys: false,
            releases: Released::Done,
        };
        let mut rig = Rig {
            machine: Machine::new(Peer { remote, now: Millis(1000), limits }),
            hub,
            now: Millis(1000),
            wake_at: None,
            closing: None,
            out: Vec::new(),
            cuts: Vec::new(),
            settings: Arc::default(),
            kept: Vec::new(),
        };
        rig.turn(|machine, cx| machine.on_open(cx));
        rig
    }

    #[cfg(test)]
    /// A connection whose client is logged in and has its CONNACK.
    pub fn open(connect: &[u8]) -> Rig {
        let mut rig = Rig::new();
        rig.send(connect);
        rig.welcome(false);
        rig.written();
        rig
    }

    fn turn<T>(&mut self, call: impl FnOnce(&mut Machine, &mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            now: self.now,
            unix: UnixMs(0),
            out: &mut self.out,
            hub: &mut self.hub,
            wake_at: &mut self.wake_at,
            cuts: &mut self.cuts,
            closing: &mut self.closing,
        };
        call(&mut self.machine, &mut cx)
    }

    /// Bytes come in. What the machine leaves is kept and shown again, as the contract says.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.closing.is_some() {
            return;
        }
        self.kept.extend_from_slice(bytes);
        let kept = std::mem::take(&mut self.kept);
        let used = self.turn(|machine, cx| machine.on_bytes(cx, &kept));
        self.kept = kept.split_at(used).1.to_vec();
    }

    /// An answer comes, and then what was kept is shown again.
    pub fn answer(&mut self, answer: Answer) {
        if self.closing.is_some() {
            return;
        }
        self.turn(|machine, cx| machine.on_answer(cx, answer));
        self.send(&[]);
    }

    /// The gate has what was asked: the keys of a proof, or a welcome.
    pub fn gate_answers(&mut self, resumed: bool) {
        if std::mem::take(&mut self.hub.owes_keys) {
            let keys = ScramKeys {
                salt: [1; 16],
                iterations: 4096,
                stored_key: [2; 32],
                server_key: [3; 32],
                older: None,
                nonce: [4; 18],
                stamp: 0,
            };
            self.answer(Answer::Scram(Box::new(keys)));
        } else {
            self.welcome(resumed);
        }
    }

    /// The gate lets it in.
    pub fn welcome(&mut self, resumed: bool) {
        self.answer(Answer::Welcome(Welcome {
            party: Arc::new(Party::Anonymous),
            resumed,
            client: "c".into(),
            settings: self.settings.clone(),
            enrolled: None,
        }));
    }

    /// The store has spoken about the oldest publish that waits.
    pub fn published(&mut self, result: Result<(), Refusal>) {
        if !self.hub.later.is_empty() {
            let token = self.hub.later.remove(0);
            self.answer(Answer::Published { token, result });
        }
    }

    /// The hub has something for the client.
    pub fn deliver(&mut self, delivery: &Delivery) {
        if self.closing.is_none() {
            self.turn(|machine, cx| machine.on_delivery(cx, delivery));
        }
    }

    /// The clock moves on, and the timer fires if its time has come.
    pub fn wait_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        if self.closing.is_none() && self.wake_at.is_some_and(|at| at <= self.now) {
            self.wake_at = None;
            self.turn(|machine, cx| machine.on_timer(cx));
        }
    }

    /// What was written since last asked.
    pub fn written(&mut self) -> Vec<u8> {
        self.cuts.clear();
        std::mem::take(&mut self.out)
    }

    /// What is kept because the machine did not use it.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    #[cfg(test)]
    /// Whose fault the end was, as the word of the logs.
    pub fn fault(&self) -> Option<&'static str> {
        self.closing.as_ref().map(|close| close.fault.as_str())
    }
}
