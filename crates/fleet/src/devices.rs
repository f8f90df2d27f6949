//! Devices: registering, finding, listing, removing. Changing them is `edits`. Presence is `presence`, logging in is `gate`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use contract::event::Change;
use contract::store::Page;
use contract::{Close, Fault};
use model::{AppId, Device, DeviceId, DeviceNumber, Meta, PartyKey, Presence, UnixMs, limits, meta, text};

use crate::apps::NewApp;
use crate::audience::Asked;
use crate::gate::TOKEN_USER;
use crate::registration::{Arriving, has_room};
use crate::roster::{Record, Roster};
use crate::rotation::OldSecretView;
use crate::{Fleet, FleetError, secrets};

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
    /// What its owner writes down about it besides.
    pub meta: Meta,
    /// Whether it may be pushed to over HTTP without a token.
    pub open: bool,
    /// Its secret; one is made when it is left out.
    pub secret: Option<String>,
}

impl NewDevice {
    /// A device of `app` with everything else left to the fleet.
    pub fn of(app: AppId) -> NewDevice {
        NewDevice {
            app,
            id: None,
            name: String::new(),
            alias: String::new(),
            tags: Vec::new(),
            meta: Meta::new(),
            open: false,
            secret: None,
        }
    }
}

/// A device as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceView {
    /// What is known of it.
    pub device: Device,
    /// Whether it is there.
    pub presence: Presence,
    /// Whether it is not let in.
    pub blocked: bool,
    /// The secret before its newest, while it works.
    pub old_secret: Option<OldSecretView>,
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
    /// Only those that a query fits.
    pub asked: Option<Asked>,
    /// Only those that are for the caller's token.
    pub within: Option<Asked>,
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

/// Records looked at before the lock is given up for a moment: a search through a million devices must
/// not keep one from coming in.
pub(crate) const LOOKED_AT_ONCE: usize = 4_096;

impl Fleet {
    /// Registers a device. Answers with its secret, which is shown this once.
    pub async fn create_device(&self, new: NewDevice) -> Result<(DeviceView, String), FleetError> {
        self.to_its_end(|fleet| fleet.make_device(new)).await
    }

    /// Whether a device could be registered so, now.
    pub fn check_new(&self, new: &NewDevice) -> Result<(), FleetError> {
        self.check_made(&mut new.clone())?;
        let arriving = self.arriving.lock();
        choose_id(&self.roster.read(), &arriving, new.app, new.id.as_deref()).map(drop)
    }

    /// Removes a device with everything that was kept for it, and ends its lines.
    pub async fn delete_device(&self, id: &str) -> Result<(), FleetError> {
        let id = id.to_owned();
        self.to_its_end(|fleet| async move {
            let _turn = fleet.edits.lock().await;
            let number = fleet.known(&id)?.number;
            fleet.registry.delete_device(number).await?;
            fleet.roster.write().remove(number);
            // Out of memory before it is kicked: it must not come in again through the closing door.
            fleet.line.kick(PartyKey::Device(number), REMOVED, true);
            fleet.tell_change(number, Change::Removed);
            Ok(())
        })
        .await
    }

    /// One device.
    pub fn device(&self, id: &str) -> Option<DeviceView> {
        let roster = self.roster.read();
        roster.find(id).map(|record| view(&roster, record))
    }

    /// One device by its address.
    pub fn device_by_number(&self, number: DeviceNumber) -> Option<DeviceView> {
        let roster = self.roster.read();
        roster.devices.get(number).map(|record| view(&roster, record))
    }

    /// A device's address.
    pub fn number_of(&self, id: &str) -> Option<DeviceNumber> {
        self.roster.read().devices.number_of(id)
    }

    /// The id at an address.
    pub fn id_of(&self, number: DeviceNumber) -> Option<DeviceId> {
        self.roster.read().devices.get(number).map(|record| record.id.clone())
    }

    /// Whether a device holds a line. `false` for one that does not exist.
    pub fn is_online(&self, number: DeviceNumber) -> bool {
        self.roster.read().devices.get(number).is_some_and(|record| record.lines > 0)
    }

