//! A database's files read as they are, without SQLite and without changing a byte: each page from the log
//! where a finished transaction left it there, else from the database, and only if it fits its checksum.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::sums::{self, PAGE_BYTES, Page, RESERVED_BYTES};
use super::{log, tree};

/// Where a page belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parent {
    /// It is a page of a tree, under this one.
    OfNode(u32),
    /// It holds the rest of a record that begins on this page.
    OfRest(u32),
}

/// The files of a database that nobody writes to.
pub(crate) struct Image {
    database: File,
    /// How many pages the database has, by what its files say.
    pub(crate) pages: u32,
    /// How many the file has room for.
    there: u32,
    /// Whether pages carry checksums.
    pub(crate) sealed: bool,
    /// Whether it keeps a map of parents.
    mapped: bool,
    /// Pages that are newer in the log.
    newer: HashMap<u32, Box<Page>>,
    /// Whether the log is damaged before its end: transactions after that place are lost.
    pub(crate) log_damaged: bool,
    /// Pages that could not be used when they were asked for.
    pub(crate) bad: RefCell<HashSet<u32>>,
}

impl Image {
    pub(crate) fn open(path: &Path) -> io::Result<Image> {
        let database = File::open(path)?;
        let bytes = database.metadata()?.len();
        let mut begin = vec![0; bytes.min(8 * PAGE_BYTES as u64) as usize];
        database.read_exact_at(&mut begin, 0)?;
        let mut log_path = path.as_os_str().to_owned();
        log_path.push("-wal");
        let log = match fs::read(&log_path) {
            Ok(bytes) => log::committed(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => log::Committed::default(),
            Err(error) => return Err(error),
        };
        let there = u32::try_from(bytes / PAGE_BYTES as u64).unwrap_or(u32::MAX);
        let sealed = sums::kept(&begin);
        let mut image = Image {
            database,
            pages: there,
            there,
            sealed,
            mapped: sealed,
            newer: log.pages,
            log_damaged: log.damaged,
            bad: RefCell::default(),
        };
        // The first page tells how many there are; where it is lost, the file's length does.
        let first = image.page(1);
        let told = first.as_ref().and_then(|page| tree::u32_at(&page[..], 28));
        // All that have checksums have it; of others the header tells.
        image.mapped |= first.is_some_and(|page| tree::u32_at(&page[..], 52) != Some(0));
        image.pages = log.database_pages.or(told.filter(|told| *told > 0)).unwrap_or(there);
        Ok(image)
    }

    /// Bytes of a page that are SQLite's.
    pub(crate) fn usable(&self) -> usize {
        if self.sealed { PAGE_BYTES - RESERVED_BYTES } else { PAGE_BYTES }
    }

    /// A page, if it is what was written there.
    pub(crate) fn page(&self, number: u32) -> Option<Box<Page>> {
        if let Some(page) = self.newer.get(&number) {
            return Some(page.clone());
        }
        let mut page = Box::new([0; PAGE_BYTES]);
        let at = u64::from(number.checked_sub(1)?) * PAGE_BYTES as u64;
        let read = self.database.read_exact_at(&mut page[..], at).is_ok();
        if read && (!self.sealed || sums::fits(&page, number.into())) {
            return Some(page);
        }
        self.bad.borrow_mut().insert(number);
        None
    }

    /// Whether the page is in one of the files, good or bad.
    pub(crate) fn is_there(&self, number: u32) -> bool {
        number <= self.there || self.newer.contains_key(&number)
    }

    /// A b-tree page, taken apart.
    pub(crate) fn node(&self, number: u32) -> Option<tree::Node> {
        let node = tree::node(&*self.page(number)?, number, self.usable());
        if node.is_none() {
            self.bad.borrow_mut().insert(number);
        }
        node
    }

    /// A record, with what of it lies on other pages.
    pub(crate) fn whole(&self, payload: &tree::Payload) -> Option<Vec<u8>> {
        let mut bytes = payload.local.clone();
        let mut next = payload.overflow;
        // Every page adds something, so a circle ends.
        while bytes.len() < payload.bytes {
            let page = self.page(next?)?;
            next = tree::u32_at(&page[..], 0);
            let more = (payload.bytes - bytes.len()).min(self.usable() - 4);
            bytes.extend_from_slice(&page[4..4 + more]);
        }
        Some(bytes)
    }

    /// The parent of a page, by the map that the database keeps.
    pub(crate) fn parent(&self, number: u32) -> Option<Parent> {
        if !self.mapped {
            return None;
        }
        let (map, at) = tree::parent_at(number, self.usable())?;
        let page = self.page(map)?;
        let parent = tree::u32_at(&page[..], at + 1)?;
        match page[at] {
            3 | 4 => Some(Parent::OfRest(parent)),
            5 => Some(Parent::OfNode(parent)),
            // A root, or a free page.
            _ => None,
        }
    }

    /// Whether a page is the root of a tree, as far as the map can be read.
    pub(crate) fn is_root(&self, number: u32) -> Option<bool> {
        let (map, at) = tree::parent_at(number, self.usable())?;
        let page = self.page(map).filter(|_| self.mapped)?;
        Some(page[at] == 1)
    }

    /// Pages that are free and whose content therefore does not matter; they may never have been written.
    pub(crate) fn free(&self) -> HashSet<u32> {
        let mut free = HashSet::new();
        let mut trunk = self.page(1).and_then(|page| tree::u32_at(&page[..], 32)).unwrap_or(0);
        let mut trunks = HashSet::new();
        while trunk > 0 && trunks.insert(trunk) {
            let Some(page) = self.page(trunk) else { break };
            let leaves = tree::u32_at(&page[..], 4).unwrap_or(0).min(PAGE_BYTES as u32 / 4);
            free.extend((0..leaves as usize).filter_map(|n| tree::u32_at(&page[..], 8 + 4 * n)));
            trunk = tree::u32_at(&page[..], 0).unwrap_or(0);
        }
        free
    }
}
