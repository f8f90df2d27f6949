//! The way out: one task a webhook, which posts what is due, a few at once, and sleeps until more is. A target that
//! hangs holds up its own webhook alone. Order is not promised: what failed comes later than what did not.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use contract::store::StoreError;
use contract::webhooks::{StoredWebhook, WebhookDelivery, WebhookOutcome};
use futures_util::{StreamExt, stream};
use model::{UnixMs, limits};
use serde_json::json;

use crate::{Parcel, WebhookError, Webhooks, backoff, signing};

/// The longest sleep: the wall clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(30);
/// How soon it is tried again when the store could not answer.
const RETRY: Duration = Duration::from_secs(10);
/// Deliveries that are read at once.
const BATCH: usize = 64;
/// "Gone": the target wants no more of this.
const GONE: u16 = 410;

/// Posts until the webhook is removed or the room closes.
pub(crate) async fn run(room: Arc<Webhooks>, id: u64) {
    loop {
        let Some(news) = room.entries.lock().get(&id).map(|entry| entry.news.clone()) else { return };
        let nap = match room.deliver(id).await {
            Ok(next) => room.nap(next),
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, webhook = id, "what waits for a webhook could not be read or written; trying again");
                RETRY
            }
        };
        tokio::select! {
            () = news.notified() => {}
            () = tokio::time::sleep(nap) => {}
        }
    }
}

impl Webhooks {
    fn nap(&self, next: Option<UnixMs>) -> Duration {
        let now = self.clock.unix();
        next.map_or(NAP, |at| NAP.min(Duration::from_millis(u64::try_from(at.0 - now.0).unwrap_or(0))))
    }

    /// Posts all that is due for a webhook, as its task does whenever it wakes. Answers when more will be.
    pub async fn deliver(&self, id: u64) -> Result<Option<UnixMs>, StoreError> {
        loop {
            if !self.get(id).is_ok_and(|view| view.webhook.active) {
                return Ok(None);
            }
            let (due, next) = self.store.due_deliveries(id, self.clock.unix(), BATCH).await?;
            if due.is_empty() {
                return Ok(next);
            }
            let attempts = stream::iter(due).map(|delivery| self.attempt(delivery));
            let mut attempts = attempts.buffer_unordered(limits::WEBHOOK_POSTS_AT_ONCE);
            while let Some(result) = attempts.next().await {
                result?;
            }
        }
    }

    /// Sends a test event now, whether the webhook is on or off; why it was not taken, if so.
    pub async fn test(&self, id: u64) -> Result<Result<(), String>, WebhookError> {
        let webhook = self.get(id)?.webhook;
        let number = {
            let mut last = self.last_delivery.lock().await;
            *last += 1;
            *last
        };
        let data = json!({ "webhook": id, "at": self.clock.unix() });
        let body = json!({ "event": "test", "data": data }).to_string();
        Ok(self.post(&webhook, number, body.into()).await.map_err(|(why, _)| why))
    }

    /// Posts; else why it was not taken, and whether nothing more is wanted.
    async fn post(&self, webhook: &StoredWebhook, id: u64, body: Arc<str>) -> Result<(), (String, bool)> {
        let (id, now) = (format!("msg_{id}"), self.clock.unix());
        let timestamp_s = now.0.div_euclid(1000);
        let old = webhook.old_secret.as_ref().filter(|(_, until)| now < *until).map(|(old, _)| old.as_str());
        let secrets = std::iter::once(webhook.secret.as_str()).chain(old);
        let signature = signing::sign(secrets, &id, timestamp_s, &body);
        let headers = [("webhook-id", id), ("webhook-timestamp", timestamp_s.to_string()), ("webhook-signature", signature)];
        match self.courier.post(Parcel { url: webhook.url.clone(), headers, body }).await {
            Ok(200..=299) => Ok(()),
            Ok(status @ 300..=399) => Err((format!("answered {status}; redirects are not followed"), false)),
            Ok(status) => Err((format!("answered {status}"), status == GONE)),
            Err(why) => Err((why, false)),
        }
    }

    async fn attempt(&self, mut delivery: WebhookDelivery) -> Result<(), StoreError> {
        let (id, bytes) = (delivery.webhook, delivery.body.len() as u64);
        // As it is now: it may have been changed, switched off or removed since the batch was read.
        let Some(webhook) = self.get(id).ok().map(|view| view.webhook).filter(|webhook| webhook.active) else { return Ok(()) };
        let number = delivery.id;
        let result = self.post(&webhook, number, delivery.body.clone()).await;
        let now = self.clock.unix();
        let mut off = None;
        let (outcome, health) = {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&id) else { return Ok(()) };
            let health = &mut entry.webhook.health;
            let outcome = match result {
                Ok(()) => {
                    (health.failing_since, health.last_ok) = (None, Some(now));
                    health.last_error.clear();
                    WebhookOutcome::Taken
                }
                Err((why, gone)) => {
                    let since = *health.failing_since.get_or_insert(now);
                    health.last_error.clone_from(&why);
                    if gone {
                        off = Some("the target answered 410: it wants no more events".to_owned());
                    } else if now.0 - since.0 > limits::WEBHOOK_FAILING_S_MAX as i64 * 1000 {
                        off = Some(format!("nothing could be delivered since {}: {why}", since.rfc3339()));
                    }
                    delivery.tries += 1;
                    let pause =
                        backoff::pause_ms(self.settings.first_retry_ms, delivery.tries, RandomState::new().hash_one(number));
                    let again = delivery.tries < self.settings.attempts;
                    delivery.due = again.then(|| UnixMs(now.0.saturating_add_unsigned(pause)));
                    (delivery.tried, delivery.error) = (Some(now), why);
                    WebhookOutcome::Failed(delivery)
                }
            };
            (outcome, entry.webhook.health.clone())
        };
        let ended = match &outcome {
            WebhookOutcome::Taken => true,
            WebhookOutcome::Failed(delivery) => delivery.due.is_none(),
        };
        let failed = ended && matches!(outcome, WebhookOutcome::Failed(_));
        let forgotten = self.store.settle(id, number, outcome, health, limits::WEBHOOK_FAILED_MAX).await?;
        if let Some(entry) = self.entries.lock().get_mut(&id).filter(|_| ended) {
            entry.counts.waiting = entry.counts.waiting.saturating_sub(1);
            entry.counts.waiting_bytes = entry.counts.waiting_bytes.saturating_sub(bytes);
            entry.counts.failed = (entry.counts.failed + u64::from(failed)).saturating_sub(forgotten);
        }
        if ended && self.entries.lock().get(&id).is_some_and(|entry| entry.webhook.lost > 0) {
            // There is room again to tell of what is missing.
            self.offered.notify_one();
        }
        self.lose(id, forgotten);
        match off {
            Some(why) => self.switch_off(id, why).await,
            None => Ok(()),
        }
    }

    /// What waits stays; what happens meanwhile is not kept.
    async fn switch_off(&self, id: u64, why: String) -> Result<(), StoreError> {
        tracing::warn!(webhook = id, "a webhook was switched off: {why}");
        let _turn = self.turn.lock().await;
        let now = self.clock.unix();
        let off = self.change(id, |webhook| {
            (webhook.active, webhook.why_off) = (false, why);
            webhook.off_since = webhook.off_since.or(Some(now));
        });
        let off = off.await;
        self.look_at_kinds();
        match off {
            Err(WebhookError::Store(error)) => Err(error),
            _ => Ok(()),
        }
    }
}
