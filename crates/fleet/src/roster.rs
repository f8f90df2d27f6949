//! All apps and devices as they stand in memory. A device's record is kept small, because there may be
//! a million: texts that devices share are shared, empty ones take no memory of their own.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use contract::store::{RegistrySnapshot, SecretHash, StoredDevice};
use contract::{Admission, Refusal, Verdict};
use model::app::ProtocolSettings;
use model::{App, AppId, Device, DeviceId, DeviceNumber, Meta, Party, Presence, Remote, UnixMs, Value};

use crate::records::Records;
use crate::rotation::OldSecret;
use crate::secrets;
use crate::turned::Turned;
use crate::words::{Texts, Word, WordList};

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
    /// What its owner calls it; most have no names.
    names: Option<Box<Names>>,
    pub(crate) tags: WordList,
    pub(crate) firmware: Word,
    pub(crate) created: UnixMs,
    pub(crate) secret_hash: SecretHash,
    pub(crate) open: bool,
    pub(crate) blocked: bool,
    /// How many lines are open.
    pub(crate) lines: u16,
    /// [`UNSEEN`], or when it came or went last.
    since: UnixMs,
    pub(crate) why: Word,
    pub(crate) protocol: Word,
    pub(crate) remote: Option<Remote>,
}

const _: () = assert!(size_of::<Option<Record>>() <= 144, "a million of them lie here");

/// Stands for never, in half the memory of an `Option`.
const UNSEEN: UnixMs = UnixMs(i64::MIN);

struct Names {
    name: Box<str>,
    alias: Box<str>,
    /// What he wrote down besides; most who give names write nothing more.
    meta: Option<Box<Meta>>,
}

impl Record {
    /// A device that no line belongs to yet.
    pub(crate) fn new(stored: StoredDevice, texts: &mut Texts) -> Record {
        let StoredDevice { device, secret_hash, presence } = stored;
        let mut record = Record {
            number: device.number,
            app: device.app,
            id: device.id,
            names: None,
            tags: texts.share_all(&device.tags),
            firmware: texts.share(&device.firmware),
            created: device.created,
            secret_hash,
            open: device.open,
            blocked: false,
            lines: 0,
            since: presence.since.unwrap_or(UNSEEN),
            why: texts.share(&presence.why),
            protocol: texts.share(&presence.protocol),
            remote: presence.remote.parse().ok().map(|remote: SocketAddr| remote.into()),
        };
        record.set_names(device.name, device.alias, device.meta);
        record
    }

    pub(crate) fn set_names(&mut self, name: String, alias: String, meta: Meta) {
        let any = !name.is_empty() || !alias.is_empty() || !meta.is_empty();
        let meta = (!meta.is_empty()).then(|| Box::new(meta));
        self.names = any.then(|| Box::new(Names { name: name.into(), alias: alias.into(), meta }));
    }

    fn all_meta(&self) -> Option<&Meta> {
        self.names.as_ref()?.meta.as_deref()
    }

    /// What its owner wrote down under a name.
    pub(crate) fn meta(&self, name: &str) -> Option<&Value> {
        self.all_meta()?.get(name)
    }

    /// The names under which he wrote something down.
    pub(crate) fn meta_names(&self) -> impl Iterator<Item = &str> {
        self.all_meta().into_iter().flat_map(|meta| meta.keys().map(String::as_str))
    }

    /// When it came or went last, if it was ever seen.
    pub(crate) fn since(&self) -> Option<UnixMs> {
        (self.since != UNSEEN).then_some(self.since)
    }

    /// It came or went.
    pub(crate) fn set_since(&mut self, at: UnixMs) {
        self.since = at;
    }

    pub(crate) fn name(&self) -> &str {
        self.names.as_ref().map_or("", |names| &names.name)
    }

    pub(crate) fn alias(&self) -> &str {
        self.names.as_ref().map_or("", |names| &names.alias)
    }

