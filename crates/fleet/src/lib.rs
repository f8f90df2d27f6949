//! The fleet: apps, devices and their secrets, presence, tokens and sign-in, broker accounts, and the gate that every
//! connection passes. All of it stands in memory, read whole from the [`Registry`] at the start and
//! written through to it before a change counts. It decides who may come in, never what a party may do
//! on topics (the hub does), and knows no protocol.

mod accounts;
mod apps;
mod audience;
mod devices;
mod edits;
mod error;
mod gate;
mod groups;
mod knocks;
mod logins;
pub mod meter;
mod passwords;
mod presence;
mod proofs;
mod records;
mod registration;
mod roster;
mod rotation;
mod secrets;
mod signin;
mod tokens;
mod turned;
mod words;

use std::sync::{Arc, Weak};

use contract::event::Change;
use contract::store::{Registry, StoreError};
use contract::{Bus, Clock, Event, Line};
use model::DeviceNumber;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

pub use accounts::{AccountEdit, AccountView, NewAccount, Password};
pub use apps::{AppEdit, AppView, NewApp};
pub use audience::{Asked, Audience, Reach, Selected};
pub use devices::{Counts, DeviceFilter, DeviceView, NewDevice};
pub use edits::DeviceEdit;
pub use error::{FleetError, Kind};
pub use groups::GroupView;
pub use knocks::Knock;
pub use rotation::{NewSecret, OldSecretView, Which};
pub use signin::SigninCode;
pub use tokens::{Caller, Grant, NewToken, TokenView};
pub use words::Word;

/// How the fleet is to behave.
pub struct Settings {
    /// Whether anybody may come in without credentials (`auth.anonymous`).
    pub anonymous: bool,
    /// An owner token that is valid for this run (`auth.bootstrap_token`).
    pub bootstrap_token: Option<String>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Apps, devices, tokens and presence. One per program, shared.
///
/// Getters answer from memory. Verbs (`create_…`, `edit_…`, `delete_…`) answer after the store has the
/// change, and go on to their end when whoever called them goes away. The gate and the consumer are
/// called on hot paths and never wait.
///
/// Locks, in the order in which they may be taken: `edits`, `arriving`, then one of the others.
pub struct Fleet {
    me: Weak<Fleet>,
    registry: Arc<dyn Registry>,
    line: Arc<dyn Line>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    anonymous: bool,
    /// One edit at a time, so that what is written is what was looked at. New devices do not wait here.
    edits: tokio::sync::Mutex<()>,
    arriving: Mutex<registration::Arriving>,
    roster: RwLock<roster::Roster>,
    tokens: RwLock<tokens::Tokens>,
    accounts: RwLock<accounts::Accounts>,
    groups: RwLock<groups::Groups>,
    logins: logins::Logins,
    /// Turns at making SCRAM keys.
    proofs: Arc<tokio::sync::Semaphore>,
    /// Turns at walking over all devices.
    queries: Arc<tokio::sync::Semaphore>,
    codes: Mutex<signin::Codes>,
    knocks: Mutex<knocks::Ring>,
    unkept: presence::Unkept,
}

impl Fleet {
    /// Reads the registry. Must run on the platform's runtime: the fleet's own tasks are spawned there.
    pub async fn open(
        registry: Arc<dyn Registry>,
        line: Arc<dyn Line>,
        bus: Arc<dyn Bus>,
        settings: Settings,
    ) -> Result<Arc<Fleet>, FleetError> {
        let mut snapshot = registry.load().await?;
        let now = settings.clock.unix();
        let tokens = tokens::Tokens::new(std::mem::take(&mut snapshot.tokens), snapshot.token_last, settings.bootstrap_token);
        let accounts = accounts::Accounts::new(std::mem::take(&mut snapshot.accounts), snapshot.account_last);
        let groups = groups::Groups::new(std::mem::take(&mut snapshot.groups));
        let roster = roster::Roster::new(snapshot, now);
        let fleet = Arc::new_cyclic(|me| Fleet {
            me: me.clone(),
            registry,
            line,
            bus,
            clock: settings.clock,
            runtime: Handle::current(),
            anonymous: settings.anonymous,
            edits: tokio::sync::Mutex::new(()),
            arriving: Mutex::default(),
            roster: RwLock::new(roster),
            tokens: RwLock::new(tokens),
            accounts: RwLock::new(accounts),
            groups: RwLock::new(groups),
            logins: logins::Logins::new(),
            proofs: Arc::new(tokio::sync::Semaphore::new(model::limits::PASSWORD_CHECKS_AT_ONCE_MAX)),
            queries: audience::turns(),
            codes: Mutex::default(),
            knocks: Mutex::default(),
            unkept: presence::Unkept::default(),
        });
        fleet.runtime.spawn(presence::keep(Arc::downgrade(&fleet), Arc::clone(&fleet.unkept.wake)));
        Ok(fleet)
    }

    /// Writes what is not yet written (presence, firmware) and stops the fleet's task.
    pub async fn close(&self) -> Result<(), FleetError> {
        self.unkept.stop();
        self.flush().await
    }

    /// Runs a change to its end, even if whoever asked for it goes away in the middle: a device that is
    /// on disk but not in memory would be there for nobody.
    async fn to_its_end<T, C, F>(&self, change: C) -> Result<T, FleetError>
    where
        T: Send + 'static,
        C: FnOnce(Arc<Fleet>) -> F,
        F: Future<Output = Result<T, FleetError>> + Send + 'static,
    {
        let fleet = self.me.upgrade().ok_or(FleetError::Store(StoreError::Closed))?;
        // Fails only when the runtime is ending.
        self.runtime.spawn(change(fleet)).await.unwrap_or(Err(FleetError::Store(StoreError::Closed)))
    }

    fn tell(&self, event: Event) {
        self.bus.emit(&mut vec![event]);
    }

    fn tell_change(&self, device: DeviceNumber, change: Change) {
        self.tell(Event::DeviceChanged { device, change });
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // The task holds no reference while it waits; woken, it finds the fleet gone and ends.
        self.unkept.stop();
    }
}

/// As much of `text` as fits, cut between characters.
fn clip(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
