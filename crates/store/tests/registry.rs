//! Apps, devices, presence and tokens survive as they were written, and secrets only sealed.

use std::collections::BTreeMap;
use std::fs;

use contract::store::{Points, Registry, StoreError, StoredAccount, StoredToken};
use model::{
    Account, App, AppId, AppKey, Device, DeviceId, DeviceNumber, Meta, Point, Presence, Role, Rules, TokenScope, TokenScopes,
    UnixMs, Value, limits,
};
use ring::digest::{SHA256, digest};
use store::Store;

const KEY: &str = "25b28f0ffb9711e4a96d446d579b49a1";
const SECRET: &str = "a-secret-that-is-nowhere-else";

fn app(id: u32) -> App {
    App {
        id: AppId(id),
        key: AppKey::parse(KEY).unwrap(),
        name: "灯 lamps".into(),
        open: true,
        single: false,
        peers: Default::default(),
        settings: BTreeMap::from([("espush.text".into(), "gbk".into())]),
        created: UnixMs(1_466_599_588_123),
    }
}

fn device(number: u32, id: &str) -> Device {
    Device {
        number: DeviceNumber(number),
        id: DeviceId::parse(id).unwrap(),
        app: AppId(7),
        name: "Küche".into(),
        alias: "k1".into(),
        tags: vec!["floor 1".into(), "红".into()],
        meta: Default::default(),
        firmware: "AT 1.2".into(),
        open: false,
        created: UnixMs(5),
    }
}

fn token(id: u64) -> StoredToken {
    StoredToken {
        id,
        name: "ci".into(),
        role: Role::Operator,
        hash: [9; 32],
        created: UnixMs(1),
        expires: Some(UnixMs(2)),
        scopes: TokenScopes::default().with(TokenScope::Push),
        query: "app = 1".into(),
        ended: true,
    }
}

#[tokio::test]
async fn everything_comes_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let there = Presence {
        online: true,
        since: Some(UnixMs(77)),
        why: "connected by mqtt".into(),
        protocol: "mqtt".into(),
        remote: "10.0.0.9:4000".into(),
    };
    {
        let store = Store::open(dir.path()).unwrap();
        store.put_app(app(7)).await.unwrap();
        store.put_app(app(9)).await.unwrap();
        store.put_device(device(3, "lamp"), Some(SECRET.into())).await.unwrap();
        store.put_device(device(4, "fan"), Some("another".into())).await.unwrap();
        store.put_presence(vec![(DeviceNumber(3), there.clone()), (DeviceNumber(99), there.clone())]).await.unwrap();
        store.block_device(DeviceNumber(4), true).await.unwrap();
        store.block_device(DeviceNumber(99), true).await.unwrap();
        store.put_token(token(5)).await.unwrap();
        store.put_token(StoredToken { expires: None, role: Role::Viewer, ..token(6) }).await.unwrap();
        store.close().await;
    }
    let store = Store::open(dir.path()).unwrap();
    let found = store.load().await.unwrap();
    assert_eq!(found.apps, [app(7), app(9)]);
    assert_eq!(found.devices.len(), 2);
    assert_eq!(found.devices[0].device, device(3, "lamp"));
    assert_eq!(found.devices[0].secret_hash, digest(&SHA256, SECRET.as_bytes()).as_ref());
    assert_eq!(found.devices[0].presence, there);
    assert_eq!(found.devices[1].presence, Presence::default(), "never seen");
    assert_eq!(found.tokens, [token(5), StoredToken { expires: None, role: Role::Viewer, ..token(6) }]);
    assert_eq!(found.blocked, [DeviceNumber(4)], "one that is not there is not blocked");
    assert_eq!((found.app_last, found.device_last, found.token_last), (9, 4, 6));
    assert_eq!(store.reveal_secret(DeviceNumber(3)).await.unwrap().as_deref(), Some(SECRET));
    assert_eq!(store.reveal_secret(DeviceNumber(99)).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_without_a_goodbye() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_app(app(7)).await.unwrap();
    store.put_device(device(3, "lamp"), Some(SECRET.into())).await.unwrap();
    // What a killed process leaves behind: the files as they are now, the store still open.
    let left = tempfile::tempdir().unwrap();
    for name in ["espush.db", "espush.db-wal", "secret.key"] {
        fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    let found = Store::open(left.path()).unwrap().load().await.unwrap();
    assert_eq!((found.apps, found.devices.len()), (vec![app(7)], 1));
}

#[tokio::test]
async fn no_file_holds_a_secret_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_app(app(7)).await.unwrap();
    store.put_device(device(3, "lamp"), Some(SECRET.into())).await.unwrap();
    let holding = |text: &str| {
        let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| fs::read(path).unwrap().windows(text.len()).any(|w| w == text.as_bytes())).count()
    };
    // The id is found, so the search would find a secret; first in the log, then in the database.
    assert!(holding("lamp") > 0);
    assert_eq!(holding(SECRET) + holding(KEY), 0);
    store.close().await;
    assert!(holding("lamp") > 0);
    assert_eq!(holding(SECRET) + holding(KEY), 0);
}

