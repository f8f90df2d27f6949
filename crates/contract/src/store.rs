//! What must outlive the process, one trait a concern. Every write answers only after it is on disk
//! (one fsync for all that waited). Implemented by `store` on SQLite; later by the back ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use model::{
    Account, App, AppId, Delivery, DeliveryState, DeliveryStep, Device, DeviceNumber, Meta, Order, Point, Presence, PushId, Role,
    Terms, TokenScopes, TwinPart, UnixMs, Value,
};

/// A store's answer, later.
pub type Later<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Why the store could not. All but a bad cursor are our side's trouble, never the peer's.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine said no.
    #[error("the store failed: {0}")]
    Engine(String),
    /// There is no room for more: the text says what is full and what to do.
    #[error("{0}")]
    Full(String),
    /// A write or fsync failed: nothing is acknowledged any more until the program is started again.
    #[error("{0}")]
    Disk(String),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
    /// What is on disk cannot be read as what it should be.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// A list was asked to go on from a place that it never named.
    #[error("the cursor is not one that this list gave; start again without it")]
    BadCursor,
}

/// A SHA-256 hash of a secret that we made ourselves (high entropy, so no salt is needed).
pub type SecretHash = [u8; 32];

/// A device as it comes back from disk.
#[derive(Clone, Debug)]
pub struct StoredDevice {
    /// The device.
    pub device: Device,
    /// The hash of its secret.
    pub secret_hash: SecretHash,
    /// Its presence when it was last written; whoever loads it knows that no line has survived.
    pub presence: Presence,
}

/// The secret that a device had before its newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredOldSecret {
    /// The device.
    pub device: DeviceNumber,
    /// The secret's hash.
    pub hash: SecretHash,
    /// Until when it works.
    pub until: UnixMs,
}

/// A query under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGroup {
    /// The name.
    pub name: String,
    /// The query as its owner wrote it.
    pub query: String,
    /// When it was made.
    pub created: UnixMs,
}

/// An API token as it is kept: never the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The hash of the token.
    pub hash: SecretHash,
    /// When it was made.
    pub created: UnixMs,
    /// When it stops working.
    pub expires: Option<UnixMs>,
    /// What it may do within its role.
    pub scopes: TokenScopes,
    /// Only at devices that this query fits; empty for all.
    pub query: String,
    /// It has run out, and works no more whatever becomes of the clock.
    pub ended: bool,
}

/// A broker account as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// The account.
    pub account: Account,
    /// The hash of its password, in a form that names its method (`$argon2id$…`). Empty: nobody can log in
    /// with a password.
    pub password_hash: String,
}

impl std::fmt::Debug for StoredAccount {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A hash of a password that a person chose can be tried against word lists.
        write!(out, "StoredAccount({:?}, …)", self.account)
    }
}

/// Everything the fleet keeps in memory.
#[derive(Clone, Debug, Default)]
pub struct RegistrySnapshot {
    /// All apps.
    pub apps: Vec<App>,
    /// All devices.
    pub devices: Vec<StoredDevice>,
    /// All tokens.
    pub tokens: Vec<StoredToken>,
    /// All broker accounts.
    pub accounts: Vec<StoredAccount>,
    /// Secrets that still work beside newer ones.
    pub old_secrets: Vec<StoredOldSecret>,
    /// All groups, by name.
    pub groups: Vec<StoredGroup>,
    /// What owners wrote down about devices, of those that have something.
    pub metas: Vec<(DeviceNumber, Meta)>,
    /// The devices that are not let in.
    pub blocked: Vec<DeviceNumber>,
    /// The highest app number ever given.
    pub app_last: u32,
    /// The highest device number ever given.
    pub device_last: u32,
    /// The highest token number ever given.
    pub token_last: u64,
    /// The highest account number ever given.
    pub account_last: u64,
}

