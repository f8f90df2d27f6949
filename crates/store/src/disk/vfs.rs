//! The file layer: SQLite's own for this system, with two things added on the way through. Every page of a
//! database is sealed as it is written and looked at as it is read (see [`sums`]), a frame of the log
//! likewise (see [`log`](super::log)); and a write or fsync that fails is noted in the database's [`Disk`].
//! What does not fit answers SQLITE_IOERR_DATA, and nothing of it reaches a caller.
//!
//! The one module with `unsafe`: SQLite's file layers are tables of C functions. What makes it sound stands
//! at each use; all of it rests on SQLite's promises for a `sqlite3_file`: its memory has `szOsFile` bytes,
//! aligned for pointers; it is used by one thread at a time; nothing comes after `xClose`.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::{io, ptr, slice};

use rusqlite::{Connection, ffi};

use super::sums::{self, PAGE_BYTES, Page, RESERVED_BYTES};
use super::{Disk, log};

/// The name by which connections ask for this layer.
pub(crate) const NAME: &CStr = c"espush";

/// SQLite's own layer, under ours.
struct Under(*mut ffi::sqlite3_vfs);
// SAFETY: SQLite's table of its own layer is written once, before anyone can find it, and never freed.
unsafe impl Send for Under {}
// SAFETY: as above.
unsafe impl Sync for Under {}

static UNDER: OnceLock<Under> = OnceLock::new();

/// The disks of the databases that this process has open for writing, by the database's path.
static DISKS: Mutex<Vec<(PathBuf, Weak<Disk>)>> = Mutex::new(Vec::new());

thread_local! {
    /// Where this thread makes tables.
    static MAKES_TABLES: Cell<Making> = const { Cell::new(Making::Nowhere) };
}

/// In which databases a thread makes tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Making {
    Nowhere,
    /// In those that were empty when they were opened: what is copied from others is looked at in full.
    InNew,
    Anywhere,
}

/// Does `work`, which makes tables. To give a new root its place SQLite moves the page that is there, and
/// then reads the place again without a use for what it finds: where the page had never been written, there
/// is nothing, or zeros. That is no damage, here and nowhere else.
pub(crate) fn making_tables<T>(making: Making, work: impl FnOnce() -> T) -> T {
    MAKES_TABLES.set(making);
    let done = work();
    MAKES_TABLES.set(Making::Nowhere);
    done
}

/// Makes the layer known to SQLite; once is enough, more does no harm.
pub(crate) fn register() {
    UNDER.get_or_init(|| {
        // SAFETY: finding the default layer has no precondition; it exists on every system that std runs on.
        let under = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        // SAFETY: `under` points to a whole table. The copy keeps its functions, which look at nothing of the
        // table they are handed but what the copy has too; only opening and the size of a file are ours.
        let mut ours = unsafe { ptr::read(under) };
        ours.zName = NAME.as_ptr();
        ours.pNext = ptr::null_mut();
        ours.szOsFile += size_of::<File>() as c_int;
        ours.xOpen = Some(open);
        // SAFETY: the table is leaked, because SQLite keeps it for the life of the process.
        unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(ours)), 0) };
        Under(under)
    });
}

/// From now on, failures at the database `path` and its log are noted in `disk`.
pub(crate) fn attend(path: &Path, disk: &Arc<Disk>) -> io::Result<()> {
    // SQLite opens by the resolved path.
    let path = path.canonicalize()?;
    let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.retain(|(_, disk)| disk.strong_count() > 0);
    disks.push((path, Arc::downgrade(disk)));
    Ok(())
}

/// Asks a connection to reserve the bytes for checksums in a database that it is about to make.
pub(crate) fn reserve(db: &Connection) {
    let mut bytes = RESERVED_BYTES as c_int;
    // SAFETY: the handle lives as long as `db`; the operation reads and writes one int.
    unsafe {
        ffi::sqlite3_file_control(
            db.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut bytes).cast::<c_void>(),
        );
    }
}

/// What a file is to the database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Database,
    Log,
    Journal,
    /// A temporary file: nothing in it outlives the process.
    Other,
}

