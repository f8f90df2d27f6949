//! A backup is a whole server in one file: it is consistent while others write, complete on another machine,
//! and refused when a bit of it changed.

mod fixture;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use contract::store::{Points, Registry};
use fixture::{a_device, with_devices};
use model::{DeviceNumber, Point, UnixMs, Value};
use store::backup::{self, About, BackupError, Manifest};
use store::restore::restore;
use store::{OpenError, Store};

const ABOUT: About<'_> = About { program: "0.1.0", created: "2026-11-20T09:48:48.123Z", files: &[] };

fn make(dir: &Path, to: &Path) -> Result<Manifest, BackupError> {
    backup::make(dir, to, false, &ABOUT, &mut |_, _| {})
}

fn bring_back(file: &Path, dir: &Path, force: bool) -> Result<Option<PathBuf>, BackupError> {
    restore(file, dir, force, "noon", &mut |_, _| {}).map(|restored| restored.aside)
}

fn point(at: i64) -> Point {
    Point { device: DeviceNumber(1), stream: "t".into(), at: UnixMs(at), value: Value::Number(at as f64) }
}

async fn filled(dir: &Path) -> Store {
    let store = with_devices(dir, [a_device(DeviceNumber(1), "lamp")]).await;
    store.append((1..=5000).map(point).collect()).await.unwrap();
    store
}

async fn times(store: &Store) -> Vec<i64> {
    let query = contract::store::PointQuery {
        device: DeviceNumber(1),
        stream: None,
        from: None,
        to: None,
        limit: usize::MAX >> 1,
        cursor: None,
    };
    store.points(query).await.unwrap().items.iter().map(|point| point.at.0).collect()
}

#[tokio::test]
async fn a_backup_of_a_store_at_work_is_a_whole_store_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file, elsewhere) = (home.path().join("data"), home.path().join("b"), home.path().join("elsewhere"));
    let store = filled(&dir).await;
    fs::create_dir(dir.join("tls")).unwrap();
    fs::write(dir.join("tls/p256.crt"), "certificate").unwrap();
    let (from, to) = (dir.clone(), file.clone());
    let making = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        let about = About { files: &[PathBuf::from("tls/p256.crt")], ..ABOUT };
        let manifest = backup::make(&from, &to, false, &about, &mut |done, of| told.push((done, of))).unwrap();
        (manifest, told)
    });
    let mut last = 5000;
    while !making.is_finished() {
        last += 1;
        store.append(vec![point(last)]).await.unwrap();
    }
    let (manifest, told) = making.await.unwrap();
    assert!(told.iter().all(|(done, of)| done <= of) && told.last().is_some_and(|(done, of)| done == of));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(manifest.database_bytes > 100_000);

    assert_eq!(bring_back(&file, &elsewhere, false).unwrap(), None);
    let copy = Store::open(&elsewhere).unwrap();
    assert_eq!(copy.reveal_secret(DeviceNumber(1)).await.unwrap().as_deref(), Some("s"), "the key came along");
    let found = times(&copy).await;
    assert!(found.len() >= 5000 && found.iter().copied().eq(1..=found.len() as i64), "one moment's state, without a hole");
    assert_eq!(fs::read(elsewhere.join("tls/p256.crt")).unwrap(), b"certificate");
    assert_eq!(fs::metadata(elsewhere.join("espush.db")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(times(&store).await.len() as i64, last, "the store went on");
}

#[tokio::test]
async fn a_store_that_is_not_open_is_backed_up_too_and_left_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path().join("data"), home.path().join("b"));
    filled(&dir).await.close().await;
    let before = fs::read(dir.join("espush.db")).unwrap();
    make(&dir, &file).unwrap();
    assert!(fs::read(dir.join("espush.db")).unwrap() == before);
    assert!(matches!(make(&dir, &file), Err(BackupError::Exists(_))));
    backup::make(&dir, &file, true, &ABOUT, &mut |_, _| {}).unwrap();
    assert!(matches!(make(home.path(), &home.path().join("c")), Err(BackupError::NoData(_))));
    assert!(!home.path().join("b.part").exists());
}

