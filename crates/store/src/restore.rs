//! Restoring: a backup becomes a data directory again. The backup is read to its end and found whole before
//! anything is touched, and what was in the directory is put aside, never deleted.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::backup::{self, BackupError, Manifest, at, pour};
use crate::copy::{self, Progress};
use crate::key;
use crate::open;

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// The backup that it came from.
    pub manifest: Manifest,
    /// Where what was there before is now.
    pub aside: Option<PathBuf>,
}

/// Puts the backup `file` into the data directory `dir`, which must be empty or, with `force`, is put aside
/// under a name that ends in `stamp`.
pub fn restore(file: &Path, dir: &Path, force: bool, stamp: &str, progress: Progress<'_>) -> Result<Restored, BackupError> {
    let mut checked = backup::check(file, progress)?;
    let damaged = |why: &str| BackupError::Damaged { file: file.to_owned(), why: why.to_owned() };
    let key = checked.key().ok_or_else(|| damaged("it has no key"))?;
    let small = checked.files().ok_or_else(|| damaged("a file in it has a name that leads out of the directory"))?;

    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    // Nobody may run there meanwhile.
    let lock = open::take_lock(dir)?;
    let aside = match holds_something(dir).map_err(at(dir))? {
        false => None,
        true if force => Some(put_aside(dir, stamp).map_err(at(dir))?),
        true => return Err(BackupError::NotEmpty(dir.to_owned())),
    };
    // It may have moved away with what was there.
    let moved = !dir.join("lock").exists();
    let lock = (lock, if moved { Some(open::take_lock(dir)?) } else { None });

    for (path, body) in small {
        let path = dir.join(path);
        write_small(&path, &body).map_err(at(&path))?;
    }
    // The database before the key: where this is cut short, a start is refused for want of the key and
    // does not take the place for a new one.
    let database = dir.join(open::DATABASE);
    let draft = dir.join("espush.db.part");
    let mut fill = || -> io::Result<()> {
        let mut to = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        pour(&mut checked.file, checked.manifest.database_bytes, &mut |piece| to.write_all(piece), progress)?;
        copy::publish(&draft, &database)
    };
    fill().map_err(at(&draft))?;
    key::write(&dir.join("secret.key"), &key).map_err(at(dir))?;
    drop(lock);
    Ok(Restored { manifest: checked.manifest, aside })
}

/// Whether there is more than the lock that we made ourselves.
fn holds_something(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        if entry?.file_name() != "lock" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Moves everything but the lock into a directory beside, or into one inside where there is no beside
/// (the data directory is a mount point, or its parent is not ours).
fn put_aside(dir: &Path, stamp: &str) -> io::Result<PathBuf> {
    let whole = dir.canonicalize()?;
    let mut beside = whole.clone().into_os_string();
    beside.push(format!(".before-{stamp}"));
    let beside = PathBuf::from(beside);
    match fs::rename(&whole, &beside) {
        Ok(()) => {
            // The lock moved along. A new directory takes the place.
            DirBuilder::new().mode(0o700).create(&whole)?;
            copy::sync_parent(&whole)?;
            return Ok(beside);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    let inside = whole.join(format!("before-{stamp}"));
    DirBuilder::new().mode(0o700).create(&inside)?;
    for entry in fs::read_dir(&whole)? {
        let entry = entry?;
        if entry.path() != inside && entry.file_name() != "lock" {
            fs::rename(entry.path(), inside.join(entry.file_name()))?;
        }
    }
    File::open(&whole)?.sync_all()?;
    Ok(inside)
}

fn write_small(path: &Path, body: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(body)?;
    file.sync_all()?;
    copy::sync_parent(path)
}
