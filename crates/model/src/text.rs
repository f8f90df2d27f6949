//! Rules for text that people choose (names, tags) and the two spellings of bytes for people: hex and
//! text with a fallback. Kept here because the API, the command line and the console log must agree.

/// Whether `text` may be a name, alias or tag: not empty, no control characters, not too long.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= crate::limits::NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

/// Reads hex digits, blanks between bytes allowed (`0c 01` or `0c01`). `None` when a digit is missing or foreign.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| char::from(c).to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Lower-case hex without blanks.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_people_write_it() {
        assert_eq!(from_hex("0c01"), Some(vec![12, 1]));
        assert_eq!(from_hex("0C 01\n"), Some(vec![12, 1]));
        assert_eq!(from_hex(""), Some(vec![]));
        assert_eq!(from_hex("0c0"), None);
        assert_eq!(from_hex("zz"), None);
        assert_eq!(to_hex(&[0, 255, 16]), "00ff10");
    }
}
