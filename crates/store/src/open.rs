//! Opening a data directory: taking its lock, its key and its database, in that order. Whatever does not
//! fit is refused with a sentence that names the fix; nothing is repaired or overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::migrations::{self, Found};
use crate::seal::{KEY_BYTES, Seal};

/// Why a data directory could not be opened. The texts name the fix.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another running espush; stop that one, or choose another --data directory")]
    InUse(PathBuf),
    /// Written by a later version.
    #[error("{dir} was written by a newer espush (schema {found}, this program knows {known}); run that version or a later one")]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// The database is there, but it is not ours or not readable.
    #[error("{path}: {why}; restore the data directory from a backup, or choose another --data directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file system said no.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A data directory that is ours now.
pub(crate) struct Opened {
    /// Held for as long as the database is open; the system lets go of it even after `kill -9`.
    pub(crate) lock: File,
    pub(crate) seal: Seal,
    pub(crate) database: PathBuf,
    pub(crate) writer: Connection,
}

const KEY_CHECK: &str = "key check";

pub(crate) fn open(dir: &Path) -> Result<Opened, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    let lock = take_lock(dir)?;
    let database = dir.join("espush.db");
    let seal = take_key(&dir.join("secret.key"), &database)?;
    // Made here so that it is nobody else's to read; SQLite gives its other files the same mode.
    OpenOptions::new().create(true).append(true).mode(0o600).open(&database).map_err(at(&database))?;
    let writer = take_database(dir, &database, &seal)?;
    Ok(Opened { lock, seal, database, writer })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    move |source| OpenError::File { path: path.to_owned(), source }
}

fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(at(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path, source }),
    }
}

fn take_key(path: &Path, database: &Path) -> Result<Seal, OpenError> {
    let damaged = |why: &str| OpenError::Damaged { path: path.to_owned(), why: why.to_owned() };
    match File::open(path) {
        Ok(mut file) => {
            let mut key = Vec::new();
            file.read_to_end(&mut key).map_err(at(path))?;
            let key: &[u8; KEY_BYTES] = key.as_slice().try_into().map_err(|_| damaged("the key does not have 32 bytes"))?;
            Ok(Seal::new(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A new key would make every secret in the database unreadable for good.
            if fs::metadata(database).is_ok_and(|found| found.len() > 0) {
                return Err(damaged("the key is missing beside its database"));
            }
            let key = Seal::new_key().ok_or_else(|| damaged("the system has no randomness for a key"))?;
            write_key(path, &key).map_err(at(path))?;
            Ok(Seal::new(&key))
        }
        Err(error) => Err(at(path)(error)),
    }
}

/// Whole and on disk before the name appears, so that power loss never leaves half a key.
fn write_key(path: &Path, key: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn take_database(dir: &Path, path: &Path, seal: &Seal) -> Result<Connection, OpenError> {
    let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
    let engine = |error: rusqlite::Error| damaged(error.to_string());
    let mut db =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(engine)?;
    let version = match migrations::inspect(&db).map_err(engine)? {
        Found::Ours(version) => version,
        Found::Foreign => return Err(damaged("this is another program's database".to_owned())),
    };
    if version > migrations::NEWEST {
        return Err(OpenError::Newer { dir: dir.to_owned(), found: version, known: migrations::NEWEST });
    }
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(engine)?;
    if mode != "wal" {
        return Err(damaged(format!("the file system cannot keep a write-ahead log (journal mode {mode})")));
    }
    prepare_writer(&db).map_err(engine)?;
    migrations::migrate(&mut db, version).map_err(engine)?;
    match check_key(&db, seal).map_err(engine)? {
        true => Ok(db),
        false => Err(OpenError::Damaged {
            path: dir.join("secret.key"),
            why: "this is not the key that the database was sealed with".to_owned(),
        }),
    }
}

fn prepare_writer(db: &Connection) -> rusqlite::Result<()> {
    // FULL: in WAL mode NORMAL would lose the last commits at a power cut, and they are acknowledged.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // The log is cut back to this after a burst instead of staying as large as it ever was.
    db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    db.pragma_update(None, "cache_size", -16 * 1024)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// A reader's own connection to a database that the writer has opened.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.pragma_update(None, "cache_size", -8 * 1024)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Whether the key opens what it sealed when the database was made.
fn check_key(db: &Connection, seal: &Seal) -> rusqlite::Result<bool> {
    use rusqlite::OptionalExtension;
    let sealed: Option<Vec<u8>> =
        db.query_row("SELECT value FROM meta WHERE name = ?1", [KEY_CHECK], |row| row.get(0)).optional()?;
    match sealed {
        Some(sealed) => Ok(seal.open(KEY_CHECK, 0, &sealed).is_some()),
        None => {
            let Some(sealed) = seal.seal(KEY_CHECK, 0, "espush") else { return Ok(false) };
            db.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", (KEY_CHECK, sealed))?;
            Ok(true)
        }
    }
}
