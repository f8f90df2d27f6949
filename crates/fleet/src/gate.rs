//! Who may come in. Answers from memory; only a device's first sight has to be written first, and an
//! account's password checked slowly: those are answered later. A stranger learns nothing about which ids, apps or keys exist.

use std::net::SocketAddr;
use std::sync::Arc;

use contract::{Addressee, Admission, Gate, Login, Refusal, Ticket, Verdict};
use model::account::ANONYMOUS;
use model::{AppId, AppKey, DeviceId, DeviceNumber, Party, PartyKey, Role, limits};

use crate::registration::{Waiter, has_room};
use crate::roster::Roster;
use crate::rotation::Which;
use crate::{Fleet, secrets};

/// The user name that says that the password is an API token. No device may be called so.
pub(crate) const TOKEN_USER: &str = "token";
/// The token number of bridges. No token has it, so that none can take a bridge's session over.
const BRIDGE_TOKEN: u64 = u64::MAX;

impl Gate for Fleet {
    fn scram(&self, user: &str, _: SocketAddr, ticket: Ticket) {
        let (device, stamp) = {
            let roster = self.roster.read();
            (roster.find(user).map(|record| record.number), roster.turned.stamp())
        };
        self.scram_keys(device, stamp, ticket);
    }

    fn stands(&self, admission: &Admission) -> Result<(), Refusal> {
        let Some(number) = admission.party.device() else { return Ok(()) };
        let roster = self.roster.read();
        let record = roster.devices.get(number).ok_or(Refusal::BadCredentials)?;
        roster.let_in(record)?;
        if roster.turned.after(number, admission.stamp) { Err(Refusal::BadCredentials) } else { Ok(()) }
    }

    fn party(&self, key: PartyKey) -> Option<Arc<Party>> {
        match key {
            PartyKey::Device(number) => {
                let roster = self.roster.read();
                roster.devices.get(number).map(|record| roster.admission(record).party)
            }
            PartyKey::Token(BRIDGE_TOKEN) => Some(bridge("of an earlier run").party),
            PartyKey::Token(id) => self.token_party(id),
            PartyKey::Account(id) => self.accounts.read().admission(id).map(|admission| admission.party),
            PartyKey::Anonymous => self.anonymous().ok().map(|admission| admission.party).filter(|party| party.key() == key),
        }
    }

    fn addressee(&self, device: DeviceNumber) -> Option<Addressee> {
        let roster = self.roster.read();
        let record = roster.devices.get(device).filter(|record| !record.blocked)?;
        let peers = roster.apps.get(&record.app).map(|found| found.app.peers).unwrap_or_default();
        Some(Addressee { id: record.id.clone(), app: record.app, peers })
    }

    fn admit(&self, login: &Login, remote: SocketAddr, ticket: Ticket) -> Option<Verdict> {
        match login {
            Login::Anonymous => Some(self.anonymous()),
            // What a client without credentials sends when its library insists on the fields.
            Login::Password { user, password, .. } if user.is_empty() && password.is_empty() => Some(self.anonymous()),
            Login::Password { user, .. } if user.is_empty() => Some(Err(Refusal::NoCredentials)),
            Login::Password { user, password, .. } if user == TOKEN_USER => Some(self.by_token(password)),
            Login::Password { user, password, client } if user.bytes().all(|b| b.is_ascii_digit()) => match user.parse() {
                Ok(app) => self.by_app_key(app, password, client, ticket),
                Err(_) => Some(Err(Refusal::BadAppKey)),
            },
            Login::Password { user, password, .. } => match self.by_secret(user, password) {
                Some(verdict) => Some(verdict),
                None => self.by_password(user, password, remote, ticket),
            },
            Login::AppKey { app, key, chip } => self.by_app_key(*app, key.as_bytes(), chip, ticket),
            Login::Single { chip } => self.by_chip_alone(chip, ticket),
            Login::Certified { device } => Some(self.by_certificate(device)),
            Login::Proved { device, older, stamp } => Some(self.by_proof(device, *older, *stamp)),
            Login::Bridge { name } => Some(Ok(bridge(name))),
        }
    }
}

/// The house's own bridges come in without credentials: that is safe because nothing that a peer sends
/// becomes this login (see [`Login::Bridge`]), and what one carries is bounded by its configured topics.
fn bridge(name: &str) -> Admission {
    let party = Party::Token { id: BRIDGE_TOKEN, name: format!("bridge {name}").into(), role: Role::Owner };
    Admission { party: Arc::new(party), settings: Arc::default(), enrolled: None, stamp: 0 }
}

impl Fleet {
    fn anonymous(&self) -> Verdict {
        if !self.anonymous {
            return Err(Refusal::NoCredentials);
        }
        let ruled = self.accounts.read().find(ANONYMOUS).map(|kept| kept.party());
        let party = ruled.unwrap_or_else(|| Arc::new(Party::Anonymous));
        Ok(Admission { party, settings: Arc::default(), enrolled: None, stamp: 0 })
    }