/// Apps, devices, tokens and broker accounts.
pub trait Registry: Send + Sync {
    /// Reads everything.
    fn load(&self) -> Later<RegistrySnapshot>;
    /// Writes an app, new or changed. The key is sealed.
    fn put_app(&self, app: App) -> Later<()>;
    /// Removes an app that has no devices.
    fn delete_app(&self, app: AppId) -> Later<()>;
    /// Writes a device, new or changed; `secret` when it is new or given anew (sealed and hashed).
    fn put_device(&self, device: Device, secret: Option<String>) -> Later<()>;
    /// Gives a device a new secret (sealed and hashed). The one before is kept until a time, or forgotten; one
    /// from before that is forgotten in any case.
    fn rotate_secret(&self, device: DeviceNumber, secret: String, old_until: Option<UnixMs>) -> Later<()>;
    /// Forgets the secret before a device's newest.
    fn drop_old_secret(&self, device: DeviceNumber) -> Later<()>;
    /// The secret before a device's newest, unsealed.
    fn reveal_old_secret(&self, device: DeviceNumber) -> Later<Option<String>>;
    /// Blocks a device, or lets it in again.
    fn block_device(&self, device: DeviceNumber, blocked: bool) -> Later<()>;
    /// A device's secret, unsealed; `None` for a device that there is not.
    fn reveal_secret(&self, device: DeviceNumber) -> Later<Option<String>>;
    /// Removes a device with its points, deliveries and presence.
    fn delete_device(&self, device: DeviceNumber) -> Later<()>;
    /// Remembers presence; a batch, because it changes often.
    fn put_presence(&self, batch: Vec<(DeviceNumber, Presence)>) -> Later<()>;
    /// Writes a group, new or changed; `before` is its name until now, if that was another.
    fn put_group(&self, group: StoredGroup, before: Option<String>) -> Later<()>;
    /// Removes a group.
    fn delete_group(&self, name: String) -> Later<()>;
    /// Writes a token.
    fn put_token(&self, token: StoredToken) -> Later<()>;
    /// Removes a token.
    fn delete_token(&self, id: u64) -> Later<()>;
    /// Writes a broker account, new or changed.
    fn put_account(&self, account: StoredAccount) -> Later<()>;
    /// Removes a broker account.
    fn delete_account(&self, id: u64) -> Later<()>;
}

/// A change that somebody made, or was not allowed to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, given by the store.
    pub id: u64,
    /// When.
    pub at: UnixMs,
    /// The name of the token that was shown.
    pub who: String,
    /// Its number; `None` for the bootstrap token and for one who just signed in.
    pub token: Option<u64>,
    /// What it may do.
    pub role: Role,
    /// From where.
    pub remote: String,
    /// Which call: `PATCH /api/v1/devices/{id}`.
    pub call: String,
    /// What it was about; empty if nothing single.
    pub target: String,
    /// What was sent, by name; truth values with what they were. Never a text.
    pub fields: Vec<String>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The stable word for what went wrong; empty if nothing did.
    pub code: String,
}

/// Which entries are wanted; empty takes all.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only by this name.
    pub who: Option<String>,
    /// Only about this.
    pub target: Option<String>,
    /// Only calls with this in them.
    pub call: Option<String>,
    /// Only those that failed, or that did not.
    pub failed: Option<bool>,
    /// Not before.
    pub from: Option<UnixMs>,
    /// Before.
    pub to: Option<UnixMs>,
}

/// Who changed what.
pub trait Audit: Send + Sync {
    /// Writes an entry. The oldest go when there are too many.
    fn record(&self, entry: AuditEntry) -> Later<()>;
    /// Entries, newest first; `before` is the cursor.
    fn entries(&self, query: AuditQuery, before: Option<u64>, limit: usize) -> Later<Page<AuditEntry>>;
}

/// A push as it is kept.
#[derive(Clone, Debug)]
pub struct StoredPush {
    /// Its number.
    pub id: PushId,
    /// What it asks.
    pub order: Order,
    /// What it carries.
    pub payload: Bytes,
    /// The audience as the sender wrote it, in JSON.
    pub audience: String,
    /// Who sent it, for people (`token ci`, `browser`).
    pub sender: String,
    /// When it was made.
    pub created: UnixMs,
    /// When what is still queued expires; `None` for a push that is not kept at all (online only).
    pub expires: Option<UnixMs>,
    /// The sender's key against doing it twice.
    pub idempotency_key: Option<String>,
    /// The rest of its terms.
    pub terms: Terms,
}

/// A page of a list and where the next begins.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A push whose deliveries are not all made yet.
#[derive(Clone, Debug)]
pub struct UnmadePush {
    /// The push.
    pub push: StoredPush,
    /// Its devices that have no delivery yet, in batches by their number.
    pub parts: Vec<(u32, Vec<DeviceNumber>)>,
    /// It was taken back: what is still made is cancelled.
    pub cancelled: bool,
}

/// A delivery that is to be made.
#[derive(Clone, Debug)]
pub struct FreshDelivery {
    /// For which device.
    pub device: DeviceNumber,
    /// Queued, or what forbids it from the start.
    pub state: DeliveryState,
    /// Why.
    pub detail: String,
}

/// A delivery with the states that it was in before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryLife {
    /// As it stands.
    pub delivery: Delivery,
    /// What was before, oldest first.
    pub before: Vec<DeliveryStep>,
}

/// A new state of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryChange {
    /// As it stands now.
    pub delivery: Delivery,
    /// The states that it passed through since it was written last.
    pub passed: Vec<DeliveryStep>,
}

