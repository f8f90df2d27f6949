//! DISCONNECT and AUTH (sections 3.14 and 3.15): a reason and properties, and nothing else.

use contract::kit::Cursor;

use super::connect::Level;
use super::properties::Properties;
use super::wire::{self, TooLong};
use super::{DecodeError, Kind, Reason, publish};

/// Somebody says goodbye; or, in an AUTH, where an authentication stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; before 5.0 nothing but success can be said.
    pub reason: Reason,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Decodes the body. Reason and properties may be left out (section 3.14.2.1).
    pub fn decode(level: Level, kind: Kind, body: &'a [u8]) -> Result<Disconnect<'a>, DecodeError> {
        if level != Level::V5 {
            return wire::nothing(body, Disconnect { reason: Reason::Success, props: Properties::NONE });
        }
        let mut cursor = Cursor::new(body);
        let (reason, props) = publish::reason_and_properties(kind, &mut cursor)?;
        wire::end(&cursor)?;
        Ok(Disconnect { reason, props })
    }

    /// Appends the packet, as short as it can be.
    pub fn encode(&self, level: Level, kind: Kind, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let bytes = if level == Level::V5 { publish::tail_bytes(self.reason, self.props) } else { 0 };
        wire::put_head(out, (kind as u8) << 4 | kind.flags(), bytes)?;
        publish::put_tail(out, bytes, self.reason, self.props);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_means_normal() {
        let decode = |body| Disconnect::decode(Level::V5, Kind::Disconnect, body);
        assert_eq!(decode(b"").unwrap().reason, Reason::Success);
        assert_eq!(decode(b"\x04").unwrap().reason, Reason::WithWill);
        assert_eq!(decode(b"\0\0").unwrap().props, Properties::NONE);
        assert_eq!(decode(b"\0\x05\x11\0\0\0\x09").unwrap().props.iter().count(), 1);
        assert_eq!(decode(b"\x10"), Err(DecodeError::ReturnCode(0x10)));
        assert_eq!(decode(b"\0\0\0"), Err(DecodeError::Trailing));
        assert_eq!(Disconnect::decode(Level::V311, Kind::Disconnect, b"\0"), Err(DecodeError::Trailing));
        assert_eq!(Disconnect::decode(Level::V5, Kind::Auth, b"\x18").unwrap().reason, Reason::ContinueAuth);

        let mut out = Vec::new();
        let taken_over = Disconnect { reason: Reason::TakenOver, props: Properties::NONE };
        taken_over.encode(Level::V5, Kind::Disconnect, &mut out).unwrap();
        taken_over.encode(Level::V311, Kind::Disconnect, &mut out).unwrap();
        assert_eq!(out, b"\xe0\x01\x8e\xe0\x00");
    }
}
