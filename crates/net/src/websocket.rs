//! WebSocket as a layer (RFC 6455), server's side, for MQTT: the binary messages of a connection are one
//! stream of bytes [MQTT-6.0.0-2], so payload goes up as it comes in and nothing of a frame is held but
//! its header. That is why this is our own codec of two pages and not a library: the usual ones collect
//! whole messages and reserve buffers for every idle connection. Deliberately absent: extensions, text.

use contract::{Close, Fault};
use model::limits;

use crate::layer::{Flow, Layer};

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Longest payload of a control frame (5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// One WebSocket connection after its upgrade.
#[derive(Default)]
pub struct WebSocket {
    /// The beginning of a header that is not whole yet.
    header: Header,
    /// The frame whose payload is coming in.
    frame: Option<Frame>,
    /// A message began and has not ended: only continuations may follow (5.4).
    fragmented: bool,
    /// The payload of the control frame that is coming in.
    control: Vec<u8>,
    /// A goodbye was said; nothing may follow.
    over: bool,
}

/// Up to two bytes, eight of length, four of mask.
#[derive(Default)]
struct Header {
    bytes: [u8; 14],
    count: usize,
}

struct Frame {
    code: u8,
    left: u64,
    mask: [u8; 4],
    /// Where in the mask the next byte falls.
    turn: usize,
}

/// Why a frame is not taken: the status code for the peer (7.4.1) and a sentence for the owner.
struct Violation(u16, &'static str);

impl WebSocket {
    /// Completes the header with bytes of `input`. The frame, once its header is whole.
    fn head(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Violation> {
        while let Some((first, rest)) = input.split_first() {
            self.header.bytes[self.header.count] = *first;
            self.header.count += 1;
            *input = rest;
            if self.header.count >= 2 {
                let wanted = header_bytes(self.header.bytes[1]);
                if self.header.count == 2 {
                    self.check(self.header.bytes[0], self.header.bytes[1])?;
                }
                if self.header.count == wanted {
                    let header = std::mem::take(&mut self.header);
                    return frame(&header.bytes[..wanted]).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The rules that the first two bytes can break.
    fn check(&self, first: u8, second: u8) -> Result<(), Violation> {
        let code = first & 15;
        let control = code & 8 != 0;
        match code {
            _ if first & 0x70 != 0 => Err(Violation(1002, "set bits of a WebSocket extension that nobody agreed on")),
            _ if second & MASKED == 0 => Err(Violation(1002, "sent a WebSocket frame without a mask")),
            CLOSE | PING | PONG if first & FIN == 0 || usize::from(second & 0x7f) > CONTROL_BYTES_MAX => {
                Err(Violation(1002, "sent a WebSocket control frame in pieces, or a long one"))
            }
            CONTINUATION if !self.fragmented => Err(Violation(1002, "went on with a WebSocket message that it had not begun")),
            BINARY if self.fragmented => Err(Violation(1002, "began a WebSocket message inside another")),
            CONTINUATION | BINARY | CLOSE | PING | PONG => Ok(()),
            // [MQTT-6.0.0-1]
            1 => Err(Violation(1003, "sent a WebSocket text frame; MQTT goes in binary frames")),
            _ if control => Err(Violation(1002, "sent an unknown WebSocket control frame")),
            _ => Err(Violation(1002, "sent an unknown WebSocket frame")),
        }
    }

    /// Takes a whole control frame's payload. Whether the peer said goodbye.
    fn control(&mut self, code: u8, down: &mut Vec<u8>) -> bool {
        let payload = std::mem::take(&mut self.control);
        match code {
            PING => put(down, PONG, &payload),
            CLOSE => {
                // The status comes back as it came (5.5.1).
                put(down, CLOSE, payload.get(..2).unwrap_or_default());
                self.over = true;
                return true;
            }
            _ => {}
        }
        false
    }

    fn take(&mut self, mut input: &[u8], up: &mut Vec<u8>, down: &mut Vec<u8>) -> Result<Flow, Violation> {
        loop {
            if self.frame.is_none() {
                let Some(frame) = self.head(&mut input)? else { return Ok(Flow::Open) };
                if frame.code & 8 == 0 {
                    self.fragmented = !frame.last();
                }
                self.frame = Some(frame);
            }
            let Some(frame) = &mut self.frame else { return Ok(Flow::Open) };
            let count = input.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
            let (payload, rest) = input.split_at(count);
            input = rest;
            let code = frame.code & 15;
            frame.unmask(payload, if code & 8 == 0 { up } else { &mut self.control });
            if frame.left > 0 {
                return Ok(Flow::Open);
            }
            self.frame = None;
            if code & 8 != 0 && self.control(code, down) {
                return Ok(Flow::Ended);
            }
        }
    }
}

impl Frame {
    fn last(&self) -> bool {
        self.code & FIN != 0
    }

    fn unmask(&mut self, payload: &[u8], into: &mut Vec<u8>) {
        let turn = self.turn;
        into.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ self.mask[(turn + at) % 4]));
        self.turn = (turn + payload.len()) % 4;
        self.left -= payload.len() as u64;
    }
}

/// How long the header is that has `second` as its second byte, mask included.
fn header_bytes(second: u8) -> usize {
    let length = match second & 0x7f {
        127 => 8,
        126 => 2,
        _ => 0,
    };
    2 + length + 4
}

fn frame(header: &[u8]) -> Result<Frame, Violation> {
    let broken = Violation(1002, "sent a WebSocket header that makes no sense");
    let [code, second, rest @ ..] = header else { return Err(broken) };
    let Some((length, mask)) = rest.split_last_chunk::<4>() else { return Err(broken) };
    let left = match length {
        [] => u64::from(second & 0x7f),
        _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    if left > limits::WEBSOCKET_FRAME_BYTES_MAX {
        return Err(Violation(1009, "announced a WebSocket frame beyond our limit; send MQTT packets in frames of their own"));
    }
    Ok(Frame { code: *code, left, mask: *mask, turn: 0 })
}

/// Appends a whole frame.
fn put(down: &mut Vec<u8>, code: u8, payload: &[u8]) {
    down.push(FIN | code);
    match payload.len() {
        length @ 0..126 => down.push(length as u8),
        length @ 126..0x1_0000 => {
            down.push(126);
            down.extend((length as u16).to_be_bytes());
        }
        length => {
            down.push(127);
            down.extend((length as u64).to_be_bytes());
        }
    }
    down.extend_from_slice(payload);
}

impl Layer for WebSocket {
    fn receive(&mut self, input: &[u8], up: &mut Vec<u8>, down: &mut Vec<u8>) -> Result<Flow, Close> {
        if self.over {
            return Ok(Flow::Ended);
        }
        self.take(input, up, down).map_err(|Violation(status, why)| {
            put(down, CLOSE, &status.to_be_bytes());
            self.over = true;
            Close { fault: Fault::Peer, why: why.into() }
        })
    }

    fn send(&mut self, plain: &[u8], down: &mut Vec<u8>) {
        if !self.over {
            put(down, BINARY, plain);
        }
    }

    fn close(&mut self, down: &mut Vec<u8>) {
        if !self.over {
            put(down, CLOSE, &1000_u16.to_be_bytes());
            self.over = true;
        }
    }
}

/// What the server answers to a client's `Sec-WebSocket-Key` (4.2.2).
pub fn websocket_accept(key: &str) -> String {
    let mut sha = openssl::sha::Sha1::new();
    sha.update(key.as_bytes());
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    openssl::base64::encode_block(&sha.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame.
    fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = Vec::new();
        put(&mut frame, 0, payload);
        frame[0] = first;
        frame[1] |= MASKED;
        let at = frame.len() - payload.len();
        frame.truncate(at);
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        frame
    }

    fn receive(layer: &mut WebSocket, input: &[u8]) -> (Result<Flow, Fault>, Vec<u8>, Vec<u8>) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let flow = layer.receive(input, &mut up, &mut down).map_err(|close| close.fault);
        (flow, up, down)
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        assert_eq!(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// [MQTT 3.1.1: 6.0.0-2]
    /// [MQTT 5.0: 6.0.0-2]
    #[test]
    fn packets_may_be_split_and_joined_across_frames() {
        let mut layer = WebSocket::default();
        let mask = [1, 2, 3, 4];
        let pieces = [frame(BINARY, b"ab", mask), frame(FIN, b"c", mask), frame(FIN | BINARY, b"def", mask)].concat();
        assert_eq!(receive(&mut layer, &pieces), (Ok(Flow::Open), b"abcdef".to_vec(), Vec::new()));
    }

    #[test]
    fn a_ping_is_answered_even_inside_a_message() {
        let mut layer = WebSocket::default();
        let input = [frame(BINARY, b"a", [9; 4]), frame(FIN | PING, b"hi", [7; 4]), frame(FIN, b"b", [0; 4])].concat();
        assert_eq!(receive(&mut layer, &input), (Ok(Flow::Open), b"ab".to_vec(), b"\x8a\x02hi".to_vec()));
        assert_eq!(receive(&mut layer, &frame(FIN | PONG, b"", [0; 4])), (Ok(Flow::Open), Vec::new(), Vec::new()));
    }

    #[test]
    fn a_goodbye_is_answered_once() {
        let mut layer = WebSocket::default();
        let input = [frame(FIN | CLOSE, b"\x03\xe8bye", [5; 4]), frame(FIN | BINARY, b"late", [0; 4])].concat();
        assert_eq!(receive(&mut layer, &input), (Ok(Flow::Ended), Vec::new(), b"\x88\x02\x03\xe8".to_vec()));
        let mut down = Vec::new();
        layer.close(&mut down);
        layer.send(b"x", &mut down);
        assert!(down.is_empty());
    }

    #[test]
    fn ours_is_said_with_its_status() {
        let (mut layer, mut down) = (WebSocket::default(), Vec::new());
        layer.send(b"hi", &mut down);
        layer.close(&mut down);
        assert_eq!(down, b"\x82\x02hi\x88\x02\x03\xe8");
    }

    /// [MQTT 3.1.1: 6.0.0-1]
    /// [MQTT 5.0: 6.0.0-1]
    #[test]
    fn each_broken_rule_has_its_status() {
        let mask = [1, 2, 3, 4];
        let long = [&[FIN | BINARY, MASKED | 127][..], &(limits::WEBSOCKET_FRAME_BYTES_MAX + 1).to_be_bytes(), &mask].concat();
        let cases: [(&str, Vec<u8>, u16); 9] = [
            ("text", frame(FIN | 1, b"x", mask), 1003),
            ("no mask", vec![FIN | BINARY, 1, b'x'], 1002),
            ("an extension's bit", frame(FIN | 0x40 | BINARY, b"x", mask), 1002),
            ("a continuation of nothing", frame(FIN, b"x", mask), 1002),
            ("a message inside another", [frame(BINARY, b"", mask), frame(BINARY, b"", mask)].concat(), 1002),
            ("a ping in pieces", frame(PING, b"", mask), 1002),
            ("a long ping", frame(FIN | PING, &[0; 126], mask), 1002),
            ("an unknown frame", frame(FIN | 5, b"", mask), 1002),
            ("a frame beyond our limit", long, 1009),
        ];
        for (name, input, status) in cases {
            let (flow, up, down) = receive(&mut WebSocket::default(), &input);
            let [high, low] = status.to_be_bytes();
            assert_eq!((flow, down), (Err(Fault::Peer), vec![FIN | CLOSE, 2, high, low]), "{name}");
            assert!(up.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_is_sent_comes_through_whatever_the_pieces() {
        arbtest::arbtest(|u| {
            let (mut input, mut sent, mut pings) = (Vec::new(), Vec::new(), Vec::new());
            let mut open = false;
            for _ in 0..u.int_in_range(0..=8)? {
                if u.ratio(1, 4)? {
                    let payload = &u.arbitrary::<[u8; 9]>()?[..u.int_in_range(0..=9)?];
                    input.extend(frame(FIN | PING, payload, u.arbitrary()?));
                    put(&mut pings, PONG, payload);
                } else {
                    let payload = vec![u.arbitrary()?; u.choose(&[0, 1, 125, 126, 127, 400, 65_535, 65_536, 70_000]).copied()?];
                    let last = u.arbitrary()?;
                    let code = if open { CONTINUATION } else { BINARY };
                    input.extend(frame(code | if last { FIN } else { 0 }, &payload, u.arbitrary()?));
                    sent.extend(payload);
                    open = !last;
                }
            }
            let (mut layer, mut up, mut down) = (WebSocket::default(), Vec::new(), Vec::new());
            let mut rest = input.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(u.int_in_range(1..=rest.len().min(9_000))?);
                assert_eq!(layer.receive(piece, &mut up, &mut down), Ok(Flow::Open));
                rest = after;
            }
            assert!(up == sent && down == pings);
            Ok(())
        });
    }

    #[test]
    fn any_bytes_are_answered_and_little_is_held() {
        arbtest::arbtest(|u| {
            let mut layer = WebSocket::default();
            let (mut up, mut down) = (Vec::new(), Vec::new());
            for _ in 0..4 {
                let input: &[u8] = u.arbitrary()?;
                let _ = layer.receive(input, &mut up, &mut down);
                assert!(layer.control.len() <= CONTROL_BYTES_MAX);
            }
            Ok(())
        });
    }
}
