//! Texts that many devices have in common (tags, firmware, why they are online), kept once each.
//! A million devices that say the same cost a pointer each, not a string.

use std::collections::HashSet;
use std::sync::Arc;

/// The shared texts.
pub(crate) struct Words {
    known: HashSet<Arc<str>>,
    /// How many there may be before those that nobody uses any more are let go.
    sweep_at: usize,
}

const SWEEP_AT_LEAST: usize = 1_024;

impl Words {
    pub(crate) fn new() -> Words {
        Words { known: HashSet::new(), sweep_at: SWEEP_AT_LEAST }
    }

    /// The one copy of `text`.
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.known.get(text) {
            return Arc::clone(word);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|word| Arc::strong_count(word) > 1);
            // Doubling keeps the cost of sweeping in proportion even when all are in use.
            self.sweep_at = (self.known.len() * 2).max(SWEEP_AT_LEAST);
        }
        let word: Arc<str> = text.into();
        self.known.insert(Arc::clone(&word));
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_unused_ones_go() {
        let mut words = Words::new();
        let kept = words.share("kept");
        assert!(Arc::ptr_eq(&kept, &words.share("kept")));
        for i in 0..10 * SWEEP_AT_LEAST {
            words.share(&i.to_string());
        }
        assert!(words.known.len() <= SWEEP_AT_LEAST);
        assert!(Arc::ptr_eq(&kept, &words.share("kept")));
    }
}
