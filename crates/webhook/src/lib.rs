//! Webhooks: live events told to other people's servers. Each event that a webhook wants is written down for it
//! ([`intake`]) and then posted, signed ([`signing`]), until it is taken ([`sender`]): again and again with growing
//! pauses ([`backoff`]), and at last among those that failed, where it can be looked at and replayed. What could not
//! be kept is never passed over in silence: the webhook is told of the gap.
//!
//! Deliberately absent: sockets and HTTP (see [`Courier`]), what events look like, and which devices a query fits
//! (see [`Filter`]).

pub mod addresses;
mod backoff;
mod intake;
mod sender;
mod signing;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use contract::Clock;
use contract::store::{Page, StoreError};
use contract::webhooks::{StoredWebhook, WebhookCounts, WebhookDelivery, WebhookHealth, Webhooks as Kept};
use http::Uri;
use model::{UnixMs, limits, text};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::task::JoinHandle;

/// Something that is to happen later.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What is posted.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Where to.
    pub url: String,
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    pub headers: [(&'static str, String); 3],
    /// JSON.
    pub body: Arc<str>,
}

/// Posts over HTTP.
pub trait Courier: Send + Sync {
    /// Posts once, within a time of its own; the status of the answer, or why there is none, as a sentence for people.
    fn post(&self, parcel: Parcel) -> Later<Result<u16, String>>;
}

/// Knows devices.
pub trait Filter: Send + Sync {
    /// Whether a query fits a device.
    fn fits(&self, query: Arc<str>, device: Arc<str>) -> Later<Fit>;
}

/// Whether a query fits a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// The device is gone and cannot be asked any more.
    Gone,
    /// The query cannot be carried out: it names a group that is gone, or the store failed.
    Unknown,
}

/// How webhooks are to behave.
pub struct Settings {
    /// How often a delivery is tried.
    pub attempts: u32,
    /// The pause after the first failure.
    pub first_retry_ms: u64,
    /// Whether every address may be called (`webhooks.allow_private`).
    pub allow_private: bool,
    /// The kinds of events that there are, at most 32.
    pub kinds: &'static [&'static str],
    /// Those of them that must be asked for by name.
    pub by_name_only: &'static [&'static str],
    /// How many watch; a webhook that wants what is told only then counts as one.
    pub watchers: Arc<AtomicUsize>,
    /// How many events the house had no time to tell.
    pub dropped: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// What a webhook is to be.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// A name for people.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// Which kinds; none for the usual ones.
    pub kinds: Vec<String>,
    /// Only of devices that this query fits; empty for all. It was checked.
    pub query: String,
}

/// What is to change of a webhook.
#[derive(Clone, Debug, Default)]
pub struct WebhookEdit {
    /// Another name.
    pub name: Option<String>,
    /// Another target.
    pub url: Option<String>,
    /// Other kinds.
    pub kinds: Option<Vec<String>>,
    /// Another query.
    pub query: Option<String>,
    /// On or off.
    pub active: Option<bool>,
}

