//! An app is a device type: a number, a 32-hex key that its devices may share, and per-protocol settings.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::Peers;
use crate::time::UnixMs;

/// The app's number, positive. Travels as u32 in ES-PUSH registrations and as decimal text elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppId(pub u32);

impl fmt::Display for AppId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The app's key: exactly 32 lower-case hex characters. Debug output hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppKey(String);

impl AppKey {
    /// Takes 32 hex characters, upper case folded to lower.
    pub fn parse(text: &str) -> Option<AppKey> {
        (text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| AppKey(text.to_ascii_lowercase()))
    }

    /// The key as text, for the one who may see it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AppKey(…)")
    }
}

/// Settings that belong to one protocol, as `<protocol>.<name>` → value (`espush.text` = `gbk`). Opaque
/// to everyone but the protocol's own room, which checks and reads them.
pub type ProtocolSettings = BTreeMap<String, String>;

/// A device type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its number.
    pub id: AppId,
    /// Its key.
    pub key: AppKey,
    /// A name for people.
    pub name: String,
    /// Whether a device that presents id and key is registered at first sight.
    pub open: bool,
    /// Whether the app takes devices that know no app at all (ES-PUSH single-device registration).
    pub single: bool,
    /// Whom its devices may write to of themselves.
    pub peers: Peers,
    /// Per-protocol settings.
    pub settings: ProtocolSettings,
    /// When it was made.
    pub created: UnixMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_hex_characters_and_does_not_leak() {
        let key = AppKey::parse("25B28f0ffb9711e4a96d446d579b49a1").unwrap();
        assert_eq!(key.reveal(), "25b28f0ffb9711e4a96d446d579b49a1");
        assert_eq!(format!("{key:?}"), "AppKey(…)");
        assert!(AppKey::parse("25b28f0ffb9711e4a96d446d579b49a").is_none());
        assert!(AppKey::parse("25b28f0ffb9711e4a96d446d579b49zz").is_none());
    }
}
