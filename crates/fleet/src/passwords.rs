//! Passwords that people chose, as hashes: argon2id for our own, and the two forms of Mosquitto's
//! password files for accounts that come over from there, until their first good login. Slow on purpose:
//! never called on a shard.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{Context, SHA512};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA512};

use crate::secrets;

/// Bytes of salt and hash of our own.
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Cost of our own hashes: 19 MiB, two passes, one lane (OWASP's first choice for argon2id).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// The most that a hash given to us may cost, so that an imported one cannot hold up the others.
const COST_MAX: (u32, u32, u32) = (256 * 1024, 10, 4);
const PBKDF2_ITERATIONS_MAX: u32 = 1_000_000;

/// A password's hash, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Hash {
    /// Nobody can log in by a password.
    None,
    /// `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, base64 without padding.
    Argon2id { cost: (u32, u32, u32), salt: Vec<u8>, hash: Vec<u8> },
    /// Mosquitto 2: `$7$iterations$salt$hash`, PBKDF2 with HMAC-SHA-512, base64 with padding.
    Pbkdf2 { iterations: std::num::NonZeroU32, salt: Vec<u8>, hash: Vec<u8> },
    /// Mosquitto 1: `$6$salt$hash`, SHA-512 over password and salt.
    Sha512 { salt: Vec<u8>, hash: Vec<u8> },
}

impl Hash {
    /// Takes a hash apart; `None` when it is none of ours, or would cost too much.
    pub(crate) fn parse(text: &str) -> Option<Hash> {
        if text.is_empty() {
            return Some(Hash::None);
        }
        let parts: Vec<&str> = text.strip_prefix('$')?.split('$').collect();
        let bytes = |text: &str| STANDARD.decode(text).ok().filter(|bytes| (1..=64).contains(&bytes.len()));
        let sha512 = |text: &str| bytes(text).filter(|hash| hash.len() == 64);
        Some(match parts.as_slice() {
            ["argon2id", "v=19", cost, salt, hash] => {
                let number = |part: &str, name: &str| part.strip_prefix(name)?.parse::<u32>().ok();
                let mut parts = cost.split(',');
                let cost = (number(parts.next()?, "m=")?, number(parts.next()?, "t=")?, number(parts.next()?, "p=")?);
                let dear = cost.0 > COST_MAX.0 || cost.1 > COST_MAX.1 || cost.2 > COST_MAX.2;
                let (salt, hash) = (STANDARD_NO_PAD.decode(salt).ok()?, STANDARD_NO_PAD.decode(hash).ok()?);
                if dear || parts.next().is_some() || !(8..=64).contains(&salt.len()) || !(16..=64).contains(&hash.len()) {
                    return None;
                }
                Params::new(cost.0, cost.1, cost.2, Some(hash.len())).ok()?;
                Hash::Argon2id { cost, salt, hash }
            }
            ["7", iterations, salt, hash] => {
                let iterations: std::num::NonZeroU32 = iterations.parse().ok()?;
                if iterations.get() > PBKDF2_ITERATIONS_MAX {
                    return None;
                }
                Hash::Pbkdf2 { iterations, salt: bytes(salt)?, hash: sha512(hash)? }
            }
            ["6", salt, hash] => Hash::Sha512 { salt: bytes(salt)?, hash: sha512(hash)? },
            _ => return None,
        })
    }

    /// What the method is called.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Hash::None => "none",
            Hash::Argon2id { .. } => "argon2id",
            Hash::Pbkdf2 { .. } => "mosquitto-pbkdf2-sha512",
            Hash::Sha512 { .. } => "mosquitto-sha512",
        }
    }

    /// Whether a good login is the moment to replace it by one of our own.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Hash::Pbkdf2 { .. } | Hash::Sha512 { .. })
    }

    /// Whether it is the hash of `password`. Slow.
    pub(crate) fn fits(&self, password: &[u8]) -> bool {
        match self {
            Hash::None => false,
            Hash::Argon2id { cost, salt, hash } => {
                let mut given = vec![0; hash.len()];
                argon2id(*cost, password, salt, &mut given) && same(&given, hash)
            }
            Hash::Pbkdf2 { iterations, salt, hash } => {
                pbkdf2::verify(PBKDF2_HMAC_SHA512, *iterations, salt, password, hash).is_ok()
            }
            Hash::Sha512 { salt, hash } => {
                let mut digest = Context::new(&SHA512);
                digest.update(password);
                digest.update(salt);
                same(digest.finish().as_ref(), hash)
            }
        }
    }
}

/// The hash of a new password, as it is kept. Slow.
pub(crate) fn hash(password: &[u8]) -> String {
    let salt = secrets::random::<SALT_BYTES>();
    let mut hash = [0; HASH_BYTES];
    let done = argon2id(COST, password, &salt, &mut hash);
    assert!(done, "the cost is ours and valid, passwords and salts have any length that argon2 takes");
    let base64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    format!("$argon2id$v=19$m={},t={},p={}${}${}", COST.0, COST.1, COST.2, base64(&salt), base64(&hash))
}

fn argon2id((memory_kib, passes, lanes): (u32, u32, u32), password: &[u8], salt: &[u8], into: &mut [u8]) -> bool {
    let Ok(params) = Params::new(memory_kib, passes, lanes, Some(into.len())) else { return false };
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, salt, into).is_ok()
}

/// Whether two hashes are equal, in the same time whether they are or not.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_hashes_fit_their_password_only() {
        let text = hash("geheim 灯".as_bytes());
        let own = Hash::parse(&text).unwrap();
        assert_eq!((own.method(), own.is_foreign()), ("argon2id", false));
        assert!(own.fits("geheim 灯".as_bytes()));
        assert!(!own.fits(b"geheim") && !own.fits(b""));
        assert_ne!(hash(b"x"), hash(b"x"), "every hash has its own salt");
    }

    /// The reference implementation's command line, for another's argon2id.
    #[test]
    fn the_reference_vector_of_argon2id_fits() {
        let text = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(Hash::parse(text).unwrap().fits(b"password"));
    }

    /// Made with `mosquitto_passwd` 2.0.11: `-c -b`, and `-H sha512` for the older form.
    #[test]
    fn mosquittos_hashes_fit_as_they_are() {
        let file = include_str!("../tests/fixtures/mosquitto.passwd");
        let mut methods = Vec::new();
        for line in file.lines() {
            let (user, text) = line.split_once(':').unwrap();
            let hash = Hash::parse(text).unwrap();
            assert!(hash.is_foreign());
            assert!(hash.fits(format!("{user}'s password").as_bytes()), "{user}");
            assert!(!hash.fits(b"password") && !hash.fits(b""), "{user}");
            methods.push(hash.method());
        }
        assert_eq!(methods, ["mosquitto-pbkdf2-sha512", "mosquitto-pbkdf2-sha512", "mosquitto-sha512"]);
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let sha512 = STANDARD.encode([7; 64]);
        for bad in [
            "plain",
            "$",
            "$6$$",
            "$5$rounds=5000$usesomesillystri$KqJWpanXZHKq2BOB43TSaYhEWsQ1Lr5QNyPCDH/Tp.6",
            &format!("$7$0$c2FsdA==${sha512}"),
            &format!("$7$4000000000$c2FsdA==${sha512}"),
            &format!("$7$101$c2Fsd${sha512}"),
            "$7$101$c2FsdA==$c2hvcnQ=",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        ] {
            assert!(Hash::parse(bad).is_none(), "{bad}");
        }
        assert!(!Hash::parse("").unwrap().fits(b""), "no password is not the empty one");
    }
}
