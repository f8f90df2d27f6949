//! One folder per wire protocol, each a pure machine on the session contract: bytes and time in, bytes
//! and calls on the hub out. Deliberately absent: sockets, clocks, async, locks, and any knowledge of
//! who drives the machines or of how the hub does its work.
//!
//! A new protocol is one folder, one `pub mod` and one line in [`ALL`].

use contract::Protocol;

pub mod espush;
pub mod mqtt;

/// Every protocol of the house, in the order in which they are started and listed.
pub const ALL: &[Protocol] = &[mqtt::PROTOCOL, espush::PROTOCOL];
