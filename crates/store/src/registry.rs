//! Apps, devices, presence, tokens and broker accounts on disk. Secrets and app keys are sealed on the way in; reading
//! the registry opens only the app keys (the fleet needs them), device secrets stay closed.

use std::sync::Arc;

use contract::store::{Later, Registry, RegistrySnapshot, StoreError, StoredAccount, StoredGroup, StoredToken};
use model::{App, AppId, Device, DeviceNumber, Presence, UnixMs};
use ring::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::nouns::{account, app, device, group, meta, old_secret, token};
use crate::rows::{give, last_given, list, signed};
use crate::trouble::{Outcome, Trouble, damaged};

pub(crate) const APP_KEY: &str = "app key";
const DEVICE_SECRET: &str = "device secret";

impl Registry for Store {
    fn load(&self) -> Later<RegistrySnapshot> {
        let seal = Arc::clone(&self.seal);
        self.reader.read(move |db| {
            Ok(RegistrySnapshot {
                apps: list(db, "SELECT * FROM apps ORDER BY id", &[], |row| app(row, &seal))?,
                devices: list(db, "SELECT * FROM devices LEFT JOIN presence ON device = number ORDER BY number", &[], device)?,
                tokens: list(db, "SELECT * FROM tokens ORDER BY id", &[], token)?,
                accounts: list(db, "SELECT * FROM accounts ORDER BY id", &[], account)?,
                old_secrets: list(db, "SELECT device, secret_hash, until FROM old_secrets", &[], old_secret)?,
                groups: list(db, "SELECT * FROM device_groups ORDER BY name", &[], group)?,
                metas: list(db, "SELECT device, meta FROM device_meta", &[], meta)?,
                blocked: list(db, "SELECT device FROM blocked", &[], |row| Ok(DeviceNumber(row.get(0)?)))?,
                app_last: last_given(db, "app")?,
                device_last: last_given(db, "device")?,
                token_last: last_given(db, "token")?,
                account_last: last_given(db, "account")?,
            })
        })
    }

    fn put_app(&self, app: App) -> Later<()> {
        let Some(key) = self.seal.seal(APP_KEY, app.id.0, app.key.reveal()) else { return no_randomness() };
        self.writer.write(move |db| {
            give(db, "app", app.id.0.into())?;
            // Not INSERT OR REPLACE: that deletes the row first, which its devices forbid.
            db.prepare_cached(
                "INSERT INTO apps (id, key, name, open, single, settings, created, peers) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (id) DO UPDATE SET key = excluded.key, name = excluded.name, open = excluded.open,
                 single = excluded.single, settings = excluded.settings, peers = excluded.peers",
            )?
            .execute(params![
                app.id.0,
                key,
                app.name,
                app.open,
                app.single,
                json(&app.settings)?,
                app.created.0,
                app.peers.as_str()
            ])?;
            Ok(())
        })
    }

    fn delete_app(&self, app: AppId) -> Later<()> {
        // An app with devices is kept by the foreign key of theirs: the job fails.
        self.writer.write(move |db| {
            db.prepare_cached("DELETE FROM apps WHERE id = ?1")?.execute([app.0])?;
            Ok(())
        })
    }

    fn put_device(&self, device: Device, secret: Option<String>) -> Later<()> {
        let secret = match secret {
            None => None,
            Some(secret) => match self.seal.seal(DEVICE_SECRET, device.number.0, &secret) {
                Some(sealed) => Some((sealed, digest(&SHA256, secret.as_bytes()))),
                None => return no_randomness(),
            },
        };
        let grows = secret.is_some();
        let work = move |db: &Connection| {
            let tags = json(&device.tags)?;
            let Some((sealed, hash)) = secret else {
                let changed = db
                    .prepare_cached(
                        "UPDATE devices SET name = ?2, alias = ?3, tags = ?4, firmware = ?5, open = ?6 WHERE number = ?1",
                    )?
                    .execute(params![device.number.0, device.name, device.alias, tags, device.firmware, device.open])?;
                // It was removed meanwhile, or is new and has no secret: neither may come to be like this.
                return if changed == 1 { put_meta(db, &device) } else { Err(no_such_device(device.number)) };
            };
            give(db, "device", device.number.0.into())?;
            db.prepare_cached(
                "INSERT INTO devices (number, id, app, name, alias, tags, firmware, open, created, secret, secret_hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT (number) DO UPDATE SET name = excluded.name, alias = excluded.alias, tags = excluded.tags,
                 firmware = excluded.firmware, open = excluded.open, secret = excluded.secret, secret_hash = excluded.secret_hash",
            )?
            .execute(params![
                device.number.0,
                device.id.as_str(),
                device.app.0,
                device.name,
                device.alias,
                tags,
                device.firmware,
                device.open,
                device.created.0,
                sealed,
                hash.as_ref()
            ])?;
            put_meta(db, &device)
        };
        // A new one, or a new secret.
        if grows { self.writer.grow(work) } else { self.writer.write(work) }
    }

