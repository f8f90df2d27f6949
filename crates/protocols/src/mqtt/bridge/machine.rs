//! The machine of a bridge's connection: a client of MQTT 3.1.1. The remote's packet ids and ours are the
//! hub's: a delivery's slot is its packet id, and the ids of exactly-once publishes from the remote are
//! remembered by the session here, so that nothing comes twice over a broken line.
//!
//! A bridge says that it is one by the top bit of the protocol level, as Mosquitto's do (`try_private`):
//! a remote that knows the bit does not send us back what came from us, and shows retain flags as they were
//! published. One that does not know it refuses the level, and is called again without.
//! Source: Mosquitto's man page mosquitto.conf(5), `try_private`.

use std::sync::Arc;

use contract::kit::Cursor;
use contract::session::Peer;
use contract::{
    Accepted, Answer, Context, Delivery, Fault, Hello, Login, Outcome, Refusal, Released, RetainedWanted, Session,
    SubscribeOptions,
};
use model::{Millis, Qos, limits};

use super::{BridgePlan, Direction};
use crate::mqtt::codec::{
    Connack, Connect, DecodeError, Head, Kind, Level, Options, Packet, Properties, Publish, Reason, Suback, Subscribe, Will,
    put_ack, put_empty,
};

const LEVEL: Level = Level::V311;
/// The bit of the protocol level that says "a bridge calls".
const BRIDGE_BIT: u8 = 0x80;
/// The id of our one SUBSCRIBE: the last one that the hub, which counts up from 1, would give to a delivery.
const SUBSCRIBE_ID: u16 = u16::MAX;
/// Deliveries at once: what Mosquitto takes unless it is told otherwise (`max_inflight_messages`).
const INFLIGHT_MAX: u16 = 20;

/// What the machine tells its owner beyond why the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// The remote let us in, and messages go across.
    Connected,
    /// The remote does not grant this filter.
    NotGranted(&'a str),
    /// A message of the remote that is larger than what is taken here (`limits.packet_bytes`).
    LeftOut {
        /// Its topic there.
        topic: &'a str,
        /// Its size.
        bytes: usize,
    },
    /// The remote does not know the bit: call again without.
    NoBridges,
}

/// Hears the notes.
pub type Tell = Arc<dyn Fn(Note<'_>) + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The CONNECT is sent.
    Called,
    /// The remote let us in, the hub is asked. Nothing is read meanwhile: it could not be passed on.
    Entering { session_present: bool },
    /// Messages go across.
    Open,
}

/// The machine of one connection.
pub struct Machine {
    plan: Arc<BridgePlan>,
    /// Whether the remote is told that a bridge calls.
    private: bool,
    tell: Tell,
    stage: Stage,
    packet_bytes_max: usize,
    /// Bytes still to come of a message that is left out.
    skip_bytes: usize,
    /// When the remote last said something; before the login, when the line came about.
    seen: Millis,
    /// When we last said something.
    sent: Millis,
}

/// How a bridge comes in here.
pub(super) fn hello(plan: &BridgePlan) -> Hello {
    Hello {
        login: Login::Bridge { name: plan.name.clone() },
        client: plan.session(),
        clean: plan.clean,
        keep_s: if plan.clean { 0 } else { u32::MAX },
        will: None,
        inflight_max: INFLIGHT_MAX,
        firmware: None,
    }
}

/// Subscribes here to all that is to go out. Whether that worked; else the connection is closing.
pub(super) fn subscribe_here(plan: &BridgePlan, cx: &mut Context<'_>, retained: impl Fn(Direction) -> RetainedWanted) -> bool {
    for topic in plan.outward() {
        let options = SubscribeOptions {
            qos: topic.qos,
            retained: retained(topic.direction),
            // What came from the remote must not go back there.
            no_local: true,
            // A last value here is to be one there.
            as_published: true,
            id: None,
        };
        if let Err(refusal) = cx.hub.subscribe(topic.local().as_str(), options) {
            cx.close(Fault::Ours, format!("cannot subscribe here to {:?}: {refusal}", topic.local()));
            return false;
        }
    }
    true
}

/// Which last values go out when the bridge connects. With `both` none: each side's value may be older than
/// the other's, and the two would change places. The remote sends its own, so that there the remote wins.
fn retained_wanted(direction: Direction) -> RetainedWanted {
    match direction {
        Direction::Both => RetainedWanted::Never,
        _ => RetainedWanted::Always,
    }
}

impl Machine {
    /// A machine for a connection that has just come about. `private`: say that a bridge calls.
    pub fn new(plan: Arc<BridgePlan>, peer: Peer, private: bool, tell: Tell) -> Machine {
        let packet_bytes_max = peer.limits.packet_bytes;
        Machine { plan, private, tell, stage: Stage::Called, packet_bytes_max, skip_bytes: 0, seen: peer.now, sent: peer.now }
    }