    fn by_token(&self, token: &[u8]) -> Verdict {
        let caller = std::str::from_utf8(token).ok().and_then(|token| self.check_token(token));
        // The broker knows no scopes: a token with less than its role is for the API alone.
        let caller = caller.filter(|caller| caller.grant.is_whole()).ok_or(Refusal::BadCredentials)?;
        let party = Party::Token { id: caller.token.unwrap_or(0), name: caller.name, role: caller.role };
        Ok(Admission { party: Arc::new(party), settings: Arc::default(), enrolled: None, stamp: 0 })
    }

    fn by_certificate(&self, id: &str) -> Verdict {
        let roster = self.roster.read();
        roster.admit(roster.find(id).ok_or(Refusal::BadCredentials)?)
    }

    /// The proof is of a secret as it was at `stamp`.
    fn by_proof(&self, id: &str, older: bool, stamp: u64) -> Verdict {
        let roster = self.roster.read();
        let record = roster.find(id).ok_or(Refusal::BadCredentials)?;
        if roster.turned.after(record.number, stamp) {
            return Err(Refusal::BadCredentials);
        }
        roster.secret_used(record.number, if older { Which::Old } else { Which::New }, self.clock.unix());
        roster.admit(record)
    }

    /// `None` when there is no device of that id.
    fn by_secret(&self, id: &str, secret: &[u8]) -> Option<Verdict> {
        let given = secrets::hash(secret);
        let roster = self.roster.read();
        let record = roster.find(id)?;
        let known = roster.which_secret(record, &given, self.clock.unix()).is_some();
        Some(if known { roster.admit(record) } else { Err(Refusal::BadCredentials) })
    }

    fn by_app_key(&self, app: u32, key: &[u8], chip: &str, ticket: Ticket) -> Option<Verdict> {
        let app = AppId(app);
        // Firmware tools write the key in upper case as well.
        let given = secrets::hash(&key.to_ascii_lowercase());
        let known = self.roster.read().apps.get(&app).is_some_and(|found| secrets::same(&found.key_hash, &given));
        if known { self.by_chip(app, chip, None, ticket) } else { Some(Err(Refusal::BadAppKey)) }
    }

    /// The device does not even know an app: ES-PUSH single-device registration. Nothing proves that the
    /// chip id is its own, so an owner must have made an app for such devices.
    fn by_chip_alone(&self, chip: &str, ticket: Ticket) -> Option<Verdict> {
        let taking =
            self.roster.read().apps.values().find(|found| found.app.single).map(|found| (found.app.id, found.app.key.clone()));
        match taking {
            Some((app, key)) => self.by_chip(app, chip, Some((app, key)), ticket),
            None => Some(Err(Refusal::NoSingleApp)),
        }
    }

    /// A chip of an app whose right was shown. Chip ids have 24 bits and are met again in other apps:
    /// the device is app and chip together, never the chip alone (H11).
    fn by_chip(&self, app: AppId, chip: &str, enrolled: Option<(AppId, AppKey)>, ticket: Ticket) -> Option<Verdict> {
        let Some(id) = DeviceId::of_chip(app, chip) else { return Some(Err(Refusal::BadChipId)) };
        let known = known_chip(&self.roster.read(), app, &id);
        if let Some(verdict) = known {
            return Some(verdict.map(|admission| Admission { enrolled, ..admission }));
        }
        // Looked at once more under the lock that newcomers are reserved under.
        let mut arriving = self.arriving.lock();
        {
            let roster = self.roster.read();
            if let Some(verdict) = known_chip(&roster, app, &id) {
                return Some(verdict.map(|admission| Admission { enrolled, ..admission }));
            }
            match roster.apps.get(&app) {
                None => return Some(Err(Refusal::BadAppKey)),
                Some(found) if !found.app.open && enrolled.is_none() => return Some(Err(Refusal::AppClosed)),
                Some(_) if !has_room(&roster, &arriving) => return Some(Err(Refusal::Quota)),
                Some(_) => {}
            }
        }
        let waiter = Waiter { ticket, enrolled };
        if let Some(waiters) = arriving.get_mut(&id) {
            if waiters.len() >= limits::REGISTRATION_WAITERS_MAX {
                return Some(Err(Refusal::Unavailable));
            }
            waiters.push(waiter);
            return None;
        }
        match self.register_at_sight(&mut arriving, id, app, waiter) {
            Ok(()) => None,
            Err(refusal) => Some(Err(refusal)),
        }
    }
}

fn known_chip(roster: &Roster, app: AppId, id: &DeviceId) -> Option<Verdict> {
    let record = roster.find(id.as_str())?;
    // Cannot be otherwise, since `7-…` is given to devices of app 7 only; checked because a key of one
    // app must never open a device of another.
    Some(if record.app == app { roster.admit(record) } else { Err(Refusal::BadAppKey) })
}
