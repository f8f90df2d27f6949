//! Whether the store takes more. One shared byte, so that a shard may ask for every message: what is to be
//! kept and would make the store grow is refused before anything is promised, in the protocol's own terms.
//! Only the store writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What the store can keep at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// Everything.
    #[default]
    All,
    /// Nothing that makes it grow: the disk or its budget is full. What was acknowledged stays, deletions
    /// and changes of what is there go on. Ends by itself when there is space again.
    NoGrowth,
    /// Nothing at all: a write or fsync failed, and nobody can tell what is on disk. Ends with the process.
    Nothing,
}

/// The flag. Clones share it; a default one, for tests and for a house without a store, is always open.
#[derive(Clone, Debug, Default)]
pub struct Headroom(Arc<AtomicU8>);

impl Headroom {
    /// Whether something new may be promised to be kept. Costs one relaxed load.
    pub fn may_grow(&self) -> bool {
        self.keeping() == Keeping::All
    }

    /// What can be kept.
    pub fn keeping(&self) -> Keeping {
        match self.0.load(Ordering::Relaxed) {
            0 => Keeping::All,
            1 => Keeping::NoGrowth,
            _ => Keeping::Nothing,
        }
    }

    /// Says what can be kept from now on. For the store, and for tests of who asks.
    pub fn set(&self, keeping: Keeping) {
        self.0.store(keeping as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_what_is_said() {
        let headroom = Headroom::default();
        let seen = headroom.clone();
        assert!(seen.may_grow());
        for (keeping, may_grow) in [(Keeping::NoGrowth, false), (Keeping::Nothing, false), (Keeping::All, true)] {
            headroom.set(keeping);
            assert_eq!((seen.keeping(), seen.may_grow()), (keeping, may_grow));
        }
    }
}