/// Why a webhook was not taken or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is none with this number.
    #[error("there is no webhook {0}")]
    Missing(u64),
    /// It has no failed delivery with this number.
    #[error("the webhook has no failed delivery {0}; it may have been replayed, or be too old")]
    NoSuchDelivery(u64),
    /// The name is empty, too long, or no line of text.
    #[error("a webhook's name has 1 to {} bytes and no control characters", limits::NAME_BYTES_MAX)]
    BadName,
    /// The URL cannot be called.
    #[error("url: {0}")]
    BadUrl(&'static str),
    /// The URL names an address that is not called.
    #[error("{0} is not called: it is {1}; webhooks.allow_private = true in the configuration allows it")]
    Refused(String, &'static str),
    /// There is no such kind of event.
    #[error("there are no events of the kind {kind:?}; there are {all}")]
    BadKind {
        /// What was written.
        kind: String,
        /// What could have been.
        all: String,
    },
    /// An old secret that would work for too long.
    #[error("an old secret works beside the new one for at most {} days", limits::WEBHOOK_OVERLAP_S_MAX / 86_400)]
    BadOverlap,
    /// There are as many as there may be.
    #[error("there are {} webhooks already, which is the limit; remove some", limits::WEBHOOKS_MAX)]
    Full,
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A webhook as it stands.
#[derive(Clone, Debug)]
pub struct View {
    /// What is kept.
    pub webhook: StoredWebhook,
    /// What waits, and what has failed.
    pub counts: WebhookCounts,
}

struct Entry {
    webhook: StoredWebhook,
    counts: WebhookCounts,
    /// Something is to be sent, or the webhook was changed.
    news: Arc<Notify>,
}

impl Entry {
    fn view(&self) -> View {
        View { webhook: self.webhook.clone(), counts: self.counts }
    }
}

/// The room of webhooks.
pub struct Webhooks {
    store: Arc<dyn Kept>,
    clock: Arc<dyn Clock>,
    courier: Arc<dyn Courier>,
    settings: Settings,
    entries: Mutex<BTreeMap<u64, Entry>>,
    /// One bit a kind: what any webhook wants.
    wanted: AtomicU32,
    intake: Mutex<intake::Intake>,
    offered: Notify,
    /// The last number of a delivery; who takes it writes the next ones, alone.
    last_delivery: Turn<u64>,
    /// The last number of a webhook; who changes a webhook does so alone.
    turn: Turn<u64>,
    running: AtomicBool,
    stopping: Notify,
    writer: Mutex<Option<JoinHandle<()>>>,
    senders: Mutex<Vec<JoinHandle<()>>>,
}

impl Webhooks {
    /// Reads all webhooks. They are sent to from [`start`](Webhooks::start) on.
    pub async fn open(
        store: Arc<dyn Kept>,
        clock: Arc<dyn Clock>,
        courier: Arc<dyn Courier>,
        settings: Settings,
    ) -> Result<Arc<Webhooks>, StoreError> {
        let kept = store.webhooks().await?;
        let entry =
            |(webhook, counts): (StoredWebhook, WebhookCounts)| (webhook.id, Entry { webhook, counts, news: Arc::default() });
        let room = Arc::new(Webhooks {
            store,
            clock,
            courier,
            settings,
            entries: Mutex::new(kept.webhooks.into_iter().map(entry).collect()),
            wanted: AtomicU32::new(0),
            intake: Mutex::default(),
            offered: Notify::new(),
            last_delivery: Turn::new(kept.delivery_last),
            turn: Turn::new(kept.webhook_last),
            running: AtomicBool::new(false),
            stopping: Notify::new(),
            writer: Mutex::default(),
            senders: Mutex::default(),
        });
        room.look_at_kinds();
        if !kept.clean {
            let why = "the server ended without being stopped; events of its last moments may be missing";
            let active = |entry: &Entry| entry.webhook.active.then_some(entry.webhook.id);
            let all: Vec<u64> = room.entries.lock().values().filter_map(active).collect();
            for id in all {
                room.tell_gap(id, None, why).await?;
            }
        }
        Ok(room)
    }

    /// Sends, on the current runtime, until [`close`](Webhooks::close).
    pub fn start(self: &Arc<Webhooks>, filter: Arc<dyn Filter>) {
        self.running.store(true, Ordering::Relaxed);
        let ids: Vec<u64> = self.entries.lock().keys().copied().collect();
        for id in ids {
            self.send_to(id);
        }
        *self.writer.lock() = Some(tokio::spawn(intake::run(self.clone(), filter)));
    }

    fn send_to(self: &Arc<Webhooks>, id: u64) {
        if self.running.load(Ordering::Relaxed) {
            let mut senders = self.senders.lock();
            senders.retain(|task| !task.is_finished());
            senders.push(tokio::spawn(sender::run(self.clone(), id)));
        }
    }

    /// Stops. What was offered is written down first, by the rules of `filter`; what is just being posted is posted
    /// again after the next start, under the same id.
    pub async fn close(&self, filter: &dyn Filter) {
        self.running.store(false, Ordering::Relaxed);
        self.stopping.notify_one();
        // What it has in its hands is nowhere else: it is waited for, not ended.
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let _ = writer.await;
        }
        let senders = std::mem::take(&mut *self.senders.lock());
        for sender in senders {
            sender.abort();
            // Ended by us: that it did not end by itself is no news.
            let _ = sender.await;
        }
        let taken = self.take_in(filter).await;
        let lost = self.entries.lock().values().map(|entry| (entry.webhook.id, entry.webhook.lost)).collect();
        if let (Err(error), _) | (_, Err(error)) = (taken, self.store.stopped(lost).await) {
            tracing::error!(%error, "what waits for webhooks could not be written");
        }
    }

    /// Makes a webhook; its view has the secret.
    pub async fn create(self: &Arc<Webhooks>, new: NewWebhook) -> Result<View, WebhookError> {
        let mut last = self.turn.lock().await;
        if self.entries.lock().len() >= limits::WEBHOOKS_MAX {
            return Err(WebhookError::Full);
        }
        let webhook = StoredWebhook {
            id: *last + 1,
            name: new.name,
            url: new.url,
            kinds: new.kinds,
            query: new.query,
            secret: signing::new_secret(),
            old_secret: None,
            active: true,
            off_since: None,
            why_off: String::new(),
            created: self.clock.unix(),
            health: WebhookHealth::default(),
            lost: 0,
        };
        self.check(&webhook)?;
        *last += 1;
        self.store.put_webhook(webhook.clone()).await?;
        let entry = Entry { webhook, counts: WebhookCounts::default(), news: Arc::default() };
        let view = entry.view();
        self.entries.lock().insert(view.webhook.id, entry);
        self.look_at_kinds();
        self.send_to(view.webhook.id);
        Ok(view)
    }

    /// Changes what is given; the rest stays. Switched on again, it is first told since when it was off.
    pub async fn edit(&self, id: u64, edit: WebhookEdit) -> Result<View, WebhookError> {
        let _turn = self.turn.lock().await;
        let before = self.get(id)?.webhook;
        let after = self
            .change(id, |webhook| {
                webhook.name = edit.name.unwrap_or_else(|| webhook.name.clone());
                webhook.url = edit.url.unwrap_or_else(|| webhook.url.clone());
                webhook.kinds = edit.kinds.unwrap_or_else(|| webhook.kinds.clone());
                webhook.query = edit.query.unwrap_or_else(|| webhook.query.clone());
                match edit.active {
                    Some(true) if !webhook.active => {
                        (webhook.active, webhook.off_since) = (true, None);
                        webhook.why_off.clear();
                        webhook.health.failing_since = None;
                    }
                    Some(false) if webhook.active => {
                        (webhook.active, webhook.off_since) = (false, Some(self.clock.unix()));
                    }
                    _ => {}
                }
            })
            .await?;
        if after.webhook.active
            && let Some(since) = before.off_since
        {
            let why = format!("the webhook was switched off from {} on; events from then to now were not kept", since.rfc3339());
            self.tell_gap(id, None, &why).await?;
        }
        self.look_at_kinds();
        self.wake(id);
        self.get(id)
    }

    /// A new secret; events are signed with the old one too for so many seconds.
    pub async fn rotate(&self, id: u64, overlap_s: u64) -> Result<View, WebhookError> {
        if overlap_s > limits::WEBHOOK_OVERLAP_S_MAX {
            return Err(WebhookError::BadOverlap);
        }
        let _turn = self.turn.lock().await;
        let until = UnixMs(self.clock.unix().0.saturating_add_unsigned(overlap_s * 1000));
        self.change(id, |webhook| {
            let old = std::mem::replace(&mut webhook.secret, signing::new_secret());
            webhook.old_secret = (overlap_s > 0).then_some((old, until));
        })
        .await
    }

    /// Removes a webhook with all that waits for it.
    pub async fn remove(&self, id: u64) -> Result<(), WebhookError> {
        let _turn = self.turn.lock().await;
        self.get(id)?;
        self.store.delete_webhook(id).await?;
        if let Some(entry) = self.entries.lock().remove(&id) {
            // Its task finds that it is gone.
            entry.news.notify_one();
        }
        self.look_at_kinds();
        Ok(())
    }

    /// One webhook.
    pub fn get(&self, id: u64) -> Result<View, WebhookError> {
        self.entries.lock().get(&id).map(Entry::view).ok_or(WebhookError::Missing(id))
    }

    /// All webhooks by number.
    pub fn list(&self) -> Vec<View> {
        self.entries.lock().values().map(Entry::view).collect()
    }

    /// What could not be delivered, newest first.
    pub async fn failed(&self, id: u64, before: Option<u64>, limit: usize) -> Result<Page<WebhookDelivery>, WebhookError> {
        self.get(id)?;
        Ok(self.store.failed_deliveries(id, before, limit).await?)
    }

    /// Tries one failed delivery anew, or all of them; answers how many.
    pub async fn replay(&self, id: u64, delivery: Option<u64>) -> Result<u64, WebhookError> {
        self.get(id)?;
        let (count, bytes) = self.store.replay(id, delivery, self.clock.unix()).await?;
        if let (0, Some(delivery)) = (count, delivery) {
            return Err(WebhookError::NoSuchDelivery(delivery));
        }
        if let Some(entry) = self.entries.lock().get_mut(&id) {
            entry.counts.failed = entry.counts.failed.saturating_sub(count);
            entry.counts.waiting += count;
            entry.counts.waiting_bytes += bytes;
        }
        self.wake(id);
        Ok(count)
    }

    /// Changes a webhook, on disk and then here. With `turn` held.
    async fn change(&self, id: u64, change: impl FnOnce(&mut StoredWebhook)) -> Result<View, WebhookError> {
        let mut webhook = self.get(id)?.webhook;
        change(&mut webhook);
        self.check(&webhook)?;
        self.store.put_webhook(webhook.clone()).await?;
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&id).ok_or(WebhookError::Missing(id))?;
        // What was counted meanwhile stays.
        entry.webhook = StoredWebhook { lost: entry.webhook.lost, ..webhook };
        Ok(entry.view())
    }

    fn check(&self, webhook: &StoredWebhook) -> Result<(), WebhookError> {
        if !text::is_name(&webhook.name) {
            return Err(WebhookError::BadName);
        }
        if let Some(kind) = webhook.kinds.iter().find(|kind| !self.settings.kinds.contains(&kind.as_str())) {
            return Err(WebhookError::BadKind { kind: kind.clone(), all: self.settings.kinds.join(", ") });
        }
        let host = host_of(&webhook.url).map_err(WebhookError::BadUrl)?;
        // Names are looked up, and looked at, when they are called.
        let refused = host.parse().ok().and_then(addresses::refused).filter(|_| !self.settings.allow_private);
        refused.map_or(Ok(()), |what| Err(WebhookError::Refused(host, what)))
    }

    fn wake(&self, id: u64) {
        if let Some(entry) = self.entries.lock().get(&id) {
            entry.news.notify_one();
        }
    }
}

/// The host of a URL that can be called, without brackets.
pub fn host_of(url: &str) -> Result<String, &'static str> {
    if url.len() > limits::WEBHOOK_URL_BYTES_MAX {
        return Err("it is too long");
    }
    let uri: Uri = url.parse().map_err(|_| "this is no URL, such as https://example.org/hook")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("it begins with https:// or http://");
    }
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') {
        return Err("it holds no user name and password; events are signed instead");
    }
    match authority.host().trim_matches(['[', ']']) {
        "" => Err("it has no host"),
        host => Ok(host.to_owned()),
    }
}
