//! Webhooks and what is still to be sent to them, on disk. Secrets are sealed on the way in.

use std::sync::Arc;

use contract::store::{Later, Page, StoreError};
use contract::webhooks::{
    StoredWebhook, WebhookCounts, WebhookDelivery, WebhookHealth, WebhookOutcome, Webhooks, WebhooksSnapshot,
};
use model::UnixMs;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::Store;
use crate::rows::{give, last_given, list, one_more, page, signed};
use crate::seal::Seal;
use crate::trouble::{Outcome, damaged};

const SECRET: &str = "webhook secret";
const OLD_SECRET: &str = "old webhook secret";

impl Webhooks for Store {
    fn webhooks(&self) -> Later<WebhooksSnapshot> {
        let seal = Arc::clone(&self.seal);
        // By the writer: what is noted and what is read belong together.
        self.writer.write(move |db| {
            let clean = db.query_row("SELECT clean FROM webhook_run", [], |row| row.get(0)).optional()?.unwrap_or(true);
            db.execute("INSERT INTO webhook_run (one, clean) VALUES (1, 0) ON CONFLICT (one) DO UPDATE SET clean = 0", [])?;
            let webhooks = list(db, "SELECT * FROM webhooks ORDER BY id", &[], |row| webhook(row, &seal))?;
            let with_counts = |webhook: StoredWebhook| Ok((counts(db, webhook.id)?, webhook));
            let webhooks = webhooks.into_iter().map(with_counts).collect::<Outcome<Vec<_>>>()?;
            Ok(WebhooksSnapshot {
                webhooks: webhooks.into_iter().map(|(counts, webhook)| (webhook, counts)).collect(),
                webhook_last: last_given(db, "webhook")?,
                delivery_last: last_given(db, "webhook_delivery")?,
                clean,
            })
        })
    }

