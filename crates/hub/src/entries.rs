//! Who wants one filter: mostly one session, sometimes a whole fleet.

use hashbrown::HashTable;

use crate::subscriptions::Entry;

/// The entries of one filter, at most one of a session.
#[derive(Default)]
pub enum Entries {
    /// Nobody.
    #[default]
    None,
    /// One, as a device has its own topics for itself.
    One(Entry),
    /// More.
    Many(Box<Crowd>),
}

const _: () = assert!(size_of::<Entries>() <= 16, "a million of them lie there");

/// The entries of a filter that several sessions want.
#[derive(Default)]
pub struct Crowd {
    list: Vec<Entry>,
    /// Where the entry of a session stands in `list`; empty while that is short enough to be looked through.
    places: HashTable<u32>,
}

/// Entries that are looked through faster than a place is looked up.
const LOOKED_THROUGH: usize = 16;

/// Places in the shard's own table: a plain spread is good enough.
fn hash(session: u32) -> u64 {
    u64::from(session).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Crowd {
    fn find(&self, session: u32) -> Option<usize> {
        match self.places.is_empty() {
            true => self.list.iter().position(|entry| entry.session == session),
            false => {
                let found = self.places.find(hash(session), |at| self.list[*at as usize].session == session);
                found.map(|at| *at as usize)
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        self.list.push(entry);
        if self.list.len() > LOOKED_THROUGH || !self.places.is_empty() {
            let list = &self.list;
            for at in self.places.len()..list.len() {
                self.places.insert_unique(hash(list[at].session), at as u32, |at| hash(list[*at as usize].session));
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let last = self.list.len() - 1;
        if !self.places.is_empty() {
            let of = |place: usize| hash(self.list[place].session);
            let gone = self.places.find_entry(of(at), |place| *place as usize == at);
            gone.ok().map(|gone| gone.remove());
            if at != last
                && let Some(moved) = self.places.find_mut(of(last), |place| *place as usize == last)
            {
                *moved = at as u32;
            }
        }
        self.list.swap_remove(at);
        if self.list.len() <= LOOKED_THROUGH / 2 {
            self.places = HashTable::new();
        }
        // A fleet that went leaves no memory behind.
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
        }
    }
}

impl Entries {
    /// All of them.
    pub fn as_slice(&self) -> &[Entry] {
        match self {
            Entries::None => &[],
            Entries::One(entry) => std::slice::from_ref(entry),
            Entries::Many(crowd) => &crowd.list,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Adds `entry` or replaces the session's earlier one. Whether it is new.
    pub fn put(&mut self, entry: Entry) -> bool {
        match self {
            Entries::None => *self = Entries::One(entry),
            Entries::One(old) if old.session == entry.session => {
                *old = entry;
                return false;
            }
            Entries::One(first) => {
                *self = Entries::Many(Box::new(Crowd { list: vec![*first, entry], places: HashTable::new() }));
            }
            Entries::Many(crowd) => match crowd.find(entry.session) {
                Some(at) => {
                    crowd.list[at] = entry;
                    return false;
                }
                None => crowd.push(entry),
            },
        }
        true
    }

    /// Removes a session's entry. Whether it was there.
    pub fn take(&mut self, session: u32) -> bool {
        match self {
            Entries::One(entry) if entry.session == session => *self = Entries::None,
            Entries::None | Entries::One(_) => return false,
            Entries::Many(crowd) => {
                let Some(at) = crowd.find(session) else { return false };
                crowd.remove(at);
                if let [last] = crowd.list[..] {
                    *self = Entries::One(last);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use model::Qos;

    use super::*;

    /// Random sessions come and go; a plain list says who is there.
    #[test]
    fn a_crowd_agrees_with_a_plain_list() {
        arbtest::arbtest(|u| {
            let mut entries = Entries::default();
            let mut plain: Vec<u32> = Vec::new();
            let sessions = *u.choose(&[3, 20, 60])?;
            for _ in 0..u.int_in_range(0..=300)? {
                let session = u.int_in_range(0..=sessions)?;
                let there = plain.contains(&session);
                if u.ratio(2, 5)? {
                    assert_eq!(entries.take(session), there);
                    plain.retain(|other| *other != session);
                } else {
                    assert_eq!(entries.put(Entry::new(session, Qos::AtMostOnce, true)), !there);
                    plain.retain(|other| *other != session);
                    plain.push(session);
                }
                let mut have: Vec<u32> = entries.as_slice().iter().map(|entry| entry.session).collect();
                have.sort_unstable();
                plain.sort_unstable();
                assert_eq!(have, plain);
            }
            Ok(())
        });
    }
}
