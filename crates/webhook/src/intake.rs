//! The way in: events are offered by whoever makes them, without waiting, and written down by one task for each webhook
//! that wants them. Nothing is sent that is not on disk. What finds no room is counted, and told as a gap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use contract::store::StoreError;
use contract::webhooks::{StoredWebhook, WebhookDelivery};
use model::{UnixMs, limits};
use serde_json::json;

use crate::{Filter, Fit, Webhooks};

/// How soon it is tried again when the store could not keep something.
const RETRY: Duration = Duration::from_secs(5);
/// Deliveries that are written at once.
const PART: usize = 1_000;

/// An event, as watchers see it.
pub(crate) struct Offer {
    kind: &'static str,
    device: Option<Arc<str>>,
    body: Arc<str>,
    at: UnixMs,
}

/// What was offered and is not written down yet.
#[derive(Default)]
pub(crate) struct Intake {
    offers: Vec<Offer>,
    bytes: usize,
    /// How many found no room, by their kinds' bits.
    lost: BTreeMap<u32, u64>,
    /// What the house had dropped when it was last asked.
    dropped: u64,
}

impl Webhooks {
    /// Whether any webhook wants events of this kind.
    pub fn wants(&self, kind: &str) -> bool {
        self.wanted.load(Ordering::Relaxed) & self.bit(kind) != 0
    }