#[tokio::test]
async fn a_backup_that_changed_is_refused_and_nothing_is_touched() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file, to) = (home.path().join("data"), home.path().join("b"), home.path().join("to"));
    filled(&dir).await.close().await;
    make(&dir, &file).unwrap();
    let good = fs::read(&file).unwrap();
    let step = good.len() / 97;
    for at in (16..good.len()).step_by(step).chain([good.len() - 50, good.len() - 20, good.len() - 12, good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&file, bad).unwrap();
        assert!(matches!(bring_back(&file, &to, false), Err(BackupError::Damaged { .. })), "byte {at} of {}", good.len());
    }
    for length in [good.len() - 1, good.len() - 48, good.len() / 2, 100] {
        fs::write(&file, &good[..length]).unwrap();
        assert!(matches!(bring_back(&file, &to, false), Err(BackupError::Damaged { .. })), "{length} bytes");
    }
    fs::write(&file, "no backup at all, but long enough to be looked at as if it were one of ours").unwrap();
    assert!(matches!(bring_back(&file, &to, false), Err(BackupError::Foreign(_))));
    assert!(!to.exists());
}

#[tokio::test]
async fn what_is_there_is_never_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path().join("data"), home.path().join("b"));
    let store = filled(&dir).await;
    make(&dir, &file).unwrap();
    assert!(matches!(bring_back(&file, &dir, true), Err(BackupError::Open(OpenError::InUse(_)))), "not even with force");
    store.append(vec![point(9999)]).await.unwrap();
    store.close().await;
    assert!(matches!(bring_back(&file, &dir, false), Err(BackupError::NotEmpty(_))));
    let aside = bring_back(&file, &dir, true).unwrap().unwrap();
    assert_eq!(aside, home.path().canonicalize().unwrap().join("data.before-noon"));
    assert_eq!(times(&Store::open(&dir).unwrap()).await.len(), 5000);
    assert_eq!(times(&Store::open(&aside).unwrap()).await.len(), 5001, "with what came after the backup");
}

#[tokio::test]
async fn a_newer_backup_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path().join("data"), home.path().join("b"));
    filled(&dir).await.close().await;
    let how = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = rusqlite::Connection::open_with_flags_and_vfs(dir.join("espush.db"), how, c"espush").unwrap();
    db.pragma_update(None, "user_version", 999).unwrap();
    drop(db);
    let refused = make(&dir, &file).unwrap_err();
    assert!(matches!(refused, BackupError::Open(OpenError::Newer { found: 999, .. })), "{refused}");
}

#[tokio::test]
async fn a_key_that_does_not_fit_makes_no_backup() {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path().join("data"), home.path().join("b"));
    filled(&dir).await.close().await;
    fs::write(dir.join("secret.key"), [0; 32]).unwrap();
    assert!(matches!(make(&dir, &file), Err(BackupError::Open(OpenError::Key { .. }))));
    fs::remove_file(dir.join("secret.key")).unwrap();
    assert!(matches!(make(&dir, &file), Err(BackupError::Open(OpenError::Key { .. }))));
    assert!(!file.exists());
}

#[tokio::test]
async fn the_state_before_a_migration_is_kept_twice() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let snapshots = || {
        let mut found: Vec<PathBuf> = fs::read_dir(dir.join("snapshots")).unwrap().map(|e| e.unwrap().path()).collect();
        found.sort();
        found
    };
    filled(&dir).await.close().await;
    assert!(!dir.join("snapshots").exists(), "a new database has nothing before it");
    let mut all = Vec::new();
    for _ in 0..3 {
        // Back to the first schema, by hand.
        let how = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let db = rusqlite::Connection::open_with_flags_and_vfs(dir.join("espush.db"), how, c"espush").unwrap();
        let first = include_str!("../migrations/0001_tables.sql");
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let later: Vec<String> =
            db.prepare(tables).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        for table in later.iter().filter(|table| !first.contains(&format!("CREATE TABLE {table} ("))) {
            db.execute_batch(&format!("DROP TABLE {table}")).unwrap();
        }
        db.execute_batch(
            "DROP INDEX pushes_created;
             ALTER TABLE pushes DROP COLUMN collapse; ALTER TABLE pushes DROP COLUMN resend_of;
             ALTER TABLE pushes DROP COLUMN per_second; ALTER TABLE pushes DROP COLUMN starts;
             ALTER TABLE pushes DROP COLUMN priority; ALTER TABLE deliveries DROP COLUMN steps;
             ALTER TABLE apps DROP COLUMN peers;
             ALTER TABLE tokens DROP COLUMN scopes; ALTER TABLE tokens DROP COLUMN query;
             ALTER TABLE tokens DROP COLUMN ended;",
        )
        .unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        drop(db);
        drop(Store::open(&dir).unwrap());
        all.extend(snapshots().pop());
    }
    assert_eq!(snapshots(), all[1..]);
    let elsewhere = home.path().join("elsewhere");
    bring_back(&all[2], &elsewhere, false).unwrap();
    assert_eq!(times(&Store::open(&elsewhere).unwrap()).await.len(), 5000);
}
