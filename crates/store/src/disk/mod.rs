//! The lowest layer under SQLite, and what is known of it: a file layer ([`vfs`]) that seals every page of
//! the database with a checksum ([`sums`]) and looks at it whenever the page is read, and a [`Disk`] that
//! remembers the first failed write or fsync. After one of those nobody can tell any more what is on disk:
//! the kernel may have dropped the pages and called them clean, so that trying again would succeed and lie.

#[cfg(test)]
pub(crate) mod faults;
pub(crate) mod image;
pub(crate) mod log;
pub(crate) mod sums;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
pub(crate) mod vfs;

use std::sync::OnceLock;

/// One database's disk, as its file layer sees it. Shared by all connections to it.
#[derive(Default)]
pub(crate) struct Disk {
    failed: OnceLock<String>,
    changed: OnceLock<String>,
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

impl Disk {
    /// What failed first, if something did. There is no way back but a restart.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// What was found first that is not what was written there. SQLite keeps some of that to itself: it folds
    /// the log in without telling whether it could.
    pub(crate) fn changed(&self) -> Option<&str> {
        self.changed.get().map(String::as_str)
    }

    /// Notes that something is not what was written there.
    pub(crate) fn change(&self, what: impl FnOnce() -> String) {
        self.changed.get_or_init(what);
    }

    /// Notes a failure; only the first counts, what follows is its consequence.
    pub(crate) fn fail(&self, what: impl FnOnce() -> String) {
        self.failed.get_or_init(what);
    }
}
