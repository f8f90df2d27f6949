//! What of webhooks must outlive the process: the webhooks, and each event that one of them is still to be sent or
//! could not be. As everywhere, a write answers only after it is on disk.

use std::sync::Arc;

use model::UnixMs;

use crate::store::{Later, Page};

/// A webhook as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredWebhook {
    /// Its number.
    pub id: u64,
    /// A name for people.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// The kinds of events that it wants; empty for the usual ones.
    pub kinds: Vec<String>,
    /// Only of devices that this query fits; empty for all.
    pub query: String,
    /// What events are signed with.
    pub secret: String,
    /// The secret before, and until when events are signed with it too.
    pub old_secret: Option<(String, UnixMs)>,
    /// Whether events are sent.
    pub active: bool,
    /// Since when they are not.
    pub off_since: Option<UnixMs>,
    /// Why, if it was not the owner who switched it off.
    pub why_off: String,
    /// When it was made.
    pub created: UnixMs,
    /// How it goes.
    pub health: WebhookHealth,
    /// Events that could not be kept for it, and of which it was not told yet.
    pub lost: u64,
}

// By hand: secrets must not reach a log.
impl std::fmt::Debug for StoredWebhook {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "StoredWebhook({}, {:?}, …)", self.id, self.name)
    }
}

/// How a webhook goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookHealth {
    /// Since when nothing was taken; `None` when the last attempt went well.
    pub failing_since: Option<UnixMs>,
    /// When something was taken last.
    pub last_ok: Option<UnixMs>,
    /// What went wrong last, a sentence.
    pub last_error: String,
}

/// An event for one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// Its number, never given twice.
    pub id: u64,
    /// For which webhook.
    pub webhook: u64,
    /// When it happened.
    pub at: UnixMs,
    /// The event's kind.
    pub kind: String,
    /// What is sent.
    pub body: Arc<str>,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next; `None` when it has failed for good.
    pub due: Option<UnixMs>,
    /// When it was tried last.
    pub tried: Option<UnixMs>,
    /// What went wrong then.
    pub error: String,
}

/// What waits for a webhook, and what has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookCounts {
    /// Events that are still to be sent.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Events that failed for good.
    pub failed: u64,
}

/// Everything about webhooks but the deliveries themselves.
#[derive(Clone, Debug, Default)]
pub struct WebhooksSnapshot {
    /// All webhooks, with what waits for each.
    pub webhooks: Vec<(StoredWebhook, WebhookCounts)>,
    /// The highest number ever given to a webhook.
    pub webhook_last: u64,
    /// The highest number ever given to a delivery.
    pub delivery_last: u64,
    /// Whether the program was stopped in order before.
    pub clean: bool,
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum WebhookOutcome {
    /// It was taken: it is forgotten.
    Taken,
    /// It is tried again, or has failed for good.
    Failed(WebhookDelivery),
}

/// Webhooks and their deliveries.
pub trait Webhooks: Send + Sync {
    /// Reads the webhooks, and notes that the program runs: until [`stopped`](Webhooks::stopped) it was not stopped in order.
    fn webhooks(&self) -> Later<WebhooksSnapshot>;
    /// Writes a webhook, new or changed.
    fn put_webhook(&self, webhook: StoredWebhook) -> Later<()>;
    /// Removes a webhook with its deliveries.
    fn delete_webhook(&self, id: u64) -> Later<()>;
    /// Writes deliveries. Those of webhooks that were removed meanwhile are left out.
    fn put_deliveries(&self, batch: Vec<WebhookDelivery>) -> Later<()>;
    /// Up to `limit` deliveries of a webhook that are due, the longest due first; and when the next one is.
    fn due_deliveries(&self, webhook: u64, now: UnixMs, limit: usize) -> Later<(Vec<WebhookDelivery>, Option<UnixMs>)>;
    /// Writes what became of a delivery, and how its webhook goes. Of deliveries that failed for good `failed_max` are kept;
    /// answers how many were forgotten.
    fn settle(&self, webhook: u64, id: u64, outcome: WebhookOutcome, health: WebhookHealth, failed_max: u64) -> Later<u64>;
    /// Deliveries that failed for good, newest first; `before` is the cursor.
    fn failed_deliveries(&self, webhook: u64, before: Option<u64>, limit: usize) -> Later<Page<WebhookDelivery>>;
    /// Makes failed deliveries due, one or all, as if they were new. Answers how many, and their bytes.
    fn replay(&self, webhook: u64, id: Option<u64>, now: UnixMs) -> Later<(u64, u64)>;
    /// Notes that the program was stopped in order.
    fn stopped(&self, lost: Vec<(u64, u64)>) -> Later<()>;
}
