//! The plainest PNG (ISO 15948): black and white, a bit a pixel, not compressed. A QR code has some ten kilobytes so,
//! and an encoder that compresses would bring eight crates along.

/// Bytes of one stored block of DEFLATE (RFC 1951).
const BLOCK: usize = 0xffff;

/// A square of `side` pixels.
pub(super) fn png(side: u32, is_white: impl Fn(u32, u32) -> bool) -> Vec<u8> {
    let mut rows = Vec::new();
    for y in 0..side {
        // No filter.
        rows.push(0);
        for byte in 0..side.div_ceil(8) {
            let white = (0..8).filter(|bit| byte * 8 + bit < side && is_white(byte * 8 + bit, y));
            rows.push(white.fold(0, |byte: u8, bit| byte | 0x80 >> bit));
        }
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    // Depth 1, grey; deflate, filters, not interlaced.
    chunk(&mut file, b"IHDR", &[&side.to_be_bytes()[..], &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat());
    chunk(&mut file, b"IDAT", &zlib(&rows));
    chunk(&mut file, b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let begin = file.len();
    file.extend(kind);
    file.extend(data);
    file.extend(crc32(&file[begin..]).to_be_bytes());
}

/// Bytes as they are, in zlib's frame (RFC 1950).
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let blocks = data.chunks(BLOCK);
    let last = blocks.len() - 1;
    for (at, block) in blocks.enumerate() {
        let long = block.len() as u16;
        out.push(u8::from(at == last));
        out.extend(long.to_le_bytes());
        out.extend((!long).to_le_bytes());
        out.extend(block);
    }
    out.extend(adler32(data).to_be_bytes());
    out
}

fn crc32(data: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)));
    !data.iter().fold(u32::MAX, step)
}

fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_standards() {
        assert_eq!((crc32(b"123456789"), adler32(b"Wikipedia")), (0xcbf4_3926, 0x11e6_0398));
    }

    #[test]
    fn a_decoder_sees_the_same_pixels() {
        // More than one block, and sides that are no whole bytes.
        for side in [1_u32, 7, 8, 9, 801] {
            let white = |x: u32, y: u32| (x * 7 + y * 13 + x * y).is_multiple_of(3);
            let file = png(side, white);
            let mut reader = ::png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((info.width, info.height), (side, side));
            for y in 0..side {
                for x in 0..side {
                    let byte = pixels[y as usize * info.line_size + x as usize / 8];
                    assert_eq!(byte & (0x80 >> (x % 8)) != 0, white(x, y), "{x} {y} of {side}");
                }
            }
        }
    }
}
