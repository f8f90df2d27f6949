//! Who may open a data directory, and what is refused with which sentence.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use contract::store::{Pushes, Registry, StoreError};
use store::{OpenError, Store};

/// The database of a store that was closed, opened through the same file layer, so that its pages keep
/// their checksums whatever is written into them.
fn by_hand(dir: &Path) -> rusqlite::Connection {
    let how = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    rusqlite::Connection::open_with_flags_and_vfs(dir.join("espush.db"), how, c"espush").unwrap()
}

#[test]
fn a_new_directory_is_the_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a/b");
    let _store = Store::open(&dir).unwrap();
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for file in ["secret.key", "espush.db", "espush.db-wal"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    assert_eq!(fs::read(dir.join("secret.key")).unwrap().len(), 32);
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let refused = Store::open(dir.path()).err().unwrap();
    assert!(matches!(refused, OpenError::InUse(_)));
    assert!(refused.to_string().contains("in use by another running espush"), "{refused}");
    drop(first);
    Store::open(dir.path()).unwrap();
}

#[tokio::test]
async fn an_older_schema_is_brought_up_to_date_with_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret.key"), [7; 32]).unwrap();
    let db = rusqlite::Connection::open(dir.path().join("espush.db")).unwrap();
    // As the first version made it.
    db.execute_batch(include_str!("../migrations/0001_tables.sql")).unwrap();
    db.pragma_update(None, "application_id", 0x6573_7075).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    db.execute("INSERT INTO tokens VALUES (3, 'ci', 'viewer', zeroblob(32), 5, NULL)", []).unwrap();
    drop(db);
    let store = Store::open(dir.path()).unwrap();
    let found = store.load().await.unwrap();
    assert_eq!((found.tokens.len(), found.accounts.len(), found.blocked.len()), (1, 0, 0));
    assert_eq!(found.tokens[0].name, "ci");
    store.close().await;
    Store::open(dir.path()).unwrap();
}

#[tokio::test]
async fn pushes_of_an_older_schema_are_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret.key"), [7; 32]).unwrap();
    let db = rusqlite::Connection::open(dir.path().join("espush.db")).unwrap();
    // As the last version without terms made it.
    for step in [
        include_str!("../migrations/0001_tables.sql"),
        include_str!("../migrations/0002_accounts.sql"),
        include_str!("../migrations/0003_sessions.sql"),
        include_str!("../migrations/0004_audiences.sql"),
    ] {
        db.execute_batch(step).unwrap();
    }
    db.pragma_update(None, "application_id", 0x6573_7075).unwrap();
    db.pragma_update(None, "user_version", 4).unwrap();
    db.execute_batch(
        "INSERT INTO apps VALUES (1, x'00', 'lamps', 1, 0, '{}', 5);
         INSERT INTO devices VALUES (7, 'lamp', 1, '', '', '[]', '', 0, 5, x'00', zeroblob(32));
         INSERT INTO pushes VALUES (3, 'message', NULL, x'6f6e', '{}', 'token ci', 5, 900, NULL);
         INSERT INTO deliveries VALUES (3, 7, 0, 6, 'the device is away', NULL);
         INSERT INTO audiences VALUES (3, 0, 0, x'07000000');",
    )
    .unwrap();
    drop(db);
    let store = Store::open(dir.path()).unwrap();
    let open = store.open_deliveries(model::UnixMs(0)).await.unwrap();
    let [(push, delivery)] = &open[..] else { panic!("{open:?}") };
    assert_eq!((push.id, &push.payload[..], &push.terms), (model::PushId(3), &b"on"[..], &model::Terms::default()));
    assert_eq!((delivery.device.as_str(), delivery.detail.as_str()), ("lamp", "the device is away"));
    let sent = model::Delivery { state: model::DeliveryState::Sent, at: model::UnixMs(9), ..delivery.clone() };
    let change = contract::store::DeliveryChange { delivery: sent, passed: Vec::new() };
    store.update_deliveries(vec![change]).await.unwrap();
    let life = store.deliveries(model::PushId(3), None, 1).await.unwrap().items.remove(0);
    assert_eq!((life.before.len(), life.before[0].at, life.delivery.at), (1, model::UnixMs(6), model::UnixMs(9)));
    assert_eq!(store.unmade_pushes().await.unwrap()[0].parts, [(0, vec![model::DeviceNumber(7)])]);
    store.close().await;
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let db = by_hand(dir.path());
    db.pragma_update(None, "user_version", 999).unwrap();
    drop(db);
    let refused = Store::open(dir.path()).err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 999, .. }));
    assert!(refused.to_string().contains("newer espush"), "{refused}");
}

#[test]
fn what_is_not_ours_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("espush.db");
    fs::write(dir.path().join("secret.key"), [7; 32]).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE somebody (elses INTEGER)").unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    assert!(matches!(Store::open(dir.path()).err().unwrap(), OpenError::Unusable { .. }));
    assert_eq!(fs::read(&path).unwrap(), before);

    fs::write(&path, b"this is no database, but it is long enough to be looked at as one, is it not?".repeat(20)).unwrap();
    let refused = Store::open(dir.path()).err().unwrap();
    assert!(refused.to_string().contains("espush restore"), "{refused}");
}

#[test]
fn a_lost_or_foreign_key_is_refused_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let key = dir.path().join("secret.key");
    let right = fs::read(&key).unwrap();

    fs::remove_file(&key).unwrap();
    let refused = Store::open(dir.path()).err().unwrap();
    assert!(refused.to_string().contains("the key is missing beside its database"), "{refused}");
    assert!(!key.exists());

    fs::write(&key, [0; 32]).unwrap();
    let refused = Store::open(dir.path()).err().unwrap();
    assert!(refused.to_string().contains("not the key"), "{refused}");

    fs::write(&key, &right[..31]).unwrap();
    assert!(matches!(Store::open(dir.path()).err().unwrap(), OpenError::Key { .. }));

    fs::write(&key, right).unwrap();
    Store::open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_damaged_row_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let token = contract::store::StoredToken {
        id: 1,
        name: "ci".into(),
        role: model::Role::Owner,
        hash: [1; 32],
        created: model::UnixMs(1),
        expires: None,
        scopes: Default::default(),
        query: String::new(),
        ended: false,
    };
    store.put_token(token).await.unwrap();
    drop(store);
    let db = by_hand(dir.path());
    for harm in [
        "UPDATE tokens SET role = 'king'",
        "UPDATE tokens SET role = 'owner', scopes = 'push all'",
        "UPDATE tokens SET scopes = '', hash = x'00'",
    ] {
        db.execute_batch(harm).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let error = store.load().await.unwrap_err();
        assert!(matches!(&error, StoreError::Damaged(why) if why.contains("from a backup")), "{harm}: {error}");
    }
}

#[tokio::test]
async fn damaged_pages_are_an_error_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let path = dir.path().join("espush.db");
    let mut bytes = fs::read(&path).unwrap();
    // Everything behind the first page, which holds the header and the schema.
    let page = 4096;
    bytes[page..].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    match Store::open(dir.path()) {
        Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error}"),
        Ok(store) => assert!(matches!(store.load().await, Err(StoreError::Damaged(_)))),
    }
}
