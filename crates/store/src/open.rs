//! Opening a data directory: taking its lock, its key and its database, in that order. Whatever does not
//! fit is refused with a sentence that names the fix; nothing is repaired or overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::limits;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::backup::BackupError;
use crate::check;
use crate::copy::{self, CopyError};
use crate::disk::{Disk, vfs};
use crate::key::{self, TakenKey};
use crate::migrations::{self, Found};
use crate::seal::{KEY_BYTES, Seal};
use crate::snapshot;
use crate::survey::Survey;

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
    #[error("{path}: {why}; choose another --data directory")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The database is ours, and not what was written there.
    #[error("{database} is damaged: {why}; save what is readable with `espush repair --data {dir}`, or bring a backup back with `espush restore FILE --data {dir} --force`",
        dir = database.parent().unwrap_or(database).display(), database = database.display())]
    Damaged {
        /// The database.
        database: PathBuf,
        /// What is damaged.
        why: String,
    },
    /// The key cannot be used.
    #[error("{path}: {why}; put the right key back, or run `espush restore` with a backup, which has it")]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The state before a migration could not be kept.
    #[error("the snapshot before the migration failed: {0}")]
    Snapshot(Box<BackupError>),
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

/// The database's name in the data directory.
pub(crate) const DATABASE: &str = "espush.db";

/// How long a connection waits for a lock that another process (a backup) holds for moments only.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

pub(crate) fn open(dir: &Path, disk: &Arc<Disk>) -> Result<Opened, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    let lock = take_lock(dir)?;
    let database = dir.join(DATABASE);
    let key_path = dir.join("secret.key");
    let TakenKey { key, seal, drafted } = key::take(&key_path, &database)?;
    // Made here so that it is nobody else's to read; SQLite gives its other files the same mode.
    OpenOptions::new().create(true).append(true).mode(0o600).open(&database).map_err(at(&database))?;
    vfs::register();
    vfs::attend(&database, disk).map_err(at(&database))?;
    let writer = take_database(dir, &database, &key, &seal)?;
    if drafted {
        // Only now is there a database that needs it: a key without one tells that the database was lost.
        key::publish(&key_path).map_err(at(&key_path))?;
    }
    Ok(Opened { lock, seal, database, writer })
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    move |source| OpenError::File { path: path.to_owned(), source }
}

pub(crate) fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(at(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path, source }),
    }
}

fn take_database(dir: &Path, path: &Path, key: &[u8; KEY_BYTES], seal: &Seal) -> Result<Connection, OpenError> {
    let engine = |error: rusqlite::Error| told(path, &error);
    let damaged = |why: String| OpenError::Damaged { database: path.to_owned(), why };
    if check::log_is_damaged(path).map_err(at(path))? {
        return Err(damaged(traced(path, "the log")));
    }
    let mut db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(engine)?;
    let version = match migrations::inspect(&db).map_err(engine)? {
        Found::Ours(version) => version,
        Found::Foreign => return Err(unusable(path, "this is another program's database".to_owned())),
    };
    if version > migrations::NEWEST {
        return Err(OpenError::Newer { dir: dir.to_owned(), found: version, known: migrations::NEWEST });
    }
    if version == 0 {
        prepare_new(&db).map_err(engine)?;
    } else {
        // What a crash left half folded in is whole again when all of the log is in.
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(engine)?;
        if check::at_start(path) {
            let damage = check::look(path).map_err(at(path))?;
            if !damage.is_none() {
                return Err(damaged(damage.to_string()));
            }
        }
        db = with_checksums(db, path)?;
    }
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(engine)?;
    if mode != "wal" {
        return Err(unusable(path, format!("the file system cannot keep a write-ahead log (journal mode {mode})")));
    }
    prepare_writer(&db).map_err(engine)?;
    if (1..migrations::NEWEST).contains(&version) {
        let kept = snapshot::take(&mut db, dir, key, version).map_err(|error| OpenError::Snapshot(Box::new(error)))?;
        tracing::info!("schema {version} becomes {}; the state before it is kept in {}", migrations::NEWEST, kept.display());
    }
    migrations::migrate(&mut db, version).map_err(engine)?;
    match key::check(&db, seal).map_err(engine)? {
        true => Ok(db),
        false => Err(key::foreign(dir)),
    }
}