    /// An event has happened: its number among the live events, and its data in JSON.
    pub fn offer(&self, kind: &'static str, id: u64, device: Option<Arc<str>>, data: &str) {
        if !self.wants(kind) {
            return;
        }
        let body: Arc<str> = format!(r#"{{"event":"{kind}","id":"{id}","data":{data}}}"#).into();
        let mut intake = self.intake.lock();
        let full =
            intake.offers.len() >= limits::WEBHOOK_INTAKE_MAX || intake.bytes + body.len() > limits::WEBHOOK_INTAKE_BYTES_MAX;
        if full {
            *intake.lost.entry(self.bit(kind)).or_default() += 1;
        } else {
            intake.bytes += body.len();
            intake.offers.push(Offer { kind, device, body, at: self.clock.unix() });
        }
        drop(intake);
        self.offered.notify_one();
    }

    fn bit(&self, kind: &str) -> u32 {
        self.settings.kinds.iter().position(|known| *known == kind).map_or(0, |place| 1 << place)
    }

    /// The kinds that a webhook wants.
    fn bits(&self, webhook: &StoredWebhook) -> u32 {
        let usual = || self.settings.kinds.iter().filter(|kind| !self.settings.by_name_only.contains(kind));
        match &webhook.kinds[..] {
            [] => usual().fold(0, |bits, kind| bits | self.bit(kind)),
            kinds => kinds.iter().fold(0, |bits, kind| bits | self.bit(kind)),
        }
    }

    /// Looks anew at what any webhook wants that is on.
    pub(crate) fn look_at_kinds(&self) {
        let entries = self.entries.lock();
        let active = entries.values().filter(|entry| entry.webhook.active);
        let wanted = active.fold(0, |bits, entry| bits | self.bits(&entry.webhook));
        let before = self.wanted.swap(wanted, Ordering::Relaxed);
        // Some events are made only while somebody watches.
        let watched = self.settings.by_name_only.iter().fold(0, |bits, kind| bits | self.bit(kind));
        match (before & watched != 0, wanted & watched != 0) {
            (false, true) => drop(self.settings.watchers.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.settings.watchers.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }

    /// Writes down all that was offered, for those who want it.
    pub async fn take_in(&self, filter: &dyn Filter) -> Result<(), StoreError> {
        let (offers, mut lost) = {
            let mut intake = self.intake.lock();
            intake.bytes = 0;
            let dropped = (self.settings.dropped)();
            let missing = dropped.saturating_sub(std::mem::replace(&mut intake.dropped, dropped));
            let mut lost = std::mem::take(&mut intake.lost);
            if missing > 0 {
                let bits = self.settings.by_name_only.iter().fold(0, |bits, kind| bits | self.bit(kind));
                *lost.entry(bits).or_default() += missing;
            }
            (std::mem::take(&mut intake.offers), lost)
        };
        let webhooks: Vec<StoredWebhook> =
            self.entries.lock().values().filter(|entry| entry.webhook.active).map(|entry| entry.webhook.clone()).collect();
        let mut wanted = Vec::new();
        for offer in &offers {
            for webhook in &webhooks {
                if self.bits(webhook) & self.bit(offer.kind) == 0 {
                    continue;
                }
                match fits(filter, webhook, offer).await {
                    Fit::Yes | Fit::Gone => wanted.push((webhook.id, offer)),
                    Fit::No => {}
                    // It may be about a device that the target is not to hear of.
                    Fit::Unknown => self.lose(webhook.id, 1),
                }
            }
        }
        let written = self.write_down(wanted).await;
        // What found no room came after what did.
        for webhook in &webhooks {
            let bits = self.bits(webhook);
            let missed: u64 = lost.iter_mut().filter(|(kinds, _)| **kinds & bits != 0).map(|(_, count)| *count).sum();
            self.lose(webhook.id, missed);
        }
        for webhook in &webhooks {
            // Once there is room again, it hears of the gap; whoever wakes us comes back for that too.
            let lost =
                self.entries.lock().get(&webhook.id).filter(|entry| is_relieved(entry)).map_or(0, |entry| entry.webhook.lost);
            if lost > 0 && written.is_ok() {
                let why = "too much waited for this webhook, the server had no room for more, or the query could not be carried out; these events were not kept";
                self.tell_gap(webhook.id, Some(lost), why).await?;
            }
        }
        written
    }

    async fn write_down(&self, wanted: Vec<(u64, &Offer)>) -> Result<(), StoreError> {
        // In parts, so that others get a turn at the disk between them.
        let mut written = Ok(());
        for part in wanted.chunks(PART) {
            written = self.write_part(part).await.and(written);
        }
        written
    }

    async fn write_part(&self, wanted: &[(u64, &Offer)]) -> Result<(), StoreError> {
        let mut last = self.last_delivery.lock().await;
        let mut batch = Vec::with_capacity(wanted.len());
        for &(webhook, offer) in wanted {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&webhook) else { continue };
            if entry.webhook.lost > 0 || !has_room(entry, offer.body.len() as u64) {
                // After the first that is missing none is kept until the gap was told: so it is where it belongs.
                entry.webhook.lost += 1;
                continue;
            }
            entry.counts.waiting += 1;
            entry.counts.waiting_bytes += offer.body.len() as u64;
            *last += 1;
            batch.push(delivery(*last, webhook, offer.kind, offer.body.clone(), offer.at));
        }
        let Err(error) = self.store.put_deliveries(batch.clone()).await else {
            batch.iter().map(|delivery| delivery.webhook).for_each(|id| self.wake(id));
            return Ok(());
        };
        for delivery in batch {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&delivery.webhook) else { continue };
            entry.counts.waiting -= 1;
            entry.counts.waiting_bytes -= delivery.body.len() as u64;
            entry.webhook.lost += 1;
        }
        Err(error)
    }

    /// Tells a webhook that events are missing; how many, if that is known.
    pub(crate) async fn tell_gap(&self, id: u64, lost: Option<u64>, why: &str) -> Result<(), StoreError> {
        let now = self.clock.unix();
        let body: Arc<str> = json!({ "event": "gap", "data": { "lost": lost, "why": why, "at": now } }).to_string().into();
        let mut last = self.last_delivery.lock().await;
        *last += 1;
        self.store.put_deliveries(vec![delivery(*last, id, "gap", body.clone(), now)]).await?;
        if let Some(entry) = self.entries.lock().get_mut(&id) {
            entry.webhook.lost -= entry.webhook.lost.min(lost.unwrap_or(0));
            entry.counts.waiting += 1;
            entry.counts.waiting_bytes += body.len() as u64;
        }
        self.wake(id);
        Ok(())
    }

    /// Counts events that a webhook will not get.
    pub(crate) fn lose(&self, id: u64, count: u64) {
        if count > 0
            && let Some(entry) = self.entries.lock().get_mut(&id)
        {
            entry.webhook.lost += count;
            self.offered.notify_one();
        }
    }
}

fn has_room(entry: &crate::Entry, bytes: u64) -> bool {
    entry.counts.waiting < limits::WEBHOOK_WAITING_MAX && entry.counts.waiting_bytes + bytes <= limits::WEBHOOK_WAITING_BYTES_MAX
}

/// Whether so little waits that events are kept again: a gap for each single event would be no help.
fn is_relieved(entry: &crate::Entry) -> bool {
    entry.counts.waiting < limits::WEBHOOK_WAITING_MAX / 4 * 3
        && entry.counts.waiting_bytes < limits::WEBHOOK_WAITING_BYTES_MAX / 4 * 3
}

fn delivery(id: u64, webhook: u64, kind: &str, body: Arc<str>, at: UnixMs) -> WebhookDelivery {
    let kind = kind.to_owned();
    WebhookDelivery { id, webhook, at, kind, body, tries: 0, due: Some(at), tried: None, error: String::new() }
}

/// What concerns no device concerns everybody; a device that is gone cannot be asked any more, and its end is not to
/// be missed.
async fn fits(filter: &dyn Filter, webhook: &StoredWebhook, offer: &Offer) -> Fit {
    let Some(device) = offer.device.as_ref().filter(|_| !webhook.query.is_empty()) else { return Fit::Yes };
    filter.fits(webhook.query.as_str().into(), device.clone()).await
}

/// Until the room closes.
pub(crate) async fn run(room: Arc<Webhooks>, filter: Arc<dyn Filter>) {
    loop {
        tokio::select! {
            biased;
            () = room.stopping.notified() => return,
            () = room.offered.notified() => {}
        }
        if let Err(error) = room.take_in(&*filter).await {
            if matches!(error, StoreError::Closed) {
                return;
            }
            tracing::error!(%error, "events could not be kept for webhooks, which will be told");
            tokio::select! {
                () = room.stopping.notified() => return,
                () = tokio::time::sleep(RETRY) => room.offered.notify_one(),
            }
        }
    }
}
