//! From what SQLite says to what the contract says. Corruption is told apart from everything else,
//! because only a person can mend it.

use contract::store::StoreError;
use rusqlite::{ErrorCode, ffi};

/// A [`StoreError`] that `?` can make from SQLite's errors.
#[derive(Debug)]
pub(crate) struct Trouble(pub(crate) StoreError);

/// What a job comes to.
pub(crate) type Outcome<T> = Result<T, Trouble>;

const FIX: &str = "stop espush and run `espush repair`, or restore the data directory from a backup";

/// A row that cannot be what it should be.
pub(crate) fn damaged(what: impl std::fmt::Display) -> Trouble {
    Trouble(StoreError::Damaged(format!("{what}; {FIX}")))
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        use rusqlite::Error as E;
        let code = error.sqlite_error().map(|error| error.extended_code);
        match (&error, error.sqlite_error_code()) {
            (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            | (
                E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..) | E::Utf8Error(..),
                _,
            ) => damaged(format_args!("espush.db: {error}")),
            // The file layer's word for a page that does not fit its checksum.
            _ if code == Some(ffi::SQLITE_IOERR_DATA) => {
                damaged("a page of espush.db is not what was written there (its checksum does not fit)")
            }
            (_, Some(ErrorCode::DiskFull)) => Trouble(StoreError::Full("the file system is full; make room on it".to_owned())),
            (_, Some(ErrorCode::SystemIoFailure)) => Trouble(StoreError::Disk(format!("the disk failed ({error}); check it"))),
            _ => Trouble(StoreError::Engine(error.to_string())),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble(error)
    }
}
