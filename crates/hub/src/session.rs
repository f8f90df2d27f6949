//! What is kept for one client of one party, with or without a line. Small by design: the rare parts
//! (backlog, will) are boxed and made on first use.

use std::sync::Arc;

use contract::{ConnId, Will};
use model::limits::{Limits, QueuePolicy};
use model::{Filter, Millis, Party, PartyKey};

use crate::backlog::{Backlog, Waiting};

/// Which session: a name within its party. Two devices that call themselves `umqtt_client` do not get in
/// each other's way, and no device can take over another's session by guessing its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub owner: PartyKey,
    pub client: Arc<str>,
}

impl SessionKey {
    /// The key of `client` within `party`.
    pub fn new(party: &Party, client: Arc<str>) -> SessionKey {
        SessionKey { owner: party.key(), client }
    }
}

/// A client's session.
pub struct Session {
    pub client: Arc<str>,
    pub party: Arc<Party>,
    /// The line, while there is one.
    pub conn: Option<ConnId>,
    /// Tells this session from an earlier one in the same place.
    pub epoch: u32,
    /// How long it is kept without a line, see `Hello::keep_s`.
    pub keep_s: u32,
    /// When it ends without a line; meaningful while `conn` is `None`.
    pub ends: Option<Millis>,
    /// When the will goes out without a line, if it waits.
    pub will_at: Option<Millis>,
    pub in_flight_max: u16,
    /// What happens when the queue is full.
    pub queue_policy: QueuePolicy,
    /// The owner was told that the queue is full, on this line.
    pub told_full: bool,
    /// Refusals told to the owner on this line so far.
    pub denials_told: u8,
    /// Whether one of `filters` lies in the device's own space.
    pub listens_own: bool,
    /// What it subscribed to; shared ones as `$share/<group>/<filter>`.
    pub filters: Vec<Filter>,
    pub will: Option<Box<Will>>,
    backlog: Option<Box<Backlog>>,
}

impl Session {
    pub fn new(client: Arc<str>, party: Arc<Party>, epoch: u32) -> Session {
        Session {
            client,
            party,
            conn: None,
            epoch,
            keep_s: 0,
            ends: None,
            will_at: None,
            in_flight_max: 1,
            queue_policy: QueuePolicy::default(),
            told_full: false,
            denials_told: 0,
            listens_own: false,
            filters: Vec::new(),
            will: None,
            backlog: None,
        }
    }

    /// The key it is found by.
    pub fn key(&self) -> SessionKey {
        SessionKey::new(&self.party, self.client.clone())
    }

    /// What waits, made if there is none.
    pub fn backlog_mut(&mut self) -> &mut Backlog {
        self.backlog.get_or_insert_default()
    }

    /// Takes all that waits out of the session.
    pub fn take_backlog(&mut self) -> Option<Backlog> {
        self.backlog.take().map(|b| *b)
    }

    /// Works on what waits, and gives the memory back when nothing waits any more.
    pub fn with_backlog<T>(&mut self, work: impl FnOnce(&mut Backlog) -> T) -> Option<T> {
        let backlog = self.backlog.as_mut()?;
        let result = work(backlog);
        if backlog.is_empty() {
            self.backlog = None;
        }
        Some(result)
    }

    /// Puts a message into the queue.
    pub fn enqueue(&mut self, waiting: Waiting, limits: &Limits) -> Result<(), Waiting> {
        self.backlog_mut().push(waiting, limits)
    }

    /// Whether a line could take something now.
    pub fn has_next(&self) -> bool {
        self.backlog.as_ref().is_some_and(|b| b.has_next())
    }
}