#[tokio::test]
async fn changes_keep_what_they_do_not_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_app(app(7)).await.unwrap();
    store.put_device(device(3, "lamp"), Some(SECRET.into())).await.unwrap();

    let edited = App { name: "other".into(), open: false, single: true, settings: BTreeMap::new(), ..app(7) };
    store.put_app(edited.clone()).await.unwrap();
    let renamed = Device { name: "renamed".into(), tags: vec![], open: true, ..device(3, "lamp") };
    store.put_device(renamed.clone(), None).await.unwrap();
    let found = store.load().await.unwrap();
    assert_eq!(found.apps, [edited]);
    assert_eq!(found.devices[0].device, renamed);
    assert_eq!(store.reveal_secret(DeviceNumber(3)).await.unwrap().as_deref(), Some(SECRET), "the secret stayed");

    store.put_device(renamed, Some("new".into())).await.unwrap();
    assert_eq!(store.reveal_secret(DeviceNumber(3)).await.unwrap().as_deref(), Some("new"));
}

#[tokio::test]
async fn what_is_written_down_goes_with_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_app(app(7)).await.unwrap();
    let meta = Meta::from([("room".into(), Value::Text("B \"12\"".into())), ("楼".into(), Value::Number(-3.5))]);
    let lamp = Device { meta: meta.clone(), ..device(3, "lamp") };
    store.put_device(lamp.clone(), Some(SECRET.into())).await.unwrap();
    store.put_device(device(4, "fan"), Some(SECRET.into())).await.unwrap();
    assert_eq!(store.load().await.unwrap().metas, [(DeviceNumber(3), meta)]);
    let less = Meta::from([("lent".into(), Value::Bool(true))]);
    store.put_device(Device { meta: less.clone(), ..lamp.clone() }, None).await.unwrap();
    store.put_device(Device { meta: less.clone(), ..device(4, "fan") }, None).await.unwrap();
    assert_eq!(store.load().await.unwrap().metas, [(DeviceNumber(3), less.clone()), (DeviceNumber(4), less.clone())]);
    store.put_device(Device { meta: Meta::new(), ..lamp }, None).await.unwrap();
    assert_eq!(store.load().await.unwrap().metas, [(DeviceNumber(4), less)]);
    store.delete_device(DeviceNumber(4)).await.unwrap();
    assert_eq!(store.load().await.unwrap().metas, []);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_app(app(7)).await.unwrap();
    store.put_device(device(3, "lamp"), Some(SECRET.into())).await.unwrap();
    let refused = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Engine(_))));
    refused(store.put_device(device(4, "lamp"), Some(SECRET.into())).await); // the id is taken
    refused(store.put_device(device(4, "fan"), None).await); // new without a secret
    refused(store.put_device(Device { app: AppId(8), ..device(4, "fan") }, Some(SECRET.into())).await); // no such app
    refused(store.delete_app(AppId(7)).await); // it has devices
    assert_eq!(store.load().await.unwrap().devices.len(), 1);
}

