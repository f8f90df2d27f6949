//! The fields that MQTT packets are made of (section 1.5): remaining length, variable byte integer, text,
//! binary data, packet id; each read with its rules, each written with its bounds.

use contract::kit::Cursor;

use super::DecodeError;

/// The largest remaining length that four bytes can say.
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// Something that was to be written does not fit its length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a text or the whole packet is too long for MQTT")]
pub struct TooLong;

/// Reads a remaining length: its value and how many bytes it takes. `None` while it is not whole.
pub fn read_remaining_length(input: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut value = 0;
    for (index, byte) in input.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if input.len() < 4 { Ok(None) } else { Err(DecodeError::Length) }
}

/// Writes a packet's first byte and its remaining length, and makes room for the rest.
pub fn put_head(out: &mut Vec<u8>, first: u8, body_bytes: usize) -> Result<(), TooLong> {
    if body_bytes > REMAINING_LENGTH_MAX {
        return Err(TooLong);
    }
    out.reserve(5 + body_bytes);
    out.push(first);
    put_varint(out, body_bytes);
    Ok(())
}

/// The bytes that a variable byte integer takes in its shortest form.
pub fn varint_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer in its shortest form; a value beyond [`REMAINING_LENGTH_MAX`] has none,
/// and whoever writes has looked.
pub fn put_varint(out: &mut Vec<u8>, value: usize) {
    debug_assert!(value <= REMAINING_LENGTH_MAX);
    let mut rest = value;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Reads a variable byte integer within a packet, which must have its shortest form [MQTT-1.5.5-1].
pub fn varint(cursor: &mut Cursor<'_>) -> Result<usize, DecodeError> {
    let (value, bytes) = read_remaining_length(cursor.rest())?.ok_or(DecodeError::Short)?;
    cursor.take(bytes)?;
    if bytes == varint_bytes(value) { Ok(value) } else { Err(DecodeError::Length) }
}

/// Binary data: two bytes of length, then the bytes.
pub fn binary<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], DecodeError> {
    let length = cursor.u16()?;
    Ok(cursor.take(usize::from(length))?)
}

/// Text: binary data that is UTF-8 [MQTT-1.5.3-1] without NUL [MQTT-1.5.3-2]. Rust's `str` excludes
/// surrogates by itself; U+FEFF is kept as it is [MQTT-1.5.3-3].
pub fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, DecodeError> {
    let text = std::str::from_utf8(binary(cursor)?).map_err(|_| DecodeError::Text)?;
    if text.as_bytes().contains(&0) { Err(DecodeError::Text) } else { Ok(text) }
}

/// A packet id, never 0 [MQTT-2.3.1-1].
pub fn packet_id(cursor: &mut Cursor<'_>) -> Result<u16, DecodeError> {
    match cursor.u16()? {
        0 => Err(DecodeError::PacketId),
        id => Ok(id),
    }
}

/// A body that is empty; answers `packet`.
pub fn nothing<T>(body: &[u8], packet: T) -> Result<T, DecodeError> {
    if body.is_empty() { Ok(packet) } else { Err(DecodeError::Trailing) }
}

/// The packet must end here.
pub fn end(cursor: &Cursor<'_>) -> Result<(), DecodeError> {
    if cursor.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
}

/// The bytes that `data` takes on the wire with its length in front.
pub fn field_bytes(data: &[u8]) -> Result<usize, TooLong> {
    if data.len() > usize::from(u16::MAX) { Err(TooLong) } else { Ok(2 + data.len()) }
}

/// Writes `data` with its length in front; the caller has asked [`field_bytes`] whether it fits.
pub fn put_field(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(data.len() <= usize::from(u16::MAX));
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_lengths_are_those_of_table_2_4() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            assert_eq!(read_remaining_length(bytes), Ok(Some((value, bytes.len()))));
            for short in 0..bytes.len() {
                assert_eq!(read_remaining_length(&bytes[..short]), Ok(None));
            }
            if value < 100_000 {
                let mut out = Vec::new();
                put_head(&mut out, 0x30, value).unwrap();
                assert_eq!(&out[1..], bytes);
            }
        }
        assert_eq!(put_head(&mut Vec::new(), 0x30, REMAINING_LENGTH_MAX + 1), Err(TooLong));
    }

    #[test]
    fn text_is_utf8_without_nul() {
        let read = |bytes: &[u8]| text(&mut Cursor::new(bytes)).map(str::to_owned);
        assert_eq!(read(b"\x00\x06\xe7\x81\xaf\xef\xbb\xbf"), Ok("灯\u{feff}".to_owned()), "U+FEFF is kept");
        assert_eq!(read(b"\x00\x03a\0b"), Err(DecodeError::Text));
        assert_eq!(read(b"\x00\x03\xed\xa0\x80"), Err(DecodeError::Text), "a surrogate");
        assert_eq!(read(b"\x00\x02\xc0\x80"), Err(DecodeError::Text), "an overlong NUL");
        assert_eq!(read(b"\x00\x05abc"), Err(DecodeError::Short));
        assert_eq!(read(b"\x00"), Err(DecodeError::Short));
    }
}
