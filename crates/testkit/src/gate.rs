//! A gate that knows what the test told it, and answers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use contract::{Addressee, Admission, Gate, Login, Refusal, Ticket, Verdict};
use model::app::ProtocolSettings;
use model::{AppId, AppKey, DeviceId, DeviceNumber, Party, PartyKey, Peers, Role, Rules};

/// The gate.
#[derive(Default)]
pub struct TestGate(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    anonymous: bool,
    apps: BTreeMap<u32, TestApp>,
    devices: BTreeMap<String, (String, DeviceNumber, AppId)>,
    tokens: BTreeMap<String, (String, Role)>,
    accounts: BTreeMap<String, (String, Arc<Party>)>,
    number_last: u32,
    turned_away: BTreeSet<DeviceNumber>,
}

#[derive(Default)]
struct TestApp {
    key: String,
    closed: bool,
    single: bool,
    peers: Peers,
    settings: Arc<ProtocolSettings>,
}

impl TestGate {
    /// Lets anybody in.
    pub fn open_to_all(&self) {
        self.inner().anonymous = true;
    }

    /// Adds an app. `flags` may hold `closed`, `single`, `peers=<word>` and `<protocol>.<name>=<value>`.
    pub fn add_app(&self, id: u32, key: &str, flags: &[&str]) {
        let settings = flags
            .iter()
            .filter_map(|f| f.split_once('='))
            .filter(|(k, _)| k.contains('.'))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let (closed, single) = (flags.contains(&"closed"), flags.contains(&"single"));
        let peers = flags.iter().find_map(|f| Peers::parse(f.strip_prefix("peers=")?)).unwrap_or_default();
        self.inner().apps.insert(id, TestApp { key: key.to_owned(), closed, single, peers, settings: Arc::new(settings) });
    }

    /// Adds a device and returns its number.
    pub fn add_device(&self, id: &str, secret: &str, app: u32) -> DeviceNumber {
        self.inner().add_device(id, secret, app)
    }

    /// Takes back what was said of a device that is on its way in.
    pub fn turn_away(&self, device: DeviceNumber) {
        self.inner().turned_away.insert(device);
    }

    /// Adds an API token.
    pub fn add_token(&self, name: &str, token: &str, role: Role) {
        self.inner().tokens.insert(token.to_owned(), (name.to_owned(), role));
    }

    /// Adds a broker account, or gives it other rules. Returns what names its lines to a kick.
    pub fn add_account(&self, name: &str, password: &str, rules: &[&str]) -> PartyKey {
        let rules = Rules::parse(rules.iter().copied()).expect("the rules of a test are rules");
        let accounts = &mut self.inner().accounts;
        let id = accounts.get(name).map_or(accounts.len() as u64 + 1, |(_, party)| match **party {
            Party::Account { id, .. } => id,
            _ => 0,
        });
        let party = Arc::new(Party::Account { id, name: name.into(), rules: Arc::new(rules) });
        accounts.insert(name.to_owned(), (password.to_owned(), party));
        PartyKey::Account(id)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it holds this lock")
    }
}

impl Inner {
    fn add_device(&mut self, id: &str, secret: &str, app: u32) -> DeviceNumber {
        if let Some((_, number, _)) = self.devices.get(id) {
            return *number;
        }
        self.number_last += 1;
        let number = DeviceNumber(self.number_last);
        self.devices.insert(id.to_owned(), (secret.to_owned(), number, AppId(app)));
        number
    }

    fn device(&self, id: &str) -> Option<Admission> {
        let (_, number, app) = self.devices.get(id)?;
        let settings = self.apps.get(&app.0).map(|a| a.settings.clone()).unwrap_or_default();
        let party = Party::Device { number: *number, id: DeviceId::parse(id)?, app: *app };
        Some(Admission { party: Arc::new(party), settings, enrolled: None, stamp: 0 })
    }

    fn by_app_key(&mut self, app: u32, key: &str, chip: &str) -> Verdict {
        let known = self.apps.get(&app).ok_or(Refusal::BadAppKey)?;
        if !known.key.eq_ignore_ascii_case(key) {
            return Err(Refusal::BadAppKey);
        }
        let id = DeviceId::of_chip(AppId(app), chip).ok_or(Refusal::BadChipId)?;
        if known.closed && !self.devices.contains_key(id.as_str()) {
            return Err(Refusal::AppClosed);
        }
        self.add_device(id.as_str(), "", app);
        self.device(id.as_str()).ok_or(Refusal::BadChipId)
    }
}

