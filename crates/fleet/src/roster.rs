//! All apps and devices as they stand in memory. A device's record is kept small, because there may be
//! a million: texts that devices share are shared, empty ones take no memory of their own.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use contract::Admission;
use contract::store::{RegistrySnapshot, SecretHash, StoredDevice};
use model::app::ProtocolSettings;
use model::{App, AppId, Device, DeviceId, DeviceNumber, Party, Presence, UnixMs};

use crate::secrets;
use crate::words::Words;

/// An app, ready for the gate.
pub(crate) struct AppRecord {
    pub(crate) app: App,
    pub(crate) key_hash: SecretHash,
    /// The settings once more, to hand out without copying.
    pub(crate) settings: Arc<ProtocolSettings>,
    pub(crate) devices: usize,
}

impl AppRecord {
    pub(crate) fn new(app: App) -> AppRecord {
        let key_hash = secrets::hash(app.key.reveal().as_bytes());
        let settings = Arc::new(app.settings.clone());
        AppRecord { app, key_hash, settings, devices: 0 }
    }
}

/// A device.
pub(crate) struct Record {
    pub(crate) number: DeviceNumber,
    pub(crate) app: AppId,
    pub(crate) id: DeviceId,
    pub(crate) name: Box<str>,
    pub(crate) alias: Box<str>,
    pub(crate) tags: Box<[Arc<str>]>,
    pub(crate) firmware: Arc<str>,
    pub(crate) created: UnixMs,
    pub(crate) secret_hash: SecretHash,
    pub(crate) open: bool,
    /// How many lines are open.
    pub(crate) lines: u16,
    pub(crate) since: Option<UnixMs>,
    pub(crate) why: Arc<str>,
    pub(crate) protocol: Arc<str>,
    pub(crate) remote: Option<SocketAddr>,
}

impl Record {
    pub(crate) fn device(&self) -> Device {
        Device {
            number: self.number,
            id: self.id.clone(),
            app: self.app,
            name: self.name.to_string(),
            alias: self.alias.to_string(),
            tags: self.tags.iter().map(|tag| tag.to_string()).collect(),
            firmware: self.firmware.to_string(),
            open: self.open,
            created: self.created,
        }
    }

    pub(crate) fn presence(&self) -> Presence {
        Presence {
            online: self.lines > 0,
            since: self.since,
            why: self.why.to_string(),
            protocol: self.protocol.to_string(),
            remote: self.remote.map(|remote| remote.to_string()).unwrap_or_default(),
        }
    }
}

/// Apps and devices.
pub(crate) struct Roster {
    pub(crate) apps: BTreeMap<AppId, AppRecord>,
    /// By number, because lists go by number. Boxed: the tree's nodes are half empty.
    pub(crate) devices: BTreeMap<DeviceNumber, Box<Record>>,
    pub(crate) numbers: HashMap<DeviceId, DeviceNumber>,
    pub(crate) online: usize,
    pub(crate) app_last: u32,
    pub(crate) device_last: u32,
    pub(crate) words: Words,
}

/// Why a device that the store says is online is not: its line did not survive us.
const RESTARTED: &str = "the server was restarted";

impl Roster {
    /// What the store remembers, `now` being the end of every line of before.
    pub(crate) fn new(snapshot: RegistrySnapshot, now: UnixMs) -> Roster {
        let mut roster = Roster {
            apps: snapshot.apps.into_iter().map(|app| (app.id, AppRecord::new(app))).collect(),
            devices: BTreeMap::new(),
            numbers: HashMap::with_capacity(snapshot.devices.len()),
            online: 0,
            app_last: snapshot.app_last,
            device_last: snapshot.device_last,
            words: Words::new(),
        };
        for mut stored in snapshot.devices {
            if stored.presence.online {
                stored.presence.online = false;
                stored.presence.since = Some(now);
                stored.presence.why = RESTARTED.to_owned();
            }
            roster.insert(stored);
        }
        roster
    }

    /// Adds a device that no line belongs to yet.
    pub(crate) fn insert(&mut self, stored: StoredDevice) -> &Record {
        let StoredDevice { device, secret_hash, presence } = stored;
        if let Some(app) = self.apps.get_mut(&device.app) {
            app.devices += 1;
        }
        let record = Record {
            number: device.number,
            app: device.app,
            id: device.id.clone(),
            name: device.name.into(),
            alias: device.alias.into(),
            tags: device.tags.iter().map(|tag| self.words.share(tag)).collect(),
            firmware: self.words.share(&device.firmware),
            created: device.created,
            secret_hash,
            open: device.open,
            lines: 0,
            since: presence.since,
            why: self.words.share(&presence.why),
            protocol: self.words.share(&presence.protocol),
            remote: presence.remote.parse().ok(),
        };
        self.numbers.insert(device.id, device.number);
        self.devices.entry(device.number).insert_entry(Box::new(record)).into_mut()
    }

    /// Forgets a device. Whether it was there.
    pub(crate) fn remove(&mut self, number: DeviceNumber) -> bool {
        let Some(record) = self.devices.remove(&number) else { return false };
        self.numbers.remove(&record.id);
        self.online -= usize::from(record.lines > 0);
        if let Some(app) = self.apps.get_mut(&record.app) {
            app.devices -= 1;
        }
        true
    }

    /// A device by its id.
    pub(crate) fn find(&self, id: &str) -> Option<&Record> {
        self.numbers.get(id).and_then(|number| self.devices.get(number)).map(Box::as_ref)
    }

    /// How the hub gets to know a device.
    pub(crate) fn admission(&self, record: &Record) -> Admission {
        Admission {
            party: Arc::new(Party::Device { number: record.number, id: record.id.clone(), app: record.app }),
            settings: self.apps.get(&record.app).map(|app| Arc::clone(&app.settings)).unwrap_or_default(),
            enrolled: None,
        }
    }
}
