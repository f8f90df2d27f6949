//! The schema and its versions. Each file in `migrations/` is one step, run once in a transaction;
//! `PRAGMA user_version` counts them. There is no way back: a database newer than the program is refused.

use rusqlite::Connection;

use crate::disk::vfs::{self, Making};

/// "espu": marks the file as ours, for `file(1)` and against opening a stranger's database.
pub(crate) const APPLICATION_ID: i64 = 0x6573_7075;

const STEPS: &[&str] = &[
    include_str!("../migrations/0001_tables.sql"),
    include_str!("../migrations/0002_accounts.sql"),
    include_str!("../migrations/0003_sessions.sql"),
    include_str!("../migrations/0004_audiences.sql"),
    include_str!("../migrations/0005_collapse.sql"),
    include_str!("../migrations/0006_resends.sql"),
    include_str!("../migrations/0007_paces.sql"),
    include_str!("../migrations/0008_schedules.sql"),
    include_str!("../migrations/0009_priorities.sql"),
    include_str!("../migrations/0010_steps.sql"),
    include_str!("../migrations/0011_fleet.sql"),
    include_str!("../migrations/0012_twins.sql"),
    include_str!("../migrations/0013_peers.sql"),
    include_str!("../migrations/0014_meta.sql"),
    include_str!("../migrations/0015_push_ages.sql"),
    include_str!("../migrations/0016_webhooks.sql"),
    include_str!("../migrations/0017_token_scopes.sql"),
];

/// The newest schema of this program.
pub(crate) const NEWEST: i64 = STEPS.len() as i64;

/// What kind of file this is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A database of ours at this version; 0 is a new one.
    Ours(i64),
    /// A database of somebody else.
    Foreign,
}

/// Looks without changing anything.
pub(crate) fn inspect(db: &Connection) -> rusqlite::Result<Found> {
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application, version, tables) {
        (0, 0, 0) => Found::Ours(0),
        (APPLICATION_ID, version, _) => Found::Ours(version),
        _ => Found::Foreign,
    })
}

/// Brings the database from version `from` to the newest.
pub(crate) fn migrate(db: &mut Connection, from: i64) -> rusqlite::Result<()> {
    migrate_to(db, from, NEWEST)
}

/// Brings the database from version `from` to version `to`.
pub(crate) fn migrate_to(db: &mut Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    for (step, version) in STEPS.iter().zip(1i64..).filter(|(_, version)| (from + 1..=to).contains(version)) {
        let transaction = db.transaction()?;
        vfs::making_tables(Making::Anywhere, || transaction.execute_batch(step))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
