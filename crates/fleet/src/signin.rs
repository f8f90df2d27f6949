//! Signing in with a link instead of a password: a code that works once and for a short time becomes a
//! browser's token.

use model::{Role, UnixMs};

use crate::tokens::NewToken;
use crate::{Fleet, FleetError};

/// A code to sign in with.
#[derive(Clone)]
pub struct SigninCode {
    /// What stands behind `#` in the link.
    pub code: String,
    /// When it stops working.
    pub expires: UnixMs,
}

impl Fleet {
    /// Makes a code.
    pub fn new_signin(&self, role: Role) -> SigninCode {
        let _ = role;
        todo!()
    }

    /// Turns a code into a browser's token, which survives restarts. `None` when the code is unknown,
    /// used or too old.
    pub async fn redeem(&self, code: &str) -> Result<Option<NewToken>, FleetError> {
        let _ = code;
        todo!()
    }

    /// Ends a browser's token. Any other token is left alone.
    pub async fn sign_out(&self, token: &str) -> Result<(), FleetError> {
        let _ = token;
        todo!()
    }
}
