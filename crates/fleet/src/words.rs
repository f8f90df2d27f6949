//! Texts that many devices have in common (tags, firmware, why they are online), kept once each, and lists
//! of them. A million devices that say the same cost a pointer each, not a string.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Something that many devices share, behind one narrow pointer.
pub struct Shared<T: ?Sized>(Arc<Box<T>>);

/// A text that many devices share.
pub type Word = Shared<str>;
/// A list of texts that many devices share.
pub(crate) type WordList = Shared<[Word]>;

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> Borrow<T> for Shared<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized + PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq> Eq for Shared<T> {}

impl<T: ?Sized + Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}

/// All of one kind that is shared.
struct Pool<T: ?Sized> {
    known: HashSet<Shared<T>>,
    /// How many there may be before those that nobody uses any more are let go.
    sweep_at: usize,
}

const SWEEP_AT_LEAST: usize = 1_024;

impl<T: ?Sized + Hash + Eq> Pool<T> {
    fn share(&mut self, value: &T) -> Shared<T>
    where
        Box<T>: for<'a> From<&'a T>,
    {
        if let Some(known) = self.known.get(value) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| Arc::strong_count(&known.0) > 1);
            // Doubling keeps the cost of sweeping in proportion even when all are in use.
            self.sweep_at = (self.known.len() * 2).max(SWEEP_AT_LEAST);
        }
        let new = Shared(Arc::new(Box::from(value)));
        self.known.insert(new.clone());
        new
    }
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { known: HashSet::default(), sweep_at: SWEEP_AT_LEAST }
    }
}

/// The shared texts and lists.
#[derive(Default)]
pub(crate) struct Texts {
    words: Pool<str>,
    lists: Pool<[Word]>,
}

impl Texts {
    /// The one copy of `text`.
    pub(crate) fn share(&mut self, text: &str) -> Word {
        self.words.share(text)
    }

    /// The one copy of a list.
    pub(crate) fn share_all(&mut self, texts: &[String]) -> WordList {
        let words: Vec<Word> = texts.iter().map(|text| self.words.share(text)).collect();
        self.lists.share(&words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_unused_ones_go() {
        let mut texts = Texts::default();
        let kept = texts.share("kept");
        let list = texts.share_all(&["kept".to_owned(), "other".to_owned()]);
        assert!(Arc::ptr_eq(&kept.0, &texts.share("kept").0));
        assert!(Arc::ptr_eq(&kept.0, &list[0].0));
        for i in 0..10 * SWEEP_AT_LEAST {
            texts.share(&i.to_string());
            texts.share_all(&[i.to_string()]);
        }
        // A list that is not swept yet holds its words.
        assert!(texts.lists.known.len() <= SWEEP_AT_LEAST && texts.words.known.len() <= 3 * SWEEP_AT_LEAST);
        assert!(Arc::ptr_eq(&kept.0, &texts.share("kept").0));
        assert!(Arc::ptr_eq(&list.0, &texts.share_all(&["kept".to_owned(), "other".to_owned()]).0));
    }
}
