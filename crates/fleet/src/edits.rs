//! Changing what owners wrote about devices, one or many at once, and keeping them out.

use contract::Close;
use contract::event::Change;
use contract::store::Later;
use model::{Device, DeviceNumber, MetaEdit, PartyKey, meta};

use crate::devices::{DeviceView, check, refused, view};
use crate::{Fleet, FleetError};

/// What is to change about a device; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct DeviceEdit {
    /// The name.
    pub name: Option<String>,
    /// The alias.
    pub alias: Option<String>,
    /// All tags, in place of those before.
    pub tags: Option<Vec<String>>,
    /// What to write down besides, and what to strike out; the rest stays.
    pub meta: MetaEdit,
    /// Whether it may be pushed to without a token.
    pub open: Option<bool>,
    /// Whether it is not let in. Blocking ends its lines; what waits for it goes on waiting.
    pub blocked: Option<bool>,
}

/// An edit on its way to the store.
struct Begun {
    device: Device,
    blocked: Option<bool>,
    block: Option<Later<()>>,
    put: Later<()>,
}

/// Why the lines of a blocked device end.
const BLOCKED: Close = refused("the device was blocked");

impl Fleet {
    /// Changes what its owner wrote about a device.
    pub async fn edit_device(&self, id: &str, edit: DeviceEdit) -> Result<DeviceView, FleetError> {
        self.edit_devices(vec![(id.to_owned(), edit)]).await.pop().unwrap_or_else(|| Err(FleetError::NoSuchDevice(id.to_owned())))
    }

    /// Changes many devices with one wait for the disk; each by itself, and answered in their order.
    pub async fn edit_devices(&self, edits: Vec<(String, DeviceEdit)>) -> Vec<Result<DeviceView, FleetError>> {
        let count = edits.len();
        let edited = self.to_its_end(|fleet| async move {
            let _turn = fleet.edits.lock().await;
            let mut begun = Vec::with_capacity(count);
            for (id, edit) in edits {
                begun.push(fleet.begin_edit(&id, edit));
            }
            let mut edited = Vec::with_capacity(count);
            for begun in begun {
                edited.push(match begun {
                    Ok(begun) => fleet.end_edit(begun).await,
                    Err(error) => Err(error),
                });
            }
            Ok(edited)
        });
        edited.await.unwrap_or_else(|error| vec![Err(error); count])
    }

    /// With `edits` held. What is to be written is on its way to the store when this returns.
    fn begin_edit(&self, id: &str, edit: DeviceEdit) -> Result<Begun, FleetError> {
        let (device, blocked) = self.edited(id, edit)?;
        // Whoever is to be kept out is, also when the rest cannot be written.
        let block = blocked.map(|blocked| self.registry.block_device(device.number, blocked));
        let put = self.registry.put_device(device.clone(), None);
        Ok(Begun { device, blocked, block, put })
    }

    async fn end_edit(&self, Begun { device, blocked, block, put }: Begun) -> Result<DeviceView, FleetError> {
        if let (Some(blocked), Some(written)) = (blocked, block) {
            written.await?;
            self.block(device.number, blocked);
        }
        put.await?;
        let number = device.number;
        let shown = {
            let mut roster = self.roster.write();
            let roster = &mut *roster;
            let gone = || FleetError::NoSuchDevice(device.id.to_string());
            let record = roster.devices.get_mut(number).ok_or_else(gone)?;
            // Not the firmware: the device may have told a newer one meanwhile.
            record.set_names(device.name, device.alias, device.meta);
            record.tags = roster.texts.share_all(&device.tags);
            record.open = device.open;
            roster.devices.get(number).map(|record| view(roster, record)).ok_or_else(gone)?
        };
        self.tell_change(number, Change::Edited);
        Ok(shown)
    }

    /// A device as it would be, and whether it is to be blocked.
    fn edited(&self, id: &str, edit: DeviceEdit) -> Result<(Device, Option<bool>), FleetError> {
        let mut device = self.known(id)?;
        device.name = edit.name.unwrap_or(device.name);
        device.alias = edit.alias.unwrap_or(device.alias);
        device.tags = edit.tags.unwrap_or(device.tags);
        device.open = edit.open.unwrap_or(device.open);
        check(&device.name, &device.alias, &mut device.tags)?;
        meta::edit(&mut device.meta, edit.meta).map_err(FleetError::BadMeta)?;
        Ok((device, edit.blocked))
    }

    /// Whether a device could be changed so, now.
    pub fn check_edit(&self, id: &str, edit: &DeviceEdit) -> Result<(), FleetError> {
        self.edited(id, edit.clone()).map(drop)
    }

    /// With `edits` held, when it is on disk.
    fn block(&self, number: DeviceNumber, blocked: bool) {
        if let Some(record) = self.roster.write().devices.get_mut(number) {
            record.blocked = blocked;
        }
        if blocked {
            // Its session stays, for when it is let in again.
            self.line.kick(PartyKey::Device(number), BLOCKED, false);
        }
    }
}
