//! A board over MQTT 3.1.1: listens on `me/push`, `me/ask/+`, `me/cmd/+/+` and `me/twin/desired`, answers on
//! `me/answer/<id>`, uploads on `me/data`, and tells of its LED on `me/twin/reported` once somebody wants it to be
//! so or so; everything at QoS 1. Its session is clean: the server keeps pushes for boards that are away by itself.

use std::time::Duration;

use model::{Qos, limits};
use protocols::mqtt::codec::{
    Connect, Head, Kind, Level, Options, Packet, Properties, Publish, Reason, Subscribe, put_ack, put_empty,
};
use serde_json::Value;

use crate::board::{Board, Order, Reply};
use crate::wire::{Ended, Told, Wire};

/// The silence that the board promises never to exceed; it speaks at two thirds of that.
const KEEP_ALIVE_S: u16 = 240;

const LEVEL: Level = Level::V311;
const WANTED: Options = Options::at(Qos::AtLeastOnce);
const FILTERS: [(&str, Options); 4] =
    [("me/push", WANTED), ("me/ask/+", WANTED), ("me/cmd/+/+", WANTED), ("me/twin/desired", WANTED)];
const SUBSCRIBE_ID: u16 = 0xffff;
/// Packet ids from here on are answers, below it uploads: so an acknowledgement tells what it is for.
const ANSWER_IDS: u16 = 0x8000;

pub(crate) struct Mqtt {
    user: String,
    password: String,
    client: String,
    upload_id: u16,
    answer_id: u16,
    /// A ping is not answered.
    pinged: bool,
    /// Its twin has an LED.
    twin: bool,
}

impl Mqtt {
    pub(crate) fn new(user: String, password: String, client: String) -> Mqtt {
        Mqtt { user, password, client, upload_id: 0, answer_id: 0, pinged: false, twin: false }
    }

    fn on_packet(&mut self, board: &mut Board, packet: Packet<'_>, out: &mut Vec<u8>, told: &mut Told) -> Result<(), Ended> {
        match packet {
            Packet::Connack(connack) if connack.reason == Reason::Success => {
                Subscribe::encode(LEVEL, out, SUBSCRIBE_ID, Properties::NONE, &FILTERS).map_err(|e| broken(&e))
            }
            Packet::Connack(connack) => Err(Ended::Refused(format!("the server says: {}", connack.reason.as_str()))),
            Packet::Suback(suback) if suback.reasons().any(Reason::is_error) => {
                Err(Ended::Refused("the server does not let the board listen to its own topics".to_owned()))
            }
            Packet::Suback(_) => {
                told.logged_in = true;
                self.tell_twin(board, out);
                Ok(())
            }
            Packet::Publish(publish) => self.on_publish(board, &publish, out, told),
            Packet::Puback(ack) => {
                told.uploads += u64::from(ack.id < ANSWER_IDS);
                Ok(())
            }
            Packet::Pingresp => {
                self.pinged = false;
                Ok(())
            }
            other => Err(Ended::Broken(format!("the server sent what was not asked for: {other:?}"))),
        }
    }

    fn on_publish(&mut self, board: &mut Board, publish: &Publish<'_>, out: &mut Vec<u8>, told: &mut Told) -> Result<(), Ended> {
        if publish.qos != Qos::AtMostOnce {
            put_ack(out, Kind::Puback, publish.id);
        }
        let levels: Vec<&str> = publish.topic.split('/').collect();
        let (order, ask) = match levels.as_slice() {
            ["me", "push"] => (Order::Text(publish.payload), None),
            ["me", "ask", id] => (Order::Text(publish.payload), Some(*id)),
            ["me", "twin", "desired"] => {
                self.follow(board, publish.payload, out);
                return Ok(());
            }
            ["me", "cmd", verb, id] => (Order::Command { verb, payload: publish.payload }, Some(*id)),
            _ => return Ok(()),
        };
        told.orders += 1;
        let reply = board.order(order);
        if let Some(id) = ask {
            let answer = match &reply.answer {
                Ok(answer) => answer.clone(),
                Err(why) => why.to_string(),
            };
            self.answer(&format!("me/answer/{id}"), answer.as_bytes(), out);
        }
        self.tell(board, &reply, out);
        if reply.reboots { Err(Ended::Restart) } else { Ok(()) }
    }

