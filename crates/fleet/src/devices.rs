//! Devices: registering, editing, finding, listing, removing. Presence is `presence`, logging in is `gate`.

use contract::store::Page;
use model::{AppId, Device, DeviceId, DeviceNumber, Presence};

use crate::{Fleet, FleetError};

/// What a new device is to be.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// Its app.
    pub app: AppId,
    /// Its id; one like `d-7kq2m9xw` is made when it is left out.
    pub id: Option<String>,
    /// A name for people; may be empty.
    pub name: String,
    /// A second name that pushes may address; may be empty.
    pub alias: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Whether it may be pushed to over HTTP without a token.
    pub open: bool,
    /// Its secret; one is made when it is left out.
    pub secret: Option<String>,
}

impl NewDevice {
    /// A device of `app` with everything else left to the fleet.
    pub fn of(app: AppId) -> NewDevice {
        NewDevice { app, id: None, name: String::new(), alias: String::new(), tags: Vec::new(), open: false, secret: None }
    }
}

/// What is to change about a device; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct DeviceEdit {
    /// The name.
    pub name: Option<String>,
    /// The alias.
    pub alias: Option<String>,
    /// All tags, in place of those before.
    pub tags: Option<Vec<String>>,
    /// Whether it may be pushed to without a token.
    pub open: Option<bool>,
}

/// A device as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// What is known of it.
    pub device: Device,
    /// Whether it is there.
    pub presence: Presence,
}

/// Which devices a list is to have; empty takes all.
#[derive(Clone, Debug, Default)]
pub struct DeviceFilter {
    /// Only of this app.
    pub app: Option<AppId>,
    /// Only online or only offline ones.
    pub online: Option<bool>,
    /// Only those with this text in id, name or alias, upper and lower case alike.
    pub q: Option<String>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Apps.
    pub apps: usize,
    /// Devices.
    pub devices: usize,
    /// Devices with a line.
    pub online: usize,
}

impl Fleet {
    /// Registers a device. Answers with its secret, which is shown this once.
    pub async fn create_device(&self, new: NewDevice) -> Result<(DeviceView, String), FleetError> {
        let _ = new;
        todo!()
    }

    /// Changes what its owner wrote about a device.
    pub async fn edit_device(&self, id: &str, edit: DeviceEdit) -> Result<DeviceView, FleetError> {
        let _ = (id, edit);
        todo!()
    }

    /// Gives a device a new secret and ends the lines that came in with the old one.
    pub async fn rotate_secret(&self, id: &str) -> Result<String, FleetError> {
        let _ = id;
        todo!()
    }

    /// Removes a device with everything that was kept for it, and ends its lines.
    pub async fn delete_device(&self, id: &str) -> Result<(), FleetError> {
        let _ = id;
        todo!()
    }

    /// One device.
    pub fn device(&self, id: &str) -> Option<DeviceView> {
        let _ = id;
        todo!()
    }

    /// One device by its address.
    pub fn device_by_number(&self, number: DeviceNumber) -> Option<DeviceView> {
        let _ = number;
        todo!()
    }

    /// A device's address.
    pub fn number_of(&self, id: &str) -> Option<DeviceNumber> {
        let _ = id;
        todo!()
    }

    /// The id at an address.
    pub fn id_of(&self, number: DeviceNumber) -> Option<DeviceId> {
        let _ = number;
        todo!()
    }

    /// Whether a device holds a line. `false` for one that does not exist.
    pub fn is_online(&self, number: DeviceNumber) -> bool {
        let _ = number;
        todo!()
    }

    /// Devices by number. `cursor` is the `next` of the page before.
    pub fn devices(&self, filter: &DeviceFilter, cursor: Option<&str>, limit: usize) -> Result<Page<DeviceView>, FleetError> {
        let _ = (filter, cursor, limit);
        todo!()
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        todo!()
    }

    /// Whether `secret` is the secret of device `id` (a device that speaks HTTP). One answer for an
    /// unknown id and a wrong secret.
    pub fn check_secret(&self, id: &str, secret: &str) -> Option<DeviceNumber> {
        let _ = (id, secret);
        todo!()
    }

    /// The virtual lamp: app `demo`, device `lamp`, open to pushes without a token. Made when missing;
    /// its secret is new at every call, because only its hash is in memory.
    pub async fn ensure_demo(&self) -> Result<(DeviceView, String), FleetError> {
        todo!()
    }
}