    pub(crate) fn device(&self) -> Device {
        Device {
            number: self.number,
            id: self.id.clone(),
            app: self.app,
            name: self.name().to_owned(),
            alias: self.alias().to_owned(),
            tags: self.tags.iter().map(|tag| tag.to_string()).collect(),
            meta: self.all_meta().cloned().unwrap_or_default(),
            firmware: self.firmware.to_string(),
            open: self.open,
            created: self.created,
        }
    }

    pub(crate) fn presence(&self) -> Presence {
        Presence {
            online: self.lines > 0,
            since: self.since(),
            why: self.why.to_string(),
            protocol: self.protocol.to_string(),
            remote: self.remote.as_ref().map(|remote| remote.addr().to_string()).unwrap_or_default(),
        }
    }
}

/// Apps and devices.
pub(crate) struct Roster {
    pub(crate) apps: BTreeMap<AppId, AppRecord>,
    pub(crate) devices: Records,
    pub(crate) online: usize,
    pub(crate) app_last: u32,
    pub(crate) device_last: u32,
    pub(crate) texts: Texts,
    pub(crate) turned: Turned,
    pub(crate) old_secrets: BTreeMap<DeviceNumber, OldSecret>,
}

/// Why a device that the store says is online is not: its line did not survive us.
const RESTARTED: &str = "the server was restarted";

impl Roster {
    /// What the store remembers, `now` being the end of every line of before.
    pub(crate) fn new(snapshot: RegistrySnapshot, now: UnixMs) -> Roster {
        let mut roster = Roster {
            apps: snapshot.apps.into_iter().map(|app| (app.id, AppRecord::new(app))).collect(),
            devices: Records::default(),
            online: 0,
            app_last: snapshot.app_last,
            device_last: snapshot.device_last,
            texts: Texts::default(),
            turned: Turned::default(),
            old_secrets: BTreeMap::new(),
        };
        let mut metas: HashMap<DeviceNumber, Meta> = snapshot.metas.into_iter().collect();
        for mut stored in snapshot.devices {
            stored.device.meta = metas.remove(&stored.device.number).unwrap_or_default();
            if stored.presence.online {
                stored.presence.online = false;
                stored.presence.since = Some(now);
                stored.presence.why = RESTARTED.to_owned();
            }
            roster.insert(stored);
        }
        for old in snapshot.old_secrets {
            roster.old_secrets.insert(old.device, OldSecret::new(old.hash, old.until));
        }
        for number in snapshot.blocked {
            if let Some(record) = roster.devices.get_mut(number) {
                record.blocked = true;
            }
        }
        roster
    }

    /// Adds a device that no line belongs to yet.
    pub(crate) fn insert(&mut self, stored: StoredDevice) -> &Record {
        if let Some(app) = self.apps.get_mut(&stored.device.app) {
            app.devices += 1;
        }
        let record = Record::new(stored, &mut self.texts);
        self.devices.insert(record)
    }

    /// Forgets a device. Whether it was there.
    pub(crate) fn remove(&mut self, number: DeviceNumber) -> bool {
        let Some(record) = self.devices.remove(number) else { return false };
        self.old_secrets.remove(&number);
        self.online -= usize::from(record.lines > 0);
        if let Some(app) = self.apps.get_mut(&record.app) {
            app.devices -= 1;
        }
        true
    }

    /// A device by its id.
    pub(crate) fn find(&self, id: &str) -> Option<&Record> {
        self.devices.find(id)
    }

    /// How the hub gets to know a device.
    pub(crate) fn admission(&self, record: &Record) -> Admission {
        Admission {
            party: Arc::new(Party::Device { number: record.number, id: record.id.clone(), app: record.app }),
            settings: self.apps.get(&record.app).map(|app| Arc::clone(&app.settings)).unwrap_or_default(),
            enrolled: None,
            stamp: self.turned.stamp(),
        }
    }

    /// Whether a device may come in at all.
    pub(crate) fn let_in(&self, record: &Record) -> Result<(), Refusal> {
        if record.blocked { Err(Refusal::Blocked) } else { Ok(()) }
    }

    /// What the gate says of a device that has shown who it is.
    pub(crate) fn admit(&self, record: &Record) -> Verdict {
        self.let_in(record).map(|()| self.admission(record))
    }
}