impl Gate for TestGate {
    /// Nobody's keys: what SCRAM does is shown where its keys are made.
    fn scram(&self, _: &str, _: SocketAddr, _: Ticket) {}

    fn party(&self, key: PartyKey) -> Option<Arc<Party>> {
        let inner = self.inner();
        match key {
            PartyKey::Device(number) => {
                let id = inner.devices.iter().find(|(_, (_, known, _))| *known == number)?.0.clone();
                inner.device(&id).map(|admission| admission.party)
            }
            PartyKey::Account(id) => {
                inner.accounts.values().map(|(_, party)| party).find(|p| p.key() == PartyKey::Account(id)).cloned()
            }
            PartyKey::Token(id) => Some(Arc::new(Party::Token { id, name: "a token".into(), role: Role::Owner })),
            PartyKey::Anonymous => Some(Arc::new(Party::Anonymous)),
        }
    }

    fn addressee(&self, device: DeviceNumber) -> Option<Addressee> {
        let inner = self.inner();
        let (id, (.., app)) = inner.devices.iter().find(|(_, (_, known, _))| *known == device)?;
        let peers = inner.apps.get(&app.0).map(|app| app.peers).unwrap_or_default();
        let id = DeviceId::parse(id).filter(|_| !inner.turned_away.contains(&device))?;
        Some(Addressee { id, app: *app, peers })
    }

    fn stands(&self, admission: &Admission) -> Result<(), Refusal> {
        let gone = admission.party.device().is_some_and(|device| self.inner().turned_away.contains(&device));
        if gone { Err(Refusal::BadCredentials) } else { Ok(()) }
    }

    fn admit(&self, login: &Login, _: SocketAddr, _: Ticket) -> Option<Verdict> {
        let mut inner = self.inner();
        Some(match login {
            Login::Anonymous if inner.anonymous => {
                Ok(Admission { party: Arc::new(Party::Anonymous), settings: Arc::default(), enrolled: None, stamp: 0 })
            }
            Login::Anonymous => Err(Refusal::NoCredentials),
            Login::Password { user, password, client } => {
                let password = String::from_utf8_lossy(password);
                if user == "token" {
                    match inner.tokens.get(&*password) {
                        Some((name, role)) => Ok(Admission {
                            party: Arc::new(Party::Token { id: 1, name: name.as_str().into(), role: *role }),
                            settings: Arc::default(),
                            enrolled: None,
                            stamp: 0,
                        }),
                        None => Err(Refusal::BadCredentials),
                    }
                } else if let Some((known, party)) = inner.accounts.get(user) {
                    match *known == password {
                        true => Ok(Admission { party: party.clone(), settings: Arc::default(), enrolled: None, stamp: 0 }),
                        false => Err(Refusal::BadCredentials),
                    }
                } else if let Ok(app) = user.parse() {
                    inner.by_app_key(app, &password, client)
                } else {
                    match inner.devices.get(user) {
                        Some((secret, ..)) if *secret == password && !secret.is_empty() => {
                            inner.device(user).ok_or(Refusal::BadCredentials)
                        }
                        _ => Err(Refusal::BadCredentials),
                    }
                }
            }
            Login::AppKey { app, key, chip } => inner.by_app_key(*app, key, chip),
            Login::Certified { device } | Login::Proved { device, .. } => inner.device(device).ok_or(Refusal::BadCredentials),
            Login::Bridge { name } => Ok(Admission {
                party: Arc::new(Party::Token { id: u64::MAX, name: name.as_str().into(), role: Role::Owner }),
                settings: Arc::default(),
                enrolled: None,
                stamp: 0,
            }),
            Login::Single { chip } => match inner.apps.iter().find(|(_, app)| app.single).map(|(id, app)| (*id, app.key.clone()))
            {
                None => Err(Refusal::NoSingleApp),
                Some((app, key)) => inner
                    .by_app_key(app, &key, chip)
                    .map(|admission| Admission { enrolled: AppKey::parse(&key).map(|key| (AppId(app), key)), ..admission }),
            },
        })
    }
}
