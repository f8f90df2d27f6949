//! All sessions of a shard, found by place, by name and by party. A name is kept once, in its session: the
//! tables have but places, because they are half empty whenever they have just grown.

use std::hash::BuildHasher;
use std::iter::successors;
use std::ops::{Index, IndexMut};

use hashbrown::{DefaultHashBuilder, HashTable};
use model::PartyKey;
use slab::Slab;

use crate::session::Session;

/// Whether the sessions of a party are few, so that a list of them pays. A whole fleet may share an
/// account or come as nobody; for those, a kick looks through all sessions instead.
fn is_grouped(party: &PartyKey) -> bool {
    matches!(party, PartyKey::Device(_) | PartyKey::Token(_))
}

/// The sessions.
#[derive(Default)]
pub struct Sessions {
    all: Slab<Session>,
    by_name: HashTable<u32>,
    /// The first session of each party that has a list of them; they name each other, see [`Neighbours`].
    first_of: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// The places before and behind a session in its party's list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Neighbours {
    before: Option<Place>,
    behind: Option<Place>,
}

/// A place in no more memory than its number: the last number is not given.
type Place = std::num::NonZeroU32;

fn place(at: usize) -> Option<Place> {
    Place::new(at as u32 + 1)
}

fn at(place: Place) -> usize {
    place.get() as usize - 1
}

impl Index<usize> for Sessions {
    type Output = Session;

    fn index(&self, at: usize) -> &Session {
        &self.all[at]
    }
}

impl IndexMut<usize> for Sessions {
    fn index_mut(&mut self, at: usize) -> &mut Session {
        &mut self.all[at]
    }
}

impl Sessions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The session in a place.
    pub fn get(&self, at: usize) -> Option<&Session> {
        self.all.get(at)
    }

    /// The session in a place.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut Session> {
        self.all.get_mut(at)
    }

    /// The session that a party calls `client`. Two devices that call themselves `umqtt_client` do not get in
    /// each other's way, and no device can take over another's session by guessing its name.
    pub fn find(&self, party: PartyKey, client: &str) -> Option<usize> {
        let is = |at: &u32| {
            let session = &self.all[*at as usize];
            session.client.as_str() == client && session.party.key() == party
        };
        self.by_name.find(self.hasher.hash_one((party, client)), is).map(|at| *at as usize)
    }

    /// The sessions of a party; of one of many, those too that nobody finds.
    pub fn of(&self, party: PartyKey) -> Vec<usize> {
        match is_grouped(&party) {
            true => self.listed(party).collect(),
            false => self.all.iter().filter(|(_, session)| session.party.key() == party).map(|(at, _)| at).collect(),
        }
    }

    /// The sessions of a party of few.
    pub fn listed(&self, party: PartyKey) -> impl Iterator<Item = usize> + '_ {
        let is = |at: &u32| self.all[*at as usize].party.key() == party;
        let first = self.first_of.find(self.hasher.hash_one(party), is).map(|at| *at as usize);
        successors(first, |place| self.all[*place].neighbours.behind.map(at))
    }

    /// Adds a session. Nobody finds it until it is named.
    pub fn insert(&mut self, session: Session) -> usize {
        self.all.insert(session)
    }

    /// From now on a session is found by its name, which its party has given to none that is found.
    pub fn name(&mut self, new: usize) {
        let (all, hasher) = (&mut self.all, &self.hasher);
        let party = all[new].party.key();
        let hash_of = |session: &Session| hasher.hash_one((session.party.key(), session.client.as_str()));
        self.by_name.insert_unique(hash_of(&all[new]), new as u32, |at| hash_of(&all[*at as usize]));
        if is_grouped(&party) {
            let hash = hasher.hash_one(party);
            match self.first_of.find_mut(hash, |at| all[*at as usize].party.key() == party) {
                Some(first) => {
                    let next = std::mem::replace(first, new as u32) as usize;
                    all[next].neighbours.before = place(new);
                    all[new].neighbours.behind = place(next);
                }
                None => {
                    self.first_of.insert_unique(hash, new as u32, |at| hasher.hash_one(all[*at as usize].party.key()));
                }
            }
        }
    }

    /// From now on nobody finds a session, if anybody did.
    pub fn unname(&mut self, gone: usize) {
        let session = &mut self.all[gone];
        let party = session.party.key();
        let name = self.hasher.hash_one((party, session.client.as_str()));
        self.by_name.find_entry(name, |at| *at as usize == gone).ok().map(|found| found.remove());
        if !is_grouped(&party) {
            return;
        }
        let Neighbours { before, behind } = std::mem::take(&mut session.neighbours);
        if let Some(behind) = behind {
            self.all[at(behind)].neighbours.before = before;
        }
        if let Some(before) = before {
            self.all[at(before)].neighbours.behind = behind;
        } else if let Ok(mut first) = self.first_of.find_entry(self.hasher.hash_one(party), |at| *at as usize == gone) {
            match behind {
                Some(behind) => *first.get_mut() = at(behind) as u32,
                None => drop(first.remove()),
            }
        }
    }

    /// Takes out a session that nobody finds.
    pub fn remove(&mut self, gone: usize) -> Session {
        self.all.remove(gone)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{AppId, DeviceId, DeviceNumber, Party};

    use super::*;

    /// Sessions of a few parties come and go; a plain list says which there are.
    #[test]
    fn the_tables_agree_with_a_plain_list() {
        let device = |n| {
            Arc::new(Party::Device { number: DeviceNumber(n), id: DeviceId::parse(&format!("d{n}")).unwrap(), app: AppId(1) })
        };
        let parties = [device(1), device(2), device(3), Arc::new(Party::Anonymous)];
        arbtest::arbtest(|u| {
            let mut sessions = Sessions::default();
            let mut plain: Vec<(PartyKey, String, usize)> = Vec::new();
            let mut nameless: Vec<usize> = Vec::new();
            for _ in 0..u.int_in_range(0..=60)? {
                let party = u.choose(&parties)?;
                let client = u.int_in_range(0..=4)?.to_string();
                let known = plain.iter().position(|(key, name, _)| (*key, name) == (party.key(), &client));
                assert_eq!(sessions.find(party.key(), &client), known.map(|known| plain[known].2));
                match known {
                    Some(known) => {
                        let (.., at) = plain.swap_remove(known);
                        sessions.unname(at);
                        if u.ratio(1, 2)? {
                            nameless.push(at);
                        } else {
                            assert_eq!(sessions.remove(at).client.as_str(), client);
                        }
                    }
                    None => {
                        let at = sessions.insert(Session::new(client.as_str().into(), party.clone(), 1));
                        sessions.name(at);
                        plain.push((party.key(), client, at));
                    }
                }
                if let Some(at) = nameless.pop_if(|_| plain.len().is_multiple_of(3)) {
                    sessions.unname(at);
                    sessions.remove(at);
                }
                for party in &parties {
                    let mut have = sessions.of(party.key());
                    let mut want: Vec<usize> = plain.iter().filter(|(key, ..)| *key == party.key()).map(|(.., at)| *at).collect();
                    have.retain(|at| !nameless.contains(at));
                    have.sort_unstable();
                    want.sort_unstable();
                    assert_eq!(have, want);
                }
            }
            assert_eq!(sessions.len(), plain.len() + nameless.len());
            Ok(())
        });
    }
}