    fn rotate_secret(&self, device: DeviceNumber, secret: String, old_until: Option<UnixMs>) -> Later<()> {
        let Some(sealed) = self.seal.seal(DEVICE_SECRET, device.0, &secret) else { return no_randomness() };
        let hash = digest(&SHA256, secret.as_bytes());
        self.writer.grow(move |db| {
            match old_until {
                None => db.prepare_cached("DELETE FROM old_secrets WHERE device = ?1")?.execute([device.0])?,
                Some(until) => db
                    .prepare_cached(
                        "INSERT OR REPLACE INTO old_secrets (device, secret, secret_hash, until)
                         SELECT number, secret, secret_hash, ?2 FROM devices WHERE number = ?1",
                    )?
                    .execute(params![device.0, until.0])?,
            };
            let changed = db
                .prepare_cached("UPDATE devices SET secret = ?2, secret_hash = ?3 WHERE number = ?1")?
                .execute(params![device.0, sealed, hash.as_ref()])?;
            if changed == 1 { Ok(()) } else { Err(no_such_device(device)) }
        })
    }

    fn drop_old_secret(&self, device: DeviceNumber) -> Later<()> {
        self.writer.write(move |db| {
            db.prepare_cached("DELETE FROM old_secrets WHERE device = ?1")?.execute([device.0])?;
            Ok(())
        })
    }

    fn block_device(&self, device: DeviceNumber, blocked: bool) -> Later<()> {
        self.writer.write(move |db| {
            let sql = if blocked {
                "INSERT OR IGNORE INTO blocked SELECT number FROM devices WHERE number = ?1"
            } else {
                "DELETE FROM blocked WHERE device = ?1"
            };
            db.prepare_cached(sql)?.execute([device.0])?;
            Ok(())
        })
    }

    fn reveal_secret(&self, device: DeviceNumber) -> Later<Option<String>> {
        self.reveal(device, "SELECT secret FROM devices WHERE number = ?1")
    }

    fn reveal_old_secret(&self, device: DeviceNumber) -> Later<Option<String>> {
        self.reveal(device, "SELECT secret FROM old_secrets WHERE device = ?1")
    }

    fn delete_device(&self, device: DeviceNumber) -> Later<()> {
        self.writer.write(move |db| {
            // Presence and deliveries go with the row; the points are invisible from now on and are
            // deleted a few at a time, see `points::purge`.
            if db.prepare_cached("DELETE FROM devices WHERE number = ?1")?.execute([device.0])? > 0 {
                db.prepare_cached("INSERT OR IGNORE INTO removed (device) VALUES (?1)")?.execute([device.0])?;
            }
            Ok(())
        })
    }

    fn put_presence(&self, batch: Vec<(DeviceNumber, Presence)>) -> Later<()> {
        self.writer.write(move |db| {
            // A device may have been removed since the batch was gathered: that is not the others' trouble.
            let mut put = db.prepare_cached(
                "INSERT INTO presence (device, online, since, why, protocol, remote)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM devices WHERE number = ?1)
                 ON CONFLICT (device) DO UPDATE SET online = excluded.online, since = excluded.since, why = excluded.why,
                 protocol = excluded.protocol, remote = excluded.remote",
            )?;
            for (device, now) in batch {
                put.execute(params![device.0, now.online, now.since.map(|at| at.0), now.why, now.protocol, now.remote])?;
            }
            Ok(())
        })
    }