    fn put_webhook(&self, webhook: StoredWebhook) -> Later<()> {
        let whose = webhook.id as u32;
        let no_randomness = || StoreError::Engine("the system has no randomness to give".to_owned());
        let secret = self.seal.seal(SECRET, whose, &webhook.secret).ok_or_else(no_randomness);
        let old = webhook.old_secret.as_ref().map(|(old, until)| {
            let sealed = self.seal.seal(OLD_SECRET, whose, old).ok_or_else(no_randomness)?;
            Ok::<_, StoreError>((sealed, until.0))
        });
        let old = old.transpose();
        self.writer.grow(move |db| {
            let (secret, (old_secret, old_until)) = (secret?, old?.unzip());
            let id = signed(webhook.id)?;
            give(db, "webhook", id)?;
            let kinds = serde_json::to_string(&webhook.kinds).unwrap_or_default();
            let health = webhook.health;
            db.prepare_cached(
                "INSERT INTO webhooks (id, name, url, kinds, query, secret, old_secret, old_until, active, off_since, why_off,
                                       created, failing_since, last_ok, last_error, lost)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, url = excluded.url, kinds = excluded.kinds,
                 query = excluded.query, secret = excluded.secret, old_secret = excluded.old_secret,
                 old_until = excluded.old_until, active = excluded.active, off_since = excluded.off_since,
                 why_off = excluded.why_off, failing_since = excluded.failing_since, last_ok = excluded.last_ok,
                 last_error = excluded.last_error, lost = excluded.lost",
            )?
            .execute(params![
                id,
                webhook.name,
                webhook.url,
                kinds,
                webhook.query,
                secret,
                old_secret,
                old_until,
                webhook.active,
                webhook.off_since.map(|at| at.0),
                webhook.why_off,
                webhook.created.0,
                health.failing_since.map(|at| at.0),
                health.last_ok.map(|at| at.0),
                health.last_error,
                signed(webhook.lost)?
            ])?;
            Ok(())
        })
    }

    fn delete_webhook(&self, id: u64) -> Later<()> {
        self.writer.write(move |db| {
            db.prepare_cached("DELETE FROM webhooks WHERE id = ?1")?.execute([signed(id)?])?;
            Ok(())
        })
    }

    fn put_deliveries(&self, batch: Vec<WebhookDelivery>) -> Later<()> {
        self.writer.grow(move |db| {
            if let Some(last) = batch.iter().map(|delivery| delivery.id).max() {
                give(db, "webhook_delivery", signed(last)?)?;
            }
            let mut insert = db.prepare_cached(
                "INSERT INTO webhook_deliveries (id, webhook, at, kind, body, tries, due, tried, error)
                 SELECT ?1, id, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM webhooks WHERE id = ?2",
            )?;
            for delivery in batch {
                insert.execute(params![
                    signed(delivery.id)?,
                    signed(delivery.webhook)?,
                    delivery.at.0,
                    delivery.kind,
                    &*delivery.body,
                    delivery.tries,
                    delivery.due.map(|at| at.0),
                    delivery.tried.map(|at| at.0),
                    delivery.error
                ])?;
            }
            Ok(())
        })
    }

    fn due_deliveries(&self, webhook: u64, now: UnixMs, limit: usize) -> Later<(Vec<WebhookDelivery>, Option<UnixMs>)> {
        self.reader.read(move |db| {
            let id = signed(webhook)?;
            let sql = "SELECT * FROM webhook_deliveries WHERE webhook = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3";
            let due = list(db, sql, &[&id, &now.0, &(limit as i64)], delivery)?;
            let sql = "SELECT min(due) FROM webhook_deliveries WHERE webhook = ?1 AND due > ?2";
            let next: Option<i64> = db.prepare_cached(sql)?.query_row([id, now.0], |row| row.get(0))?;
            Ok((due, next.map(UnixMs)))
        })
    }

    fn settle(&self, webhook: u64, id: u64, outcome: WebhookOutcome, health: WebhookHealth, failed_max: u64) -> Later<u64> {
        self.writer.write(move |db| {
            let (webhook, id) = (signed(webhook)?, signed(id)?);
            let mut forgotten = 0;
            match outcome {
                WebhookOutcome::Taken => {
                    db.prepare_cached("DELETE FROM webhook_deliveries WHERE id = ?1")?.execute([id])?;
                }
                WebhookOutcome::Failed(delivery) => {
                    let sql = "UPDATE webhook_deliveries SET tries = ?2, due = ?3, tried = ?4, error = ?5 WHERE id = ?1";
                    let (due, tried) = (delivery.due.map(|at| at.0), delivery.tried.map(|at| at.0));
                    db.prepare_cached(sql)?.execute(params![id, delivery.tries, due, tried, delivery.error])?;
                    if delivery.due.is_none() {
                        let sql = "DELETE FROM webhook_deliveries WHERE webhook = ?1 AND due IS NULL AND id <=
                                   (SELECT id FROM webhook_deliveries WHERE webhook = ?1 AND due IS NULL
                                    ORDER BY id DESC LIMIT 1 OFFSET ?2)";
                        forgotten = db.prepare_cached(sql)?.execute([webhook, signed(failed_max)?])? as u64;
                    }
                }
            }
            let sql = "UPDATE webhooks SET failing_since = ?2, last_ok = ?3, last_error = ?4 WHERE id = ?1";
            let (since, last_ok) = (health.failing_since.map(|at| at.0), health.last_ok.map(|at| at.0));
            db.prepare_cached(sql)?.execute(params![webhook, since, last_ok, health.last_error])?;
            Ok(forgotten)
        })
    }

    fn failed_deliveries(&self, webhook: u64, before: Option<u64>, limit: usize) -> Later<Page<WebhookDelivery>> {
        self.reader.read(move |db| {
            let before = before.map_or(Ok(i64::MAX), signed)?;
            let sql = "SELECT * FROM webhook_deliveries WHERE webhook = ?1 AND due IS NULL AND id < ?2 ORDER BY id DESC LIMIT ?3";
            let items = list(db, sql, &[&signed(webhook)?, &before, &one_more(limit)], delivery)?;
            Ok(page(items, limit, |delivery| delivery.id.to_string()))
        })
    }

    fn replay(&self, webhook: u64, id: Option<u64>, now: UnixMs) -> Later<(u64, u64)> {
        self.writer.write(move |db| {
            let (webhook, id) = (signed(webhook)?, id.map(signed).transpose()?);
            let found: (i64, i64) = db
                .prepare_cached(
                    "SELECT count(*), coalesce(sum(octet_length(body)), 0) FROM webhook_deliveries
                     WHERE webhook = ?1 AND due IS NULL AND (?2 IS NULL OR id = ?2)",
                )?
                .query_row(params![webhook, id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let sql = "UPDATE webhook_deliveries SET due = ?3, tries = 0
                       WHERE webhook = ?1 AND due IS NULL AND (?2 IS NULL OR id = ?2)";
            db.prepare_cached(sql)?.execute(params![webhook, id, now.0])?;
            Ok((found.0.unsigned_abs(), found.1.unsigned_abs()))
        })
    }

    fn stopped(&self, lost: Vec<(u64, u64)>) -> Later<()> {
        self.writer.write(move |db| {
            for (webhook, lost) in lost {
                db.prepare_cached("UPDATE webhooks SET lost = ?2 WHERE id = ?1")?.execute([signed(webhook)?, signed(lost)?])?;
            }
            db.execute("UPDATE webhook_run SET clean = 1", [])?;
            Ok(())
        })
    }
}

fn counts(db: &Connection, webhook: u64) -> Outcome<WebhookCounts> {
    let sql = "SELECT count(due), coalesce(sum(CASE WHEN due IS NULL THEN 0 ELSE octet_length(body) END), 0),
                      count(*) - count(due) FROM webhook_deliveries WHERE webhook = ?1";
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (waiting, bytes, failed) = db.prepare_cached(sql)?.query_row([signed(webhook)?], read)?;
    Ok(WebhookCounts { waiting: waiting.unsigned_abs(), waiting_bytes: bytes.unsigned_abs(), failed: failed.unsigned_abs() })
}

fn number(value: i64) -> Outcome<u64> {
    u64::try_from(value).map_err(|_| damaged("a number of a webhook is negative"))
}

fn webhook(row: &Row<'_>, seal: &Seal) -> Outcome<StoredWebhook> {
    let id = number(row.get("id")?)?;
    let bad = |what: &str| damaged(format_args!("{what} of webhook {id}"));
    let opened = |what: &str, sealed: Vec<u8>| seal.open(what, id as u32, &sealed).ok_or_else(|| bad("unreadable secret"));
    let time = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(UnixMs));
    let old = row.get::<_, Option<Vec<u8>>>("old_secret")?.zip(time("old_until")?);
    Ok(StoredWebhook {
        id,
        name: row.get("name")?,
        url: row.get("url")?,
        kinds: serde_json::from_str(&row.get::<_, String>("kinds")?).map_err(|_| bad("unreadable kinds"))?,
        query: row.get("query")?,
        secret: opened(SECRET, row.get("secret")?)?,
        old_secret: old.map(|(old, until)| Ok::<_, crate::trouble::Trouble>((opened(OLD_SECRET, old)?, until))).transpose()?,
        active: row.get("active")?,
        off_since: time("off_since")?,
        why_off: row.get("why_off")?,
        created: UnixMs(row.get("created")?),
        health: WebhookHealth {
            failing_since: time("failing_since")?,
            last_ok: time("last_ok")?,
            last_error: row.get("last_error")?,
        },
        lost: number(row.get("lost")?)?,
    })
}

fn delivery(row: &Row<'_>) -> Outcome<WebhookDelivery> {
    Ok(WebhookDelivery {
        id: number(row.get("id")?)?,
        webhook: number(row.get("webhook")?)?,
        at: UnixMs(row.get("at")?),
        kind: row.get("kind")?,
        body: row.get::<_, String>("body")?.into(),
        tries: row.get("tries")?,
        due: row.get::<_, Option<i64>>("due")?.map(UnixMs),
        tried: row.get::<_, Option<i64>>("tried")?.map(UnixMs),
        error: row.get("error")?,
    })
}
