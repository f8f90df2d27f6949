//! Damage on disk is found before anything is served from it, said with the table that it hit, and repaired
//! without losing what is whole. The oracle: what was written, which the test knows.

mod fixture;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use contract::store::{PointQuery, Points, Pushes, Registry, StoredPush};
use fixture::{a_device, with_devices};
use model::{Delivery, DeliveryState, DeviceNumber, Order, Point, PushId, UnixMs, Value};
use store::repair::{Repaired, repair};
use store::{OpenError, Store};

const PAGE: usize = 4096;
const DEVICES: u32 = 300;
const POINTS: i64 = 3000;

/// A store with devices, points, pushes and long payloads, closed.
async fn filled(dir: &Path) {
    let store = with_devices(dir, (1..=DEVICES).map(|n| a_device(DeviceNumber(n), &format!("lamp-{n}")))).await;
    let point = |at| Point { device: DeviceNumber(1), stream: "t".into(), at: UnixMs(at), value: Value::Number(at as f64) };
    store.append((1..=POINTS).map(point).collect()).await.unwrap();
    for id in 1..=40 {
        let push = StoredPush {
            id: PushId(id),
            order: Order::Message,
            // Longer than a page: it goes on elsewhere.
            payload: Bytes::from(vec![id as u8; 9000]),
            audience: String::new(),
            sender: String::new(),
            created: UnixMs(0),
            expires: None,
            idempotency_key: None,
            terms: Default::default(),
        };
        let number = DeviceNumber(id as u32);
        let device = model::DeviceId::parse(&format!("lamp-{number}")).unwrap();
        let state = DeliveryState::Queued;
        let delivery = Delivery { push: push.id, number, device, state, at: UnixMs(0), detail: String::new(), answer: None };
        store.create_push(push, vec![delivery]).await.unwrap();
    }
    store.close().await;
}

/// Everything that a caller can read, as sets; a damaged store answers an error instead.
#[derive(Debug, Default, PartialEq)]
struct Content {
    devices: BTreeSet<u32>,
    points: BTreeSet<i64>,
    pushes: BTreeSet<u64>,
    open: BTreeSet<u64>,
}

async fn content(store: &Store) -> Content {
    let registry = store.load().await.unwrap();
    let query = PointQuery { device: DeviceNumber(1), stream: None, from: None, to: None, limit: 1 << 40, cursor: None };
    let pushes = store.pushes(None, 1000).await.unwrap().items;
    for push in &pushes {
        assert!(push.payload.len() == 9000 && push.payload.iter().all(|byte| u64::from(*byte) == push.id.0), "a false payload");
    }
    Content {
        devices: registry.devices.iter().map(|device| device.device.number.0).collect(),
        points: store.points(query).await.unwrap().items.iter().map(|point| point.at.0).collect(),
        pushes: pushes.iter().map(|push| push.id.0).collect(),
        open: store.open_deliveries(UnixMs(0)).await.unwrap().iter().map(|(push, _)| push.id.0).collect(),
    }
}

