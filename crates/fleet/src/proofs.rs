//! Proofs: a device shows that it knows its secret without sending it, by SCRAM-SHA-256 or TLS-PSK. The secret is unsealed for that
//! moment, hashed off the shards, and forgotten. A name that no device has gets keys as well, which nothing
//! fits, so that ids cannot be probed.

use std::num::NonZeroU32;
use std::sync::Arc;

use contract::{ScramKeys, Ticket};
use model::DeviceNumber;
use ring::{digest, hmac, pbkdf2};

use crate::{Fleet, secrets};

/// How often the secret is hashed: the least that RFC 7677 allows. Our secrets are long and random, so that
/// more would only slow an ESP8266 down.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

impl Fleet {
    /// A device's secret, for TLS-PSK. Takes a look at the disk.
    pub async fn secret_of(&self, device: &str) -> Option<String> {
        let number = self.number_of(device)?;
        self.registry.reveal_secret(number).await.ok().flatten()
    }

    /// Makes keys for a device, or for nobody, and sends them to whoever waits with `ticket`.
    pub(crate) fn scram_keys(&self, device: Option<DeviceNumber>, ticket: Ticket) {
        let (registry, line, turns) = (self.registry.clone(), self.line.clone(), Arc::clone(&self.proofs));
        self.runtime.spawn(async move {
            // Each costs some milliseconds: a few at a time, and whoever waits too long runs into its login deadline.
            let Ok(_turn) = turns.acquire_owned().await else { return };
            let secret = match device {
                Some(device) => registry.reveal_secret(device).await.ok().flatten(),
                None => None,
            };
            let secret = secret.unwrap_or_else(secrets::new_device_secret);
            if let Ok(keys) = tokio::task::spawn_blocking(move || derive(secret.as_bytes())).await {
                line.scram(ticket, keys);
            }
        });
    }
}

/// RFC 5802, section 3.
fn derive(secret: &[u8]) -> ScramKeys {
    let salt: [u8; 16] = secrets::random();
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, secret, &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let bytes = |of: &[u8]| of.try_into().expect("SHA-256 has 32 bytes");
    let client_key = hmac::sign(&key, b"Client Key");
    ScramKeys {
        salt,
        iterations: ITERATIONS.get(),
        stored_key: bytes(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref()),
        server_key: bytes(hmac::sign(&key, b"Server Key").as_ref()),
        nonce: secrets::random(),
    }
}