/// An open file: ours in front, the file of the layer under it right behind.
#[repr(C)]
struct File {
    /// What SQLite sees; must stand first.
    base: ffi::sqlite3_file,
    kind: Kind,
    /// Of a database: whether its pages are sealed.
    sealed: bool,
    /// Of a database: whether there was nothing in it when it was opened.
    was_empty: bool,
    /// Of a database: whether this connection only reads.
    reads_only: bool,
    /// Of a database: whether this connection folds the log in at this moment.
    folding: bool,
    /// Of a log: its connection's database.
    database: *const File,
    path: PathBuf,
    disk: Option<Arc<Disk>>,
}

const _: () = assert!(size_of::<File>().is_multiple_of(8), "the file behind must be aligned");

impl File {
    /// # Safety
    /// `file` was opened by [`open`] and is not closed.
    unsafe fn of<'a>(file: *mut ffi::sqlite3_file) -> &'a mut File {
        // SAFETY: `open` wrote a `File` there, and SQLite uses a file from one thread at a time.
        unsafe { &mut *file.cast::<File>() }
    }

    /// The file of the layer under this one.
    fn under(&mut self) -> *mut ffi::sqlite3_file {
        // SAFETY: SQLite gave `szOsFile` bytes: ours, and behind it the other layer's.
        unsafe { ptr::from_mut(self).add(1).cast::<ffi::sqlite3_file>() }
    }

    /// Notes a failure that may have cost what was acknowledged. A full disk is none: it says so at once
    /// and nothing that was synced is touched.
    fn note(&self, rc: c_int, what: &str) -> c_int {
        if rc & 0xFF == ffi::SQLITE_IOERR
            && self.kind != Kind::Other
            && let Some(disk) = &self.disk
        {
            let why = io::Error::last_os_error();
            disk.fail(|| format!("{what} {} ({why})", self.path.display()));
        }
        rc
    }

    /// Whether frames of this log can be held against their checksums. A connection that writes may read
    /// back what it has not committed, whose sums are not final; only when it folds the log in are they.
    fn frames_are_final(&self) -> bool {
        // SAFETY: SQLite closes a connection's log before its database.
        let database = unsafe { self.database.as_ref() };
        database.is_some_and(|database| database.reads_only || database.folding)
    }

    /// Reads from the file under this one; short reads are errors.
    fn read_under(&mut self, into: &mut [u8], at: i64) -> c_int {
        let under = self.under();
        // SAFETY: `into` has the bytes that are asked for.
        call(under, |m| unsafe { m.xRead.map(|f| f(under, into.as_mut_ptr().cast(), into.len() as c_int, at)) })
    }
}

/// Calls one of the functions of the file under ours.
fn call(under: *mut ffi::sqlite3_file, f: impl FnOnce(&ffi::sqlite3_io_methods) -> Option<c_int>) -> c_int {
    // SAFETY: the file is open, so its table is there and lives as long as the layer.
    let methods = unsafe { &*(*under).pMethods };
    f(methods).unwrap_or(ffi::SQLITE_ERROR)
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let kind = match flags {
        _ if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 => Kind::Database,
        _ if flags & ffi::SQLITE_OPEN_WAL != 0 => Kind::Log,
        _ if flags & ffi::SQLITE_OPEN_MAIN_JOURNAL != 0 => Kind::Journal,
        _ => Kind::Other,
    };
    let path = path_of(name);
    let disk = if kind == Kind::Other { None } else { disk_of(&database_path(name, kind)) };
    let database = match kind {
        // SAFETY: SQLite promises this for the name that it opens a log by.
        Kind::Log => unsafe { ffi::sqlite3_database_file_object(name) }.cast::<File>().cast_const(),
        _ => ptr::null(),
    };
    let ours = File {
        base: ffi::sqlite3_file { pMethods: ptr::null() },
        kind,
        sealed: false,
        was_empty: false,
        reads_only: flags & ffi::SQLITE_OPEN_READONLY != 0,
        folding: false,
        database,
        path,
        disk,
    };
    // SAFETY: the memory is SQLite's for this file, large enough and not initialised.
    let ours = unsafe {
        ptr::write(file.cast::<File>(), ours);
        File::of(file)
    };
    let under = ours.under();
    let Some(Under(vfs)) = UNDER.get() else { return ffi::SQLITE_ERROR };
    // SAFETY: the arguments are SQLite's own, with the memory behind ours for the file. That memory is
    // cleared first: the layer may look at what it believes is an unopened file.
    let rc = unsafe {
        ptr::write_bytes(under.cast::<u8>(), 0, (**vfs).szOsFile as usize);
        (**vfs).xOpen.map_or(ffi::SQLITE_ERROR, |open| open(*vfs, name, under, flags, out_flags))
    };
    // SAFETY: as above; the layer has set the pointer or left it null.
    if unsafe { (*under).pMethods.is_null() } {
        // SAFETY: SQLite will not close what has no table.
        unsafe { ptr::drop_in_place(file.cast::<File>()) };
        // SAFETY: the memory is still SQLite's file, which must be seen as not opened.
        unsafe { (*file).pMethods = ptr::null() };
        return rc;
    }
    ours.base.pMethods = &METHODS;
    if rc == ffi::SQLITE_OK && kind == Kind::Database {
        // A new database will be sealed: all of ours are made so.
        let mut size = 0;
        // SAFETY: the size is written to our variable.
        let rc = call(under, |m| unsafe { m.xFileSize.map(|f| f(under, &raw mut size)) });
        if rc != ffi::SQLITE_OK {
            return rc;
        }
        let mut begin = vec![0; size.clamp(0, 8 * PAGE_BYTES as i64) as usize];
        let rc = if begin.is_empty() { ffi::SQLITE_OK } else { ours.read_under(&mut begin, 0) };
        if rc != ffi::SQLITE_OK {
            return rc;
        }
        ours.sealed = sums::kept(&begin);
        ours.was_empty = begin.is_empty();
    }
    rc
}

