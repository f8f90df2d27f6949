//! A list that mostly has one thing in it, or nothing: no larger than the thing, and without memory elsewhere.

use std::ops::Deref;

/// The list.
#[derive(Debug)]
pub enum Few<T> {
    /// One.
    One(T),
    /// Any other number.
    #[expect(clippy::box_collection, reason = "a million lists are no larger than what they have one of")]
    Many(Option<Box<Vec<T>>>),
}

impl<T> Default for Few<T> {
    fn default() -> Few<T> {
        Few::Many(None)
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Few::One(one) => std::slice::from_ref(one),
            Few::Many(many) => many.as_ref().map_or(&[], |many| many),
        }
    }
}

impl<T> Few<T> {
    /// Adds one at the end.
    pub fn push(&mut self, new: T) {
        *self = match std::mem::take(self) {
            Few::One(first) => Few::Many(Some(Box::new(vec![first, new]))),
            Few::Many(None) => Few::One(new),
            Few::Many(Some(mut many)) => {
                many.push(new);
                Few::Many(Some(many))
            }
        };
    }

    /// Takes out the one at `at`; the last takes its place.
    pub fn swap_remove(&mut self, at: usize) {
        *self = match std::mem::take(self) {
            Few::Many(Some(mut many)) => {
                many.swap_remove(at);
                match many.len() {
                    1 => many.pop().map_or(Few::Many(None), Few::One),
                    _ => Few::Many(Some(many)),
                }
            }
            _ => Few::Many(None),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_and_shrinks_as_a_vec_does() {
        assert_eq!(size_of::<Few<model::Filter>>(), size_of::<model::Filter>());
        arbtest::arbtest(|u| {
            let (mut few, mut vec) = (Few::default(), Vec::new());
            for n in 0..u.int_in_range(0..=30)? {
                if u.ratio(2, 5)? && !vec.is_empty() {
                    let at = u.choose_index(vec.len())?;
                    few.swap_remove(at);
                    vec.swap_remove(at);
                } else {
                    few.push(n);
                    vec.push(n);
                }
                assert_eq!(&*few, &vec[..]);
            }
            Ok(())
        });
    }
}
