//! How a device comes to be, by its owner's order or by presenting its app's key for the first time.
//! An id is reserved before anything is written, so that two first sights of one chip, or a chip and an
//! owner, never make two devices; connections that come meanwhile wait for the same outcome.

use std::collections::HashMap;
use std::sync::Arc;

use contract::event::Change;
use contract::store::{StoreError, StoredDevice};
use contract::{Admission, Refusal, Ticket};
use model::{Address, AppId, AppKey, Device, DeviceId, DeviceNumber, Presence, limits};

use crate::roster::Roster;
use crate::{Fleet, FleetError, secrets};

/// The ids that are being registered, with the connections that wait for each.
pub(crate) type Arriving = HashMap<DeviceId, Vec<Waiter>>;

/// A connection that waits to be let in.
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    /// The app and key to tell it, for a device that knew none.
    pub(crate) enrolled: Option<(AppId, AppKey)>,
}

/// Whether one more device fits beside those that are there and those that are coming.
pub(crate) fn has_room(roster: &Roster, arriving: &Arriving) -> bool {
    roster.devices.len() + arriving.len() < limits::DEVICES_MAX
}

impl Fleet {
    /// Writes a device whose id is reserved, and tells everybody who waits for it.
    pub(crate) async fn register(self: Arc<Self>, device: Device, secret: String) -> Result<(), FleetError> {
        let (number, id) = (device.number, device.id.clone());
        let secret_hash = secrets::hash(secret.as_bytes());
        let kept = self.registry.put_device(device.clone(), Some(secret)).await;
        let verdict: Result<Admission, Refusal> = match &kept {
            Ok(()) => {
                let mut roster = self.roster.write();
                roster.insert(StoredDevice { device, secret_hash, presence: Presence::default() });
                let record = roster.find(id.as_str()).expect("it was inserted just now");
                Ok(roster.admission(record))
            }
            Err(error) => {
                tracing::error!(device = %id, %error, "a device could not be registered");
                let full = matches!(error, StoreError::Full(_));
                Err(if full { Refusal::Quota } else { Refusal::Unavailable })
            }
        };
        // It is in the roster before it leaves the reserved ids: a connection finds it in one or the other.
        let waiters = self.arriving.lock().remove(&id).unwrap_or_default();
        if verdict.is_ok() {
            self.tell_change(number, Change::Registered);
        }
        for Waiter { ticket, enrolled } in waiters {
            self.line.decide(ticket, verdict.clone().map(|admission| Admission { enrolled, ..admission }));
        }
        kept.map_err(FleetError::from)
    }

    /// The gate's way to a device's first sight: reserves the id and registers in a task.
    pub(crate) fn register_at_sight(
        &self,
        arriving: &mut Arriving,
        id: DeviceId,
        app: AppId,
        waiter: Waiter,
    ) -> Result<(), Refusal> {
        if arriving.len() >= limits::REGISTRATIONS_OPEN_MAX {
            return Err(Refusal::Unavailable);
        }
        let fleet = self.me.upgrade().ok_or(Refusal::Unavailable)?;
        let number = self.next_number().ok_or(Refusal::Quota)?;
        let device = Device {
            number,
            id: id.clone(),
            app,
            name: String::new(),
            alias: String::new(),
            tags: Vec::new(),
            meta: Default::default(),
            firmware: String::new(),
            open: false,
            created: self.clock.unix(),
        };
        arriving.insert(id, vec![waiter]);
        // Its own secret is told to nobody: it goes on with the app's key, and its owner may give it a new one.
        self.runtime.spawn(async move {
            // The waiters and the log have been told.
            let _ = fleet.register(device, secrets::new_device_secret()).await;
        });
        Ok(())
    }

    /// The next address. One that is then not used stays unused.
    pub(crate) fn next_number(&self) -> Option<DeviceNumber> {
        let mut roster = self.roster.write();
        roster.device_last = roster.device_last.checked_add(1).filter(|next| *next <= Address::DEVICE_MAX)?;
        Some(DeviceNumber(roster.device_last))
    }
}
