//! Who is to be told something, and who was told it on the line that it has now. A device that is owed nothing
//! has no entry, so a fleet without twins costs nothing.

use std::collections::HashMap;

use model::DeviceNumber;
use parking_lot::Mutex;

#[derive(Default)]
struct Known {
    // The version of what is wanted, of each device with a delta.
    owed: HashMap<DeviceNumber, u64>,
    // The version that a device was given, or is just being given, since its line was opened.
    told: HashMap<DeviceNumber, u64>,
}

/// What each device is owed and was told.
#[derive(Default)]
pub struct Doors(Mutex<Known>);

impl Doors {
    pub fn new(owed: Vec<(DeviceNumber, u64)>) -> Doors {
        Doors(Mutex::new(Known { owed: owed.into_iter().collect(), told: HashMap::new() }))
    }

    /// Whether a device that listens is to be given something.
    pub fn is_waited_for(&self, device: DeviceNumber) -> bool {
        let known = self.0.lock();
        known.owed.get(&device).is_some_and(|version| known.told.get(&device) != Some(version))
    }

    /// A twin was stored: what the device is owed now.
    pub fn stored(&self, device: DeviceNumber, owed: Option<u64>) {
        let mut known = self.0.lock();
        match owed {
            Some(version) => drop(known.owed.insert(device, version)),
            None => drop(known.owed.remove(&device)),
        }
    }

    /// The device is being given a version. Until it is known that it was not it is not given it again.
    pub fn giving(&self, device: DeviceNumber, version: u64) {
        self.0.lock().told.insert(device, version);
    }

    /// It did not get it, or the line on which it did has ended: at the next chance it is given it again.
    pub fn missed(&self, device: DeviceNumber) {
        self.0.lock().told.remove(&device);
    }

    /// The device is registered no more.
    pub fn removed(&self, device: DeviceNumber) {
        let mut known = self.0.lock();
        known.owed.remove(&device);
        known.told.remove(&device);
    }

    /// How many devices are owed something.
    pub fn owed(&self) -> usize {
        self.0.lock().owed.len()
    }
}
