//! Telling of connections that end: one count each, and one line in the log for those that are news, as
//! long as there are not too many.

use std::net::SocketAddr;

use contract::{Close, Fault};

use crate::stats::ShardStats;

/// Log lines about ended connections a second, so that a flood of bad peers does not flood the log.
const LOG_LINES_PER_S: u32 = 20;

/// How a line ends by itself: everyday life, and no news for the log.
pub(crate) const HUNG_UP: &str = "the peer hung up";
/// The same, less politely.
pub(crate) const BROKE: &str = "the line broke";

/// The shard's figures, and what the log has heard since the last tick.
#[derive(Default)]
pub(crate) struct Ends {
    pub stats: ShardStats,
    logged: u32,
    not_logged: u32,
}

impl Ends {
    /// One log line and one count for a connection that ended.
    pub fn tell(&mut self, protocol: &'static str, remote: SocketAddr, close: &Close) {
        let (fault, why) = (close.fault, &close.why);
        self.count(protocol, fault);
        let everyday = fault == Fault::Nobody || (fault == Fault::Line && (why == HUNG_UP || why == BROKE));
        match fault {
            _ if everyday => tracing::debug!(protocol, %remote, fault = fault.as_str(), "{why}"),
            _ if self.logged >= LOG_LINES_PER_S / 2 => self.not_logged += 1,
            Fault::Ours => {
                self.logged += 1;
                tracing::error!(protocol, %remote, fault = fault.as_str(), "{why}");
            }
            // We gave up on it: it said nothing, or not all of it, or nothing any more.
            Fault::Line => {
                self.logged += 1;
                tracing::info!(protocol, %remote, fault = fault.as_str(), "{why}");
            }
            _ => {
                self.logged += 1;
                tracing::warn!(protocol, %remote, fault = fault.as_str(), "{why}");
            }
        }
    }

    /// The count alone, for a connection whose end is told elsewhere.
    pub fn count(&mut self, protocol: &'static str, fault: Fault) {
        *self.stats.ended.entry((protocol, fault.as_str())).or_default() += 1;
    }

    /// Half a second has passed.
    pub fn tick(&mut self) {
        if self.not_logged > 0 {
            let missing = self.not_logged;
            tracing::warn!("{missing} more connections ended by a fault in the last half second, not logged one by one");
        }
        (self.logged, self.not_logged) = (0, 0);
    }
}
