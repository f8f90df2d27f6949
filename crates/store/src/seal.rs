//! Sealing: secrets that must come back as text (HMAC and PSK logins, app keys) are kept encrypted with
//! the key in `secret.key`, bound to what they are and whose. A copied database without that file gives
//! nothing away; a sealed value moved to another row does not open. Protects nobody from one who has both.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of the key.
pub(crate) const KEY_BYTES: usize = 32;

/// The first byte of everything sealed, so that another method can follow.
const METHOD: u8 = 1;

/// The key, ready to use.
pub(crate) struct Seal {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Seal {
    /// A new random key. `None` when the system has no randomness to give.
    pub(crate) fn new_key() -> Option<[u8; KEY_BYTES]> {
        let mut key = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut key).ok().map(|()| key)
    }

    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Seal {
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the length of the algorithm");
        Seal { key: LessSafeKey::new(unbound), random: SystemRandom::new() }
    }

    /// Method, nonce, cipher text and tag. Random nonces of 96 bits are safe for 2^32 values of one key,
    /// far more than devices and changes of secrets can make. `None` when there is no randomness.
    pub(crate) fn seal(&self, what: &str, whose: u32, text: &str) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut body = text.as_bytes().to_vec();
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound(what, whose)), &mut body).ok()?;
        let mut sealed = vec![METHOD];
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut body);
        Some(sealed)
    }

    /// The text again; `None` when it was changed, moved or sealed with another key.
    pub(crate) fn open(&self, what: &str, whose: u32, sealed: &[u8]) -> Option<String> {
        let (&METHOD, rest) = sealed.split_first()? else { return None };
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let text = self.key.open_in_place(nonce, Aad::from(bound(what, whose)), &mut body).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

fn bound(what: &str, whose: u32) -> Vec<u8> {
    format!("espush {what} {whose}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_where_it_belongs() {
        let seal = Seal::new(&Seal::new_key().unwrap());
        let sealed = seal.seal("device secret", 7, "k3y").unwrap();
        assert_eq!(seal.open("device secret", 7, &sealed).as_deref(), Some("k3y"));
        assert_eq!(seal.open("device secret", 8, &sealed), None);
        assert_eq!(seal.open("app key", 7, &sealed), None);
        assert_eq!(Seal::new(&Seal::new_key().unwrap()).open("device secret", 7, &sealed), None);
        for cut in 0..sealed.len() {
            assert_eq!(seal.open("device secret", 7, &sealed[..cut]), None);
        }
        assert_ne!(seal.seal("device secret", 7, "k3y").unwrap(), sealed, "every sealing has its own nonce");
    }
}
