//! Where things are on the shards, by names that are never given twice: so an answer that comes too late
//! never reaches a stranger.

/// A connection on its shard: a place and how often that place was used before, so that an answer which
/// comes too late never reaches a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// The place in the shard's table.
    pub index: u32,
    /// How many connections held that place before.
    pub generation: u32,
}

/// Names one open question of one connection; the answer finds its way back by it, and is dropped when
/// the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The shard that the connection lives on.
    pub shard: u16,
    /// The connection.
    pub conn: ConnId,
    /// For a publish, the session that it came in by: the end of an exactly-once publish is remembered
    /// there even when the connection is gone.
    pub session: Option<SessionPlace>,
    /// Others who must keep the same publish: the acknowledgement waits for them too.
    pub promise: Option<PromiseId>,
    /// What the asker wants to be reminded of (an MQTT packet id, an ES-PUSH msgid).
    pub token: u32,
}

/// A session in its shard's table, told from earlier ones in the same place by its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionPlace {
    /// The place.
    pub index: u32,
    /// Which session in that place.
    pub epoch: u32,
}

/// Something that a shard acknowledges when all who must keep it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PromiseId {
    /// The place in the shard's table.
    pub index: u32,
    /// Which promise in that place.
    pub epoch: u32,
}
