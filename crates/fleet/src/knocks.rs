//! Knocks: who was not let in lately, and why. A ring in memory; nothing is kept across a restart.

use std::collections::VecDeque;
use std::net::SocketAddr;

use contract::Refusal;
use model::{UnixMs, limits};

use crate::{Fleet, clip};

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

/// The last of them, oldest first.
pub(crate) type Ring = VecDeque<Knock>;

impl Fleet {
    /// The recent knocks, newest first.
    pub fn knocks(&self) -> Vec<Knock> {
        self.knocks.lock().iter().rev().cloned().collect()
    }

    pub(crate) fn knocked(&self, protocol: &'static str, remote: SocketAddr, claim: &str, refusal: Refusal, at: UnixMs) {
        let claim = clip(claim, limits::KNOCK_CLAIM_BYTES_MAX).to_owned();
        let mut ring = self.knocks.lock();
        if ring.len() == limits::KNOCKS_MAX {
            ring.pop_front();
        }
        ring.push_back(Knock { protocol, remote, claim, reason: refusal.to_string(), at });
    }
}
