//! Which devices are meant: lists by query, and the audience of a push. One walk over all records in
//! memory, on a thread of its own and in steps, so that neither other callers nor devices that come in
//! wait for it. Where points are is the caller's to say.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use contract::store::Page;
use model::query::{Latest, Subject};
use model::{AppId, DeviceId, DeviceNumber, Query, UnixMs, Value, limits};

use crate::devices::{DeviceFilter, DeviceView, LOOKED_AT_ONCE};
use crate::roster::Record;
use crate::words::Word;
use crate::{Fleet, FleetError};

/// A query with all that it takes to carry it out.
#[derive(Clone)]
pub struct Asked {
    /// What is asked.
    pub query: Arc<Query>,
    /// The newest points of its streams.
    pub points: Arc<dyn Latest>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Asked({})", self.query)
    }
}

/// Who is meant.
#[derive(Clone, Debug)]
pub enum Audience {
    /// These devices.
    Devices(Vec<String>),
    /// All devices of an app.
    App(AppId),
    /// Those that a query fits.
    Query(Asked),
    /// Everybody.
    All,
}

/// The devices of an audience.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// Those that there are, by number, each once.
    pub devices: Vec<DeviceNumber>,
    /// Ids that were named and are nobody's.
    pub unknown: Vec<String>,
}

/// What a push must know of a device before it is pushed to.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The device.
    pub number: DeviceNumber,
    /// Its id.
    pub id: DeviceId,
    /// Whether it holds a line.
    pub online: bool,
    /// The protocol of its newest line; empty if it never had one.
    pub protocol: Word,
}

impl Fleet {
    /// The devices of an audience.
    pub async fn select(&self, audience: Audience) -> Result<Selected, FleetError> {
        match audience {
            Audience::Devices(ids) => Ok(self.named(ids)),
            Audience::App(app) if !self.roster.read().apps.contains_key(&app) => Err(FleetError::NoSuchApp(app)),
            audience => self.apart(move |fleet| fleet.walk(&audience)).await,
        }
    }

    /// As [`devices`](Fleet::devices), on a thread of its own: for filters that may pass many devices.
    pub async fn devices_apart(
        &self,
        filter: DeviceFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<DeviceView>, FleetError> {
        self.apart(move |fleet| fleet.devices(&filter, cursor.as_deref(), limit)).await?
    }

    /// The names under which something is written down about the devices of a list, each once.
    pub async fn meta_names_apart(&self, filter: DeviceFilter) -> Result<BTreeSet<String>, FleetError> {
        self.apart(move |fleet| fleet.meta_names(&filter)).await?
    }

    /// Whether a query fits a device; `None` when there is no such device.
    pub fn fits(&self, device: &str, asked: &Asked) -> Option<bool> {
        let now = self.clock.unix();
        let roster = self.roster.read();
        let record = roster.devices.number_of(device).and_then(|number| roster.devices.get(number))?;
        Some(asked.query.matches(record, &*asked.points, now))
    }

    /// How the devices of an audience can be reached. One that was removed meanwhile is left out.
    pub fn reach(&self, devices: &[DeviceNumber]) -> Vec<Reach> {
        let mut found = Vec::with_capacity(devices.len());
        for step in devices.chunks(LOOKED_AT_ONCE) {
            let roster = self.roster.read();
            found.extend(step.iter().filter_map(|number| roster.devices.get(*number)).map(|record| Reach {
                number: record.number,
                id: record.id.clone(),
                online: record.lines > 0,
                protocol: record.protocol.clone(),
            }));
        }
        found
    }

    fn named(&self, ids: Vec<String>) -> Selected {
        let mut selected = Selected::default();
        let roster = self.roster.read();
        for id in ids {
            match roster.devices.number_of(&id) {
                Some(number) => selected.devices.push(number),
                None if selected.unknown.contains(&id) => {}
                None => selected.unknown.push(id),
            }
        }
        selected.devices.sort_unstable();
        selected.devices.dedup();
        selected
    }

    fn walk(&self, audience: &Audience) -> Selected {
        let now = self.clock.unix();
        let mut selected = Selected::default();
        let mut after = None;
        loop {
            let roster = self.roster.read();
            let mut rest = roster.devices.behind(after);
            for record in rest.by_ref().take(LOOKED_AT_ONCE) {
                after = Some(record.number);
                if meant(record, audience, now) {
                    selected.devices.push(record.number);
                }
            }
            if rest.next().is_none() {
                return selected;
            }
        }
    }

    /// Does something that takes its time on a thread of its own, a few at once.
    async fn apart<T: Send + 'static>(&self, work: impl FnOnce(&Fleet) -> T + Send + 'static) -> Result<T, FleetError> {
        let closed = || FleetError::Store(contract::store::StoreError::Closed);
        let fleet = self.me.upgrade().ok_or_else(closed)?;
        let turn = Arc::clone(&self.queries).acquire_owned().await.map_err(|_| closed())?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&fleet);
            // With the work, not with whoever asked for it: he may have gone away.
            drop(turn);
            done
        });
        done.await.map_err(|_| closed())
    }
}

fn meant(record: &Record, audience: &Audience, now: UnixMs) -> bool {
    match audience {
        Audience::All => true,
        Audience::App(app) => record.app == *app,
        Audience::Query(asked) => asked.query.matches(record, &*asked.points, now),
        Audience::Devices(ids) => ids.iter().any(|id| id == record.id.as_str()),
    }
}

/// How many queries may be carried out at once.
pub(crate) fn turns() -> Arc<tokio::sync::Semaphore> {
    Arc::new(tokio::sync::Semaphore::new(limits::QUERIES_AT_ONCE_MAX))
}

impl Subject for Record {
    fn number(&self) -> DeviceNumber {
        self.number
    }
    fn app(&self) -> AppId {
        self.app
    }
    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn name(&self) -> &str {
        Record::name(self)
    }
    fn alias(&self) -> &str {
        Record::alias(self)
    }
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| **own == *tag)
    }
    fn firmware(&self) -> &str {
        &self.firmware
    }
    fn created(&self) -> UnixMs {
        self.created
    }
    fn online(&self) -> bool {
        self.lines > 0
    }
    fn blocked(&self) -> bool {
        self.blocked
    }
    fn since(&self) -> Option<UnixMs> {
        Record::since(self)
    }
    fn protocol(&self) -> &str {
        &self.protocol
    }
    fn meta(&self, name: &str) -> Option<&Value> {
        Record::meta(self, name)
    }
}
