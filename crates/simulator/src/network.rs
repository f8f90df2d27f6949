//! Lines between clients and the house: bytes that take their time, in order on each line and in none between
//! lines; lines that break at any byte, with one side told, both or none; readers that are stuck.

use std::collections::VecDeque;

use testkit::LineId;

use crate::rng::Rng;

/// What travels on a line.
#[derive(Debug)]
pub enum Item {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The other side has gone.
    End,
}

/// One direction of a line.
#[derive(Debug, Default)]
pub struct Way {
    items: VecDeque<(u64, Item)>,
    last: u64,
    /// Nothing more goes in.
    shut: bool,
}

impl Way {
    /// Puts bytes in, cut into pieces anywhere. Returns when they arrive.
    pub fn put(&mut self, now: u64, latency_us: u64, bytes: &[u8], rng: &mut Rng) -> Vec<u64> {
        let mut arrivals = Vec::new();
        if self.shut {
            return arrivals;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let most = if rng.percent(70) { rest.len() } else { rng.within(1, rest.len() as u64) as usize };
            let (piece, behind) = rest.split_at(most);
            let at = self.push(now, latency_us, Item::Bytes(piece.to_vec()), rng);
            arrivals.push(at);
            rest = behind;
        }
        arrivals
    }

    fn push(&mut self, now: u64, latency_us: u64, item: Item, rng: &mut Rng) -> u64 {
        let at = self.last.max(now + rng.around(latency_us));
        self.last = at;
        self.items.push_back((at, item));
        at
    }

    /// Ends after what is under way. Returns when the other side hears of it.
    pub fn end(&mut self, now: u64, latency_us: u64, rng: &mut Rng) -> Option<u64> {
        let first = !std::mem::replace(&mut self.shut, true);
        first.then(|| self.push(now, latency_us, Item::End, rng))
    }

    /// Breaks at a byte of what is under way: what comes before arrives, what comes after does not.
    /// Nobody is told.
    pub fn break_off(&mut self, rng: &mut Rng) {
        self.shut = true;
        self.items.retain(|(_, item)| matches!(item, Item::Bytes(_)));
        let bytes = |item: &Item| if let Item::Bytes(bytes) = item { bytes.len() as u64 } else { 0 };
        let mut left = rng.within(0, self.items.iter().map(|(_, item)| bytes(item)).sum());
        self.items.retain_mut(|(_, item)| {
            let keep = left.min(bytes(item));
            left -= keep;
            if let Item::Bytes(bytes) = item {
                bytes.truncate(keep as usize);
            }
            keep > 0
        });
    }

    /// Breaks and lets the other side hear of it.
    pub fn tear(&mut self, now: u64, latency_us: u64, rng: &mut Rng) -> u64 {
        self.break_off(rng);
        self.push(now, latency_us, Item::End, rng)
    }

    /// Nothing of it arrives any more.
    pub fn vanish(&mut self) {
        self.shut = true;
        self.items.clear();
    }

    /// What has arrived.
    pub fn take(&mut self, now: u64) -> Option<Item> {
        self.items.pop_front_if(|(at, _)| *at <= now).map(|(_, item)| item)
    }
}

/// A line.
#[derive(Debug)]
pub struct Wire {
    /// The house's name for it.
    pub line: LineId,
    /// Whose it is; `None` for one of those who only send garbage.
    pub who: Option<usize>,
    /// Towards the house.
    pub up: Way,
    /// Towards the client.
    pub down: Way,
    /// The client does not read.
    pub stuck: bool,
    /// The house has ended it, or has lost it.
    pub over: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(way: &mut Way) -> (Vec<u8>, bool) {
        let (mut all, mut ended) = (Vec::new(), false);
        while let Some(item) = way.take(u64::MAX) {
            match item {
                Item::Bytes(bytes) => all.extend(bytes),
                Item::End => ended = true,
            }
        }
        (all, ended)
    }

    #[test]
    fn bytes_arrive_in_order_and_up_to_where_the_line_breaks() {
        let mut rng = Rng::new(5);
        let mut lengths = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut way = Way::default();
            way.put(0, 1000, b"0123", &mut rng);
            way.put(10, 1000, b"456789", &mut rng);
            let told = rng.percent(50);
            if told {
                way.tear(20, 10, &mut rng);
            } else {
                way.break_off(&mut rng);
            }
            way.put(30, 10, b"too late", &mut rng);
            let (all, ended) = drain(&mut way);
            assert!(b"0123456789".starts_with(&all), "{all:?}");
            assert_eq!(ended, told);
            lengths.insert(all.len());
        }
        assert_eq!(lengths.len(), 11, "any number of bytes may arrive: {lengths:?}");
    }
}