    fn put_group(&self, group: StoredGroup, before: Option<String>) -> Later<()> {
        self.writer.grow(move |db| {
            if let Some(before) = before {
                db.prepare_cached("DELETE FROM device_groups WHERE name = ?1")?.execute([before])?;
            }
            db.prepare_cached("INSERT OR REPLACE INTO device_groups (name, query, created) VALUES (?1, ?2, ?3)")?
                .execute(params![group.name, group.query, group.created.0])?;
            Ok(())
        })
    }

    fn delete_group(&self, name: String) -> Later<()> {
        self.writer.write(move |db| {
            db.prepare_cached("DELETE FROM device_groups WHERE name = ?1")?.execute([name])?;
            Ok(())
        })
    }

    fn put_token(&self, token: StoredToken) -> Later<()> {
        self.writer.write(move |db| {
            let id = signed(token.id)?;
            give(db, "token", id)?;
            db.prepare_cached(
                "INSERT OR REPLACE INTO tokens (id, name, role, hash, created, expires, scopes, query, ended)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                id,
                token.name,
                token.role.as_str(),
                token.hash,
                token.created.0,
                token.expires.map(|at| at.0),
                token.scopes.to_words(),
                token.query,
                token.ended
            ])?;
            Ok(())
        })
    }

    fn delete_token(&self, id: u64) -> Later<()> {
        self.writer.write(move |db| {
            db.prepare_cached("DELETE FROM tokens WHERE id = ?1")?.execute([signed(id)?])?;
            Ok(())
        })
    }

    fn put_account(&self, StoredAccount { account, password_hash }: StoredAccount) -> Later<()> {
        self.writer.write(move |db| {
            let id = signed(account.id)?;
            give(db, "account", id)?;
            let rules: Vec<String> = account.rules.iter().map(|rule| rule.to_string()).collect();
            // By its number alone: a second account of a name is an error, not a replacement.
            db.prepare_cached(
                "INSERT INTO accounts (id, name, password, rules, created) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, password = excluded.password, rules = excluded.rules",
            )?
            .execute(params![id, account.name, password_hash, json(&rules)?, account.created.0])?;
            Ok(())
        })
    }

    fn delete_account(&self, id: u64) -> Later<()> {
        self.writer.write(move |db| {
            db.prepare_cached("DELETE FROM accounts WHERE id = ?1")?.execute([signed(id)?])?;
            Ok(())
        })
    }
}

impl Store {
    /// A device's sealed secret, unsealed.
    fn reveal(&self, device: DeviceNumber, sql: &'static str) -> Later<Option<String>> {
        let seal = Arc::clone(&self.seal);
        self.reader.read(move |db| {
            let sealed: Option<Vec<u8>> = db.prepare_cached(sql)?.query_row([device.0], |row| row.get(0)).optional()?;
            let Some(sealed) = sealed else { return Ok(None) };
            let secret = seal.open(DEVICE_SECRET, device.0, &sealed);
            secret
                .map(Some)
                .ok_or_else(|| damaged(format_args!("the secret of device {device} cannot be opened with secret.key")))
        })
    }
}

/// A device with nothing written down has no row.
fn put_meta(db: &Connection, device: &Device) -> Outcome<()> {
    if device.meta.is_empty() {
        db.prepare_cached("DELETE FROM device_meta WHERE device = ?1")?.execute([device.number.0])?;
    } else {
        db.prepare_cached("INSERT OR REPLACE INTO device_meta (device, meta) VALUES (?1, ?2)")?
            .execute(params![device.number.0, json(&device.meta)?])?;
    }
    Ok(())
}

fn no_such_device(device: DeviceNumber) -> Trouble {
    Trouble(StoreError::Engine(format!("device {device} is not in the registry")))
}

fn no_randomness<T: Send + 'static>() -> Later<T> {
    Box::pin(async { Err(StoreError::Engine("the system has no randomness to seal a secret with".to_owned())) })
}

fn json<T: serde::Serialize>(value: &T) -> Outcome<String> {
    serde_json::to_string(value).map_err(|error| Trouble(StoreError::Engine(error.to_string())))
}
