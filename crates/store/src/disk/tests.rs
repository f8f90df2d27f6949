//! What a failing disk may and may not do to a store: an acknowledgement never comes before its fsync, an
//! error ends all promises, a full disk ends only growth, and a power cut costs nothing acknowledged.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};

use contract::store::{Points, Registry, StoreError, StoredToken};
use contract::{Alarm, Keeping};
use model::{DeviceNumber, Point, Role, UnixMs, Value};
use rusqlite::ffi;

use crate::{Budget, Store};

type Told = Arc<Mutex<Vec<(Alarm, bool, String)>>>;

fn watched(dir: &Path, budget: Budget) -> (Store, Told) {
    let told = Told::default();
    let to = told.clone();
    let alarms = Box::new(move |alarm, raised, why: &str| to.lock().unwrap().push((alarm, raised, why.to_owned())));
    (Store::open_with(dir, budget, alarms).unwrap(), told)
}

fn token(id: u64) -> StoredToken {
    StoredToken {
        id,
        name: format!("t{id}"),
        role: Role::Viewer,
        hash: [7; 32],
        created: UnixMs(0),
        expires: None,
        scopes: Default::default(),
        query: String::new(),
        ended: false,
    }
}

async fn ids(store: &Store) -> Vec<u64> {
    store.load().await.unwrap().tokens.iter().map(|token| token.id).collect()
}

fn point() -> Point {
    Point { device: DeviceNumber(1), stream: "t".into(), at: UnixMs(1), value: Value::Number(1.0) }
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_is_acknowledged_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (store, told) = watched(dir.path(), Budget::default());
    store.put_token(token(1)).await.unwrap();
    let faults = &store.watch.disk.faults;
    faults.fail_syncs(Some(ffi::SQLITE_IOERR_FSYNC));
    assert!(matches!(store.put_token(token(2)).await, Err(StoreError::Disk(_))));
    // The next fsync would succeed: the kernel has forgotten what it could not write.
    faults.fail_syncs(None);
    for write in [store.put_token(token(3)), store.delete_token(1), store.append(vec![point()])] {
        let error = write.await.unwrap_err();
        let why = error.to_string();
        assert!(matches!(error, StoreError::Disk(_)), "{why}");
        assert!(why.contains("fsync") && why.contains("espush.db-wal") && why.contains("then restart espush"), "{why}");
    }
    assert_eq!(ids(&store).await, [1], "reading goes on");
    assert_eq!(store.headroom().keeping(), Keeping::Nothing);
    assert!(store.standing().failed.is_some());
    assert!(matches!(&told.lock().unwrap()[..], [(Alarm::DiskFailed, true, _)]), "told once");
    store.close().await;
    let store = Store::open(dir.path()).unwrap();
    assert!(ids(&store).await.contains(&1));
    store.put_token(token(4)).await.unwrap();
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_acknowledged_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = watched(dir.path(), Budget::default());
    let faults = &store.watch.disk.faults;
    faults.fail_writes(Some(ffi::SQLITE_IOERR_WRITE));
    assert!(matches!(store.put_token(token(1)).await, Err(StoreError::Disk(_))));
    faults.fail_writes(None);
    assert!(matches!(store.put_token(token(1)).await, Err(StoreError::Disk(_))));
}

/// Folding the log in happens behind a commit that is good: it is acknowledged, and the next is not.
#[tokio::test]
async fn a_failure_behind_a_commit_ends_the_promises_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = watched(dir.path(), Budget::default());
    store.put_token(token(1)).await.unwrap();
    store.watch.disk.fail(|| "fsync of espush.db".to_owned());
    assert!(matches!(store.put_token(token(2)).await, Ok(()) | Err(StoreError::Disk(_))));
    assert!(matches!(store.put_token(token(3)).await, Err(StoreError::Disk(_))));
}

#[tokio::test]
async fn a_full_disk_refuses_growth_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (store, told) = watched(dir.path(), Budget::default());
    store.put_token(token(1)).await.unwrap();
    let faults = &store.watch.disk.faults;
    faults.fail_writes(Some(ffi::SQLITE_FULL));
    assert!(matches!(store.put_token(token(2)).await, Err(StoreError::Full(_))));
    faults.fail_writes(None);
    store.put_token(token(3)).await.unwrap();
    assert_eq!(ids(&store).await, [1, 3], "nothing acknowledged is lost, nothing refused is kept");
    assert_eq!(store.headroom().keeping(), Keeping::All);
    let told: Vec<(Alarm, bool)> = told.lock().unwrap().iter().map(|(alarm, raised, _)| (*alarm, *raised)).collect();
    assert_eq!(told, [(Alarm::StoreFull, true), (Alarm::StoreFull, false)]);
}

