//! Signing in with a link instead of a password: a code that works once and for a short time becomes a
//! browser's token. Codes live in memory only: a restart ends them.

use std::collections::VecDeque;

use contract::store::SecretHash;
use model::{Role, UnixMs, limits};

use crate::tokens::{BROWSER, Grant, NewToken};
use crate::{Fleet, FleetError, secrets};

/// A code to sign in with.
#[derive(Clone)]
pub struct SigninCode {
    /// What stands behind `#` in the link.
    pub code: String,
    /// When it stops working.
    pub expires: UnixMs,
}

/// The codes that are open, oldest first.
pub(crate) type Codes = VecDeque<Code>;

pub(crate) struct Code {
    hash: SecretHash,
    role: Role,
    expires: UnixMs,
}

impl Fleet {
    /// Makes a code.
    pub fn new_signin(&self, role: Role) -> SigninCode {
        let code = secrets::new_code();
        let expires = later(self.clock.unix(), limits::SIGNIN_LINK_S);
        let mut codes = self.codes.lock();
        if codes.len() == limits::SIGNIN_LINKS_MAX {
            codes.pop_front();
        }
        codes.push_back(Code { hash: secrets::hash(code.as_bytes()), role, expires });
        SigninCode { code, expires }
    }

    /// Turns a code into a browser's token, which survives restarts. `None` when the code is unknown,
    /// used or too old.
    pub async fn redeem(&self, code: &str) -> Result<Option<NewToken>, FleetError> {
        let now = self.clock.unix();
        let hash = secrets::hash(code.as_bytes());
        let found = {
            let mut codes = self.codes.lock();
            codes.retain(|open| now < open.expires);
            // Taken out before anything is written: it works once, however fast somebody clicks.
            codes.iter().position(|open| secrets::same(&open.hash, &hash)).and_then(|place| codes.remove(place))
        };
        let Some(found) = found else { return Ok(None) };
        self.mint(BROWSER, found.role, Some(later(now, limits::BROWSER_SESSION_S)), Grant::default()).await.map(Some)
    }

    /// Ends a browser's token. Any other token is left alone.
    pub async fn sign_out(&self, token: &str) -> Result<(), FleetError> {
        match self.browser_token(token) {
            None => Ok(()),
            Some(id) => match self.delete_token(id).await {
                // Twice at the same moment is once.
                Err(FleetError::NoSuchToken(_)) => Ok(()),
                other => other,
            },
        }
    }
}

fn later(now: UnixMs, seconds: u64) -> UnixMs {
    UnixMs(now.0.saturating_add_unsigned(seconds * 1000))
}
