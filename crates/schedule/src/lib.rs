//! Pushes that recur. Each schedule has moments ([`when`]); at each one its push is made anew, with the audience
//! of that moment, by whoever carries pushes out ([`Carrier`]), and what became of it is remembered. A moment is
//! dealt with once: its push has a key of its own against doing it twice, so a crash between the push and the
//! note of it makes no second one.
//!
//! Deliberately absent: HTTP, and what a push is; a schedule holds its JSON and does not read it.

mod cron;
mod runner;
pub mod when;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::Clock;
use contract::store::{Page, ScheduleRun, Schedules as Kept, StoreError, StoredSchedule};
use model::{PushId, UnixMs, limits, text};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::task::JoinHandle;

use when::When;

/// Carries out the push of a schedule.
pub trait Carrier: Send + Sync {
    /// Makes the push that `order` says in JSON, as `sender`; the same `key` again is the same push. Else why there
    /// is none, as a sentence for people.
    fn carry(&self, order: String, sender: String, key: String) -> Pin<Box<dyn Future<Output = Result<PushId, String>> + Send>>;
}

/// What is to recur.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// A name for people.
    pub name: String,
    /// The push, in JSON.
    pub push: String,
    /// When, in JSON.
    pub when: String,
    /// How late a run may be: `None` is the default.
    pub grace_s: Option<u64>,
    /// Who makes it, for people.
    pub sender: String,
}

/// What is to change of a schedule; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct ScheduleEdit {
    /// Its name.
    pub name: Option<String>,
    /// Whether it rests.
    pub paused: Option<bool>,
    /// The push in JSON, and who says so.
    pub push: Option<(String, String)>,
    /// When, in JSON. What lies behind the moment of the change is not made up for.
    pub when: Option<String>,
    /// How late a run may be.
    pub grace_s: Option<u64>,
}

/// Why a schedule was not taken or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScheduleError {
    /// There is none with this number.
    #[error("there is no schedule {0}")]
    Missing(u64),
    /// The name is empty, too long, or no line of text.
    #[error("a schedule's name has 1 to {} bytes and no control characters", limits::NAME_BYTES_MAX)]
    BadName,
    /// Its moments cannot be understood, or never come.
    #[error("when: {0}")]
    BadWhen(String),
    /// A run may not be so late.
    #[error("grace_s is at most {}", limits::SCHEDULE_GRACE_S_MAX)]
    BadGrace,
    /// There are as many as there may be.
    #[error("there are {} schedules or {} MiB of them already; remove some", limits::SCHEDULES_MAX, limits::SCHEDULES_BYTES_MAX >> 20)]
    Full,
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A schedule as it stands.
#[derive(Clone, Debug)]
pub struct View {
    /// What is kept.
    pub schedule: StoredSchedule,
    /// When it runs next.
    pub next: Option<UnixMs>,
}

struct Entry {
    schedule: StoredSchedule,
    when: When,
}

impl Entry {
    fn view(&self) -> View {
        let next = if self.schedule.paused { None } else { self.when.next(self.schedule.done) };
        View { schedule: self.schedule.clone(), next }
    }
}

