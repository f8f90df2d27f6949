//! SCRAM-SHA-256 (RFC 5802 and RFC 7677), the server's side: the client proves that it knows the password,
//! and we prove that we know it too, and it never crosses the line. Pure: the keys and the nonce come from
//! the gate. Deliberately absent: channel binding, which MQTT has no place for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::ScramKeys;
use ring::{digest, hmac};

/// The method's name on the wire.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Why an exchange ends without a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not what the RFC says.
    #[error("the authentication data is not what SCRAM-SHA-256 says")]
    Malformed,
    /// Channel binding is demanded.
    #[error("channel binding is not offered; use SCRAM-SHA-256 without it")]
    Binding,
    /// The proof is wrong.
    #[error("unknown device id or wrong secret")]
    Wrong,
}

/// What the client said first.
#[derive(Debug, PartialEq, Eq)]
pub struct First {
    /// The user name.
    pub user: String,
    /// What it said without the channel-binding header.
    bare: String,
    /// The header, which it repeats in its last message.
    header: String,
    nonce: String,
}

impl First {
    /// Reads `n,,n=user,r=nonce`.
    pub fn read(data: &[u8]) -> Result<First, ScramError> {
        let text = std::str::from_utf8(data).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (Some(binding), Some(identity), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ScramError::Malformed);
        };
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err(ScramError::Binding),
            _ => return Err(ScramError::Malformed),
        }
        // An authorization identity (`a=…`) would be to act for another: nobody may.
        if !identity.is_empty() {
            return Err(ScramError::Malformed);
        }
        let mut fields = bare.split(',');
        let user = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(ScramError::Malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        let user = unescape(user).ok_or(ScramError::Malformed)?;
        if user.is_empty() || nonce.is_empty() || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ScramError::Malformed);
        }
        Ok(First { user, bare: bare.to_owned(), header: format!("{binding},,"), nonce: nonce.to_owned() })
    }
}

/// `=2C` and `=3D` stand for the comma and the equals sign; no other `=` may stand in a name.
fn unescape(name: &str) -> Option<String> {
    let plain = name.replace("=2C", ",").replace("=3D", "\u{0}");
    (!plain.contains('=')).then(|| plain.replace('\u{0}', "="))
}

/// An exchange in which we have answered and wait for the proof.
pub struct Challenge {
    keys: ScramKeys,
    header: String,
    nonce: String,
    /// The first two messages, as the proof covers them.
    said: String,
}

impl Challenge {
    /// Our answer to the client's first message, and what it takes to judge the next.
    pub fn new(first: &First, keys: ScramKeys) -> (Challenge, String) {
        let nonce = format!("{}{}", first.nonce, STANDARD.encode(keys.nonce));
        let answer = format!("r={nonce},s={},i={}", STANDARD.encode(keys.salt), keys.iterations);
        let said = format!("{},{answer}", first.bare);
        (Challenge { keys, header: first.header.clone(), nonce, said }, answer)
    }

    /// Judges `c=…,r=nonce,p=proof`.
    pub fn judge(&self, data: &[u8]) -> Result<Proved, ScramError> {
        let text = std::str::from_utf8(data).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(ScramError::Malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        if binding != STANDARD.encode(&self.header) || nonce != self.nonce {
            return Err(ScramError::Wrong);
        }
        let proof: [u8; 32] = STANDARD.decode(proof).ok().and_then(|p| p.try_into().ok()).ok_or(ScramError::Malformed)?;
        let message = format!("{},{without_proof}", self.said);
        let fits = |stored_key: &[u8; 32]| {
            let signature = sign(stored_key, &message);
            let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(p, s)| p ^ s).collect();
            // The comparison is of hashes: how long it takes tells nothing about the key.
            digest::digest(&digest::SHA256, &client_key).as_ref() == stored_key
        };
        let (server_key, older) = match &self.keys.older {
            _ if fits(&self.keys.stored_key) => (&self.keys.server_key, false),
            Some((stored_key, server_key)) if fits(stored_key) => (server_key, true),
            _ => return Err(ScramError::Wrong),
        };
        let ours = format!("v={}", STANDARD.encode(sign(server_key, &message)));
        Ok(Proved { ours, older, stamp: self.keys.stamp })
    }
}

