//! Who wrote to a device lately, so that it may answer: the last few of each, for a while. It lives where the
//! device's sessions do, which is where both what it is given and what it sends pass by.

use hashbrown::HashMap;
use model::{Address, DeviceNumber, Millis, limits};

/// Those whom the devices of a shard may answer.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    of: HashMap<DeviceNumber, Vec<(Address, Millis)>>,
    swept: Millis,
}

impl Answering {
    /// `from` wrote to the device.
    pub fn note(&mut self, device: DeviceNumber, from: Address, now: Millis) {
        if self.of.len() >= limits::ADDRESSED_DEVICES_MAX && !self.of.contains_key(&device) {
            self.sweep(now);
            if self.of.len() >= limits::ADDRESSED_DEVICES_MAX {
                return;
            }
        }
        let list = self.of.entry(device).or_default();
        list.retain(|(known, until)| *known != from && *until > now);
        if list.len() >= limits::ADDRESSED_ANSWERS_MAX {
            list.remove(0);
        }
        list.push((from, now.plus_s(limits::ADDRESSED_ANSWER_S)));
    }

    /// Whether the device may answer it.
    pub fn may_answer(&self, device: DeviceNumber, to: Address, now: Millis) -> bool {
        self.of.get(&device).is_some_and(|list| list.iter().any(|(known, until)| *known == to && *until > now))
    }

    /// Forgets what is over, once in the time that anything is remembered.
    pub fn tick(&mut self, now: Millis) {
        if now >= self.swept.plus_s(limits::ADDRESSED_ANSWER_S) {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Millis) {
        self.swept = now;
        self.of.retain(|_, list| {
            list.retain(|(_, until)| *until > now);
            !list.is_empty()
        });
        if self.of.is_empty() {
            self.of = HashMap::new(); // nobody pays for what hardly anybody uses
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = limits::ADDRESSED_ANSWER_S;

    #[test]
    fn the_last_few_may_be_answered_for_a_while() {
        let (mut answering, device) = (Answering::default(), DeviceNumber(1));
        let start = Millis(1000);
        let all: Vec<Address> = (10..).map(Address).take(limits::ADDRESSED_ANSWERS_MAX + 1).collect();
        for from in &all {
            answering.note(device, *from, start);
        }
        assert!(!answering.may_answer(device, all[0], start), "the oldest made room");
        assert!(all[1..].iter().all(|from| answering.may_answer(device, *from, start)));
        assert!(!answering.may_answer(DeviceNumber(2), all[1], start), "who was written to, and nobody else");
        answering.note(device, all[1], start.plus_s(S / 2));
        let later = start.plus_s(S);
        assert!(answering.may_answer(device, all[1], later) && !answering.may_answer(device, all[2], later));
    }

    #[test]
    fn what_is_over_is_forgotten_and_the_table_has_an_end() {
        let (mut answering, from) = (Answering::default(), Address(9));
        let max = limits::ADDRESSED_DEVICES_MAX as u32;
        (1..=max + 1).for_each(|device| answering.note(DeviceNumber(device), from, Millis(0)));
        assert!(answering.may_answer(DeviceNumber(max), from, Millis(0)));
        assert!(!answering.may_answer(DeviceNumber(max + 1), from, Millis(0)), "no room, and nobody is forgotten for it");
        let later = Millis(0).plus_s(S);
        answering.note(DeviceNumber(max + 1), from, later);
        assert!(answering.may_answer(DeviceNumber(max + 1), from, later) && answering.of.len() == 1);
        answering.tick(later.plus_s(S));
        assert_eq!(answering.of.capacity(), 0);
    }
}
