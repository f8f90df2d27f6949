//! Tokens: what programs and browsers show to be let in. Kept as hashes only.

use std::path::Path;
use std::sync::Arc;

use model::{Role, UnixMs};

use crate::{Fleet, FleetError};

/// Who calls, once a token was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's number; `None` for the bootstrap token.
    pub token: Option<u64>,
    /// The token's name, for logs and for the sender of a push.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
}

/// A token as it is shown: never the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: UnixMs,
    /// When it stops working.
    pub expires: Option<UnixMs>,
}

/// A token just made, with the text that is shown this once.
#[derive(Clone)]
pub struct NewToken {
    /// The token as it is shown from now on.
    pub view: TokenView,
    /// `espush_…`.
    pub token: String,
}

impl Fleet {
    /// Makes a token.
    pub async fn create_token(&self, name: &str, role: Role, expires: Option<UnixMs>) -> Result<NewToken, FleetError> {
        let _ = (name, role, expires);
        todo!()
    }

    /// Whose token it is; `None` when it is unknown or has expired.
    pub fn check_token(&self, token: &str) -> Option<Caller> {
        let _ = token;
        todo!()
    }

    /// All tokens by number, browsers included.
    pub fn tokens(&self) -> Vec<TokenView> {
        todo!()
    }

    /// Ends a token.
    pub async fn delete_token(&self, id: u64) -> Result<(), FleetError> {
        let _ = id;
        todo!()
    }

    /// The owner token of this machine: the text in `<data>/owner.token`, written (0600) when missing and
    /// made valid when it is not.
    pub async fn ensure_local_token(&self, data: &Path) -> Result<String, FleetError> {
        let _ = data;
        todo!()
    }
}
