//! One MQTT connection's life: its stages, its one timer, and which packet goes to which verb. The verbs
//! are in the files beside this one (`connect`, `publish`, `subscribe`, `deliver`). It keeps no messages
//! and no subscriptions: those are the hub's, and outlive the connection if the client wants.
//!
//! What the machine expects of its driver beyond the contract: a client may send packets right behind its
//! CONNECT. They are not used until the gate has answered, so after `on_answer` with the Welcome the driver
//! shows the bytes that it has kept, without waiting for more.

use contract::session::Peer;
use contract::{Answer, Context, Delivery, Fault, Session};
use model::{Due, Millis, limits};

use super::codec::{Connect, DecodeError, Head, Kind, Level, Packet, Reason, put_empty};
use super::quirks::Firmware;
use super::terms::Terms;
use super::{auth, connect, deliver, disconnect, publish, quirks, subscribe};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing but a CONNECT is taken.
    New,
    /// The CONNECT is with the gate. Nothing is read until it has answered: if it refuses, nothing that
    /// came behind the CONNECT may be acted upon [MQTT-3.1.4-5].
    Asked(Level),
    /// The client has our challenge: nothing but an AUTH or a goodbye is taken [MQTT-3.1.2-30].
    Proving,
    /// Logged in.
    Open,
}

/// The machine of one connection. A million of these are idle at once: see the assertion below.
pub struct Machine {
    pub(super) stage: Stage,
    /// Whether the client speaks 3.1.
    pub(super) old: bool,
    /// The longest silence that the client promised, in seconds; 0 promises nothing. Before its CONNECT, the
    /// longest that we take; 0 is any.
    pub(super) keep_alive_s: u16,
    /// The largest packet that is taken, header excluded.
    pub(super) packet_bytes_max: u32,
    /// When the last whole packet came; before the login, when the login must be done.
    pub(super) seen: Millis,
    /// When the first byte of a packet came that is not whole yet.
    begun: Due,
    /// What a level 5 client and we agreed on; the older levels have nothing to agree on.
    pub(super) terms: Option<Box<Terms>>,
    /// What the app's settings say of the device's firmware.
    pub(super) firmware: Option<Box<Firmware>>,
}

const _: () = assert!(size_of::<Machine>() <= 40, "an idle connection must stay small");

impl Machine {
    /// A machine for a connection that was just accepted.
    pub fn new(peer: Peer) -> Machine {
        Machine {
            stage: Stage::New,
            old: false,
            keep_alive_s: peer.limits.keep_alive_s,
            packet_bytes_max: u32::try_from(peer.limits.packet_bytes).unwrap_or(u32::MAX),
            seen: peer.now.plus_s(u64::from(peer.limits.login_s)),
            begun: Due::NEVER,
            terms: None,
            firmware: None,
        }
    }

    /// When the machine will have waited long enough. Packets move this without touching the timer: it
    /// is looked at only when the timer fires, so that a busy connection costs no timer operations.
    pub(super) fn deadline(&self) -> Option<Millis> {
        match self.stage {
            Stage::New | Stage::Asked(_) | Stage::Proving => Some(self.seen),
            Stage::Open => {
                // One and a half times the promised silence [MQTT-3.1.2-24].
                let silent = (self.keep_alive_s != 0).then(|| self.seen.plus_ms(u64::from(self.keep_alive_s) * 1500));
                let unfinished = self.begun.at().map(|begun| begun.plus_s(limits::PACKET_S_MAX));
                silent.into_iter().chain(unfinished).min()
            }
        }
    }

    /// The level that packets behind the CONNECT have.
    pub(super) fn level(&self) -> Level {
        match self.terms {
            Some(_) => Level::V5,
            None if self.old => Level::V31,
            None => Level::V311,
        }
    }

    /// Marks what was written since `from` for a device that cannot take it as it comes.
    fn cut(&self, cx: &mut Context<'_>, from: usize) {
        if let Some(firmware) = &self.firmware {
            firmware.cut(self.level(), cx, from);
        }
    }