#[tokio::test]
async fn a_budget_refuses_growth_and_lets_the_rest_go_on() {
    const MIB: u64 = 1024 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let (store, told) = watched(dir.path(), Budget { max_bytes: 0, free_bytes_min: 100 * MIB });
    let faults = &store.watch.disk.faults;
    faults.set_free_bytes(Some(99 * MIB));
    store.put_token(token(1)).await.unwrap();
    assert!(!store.headroom().may_grow(), "the flag is there when the answer is");
    assert!(matches!(store.append(vec![point()]).await, Err(StoreError::Full(why)) if why.contains("store.free_bytes_min")));
    store.delete_token(1).await.unwrap();
    faults.set_free_bytes(Some(105 * MIB));
    store.put_token(token(2)).await.unwrap();
    assert!(!store.headroom().may_grow(), "a little more is not enough");
    faults.set_free_bytes(Some(113 * MIB));
    // It looks by itself, without a write.
    while !store.headroom().may_grow() {
        tokio::task::yield_now().await;
    }
    store.append(vec![point()]).await.unwrap();
    assert_eq!(told.lock().unwrap().iter().map(|(_, raised, _)| *raised).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn the_file_shrinks_when_its_content_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = watched(dir.path(), Budget::default());
    let fill = store.writer.write(|db| {
        db.execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO meta (name, value) SELECT 'filler ' || i, zeroblob(3000) FROM n",
        )?;
        Ok(())
    });
    fill.await.unwrap();
    let used = store.standing().used_bytes;
    assert!(used > 8_000_000, "{used}");
    let empty = store.writer.write(|db| Ok(db.execute("DELETE FROM meta WHERE name LIKE 'filler %'", [])?));
    empty.await.unwrap();
    // By and by, while nobody waits.
    let free = |db: &rusqlite::Connection| Ok(db.query_row("PRAGMA freelist_count", [], |row| row.get::<_, u32>(0))?);
    while store.reader.read(free).await.unwrap() as u64 > model::limits::STORE_FREE_PAGES_KEPT {
        tokio::task::yield_now().await;
    }
    store.close().await;
    let left = std::fs::metadata(dir.path().join("espush.db")).unwrap().len();
    assert!(left < 2_000_000, "{left}");
    Store::open(dir.path()).unwrap();
}

#[tokio::test]
async fn no_answer_comes_before_its_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = watched(dir.path(), Budget::default());
    let (here, reached) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    store.watch.disk.faults.hold_next_sync(here, gone);
    let mut write = pin!(store.put_token(token(1)));
    reached.recv().unwrap();
    assert!(matches!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    go.send(()).unwrap();
    write.await.unwrap();
}

/// At every moment between two answers, and with every choice of what of the unsynced had reached the disk.
#[test]
fn a_power_cut_costs_nothing_that_was_acknowledged() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    arbtest::arbtest(|u| {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = watched(dir.path(), Budget::default());
        // Fold the log in often, so that cuts in the middle of that are met too.
        let often = store.writer.write(|db| Ok(db.pragma_update(None, "wal_autocheckpoint", 3)?));
        runtime.block_on(often).unwrap();
        let faults = &store.watch.disk.faults;
        faults.record(&["espush.db", "espush.db-wal"].map(|name| dir.path().canonicalize().unwrap().join(name)));
        let mut kept = Vec::new();
        for id in 1..=u.int_in_range(1..=12)? {
            runtime.block_on(store.put_token(token(id))).unwrap();
            kept.push(id);
        }
        // One more that nobody hears the end of.
        let _unheard = store.put_token(token(99));
        let after = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("secret.key"), after.path().join("secret.key")).unwrap();
        faults.after_power_cut(after.path(), || u.arbitrary().unwrap_or(false));
        let store = Store::open(after.path()).unwrap();
        let mut found = runtime.block_on(ids(&store));
        found.retain(|id| *id != 99);
        assert_eq!(found, kept);
        Ok(())
    })
    .budget_ms(5_000);
}
