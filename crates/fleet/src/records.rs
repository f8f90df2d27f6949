//! The devices in memory, by number and by id. Numbers are given one after the other, so records lie in
//! pages by number, nothing between them; the table of ids has but numbers, because it is half empty
//! whenever it has just grown.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use model::DeviceNumber;

use crate::roster::Record;

/// Numbers of one page.
const PAGE: u32 = 64;

/// Devices by number and id.
#[derive(Default)]
pub(crate) struct Records {
    /// The records from each multiple of [`PAGE`] on. There is no page without a record.
    pages: BTreeMap<u32, Page>,
    by_id: HashTable<DeviceNumber>,
    // Strangers choose ids: a hash that they cannot foresee.
    hasher: RandomState,
}

struct Page {
    records: Box<[Option<Record>]>,
    count: usize,
}

impl Page {
    fn new() -> Page {
        Page { records: (0..PAGE).map(|_| None).collect(), count: 0 }
    }
}

impl Records {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A device by its number.
    pub(crate) fn get(&self, number: DeviceNumber) -> Option<&Record> {
        self.pages.get(&(number.0 / PAGE))?.records[(number.0 % PAGE) as usize].as_ref()
    }

    /// A device by its number, to be changed; its id stays.
    pub(crate) fn get_mut(&mut self, number: DeviceNumber) -> Option<&mut Record> {
        self.pages.get_mut(&(number.0 / PAGE))?.records[(number.0 % PAGE) as usize].as_mut()
    }

    /// The number of an id.
    pub(crate) fn number_of(&self, id: &str) -> Option<DeviceNumber> {
        let is = |number: &DeviceNumber| self.get(*number).is_some_and(|record| record.id.as_str() == id);
        self.by_id.find(self.hasher.hash_one(id), is).copied()
    }

    /// A device by its id.
    pub(crate) fn find(&self, id: &str) -> Option<&Record> {
        self.number_of(id).and_then(|number| self.get(number))
    }

    /// Adds a device, whose number and id are nobody's.
    pub(crate) fn insert(&mut self, record: Record) -> &Record {
        let (number, hash) = (record.number, self.hasher.hash_one(record.id.as_str()));
        let page = self.pages.entry(number.0 / PAGE).or_insert_with(Page::new);
        page.count += 1;
        page.records[(number.0 % PAGE) as usize] = Some(record);
        let (pages, hasher) = (&self.pages, &self.hasher);
        let at = |number: &DeviceNumber| pages[&(number.0 / PAGE)].records[(number.0 % PAGE) as usize].as_ref();
        self.by_id.insert_unique(hash, number, |number| at(number).map_or(0, |record| hasher.hash_one(record.id.as_str())));
        self.get(number).expect("it was inserted just now")
    }

    /// Takes a device out.
    pub(crate) fn remove(&mut self, number: DeviceNumber) -> Option<Record> {
        let page = self.pages.get_mut(&(number.0 / PAGE))?;
        let record = page.records[(number.0 % PAGE) as usize].take()?;
        page.count -= 1;
        if page.count == 0 {
            self.pages.remove(&(number.0 / PAGE));
        }
        let hash = self.hasher.hash_one(record.id.as_str());
        self.by_id.find_entry(hash, |other| *other == number).ok().map(|found| found.remove());
        Some(record)
    }

    /// All devices by number, from behind `after` on.
    pub(crate) fn behind(&self, after: Option<DeviceNumber>) -> impl Iterator<Item = &Record> {
        let pages = self.pages.range(after.map_or(0, |after| after.0 / PAGE)..);
        let records = pages.flat_map(|(_, page)| page.records.iter().flatten());
        records.skip_while(move |record| after.is_some_and(|after| record.number <= after))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contract::store::StoredDevice;
    use model::{AppId, Device, DeviceId, Presence, UnixMs};

    use super::*;
    use crate::words::Texts;

    fn record(number: u32) -> Record {
        let device = Device {
            number: DeviceNumber(number),
            id: DeviceId::parse(&format!("d{number}")).unwrap(),
            app: AppId(1),
            name: String::new(),
            alias: String::new(),
            tags: Vec::new(),
            meta: Default::default(),
            firmware: String::new(),
            open: false,
            created: UnixMs(0),
        };
        Record::new(StoredDevice { device, secret_hash: [0; 32], presence: Presence::default() }, &mut Texts::default())
    }

    #[test]
    fn pages_and_ids_agree_with_a_plain_map() {
        let mut records = Records::default();
        let mut plain = BTreeMap::new();
        let mut chance = 1_u64;
        for _ in 0..5_000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Near each other, far from each other, and at the end.
            let number =
                [(chance >> 40) as u32 % 300, (chance >> 33) as u32 % 7 * 1_000_003, u32::MAX][(chance >> 60) as usize % 3];
            let (key, id) = (DeviceNumber(number), format!("d{number}"));
            assert_eq!(records.number_of(&id), plain.get(&key).copied());
            match plain.remove(&key) {
                Some(_) => assert_eq!(records.remove(key).map(|gone| gone.number), Some(key)),
                None => {
                    assert!(records.remove(key).is_none());
                    records.insert(record(number));
                    plain.insert(key, key);
                }
            }
            assert_eq!(records.len(), plain.len());
            assert_eq!(records.get(key).is_some(), plain.contains_key(&key));
            let behind = |after: Option<DeviceNumber>| records.behind(after).map(|r| r.number).collect::<Vec<_>>();
            assert_eq!(behind(None), plain.keys().copied().collect::<Vec<_>>());
            assert_eq!(behind(Some(key)), plain.keys().copied().filter(|other| *other > key).collect::<Vec<_>>());
        }
        plain.into_keys().for_each(|key| drop(records.remove(key)));
        assert!(records.pages.is_empty() && records.len() == 0, "nothing stays behind");
    }
}
