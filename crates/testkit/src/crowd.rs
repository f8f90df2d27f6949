//! Any number of registered devices, for examples and tools that weigh or time a room: a registry that tells
//! them and forgets whatever it is given, on a clock that stands still.

use contract::Clock;
use contract::store::{Later, Registry, RegistrySnapshot, StoreError, StoredAccount, StoredDevice, StoredGroup, StoredToken};
use model::{App, AppId, AppKey, Device, DeviceId, DeviceNumber, Millis, Presence, UnixMs};

/// The app of all devices.
pub const APP: AppId = AppId(15000);
/// Its key.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The chip id of device number 0, if there were one.
const CHIP_BASE: u32 = 8_000_000;

/// The chip id of a device.
pub fn chip(device: u32) -> String {
    (CHIP_BASE + device).to_string()
}

/// The id of a device.
pub fn id(device: u32) -> String {
    format!("{APP}-{}", chip(device))
}

/// The app, as it is kept.
pub fn app() -> App {
    App {
        id: APP,
        key: AppKey::parse(KEY).expect("32 hex characters"),
        name: "sensors".into(),
        open: false,
        single: false,
        peers: Default::default(),
        settings: Default::default(),
        created: UnixMs(0),
    }
}

/// A device, as it is kept.
pub fn device(number: u32) -> Device {
    Device {
        number: DeviceNumber(number),
        id: DeviceId::of_chip(APP, &chip(number)).expect("digits"),
        app: APP,
        name: String::new(),
        alias: String::new(),
        tags: vec!["batch 7".into(), "hall 2".into()],
        meta: Default::default(),
        firmware: "AT 1.2".into(),
        open: false,
        created: UnixMs(0),
    }
}

/// Writes devices with these numbers into a registry that keeps them; their app must be there.
pub async fn register(registry: &impl Registry, numbers: &[u32]) -> Result<(), StoreError> {
    // All are asked for first, so that few commits take them.
    let put: Vec<_> = numbers.iter().map(|number| registry.put_device(device(*number), Some("12345678".to_owned()))).collect();
    for written in put {
        written.await?;
    }
    Ok(())
}

/// So many devices, numbered from 1, with two tags and a firmware each.
pub struct Crowd {
    /// How many.
    pub devices: u32,
}

fn done<T: Send + 'static>(value: T) -> Later<T> {
    Box::pin(async move { Ok(value) })
}

impl Registry for Crowd {
    fn load(&self) -> Later<RegistrySnapshot> {
        let device = |number: u32| StoredDevice { device: device(number), secret_hash: [7; 32], presence: Presence::default() };
        let devices = (1..=self.devices).map(device).collect();
        done(RegistrySnapshot { apps: vec![app()], devices, device_last: self.devices, ..Default::default() })
    }
    fn put_app(&self, _: App) -> Later<()> {
        done(())
    }
    fn delete_app(&self, _: AppId) -> Later<()> {
        done(())
    }
    fn put_device(&self, _: Device, _: Option<String>) -> Later<()> {
        done(())
    }
    fn rotate_secret(&self, _: DeviceNumber, _: String, _: Option<UnixMs>) -> Later<()> {
        done(())
    }
    fn drop_old_secret(&self, _: DeviceNumber) -> Later<()> {
        done(())
    }
    fn reveal_old_secret(&self, _: DeviceNumber) -> Later<Option<String>> {
        done(None)
    }
    fn put_group(&self, _: StoredGroup, _: Option<String>) -> Later<()> {
        done(())
    }
    fn delete_group(&self, _: String) -> Later<()> {
        done(())
    }
    fn block_device(&self, _: DeviceNumber, _: bool) -> Later<()> {
        done(())
    }
    fn reveal_secret(&self, _: DeviceNumber) -> Later<Option<String>> {
        done(None)
    }
    fn delete_device(&self, _: DeviceNumber) -> Later<()> {
        done(())
    }
    fn put_presence(&self, _: Vec<(DeviceNumber, Presence)>) -> Later<()> {
        done(())
    }
    fn put_account(&self, _: StoredAccount) -> Later<()> {
        done(())
    }
    fn delete_account(&self, _: u64) -> Later<()> {
        done(())
    }
    fn put_token(&self, _: StoredToken) -> Later<()> {
        done(())
    }
    fn delete_token(&self, _: u64) -> Later<()> {
        done(())
    }
}

impl Clock for Crowd {
    fn unix(&self) -> UnixMs {
        UnixMs(1_466_599_588_000)
    }

    fn millis(&self) -> Millis {
        Millis(0)
    }
}
