//! Schedules and their runs on disk.

use contract::store::{Later, Page, ScheduleRun, Schedules, StoredSchedule};
use model::{PushId, UnixMs, limits};
use rusqlite::{Row, params};

use crate::Store;
use crate::rows::{give, last_given, list, one_more, page, signed};
use crate::trouble::{Outcome, damaged};

const RUN: &str = "schedule, at, ran, push, missed, detail";

impl Schedules for Store {
    fn schedules(&self) -> Later<(Vec<StoredSchedule>, u64)> {
        self.reader.read(|db| {
            let sql = "SELECT id, name, push, due, sender, paused, grace_s, created, done FROM schedules ORDER BY id";
            Ok((list(db, sql, &[], schedule)?, last_given(db, "schedule")?))
        })
    }

    fn put_schedule(&self, schedule: StoredSchedule) -> Later<()> {
        self.writer.grow(move |db| {
            let id = signed(schedule.id)?;
            give(db, "schedule", id)?;
            db.prepare_cached(
                "INSERT INTO schedules (id, name, push, due, sender, paused, grace_s, created, done)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, push = excluded.push, due = excluded.due,
                 sender = excluded.sender, paused = excluded.paused, grace_s = excluded.grace_s, done = excluded.done",
            )?
            .execute(params![
                id,
                schedule.name,
                schedule.push,
                schedule.when,
                schedule.sender,
                schedule.paused,
                signed(schedule.grace_s)?,
                schedule.created.0,
                schedule.done.0
            ])?;
            Ok(())
        })
    }

    fn delete_schedule(&self, id: u64) -> Later<()> {
        self.writer.write(move |db| {
            db.prepare_cached("DELETE FROM schedules WHERE id = ?1")?.execute([signed(id)?])?;
            Ok(())
        })
    }

    fn put_runs(&self, id: u64, done: UnixMs, runs: Vec<ScheduleRun>) -> Later<()> {
        self.writer.write(move |db| {
            let id = signed(id)?;
            // One that was removed meanwhile has no runs any more.
            if db.prepare_cached("UPDATE schedules SET done = ?2 WHERE id = ?1")?.execute(params![id, done.0])? == 0 {
                return Ok(());
            }
            // What was missed by a clock that has been set back since may run after all.
            let mut insert =
                db.prepare_cached(&format!("INSERT OR REPLACE INTO runs ({RUN}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"))?;
            for run in runs {
                let push = run.push.map(|push| signed(push.0)).transpose()?;
                insert.execute(params![id, run.at.0, run.ran.0, push, signed(run.missed)?, run.detail])?;
            }
            db.prepare_cached(
                "DELETE FROM runs WHERE schedule = ?1
                 AND at <= (SELECT at FROM runs WHERE schedule = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![id, limits::SCHEDULE_RUNS_KEPT as i64])?;
            Ok(())
        })
    }

    fn run_of(&self, id: u64, at: UnixMs) -> Later<Option<ScheduleRun>> {
        self.reader.read(move |db| {
            let sql = format!("SELECT {RUN} FROM runs WHERE schedule = ?1 AND at = ?2");
            Ok(list(db, &sql, &[&signed(id)?, &at.0], run)?.pop())
        })
    }

    fn runs(&self, id: u64, before: Option<UnixMs>, limit: usize) -> Later<Page<ScheduleRun>> {
        self.reader.read(move |db| {
            let before = before.map_or(i64::MAX, |at| at.0);
            let sql = format!("SELECT {RUN} FROM runs WHERE schedule = ?1 AND at < ?2 ORDER BY at DESC LIMIT ?3");
            let items = list(db, &sql, &[&signed(id)?, &before, &one_more(limit)], run)?;
            Ok(page(items, limit, |run| run.at.0.to_string()))
        })
    }
}

fn number(value: i64) -> Outcome<u64> {
    u64::try_from(value).map_err(|_| damaged("a number of a schedule is negative"))
}

fn schedule(row: &Row<'_>) -> Outcome<StoredSchedule> {
    Ok(StoredSchedule {
        id: number(row.get(0)?)?,
        name: row.get(1)?,
        push: row.get(2)?,
        when: row.get(3)?,
        sender: row.get(4)?,
        paused: row.get(5)?,
        grace_s: number(row.get(6)?)?,
        created: UnixMs(row.get(7)?),
        done: UnixMs(row.get(8)?),
    })
}

fn run(row: &Row<'_>) -> Outcome<ScheduleRun> {
    Ok(ScheduleRun {
        at: UnixMs(row.get(1)?),
        ran: UnixMs(row.get(2)?),
        push: row.get::<_, Option<i64>>(3)?.map(|id| number(id).map(PushId)).transpose()?,
        missed: number(row.get(4)?)?,
        detail: row.get(5)?,
    })
}