/// The room of schedules.
pub struct Schedules {
    store: Arc<dyn Kept>,
    clock: Arc<dyn Clock>,
    entries: Mutex<BTreeMap<u64, Entry>>,
    // Who changes a schedule, runs it included, does so alone: what is in memory is what is on disk.
    turn: Turn<u64>,
    changed: Notify,
    stopping: AtomicBool,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Schedules {
    /// Reads all schedules. They run from [`start`](Schedules::start) on.
    pub async fn open(store: Arc<dyn Kept>, clock: Arc<dyn Clock>) -> Result<Arc<Schedules>, StoreError> {
        let (kept, last) = store.schedules().await?;
        let entry = |schedule: StoredSchedule| {
            // A zone that a system update took away, perhaps: the schedule stays, and has no moments.
            let when = When::read(&schedule.when, schedule.created).unwrap_or_else(|why| {
                tracing::error!(schedule = schedule.id, %why, "a schedule cannot be understood any more and does not run");
                When::At(UnixMs(i64::MIN))
            });
            (schedule.id, Entry { schedule, when })
        };
        Ok(Arc::new(Schedules {
            store,
            clock,
            entries: Mutex::new(kept.into_iter().map(entry).collect()),
            turn: Turn::new(last),
            changed: Notify::new(),
            stopping: AtomicBool::new(false),
            task: Mutex::default(),
        }))
    }

    /// Runs them, on the current runtime, until [`close`](Schedules::close).
    pub fn start(self: &Arc<Schedules>, carrier: Arc<dyn Carrier>) {
        *self.task.lock() = Some(tokio::spawn(runner::run(self.clone(), carrier)));
    }

    /// Deals with everything that is due now, as the task does whenever it wakes.
    pub async fn look(&self, carrier: &dyn Carrier) -> Result<(), StoreError> {
        runner::turn(self, carrier).await
    }

    /// Stops; a run in the middle is finished.
    pub async fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.changed.notify_one();
        let task = self.task.lock().take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    /// Takes a schedule; it is on disk when this returns.
    pub async fn create(&self, new: NewSchedule) -> Result<View, ScheduleError> {
        if !text::is_name(&new.name) {
            return Err(ScheduleError::BadName);
        }
        let grace_s = new.grace_s.unwrap_or(limits::SCHEDULE_GRACE_S_DEFAULT);
        if grace_s > limits::SCHEDULE_GRACE_S_MAX {
            return Err(ScheduleError::BadGrace);
        }
        let now = self.clock.unix();
        let when = When::read(&new.when, now).map_err(ScheduleError::BadWhen)?;
        if when.next(now).is_none() {
            return Err(ScheduleError::BadWhen("that moment is over".into()));
        }
        let mut last = self.turn.lock().await;
        {
            let entries = self.entries.lock();
            let bytes: usize = entries.values().map(|entry| entry.schedule.push.len()).sum();
            if entries.len() >= limits::SCHEDULES_MAX || bytes + new.push.len() > limits::SCHEDULES_BYTES_MAX {
                return Err(ScheduleError::Full);
            }
        }
        let schedule = StoredSchedule {
            id: *last + 1,
            name: new.name,
            push: new.push,
            when: new.when,
            sender: new.sender,
            paused: false,
            grace_s,
            created: now,
            done: now,
        };
        *last += 1;
        self.store.put_schedule(schedule.clone()).await?;
        let entry = Entry { schedule, when };
        let view = entry.view();
        self.entries.lock().insert(view.schedule.id, entry);
        self.changed.notify_one();
        Ok(view)
    }

    /// Changes what is given, pauses, or goes on. What passed while it was paused is not made up for.
    pub async fn edit(&self, id: u64, edit: ScheduleEdit) -> Result<View, ScheduleError> {
        let ScheduleEdit { name, paused, push, when, grace_s } = edit;
        if name.as_ref().is_some_and(|name| !text::is_name(name)) {
            return Err(ScheduleError::BadName);
        }
        if grace_s.is_some_and(|grace_s| grace_s > limits::SCHEDULE_GRACE_S_MAX) {
            return Err(ScheduleError::BadGrace);
        }
        let _turn = self.turn.lock().await;
        let mut schedule = self.get(id)?.schedule;
        let now = self.clock.unix();
        // Steps of seconds are counted from when it was made, also after a change.
        let new_when = match when {
            None => None,
            Some(text) => {
                let when = When::read(&text, schedule.created).map_err(ScheduleError::BadWhen)?;
                if when.next(now).is_none() {
                    return Err(ScheduleError::BadWhen("that moment is over".into()));
                }
                schedule.when = text;
                Some(when)
            }
        };
        if new_when.is_some() || (schedule.paused && paused == Some(false)) {
            schedule.done = schedule.done.max(now);
        }
        if let Some((push, sender)) = push {
            let entries = self.entries.lock();
            let bytes: usize =
                entries.values().filter(|other| other.schedule.id != id).map(|other| other.schedule.push.len()).sum();
            if bytes + push.len() > limits::SCHEDULES_BYTES_MAX {
                return Err(ScheduleError::Full);
            }
            (schedule.push, schedule.sender) = (push, sender);
        }
        schedule.name = name.unwrap_or(schedule.name);
        schedule.paused = paused.unwrap_or(schedule.paused);
        schedule.grace_s = grace_s.unwrap_or(schedule.grace_s);
        self.store.put_schedule(schedule.clone()).await?;
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&id).ok_or(ScheduleError::Missing(id))?;
        entry.schedule = schedule;
        entry.when = new_when.unwrap_or(entry.when.clone());
        self.changed.notify_one();
        Ok(entry.view())
    }

    /// The next moments that a schedule would have if it were made now, at most so many.
    pub fn moments(&self, when: &str, count: usize) -> Result<Vec<UnixMs>, ScheduleError> {
        let now = self.clock.unix();
        let when = When::read(when, now).map_err(ScheduleError::BadWhen)?;
        let moments: Vec<UnixMs> = std::iter::successors(when.next(now), |at| when.next(*at)).take(count).collect();
        if moments.is_empty() { Err(ScheduleError::BadWhen("that moment is over".into())) } else { Ok(moments) }
    }

    /// Removes a schedule with its log; its pushes stay.
    pub async fn remove(&self, id: u64) -> Result<(), ScheduleError> {
        let _turn = self.turn.lock().await;
        self.get(id)?;
        self.store.delete_schedule(id).await?;
        self.entries.lock().remove(&id);
        Ok(())
    }

    /// One schedule.
    pub fn get(&self, id: u64) -> Result<View, ScheduleError> {
        self.entries.lock().get(&id).map(Entry::view).ok_or(ScheduleError::Missing(id))
    }

    /// Schedules by number, those after `after`.
    pub fn list(&self, after: u64, limit: usize) -> Page<View> {
        let entries = self.entries.lock();
        let mut items: Vec<View> =
            entries.range(after.saturating_add(1)..).take(limit + 1).map(|(_, entry)| entry.view()).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|view| view.schedule.id.to_string());
        Page { items, next }
    }

    /// What became of a schedule's moments, newest first.
    pub async fn runs(&self, id: u64, before: Option<UnixMs>, limit: usize) -> Result<Page<ScheduleRun>, ScheduleError> {
        self.get(id)?;
        Ok(self.store.runs(id, before, limit).await?)
    }
}