#[tokio::test]
async fn numbers_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Store::open(dir.path()).unwrap();
        store.put_app(app(7)).await.unwrap();
        store.put_app(app(8)).await.unwrap();
        store.put_device(device(41, "lamp"), Some(SECRET.into())).await.unwrap();
        store.put_device(device(40, "fan"), Some(SECRET.into())).await.unwrap();
        store.put_token(token(6)).await.unwrap();
        store.delete_device(DeviceNumber(41)).await.unwrap();
        store.delete_app(AppId(8)).await.unwrap();
        store.delete_token(6).await.unwrap();
        store.close().await;
    }
    let found = Store::open(dir.path()).unwrap().load().await.unwrap();
    assert_eq!((found.app_last, found.device_last, found.token_last), (8, 41, 6));
    assert_eq!((found.apps.len(), found.devices.len(), found.tokens.len()), (1, 1, 0));
}

#[tokio::test]
async fn a_removed_device_takes_its_points_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_app(app(7)).await.unwrap();
    store.put_device(device(3, "lamp"), Some(SECRET.into())).await.unwrap();
    store.put_device(device(4, "fan"), Some(SECRET.into())).await.unwrap();
    let rows = limits::STORE_PURGE_ROWS_MAX as i64 * 2 + 1;
    let point =
        |device, at| Point { device: DeviceNumber(device), stream: "t".into(), at: UnixMs(at), value: Value::Number(1.0) };
    store.append((0..rows).map(|at| point(3, at)).chain([point(4, 0)]).collect()).await.unwrap();
    store.put_presence(vec![(DeviceNumber(3), Presence::default())]).await.unwrap();

    store.delete_device(DeviceNumber(3)).await.unwrap();
    assert!(store.streams(DeviceNumber(3)).await.unwrap().is_empty(), "gone from sight at once");
    assert!(store.latest(DeviceNumber(3)).await.unwrap().is_empty());
    store.append(vec![point(3, 5), point(4, 1)]).await.unwrap();
    assert!(store.streams(DeviceNumber(3)).await.unwrap().is_empty(), "a late point does not bring it back");
    assert_eq!(store.latest(DeviceNumber(4)).await.unwrap()[0].at, UnixMs(1));

    // Each further transaction deletes a part: 10,001 rows in parts of 5,000, one more to see the end.
    for _ in 0..4 {
        store.delete_token(1).await.unwrap();
    }
    store.close().await;
    let db = rusqlite::Connection::open(dir.path().join("espush.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM points"), 2);
    assert_eq!(count("SELECT count(*) FROM streams"), 1);
    assert_eq!(count("SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM presence)"), 0);
}

#[tokio::test]
async fn broker_accounts_come_back_with_their_rules_in_order() {
    let account = |id: u64, name: &str, rules: &[&str]| StoredAccount {
        account: Account {
            id,
            name: name.into(),
            rules: Rules::parse(rules.iter().copied()).unwrap(),
            created: UnixMs(id as i64),
        },
        password_hash: format!("$argon2id$of {name}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let ann = account(1, "ann", &["deny both a b/#", "allow publish %u/灯", "allow both #"]);
    {
        let store = Store::open(dir.path()).unwrap();
        store.put_account(account(1, "ann", &[])).await.unwrap();
        store.put_account(account(2, "bob", &[])).await.unwrap();
        store.put_account(ann.clone()).await.unwrap();
        assert!(store.put_account(account(3, "ann", &[])).await.is_err(), "a name is given once");
        store.delete_account(2).await.unwrap();
        store.close().await;
    }
    let found = Store::open(dir.path()).unwrap().load().await.unwrap();
    assert_eq!(found.accounts, [ann]);
    assert_eq!(found.account_last, 2, "a number is not given twice");
}
