//! Frames, both directions: u32 length, u32 msgid, u16 type, body, all big-endian. The length counts the
//! header. Even types ask, the odd one after answers with the same msgid. Bodies belong to the verbs.

use contract::kit::Cursor;
use model::limits::ESPUSH_FRAME_BYTES_MAX;

/// Bytes of a frame's header, and so of the shortest frame.
pub const HEADER_BYTES: usize = 10;
/// Longest body: what is left of the device's reassembly buffer.
pub const BODY_BYTES_MAX: usize = ESPUSH_FRAME_BYTES_MAX - HEADER_BYTES;

/// Frame types that ask; the answer is the type plus one.
pub mod kind {
    /// Device: registration with app id and key.
    pub const REGISTER: u16 = 0x00;
    /// Device: heartbeat; the answer carries the server's time.
    pub const HEARTBEAT: u16 = 0x02;
    /// Server: bytes for the device's program.
    pub const PUSH: u16 = 0x04;
    /// Device: a sample.
    pub const UPLOAD: u16 = 0x06;
    /// Device: log off. No client sends it.
    pub const LOG_OFF: u16 = 0x08;
    /// Until August 2015 a flash dump; in the 2018 dialect the device's self-description.
    pub const TELEMETRY_2018: u16 = 0x10;
    /// Server: restart.
    pub const REBOOT: u16 = 0x12;
    /// Server: run an AT command.
    pub const AT: u16 = 0x14;
    /// Server: run Lua source.
    pub const LUA: u16 = 0x16;
    /// Server: are you there?
    pub const PROBE: u16 = 0x18;
    /// Server: the value of a key, now.
    pub const STATUS: u16 = 0x1C;
    /// Server: set a pin.
    pub const GPIO_WRITE: u16 = 0x1E;
    /// Server: read all pins.
    pub const GPIO_READ: u16 = 0x20;
    /// Either: bytes of the serial line. Never answered (H2).
    pub const UART: u16 = 0x22;
    /// Device: registration without an app.
    pub const REGISTER_SINGLE: u16 = 0x24;
    /// Server: a message that the application defines.
    pub const CUSTOM: u16 = 0x26;

    /// The type that answers `asked`.
    pub const fn answer_to(asked: u16) -> u16 {
        asked + 1
    }
}

/// One frame, its body borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Repeated by the answer.
    pub msgid: u32,
    /// See [`kind`].
    pub kind: u16,
    /// What follows the header.
    pub body: &'a [u8],
}

/// A length that no frame may have (H13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ES-PUSH frame here: it announces {0} bytes, allowed are 10 to {1}")]
pub struct BadLength(pub u32, pub usize);

/// The first frame of `input` and what follows it; `None` while it is incomplete. A bad length is told
/// as soon as its four bytes are there, so that nobody makes us wait for a frame we will never take.
pub fn decode(input: &[u8], bytes_max: usize) -> Result<Option<(Frame<'_>, &[u8])>, BadLength> {
    let mut head = Cursor::new(input);
    let Ok(length) = head.u32() else { return Ok(None) };
    let bytes = length as usize;
    if !(HEADER_BYTES..=bytes_max).contains(&bytes) {
        return Err(BadLength(length, bytes_max));
    }
    let Some((frame, rest)) = input.split_at_checked(bytes) else { return Ok(None) };
    let mut fields = Cursor::new(frame);
    match (fields.u32(), fields.u32(), fields.u16()) {
        (Ok(_), Ok(msgid), Ok(kind)) => Ok(Some((Frame { msgid, kind, body: fields.rest() }, rest))),
        _ => Ok(None), // not reached: the frame has its ten bytes
    }
}

/// Appends a frame. The caller has checked that `body` is at most [`BODY_BYTES_MAX`] long.
pub fn encode(out: &mut Vec<u8>, msgid: u32, kind: u16, body: &[u8]) {
    debug_assert!(body.len() <= BODY_BYTES_MAX);
    out.extend_from_slice(&((HEADER_BYTES + body.len()) as u32).to_be_bytes());
    out.extend_from_slice(&msgid.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: [u8; 10] = [0, 0, 0, 10, 0, 0, 0, 5, 0, 2];

    #[test]
    fn the_one_frame_in_the_original_documentation() {
        let (frame, rest) = decode(&HEARTBEAT, ESPUSH_FRAME_BYTES_MAX).unwrap().unwrap();
        assert_eq!(frame, Frame { msgid: 5, kind: kind::HEARTBEAT, body: &[] });
        assert!(rest.is_empty());
        let mut out = Vec::new();
        encode(&mut out, 5, kind::HEARTBEAT, &[]);
        assert_eq!(out, HEARTBEAT);
    }

    #[test]
    fn an_incomplete_frame_waits_and_a_bad_length_does_not() {
        for end in 0..HEARTBEAT.len() {
            assert_eq!(decode(&HEARTBEAT[..end], ESPUSH_FRAME_BYTES_MAX), Ok(None));
        }
        for bad in [0, 9, 4225, u32::MAX] {
            assert_eq!(decode(&bad.to_be_bytes(), ESPUSH_FRAME_BYTES_MAX), Err(BadLength(bad, ESPUSH_FRAME_BYTES_MAX)));
        }
        assert_eq!(decode(b"GET / HTTP/1.1", ESPUSH_FRAME_BYTES_MAX), Err(BadLength(0x4745_5420, ESPUSH_FRAME_BYTES_MAX)));
    }

    #[test]
    fn frames_survive_the_way_out_and_back() {
        arbtest::arbtest(|u| {
            let (msgid, kind): (u32, u16) = u.arbitrary()?;
            let body: Vec<u8> = u.arbitrary()?;
            let after: Vec<u8> = u.arbitrary()?;
            let mut bytes = Vec::new();
            encode(&mut bytes, msgid, kind, &body);
            bytes.extend_from_slice(&after);
            let (frame, rest) = decode(&bytes, ESPUSH_FRAME_BYTES_MAX).unwrap().unwrap();
            assert_eq!((frame, rest), (Frame { msgid, kind, body: &body }, &after[..]));
            Ok(())
        });
    }
}
