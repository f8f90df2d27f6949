//! A board over ES-PUSH classic, as the AT_PLUS firmware of 2016 speaks it: 86-byte registration,
//! heartbeat every 190 s, uploads `led,1` and `adc,512`, and, true to the original, no mercy for a type
//! that its firmware does not know: it drops the line.

use std::time::Duration;

use model::limits::ESPUSH_FRAME_BYTES_MAX;
use protocols::espush::codec::{Frame, decode, encode, kind};
use protocols::espush::register::{Details, Registration, firmware};
use protocols::espush::upload::Upload;

use crate::board::{Board, Order, Reply};
use crate::wire::{Ended, Told, Wire};

pub(crate) struct Espush {
    app: u32,
    key: [u8; 32],
    chip: u32,
    msgid: u32,
    /// The server's time in seconds, and the board's uptime when it came.
    clock: Option<(u32, u64)>,
}

impl Espush {
    pub(crate) fn new(app: u32, key: [u8; 32], chip: u32) -> Espush {
        Espush { app, key, chip, msgid: 0, clock: None }
    }

    fn request(&mut self, kind: u16, body: &[u8], out: &mut Vec<u8>) {
        self.msgid = self.msgid.wrapping_add(1);
        encode(out, self.msgid, kind, body);
    }

    fn value(&mut self, board: &Board, data: &str, out: &mut Vec<u8>) {
        // The server's time plus what passed since; 0 is what the firmware says while it has none.
        let time_s = self
            .clock
            .map_or(0, |(at, uptime_ms)| at.saturating_add((board.uptime_ms().saturating_sub(uptime_ms) / 1000) as u32));
        self.request(kind::UPLOAD, &Upload { time_s, data: data.as_bytes() }.write(), out);
    }

    fn on_frame(&mut self, board: &mut Board, frame: &Frame<'_>, out: &mut Vec<u8>, told: &mut Told) -> Result<(), Ended> {
        const ACCEPTED: u16 = kind::answer_to(kind::REGISTER);
        const TIME: u16 = kind::answer_to(kind::HEARTBEAT);
        const UPLOADED: u16 = kind::answer_to(kind::UPLOAD);
        match (frame.kind, frame.body) {
            (ACCEPTED, [0, ..]) => {
                told.logged_in = true;
                self.request(kind::HEARTBEAT, &[], out); // to have the time at once
                Ok(())
            }
            (ACCEPTED, _) => Err(Ended::Refused("the server knows no such app id and key".to_owned())),
            (TIME, body) => {
                self.clock = body.first_chunk().map(|time| (u32::from_be_bytes(*time), board.uptime_ms()));
                Ok(())
            }
            (UPLOADED, body) => {
                told.uploads += u64::from(body.first() == Some(&0));
                Ok(())
            }
            _ => self.on_order(board, frame, out, told),
        }
    }

    fn on_order(&mut self, board: &mut Board, frame: &Frame<'_>, out: &mut Vec<u8>, told: &mut Told) -> Result<(), Ended> {
        let pair = match frame.body {
            [pin, level] => format!("{pin} {level}"),
            _ => String::new(),
        };
        let command = |verb| Order::Command { verb, payload: frame.body };
        told.orders += 1;
        let order = match frame.kind {
            kind::PUSH => Order::Text(frame.body),
            kind::REBOOT => command("reboot"),
            kind::AT => command("at"),
            kind::LUA => command("lua"),
            kind::PROBE => command("probe"),
            kind::STATUS => command("status"),
            kind::GPIO_READ => command("gpio.read"),
            kind::GPIO_WRITE => Order::Command { verb: "gpio.write", payload: pair.as_bytes() },
            kind::UART => {
                encode(out, frame.msgid, kind::answer_to(kind::UART), &[0]);
                return Ok(());
            }
            kind::CUSTOM => {
                // The AT_PLUS board has one, the colour of its RGB light; to others it says nothing.
                if frame.body.first() == Some(&0x11) {
                    encode(out, frame.msgid, kind::answer_to(kind::CUSTOM), &[0, 0]);
                }
                return Ok(());
            }
            other => return Err(Ended::Broken(format!("a frame of type {other:02x}, which this firmware does not know"))),
        };
        let reply = board.order(order);
        encode(out, frame.msgid, kind::answer_to(frame.kind), &answer(frame.kind, board, &reply));
        if reply.pressed {
            self.value(board, "button,1", out);
        }
        if reply.led_changed {
            self.value(board, &format!("led,{}", u8::from(board.led())), out);
        }
        if reply.reboots { Err(Ended::Restart) } else { Ok(()) }
    }
}

/// The body of the answer in the terms of the type that was asked.
fn answer(asked: u16, board: &Board, reply: &Reply) -> Vec<u8> {
    match (asked, &reply.answer) {
        // Handed to the program or to the UART: what came of it is not told.
        (kind::PUSH | kind::AT, _) => vec![0],
        (kind::PROBE, _) => vec![],
        (kind::GPIO_READ, _) => board.pins().to_vec(),
        (kind::STATUS, Ok(value)) => [&[0], value.as_bytes()].concat(),
        (kind::STATUS, Err(why)) => [&[1], why.to_string().as_bytes()].concat(),
        (_, Ok(_)) => vec![0],
        (kind::LUA, Err(_)) => vec![2],
        (_, Err(_)) => vec![1],
    }
}

impl Wire for Espush {
    fn hello(&mut self, board: &Board, out: &mut Vec<u8>) {
        let details =
            Details { device_id: board.firmware().replace(' ', "-"), firmware: firmware::AT_PLUS, slot: 1, ..Details::default() };
        let registration = Registration { app: self.app, key: self.key, chip: self.chip, details: Some(details) };
        self.request(kind::REGISTER, &registration.write(), out);
    }

    fn on_bytes(&mut self, board: &mut Board, input: &[u8], out: &mut Vec<u8>, told: &mut Told) -> Result<usize, Ended> {
        let mut rest = input;
        while let Some((frame, after)) = decode(rest, ESPUSH_FRAME_BYTES_MAX).map_err(|e| Ended::Broken(e.to_string()))? {
            rest = after;
            self.on_frame(board, &frame, out, told)?;
        }
        Ok(input.len() - rest.len())
    }

    fn upload(&mut self, board: &mut Board, out: &mut Vec<u8>) {
        let adc = board.sample();
        self.value(board, &format!("led,{}", u8::from(board.led())), out);
        self.value(board, &format!("adc,{adc}"), out);
    }

    fn beat(&mut self, out: &mut Vec<u8>) -> Result<(), Ended> {
        self.request(kind::HEARTBEAT, &[], out); // whether it is answered, the firmware never checks
        Ok(())
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_secs(190)
    }

    fn goodbye(&mut self, _: &mut Vec<u8>) {}
}
