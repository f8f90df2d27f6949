//! The embedded store: one SQLite database in one data directory.

use std::path::{Path, PathBuf};

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
        source: std::io::Error,
    },
}

/// The embedded store.
pub struct Store {}

impl Store {
    /// Opens the data directory, making it (0700) when it is not there. Blocks while migrations run.
    pub fn open(dir: &Path) -> Result<Store, OpenError> {
        let _ = dir;
        todo!()
    }

    /// Finishes what is waiting, checkpoints and lets go of the directory. Afterwards everything answers
    /// `StoreError::Closed`. Dropping the store does the same, blocking.
    pub async fn close(&self) {
        todo!()
    }

    /// Transactions committed since the start.
    pub fn commits(&self) -> u64 {
        todo!()
    }
}
