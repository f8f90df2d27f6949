//! The snapshot before a migration: there is no way back from a newer schema, so the state before it stays
//! in the data directory, as a backup that `espush restore` takes. Only the newest are kept.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::UnixMs;
use rusqlite::Connection;

use crate::backup::{self, About, BackupError, at};
use crate::seal::KEY_BYTES;

/// Snapshots that are kept.
const KEPT: usize = 2;
const SUFFIX: &str = "espush-backup";

/// Keeps the state of schema `version`.
pub(crate) fn take(db: &mut Connection, dir: &Path, key: &[u8; KEY_BYTES], version: i64) -> Result<PathBuf, BackupError> {
    let snapshots = dir.join("snapshots");
    DirBuilder::new().recursive(true).mode(0o700).create(&snapshots).map_err(at(&snapshots))?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixMs(since_1970.as_millis() as i64).rfc3339();
    let to = snapshots.join(format!("{}-schema-{version}.{SUFFIX}", now.replace(':', "-")));
    let about = About { program: "the version before", created: &now, files: &[] };
    backup::write(db, dir, key, version, &to, &about, &mut |_, _| {})?;
    prune(&snapshots).map_err(at(&snapshots))?;
    Ok(to)
}

/// Removes all but the newest; their names begin with the time.
fn prune(snapshots: &Path) -> io::Result<()> {
    let mut found: Vec<PathBuf> = fs::read_dir(snapshots)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>()?;
    found.retain(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX));
    found.sort();
    for old in found.iter().rev().skip(KEPT) {
        fs::remove_file(old)?;
    }
    Ok(())
}
