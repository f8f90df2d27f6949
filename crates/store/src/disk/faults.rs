//! A disk that fails on demand, for tests: writes and fsyncs answer errors, an fsync waits until it is let
//! go, and at any moment the disk can be seen as a power cut would leave it: what was synced is there,
//! of what was not each sector may be there or not.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a power cut writes whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    on_write: Option<c_int>,
    on_sync: Option<c_int>,
    free_bytes: Option<u64>,
    slow: Option<(Sender<()>, Receiver<()>)>,
    recorded: Option<BTreeMap<PathBuf, Content>>,
}

/// A file as the disk has it, and what the kernel still holds back.
#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every write of the database and its log answers this from now on.
    pub(crate) fn fail_writes(&self, rc: Option<c_int>) {
        self.state().on_write = rc;
    }

    /// Every fsync answers this from now on.
    pub(crate) fn fail_syncs(&self, rc: Option<c_int>) {
        self.state().on_sync = rc;
    }

    /// The file system has so many bytes left, whatever it says itself.
    pub(crate) fn set_free_bytes(&self, bytes: Option<u64>) {
        self.state().free_bytes = bytes;
    }

    pub(crate) fn free_bytes(&self) -> Option<u64> {
        self.state().free_bytes
    }

    /// The next fsync says that it is there, and waits until it is let go.
    pub(crate) fn hold_next_sync(&self, here: Sender<()>, go: Receiver<()>) {
        self.state().slow = Some((here, go));
    }

    /// From now on what reaches the disk is remembered. The files are taken as they are.
    pub(crate) fn record(&self, files: &[PathBuf]) {
        let content = |path: &PathBuf| (path.clone(), Content { durable: fs::read(path).unwrap_or_default(), pending: vec![] });
        self.state().recorded = Some(files.iter().map(content).collect());
    }

    /// Writes into `dir` what a power cut at this moment leaves of each file; `kept` decides for each sector
    /// that was not synced whether it reached the disk.
    pub(crate) fn after_power_cut(&self, dir: &Path, mut kept: impl FnMut() -> bool) {
        for (path, content) in self.state().recorded.as_ref().expect("recording was turned on") {
            let mut bytes = content.durable.clone();
            for change in &content.pending {
                match change {
                    Change::Truncate(size) if kept() => bytes.resize(*size, 0),
                    Change::Truncate(_) => {}
                    Change::Write(at, data) => {
                        for (n, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                            if kept() {
                                overwrite(&mut bytes, at + n * SECTOR_BYTES, sector);
                            }
                        }
                    }
                }
            }
            fs::write(dir.join(path.file_name().expect("a file has a name")), bytes).expect("the copy can be written");
        }
    }

    fn changed(&self, path: &Path, change: Change) {
        if let Some(recorded) = &mut self.state().recorded {
            recorded.entry(path.to_owned()).or_default().pending.push(change);
        }
    }

    pub(super) fn on_write(&self, path: &Path, data: &[u8], at: i64) -> Option<c_int> {
        if let Some(rc) = self.state().on_write {
            return Some(rc);
        }
        self.changed(path, Change::Write(at as usize, data.to_vec()));
        None
    }

    pub(super) fn on_truncate(&self, path: &Path, size: i64) {
        self.changed(path, Change::Truncate(size as usize));
    }

    pub(super) fn on_sync(&self, _: &Path) -> Option<c_int> {
        let slow = self.state().slow.take();
        if let Some((here, go)) = slow {
            let _ = here.send(());
            let _ = go.recv();
        }
        self.state().on_sync
    }

    pub(super) fn synced(&self, path: &Path) {
        let mut state = self.state();
        let Some(content) = state.recorded.as_mut().and_then(|recorded| recorded.get_mut(path)) else { return };
        for change in std::mem::take(&mut content.pending) {
            match change {
                Change::Write(at, data) => overwrite(&mut content.durable, at, &data),
                Change::Truncate(size) => content.durable.resize(size, 0),
            }
        }
    }
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}
