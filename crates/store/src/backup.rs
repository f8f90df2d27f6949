//! Backups: one file with everything that another machine needs. It begins with the database (a whole
//! SQLite file, so that tools can look into it), then come the small files as JSON, then a footer of 48 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 32 | SHA-256 of everything before the footer |
//! | 8 | length of the JSON, big-endian |
//! | 8 | `ESPUSHB1` |
//!
//! Taken while the server runs, from any process that may read the data directory; the server is not asked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, Digest, SHA256, SHA256_OUTPUT_LEN};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::copy::{self, CopyError, Progress};
use crate::key;
use crate::migrations::{self, Found};
use crate::open::{self, OpenError};
use crate::seal::KEY_BYTES;

const MAGIC: &[u8; 8] = b"ESPUSHB1";
const FOOTER_BYTES: u64 = SHA256_OUTPUT_LEN as u64 + 8 + 8;
/// The JSON has a key and some certificates: far less than this.
const JSON_BYTES_MAX: u64 = 16 * 1024 * 1024;
const KEY: &str = "secret.key";

/// Why there is no backup, or why one cannot be used. The texts name the fix.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing to back up.
    #[error("{0} holds no espush data; name the server's directory with --data")]
    NoData(PathBuf),
    /// The file is there.
    #[error("{0} is there already; choose another name, or replace it with --force")]
    Exists(PathBuf),
    /// Not a backup at all.
    #[error("{0} is not a backup of espush")]
    Foreign(PathBuf),
    /// A backup that was changed or cut off since it was made.
    #[error("{file} is damaged ({why}); use another backup")]
    Damaged {
        /// The backup.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Made by a later version.
    #[error(
        "{file} was made by a newer espush ({program}, schema {found}; this program knows {known}); use that version or a later one"
    )]
    Newer {
        /// The backup.
        file: PathBuf,
        /// The version that made it.
        program: String,
        /// Its schema.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// The place to restore to holds something.
    #[error("{0} is not empty; choose another --data directory, or put the old one aside with --force")]
    NotEmpty(PathBuf),
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file system said no.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What stands in a backup beside the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the file: 1.
    pub format: u32,
    /// The version that made it.
    pub program: String,
    /// The database's schema.
    pub schema: i64,
    /// When it was made.
    pub created: String,
    /// Length of the database.
    pub database_bytes: u64,
    /// The small files, by their path in the data directory.
    files: Vec<Small>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Small {
    path: String,
    base64: String,
}

impl std::fmt::Debug for Small {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} …", self.path)
    }
}

/// Who makes a backup, and what goes along.
pub struct About<'a> {
    /// The program's version.
    pub program: &'a str,
    /// The time, for people.
    pub created: &'a str,
    /// Further files of the data directory, by their path in it (certificates that boards have pinned).
    pub files: &'a [PathBuf],
}

/// Makes a backup of the data directory `dir`, whether or not a server runs there.
pub fn make(dir: &Path, to: &Path, force: bool, about: &About<'_>, progress: Progress<'_>) -> Result<Manifest, BackupError> {
    let database = dir.join(open::DATABASE);
    if !database.exists() {
        return Err(BackupError::NoData(dir.to_owned()));
    }
    if !force && to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let (key, seal) = key::read(&dir.join(KEY))?;
    let refused = |error: rusqlite::Error| BackupError::from(open::told(&database, &error));
    let mut db = open::connect_beside(&database).map_err(refused)?;
    let schema = match migrations::inspect(&db).map_err(refused)? {
        Found::Ours(version) if version > migrations::NEWEST => {
            return Err(OpenError::Newer { dir: dir.to_owned(), found: version, known: migrations::NEWEST }.into());
        }
        Found::Ours(version) => version,
        Found::Foreign => return Err(BackupError::NoData(dir.to_owned())),
    };
    if schema > 0 && !key::check(&db, &seal).map_err(refused)? {
        return Err(key::foreign(dir).into());
    }
    write(&mut db, dir, &key, schema, to, about, progress)
}

/// Writes a backup of an open database.
pub(crate) fn write(
    db: &mut Connection,
    dir: &Path,
    key: &[u8; KEY_BYTES],
    schema: i64,
    to: &Path,
    about: &About<'_>,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let mut draft = to.as_os_str().to_owned();
    draft.push(".part");
    let draft = PathBuf::from(draft);
    let whole = write_draft(db, dir, key, schema, &draft, about, progress)
        .and_then(|manifest| copy::publish(&draft, to).map(|()| manifest).map_err(at(to)));
    if whole.is_err() {
        // Half a backup is none. That it cannot be removed would hide why there is none.
        let _ = fs::remove_file(&draft);
    }
    whole
}