/// The client knows the password.
#[derive(Debug, PartialEq, Eq)]
pub struct Proved {
    /// The proof that we know it too.
    pub ours: String,
    /// It is the password before the newest.
    pub older: bool,
    /// Of the keys that it was judged by.
    pub stamp: u64,
}

fn sign(key: &[u8; 32], message: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3: user "user", password "pencil".
    fn example() -> ScramKeys {
        let salt: [u8; 16] = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let mut salted = [0; 32];
        let iterations = std::num::NonZeroU32::new(4096).unwrap();
        ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, b"pencil", &mut salted);
        let bytes = |tag: &[u8]| <[u8; 32]>::try_from(tag).unwrap();
        let client_key = sign(&salted, "Client Key");
        ScramKeys {
            salt,
            iterations: 4096,
            stored_key: bytes(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref()),
            server_key: bytes(sign(&salted, "Server Key").as_ref()),
            older: None,
            nonce: [0; 18],
            stamp: 3,
        }
    }

    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const FINAL: &[u8] =
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn challenge() -> Challenge {
        challenge_by(example())
    }

    fn challenge_by(keys: ScramKeys) -> Challenge {
        let first = First::read(FIRST).unwrap();
        let (mut challenge, answer) = Challenge::new(&first, keys);
        // The RFC's server nonce is not base64; put it in place of ours.
        let ours = challenge.nonce.clone();
        challenge.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        challenge.said = format!("{},{}", first.bare, answer.replace(&ours, &challenge.nonce));
        challenge
    }

    #[test]
    fn the_rfcs_example_comes_out() {
        let proved = |older| Proved { ours: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".into(), older, stamp: 3 };
        assert_eq!(challenge().judge(FINAL).unwrap(), proved(false));
        // Once more with a newer password beside it.
        let keys = example();
        let older = Some((keys.stored_key, keys.server_key));
        let both = ScramKeys { stored_key: [1; 32], server_key: [2; 32], older, ..example() };
        assert_eq!(challenge_by(both).judge(FINAL).unwrap(), proved(true));
        let others = ScramKeys { stored_key: [1; 32], server_key: [2; 32], older: Some(([3; 32], [4; 32])), ..example() };
        assert_eq!(challenge_by(others).judge(FINAL), Err(ScramError::Wrong));
    }

    #[test]
    fn a_wrong_proof_nonce_or_header_is_refused() {
        let judge = |text: &str| challenge().judge(text.as_bytes());
        let good = std::str::from_utf8(FINAL).unwrap();
        assert_eq!(judge(&good.replace("p=d", "p=e")), Err(ScramError::Wrong));
        assert_eq!(judge(&good.replace("hNlF$k0", "hNlF$k1")), Err(ScramError::Wrong));
        assert_eq!(judge(&good.replace("biws", "eSws")), Err(ScramError::Wrong));
        for bad in ["", "c=biws", "c=biws,r=x", "c=biws,r=x,p=!", "p=x", &good[..good.len() - 4]] {
            assert!(judge(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_message_is_read_as_the_rfc_says() {
        assert_eq!(First::read(b"y,,n=a=2Cb=3Dc,r=x").unwrap().user, "a,b=c");
        assert_eq!(First::read(b"p=tls-unique,,n=a,r=x"), Err(ScramError::Binding));
        for bad in
            [&b""[..], b"n,,", b"n,,n=,r=x", b"n,,n=a", b"n,,n=a,r=", b"n,a=b,n=a,r=x", b"x,,n=a,r=x", b"n,,n=a=b,r=x", b"\xff"]
        {
            assert_eq!(First::read(bad), Err(ScramError::Malformed), "{bad:?}");
        }
    }
}
