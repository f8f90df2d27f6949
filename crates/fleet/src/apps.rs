//! Apps: device types with a shared key. Validates the shape of per-protocol settings, not their meaning
//! (each protocol's own room does).

use model::app::ProtocolSettings;
use model::{App, AppId};

use crate::{Fleet, FleetError};

/// What a new app is to be.
#[derive(Clone, Debug, Default)]
pub struct NewApp {
    /// A name for people.
    pub name: String,
    /// Whether devices may register themselves with the app's key.
    pub open: bool,
    /// Whether devices may register with a chip id alone.
    pub single: bool,
    /// Per-protocol settings.
    pub settings: ProtocolSettings,
}

/// What is to change about an app; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct AppEdit {
    /// The name.
    pub name: Option<String>,
    /// Whether devices may register themselves.
    pub open: Option<bool>,
    /// Whether devices may register with a chip id alone.
    pub single: Option<bool>,
    /// All settings, in place of those before.
    pub settings: Option<ProtocolSettings>,
}

/// An app as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppView {
    /// The app, its key included: show that to operators and owners only.
    pub app: App,
    /// How many devices it has.
    pub devices: usize,
}

impl Fleet {
    /// Makes an app with a number and a key of its own.
    pub async fn create_app(&self, new: NewApp) -> Result<AppView, FleetError> {
        let _ = new;
        todo!()
    }

    /// Changes an app. Devices that are connected notice at their next login.
    pub async fn edit_app(&self, id: AppId, edit: AppEdit) -> Result<AppView, FleetError> {
        let _ = (id, edit);
        todo!()
    }

    /// Removes an app that has no devices.
    pub async fn delete_app(&self, id: AppId) -> Result<(), FleetError> {
        let _ = id;
        todo!()
    }

    /// One app.
    pub fn app(&self, id: AppId) -> Option<AppView> {
        let _ = id;
        todo!()
    }

    /// All apps by number.
    pub fn apps(&self) -> Vec<AppView> {
        todo!()
    }

    /// The app of that name with the lowest number, made if there is none.
    pub async fn ensure_app(&self, new: NewApp) -> Result<AppView, FleetError> {
        let _ = new;
        todo!()
    }
}
