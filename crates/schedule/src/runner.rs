//! The task that runs what is due: one schedule after the other, each time asking the wall clock anew, which
//! may have been set either way since.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use contract::store::{ScheduleRun, StoreError, StoredSchedule};
use model::{UnixMs, limits};

use crate::when::When;
use crate::{Carrier, Schedules};

/// The longest sleep: the wall clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(30);
/// How soon it is tried again when the store could not keep a run.
const RETRY: Duration = Duration::from_secs(1);

/// What is due of a schedule.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    /// The moment that is run: the last one, unless it is too long ago.
    run: Option<UnixMs>,
    /// Those before, and it too if it is too late: the first of them, and how many.
    missed: Option<(UnixMs, u64)>,
    /// Up to here all is dealt with then.
    done: UnixMs,
}

/// What is due at `now`. All of several that have passed count as one, the last.
fn due(schedule: &StoredSchedule, when: &When, now: UnixMs) -> Option<Due> {
    if schedule.paused {
        return None;
    }
    let first = when.next(schedule.done).filter(|at| *at <= now)?;
    let last = when.last(schedule.done, now)?;
    let in_time = now.0 - last.0 <= schedule.grace_s as i64 * 1000;
    let missed = when.count(schedule.done, last) + u64::from(!in_time);
    Some(Due { run: in_time.then_some(last), missed: (missed > 0).then_some((first, missed)), done: last })
}

/// Runs until the room closes.
pub(crate) async fn run(room: Arc<Schedules>, carrier: Arc<dyn Carrier>) {
    while !room.stopping.load(Ordering::Relaxed) {
        let nap = match room.look(&*carrier).await {
            Ok(()) => nap(&room),
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "a schedule's run could not be kept; trying again");
                RETRY
            }
        };
        tokio::select! {
            () = room.changed.notified() => {}
            () = tokio::time::sleep(nap) => {}
        }
    }
}

fn nap(room: &Schedules) -> Duration {
    let now = room.clock.unix();
    let next = room.entries.lock().values().filter_map(|entry| entry.view().next).min();
    next.map_or(NAP, |at| NAP.min(Duration::from_millis(u64::try_from(at.0 - now.0).unwrap_or(0))))
}

/// Deals with everything that is due now.
pub(crate) async fn turn(room: &Schedules, carrier: &dyn Carrier) -> Result<(), StoreError> {
    let now = room.clock.unix();
    let mut found = Vec::new();
    for (id, entry) in room.entries.lock().iter_mut() {
        // The clock was set back: what comes now is to be looked at again. What has run is not run twice, by the log.
        entry.schedule.done = entry.schedule.done.min(now);
        found.extend(due(&entry.schedule, &entry.when, now).map(|_| *id));
    }
    for id in found {
        if room.stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        one(room, carrier, id, now).await?;
    }
    Ok(())
}

async fn one(room: &Schedules, carrier: &dyn Carrier, id: u64, now: UnixMs) -> Result<(), StoreError> {
    let _turn = room.turn.lock().await;
    // It may have been paused or removed meanwhile.
    let asked =
        room.entries.lock().get(&id).and_then(|entry| Some((due(&entry.schedule, &entry.when, now)?, entry.schedule.clone())));
    let Some((due, schedule)) = asked else { return Ok(()) };
    let mut runs = Vec::new();
    if let Some((at, missed)) = due.missed {
        let counted = if missed == limits::SCHEDULE_MISSED_COUNTED_MAX { "at least " } else { "" };
        let detail = match missed {
            1 => "the server was not running then, or its clock was set".to_owned(),
            _ => format!("{counted}{missed} moments passed while the server was not running, or its clock was set"),
        };
        runs.push(ScheduleRun { at, ran: now, push: None, missed, detail });
    }
    if let Some(at) = due.run
        && room.store.run_of(id, at).await?.is_none_or(|run| run.missed > 0)
    {
        let sender = format!("schedule {id} ({})", schedule.name);
        let key = format!("espush schedule {id} at {}", at.0);
        let (push, detail) = match carrier.carry(schedule.push, sender, key).await {
            Ok(push) => (Some(push), String::new()),
            Err(why) => (None, why),
        };
        runs.push(ScheduleRun { at, ran: room.clock.unix(), push, missed: 0, detail });
    }
    if !runs.is_empty() {
        room.store.put_runs(id, due.done, runs).await?;
    }
    if let Some(entry) = room.entries.lock().get_mut(&id) {
        entry.schedule.done = due.done;
    }
    Ok(())
}
