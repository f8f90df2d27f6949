//! Knocks: who was not let in lately, and why. A ring in memory; nothing is kept across a restart.

use std::net::SocketAddr;

use model::UnixMs;

use crate::Fleet;

/// One who was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// By which protocol.
    pub protocol: &'static str,
    /// From where.
    pub remote: SocketAddr,
    /// Whom it claimed to be.
    pub claim: String,
    /// Why not, as a sentence that names the fix.
    pub reason: String,
    /// When.
    pub at: UnixMs,
}

impl Fleet {
    /// The recent knocks, newest first.
    pub fn knocks(&self) -> Vec<Knock> {
        todo!()
    }
}
