//! Signatures as Standard Webhooks has them: HMAC-SHA256 over `id.timestamp.body` with a secret of the form
//! `whsec_<base64>`, in the header `webhook-signature` as `v1,<base64>`; while a secret is being replaced there
//! are two, with a blank between.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The beginning of every secret, so that scanners for leaked secrets recognise one.
const PREFIX: &str = "whsec_";

/// A new secret: 256 bits.
pub(crate) fn new_secret() -> String {
    let mut bytes = [0; 32];
    // Fails only on a system without any source of randomness, where nothing can be kept safe.
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    format!("{PREFIX}{}", STANDARD.encode(bytes))
}

/// The value of `webhook-signature`.
pub(crate) fn sign<'a>(secrets: impl Iterator<Item = &'a str>, id: &str, timestamp_s: i64, body: &str) -> String {
    let signed = format!("{id}.{timestamp_s}.{body}");
    let one = |secret: &str| {
        // Our own secrets always have this form.
        let key = STANDARD.decode(secret.strip_prefix(PREFIX).unwrap_or(secret)).unwrap_or_default();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    };
    secrets.map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_that_other_programs_agree_on() {
        // The example of the Standard Webhooks specification's reference libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = sign([secret].into_iter(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_make_two_signatures_and_every_part_counts() {
        let (new, old) = (new_secret(), new_secret());
        assert_ne!(new, old);
        let both = sign([&*new, &*old].into_iter(), "msg_1", 5, "{}");
        let alone = |secret: &str, id, at, body| sign([secret].into_iter(), id, at, body);
        assert_eq!(both, format!("{} {}", alone(&new, "msg_1", 5, "{}"), alone(&old, "msg_1", 5, "{}")));
        for other in [alone(&new, "msg_2", 5, "{}"), alone(&new, "msg_1", 6, "{}"), alone(&new, "msg_1", 5, "{ }")] {
            assert!(!both.contains(&other));
        }
    }
}
