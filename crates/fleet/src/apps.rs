//! Apps: device types with a shared key. Validates the shape of per-protocol settings, not their meaning
//! (each protocol's own room does).

use std::collections::btree_map::Entry;
use std::sync::Arc;

use model::app::ProtocolSettings;
use model::{App, AppId, AppKey, Peers, limits, text};

use crate::roster::{AppRecord, Roster};
use crate::{Fleet, FleetError, secrets};

/// What a new app is to be.
#[derive(Clone, Debug, Default)]
pub struct NewApp {
    /// A name for people.
    pub name: String,
    /// Whether devices may register themselves with the app's key.
    pub open: bool,
    /// Whether devices may register with a chip id alone. They are told the app's key, so let nothing
    /// of value depend on it.
    pub single: bool,
    /// Whom its devices may write to of themselves.
    pub peers: Peers,
    /// Per-protocol settings.
    pub settings: ProtocolSettings,
    /// Its number and its key, for devices whose firmware has them already; made when left out.
    pub id: Option<AppId>,
    /// See `id`.
    pub key: Option<AppKey>,
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
    /// Whom its devices may write to. Counts at once, for lines that are open too.
    pub peers: Option<Peers>,
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

/// Highest number that an owner may choose. Half of all, so that choosing never uses up what is counted up.
const CHOSEN_ID_MAX: u32 = i32::MAX as u32;

impl Fleet {
    /// Makes an app with a number and a key of its own.
    pub async fn create_app(&self, new: NewApp) -> Result<AppView, FleetError> {
        self.to_its_end(|fleet| async move {
            let _turn = fleet.edits.lock().await;
            fleet.make_app(new).await
        })
        .await
    }

    /// Changes an app. Devices that are connected notice at their next login.
    pub async fn edit_app(&self, id: AppId, edit: AppEdit) -> Result<AppView, FleetError> {
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            let mut app = fleet.app(id).ok_or(FleetError::NoSuchApp(id))?.app;
            app.name = edit.name.unwrap_or(app.name);
            app.open = edit.open.unwrap_or(app.open);
            app.single = edit.single.unwrap_or(app.single);
            app.peers = edit.peers.unwrap_or(app.peers);
            app.settings = edit.settings.unwrap_or(app.settings);
            check(&app.name, &app.settings)?;
            fleet.registry.put_app(app.clone()).await?;
            Ok(fleet.put_app(app))
        })
        .await
    }

    /// Removes an app that has no devices.
    pub async fn delete_app(&self, id: AppId) -> Result<(), FleetError> {
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            let devices = fleet.app(id).ok_or(FleetError::NoSuchApp(id))?.devices;
            if devices > 0 {
                return Err(FleetError::AppHasDevices { app: id, devices });
            }
            // A device that registers itself at this very moment makes the store refuse one of the two.
            fleet.registry.delete_app(id).await?;
            fleet.roster.write().apps.remove(&id);
            Ok(())
        })
        .await
    }

    /// One app.
    pub fn app(&self, id: AppId) -> Option<AppView> {
        self.roster.read().apps.get(&id).map(view)
    }

    /// All apps by number.
    pub fn apps(&self) -> Vec<AppView> {
        self.roster.read().apps.values().map(view).collect()
    }

    /// The app of that name with the lowest number, made if there is none.
    pub async fn ensure_app(&self, new: NewApp) -> Result<AppView, FleetError> {
        self.to_its_end(|fleet| async move {
            let _turn = fleet.edits.lock().await;
            let found = fleet.roster.read().apps.values().find(|found| found.app.name == new.name).map(view);
            match found {
                Some(app) => Ok(app),
                None => fleet.make_app(new).await,
            }
        })
        .await
    }

    /// With `edits` held.
    async fn make_app(self: &Arc<Self>, new: NewApp) -> Result<AppView, FleetError> {
        check(&new.name, &new.settings)?;
        let id = {
            let roster = self.roster.read();
            if roster.apps.len() >= limits::APPS_MAX {
                return Err(FleetError::Limit { what: "apps", max: limits::APPS_MAX });
            }
            choose_id(&roster, new.id)?
        };
        let key = new.key.or_else(|| AppKey::parse(&secrets::new_app_key())).expect("our own keys have the form of a key");
        let app = App {
            id,
            key,
            name: new.name,
            open: new.open,
            single: new.single,
            peers: new.peers,
            settings: new.settings,
            created: self.clock.unix(),
        };
        self.registry.put_app(app.clone()).await?;
        Ok(self.put_app(app))
    }

    /// Into memory, after the store has it.
    fn put_app(&self, app: App) -> AppView {
        let mut roster = self.roster.write();
        roster.app_last = roster.app_last.max(app.id.0);
        let record = AppRecord::new(app);
        match roster.apps.entry(record.app.id) {
            Entry::Vacant(place) => view(place.insert(record)),
            Entry::Occupied(mut place) => {
                let devices = place.get().devices;
                place.insert(AppRecord { devices, ..record });
                view(place.get())
            }
        }
    }
}

fn view(record: &AppRecord) -> AppView {
    AppView { app: record.app.clone(), devices: record.devices }
}

fn choose_id(roster: &Roster, wanted: Option<AppId>) -> Result<AppId, FleetError> {
    match wanted {
        Some(AppId(number)) if number == 0 || number > CHOSEN_ID_MAX => Err(FleetError::BadAppId(AppId(number))),
        Some(id) if roster.apps.contains_key(&id) => Err(FleetError::AppIdTaken(id)),
        Some(id) => Ok(id),
        None => {
            let next = roster.app_last.checked_add(1).map(AppId);
            next.ok_or(FleetError::Limit { what: "app numbers", max: u32::MAX as usize })
        }
    }
}

fn check(name: &str, settings: &ProtocolSettings) -> Result<(), FleetError> {
    if !text::is_name(name) {
        return Err(FleetError::BadName);
    }
    if settings.len() > limits::SETTINGS_MAX {
        return Err(FleetError::BadSetting("…".to_owned()));
    }
    match settings.iter().find(|(name, value)| !is_setting(name, value)) {
        Some((name, _)) => Err(FleetError::BadSetting(crate::clip(name, limits::NAME_BYTES_MAX).to_owned())),
        None => Ok(()),
    }
}

/// `<protocol>.<name>`, each of lower-case letters, digits and `_`.
fn is_setting(name: &str, value: &str) -> bool {
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let shaped = name.split_once('.').is_some_and(|(protocol, name)| word(protocol) && word(name));
    shaped
        && name.len() <= limits::SETTING_BYTES_MAX
        && value.len() <= limits::SETTING_BYTES_MAX
        && !value.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_its_protocol() {
        assert!(is_setting("espush.text", "gbk") && is_setting("mqtt_sn.x2", ""));
        for bad in ["text", ".text", "espush.", "a.b.c", "ESPUSH.text", "espush.te xt", ""] {
            assert!(!is_setting(bad, "x"), "{bad}");
        }
        assert!(!is_setting("a.b", "line\nline") && !is_setting("a.b", &"x".repeat(limits::SETTING_BYTES_MAX + 1)));
    }
}
