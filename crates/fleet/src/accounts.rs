//! Broker accounts: making, changing and removing them. Whoever is logged in by an account notices a
//! change at once: its lines end and come back under what holds now.

use std::collections::HashMap;
use std::sync::Arc;

use contract::store::StoredAccount;
use contract::{Admission, Close, Fault};
use model::account::{ANONYMOUS, is_account_name};
use model::{Account, Party, PartyKey, Rules, limits};

use crate::passwords::{self, Hash};
use crate::{Fleet, FleetError, secrets};

/// How a new account is logged in to.
#[derive(Clone, Default)]
pub enum Password {
    /// By a password that is made, and shown this once.
    #[default]
    Made,
    /// By this one.
    Chosen(String),
    /// By the one that this is the hash of: argon2id, or as Mosquitto's password files have it.
    Hashed(String),
}

/// What a new account is to be.
#[derive(Clone, Default)]
pub struct NewAccount {
    /// The user name.
    pub name: String,
    /// The password. `anonymous` has none, whatever stands here.
    pub password: Password,
    /// What it may do.
    pub rules: Rules,
}

/// What is to change about an account; `None` leaves it.
#[derive(Clone, Default)]
pub struct AccountEdit {
    /// The password.
    pub password: Option<Password>,
    /// All rules, in place of those before.
    pub rules: Option<Rules>,
}

/// An account as it is shown: never its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// By which method its password is kept.
    pub password: &'static str,
}

/// An account in memory.
pub(crate) struct Kept {
    account: Account,
    hash: Arc<str>,
    party: Arc<Party>,
}

impl Kept {
    fn new(stored: StoredAccount) -> Kept {
        let StoredAccount { account, password_hash } = stored;
        let rules = Arc::new(account.rules.clone());
        let party = Arc::new(Party::Account { id: account.id, name: account.name.as_str().into(), rules });
        Kept { account, hash: password_hash.into(), party }
    }

    pub(crate) fn id(&self) -> u64 {
        self.account.id
    }

    pub(crate) fn has_password(&self) -> bool {
        !self.hash.is_empty()
    }

    pub(crate) fn party(&self) -> Arc<Party> {
        Arc::clone(&self.party)
    }

    fn stored(&self) -> StoredAccount {
        StoredAccount { account: self.account.clone(), password_hash: self.hash.to_string() }
    }

    fn view(&self) -> AccountView {
        let password = Hash::parse(&self.hash).map_or("unknown", |hash| hash.method());
        AccountView { account: self.account.clone(), password }
    }
}

/// All accounts.
#[derive(Default)]
pub(crate) struct Accounts {
    by_id: HashMap<u64, Kept>,
    by_name: HashMap<String, u64>,
    last: u64,
}

impl Accounts {
    pub(crate) fn new(stored: Vec<StoredAccount>, last: u64) -> Accounts {
        let mut accounts = Accounts { last, ..Accounts::default() };
        stored.into_iter().for_each(|account| accounts.put(account));
        accounts
    }

