//! What the shards counted, for `/metrics`: each shard copies its plain counters out twice a second, so
//! that nobody ever waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hub::Counters;
use parking_lot::Mutex;

/// One shard's figures.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// What the hub counted.
    pub hub: Counters,
    /// Open connections.
    pub connections: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Those of them that were closed at once, because their address held as many as it may.
    pub refused: u64,
    /// Connections that moved to their home shard.
    pub handed_over: u64,
    /// How often a line that only acknowledges was left to be read a moment later.
    pub left_to_leisure: u64,
    /// QoS 0 messages dropped because this shard could not keep up with its neighbours.
    pub inbox_dropped: u64,
    /// Bytes read from peers.
    pub bytes_in: u64,
    /// Bytes written to peers.
    pub bytes_out: u64,
    /// Ended connections by protocol and fault.
    pub ended: BTreeMap<(&'static str, &'static str), u64>,
}

/// A place for one shard's figures.
#[derive(Default)]
pub(crate) struct Stats {
    figures: Mutex<ShardStats>,
    /// Written by the shard alone, after the bytes were dealt with: whoever sent them can wait for that.
    bytes_in: AtomicU64,
}

impl Stats {
    pub(crate) fn read(&self) -> ShardStats {
        ShardStats { bytes_in: self.bytes_in(), ..self.figures.lock().clone() }
    }

    pub(crate) fn write(&self, stats: &ShardStats) {
        self.figures.lock().clone_from(stats);
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Acquire)
    }

    /// Counts bytes. One writer, so that no locked instruction is needed.
    pub(crate) fn add_bytes_in(&self, count: usize) {
        self.bytes_in.store(self.bytes_in.load(Ordering::Relaxed) + count as u64, Ordering::Release);
    }
}
