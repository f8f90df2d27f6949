//! Secrets: making them from the system's randomness, hashing and comparing them. Storing them is the
//! store's part; here they pass through once.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::store::SecretHash;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// 32 letters without those that people mix up, so that five bits of a byte choose one.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Fails only on a system without any source of randomness, where nothing can be kept safe.
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    bytes
}

fn letters<const N: usize>() -> String {
    random::<N>().iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect()
}

/// A device's secret: 32 letters (160 bits), easy to paste and to read aloud.
pub(crate) fn new_device_secret() -> String {
    letters::<32>()
}

/// The id of a device that was given none.
pub(crate) fn new_device_id() -> String {
    format!("d-{}", letters::<8>())
}

/// An app's key: 32 hex characters, as ES-PUSH firmware wants it.
pub(crate) fn new_app_key() -> String {
    model::text::to_hex(&random::<16>())
}

/// A sign-in code: 43 characters that need no escaping in a URL.
pub(crate) fn new_code() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

/// The beginning of every token, so that scanners for leaked secrets recognise one.
pub(crate) const TOKEN_PREFIX: &str = "espush_";

/// A token.
pub(crate) fn new_token() -> String {
    format!("{TOKEN_PREFIX}{}", new_code())
}

/// The hash that is kept in a secret's place. Plain SHA-256 is enough for what we made ourselves.
pub(crate) fn hash(secret: &[u8]) -> SecretHash {
    digest(&SHA256, secret).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Whether two hashes are equal, in the same time whether they are or not.
pub(crate) fn same(a: &SecretHash, b: &SecretHash) -> bool {
    let differing = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_has_its_form() {
        assert_eq!(new_device_secret().len(), 32);
        assert!(model::DeviceId::parse(&new_device_id()).is_some());
        assert!(model::AppKey::parse(&new_app_key()).is_some());
        assert_eq!(new_token().len(), 7 + 43);
        assert_ne!(new_token(), new_token());
    }

    #[test]
    fn hashes_are_compared_whole() {
        let one = hash(b"one");
        assert!(same(&one, &hash(b"one")));
        for place in 0..32 {
            let mut other = one;
            other[place] ^= 0x80;
            assert!(!same(&one, &other));
        }
    }
}