    /// Does what is wanted of it, as far as it can, and tells what it has done.
    fn follow(&mut self, board: &mut Board, patch: &[u8], out: &mut Vec<u8>) {
        let Ok(Value::Object(mut wanted)) = serde_json::from_slice(patch) else { return };
        let reply = board.order(Order::Text(patch));
        if reply.answer.is_err() {
            // Nothing that it has, or not any more.
            wanted.remove("led");
        }
        wanted.retain(|name, _| matches!(name.as_str(), "led" | "$version"));
        self.twin |= wanted.contains_key("led");
        self.answer("me/twin/reported", Value::Object(wanted).to_string().as_bytes(), out);
        if reply.led_changed {
            self.upload(board, out);
        }
    }

    /// What came of an order besides its answer.
    fn tell(&mut self, board: &mut Board, reply: &Reply, out: &mut Vec<u8>) {
        if reply.pressed {
            self.data(r#"{"button":1}"#, out);
        }
        if reply.led_changed {
            self.upload(board, out);
            self.tell_twin(board, out);
        }
    }

    fn tell_twin(&mut self, board: &Board, out: &mut Vec<u8>) {
        if self.twin {
            let led = if board.led() { r#"{"led":"on"}"# } else { r#"{"led":"off"}"# };
            self.answer("me/twin/reported", led.as_bytes(), out);
        }
    }

    fn answer(&mut self, topic: &str, body: &[u8], out: &mut Vec<u8>) {
        self.answer_id = (self.answer_id + 1) % (ANSWER_IDS - 1);
        self.publish(topic, body, ANSWER_IDS + self.answer_id, out);
    }

    fn data(&mut self, json: &str, out: &mut Vec<u8>) {
        self.upload_id = self.upload_id % (ANSWER_IDS - 1) + 1;
        self.publish("me/data", json.as_bytes(), self.upload_id, out);
    }

    fn publish(&self, topic: &str, payload: &[u8], id: u16, out: &mut Vec<u8>) {
        let (qos, props) = (Qos::AtLeastOnce, Properties::NONE);
        let publish = Publish { dup: false, qos, retain: false, topic, id, props, payload };
        // Our topics and answers are far below the limits; what could not be said is left unsaid.
        let _ = publish.encode(LEVEL, out);
    }
}

impl Wire for Mqtt {
    fn hello(&mut self, _: &Board, out: &mut Vec<u8>) {
        let connect = Connect {
            level: LEVEL,
            clean: true,
            keep_alive_s: KEEP_ALIVE_S,
            props: Properties::NONE,
            client: &self.client,
            will: None,
            user: Some(&self.user),
            password: Some(self.password.as_bytes()),
        };
        // Options checks the lengths; an empty hello would be refused by the server in its own words.
        let _ = connect.encode(out);
    }

    fn on_bytes(&mut self, board: &mut Board, input: &[u8], out: &mut Vec<u8>, told: &mut Told) -> Result<usize, Ended> {
        let mut rest = input;
        while let Some(head) = Head::read(LEVEL, rest).map_err(|e| broken(&e))? {
            if head.body_bytes > limits::MQTT_PACKET_BYTES_MAX {
                return Err(Ended::Broken(format!("a packet of {} bytes", head.body_bytes)));
            }
            let Some(packet) = head.packet(rest).map_err(|e| broken(&e))? else { break };
            rest = rest.get(head.packet_bytes()..).unwrap_or_default();
            self.on_packet(board, packet, out, told)?;
        }
        Ok(input.len() - rest.len())
    }

    fn upload(&mut self, board: &mut Board, out: &mut Vec<u8>) {
        let adc = board.sample();
        self.data(&format!(r#"{{"led":{},"adc":{adc}}}"#, board.led()), out);
    }

    fn beat(&mut self, out: &mut Vec<u8>) -> Result<(), Ended> {
        if self.pinged {
            return Err(Ended::Broken("the server does not answer pings".to_owned()));
        }
        self.pinged = true;
        put_empty(out, Kind::Pingreq);
        Ok(())
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_secs(u64::from(KEEP_ALIVE_S) * 2 / 3)
    }

    fn goodbye(&mut self, out: &mut Vec<u8>) {
        put_empty(out, Kind::Disconnect);
    }
}

fn broken(error: &dyn std::fmt::Display) -> Ended {
    Ended::Broken(error.to_string())
}