/// Pushes and their deliveries.
pub trait Pushes: Send + Sync {
    /// The highest number ever given.
    fn last_push(&self) -> Later<PushId>;
    /// Writes a push with its deliveries, all or nothing.
    fn create_push(&self, push: StoredPush, deliveries: Vec<Delivery>) -> Later<()>;
    /// Writes a push to many with the devices that it is for, in batches as [`make_part`](Pushes::make_part)
    /// takes them. It is kept from then on.
    fn create_push_to(&self, push: StoredPush, parts: Vec<(u32, Vec<DeviceNumber>)>) -> Later<()>;
    /// Makes the deliveries of one batch, of which `rest` stays to be made. Answers with those that were made: a
    /// device that was removed meanwhile has none.
    fn make_part(
        &self,
        push: PushId,
        part: u32,
        at: UnixMs,
        batch: Vec<FreshDelivery>,
        rest: Vec<DeviceNumber>,
    ) -> Later<Vec<Delivery>>;
    /// Remembers that what is left to be made is to be made as cancelled.
    fn cancel_unmade(&self, push: PushId) -> Later<()>;
    /// The pushes with batches left.
    fn unmade_pushes(&self) -> Later<Vec<UnmadePush>>;
    /// How many deliveries of a push are in which state, and how many of its devices have none yet.
    fn push_standing(&self, push: PushId) -> Later<(Vec<(DeliveryState, u64)>, u64)>;
    /// Which of `devices` have a delivery of a later push with this collapse key that was not refused, and of
    /// which push: the last one.
    fn collapsed_by(&self, key: Arc<str>, push: PushId, devices: Vec<DeviceNumber>) -> Later<Vec<(DeviceNumber, PushId)>>;
    /// Writes the new state of deliveries. The states before are remembered.
    fn update_deliveries(&self, batch: Vec<DeliveryChange>) -> Later<()>;
    /// Every delivery that something is still to happen to, with its push, in order of their numbers:
    /// queued, sent, or delivered since `delivered_since` with an answer still wanted.
    fn open_deliveries(&self, delivered_since: UnixMs) -> Later<Vec<(Arc<StoredPush>, Delivery)>>;
    /// The devices whose delivery of a push is in one of `states`, in order.
    fn devices_in(&self, push: PushId, states: Vec<DeliveryState>) -> Later<Vec<DeviceNumber>>;
    /// One push.
    fn push(&self, id: PushId) -> Later<Option<StoredPush>>;
    /// The push of an idempotency key.
    fn push_by_key(&self, key: String) -> Later<Option<PushId>>;
    /// Pushes, newest first; `before` is the cursor.
    fn pushes(&self, before: Option<PushId>, limit: usize) -> Later<Page<StoredPush>>;
    /// Deliveries of a push, by device number; `after` is the cursor.
    fn deliveries(&self, push: PushId, after: Option<DeviceNumber>, limit: usize) -> Later<Page<DeliveryLife>>;
    /// Deliveries of a device, newest push first; `before` is the cursor.
    fn deliveries_of(&self, device: DeviceNumber, before: Option<PushId>, limit: usize) -> Later<Page<DeliveryLife>>;
    /// Pushes made before a moment, oldest first, with when they were made; those behind `after`.
    fn old_pushes(&self, before: UnixMs, after: Option<(UnixMs, PushId)>, limit: usize) -> Later<Vec<(UnixMs, PushId)>>;
    /// Deletes pushes with their deliveries, no more than about `rows` rows. One that is not over stays: deliveries
    /// wait or are still to be made, or an older push may have to look at its collapse key. How many are gone, and
    /// which are left for the next time.
    fn prune_pushes(&self, pushes: Vec<PushId>, rows: usize) -> Later<(u64, Vec<PushId>)>;
    /// Pushes that have a delivery for a device, newest first; `before` is the cursor.
    fn pushes_of(&self, device: DeviceNumber, before: Option<PushId>, limit: usize) -> Later<Page<StoredPush>>;
}

/// A push that recurs, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSchedule {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What is pushed, in JSON as the sender wrote it.
    pub push: String,
    /// When, in JSON as the sender wrote it.
    pub when: String,
    /// Who made it, for people.
    pub sender: String,
    /// It does not run for now.
    pub paused: bool,
    /// How late a run may be.
    pub grace_s: u64,
    /// When it was made.
    pub created: UnixMs,
    /// Up to which moment everything is dealt with.
    pub done: UnixMs,
}

/// What became of a moment of a schedule, or of several that were missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRun {
    /// The moment, or the first of those that were missed.
    pub at: UnixMs,
    /// When it was dealt with.
    pub ran: UnixMs,
    /// The push that it made.
    pub push: Option<PushId>,
    /// How many moments were missed; 0 for a run.
    pub missed: u64,
    /// Why there is no push, as a sentence for people.
    pub detail: String,
}

