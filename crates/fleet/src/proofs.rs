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
    /// A device's newest secret, for TLS-PSK, which knows one at a time. Takes a look at the disk.
    pub async fn secret_of(&self, device: &str) -> Option<String> {
        let number = self.number_of(device)?;
        self.registry.reveal_secret(number).await.ok().flatten()
    }

    /// Makes keys for a device, or for nobody, and sends them to whoever waits with `ticket`.
    pub(crate) fn scram_keys(&self, device: Option<DeviceNumber>, stamp: u64, ticket: Ticket) {
        let (registry, line, turns) = (self.registry.clone(), self.line.clone(), Arc::clone(&self.proofs));
        let has_old = device.is_some_and(|device| self.roster.read().old_secrets.contains_key(&device));
        self.runtime.spawn(async move {
            // Each costs some milliseconds: a few at a time, and whoever waits too long runs into its login deadline.
            let Ok(_turn) = turns.acquire_owned().await else { return };
            let secret = match device {
                Some(device) => registry.reveal_secret(device).await.ok().flatten(),
                None => None,
            };
            let secret = secret.unwrap_or_else(secrets::new_device_secret);
            let old = match device.filter(|_| has_old) {
                Some(device) => registry.reveal_old_secret(device).await.ok().flatten(),
                None => None,
            };
            if let Ok(keys) = tokio::task::spawn_blocking(move || derive(&secret, old.as_deref(), stamp)).await {
                line.scram(ticket, keys);
            }
        });
    }
}

fn derive(secret: &str, old: Option<&str>, stamp: u64) -> ScramKeys {
    let salt: [u8; 16] = secrets::random();
    let (stored_key, server_key) = pair(secret, &salt);
    let older = old.map(|old| pair(old, &salt));
    ScramKeys { salt, iterations: ITERATIONS.get(), stored_key, server_key, older, nonce: secrets::random(), stamp }
}

/// RFC 5802, section 3.
fn pair(secret: &str, salt: &[u8]) -> ([u8; 32], [u8; 32]) {
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, secret.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let bytes = |of: &[u8]| of.try_into().expect("SHA-256 has 32 bytes");
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = bytes(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref());
    (stored_key, bytes(hmac::sign(&key, b"Server Key").as_ref()))
}
