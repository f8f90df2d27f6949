//! Schedules on a real store, with a clock that only the test moves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use contract::Clock;
use model::{Millis, PushId, UnixMs, limits};
use parking_lot::Mutex;
use schedule::{Carrier, NewSchedule, ScheduleEdit, ScheduleError, Schedules};
use store::Store;
use tokio::sync::Notify;

fn named(name: &str, paused: Option<bool>) -> ScheduleEdit {
    ScheduleEdit { name: Some(name.into()), paused, ..ScheduleEdit::default() }
}

fn paused(paused: bool) -> ScheduleEdit {
    ScheduleEdit { paused: Some(paused), ..ScheduleEdit::default() }
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The wall clock, and what was carried out: keys, each a push.
struct World {
    now: AtomicI64,
    carried: Mutex<Vec<(String, String)>>,
    refuse: Mutex<Option<String>>,
    done: Notify,
}

impl Clock for World {
    fn unix(&self) -> UnixMs {
        UnixMs(self.now.load(Ordering::Relaxed))
    }
    fn millis(&self) -> Millis {
        Millis(0)
    }
}

impl Carrier for World {
    fn carry(&self, order: String, _: String, key: String) -> Pin<Box<dyn Future<Output = Result<PushId, String>> + Send>> {
        let mut carried = self.carried.lock();
        let result = match self.refuse.lock().clone() {
            Some(why) => Err(why),
            None => {
                let place = carried.iter().position(|(_, known)| *known == key).unwrap_or(carried.len());
                if place == carried.len() {
                    carried.push((order, key));
                }
                Ok(PushId(place as u64 + 1))
            }
        };
        self.done.notify_one();
        Box::pin(async move { result })
    }
}

fn at(text: &str) -> i64 {
    UnixMs::parse(text).unwrap().0
}

struct House {
    dir: tempfile::TempDir,
    world: Arc<World>,
    store: Option<Arc<Store>>,
    room: Arc<Schedules>,
}

impl House {
    async fn new(now: &str) -> House {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(World {
            now: AtomicI64::new(at(now)),
            carried: Mutex::default(),
            refuse: Mutex::default(),
            done: Notify::new(),
        });
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let room = Schedules::open(store.clone(), world.clone()).await.unwrap();
        House { dir, world, store: Some(store), room }
    }

    /// Stops, sets the clock, starts again.
    async fn restart(&mut self, now: i64) {
        self.room.close().await;
        self.store.take().unwrap().close().await;
        self.world.now.store(now, Ordering::Relaxed);
        let store = Arc::new(Store::open(self.dir.path()).unwrap());
        self.room = Schedules::open(store.clone(), self.world.clone()).await.unwrap();
        self.store = Some(store);
        self.look().await;
    }

    async fn add(&self, when: &str) -> u64 {
        let new =
            NewSchedule { name: "night".into(), push: "{}".into(), when: when.into(), grace_s: None, sender: "test".into() };
        self.room.create(new).await.unwrap().schedule.id
    }

    /// Sets the clock; the room looks at it.
    async fn set(&self, now: i64) {
        self.world.now.store(now, Ordering::Relaxed);
        self.look().await;
    }

    async fn look(&self) {
        self.room.look(&*self.world).await.unwrap();
    }

    /// The log, oldest first: `07:30 push 1`, `07:30 missed 3`, `07:30 why`.
    async fn log(&self, id: u64) -> Vec<String> {
        let mut items = self.room.runs(id, None, 100).await.unwrap().items;
        items.reverse();
        let shown = |run: &contract::store::ScheduleRun| {
            let time = &run.at.rfc3339()[11..16];
            match (run.push, run.missed) {
                (Some(push), _) => format!("{time} push {push}"),
                (None, 0) => format!("{time} {}", run.detail),
                (None, missed) => format!("{time} missed {missed}"),
            }
        };
        items.iter().map(shown).collect()
    }

    fn next(&self, id: u64) -> Option<String> {
        self.room.get(id).unwrap().next.map(|at| at.rfc3339()[..16].to_owned())
    }
}

#[tokio::test]
async fn each_moment_is_run_once_and_written_down() {
    let house = House::new("2026-11-20T07:00:00Z").await;
    let id = house.add(r#"{"daily":"07:30"}"#).await;
    assert_eq!(house.next(id).unwrap(), "2026-11-20T07:30");
    house.set(at("2026-11-20T07:29:59.999Z")).await;
    assert!(house.log(id).await.is_empty());
    for _ in 0..3 {
        house.set(at("2026-11-20T07:30:00Z")).await;
    }
    *house.world.refuse.lock() = Some("no device is in this audience".into());
    house.set(at("2026-11-21T07:30:01Z")).await;
    assert_eq!(house.log(id).await, ["07:30 push 1", "07:30 no device is in this audience"]);
    assert_eq!(house.next(id).unwrap(), "2026-11-22T07:30");
}

#[tokio::test]
async fn the_task_runs_what_is_due_and_ends_when_the_room_closes() {
    let house = House::new("2026-11-20T07:00:00Z").await;
    let id = house.add(r#"{"daily":"07:30"}"#).await;
    house.world.now.store(at("2026-11-20T07:30:00Z"), Ordering::Relaxed);
    house.room.start(house.world.clone());
    house.world.done.notified().await;
    house.room.close().await;
    assert_eq!(house.log(id).await, ["07:30 push 1"]);
}

#[tokio::test]
async fn a_clock_set_forward_is_one_run_and_the_others_are_missed() {
    let house = House::new("2026-11-20T07:00:00Z").await;
    let id = house.add(r#"{"cron":"*/10 * * * *"}"#).await;
    house.set(at("2026-11-20T10:05:00Z")).await;
    assert_eq!(house.log(id).await, ["07:10 missed 17", "10:00 push 1"]);
    house.set(at("2026-11-20T10:10:00Z")).await;
    assert_eq!(house.log(id).await[2..], ["10:10 push 2"]);
}

#[tokio::test]
async fn a_clock_set_back_runs_nothing_twice_and_goes_on() {
    let house = House::new("2026-11-20T07:00:00Z").await;
    let id = house.add(r#"{"cron":"*/10 * * * *"}"#).await;
    for minute in [10, 20, 30] {
        house.set(at("2026-11-20T07:00:00Z") + minute * MINUTE).await;
    }
    let all = ["07:10 push 1", "07:20 push 2", "07:30 push 3"];
    for minute in [15, 19, 20, 25, 30] {
        house.set(at("2026-11-20T07:00:00Z") + minute * MINUTE).await;
        assert_eq!(house.log(id).await, all);
    }
    house.set(at("2026-11-20T07:40:00Z")).await;
    assert_eq!(house.log(id).await[3..], ["07:40 push 4"]);
    // A clock that was years ahead does not stop it until then: what was missed by it runs when its time comes.
    house.set(at("2030-01-01T00:00:30Z")).await;
    house.set(at("2026-11-20T07:45:00Z")).await;
    assert_eq!(house.next(id).unwrap(), "2026-11-20T07:50");
    house.set(at("2026-11-20T07:50:00Z")).await;
    assert_eq!(house.log(id).await[3..], ["07:40 push 4", "07:50 push 6", "00:00 push 5"]);
}

#[tokio::test]
async fn after_a_time_of_not_running_the_last_is_late_or_missed() {
    for (down, wanted) in [
        (HOUR, vec!["07:30 push 1"]),
        (90 * MINUTE, vec!["07:30 push 1"]),
        (91 * MINUTE, vec!["07:30 missed 1"]),
        (48 * HOUR + 45 * MINUTE, vec!["07:30 missed 2", "07:30 push 1"]),
        (50 * HOUR, vec!["07:30 missed 3"]),
    ] {
        let mut house = House::new("2026-11-20T07:00:00Z").await;
        let id = house.add(r#"{"daily":"07:30"}"#).await;
        house.restart(at("2026-11-20T07:00:00Z") + down).await;
        assert_eq!(house.log(id).await, wanted, "{down}");
        house.restart(at("2026-11-20T07:00:00Z") + down).await;
        assert_eq!(house.log(id).await, wanted, "{down}: nothing more at the next start");
    }
}

#[tokio::test]
async fn a_crash_between_the_push_and_the_note_makes_no_second_push() {
    let mut house = House::new("2026-11-20T07:00:00Z").await;
    let id = house.add(r#"{"daily":"07:30"}"#).await;
    let key = format!("espush schedule {id} at {}", at("2026-11-20T07:30:00Z"));
    house.world.carried.lock().push(("{}".into(), key));
    house.restart(at("2026-11-20T07:31:00Z")).await;
    assert_eq!((house.log(id).await, house.world.carried.lock().len()), (vec!["07:30 push 1".to_owned()], 1));
}

#[tokio::test]
async fn what_passes_in_a_pause_is_not_made_up_for() {
    let mut house = House::new("2026-11-20T07:00:00Z").await;
    let id = house.add(r#"{"cron":"0 * * * *"}"#).await;
    assert!(house.room.edit(id, named("dawn", Some(true))).await.unwrap().next.is_none());
    house.restart(at("2026-11-20T10:30:00Z")).await;
    let view = house.room.edit(id, paused(false)).await.unwrap();
    assert_eq!((view.schedule.name.as_str(), house.next(id).unwrap().as_str()), ("dawn", "2026-11-20T11:00"));
    house.set(at("2026-11-20T11:00:00Z")).await;
    assert_eq!(house.log(id).await, ["11:00 push 1"]);
}

#[tokio::test]
async fn what_is_changed_counts_from_then_on_and_through_a_restart() {
    let mut house = House::new("2026-11-20T07:00:00Z").await;
    let id = house.add(r#"{"daily":"07:30"}"#).await;
    house.restart(at("2026-11-20T09:10:00Z") - 2 * HOUR).await;
    house.set(at("2026-11-20T09:10:00Z")).await;
    // 09:00 lies behind: it is not made up for, though it would be within the grace.
    let edit = ScheduleEdit {
        push: Some(("{\"text\":\"on\"}".into(), "browser".into())),
        when: Some(r#"{"daily":"09:00"}"#.into()),
        grace_s: Some(7200),
        ..ScheduleEdit::default()
    };
    let view = house.room.edit(id, edit).await.unwrap();
    assert_eq!((view.schedule.sender.as_str(), view.schedule.grace_s, view.schedule.name.as_str()), ("browser", 7200, "night"));
    house.look().await;
    let ran = house.log(id).await;
    house.restart(at("2026-11-21T08:59:59Z")).await;
    assert_eq!((house.next(id).as_deref(), house.log(id).await), (Some("2026-11-21T09:00"), ran));
    house.set(at("2026-11-21T09:00:00Z")).await;
    assert_eq!(house.world.carried.lock().last().unwrap().0, "{\"text\":\"on\"}");
    let over = ScheduleEdit { when: Some(r#"{"at":"2026-11-20T07:00:00Z"}"#.into()), ..ScheduleEdit::default() };
    assert!(matches!(house.room.edit(id, over).await, Err(ScheduleError::BadWhen(_))));
    let late = ScheduleEdit { grace_s: Some(limits::SCHEDULE_GRACE_S_MAX + 1), ..ScheduleEdit::default() };
    assert!(matches!(house.room.edit(id, late).await, Err(ScheduleError::BadGrace)));
    assert_eq!(house.next(id).as_deref(), Some("2026-11-22T09:00"), "what was refused changed nothing");
}

#[tokio::test]
async fn moments_can_be_asked_for_before() {
    let house = House::new("2026-11-20T07:00:00Z").await;
    let moments = |when: &str| {
        house.room.moments(when, 3).map(|all| all.iter().map(|at| at.rfc3339()[5..16].to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(moments(r#"{"daily":"07:30"}"#).unwrap(), ["11-20T07:30", "11-21T07:30", "11-22T07:30"]);
    assert_eq!(moments(r#"{"at":"2026-11-20T08:00:00Z"}"#).unwrap(), ["11-20T08:00"]);
    for bad in ["{}", r#"{"at":5}"#, r#"{"cron":"* * 30 2 *"}"#] {
        assert!(matches!(moments(bad), Err(ScheduleError::BadWhen(_))), "{bad}");
    }
}

#[tokio::test]
async fn once_is_once_and_what_is_removed_is_gone() {
    let house = House::new("2026-11-20T07:00:00Z").await;
    let (once, other) = (house.add(r#"{"at":"2026-11-20T08:00:00Z"}"#).await, house.add(r#"{"every_s":60}"#).await);
    house.room.remove(other).await.unwrap();
    assert!(matches!(house.room.get(other), Err(ScheduleError::Missing(2))));
    house.set(at("2026-11-20T08:00:00Z")).await;
    assert_eq!((house.log(once).await, house.next(once)), (vec!["08:00 push 1".to_owned()], None));
    assert_eq!(house.room.list(0, 9).items.len(), 1);
    assert_eq!(house.add(r#"{"every_s":60}"#).await, 3);
    let first = house.room.list(0, 1);
    assert_eq!((first.items.len(), first.next.as_deref()), (1, Some("1")));
    assert_eq!(house.room.list(1, 1).next, None);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let house = House::new("2026-11-20T07:00:00Z").await;
    let new = |name: &str, when: &str, grace_s| NewSchedule {
        name: name.into(),
        push: "{}".into(),
        when: when.into(),
        grace_s,
        sender: "test".into(),
    };
    let hourly = r#"{"cron":"@hourly"}"#;
    assert!(matches!(house.room.create(new("", hourly, None)).await, Err(ScheduleError::BadName)));
    assert!(matches!(house.room.create(new("n", "{}", None)).await, Err(ScheduleError::BadWhen(_))));
    assert!(matches!(house.room.create(new("n", r#"{"at":5}"#, None)).await, Err(ScheduleError::BadWhen(_))));
    let long = Some(limits::SCHEDULE_GRACE_S_MAX + 1);
    assert!(matches!(house.room.create(new("n", hourly, long)).await, Err(ScheduleError::BadGrace)));
    let large = NewSchedule { push: "x".repeat(limits::SCHEDULES_BYTES_MAX + 1), ..new("n", hourly, None) };
    assert!(matches!(house.room.create(large).await, Err(ScheduleError::Full)));
    assert!(matches!(house.room.edit(9, paused(true)).await, Err(ScheduleError::Missing(9))));
    assert!(matches!(house.room.edit(9, named("\n", None)).await, Err(ScheduleError::BadName)));
}