/// What an error of SQLite means to one who wants to start.
pub(crate) fn told(path: &Path, error: &rusqlite::Error) -> OpenError {
    let code = error.sqlite_error().map(|error| (error.code, error.extended_code));
    match code {
        Some((ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) | (_, ffi::SQLITE_IOERR_DATA)) => {
            OpenError::Damaged { database: path.to_owned(), why: traced(path, &error.to_string()) }
        }
        _ => unusable(path, error.to_string()),
    }
}

fn unusable(path: &Path, why: String) -> OpenError {
    OpenError::Unusable { path: path.to_owned(), why }
}

/// What is damaged, as far as it can be traced; else what is said of it.
fn traced(path: &Path, said: &str) -> String {
    let damage = Survey::of(path).map(|survey| survey.damage()).unwrap_or_default();
    if damage.is_none() { said.to_owned() } else { damage.to_string() }
}

/// Gives a database that was made before checksums were kept its own, if it is small: it is copied.
fn with_checksums(mut db: Connection, path: &Path) -> Result<Connection, OpenError> {
    let small = fs::metadata(path).is_ok_and(|file| file.len() <= limits::STORE_CONVERT_BYTES_MAX);
    if check::is_sealed(path).map_err(at(path))? || !small {
        return Ok(db);
    }
    let draft = path.with_extension("db.new");
    let copied = copy::compact(&mut db, &draft, &mut |_, _| {});
    match copied {
        Err(CopyError::Engine(error)) if error.sqlite_error_code() != Some(ErrorCode::DiskFull) => {
            return Err(told(path, &error));
        }
        Err(error) => {
            tracing::warn!("the database could not be given checksums and goes on without: {error}");
            let _ = fs::remove_file(&draft);
            return Ok(db);
        }
        Ok(()) => {}
    }
    // The last to close folds in and removes the log. Is one left, somebody else reads: another time.
    drop(db);
    let log_is_gone = !path.with_extension("db-wal").exists();
    if log_is_gone {
        copy::publish(&draft, path).map_err(at(path))?;
        tracing::info!("the pages of {} have checksums now", path.display());
    }
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| told(path, &error))
}

fn prepare_writer(db: &Connection) -> rusqlite::Result<()> {
    // FULL: in WAL mode NORMAL would lose the last commits at a power cut, and they are acknowledged.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // The log is cut back to this after a burst instead of staying as large as it ever was.
    db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    db.pragma_update(None, "cache_size", -16 * 1024)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Opens a database through our file layer.
pub(crate) fn connect(path: &Path, how: OpenFlags) -> rusqlite::Result<Connection> {
    Connection::open_with_flags_and_vfs(path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX, vfs::NAME)
}

/// Why a new database could not be made.
pub(crate) enum CreateError {
    Engine(rusqlite::Error),
    File(io::Error),
}

/// A new, empty database with room for checksums.
pub(crate) fn create(path: &Path) -> Result<Connection, CreateError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(CreateError::File)?;
    vfs::register();
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(CreateError::Engine)?;
    prepare_new(&db).map_err(CreateError::Engine)?;
    Ok(db)
}

/// A connection for another purpose than the store's own, in this process or another, whether or not a
/// store is open there. It may write, because it may have to recover a log that was left behind.
pub(crate) fn connect_beside(path: &Path) -> rusqlite::Result<Connection> {
    vfs::register();
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.busy_timeout(BUSY)?;
    Ok(db)
}

/// What can be decided only before a database has its first page.
fn prepare_new(db: &Connection) -> rusqlite::Result<()> {
    vfs::reserve(db);
    // Free pages can go back to the file system a few at a time.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")
}

/// A reader's own connection to a database that the writer has opened.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.pragma_update(None, "cache_size", -8 * 1024)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}
