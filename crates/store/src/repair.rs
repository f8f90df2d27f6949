//! Repair: every row that can be read goes into a new database, and what cannot is listed. The damaged files
//! stay beside it. Never done by itself: what is lost is for a person to judge.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::copy;
use crate::key;
use crate::migrations;
use crate::open::{self, OpenError};
use crate::registry::APP_KEY;
use crate::seal::Seal;
use crate::survey::{Damage, Row, Survey, shown};

/// The schema that brought sessions.
const SESSIONS_SINCE: i64 = 3;
/// What waits needs its session and its message, and a message knows in how many sessions it waits.
const SESSIONS_AGREE: &str = "
    DELETE FROM queued WHERE session NOT IN (SELECT id FROM sessions) OR message NOT IN (SELECT id FROM messages);
    DELETE FROM wishes WHERE session NOT IN (SELECT id FROM sessions);
    DELETE FROM wills WHERE session NOT IN (SELECT id FROM sessions);
    DELETE FROM claims WHERE session NOT IN (SELECT id FROM sessions);
    CREATE TEMP TABLE waiting AS SELECT message, count(*) AS waits FROM queued GROUP BY message;
    UPDATE messages SET waits = coalesce((SELECT waits FROM temp.waiting WHERE message = messages.id), 0);
    DELETE FROM messages WHERE waits = 0;
    DROP TABLE temp.waiting;
";

/// Rows that are listed by their keys; more are counted.
const LISTED_MAX: usize = 20;

/// Why there is nothing to repair with.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Too much is lost.
    #[error("{0}: the list of tables is damaged, nothing can be read without it; use `espush restore` with a backup")]
    Hopeless(PathBuf),
    /// The new database could not be written.
    #[error("the new database could not be written: {0}")]
    Engine(#[from] rusqlite::Error),
    /// The file system said no.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What became of a table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Rows that were saved.
    pub saved: u64,
    /// Rows that are lost and whose keys are known.
    pub lost: Vec<String>,
    /// More of those.
    pub lost_more: u64,
    /// Rows that were left out because what they belonged to is lost.
    pub left_out: u64,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What was wrong.
    pub damage: Damage,
    /// The tables.
    pub tables: Vec<Table>,
    /// Where the damaged database is now.
    pub aside: PathBuf,
}