    /// Devices by number. `cursor` is the `next` of the page before.
    pub fn devices(&self, filter: &DeviceFilter, cursor: Option<&str>, limit: usize) -> Result<Page<DeviceView>, FleetError> {
        let limit = limit.clamp(1, limits::PAGE_ROWS_MAX);
        let mut after = match cursor {
            None => None,
            Some(cursor) => Some(DeviceNumber(cursor.parse().map_err(|_| FleetError::BadCursor)?)),
        };
        let now = self.clock.unix();
        let wanted = filter.q.as_deref().map(str::to_lowercase);
        let mut items: Vec<DeviceView> = Vec::new();
        loop {
            let roster = self.roster.read();
            let mut rest = roster.devices.behind(after);
            for record in rest.by_ref().take(LOOKED_AT_ONCE) {
                after = Some(record.number);
                if !suits(record, filter, wanted.as_deref(), now) {
                    continue;
                }
                if items.len() == limit {
                    let next = items.last().map(|last| last.device.number.to_string());
                    return Ok(Page { items, next });
                }
                items.push(view(&roster, record));
            }
            if rest.next().is_none() {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// The names under which something is written down about the devices of a list. It may look at all of them:
    /// see [`devices_apart`](Fleet::devices_apart).
    pub(crate) fn meta_names(&self, filter: &DeviceFilter) -> Result<BTreeSet<String>, FleetError> {
        let now = self.clock.unix();
        let wanted = filter.q.as_deref().map(str::to_lowercase);
        let (mut names, mut after) = (BTreeSet::new(), None);
        loop {
            let roster = self.roster.read();
            let mut rest = roster.devices.behind(after);
            for record in rest.by_ref().take(LOOKED_AT_ONCE) {
                after = Some(record.number);
                if record.meta_names().any(|name| !names.contains(name)) && suits(record, filter, wanted.as_deref(), now) {
                    names.extend(record.meta_names().map(str::to_owned));
                    if names.len() > limits::META_COLUMNS_MAX {
                        return Err(FleetError::ManyMetaNames);
                    }
                }
            }
            if rest.next().is_none() {
                return Ok(names);
            }
        }
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        let roster = self.roster.read();
        Counts { apps: roster.apps.len(), devices: roster.devices.len(), online: roster.online }
    }

    /// Whether `secret` is the secret of device `id` (a device that speaks HTTP) and it is not blocked. One
    /// answer for an unknown id and a wrong secret.
    pub fn check_secret(&self, id: &str, secret: &str) -> Option<DeviceNumber> {
        let given = secrets::hash(secret.as_bytes());
        let roster = self.roster.read();
        let record = roster.find(id).filter(|record| !record.blocked)?;
        roster.which_secret(record, &given, self.clock.unix()).map(|_| record.number)
    }

    /// The virtual lamp: app `demo`, device `lamp`, open to pushes without a token. Made when missing;
    /// its secret is new at every call, because only its hash is in memory. Refused when a device `lamp`
    /// of another app is there: that one is real.
    pub async fn ensure_demo(&self) -> Result<(DeviceView, String), FleetError> {
        const LAMP: &str = "lamp";
        let app = self.ensure_app(NewApp { name: "demo".to_owned(), ..NewApp::default() }).await?.app.id;
        match self.device(LAMP) {
            Some(lamp) if lamp.device.app == app => {
                let secret = self.rotate_secret(LAMP, 0).await?.secret;
                Ok((lamp, secret))
            }
            Some(other) => Err(FleetError::DeviceIdTaken(other.device.id)),
            None => {
                let name = "Virtual lamp".to_owned();
                self.create_device(NewDevice { id: Some(LAMP.to_owned()), name, open: true, ..NewDevice::of(app) }).await
            }
        }
    }

    /// What can be said of a new device without looking for its place.
    fn check_made(&self, new: &mut NewDevice) -> Result<(), FleetError> {
        check(&new.name, &new.alias, &mut new.tags)?;
        let given = new.meta.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        meta::edit(&mut Meta::new(), given).map_err(FleetError::BadMeta)?;
        if new.secret.as_deref().is_some_and(|secret| !is_secret(secret)) {
            return Err(FleetError::BadSecret);
        }
        match new.id.as_deref().filter(|id| self.accounts.read().find(id).is_some()) {
            // The device would be asked for first, and the account behind it could not be logged in to.
            Some(id) => Err(FleetError::AccountNameTaken(id.to_owned())),
            None => Ok(()),
        }
    }

    async fn make_device(self: Arc<Self>, mut new: NewDevice) -> Result<(DeviceView, String), FleetError> {
        self.check_made(&mut new)?;
        let secret = new.secret.unwrap_or_else(secrets::new_device_secret);
        let (id, number) = {
            let mut arriving = self.arriving.lock();
            let id = choose_id(&self.roster.read(), &arriving, new.app, new.id.as_deref())?;
            let number = self.next_number().ok_or(FleetError::Limit { what: "device numbers", max: u32::MAX as usize })?;
            arriving.insert(id.clone(), Vec::new());
            (id, number)
        };
        let device = Device {
            number,
            id,
            app: new.app,
            name: new.name,
            alias: new.alias,
            tags: new.tags,
            meta: new.meta,
            firmware: String::new(),
            open: new.open,
            created: self.clock.unix(),
        };
        let shown = DeviceView { device: device.clone(), presence: Presence::default(), blocked: false, old_secret: None };
        self.register(device, secret.clone()).await?;
        Ok((shown, secret))
    }

    pub(crate) fn known(&self, id: &str) -> Result<Device, FleetError> {
        self.roster.read().find(id).map(Record::device).ok_or_else(|| FleetError::NoSuchDevice(id.to_owned()))
    }
}

pub(crate) fn view(roster: &Roster, record: &Record) -> DeviceView {
    let old_secret = roster.old_secret(record.number);
    DeviceView { device: record.device(), presence: record.presence(), blocked: record.blocked, old_secret }
}

pub(crate) const fn refused(why: &'static str) -> Close {
    Close { fault: Fault::Refused, why: Cow::Borrowed(why) }
}

/// Why the lines of a removed device end.
pub(crate) const REMOVED: Close = refused("the device was deleted");

fn suits(record: &Record, filter: &DeviceFilter, wanted: Option<&str>, now: UnixMs) -> bool {
    filter.app.is_none_or(|app| record.app == app)
        && filter.online.is_none_or(|online| (record.lines > 0) == online)
        && wanted.is_none_or(|text| [record.id.as_str(), record.name(), record.alias()].into_iter().any(|name| holds(name, text)))
        && [&filter.asked, &filter.within].into_iter().flatten().all(|asked| asked.query.matches(record, &*asked.points, now))
}

/// Whether `text` has `wanted`, which is in lower case, in any case.
fn holds(text: &str, wanted: &str) -> bool {
    if text.is_ascii() {
        // Without a copy, because most are, and a search passes a million of them.
        return wanted.is_empty()
            || text.as_bytes().windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted.as_bytes()));
    }
    text.to_lowercase().contains(wanted)
}

/// An id that is free in a fleet that has room.
fn choose_id(roster: &Roster, arriving: &Arriving, app: AppId, wanted: Option<&str>) -> Result<DeviceId, FleetError> {
    if !roster.apps.contains_key(&app) {
        return Err(FleetError::NoSuchApp(app));
    }
    if !has_room(roster, arriving) {
        return Err(FleetError::Limit { what: "devices", max: limits::DEVICES_MAX });
    }
    let taken = |id: &DeviceId| roster.devices.find(id.as_str()).is_some() || arriving.contains_key(id);
    let Some(wanted) = wanted else {
        // Forty bits against two million devices: a second turn is rare, a third unheard of.
        let mut made = std::iter::repeat_with(|| DeviceId::parse(&secrets::new_device_id())).flatten();
        return made.find(|id| !taken(id)).ok_or(FleetError::Limit { what: "devices", max: limits::DEVICES_MAX });
    };
    let id =
        DeviceId::parse(wanted).ok_or_else(|| FleetError::BadDeviceId(crate::clip(wanted, limits::NAME_BYTES_MAX).to_owned()))?;
    if wanted == TOKEN_USER {
        return Err(FleetError::ReservedDeviceId(id));
    }
    match wanted.split_once('-').and_then(|(number, _)| number.parse().ok()).map(AppId) {
        Some(other) if other != app => return Err(FleetError::ForeignDeviceId { app: other }),
        _ => {}
    }
    if taken(&id) { Err(FleetError::DeviceIdTaken(id)) } else { Ok(id) }
}

/// Checks what an owner writes about a device. Tags said twice are taken once.
pub(crate) fn check(name: &str, alias: &str, tags: &mut Vec<String>) -> Result<(), FleetError> {
    if [name, alias].into_iter().any(|name| !name.is_empty() && !text::is_name(name)) {
        return Err(FleetError::BadName);
    }
    if tags.len() > limits::TAGS_MAX || !tags.iter().all(|tag| text::is_name(tag)) {
        return Err(FleetError::BadTags);
    }
    let said = std::mem::take(tags);
    for tag in said {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(())
}

/// Whether an owner may choose it: it must pass through every protocol, one of which ends it at a blank.
fn is_secret(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}
