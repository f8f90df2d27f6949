//! Schedules and their runs survive as they were written.

use contract::store::{ScheduleRun, Schedules, StoredSchedule};
use model::{PushId, UnixMs, limits};
use store::Store;

fn schedule(id: u64) -> StoredSchedule {
    StoredSchedule {
        id,
        name: format!("night {id}"),
        push: r#"{"audience":"all","text":"off"}"#.into(),
        when: r#"{"daily":"22:00"}"#.into(),
        sender: "token ci".into(),
        paused: false,
        grace_s: 3600,
        created: UnixMs(5),
        done: UnixMs(5),
    }
}

fn run(at: i64) -> ScheduleRun {
    ScheduleRun { at: UnixMs(at), ran: UnixMs(at + 1), push: Some(PushId(7)), missed: 0, detail: String::new() }
}

#[tokio::test]
async fn they_come_back_with_their_runs_and_go_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for id in [1, 2, 3] {
        store.put_schedule(schedule(id)).await.unwrap();
    }
    let changed = StoredSchedule {
        name: "dawn".into(),
        push: r#"{"audience":"all","text":"on"}"#.into(),
        when: r#"{"daily":"06:00"}"#.into(),
        sender: "browser".into(),
        paused: true,
        grace_s: 60,
        created: UnixMs(77),
        done: UnixMs(9),
        ..schedule(2)
    };
    store.put_schedule(changed.clone()).await.unwrap();
    let missed = ScheduleRun { push: None, missed: 12, detail: "why".into(), ..run(200) };
    store.put_runs(1, UnixMs(300), vec![run(100), missed.clone(), run(300)]).await.unwrap();
    store.put_runs(3, UnixMs(300), vec![run(100)]).await.unwrap();
    store.delete_schedule(3).await.unwrap();
    store.put_runs(3, UnixMs(400), vec![run(400)]).await.unwrap(); // gone: no harm
    store.close().await;

    let store = Store::open(dir.path()).unwrap();
    let (all, last) = store.schedules().await.unwrap();
    let wanted = [StoredSchedule { done: UnixMs(300), ..schedule(1) }, StoredSchedule { created: UnixMs(5), ..changed }];
    assert_eq!((&all[..], last), (&wanted[..], 3), "a number is not given twice");
    assert_eq!(store.run_of(1, UnixMs(200)).await.unwrap(), Some(missed.clone()));
    assert_eq!(store.run_of(3, UnixMs(100)).await.unwrap(), None);
    let page = store.runs(1, None, 2).await.unwrap();
    assert_eq!((page.items, page.next.as_deref()), (vec![run(300), missed], Some("200")));
    assert_eq!(store.runs(1, Some(UnixMs(200)), 2).await.unwrap().items, [run(100)]);
    store.put_runs(1, UnixMs(300), vec![run(200)]).await.unwrap();
    assert_eq!(store.run_of(1, UnixMs(200)).await.unwrap(), Some(run(200)), "what was missed ran after all");
}

#[tokio::test]
async fn only_so_many_runs_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_schedule(schedule(1)).await.unwrap();
    store.put_schedule(schedule(2)).await.unwrap();
    store.put_runs(2, UnixMs(0), vec![run(1)]).await.unwrap();
    let kept = limits::SCHEDULE_RUNS_KEPT as i64;
    store.put_runs(1, UnixMs(0), (1..=kept + 3).map(run).collect()).await.unwrap();
    assert_eq!(store.run_of(1, UnixMs(3)).await.unwrap(), None);
    assert_eq!(store.runs(1, None, 5_000).await.unwrap().items.len() as i64, kept);
    assert_eq!(store.runs(2, None, 9).await.unwrap().items.len(), 1);
}
