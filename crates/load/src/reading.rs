//! What comes back: packets are told apart and counted, what must be answered is answered, and how long
//! each took goes into its histogram.

use protocols::mqtt::codec::{Head, Kind, Packet, Publish, Reason, put_ack};
use rustix::event::epoll;

use crate::conn::{Read1, Stage};
use crate::plan::STAMP_BYTES;
use crate::worker::{Worker, now_ns};

impl Worker {
    /// A socket has something to say.
    pub fn ready(&mut self, at: usize, flags: epoll::EventFlags, buffer: &mut [u8]) {
        if self.conns[at].stage == Stage::Dialling && flags.intersects(epoll::EventFlags::OUT | epoll::EventFlags::ERR) {
            self.dialled(at);
            return;
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.mark(at);
        }
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return;
        }
        match self.conns[at].read(buffer) {
            Read1::Later => {}
            Read1::End(why) => self.lost(at, why),
            Read1::Bytes(bytes) if self.conns[at].rest.is_empty() => {
                let used = self.take(at, &buffer[..bytes]);
                self.conns[at].rest.extend_from_slice(&buffer[used..bytes]);
            }
            Read1::Bytes(bytes) => {
                let mut whole = std::mem::take(&mut self.conns[at].rest);
                whole.extend_from_slice(&buffer[..bytes]);
                let used = self.take(at, &whole);
                self.conns[at].rest = whole.split_off(used);
            }
        }
    }

    /// Takes all whole packets; answers how many bytes they were. All of it when the connection is over.
    fn take(&mut self, at: usize, bytes: &[u8]) -> usize {
        let (level, now) = (self.plan.mqtt.level(), now_ns());
        let mut used = 0;
        loop {
            if self.conns[at].socket.is_none() {
                return bytes.len();
            }
            let rest = &bytes[used..];
            let packet = Head::read(level, rest).and_then(|head| {
                let Some(head) = head else { return Ok(None) };
                Ok(head.packet(rest)?.map(|packet| (head.packet_bytes(), packet)))
            });
            match packet {
                Ok(None) => return used,
                Ok(Some((packet_bytes, packet))) => {
                    used += packet_bytes;
                    self.on_packet(at, packet, now);
                }
                Err(error) => {
                    self.lost(at, format!("the server sent what is no MQTT: {error}"));
                    return bytes.len();
                }
            }
        }
    }

    fn on_packet(&mut self, at: usize, packet: Packet<'_>, now: u64) {
        let conn = &mut self.conns[at];
        match (packet, conn.stage) {
            (Packet::Publish(publish), _) => self.on_publish(at, &publish, now),
            (Packet::Connack(connack), Stage::Greeting) if connack.reason == Reason::Success => {
                use protocols::mqtt::codec::Property;
                let most = connack.props.iter().find_map(|p| if let Property::ReceiveMax(most) = p { Some(most) } else { None });
                if let (Some(most), Some(sender)) = (most, &mut conn.sender) {
                    sender.window = sender.window.min(most);
                }
                self.welcomed(at);
            }
            (Packet::Connack(connack), _) => self.lost(at, format!("the server refuses the login: {}", connack.reason.as_str())),
            (Packet::Suback(suback), Stage::Subscribing) => match suback.reasons().find(|reason| reason.is_error()) {
                None => self.subscribed(at),
                Some(reason) => self.lost(at, format!("the server refuses the subscription: {}", reason.as_str())),
            },
            (Packet::Puback(ack) | Packet::Pubcomp(ack), _) => self.on_ack(at, ack.id, ack.reason, now),
            (Packet::Pubrec(ack), _) if ack.reason.is_error() => self.on_ack(at, ack.id, ack.reason, now),
            (Packet::Pubrec(ack), _) => {
                put_ack(&mut conn.out, Kind::Pubrel, ack.id);
                self.mark(at);
            }
            (Packet::Pubrel(ack), _) => {
                put_ack(&mut conn.out, Kind::Pubcomp, ack.id);
                self.mark(at);
            }
            (Packet::Pingresp, _) => {
                let due_ns = conn.sender.as_mut().and_then(|sender| sender.pings.pop_front());
                if let Some(due_ns) = due_ns {
                    self.loading.open = self.loading.open.saturating_sub(1);
                    self.counts.answered += 1;
                    self.answered.record(now.saturating_sub(due_ns));
                }
            }
            (Packet::Disconnect(goodbye), _) => self.lost(at, format!("the server says goodbye: {}", goodbye.reason.as_str())),
            (other, stage) => self.lost(at, format!("the server sent {other:?} while {stage:?}")),
        }
    }

    fn on_publish(&mut self, at: usize, publish: &Publish<'_>, now: u64) {
        match publish.qos as u8 {
            0 => {}
            qos => {
                let kind = if qos == 1 { Kind::Puback } else { Kind::Pubrec };
                put_ack(&mut self.conns[at].out, kind, publish.id);
                self.mark(at);
            }
        }
        self.counts.received += 1;
        self.loading.arrived(now);
        // What waited for those that were away is not late by their being away.
        if self.plan.sessions != crate::plan::Sessions::Away
            && let Some(stamp) = publish.payload.first_chunk::<STAMP_BYTES>()
        {
            self.delivered.record(now.saturating_sub(u64::from_be_bytes(*stamp)));
        }
    }

    fn on_ack(&mut self, at: usize, id: u16, reason: Reason, now: u64) {
        let Some(due_ns) = self.conns[at].sender.as_mut().and_then(|sender| sender.give_back(id)) else {
            return self.lost(at, format!("the server acknowledges packet {id}, which was not sent"));
        };
        self.loading.open = self.loading.open.saturating_sub(1);
        if reason.is_error() {
            self.counts.refused += 1;
            self.trouble(format!("the server refuses a message: {}", reason.as_str()));
        } else {
            self.counts.answered += 1;
            self.answered.record(now.saturating_sub(due_ns));
        }
    }
}
