//! Text that is mostly short: up to 22 bytes lie in the value itself. For names of which there may be a
//! million, each for itself: a device's id, a session's name.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};

/// Bytes that need no memory elsewhere.
const HERE: usize = 22;

/// A text. Compares, hashes and shows itself as `str` does.
#[derive(Clone)]
pub struct ShortStr(Held);

#[derive(Clone)]
enum Held {
    Here { len: u8, bytes: [u8; HERE] },
    There(Box<str>),
}

const _: () = assert!(size_of::<ShortStr>() == 24 && size_of::<Option<ShortStr>>() == 24, "it is there to be small");

impl ShortStr {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was text when it was put in.
            Held::Here { len, bytes } => std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default(),
            Held::There(text) => text,
        }
    }
}

impl From<&str> for ShortStr {
    fn from(text: &str) -> ShortStr {
        let mut bytes = [0; HERE];
        ShortStr(match bytes.get_mut(..text.len()) {
            Some(here) => {
                here.copy_from_slice(text.as_bytes());
                Held::Here { len: text.len() as u8, bytes }
            }
            None => Held::There(text.into()),
        })
    }
}

impl PartialEq for ShortStr {
    fn eq(&self, other: &ShortStr) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ShortStr {}

impl PartialOrd for ShortStr {
    fn partial_cmp(&self, other: &ShortStr) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShortStr {
    fn cmp(&self, other: &ShortStr) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for ShortStr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for ShortStr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl Serialize for ShortStr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.as_str().serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn every_length_is_the_text_that_it_was() {
        let hasher = RandomState::new();
        let texts: Vec<String> = (0..40).flat_map(|n| ["x".repeat(n), "灯".repeat(n)]).collect();
        for a in &texts {
            let short = ShortStr::from(a.as_str());
            assert_eq!(short.as_str(), a);
            assert_eq!(hasher.hash_one(&short), hasher.hash_one(a.as_str()));
            for b in &texts {
                assert_eq!(short.cmp(&ShortStr::from(b.as_str())), a.as_str().cmp(b.as_str()));
                assert_eq!(short == ShortStr::from(b.as_str()), a == b);
            }
        }
    }
}
