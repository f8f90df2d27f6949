//! Addresses: every party has a number, whatever protocol it speaks. Devices have the lower half of all
//! numbers, tokens and lines of programs and pages the upper; so who is meant follows from the number.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::DeviceNumber;

/// The number of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(pub u32);

/// The first number that no device has.
const TOKENS_FROM: u32 = 1 << 31;
/// The first number of a line: tokens have a quarter of all numbers, lines another.
const LINES_FROM: u32 = TOKENS_FROM + LINES;
/// How many numbers lines have before they are used again.
const LINES: u32 = 1 << 30;

impl Address {
    /// The highest number that a device can have.
    pub const DEVICE_MAX: u32 = TOKENS_FROM - 1;

    /// The number of a token. It has it for good, since numbers of tokens are never given twice.
    pub fn of_token(id: u64) -> Option<Address> {
        u32::try_from(id).ok().filter(|id| *id < LINES).map(|id| Address(TOKENS_FROM + id))
    }

    /// The number of a line, of as many as were `counted` before it.
    pub fn of_line(counted: u64) -> Address {
        Address(LINES_FROM + (counted % u64::from(LINES)) as u32)
    }

    /// The device that has the number, if it is one for devices.
    pub fn device(self) -> Option<DeviceNumber> {
        (1..=Address::DEVICE_MAX).contains(&self.0).then_some(DeviceNumber(self.0))
    }

    /// The number in a text, written in its one way: no sign, no leading zeros, not 0.
    pub fn parse(text: &str) -> Option<Address> {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| plain).map(Address)
    }
}

impl From<DeviceNumber> for Address {
    fn from(number: DeviceNumber) -> Address {
        Address(number.0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Whom the devices of an app may write to of themselves. To answer whoever wrote to them they may always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peers {
    /// Nobody.
    None,
    /// Devices of the same app.
    #[default]
    App,
    /// Those, devices of other apps that say the same, and programs and pages.
    Any,
}

impl Peers {
    /// The setting of a word.
    pub fn parse(word: &str) -> Option<Peers> {
        [Peers::None, Peers::App, Peers::Any].into_iter().find(|peers| peers.as_str() == word)
    }

    /// The word for the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Peers::None => "none",
            Peers::App => "app",
            Peers::Any => "any",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_whose_it_is() {
        assert_eq!(Address(1).device(), Some(DeviceNumber(1)));
        assert_eq!(Address(Address::DEVICE_MAX).device(), Some(DeviceNumber(0x7fff_ffff)));
        let (token, line) = (Address::of_token(0).unwrap(), Address::of_line(0));
        assert_eq!((token.0, line.0), (2_147_483_648, 3_221_225_472));
        assert_eq!((Address(0).device(), token.device(), line.device()), (None, None, None));
        assert_eq!(Address::of_token(u64::from(LINES) - 1).unwrap().0, line.0 - 1, "no token has the number of a line");
        assert_eq!((Address::of_token(u64::from(LINES)), Address::of_token(u64::MAX)), (None, None));
        assert_eq!((Address::of_line(u64::from(LINES) - 1).0, Address::of_line(u64::from(LINES))), (u32::MAX, line));
    }

    #[test]
    fn a_number_is_written_in_one_way() {
        assert_eq!((Address::parse("1"), Address::parse("4294967295")), (Some(Address(1)), Some(Address(u32::MAX))));
        for bad in ["", "0", "01", "+1", "-1", "1 ", "1/2", "4294967296", "a", "١"] {
            assert_eq!(Address::parse(bad), None, "{bad:?}");
        }
    }
}