    /// A quarter of the keep-alive: how often the machine looks whether something should be said.
    fn look_ms(&self) -> u64 {
        u64::from(self.plan.keep_alive_s) * 250
    }

    /// Whether anything was said since `before`: what we only looked at keeps no line alive.
    fn note_sent(&mut self, cx: &Context<'_>, before: usize) {
        if cx.out.len() > before {
            self.sent = cx.now;
        }
    }

    fn try_packet(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Result<usize, DecodeError> {
        let Some(head) = Head::read(LEVEL, input)? else { return Ok(0) };
        if head.body_bytes > self.packet_bytes_max {
            if head.kind == Kind::Publish && self.stage == Stage::Open {
                return self.leave_out(cx, &head, input);
            }
            let (bytes, most) = (head.body_bytes, self.packet_bytes_max);
            let why = format!("the remote sent a packet of {bytes} bytes; at most {most} are taken here (limits.packet_bytes)");
            cx.close(Fault::Lack, why);
            return Ok(0);
        }
        let Some(packet) = head.packet(input)? else { return Ok(0) };
        match (self.stage, packet) {
            (Stage::Called, Packet::Connack(connack)) => self.on_connack(cx, &connack),
            (Stage::Called, _) => cx.close(Fault::Peer, "the remote did not begin with a CONNACK; is it an MQTT broker?"),
            (_, packet) => self.on_packet(cx, packet),
        }
        Ok(head.packet_bytes())
    }

    /// A message that is too large for this house: it is acknowledged, so that the remote does not send it
    /// again and again before everything else, and the rest of it is skipped as it comes. Returns how many
    /// bytes its beginning has, 0 while that is not whole.
    fn leave_out(&mut self, cx: &mut Context<'_>, head: &Head, input: &[u8]) -> Result<usize, DecodeError> {
        let qos = Qos::from_u8(head.flags >> 1 & 3).ok_or(DecodeError::Qos)?;
        let Some(Ok(topic_bytes)) = input.get(head.head_bytes..).map(|body| Cursor::new(body).u16()) else { return Ok(0) };
        let id_bytes = if qos == Qos::AtMostOnce { 0 } else { 2 };
        let begun_bytes = head.head_bytes + 2 + usize::from(topic_bytes) + id_bytes;
        if begun_bytes > head.packet_bytes() {
            return Err(DecodeError::Short);
        }
        let Some(begun) = input.get(..begun_bytes) else { return Ok(0) };
        let (topic, id) = begun.split_at(begun_bytes - id_bytes);
        let topic = topic.get(head.head_bytes + 2..).unwrap_or_default();
        (self.tell)(Note::LeftOut { topic: &String::from_utf8_lossy(topic), bytes: head.body_bytes });
        acknowledge(cx, qos, Cursor::new(id).u16().unwrap_or_default());
        self.skip_bytes = head.packet_bytes() - begun_bytes;
        Ok(begun_bytes)
    }

    fn on_packet(&mut self, cx: &mut Context<'_>, packet: Packet<'_>) {
        match packet {
            Packet::Publish(publish) => self.on_publish(cx, &publish),
            Packet::Pubrel(ack) => on_pubrel(cx, ack.id),
            Packet::Puback(ack) | Packet::Pubcomp(ack) => drop(cx.hub.settle(ack.id, Outcome::Delivered)),
            Packet::Pubrec(ack) => {
                cx.hub.received(ack.id);
                let from = cx.out.len();
                put_ack(cx.out, Kind::Pubrel, ack.id);
                cx.hub.say_when_kept(cx.out, from, false);
            }
            Packet::Suback(suback) => self.on_suback(&suback),
            Packet::Pingresp | Packet::Unsuback(_) => {}
            _ => cx.close(Fault::Peer, "the remote sent a packet that only clients send"),
        }
    }

    fn on_connack(&mut self, cx: &mut Context<'_>, connack: &Connack<'_>) {
        if connack.reason == Reason::Success {
            self.stage = Stage::Entering { session_present: connack.session_present };
            return cx.hub.hello(hello(&self.plan));
        }
        if connack.reason == Reason::Version && self.private {
            (self.tell)(Note::NoBridges);
            return cx.close(Fault::Lack, "the remote knows no bridges; it is called again as by an ordinary client");
        }
        let why = match connack.reason {
            Reason::Version => "the remote does not speak MQTT 3.1.1".to_owned(),
            Reason::ClientId => format!("the remote refuses the client id {:?}; set another client_id", self.plan.client_id),
            Reason::BadLogin => "the remote refuses user name or password; correct username and password".to_owned(),
            Reason::NotAuthorised => {
                "the remote does not let this bridge in; set username and password, or allow it in the remote's rules".to_owned()
            }
            _ => "the remote says that it is not available".to_owned(),
        };
        cx.close(Fault::Refused, why);
    }

    fn on_welcome(&mut self, cx: &mut Context<'_>, resumed: bool) {
        let Stage::Entering { session_present } = self.stage else { return };
        if resumed && !session_present {
            // The remote has forgotten its exactly-once publishes and will use their ids for others
            // (section 3.2.2.2: then the client forgets them too).
            for id in 1..=u16::MAX {
                cx.hub.release(id);
            }
        }
        self.stage = Stage::Open;
        if !subscribe_here(&self.plan, cx, retained_wanted) {
            return;
        }
        let wanted: Vec<_> = self.plan.inward().map(|topic| (topic.remote().as_str(), Options::at(topic.qos))).collect();
        if !wanted.is_empty() && Subscribe::encode(LEVEL, cx.out, SUBSCRIBE_ID, Properties::NONE, &wanted).is_err() {
            return cx.close(Fault::Ours, "the topics of the bridge do not fit into one SUBSCRIBE; make two bridges of it");
        }
        self.notify(cx, b"1");
        if self.plan.keep_alive_s != 0 {
            *cx.wake_at = Some(cx.now.plus_ms(self.look_ms()));
        } else {
            *cx.wake_at = None;
        }
        (self.tell)(Note::Connected);
    }

    /// Leaves our state with the remote. At QoS 0: its id could be one of a delivery.
    fn notify(&self, cx: &mut Context<'_>, payload: &[u8]) {
        if let Some(topic) = &self.plan.notification_topic {
            let publish =
                Publish { dup: false, qos: Qos::AtMostOnce, retain: true, topic, id: 0, props: Properties::NONE, payload };
            // The configuration has checked that it is a topic, so that it fits.
            let _ = publish.encode(LEVEL, cx.out);
        }
    }

    fn on_suback(&self, suback: &Suback<'_>) {
        for (topic, reason) in self.plan.inward().zip(suback.reasons()) {
            if reason.is_error() {
                (self.tell)(Note::NotGranted(topic.remote().as_str()));
            }
        }
    }

    /// The remote has something for us.
    fn on_publish(&mut self, cx: &mut Context<'_>, publish: &Publish<'_>) {
        let Some(topic) = self.plan.inward().find_map(|line| line.to_local(publish.topic)) else {
            // An earlier configuration asked for it, and the remote's session has not forgotten.
            return acknowledge(cx, publish.qos, publish.id);
        };
        let accepted = cx.hub.publish(contract::Publish {
            topic: &topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            id: publish.id,
            token: token(publish.qos, publish.id),
            ..contract::Publish::default()
        });
        match accepted {
            Accepted::Now => acknowledge(cx, publish.qos, publish.id),
            Accepted::Later => {}
            Accepted::Refused(refusal) => on_refused(cx, publish.qos, publish.id, refusal),
        }
    }
}

/// The remote has forgotten an exactly-once message.
fn on_pubrel(cx: &mut Context<'_>, id: u16) {
    if cx.hub.release(id) == Released::TooEarly {
        return cx.close(Fault::Peer, "the remote sent a PUBREL before our PUBREC");
    }
    let from = cx.out.len();
    put_ack(cx.out, Kind::Pubcomp, id);
    cx.hub.say_when_kept(cx.out, from, false);
}

fn acknowledge(cx: &mut Context<'_>, qos: Qos, id: u16) {
    match qos {
        Qos::AtMostOnce => {}
        Qos::AtLeastOnce => put_ack(cx.out, Kind::Puback, id),
        Qos::ExactlyOnce => put_ack(cx.out, Kind::Pubrec, id),
    }
}

/// What we cannot keep now the remote shall keep: without an acknowledgement it sends it again on the next
/// line. What we never take it need not send again.
fn on_refused(cx: &mut Context<'_>, qos: Qos, id: u16, refusal: Refusal) {
    match refusal {
        Refusal::Unavailable | Refusal::Quota if qos != Qos::AtMostOnce => {
            cx.close(Fault::Ours, format!("cannot take what the remote sent: {refusal}"));
        }
        _ => acknowledge(cx, qos, id),
    }
}

/// What must be known when a later answer comes.
fn token(qos: Qos, id: u16) -> u32 {
    (qos as u32) << 16 | u32::from(id)
}

fn read_token(token: u32) -> Option<(Qos, u16)> {
    let [_, qos, high, low] = token.to_be_bytes();
    Some((Qos::from_u8(qos)?, u16::from_be_bytes([high, low])))
}

impl Session for Machine {
    fn on_open(&mut self, cx: &mut Context<'_>) {
        *cx.wake_at = Some(cx.now.plus_s(limits::LOGIN_S_MAX));
        let plan = &self.plan;
        let will = plan.notification_topic.as_deref().map(|topic| Will {
            topic,
            payload: b"0",
            qos: Qos::AtLeastOnce,
            retain: true,
            props: Properties::NONE,
        });
        let connect = Connect {
            level: LEVEL,
            clean: plan.clean,
            keep_alive_s: plan.keep_alive_s,
            props: Properties::NONE,
            client: &plan.client_id,
            will,
            user: plan.username.as_deref(),
            password: plan.password.as_deref().map(str::as_bytes),
        };
        let start = cx.out.len();
        if connect.encode(cx.out).is_err() {
            return cx.close(Fault::Ours, "client_id, username or password is too long for MQTT");
        }
        if self.private
            && let Ok(Some(head)) = Head::read(LEVEL, &cx.out[start..])
            // The level stands behind the protocol's name, four letters and their length.
            && let Some(level) = cx.out.get_mut(start + head.head_bytes + 6)
        {
            *level |= BRIDGE_BIT;
        }
    }

