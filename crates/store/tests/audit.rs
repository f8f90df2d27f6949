//! Who changed what: kept, found by filters, bounded.

use contract::store::{Audit, AuditEntry, AuditQuery};
use model::{Role, UnixMs, limits};
use store::Store;

fn entry(at: i64, who: &str, target: &str, status: u16) -> AuditEntry {
    AuditEntry {
        id: 0,
        at: UnixMs(at),
        who: who.into(),
        token: Some(7),
        role: Role::Operator,
        remote: "192.0.2.7:4711".into(),
        call: "PATCH /api/v1/devices/{id}".into(),
        target: target.into(),
        fields: vec!["blocked=true".into()],
        status,
        code: String::new(),
    }
}

async fn targets(store: &Store, query: AuditQuery) -> Vec<String> {
    store.entries(query, None, 100).await.unwrap().items.into_iter().map(|entry| entry.target).collect()
}

#[tokio::test]
async fn entries_are_found_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for (at, who, target, status) in [(1, "ci", "a", 200), (2, "ann", "b", 404), (3, "ci", "c", 200)] {
        store.record(entry(at, who, target, status)).await.unwrap();
    }
    store.close().await;
    let store = Store::open(dir.path()).unwrap();
    let first = store.entries(AuditQuery::default(), None, 2).await.unwrap();
    assert_eq!(first.items[0], AuditEntry { id: 3, ..entry(3, "ci", "c", 200) });
    let rest = store.entries(AuditQuery::default(), Some(first.next.unwrap().parse().unwrap()), 2).await.unwrap();
    assert_eq!((rest.items.len(), rest.items[0].target.as_str(), rest.next), (1, "a", None));
    let all = AuditQuery::default;
    assert_eq!(targets(&store, AuditQuery { who: Some("ci".into()), ..all() }).await, ["c", "a"]);
    assert_eq!(targets(&store, AuditQuery { target: Some("b".into()), ..all() }).await, ["b"]);
    assert_eq!(targets(&store, AuditQuery { failed: Some(true), ..all() }).await, ["b"]);
    assert_eq!(targets(&store, AuditQuery { failed: Some(false), call: Some("devices".into()), ..all() }).await, ["c", "a"]);
    assert_eq!(targets(&store, AuditQuery { call: Some("tokens".into()), ..all() }).await, [] as [&str; 0]);
    assert_eq!(targets(&store, AuditQuery { from: Some(UnixMs(2)), to: Some(UnixMs(3)), ..all() }).await, ["b"]);
}

#[tokio::test]
async fn old_entries_go_when_new_ones_come() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let year = limits::AUDIT_S_MAX as i64 * 1000;
    for at in 0..40 {
        store.record(entry(at, "ci", &at.to_string(), 200)).await.unwrap();
    }
    store.record(entry(year + 20, "ci", "x", 200)).await.unwrap();
    assert_eq!(targets(&store, AuditQuery::default()).await.len(), 41 - 16, "some at a time");
    store.record(entry(year + 20, "ci", "y", 200)).await.unwrap();
    let left = targets(&store, AuditQuery::default()).await;
    assert_eq!((left.len(), left.last().map(String::as_str)), (22, Some("20")), "none that is young enough");
    // So many rows and no more, whatever their age.
    store.close().await;
    let how = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = rusqlite::Connection::open_with_flags_and_vfs(dir.path().join("espush.db"), how, c"espush").unwrap();
    db.execute("UPDATE audit SET id = id + ?1 WHERE target IN ('x', 'y')", [limits::AUDIT_ROWS_MAX as i64]).unwrap();
    drop(db);
    let store = Store::open(dir.path()).unwrap();
    store.record(entry(year + 21, "ci", "z", 200)).await.unwrap();
    store.record(entry(year + 21, "ci", "z", 200)).await.unwrap();
    assert_eq!(targets(&store, AuditQuery::default()).await, ["z", "z", "y", "x"]);
}