fn path_of(name: ffi::sqlite3_filename) -> PathBuf {
    if name.is_null() {
        return PathBuf::new();
    }
    // SAFETY: a name of SQLite's is a C string that lives longer than this call.
    PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(name.cast::<c_char>()) }.to_bytes()))
}

/// The path of the database that a file of this name belongs to.
fn database_path(name: ffi::sqlite3_filename, kind: Kind) -> PathBuf {
    if kind == Kind::Database || name.is_null() {
        return path_of(name);
    }
    // SAFETY: SQLite promises this for the names of logs and journals that it hands to `xOpen`.
    path_of(unsafe { ffi::sqlite3_filename_database(name) })
}

fn disk_of(path: &Path) -> Option<Arc<Disk>> {
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.iter().rev().find(|(known, _)| known == path).and_then(|(_, disk)| disk.upgrade())
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes what it opened, once.
    let under = unsafe { File::of(file) }.under();
    // SAFETY: as above.
    let rc = call(under, |m| unsafe { m.xClose.map(|f| f(under)) });
    // SAFETY: nothing comes after this.
    unsafe { ptr::drop_in_place(file.cast::<File>()) };
    rc
}

/// The number of the page that begins at `at`, if these are the bytes of one page.
fn page_number(bytes: usize, at: i64) -> Option<u64> {
    let at = u64::try_from(at).ok()?;
    (bytes == PAGE_BYTES && at.is_multiple_of(PAGE_BYTES as u64)).then(|| at / PAGE_BYTES as u64 + 1)
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: SQLite reads from open files.
    let ours = unsafe { File::of(file) };
    // SAFETY: SQLite gives `bytes` bytes to read into.
    let into = unsafe { slice::from_raw_parts_mut(into.cast::<u8>(), bytes.max(0) as usize) };
    let rc = ours.read_under(into, at);
    let fits = match ours.kind {
        Kind::Database if ours.sealed && matches!(rc, ffi::SQLITE_OK | ffi::SQLITE_IOERR_SHORT_READ) => {
            // A page of another size is asked for by a damaged header; one that ends early was cut off.
            let page_like = into.len() >= 512 && into.len().is_power_of_two();
            let whole = page_number(into.len(), at).zip(<&Page>::try_from(&*into).ok());
            let fits = whole.is_some_and(|(number, page)| {
                let making = match MAKES_TABLES.get() {
                    Making::Nowhere => false,
                    Making::InNew => ours.was_empty,
                    Making::Anywhere => true,
                };
                sums::fits(page, number) || making && page.iter().all(|byte| *byte == 0)
            });
            !page_like || fits
        }
        Kind::Log if rc == ffi::SQLITE_OK && into.len() == PAGE_BYTES && ours.frames_are_final() => {
            log::frame_fits(into, at, |part, at| ours.read_under(part, at) == ffi::SQLITE_OK)
        }
        _ => true,
    };
    if fits {
        return rc;
    }
    if let Some(disk) = &ours.disk {
        disk.change(|| {
            let what = format!("{} at byte {at} is not what was written there", ours.path.display());
            format!("{what}; stop espush and run `espush repair`, or `espush restore` with a backup")
        });
    }
    ffi::SQLITE_IOERR_DATA
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: SQLite writes to open files.
    let ours = unsafe { File::of(file) };
    // SAFETY: SQLite gives `bytes` bytes to write.
    let mut from = unsafe { slice::from_raw_parts(from.cast::<u8>(), bytes.max(0) as usize) };
    let mut page: Page;
    if ours.kind == Kind::Database
        && ours.sealed
        && let Some(number) = page_number(from.len(), at)
    {
        if number == 1 && usize::from(from[sums::HEADER_RESERVED_AT]) != RESERVED_BYTES {
            // Only a mistake of ours leads here: a sum in this page would overwrite what it holds.
            return ffi::SQLITE_MISUSE;
        }
        // A copy, because the page belongs to SQLite's cache.
        page = [0; PAGE_BYTES];
        page.copy_from_slice(from);
        sums::seal(&mut page, number);
        from = &page;
    }
    #[cfg(test)]
    if let Some(rc) = ours.disk.as_ref().and_then(|disk| disk.faults.on_write(&ours.path, from, at)) {
        return ours.note(rc, "writing");
    }
    let under = ours.under();
    // SAFETY: `from` has the bytes that are written.
    let rc = call(under, |m| unsafe { m.xWrite.map(|f| f(under, from.as_ptr().cast(), from.len() as c_int, at)) });
    ours.note(rc, "writing")
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    let ours = unsafe { File::of(file) };
    #[cfg(test)]
    if let Some(disk) = &ours.disk {
        disk.faults.on_truncate(&ours.path, size);
    }
    let under = ours.under();
    // SAFETY: as above.
    let rc = call(under, |m| unsafe { m.xTruncate.map(|f| f(under, size)) });
    ours.note(rc, "truncating")
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let ours = unsafe { File::of(file) };
    #[cfg(test)]
    if let Some(rc) = ours.disk.as_ref().and_then(|disk| disk.faults.on_sync(&ours.path)) {
        return ours.note(rc, "fsync of");
    }
    let under = ours.under();
    // SAFETY: as above.
    let rc = call(under, |m| unsafe { m.xSync.map(|f| f(under, flags)) });
    #[cfg(test)]
    if let Some(disk) = ours.disk.as_ref().filter(|_| rc == ffi::SQLITE_OK) {
        disk.faults.synced(&ours.path);
    }
    ours.note(rc, "fsync of")
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, what: c_int, with: *mut c_void) -> c_int {
    // SAFETY: the file is open.
    let ours = unsafe { File::of(file) };
    match what {
        ffi::SQLITE_FCNTL_CKPT_START => ours.folding = true,
        ffi::SQLITE_FCNTL_CKPT_DONE => ours.folding = false,
        _ => {}
    }
    let under = ours.under();
    // SAFETY: the arguments are SQLite's own.
    call(under, |m| unsafe { m.xFileControl.map(|f| f(under, what, with)) })
}