    fn on_bytes(&mut self, cx: &mut Context<'_>, input: &[u8]) -> usize {
        let before = cx.out.len();
        self.seen = cx.now;
        let mut rest = input;
        while !rest.is_empty() && !cx.is_closing() && !matches!(self.stage, Stage::Entering { .. }) {
            let skipped = self.skip_bytes.min(rest.len());
            self.skip_bytes -= skipped;
            rest = rest.get(skipped..).unwrap_or_default();
            match self.try_packet(cx, rest) {
                Ok(0) => break,
                Ok(used) => rest = rest.get(used..).unwrap_or_default(),
                Err(error) => cx.close(Fault::Peer, format!("the remote sent what is no MQTT: {error}")),
            }
        }
        self.note_sent(cx, before);
        input.len() - rest.len()
    }

    fn on_delivery(&mut self, cx: &mut Context<'_>, delivery: &Delivery) {
        let before = cx.out.len();
        match delivery {
            Delivery::Message { message, qos, slot, retain, again, .. } => {
                let (qos, id) = slot.map_or((Qos::AtMostOnce, 0), |slot| (*qos, slot));
                let topic = self.plan.outward().find_map(|line| line.to_remote(message.topic.as_str()));
                let encoded = topic.map(|topic| {
                    let (dup, retain, payload) = (*again, *retain, &*message.payload);
                    Publish { dup, qos, retain, topic: &topic, id, props: Properties::NONE, payload }.encode(LEVEL, cx.out)
                });
                if let (None | Some(Err(_)), Some(slot)) = (encoded, slot) {
                    // Not meant for the remote after all, or its name there is too long.
                    cx.hub.settle(*slot, Outcome::Delivered);
                }
            }
            Delivery::Release { slot } => put_ack(cx.out, Kind::Pubrel, *slot),
        }
        self.note_sent(cx, before);
    }

