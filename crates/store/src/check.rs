//! The look at every page before a store is opened: one pass over the file, checksums only. What does not
//! fit is traced by a [`Survey`], which knows whether it matters and what lay there.
//!
//! A large file is looked at in the background instead, while the store is at work.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use model::limits;

use crate::disk::image::Image;
use crate::disk::sums::{self, PAGE_BYTES};
use crate::disk::{log, tree};
use crate::space::Watch;
use crate::survey::{Damage, Survey};

/// Pages read in one go.
const PIECE: usize = 256;
/// How often, and after which pause, a page that does not fit is looked at again before it counts as
/// damaged: it may have been written in that very moment.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a database's pages carry checksums. One that is still empty will.
pub(crate) fn is_sealed(database: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(database)?.take(8 * PAGE_BYTES as u64).read_to_end(&mut begin)?;
    Ok(sums::kept(&begin))
}

/// Whether the log that was left behind is damaged before its end. SQLite would take that place for the end.
pub(crate) fn log_is_damaged(database: &Path) -> io::Result<bool> {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    match File::open(path) {
        Ok(file) => log::is_damaged(BufReader::with_capacity(PIECE * PAGE_BYTES, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Looks at every page of a database that nobody writes to and whose log is folded in.
pub(crate) fn look(database: &Path) -> io::Result<Damage> {
    let file = File::open(database)?;
    let there = file.metadata()?.len() / PAGE_BYTES as u64;
    if there == 0 || !is_sealed(database)? {
        return Ok(Damage::default());
    }
    let mut told = None;
    let suspects = suspects(file, &mut || false, &mut |first| told = tree::u32_at(first, 28))?;
    if suspects.is_empty() && told.is_some_and(|told| u64::from(told) <= there) {
        return Ok(Damage::default());
    }
    Ok(Survey::of(database)?.damage())
}

/// Pages whose checksum does not fit. `first` is shown the first page.
fn suspects(mut file: File, stop: &mut dyn FnMut() -> bool, first: &mut dyn FnMut(&[u8])) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut piece = vec![0; PIECE * PAGE_BYTES];
    let mut number = 1;
    while !stop() {
        let mut filled = 0;
        while filled < piece.len() {
            match file.read(&mut piece[filled..])? {
                0 => break,
                more => filled += more,
            }
        }
        // An end that is no whole page is counted as a page that is missing.
        for page in piece[..filled].as_chunks::<PAGE_BYTES>().0 {
            if number == 1 {
                first(page);
            }
            if number != tree::lock_page() && !sums::fits(page, number.into()) {
                found.push(number);
            }
            number += 1;
        }
        if filled < piece.len() {
            break;
        }
    }
    Ok(found)
}

/// Looks at every page of a database that is at work, unless the store closes first.
pub(crate) fn in_background(database: &Path, watch: &Arc<Watch>) {
    let look = || -> io::Result<Vec<u32>> {
        if !is_sealed(database)? {
            return Ok(Vec::new());
        }
        let mut suspects = suspects(File::open(database)?, &mut || watch.is_closing(), &mut |_| {})?;
        for _ in 0..LOOKS {
            if suspects.is_empty() || watch.is_closing() {
                return Ok(Vec::new());
            }
            thread::park_timeout(PAUSE);
            let image = Image::open(database)?;
            let free = image.free();
            suspects.retain(|page| *page <= image.pages && !free.contains(page) && image.page(*page).is_none());
        }
        Ok(suspects)
    };
    match look() {
        Ok(bad) if bad.is_empty() => {}
        Ok(bad) => {
            let named: Vec<String> = bad.iter().take(5).map(u32::to_string).collect();
            watch.damaged(&format!(
                "{} pages of espush.db are not what was written there (page {}); stop espush and run `espush repair`, \
                 or `espush restore` with a backup",
                bad.len(),
                named.join(", ")
            ));
        }
        Err(error) => tracing::warn!(%error, "the database's pages could not be looked at"),
    }
}

/// Whether a database is small enough to be looked at before anything else.
pub(crate) fn at_start(database: &Path) -> bool {
    fs::metadata(database).is_ok_and(|file| file.len() <= limits::STORE_CHECK_AT_START_BYTES_MAX)
}
