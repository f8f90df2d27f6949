//! Who speaks: a device, a person or program with a token or a broker account, or nobody in particular. What each may do on
//! topics is decided in the hub from this value alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::Rules;
use crate::app::AppId;
use crate::device::{DeviceId, DeviceNumber};

/// What a token or account may do; each role includes those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, tokens included.
    Owner,
    /// Devices, pushes and data.
    Operator,
    /// Reading only.
    Viewer,
}

impl Role {
    /// The role of a word.
    pub fn parse(word: &str) -> Option<Role> {
        match word {
            "owner" => Some(Role::Owner),
            "operator" => Some(Role::Operator),
            "viewer" => Some(Role::Viewer),
            _ => None,
        }
    }

    /// The word for the role.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Operator => "operator",
            Role::Viewer => "viewer",
        }
    }

    /// Whether this role includes `needed`.
    pub fn includes(self, needed: Role) -> bool {
        let rank = |role| match role {
            Role::Viewer => 0,
            Role::Operator => 1,
            Role::Owner => 2,
        };
        rank(self) >= rank(needed)
    }
}

/// The party behind a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// A registered device.
    Device {
        /// Its address.
        number: DeviceNumber,
        /// Its text id.
        id: DeviceId,
        /// Its app.
        app: AppId,
    },
    /// A program or person with an API token.
    Token {
        /// The token's number; 0 for the bootstrap token.
        id: u64,
        /// The token's name, for logs.
        name: Arc<str>,
        /// What it may do.
        role: Role,
    },
    /// A program or person with a broker account.
    Account {
        /// The account's number.
        id: u64,
        /// The account's name: the MQTT user name.
        name: Arc<str>,
        /// What it may do. The hub puts the client's names into it when the client comes in.
        rules: Arc<Rules>,
    },
    /// Anybody, when the owner has opened the broker (`auth.anonymous`): free topics only.
    Anonymous,
}

/// What tells one party from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartyKey {
    /// A device, by its number.
    Device(DeviceNumber),
    /// A token, by its number.
    Token(u64),
    /// A broker account, by its number.
    Account(u64),
    /// Anybody.
    Anonymous,
}

impl Party {
    /// What tells this party from others.
    pub fn key(&self) -> PartyKey {
        match self {
            Party::Device { number, .. } => PartyKey::Device(*number),
            Party::Token { id, .. } => PartyKey::Token(*id),
            Party::Account { id, .. } => PartyKey::Account(*id),
            Party::Anonymous => PartyKey::Anonymous,
        }
    }

    /// The device's number, if a device speaks.
    pub fn device(&self) -> Option<DeviceNumber> {
        match self {
            Party::Device { number, .. } => Some(*number),
            _ => None,
        }
    }

    /// The rules that decide for it, if there are any.
    pub fn rules(&self) -> Option<&Rules> {
        match self {
            Party::Account { rules, .. } if !rules.is_empty() => Some(rules),
            _ => None,
        }
    }

    /// This party as the client that it comes in as: its name stands in its rules.
    pub fn as_client(self: Arc<Party>, client: &str) -> Arc<Party> {
        match &*self {
            Party::Account { id, name, rules } if rules.has_placeholders() => {
                let rules = Arc::new(rules.for_client(name, client));
                Arc::new(Party::Account { id: *id, name: name.clone(), rules })
            }
            _ => self,
        }
    }
}