    fn on_answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        let before = cx.out.len();
        match answer {
            Answer::Welcome(welcome) => self.on_welcome(cx, welcome.resumed),
            Answer::Refused(refusal) => cx.close(Fault::Ours, refusal.to_string()),
            Answer::Scram(_) => {} // never asked for
            Answer::Published { token, result } => match (read_token(token), result) {
                (Some((qos, id)), Ok(())) => acknowledge(cx, qos, id),
                (Some((qos, id)), Err(refusal)) => on_refused(cx, qos, id, refusal),
                (None, _) => {}
            },
            Answer::Say(bytes) => cx.out.extend_from_slice(&bytes),
            Answer::Closing { close, .. } => {
                if self.stage == Stage::Open {
                    // A proper goodbye makes the remote drop the will, so its word is said here.
                    self.notify(cx, b"0");
                    put_empty(cx.out, Kind::Disconnect);
                }
                cx.close(close.fault, close.why);
            }
        }
        self.note_sent(cx, before);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) {
        if self.stage != Stage::Open {
            return cx.close(Fault::Line, format!("the remote did not answer the CONNECT within {} s", limits::LOGIN_S_MAX));
        }
        let look_ms = self.look_ms();
        // One and a half times the keep-alive, as a server would wait for us.
        if self.seen.plus_ms(6 * look_ms) <= cx.now {
            let s = self.plan.keep_alive_s;
            return cx.close(Fault::Line, format!("the remote was silent for one and a half times the keep-alive of {s} s"));
        }
        // Whoever of the two was silent for half of it: the one must speak, the other show that it is there.
        if self.seen.min(self.sent).plus_ms(2 * look_ms) <= cx.now {
            put_empty(cx.out, Kind::Pingreq);
            self.sent = cx.now;
        }
        *cx.wake_at = Some(cx.now.plus_ms(look_ms));
    }
}
