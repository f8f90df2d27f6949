//! A compact copy of a database, taken while others go on writing: one consistent state, every page read
//! through its checksum and sealed anew, nothing of what was deleted.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::disk::sums::PAGE_BYTES;
use crate::disk::vfs::{self, Making};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// SQLite's number for giving free pages back when it is told to.
const INCREMENTAL: u64 = 2;

/// Told how many bytes of how many are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Engine(#[from] rusqlite::Error),
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Copies what `db` holds into the new file `to`, which is the owner's alone. Not yet synced.
pub(crate) fn compact(db: &mut Connection, to: &Path, progress: Progress<'_>) -> Result<(), CopyError> {
    let name = to.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8"))?;
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Made here for its mode: SQLite takes an empty file as it is.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let figure = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    let total = (figure("PRAGMA page_count")?.saturating_sub(figure("PRAGMA freelist_count")?)) * PAGE_BYTES as u64;
    vfs::reserve(db);
    // Asked first: where it is so already, saying it again would write into the database.
    if figure("PRAGMA auto_vacuum")? != INCREMENTAL {
        db.pragma_update(None, "auto_vacuum", INCREMENTAL as i64)?;
    }
    thread::scope(|scope| {
        let worker = scope.spawn(move || vfs::making_tables(Making::InNew, || db.execute("VACUUM INTO ?1", [name])));
        while !worker.is_finished() {
            progress(fs::metadata(to).map_or(0, |file| file.len()).min(total), total);
            thread::park_timeout(TICK);
        }
        worker.join().unwrap_or(Err(rusqlite::Error::InvalidQuery))
    })?;
    progress(total, total);
    Ok(())
}

/// Gives a finished file its name, so that it is whole or not there even after a power cut.
pub(crate) fn publish(draft: &Path, to: &Path) -> io::Result<()> {
    File::open(draft)?.sync_all()?;
    fs::rename(draft, to)?;
    sync_parent(to)
}

/// Makes what happened to the names in a file's directory last.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}