/// Schedules and their runs.
pub trait Schedules: Send + Sync {
    /// All schedules, and the highest number ever given.
    fn schedules(&self) -> Later<(Vec<StoredSchedule>, u64)>;
    /// Writes a schedule, new or changed; when it was made stays.
    fn put_schedule(&self, schedule: StoredSchedule) -> Later<()>;
    /// Removes a schedule with its runs.
    fn delete_schedule(&self, id: u64) -> Later<()>;
    /// Remembers runs, and up to which moment the schedule is done.
    fn put_runs(&self, schedule: u64, done: UnixMs, runs: Vec<ScheduleRun>) -> Later<()>;
    /// What became of a moment.
    fn run_of(&self, schedule: u64, at: UnixMs) -> Later<Option<ScheduleRun>>;
    /// The runs of a schedule, newest first; `before` is the cursor.
    fn runs(&self, schedule: u64, before: Option<UnixMs>, limit: usize) -> Later<Page<ScheduleRun>>;
}

/// A question for points.
#[derive(Clone, Debug)]
pub struct PointQuery {
    /// The device.
    pub device: DeviceNumber,
    /// One stream, or all.
    pub stream: Option<String>,
    /// Not before.
    pub from: Option<UnixMs>,
    /// Before.
    pub to: Option<UnixMs>,
    /// At most so many rows.
    pub limit: usize,
    /// Where an earlier page ended.
    pub cursor: Option<String>,
}

/// The newest value of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The stream.
    pub stream: String,
    /// When it was measured.
    pub at: UnixMs,
    /// What was measured.
    pub value: Value,
}

/// The newest value of one stream at a device.
#[derive(Clone, Debug, PartialEq)]
pub struct NewestOf {
    /// The device.
    pub device: DeviceNumber,
    /// When it was measured.
    pub at: UnixMs,
    /// What was measured.
    pub value: Value,
}

/// Points.
pub trait Points: Send + Sync {
    /// Keeps points. A second value for the same device, stream and time replaces the first.
    fn append(&self, points: Vec<Point>) -> Later<()>;
    /// Reads points, oldest first.
    fn points(&self, query: PointQuery) -> Later<Page<Point>>;
    /// The newest value of each stream of a device, by name.
    fn latest(&self, device: DeviceNumber) -> Later<Vec<Latest>>;
    /// The newest value of one stream at every device that has it, by number; those after `after`, at most
    /// `limit`.
    fn newest_of(&self, stream: String, after: Option<DeviceNumber>, limit: usize) -> Later<Vec<NewestOf>>;
    /// The names of a device's streams.
    fn streams(&self, device: DeviceNumber) -> Later<Vec<String>>;
}

/// One part of a twin as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredPart {
    /// Its value: a JSON object.
    pub value: String,
    /// How often it has changed.
    pub version: u64,
    /// When it did last; `None` if it never did.
    pub at: Option<UnixMs>,
}

/// A twin as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTwin {
    /// The device.
    pub device: DeviceNumber,
    /// What is wanted of it.
    pub desired: StoredPart,
    /// What it tells of itself.
    pub reported: StoredPart,
    /// A patch of nulls: what is wanted no more and the device still tells of.
    pub dropped: String,
    /// The version of what is wanted that the device has told to have dealt with; 0 if it never did.
    pub acknowledged: u64,
    /// Whether there is something to tell the device.
    pub owed: bool,
}

/// A change of one part of a twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinChange {
    /// The device.
    pub device: DeviceNumber,
    /// Which part.
    pub part: TwinPart,
    /// The version that it made.
    pub version: u64,
    /// When.
    pub at: UnixMs,
    /// Who made it, for people (`token ci`, `device`).
    pub who: String,
    /// What changed: a JSON merge patch from the version before.
    pub patch: String,
    /// Its place among all changes of the twin: they count up.
    pub place: u64,
}

/// Twins of devices. A device that never had anything in its twin has none.
pub trait Twins: Send + Sync {
    /// The devices that something is to be told, each with the version of what is wanted of it.
    fn twins_owed(&self) -> Later<Vec<(DeviceNumber, u64)>>;
    /// The twins of these devices; those that have one.
    fn twins(&self, devices: Vec<DeviceNumber>) -> Later<Vec<StoredTwin>>;
    /// One part of all twins by the number of their devices, as JSON; those after `after`, at most `limit`.
    fn twin_parts(&self, part: TwinPart, after: Option<DeviceNumber>, limit: usize) -> Later<Vec<(DeviceNumber, String)>>;
    /// Writes twins, new or changed, and what changed, all or nothing. Of the changes before the oldest go. A device
    /// that was removed meanwhile has no twin.
    fn put_twins(&self, twins: Vec<StoredTwin>, changes: Vec<TwinChange>) -> Later<()>;
    /// The changes of a twin, newest first; `before` is the cursor.
    fn twin_changes(
        &self,
        device: DeviceNumber,
        part: Option<TwinPart>,
        before: Option<u64>,
        limit: usize,
    ) -> Later<Page<TwinChange>>;
}
