//! Knocks: who was not let in lately, and why. A ring in memory; nothing is kept across a restart.

use std::collections::VecDeque;
use std::net::SocketAddr;

use model::{AppId, DeviceId, UnixMs, limits};

use crate::devices::{DeviceView, NewDevice};
use crate::{Fleet, FleetError, clip};

/// One who was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// By which protocol.
    pub protocol: &'static str,
    /// From where.
    pub remote: SocketAddr,
    /// Whom it claimed to be.
    pub claim: String,
    /// The device that it would be if its app took new ones; [`Fleet::adopt`] lets it in.
    pub device: Option<DeviceId>,
    /// Why not, as a stable word.
    pub code: &'static str,
    /// Why not, as a sentence that names the fix.
    pub reason: String,
    /// When.
    pub at: UnixMs,
}

/// The last of them, oldest first.
pub(crate) type Ring = VecDeque<Knock>;

impl Fleet {
    /// The recent knocks, newest first.
    pub fn knocks(&self) -> Vec<Knock> {
        self.knocks.lock().iter().rev().cloned().collect()
    }

    /// Registers a device that knocked with the key of an app which takes no new ones: it comes in when it tries again.
    /// Its own secret is told to nobody, as that of one which registered itself.
    pub async fn adopt(&self, id: &str) -> Result<DeviceView, FleetError> {
        let known = |knock: &Knock| knock.device.as_ref().is_some_and(|device| device.as_str() == id);
        let app = id.split_once('-').and_then(|(app, _)| app.parse().ok()).map(AppId);
        let Some(app) = app.filter(|_| self.knocks.lock().iter().any(known)) else {
            return Err(FleetError::NoSuchKnock(clip(id, limits::KNOCK_CLAIM_BYTES_MAX).to_owned()));
        };
        let (view, _) = self.create_device(NewDevice { id: Some(id.to_owned()), ..NewDevice::of(app) }).await?;
        self.knocks.lock().retain(|knock| !known(knock));
        Ok(view)
    }

    pub(crate) fn knocked(&self, knock: Knock) {
        let claim = clip(&knock.claim, limits::KNOCK_CLAIM_BYTES_MAX).to_owned();
        let mut ring = self.knocks.lock();
        if ring.len() == limits::KNOCKS_MAX {
            ring.pop_front();
        }
        ring.push_back(Knock { claim, ..knock });
    }
}
