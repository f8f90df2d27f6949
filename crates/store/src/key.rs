//! The key file: taken before the database, drafted for a new one, and given its name only when there is a
//! database that needs it, so that a key without its database tells that the database was lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use crate::copy;
use crate::disk::sums::PAGE_BYTES;
use crate::open::{OpenError, at};
use crate::seal::{KEY_BYTES, Seal};

const KEY_CHECK: &str = "key check";

/// The key of a data directory.
pub(crate) struct TakenKey {
    pub(crate) key: [u8; KEY_BYTES],
    pub(crate) seal: Seal,
    /// Whether it is new and waits for its database.
    pub(crate) drafted: bool,
}

/// Takes the key that is there, or drafts one for a directory that is new.
pub(crate) fn take(path: &Path, database: &Path) -> Result<TakenKey, OpenError> {
    // One that is shorter than a page was cut off, or was never finished.
    let is_empty = !fs::metadata(database).is_ok_and(|found| found.len() >= PAGE_BYTES as u64);
    let draft = draft_of(path);
    if path.exists() {
        if is_empty {
            let why = "it is missing, empty or cut off beside its key (to begin anew on purpose, remove secret.key)".to_owned();
            return Err(OpenError::Damaged { database: database.to_owned(), why });
        }
        return read(path).map(|(key, seal)| TakenKey { key, seal, drafted: false });
    }
    if !is_empty {
        // A new key would make every secret in the database unreadable for good. One that waits was cut
        // short when its database had just been made.
        let key_is_in = if draft.exists() { &draft } else { path };
        return read(key_is_in).map(|(key, seal)| TakenKey { key, seal, drafted: true });
    }
    let key = Seal::new_key().ok_or_else(|| no_key(path, "the system has no randomness for a key"))?;
    write_draft(&draft, &key).map_err(at(&draft))?;
    Ok(TakenKey { key, seal: Seal::new(&key), drafted: true })
}

/// Where a key waits until it has its database.
fn draft_of(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The key that is there.
pub(crate) fn read(path: &Path) -> Result<([u8; KEY_BYTES], Seal), OpenError> {
    let mut key = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut key)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(no_key(path, "the key is missing beside its database"));
        }
        read => read.map_err(at(path))?,
    };
    let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| no_key(path, "the key does not have 32 bytes"))?;
    Ok((key, Seal::new(&key)))
}

fn no_key(path: &Path, why: &str) -> OpenError {
    OpenError::Key { path: path.to_owned(), why: why.to_owned() }
}

/// The key is another database's.
pub(crate) fn foreign(dir: &Path) -> OpenError {
    no_key(&dir.join("secret.key"), "this is not the key that the database was sealed with")
}

/// Writes a key: whole and on disk before the name appears, so that power loss never leaves half a key.
pub(crate) fn write(path: &Path, key: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    write_draft(&draft, key)?;
    copy::publish(&draft, path)
}

/// Gives a drafted key its name.
pub(crate) fn publish(path: &Path) -> io::Result<()> {
    copy::publish(&draft_of(path), path)
}

fn write_draft(draft: &Path, key: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(draft)?;
    file.write_all(key)?;
    file.sync_all()?;
    copy::sync_parent(draft)
}

/// Whether the key opens what it sealed when the database was made.
pub(crate) fn check(db: &Connection, seal: &Seal) -> rusqlite::Result<bool> {
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