    fn put(&mut self, stored: StoredAccount) {
        self.by_name.insert(stored.account.name.clone(), stored.account.id);
        self.by_id.insert(stored.account.id, Kept::new(stored));
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Kept> {
        self.by_name.get(name).and_then(|id| self.by_id.get(id))
    }

    pub(crate) fn hash(&self, id: u64) -> Option<Arc<str>> {
        self.by_id.get(&id).map(|kept| Arc::clone(&kept.hash))
    }

    pub(crate) fn admission(&self, id: u64) -> Option<Admission> {
        let party = self.by_id.get(&id)?.party();
        Some(Admission { party, settings: Arc::default(), enrolled: None, stamp: 0 })
    }
}

impl Fleet {
    /// Makes an account. Answers with its password if one was made, which is shown this once.
    pub async fn create_account(&self, new: NewAccount) -> Result<(AccountView, Option<String>), FleetError> {
        if !is_account_name(&new.name) {
            return Err(FleetError::BadAccountName(crate::clip(&new.name, limits::NAME_BYTES_MAX).to_owned()));
        }
        let (hash, made) = match new.name == ANONYMOUS {
            true => (String::new(), None),
            false => hashed(new.password).await?,
        };
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            let anonymous = new.name == ANONYMOUS;
            // Device ids are asked for first: an account behind one could never be logged in to.
            if fleet.number_of(&new.name).is_some() || fleet.accounts.read().find(&new.name).is_some() {
                return Err(FleetError::AccountNameTaken(new.name));
            }
            let id = {
                let mut accounts = fleet.accounts.write();
                if accounts.by_id.len() >= limits::ACCOUNTS_MAX {
                    return Err(FleetError::Limit { what: "accounts", max: limits::ACCOUNTS_MAX });
                }
                accounts.last += 1;
                accounts.last
            };
            let account = Account { id, name: new.name, rules: new.rules, created: fleet.clock.unix() };
            let view = fleet.keep_account(StoredAccount { account, password_hash: hash }).await?;
            if anonymous {
                // Who came in before it was there has no rules.
                fleet.line.kick(PartyKey::Anonymous, ended("anonymous clients were given rules"), true);
            }
            Ok((view, made))
        })
        .await
    }

    /// Changes an account. Answers with its password if one was made.
    pub async fn edit_account(&self, id: u64, edit: AccountEdit) -> Result<(AccountView, Option<String>), FleetError> {
        let (hash, made) = match edit.password {
            None => (None, None),
            Some(password) => {
                let (hash, made) = hashed(password).await?;
                (Some(hash), made)
            }
        };
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            let mut stored = fleet.accounts.read().by_id.get(&id).map(Kept::stored).ok_or(FleetError::NoSuchAccount(id))?;
            if hash.is_some() && stored.account.name == ANONYMOUS {
                return Err(FleetError::AnonymousPassword);
            }
            let new_password = hash.is_some();
            let new_rules = edit.rules.as_ref().is_some_and(|rules| *rules != stored.account.rules);
            stored.password_hash = hash.unwrap_or(stored.password_hash);
            stored.account.rules = edit.rules.unwrap_or(stored.account.rules);
            let view = fleet.keep_account(stored).await?;
            if new_password {
                fleet.logins.forget(id);
            }
            if new_rules {
                // With their kept sessions: what waits there was collected under the rules of before.
                fleet.line.kick(PartyKey::Account(id), ended("the account was given other rules"), true);
            } else if new_password {
                fleet.line.kick(PartyKey::Account(id), ended("the account was given a new password"), false);
            }
            Ok((view, made))
        })
        .await
    }

    /// Removes an account and ends its lines.
    pub async fn delete_account(&self, id: u64) -> Result<(), FleetError> {
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            if !fleet.accounts.read().by_id.contains_key(&id) {
                return Err(FleetError::NoSuchAccount(id));
            }
            fleet.registry.delete_account(id).await?;
            {
                let mut accounts = fleet.accounts.write();
                if let Some(gone) = accounts.by_id.remove(&id) {
                    accounts.by_name.remove(&gone.account.name);
                }
            }
            fleet.logins.forget(id);
            fleet.line.kick(PartyKey::Account(id), ended("the account was deleted"), true);
            Ok(())
        })
        .await
    }

    /// One account.
    pub fn account(&self, id: u64) -> Option<AccountView> {
        self.accounts.read().by_id.get(&id).map(Kept::view)
    }

    /// All accounts by name.
    pub fn accounts(&self) -> Vec<AccountView> {
        let mut views: Vec<AccountView> = self.accounts.read().by_id.values().map(Kept::view).collect();
        views.sort_by(|a, b| a.account.name.cmp(&b.account.name));
        views
    }

    /// Puts one of our own hashes in the place of an imported one. `None` when it was changed meanwhile.
    pub(crate) async fn replace_hash(&self, id: u64, old: Arc<str>, own: String) -> Result<Option<Arc<str>>, FleetError> {
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            let stored = fleet.accounts.read().by_id.get(&id).filter(|kept| kept.hash == old).map(Kept::stored);
            let Some(stored) = stored else { return Ok(None) };
            fleet.keep_account(StoredAccount { password_hash: own, ..stored }).await?;
            Ok(fleet.accounts.read().hash(id))
        })
        .await
    }

    /// With `edits` held: to the store, then into memory.
    async fn keep_account(&self, stored: StoredAccount) -> Result<AccountView, FleetError> {
        self.registry.put_account(stored.clone()).await?;
        let kept = Kept::new(stored.clone());
        self.accounts.write().put(stored);
        Ok(kept.view())
    }
}

/// The hash to keep, and the password if it was made here.
async fn hashed(password: Password) -> Result<(String, Option<String>), FleetError> {
    let (password, made) = match password {
        Password::Hashed(hash) => {
            return match Hash::parse(&hash) {
                None | Some(Hash::None) => Err(FleetError::BadPasswordHash),
                Some(_) => Ok((hash, None)),
            };
        }
        Password::Chosen(password) if !(8..=limits::PASSWORD_BYTES_MAX).contains(&password.len()) => {
            return Err(FleetError::BadPassword);
        }
        Password::Chosen(password) => (password, None),
        Password::Made => {
            let made = secrets::new_device_secret();
            (made.clone(), Some(made))
        }
    };
    let work = tokio::task::spawn_blocking(move || passwords::hash(password.as_bytes()));
    // Fails only when the runtime is ending.
    let hash = work.await.map_err(|_| FleetError::Store(contract::store::StoreError::Closed))?;
    Ok((hash, made))
}

fn ended(why: &'static str) -> Close {
    Close { fault: Fault::Refused, why: why.into() }
}