fn whole() -> Content {
    Content {
        devices: (1..=DEVICES).collect(),
        points: (1..=POINTS).collect(),
        pushes: (1..=40).collect(),
        open: (1..=40).collect(),
    }
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["espush.db", "secret.key"] {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

fn fix(dir: &Path) -> Repaired {
    repair(dir, "noon").unwrap()
}

#[tokio::test]
async fn a_flipped_bit_on_any_page_is_found_and_costs_no_more_than_its_page() {
    let home = tempfile::tempdir().unwrap();
    filled(home.path()).await;
    let good = fs::read(home.path().join("espush.db")).unwrap();
    let pages = good.len() / PAGE;
    let (mut found, mut named) = (0, BTreeSet::new());
    for page in 0..pages {
        let copy = copy_of(home.path());
        let dir = copy.path();
        let mut bad = good.clone();
        bad[page * PAGE + (page * 613) % PAGE] ^= 1 << (page % 8);
        fs::write(dir.join("espush.db"), bad).unwrap();
        match Store::open(dir) {
            // A free page: nothing was on it.
            Ok(store) => assert_eq!(content(&store).await, whole(), "page {page}"),
            Err(OpenError::Damaged { why, .. }) => {
                found += 1;
                assert!(why.contains(&format!("page {}", page + 1)), "page {page}: {why}");
                named.extend(why.split(" of the ").nth(1).map(|rest| rest.split(" (").next().unwrap().to_owned()));
                let done = fix(dir);
                assert_eq!(done.damage.losses.len(), 1, "page {page}: {:?}", done.damage);
                let store = Store::open(dir).unwrap();
                let kept = content(&store).await;
                // The points of a device that is lost are kept, but nobody can ask for them.
                let points = if kept.devices.contains(&1) { POINTS as usize - kept.points.len() } else { 0 };
                let lost = (DEVICES as usize - kept.devices.len()) + points + (40 - kept.pushes.len());
                assert!(lost <= 400, "page {page}: {lost} rows for one page");
                if !done.damage.losses[0].rows {
                    assert_eq!(kept, whole(), "page {page}: an index holds nothing of its own");
                }
                assert!(done.aside.exists());
                store.close().await;
            }
            Err(other) => panic!("page {page}: {other}"),
        }
    }
    assert!(found > pages / 2, "{found} of {pages}");
    for name in ["table points", "table devices", "table pushes", "table deliveries"] {
        assert!(named.contains(name), "{name} in {named:?}");
    }
}

#[tokio::test]
async fn zeroed_and_swapped_pages_are_found() {
    let home = tempfile::tempdir().unwrap();
    filled(home.path()).await;
    let path = home.path().join("espush.db");
    let good = fs::read(&path).unwrap();
    let pages = good.len() / PAGE;
    let mut zeroed = good.clone();
    zeroed[(pages / 2) * PAGE..][..PAGE].fill(0);
    let mut swapped = good.clone();
    let (a, b) = ((pages / 2) * PAGE, (pages / 3) * PAGE);
    swapped.copy_within(a..a + PAGE, b);
    for bad in [zeroed, swapped] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(Store::open(home.path()), Err(OpenError::Damaged { .. })));
    }
    fs::write(&path, good).unwrap();
    assert_eq!(content(&Store::open(home.path()).unwrap()).await, whole());
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_found_at_every_length() {
    let home = tempfile::tempdir().unwrap();
    filled(home.path()).await;
    let path = home.path().join("espush.db");
    let good = fs::read(&path).unwrap();
    for length in [0, 1, 100, 512, PAGE - 1, PAGE, PAGE + 1, good.len() / 2, good.len() - PAGE, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        match Store::open(home.path()) {
            Err(OpenError::Damaged { .. }) => {}
            Err(other) => panic!("{length} bytes: {other}"),
            Ok(_) => panic!("{length} bytes were taken for a database"),
        }
        assert_eq!(fs::read(&path).unwrap().len(), length, "nothing is touched");
    }
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    let done = fix(home.path());
    assert!(done.damage.cut_off > 0);
    content(&Store::open(home.path()).unwrap()).await;
}

/// The log of a store that was killed: its last transactions were acknowledged. A changed bit in the middle
/// must not look like its end.
#[tokio::test]
async fn a_log_that_is_damaged_before_its_end_is_found() {
    let home = tempfile::tempdir().unwrap();
    let (dir, killed) = (home.path().join("data"), home.path().join("killed"));
    let store = with_devices(&dir, [a_device(DeviceNumber(1), "lamp")]).await;
    for at in 1..=20 {
        let point = Point { device: DeviceNumber(1), stream: "t".into(), at: UnixMs(at), value: Value::Bool(true) };
        store.append(vec![point]).await.unwrap();
    }
    fs::create_dir(&killed).unwrap();
    for name in ["espush.db", "espush.db-wal", "secret.key"] {
        fs::copy(dir.join(name), killed.join(name)).unwrap();
    }
    let log = fs::read(killed.join("espush.db-wal")).unwrap();
    let mut bad = log.clone();
    bad[log.len() * 9 / 10] ^= 4;
    fs::write(killed.join("espush.db-wal"), &bad).unwrap();
    let refused = Store::open(&killed).err().unwrap();
    assert!(matches!(&refused, OpenError::Damaged { why, .. } if why.contains("the log")), "{refused}");
    assert_eq!(fs::read(killed.join("espush.db-wal")).unwrap(), bad, "nothing is touched");
    let done = fix(&killed);
    assert!(done.damage.log && done.damage.cut_off == 0, "{done:?}");
    let saved = points(&Store::open(&killed).unwrap()).await;
    assert!(!saved.is_empty() && saved.iter().copied().eq(1..=saved.len() as i64), "all before the damage: {saved:?}");

    // A last transaction that is torn was never acknowledged: that is no damage.
    fs::remove_file(killed.join("espush.db")).unwrap();
    fs::copy(dir.join("espush.db"), killed.join("espush.db")).unwrap();
    fs::write(killed.join("espush.db-wal"), &log[..log.len() - 1000]).unwrap();
    assert_eq!(points(&Store::open(&killed).unwrap()).await.len(), 19);
}

async fn points(store: &Store) -> Vec<i64> {
    let query = PointQuery { device: DeviceNumber(1), stream: None, from: None, to: None, limit: 1 << 40, cursor: None };
    store.points(query).await.unwrap().items.iter().map(|point| point.at.0).collect()
}

#[tokio::test]
async fn damage_that_comes_while_the_store_is_open_is_an_error_and_an_alarm() {
    let home = tempfile::tempdir().unwrap();
    filled(home.path()).await;
    let store = Store::open(home.path()).unwrap();
    let path = home.path().join("espush.db");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(PAGE).skip(1) {
        page[100] ^= 1;
    }
    // In place, as a disk would: the store has the file open.
    use std::io::Write;
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(&bytes).unwrap();
    let refused = store.load().await.unwrap_err();
    assert!(matches!(&refused, contract::store::StoreError::Damaged(why) if why.contains("espush repair")), "{refused}");
    assert!(store.standing().damaged.is_some());
}

/// SQLite folds the log in by itself and says nothing when it cannot: the frame that changed on disk must
/// not become a page that looks right.
#[tokio::test]
async fn a_log_that_changes_while_the_store_is_open_is_never_folded_in() {
    use std::os::unix::fs::FileExt;
    let home = tempfile::tempdir().unwrap();
    let store = with_devices(home.path(), [a_device(DeviceNumber(1), "lamp")]).await;
    let point = |at| Point { device: DeviceNumber(1), stream: "t".into(), at: UnixMs(at), value: Value::Bool(true) };
    store.append(vec![point(1)]).await.unwrap();
    let log = fs::OpenOptions::new().read(true).write(true).open(home.path().join("espush.db-wal")).unwrap();
    // Some byte of each frame's page.
    for frame in 0..log.metadata().unwrap().len() / 4120 {
        let mut byte = [0];
        log.read_exact_at(&mut byte, 32 + frame * 4120 + 24 + 3000).unwrap();
        log.write_all_at(&[byte[0] ^ 1], 32 + frame * 4120 + 24 + 3000).unwrap();
    }
    let mut at = 2;
    // Whatever is answered: sooner or later the log is long enough to be folded in, and the damage is met.
    while store.standing().damaged.is_none() && at < 1_000_000 {
        let _ = store.append((at..at + 500).map(point).collect()).await;
        at += 500;
    }
    assert!(store.standing().damaged.unwrap().contains("espush repair"));
    store.close().await;
    assert!(matches!(Store::open(home.path()), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn numbers_are_not_given_twice_after_a_repair() {
    let home = tempfile::tempdir().unwrap();
    filled(home.path()).await;
    let how = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    // The file layer is known to SQLite once a store was opened.
    let db = rusqlite::Connection::open_with_flags_and_vfs(home.path().join("espush.db"), how, c"espush").unwrap();
    db.execute_batch("DELETE FROM counters; DELETE FROM devices WHERE number = 300").unwrap();
    drop(db);
    fix(home.path());
    let found = Store::open(home.path()).unwrap().load().await.unwrap();
    assert_eq!((found.device_last, found.app_last), (299, 1));
}

#[tokio::test]
async fn a_database_from_before_checksums_is_given_them() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("secret.key"), [7; 32]).unwrap();
    let path = home.path().join("espush.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(include_str!("../migrations/0001_tables.sql")).unwrap();
    db.execute_batch(include_str!("../migrations/0002_accounts.sql")).unwrap();
    db.pragma_update(None, "application_id", 0x6573_7075).unwrap();
    db.pragma_update(None, "user_version", 2).unwrap();
    db.execute("INSERT INTO tokens VALUES (3, 'ci', 'viewer', zeroblob(32), 5, NULL)", []).unwrap();
    drop(db);
    let store = Store::open(home.path()).unwrap();
    assert!(store.standing().checksums);
    assert_eq!(store.load().await.unwrap().tokens.len(), 1);
    store.close().await;
    let mut bytes = fs::read(&path).unwrap();
    bytes[PAGE + 2000] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(Store::open(home.path()), Err(OpenError::Damaged { .. })));
}