fn write_draft(
    db: &mut Connection,
    dir: &Path,
    key: &[u8; KEY_BYTES],
    schema: i64,
    draft: &Path,
    about: &About<'_>,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    copy::compact(db, draft, progress).map_err(|error| match error {
        CopyError::Engine(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
            at(draft)(io::ErrorKind::StorageFull.into())
        }
        CopyError::Engine(error) => open::told(&dir.join(open::DATABASE), &error).into(),
        CopyError::File(error) => at(draft)(error),
    })?;
    let mut files = vec![Small { path: KEY.to_owned(), base64: STANDARD.encode(key) }];
    for path in about.files {
        let body = fs::read(dir.join(path)).map_err(at(&dir.join(path)))?;
        files.push(Small { path: path.to_string_lossy().into_owned(), base64: STANDARD.encode(body) });
    }
    let finish = || -> io::Result<Manifest> {
        let mut file = OpenOptions::new().read(true).write(true).open(draft)?;
        let database_bytes = file.metadata()?.len();
        let manifest = Manifest {
            format: 1,
            program: about.program.to_owned(),
            schema,
            created: about.created.to_owned(),
            database_bytes,
            files,
        };
        let mut sum = Context::new(&SHA256);
        let mut each = |piece: &[u8]| {
            sum.update(piece);
            Ok(())
        };
        pour(&mut file, database_bytes, &mut each, progress)?;
        let json = serde_json::to_vec(&manifest)?;
        sum.update(&json);
        file.write_all(&json)?;
        file.write_all(sum.finish().as_ref())?;
        file.write_all(&(json.len() as u64).to_be_bytes())?;
        file.write_all(MAGIC)?;
        file.sync_all()?;
        Ok(manifest)
    };
    finish().map_err(at(draft))
}

/// Reads `bytes` bytes of `from` piece by piece.
pub(crate) fn pour(
    from: &mut impl Read,
    bytes: u64,
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    progress: Progress<'_>,
) -> io::Result<()> {
    let mut piece = vec![0; 1024 * 1024];
    let mut done = 0;
    while done < bytes {
        let most = piece.len().min(usize::try_from(bytes - done).unwrap_or(usize::MAX));
        from.read_exact(&mut piece[..most])?;
        each(&piece[..most])?;
        done += most as u64;
        progress(done, bytes);
    }
    Ok(())
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError + '_ {
    move |source| BackupError::File { path: path.to_owned(), source }
}

/// Opens a backup and makes sure that it is whole: what it holds can be trusted afterwards.
pub fn check(file: &Path, progress: Progress<'_>) -> Result<Checked, BackupError> {
    let bad = |why: &str| BackupError::Damaged { file: file.to_owned(), why: why.to_owned() };
    let mut from = File::open(file).map_err(at(file))?;
    let bytes = from.metadata().map_err(at(file))?.len();
    let foreign = || BackupError::Foreign(file.to_owned());
    let before_footer = bytes.checked_sub(FOOTER_BYTES).ok_or_else(foreign)?;
    let mut footer = [0; FOOTER_BYTES as usize];
    let mut magic = [0; 16];
    let read_ends = |from: &mut File, magic: &mut [u8], footer: &mut [u8]| -> io::Result<()> {
        from.read_exact(magic)?;
        from.seek(SeekFrom::Start(before_footer))?;
        from.read_exact(footer)?;
        from.rewind()
    };
    read_ends(&mut from, &mut magic, &mut footer).map_err(at(file))?;
    let (sum, rest) = footer.split_at(SHA256_OUTPUT_LEN);
    if !rest.ends_with(MAGIC) {
        // One that was cut off still begins as a database does.
        return Err(if &magic == b"SQLite format 3\0" {
            bad("it was cut off, or is no backup but a database")
        } else {
            foreign()
        });
    }
    let json_bytes = rest.first_chunk().map_or(u64::MAX, |length| u64::from_be_bytes(*length));
    let database_bytes = before_footer.checked_sub(json_bytes).filter(|_| json_bytes <= JSON_BYTES_MAX);
    let database_bytes = database_bytes.ok_or_else(|| bad("its footer does not fit"))?;
    let mut found = Context::new(&SHA256);
    let mut json = Vec::new();
    let mut seen = 0;
    let mut each = |piece: &[u8]| {
        found.update(piece);
        let of_json = usize::try_from(database_bytes.saturating_sub(seen)).unwrap_or(usize::MAX).min(piece.len());
        json.extend_from_slice(&piece[of_json..]);
        seen += piece.len() as u64;
        Ok(())
    };
    pour(&mut from, before_footer, &mut each, progress).map_err(at(file))?;
    let found: Digest = found.finish();
    if found.as_ref() != sum {
        return Err(bad("its checksum does not fit"));
    }
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|_| bad("its list of files cannot be read"))?;
    if manifest.format != 1 || manifest.schema > migrations::NEWEST {
        let Manifest { program, schema, .. } = manifest;
        return Err(BackupError::Newer { file: file.to_owned(), program, found: schema, known: migrations::NEWEST });
    }
    if manifest.database_bytes != database_bytes {
        return Err(bad("its list of files does not fit"));
    }
    from.rewind().map_err(at(file))?;
    Ok(Checked { file: from, manifest })
}

/// A backup that is whole.
#[derive(Debug)]
pub struct Checked {
    pub(crate) file: File,
    /// What stands in it.
    pub manifest: Manifest,
}

impl Checked {
    /// The small files: where each goes in the data directory, and its bytes. The key is not among them.
    pub(crate) fn files(&self) -> Option<Vec<(PathBuf, Vec<u8>)>> {
        let others = self.manifest.files.iter().filter(|small| small.path != KEY);
        others.map(|small| Some((inner(&small.path)?, STANDARD.decode(&small.base64).ok()?))).collect()
    }

    pub(crate) fn key(&self) -> Option<[u8; KEY_BYTES]> {
        let key = self.manifest.files.iter().find(|small| small.path == KEY)?;
        STANDARD.decode(&key.base64).ok()?.try_into().ok()
    }
}

/// A path that stays in the data directory.
fn inner(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    path.components().all(|part| matches!(part, std::path::Component::Normal(_))).then_some(path)
}