/// Makes a new database of what can be read in the data directory `dir`; the damaged one gets a name that
/// ends in `stamp`. Nothing damaged: still done, which gives an old database its checksums.
pub fn repair(dir: &Path, stamp: &str) -> Result<Repaired, RepairError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| RepairError::File { path, source }
    };
    let _lock = open::take_lock(dir)?;
    let (_, seal) = key::read(&dir.join("secret.key"))?;
    let database = dir.join(open::DATABASE);
    let survey = Survey::of(&database).map_err(at(&database))?;
    let damage = survey.damage();
    let Some(version) = survey.version.filter(|version| *version > 0 && survey.trees.len() > 1) else {
        return Err(RepairError::Hopeless(database));
    };
    if version > migrations::NEWEST {
        return Err(OpenError::Newer { dir: dir.to_owned(), found: version, known: migrations::NEWEST }.into());
    }

    let draft = dir.join("espush.db.repaired");
    remove_all(&draft).map_err(at(&draft))?;
    let mut db = open::create(&draft).map_err(|error| match error {
        open::CreateError::Engine(error) => RepairError::Engine(error),
        open::CreateError::File(source) => RepairError::File { path: draft.clone(), source },
    })?;
    migrations::migrate_to(&mut db, 0, version)?;
    db.pragma_update(None, "foreign_keys", false)?;
    let mut tables = Vec::new();
    let filling = db.transaction()?;
    for tree in (1..survey.trees.len()).filter(|tree| survey.trees[*tree].is_table) {
        tables.extend(save(&filling, &survey, tree)?);
    }
    replace_apps(&filling, &seal)?;
    // Points whose stream's name is lost: they are of a stream all the same.
    filling.execute_batch(
        "INSERT OR IGNORE INTO streams (device, stream, name)
         SELECT DISTINCT device, stream, 'lost-' || stream FROM points
         WHERE NOT EXISTS (SELECT 1 FROM streams WHERE streams.device = points.device AND streams.stream = points.stream)",
    )?;
    for table in &mut tables {
        table.left_out = leave_out(&filling, &table.name)?;
    }
    if version >= SESSIONS_SINCE {
        filling.execute_batch(SESSIONS_AGREE)?;
    }
    count_on(&filling)?;
    filling.commit()?;
    db.close().map_err(|(_, error)| error)?;

    let aside = dir.join(format!("{}.damaged-{stamp}", open::DATABASE));
    for suffix in ["-wal", ""] {
        let from = with_suffix(&database, suffix);
        if from.exists() {
            fs::rename(&from, with_suffix(&aside, suffix)).map_err(at(&from))?;
        }
    }
    remove(&with_suffix(&database, "-shm")).map_err(at(&database))?;
    copy::publish(&draft, &database).map_err(at(&database))?;
    Ok(Repaired { damage, tables, aside })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_all(path: &Path) -> std::io::Result<()> {
    ["", "-wal", "-shm", "-journal"].iter().try_for_each(|suffix| remove(&with_suffix(path, suffix)))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A table's columns as its records have them: first the key, where rows have no number.
fn columns_of(db: &Connection, table: &str, by_rowid: bool) -> rusqlite::Result<Vec<String>> {
    let mut columns: Vec<(String, i64)> = db
        .prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if !by_rowid {
        columns.sort_by_key(|(_, pk)| if *pk == 0 { i64::MAX } else { *pk });
    }
    Ok(columns.into_iter().map(|(name, _)| name).collect())
}

/// The column that is the row's number, which its record does not repeat.
fn numbered(db: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT name FROM pragma_table_info(?1) WHERE pk = 1 AND upper(type) = 'INTEGER'
               AND (SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0) = 1";
    db.prepare(sql)?.query_map([table], |row| row.get(0))?.next().transpose()
}

/// Saves a table's rows. `None` for a table that this schema does not have.
fn save(db: &Connection, survey: &Survey, tree: usize) -> rusqlite::Result<Option<Table>> {
    let name = &survey.trees[tree].name;
    let known: bool =
        db.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1", [name], |row| row.get(0))?;
    if !known {
        return Ok(None);
    }
    let mut table = Table { name: name.clone(), saved: 0, lost: Vec::new(), lost_more: 0, left_out: 0 };
    let lose = |key: String, table: &mut Table| match table.lost.len() {
        0..LISTED_MAX => table.lost.push(key),
        _ => table.lost_more += 1,
    };
    let numbered = numbered(db, name)?;
    let mut columns = Vec::new();
    for row in survey.rows(tree) {
        let Row { rowid, mut values } = match row {
            Ok(row) => row,
            Err(key) => {
                lose(key.unwrap_or_else(|| "a row without a readable key".to_owned()), &mut table);
                continue;
            }
        };
        if columns.is_empty() {
            columns = columns_of(db, name, rowid.is_some())?;
        }
        if let (Some(rowid), Some(column)) = (rowid, &numbered)
            && let Some(place) = columns.iter().position(|name| name == column)
            && let Some(value) = values.get_mut(place)
        {
            *value = Value::Integer(rowid);
        }
        values.truncate(columns.len());
        let names = columns[..values.len()].iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let marks = vec!["?"; values.len()].join(", ");
        let mut insert = db.prepare_cached(&format!("INSERT INTO \"{name}\" ({names}) VALUES ({marks})"))?;
        match insert.execute(params_from_iter(values.iter())) {
            Ok(_) => table.saved += 1,
            // A page that is whole and older than its neighbours: the row is there already, or is none.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                lose(rowid.map_or_else(|| shown(&values), |rowid| rowid.to_string()), &mut table);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(table))
}

/// Devices whose app is lost get one with a key that nobody knows: they log in with secrets of their own,
/// and only for the want of that row they must not be lost.
fn replace_apps(db: &Connection, seal: &Seal) -> rusqlite::Result<()> {
    let lost: Vec<u32> = db
        .prepare("SELECT DISTINCT app FROM devices WHERE app NOT IN (SELECT id FROM apps)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for app in lost {
        let key: Option<String> = Seal::new_key().map(|key| key[..16].iter().map(|byte| format!("{byte:02x}")).collect());
        let Some(sealed) = key.and_then(|key| seal.seal(APP_KEY, app, &key)) else { continue };
        db.execute(
            "INSERT INTO apps (id, key, name, open, single, settings, created) VALUES (?1, ?2, ?3, 0, 0, '{}', 0)",
            (app, sealed, format!("app {app}, lost and replaced by a repair")),
        )?;
    }
    Ok(())
}

/// Removes rows that point at rows which are lost. How many.
fn leave_out(db: &Connection, table: &str) -> rusqlite::Result<u64> {
    let mut keys: Vec<(String, String, String)> = db
        .prepare("SELECT \"from\", \"table\", coalesce(\"to\", \"from\") FROM pragma_foreign_key_list(?1)")?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    keys.sort();
    let mut removed = 0;
    for (from, parent, to) in keys {
        let sql = format!(
            "DELETE FROM \"{table}\" WHERE \"{from}\" IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM \"{parent}\" AS parent WHERE parent.\"{to}\" = \"{table}\".\"{from}\")"
        );
        removed += db.execute(&sql, [])? as u64;
    }
    Ok(removed)
}

/// No number may be given twice, even when the counter itself is what was lost.
fn count_on(db: &Connection) -> rusqlite::Result<()> {
    let sources = [
        ("app", "apps", "id"),
        ("device", "devices", "number"),
        ("device", "points", "device"),
        ("token", "tokens", "id"),
        ("push", "pushes", "id"),
        ("account", "accounts", "id"),
        ("schedule", "schedules", "id"),
        ("webhook", "webhooks", "id"),
        ("webhook_delivery", "webhook_deliveries", "id"),
    ];
    for (kind, table, column) in sources {
        let there: bool =
            db.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1", [table], |row| row.get(0))?;
        if there {
            let sql = format!(
                "INSERT INTO counters (kind, last) SELECT ?1, max({column}) FROM {table} HAVING max({column}) IS NOT NULL
                 ON CONFLICT (kind) DO UPDATE SET last = max(last, excluded.last)"
            );
            db.execute(&sql, [kind])?;
        }
    }
    Ok(())
}
