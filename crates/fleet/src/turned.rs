//! Whose credentials were changed a moment ago. A login that was checked before may still be on its way to
//! its shard; it is asked once more where it arrives (`Gate::stands`), and then this tells that it is too old.

use std::collections::HashMap;

use model::{DeviceNumber, Millis, limits};

/// The changes of a while, numbered.
#[derive(Default)]
pub(crate) struct Turned {
    last: u64,
    devices: HashMap<DeviceNumber, (u64, Millis)>,
    /// How many there may be before those that are long ago are let go.
    sweep_at: usize,
}

impl Turned {
    /// How many changes there were so far.
    pub(crate) fn stamp(&self) -> u64 {
        self.last
    }

    /// A device's credentials were changed.
    pub(crate) fn note(&mut self, device: DeviceNumber, now: Millis) {
        if self.devices.len() >= self.sweep_at {
            self.devices.retain(|_, (_, at)| now < at.plus_s(limits::CREDENTIALS_TURNED_S));
            // Doubling keeps the cost of sweeping in proportion even when all are recent.
            self.sweep_at = (self.devices.len() * 2).max(1_024);
        }
        self.last += 1;
        self.devices.insert(device, (self.last, now));
    }

    /// Whether a device's credentials were changed after `stamp`.
    pub(crate) fn after(&self, device: DeviceNumber, stamp: u64) -> bool {
        self.devices.get(&device).is_some_and(|(turn, _)| *turn > stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_ago_is_let_go() {
        let mut turned = Turned::default();
        turned.note(DeviceNumber(1), Millis(0));
        let stamp = turned.stamp();
        assert!(turned.after(DeviceNumber(1), 0) && !turned.after(DeviceNumber(1), stamp));
        let late = Millis(0).plus_s(limits::CREDENTIALS_TURNED_S);
        (2..5_000).for_each(|number| turned.note(DeviceNumber(number), late));
        assert!(turned.after(DeviceNumber(2), stamp) && !turned.after(DeviceNumber(1), 0));
    }
}
