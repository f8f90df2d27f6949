//! From what SQLite says to what the contract says. Corruption is told apart from everything else,
//! because only a person can mend it.

use contract::store::StoreError;
use rusqlite::ErrorCode;

/// A [`StoreError`] that `?` can make from SQLite's errors.
#[derive(Debug)]
pub(crate) struct Trouble(pub(crate) StoreError);

/// What a job comes to.
pub(crate) type Outcome<T> = Result<T, Trouble>;

const FIX: &str = "stop espush and restore the data directory from a backup";

/// A row that cannot be what it should be.
pub(crate) fn damaged(what: impl std::fmt::Display) -> Trouble {
    Trouble(StoreError::Damaged(format!("{what}; {FIX}")))
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        use rusqlite::Error as E;
        match (&error, error.sqlite_error_code()) {
            (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            | (
                E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..) | E::Utf8Error(..),
                _,
            ) => damaged(format_args!("espush.db: {error}")),
            (_, Some(ErrorCode::DiskFull)) => Trouble(StoreError::Engine("the disk is full; make room".to_owned())),
            _ => Trouble(StoreError::Engine(error.to_string())),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble(error)
    }
}