    /// Whether the gate has let the client in.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the gate is being asked.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.stage, Stage::Asked(_))
    }

    /// Takes the first packet of `input`: how many bytes it was, 0 while it is not whole.
    fn take_packet(&mut self, cx: &mut Context<'_>, input: &[u8]) -> usize {
        if self.stage == Stage::New
            && let Some(&first) = input.first()
            && first != (Kind::Connect as u8) << 4
        {
            cx.close(Fault::Peer, quirks::stranger(first)); // [MQTT-3.1.0-1]
            return 0;
        }
        match self.try_packet(cx, input) {
            Ok(used) => used,
            Err(error) => {
                match self.stage {
                    Stage::New => connect::on_malformed(self, cx, input, error),
                    _ => self.end(cx, error.reason(), error.fault(), error.to_string()), // [MQTT-4.8.0-1]
                }
                0
            }
        }
    }

    fn try_packet(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Result<usize, DecodeError> {
        let Some(head) = Head::read(self.level(), input)? else { return Ok(0) };
        let bytes_max = if self.is_open() { self.packet_bytes_max as usize } else { limits::MQTT_CONNECT_BYTES_MAX };
        if head.body_bytes > bytes_max {
            let why = format!("a packet of {} bytes; at most {bytes_max} are taken here", head.body_bytes);
            self.end(cx, Reason::TooLarge, Fault::Refused, why);
            return Ok(0);
        }
        let Some(packet) = head.packet(input)? else { return Ok(0) };
        if let Packet::Connect(Connect { level: Level::V5, .. }) = packet {
            Head::read(Level::V5, input)?; // only now it is known that its header is judged by 5.0
        }
        self.on_packet(cx, packet);
        Ok(head.packet_bytes())
    }

    fn on_packet(&mut self, cx: &mut Context<'_>, packet: Packet<'_>) {
        if self.is_open() {
            self.seen = cx.now;
        }
        if self.stage == Stage::Proving && !matches!(packet, Packet::Auth(_) | Packet::Disconnect(_)) {
            return self.end(cx, Reason::ProtocolError, Fault::Peer, "the proof of who it is comes first");
        }
        match packet {
            Packet::Auth(auth) if self.stage == Stage::Proving => auth::on_auth(self, cx, &auth),
            Packet::Connect(connect) if self.stage == Stage::New => connect::on_connect(self, cx, &connect),
            // [MQTT-3.1.0-2]
            Packet::Connect(_) => self.end(cx, Reason::ProtocolError, Fault::Peer, "a second CONNECT on one connection"),
            Packet::Publish(publish) => publish::on_publish(self, cx, &publish),
            Packet::Pubrel(ack) => publish::on_pubrel(self, cx, ack.id),
            Packet::Puback(ack) => deliver::on_puback(self, cx, &ack),
            Packet::Pubrec(ack) => deliver::on_pubrec(self, cx, &ack),
            Packet::Pubcomp(ack) => deliver::on_pubcomp(self, cx, ack.id),
            Packet::Subscribe(subscribe) => subscribe::on_subscribe(self, cx, &subscribe),
            Packet::Unsubscribe(unsubscribe) => subscribe::on_unsubscribe(self, cx, &unsubscribe),
            Packet::Pingreq => put_empty(cx.out, Kind::Pingresp), // [MQTT-3.12.4-1]
            Packet::Disconnect(disconnect) => disconnect::on_disconnect(self, cx, &disconnect),
            Packet::Auth(auth) if self.is_open() => auth::on_auth_again(self, cx, &auth),
            Packet::Auth(_) => self.end(cx, Reason::ProtocolError, Fault::Peer, "an AUTH that nobody asked for"),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                self.end(cx, Reason::ProtocolError, Fault::Peer, "a packet that only servers send");
            }
        }
    }

    /// Remembers since when a packet is unfinished, and wakes up in time to give up on it.
    fn note_unfinished(&mut self, cx: &mut Context<'_>, unfinished: bool) {
        if !unfinished {
            self.begun = Due::NEVER;
        } else if self.begun == Due::NEVER {
            self.begun = Some(cx.now).into();
            let deadline = self.deadline();
            if cx.wake_at.is_none() || deadline < *cx.wake_at {
                *cx.wake_at = deadline;
            }
        }
    }
}

impl Session for Machine {
    fn on_open(&mut self, cx: &mut Context<'_>) {
        *cx.wake_at = self.deadline();
    }

    fn on_bytes(&mut self, cx: &mut Context<'_>, input: &[u8]) -> usize {
        let from = cx.out.len();
        let mut rest = input;
        while !rest.is_empty() && !cx.is_closing() {
            if self.is_asked() {
                if rest.len() > self.packet_bytes_max as usize {
                    self.end(cx, Reason::Quota, Fault::Refused, "too much sent before the login was answered");
                }
                break;
            }
            match rest.split_at_checked(self.take_packet(cx, rest)) {
                Some((taken, behind)) if !taken.is_empty() => {
                    self.begun = Due::NEVER;
                    rest = behind;
                }
                _ => break,
            }
        }
        self.note_unfinished(cx, !rest.is_empty() && self.is_open());
        self.cut(cx, from);
        input.len() - rest.len()
    }

    fn on_delivery(&mut self, cx: &mut Context<'_>, delivery: &Delivery) {
        let from = cx.out.len();
        deliver::on_delivery(self, cx, delivery);
        self.cut(cx, from);
    }

    fn on_answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        let from = cx.out.len();
        match answer {
            Answer::Welcome(welcome) => connect::on_welcome(self, cx, &welcome),
            Answer::Scram(keys) => auth::on_keys(self, cx, *keys),
            Answer::Refused(refusal) => connect::on_refused(self, cx, refusal),
            Answer::Published { token, result } => publish::on_published(self, cx, token, result),
            Answer::Say(bytes) => cx.out.extend_from_slice(&bytes),
            Answer::Closing { ending, close } => self.end_by_hub(cx, &ending, close),
        }
        self.cut(cx, from);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) {
        match self.deadline() {
            Some(deadline) if deadline <= cx.now => match self.stage {
                Stage::New | Stage::Proving => cx.close(Fault::Line, "no CONNECT in time"),
                Stage::Asked(_) => connect::on_gate_silent(self, cx),
                Stage::Open if self.begun.at().is_some_and(|begun| begun.plus_s(limits::PACKET_S_MAX) <= cx.now) => {
                    let why = format!("a packet was begun and not finished within {} s", limits::PACKET_S_MAX);
                    self.end(cx, Reason::Unspecified, Fault::Line, why);
                }
                Stage::Open => {
                    let s = self.keep_alive_s;
                    let why = format!("silent for one and a half times its keep-alive of {s} s");
                    self.end(cx, Reason::KeepAlive, Fault::Line, why);
                }
            },
            later => *cx.wake_at = later,
        }
    }
}