/// The functions that only pass on what they are given.
macro_rules! pass {
    ($($name:ident => $field:ident ( $($arg:ident : $kind:ty),* ) $(-> $out:ty)?;)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $arg: $kind)*) $(-> $out)? {
            // SAFETY: the file is open, and the arguments are SQLite's own.
            unsafe {
                let under = File::of(file).under();
                match (*(*under).pMethods).$field {
                    Some(f) => f(under $(, $arg)*),
                    None => pass!(@none $($out)?),
                }
            }
        }
    )*};
    (@none $out:ty) => { ffi::SQLITE_ERROR };
    (@none) => { () };
}

pass! {
    file_size => xFileSize(size: *mut i64) -> c_int;
    lock => xLock(level: c_int) -> c_int;
    unlock => xUnlock(level: c_int) -> c_int;
    check_reserved_lock => xCheckReservedLock(out: *mut c_int) -> c_int;
    sector_size => xSectorSize() -> c_int;
    characteristics => xDeviceCharacteristics() -> c_int;
    shm_map => xShmMap(region: c_int, bytes: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock => xShmLock(offset: c_int, n: c_int, flags: c_int) -> c_int;
    shm_barrier => xShmBarrier();
    shm_unmap => xShmUnmap(delete: c_int) -> c_int;
}

/// Version 2: without the functions for mapped reading, which would pass pages by unseen.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
