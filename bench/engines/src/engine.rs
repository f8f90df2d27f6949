//! What a queue's engine must do. A message is 200 bytes under its number; a queue row says that a session
//! is owed a message at a place. One call of `enqueue` or `consume` is one commit that is on disk when it
//! returns.

use std::path::Path;

pub const PAYLOAD_BYTES: usize = 200;
/// As much cache as the program's own writer has.
pub const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// One durable operation: a message and the row that queues it.
pub struct Row {
    pub session: u64,
    pub seq: u64,
    pub message: u64,
}

pub trait Engine: Sized {
    fn open(dir: &Path) -> Self;

    /// Keeps the messages and their rows.
    fn enqueue(&mut self, rows: &[Row]);

    /// Forgets both.
    fn consume(&mut self, rows: &[Row]);

    /// Of each session that is owed something: (session, count, last seq).
    fn sessions(&self) -> Vec<(u64, u64, u64)>;

    /// One session's queue in order, with the payloads.
    fn queue(&self, session: u64) -> Vec<(u64, Vec<u8>)>;
}

/// Text as messages are: different each time, and neither random nor constant to a compressor.
pub fn payload(message: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(PAYLOAD_BYTES + 16);
    let mut state = message.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while out.len() < PAYLOAD_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(format!("{state:016x}").as_bytes());
    }
    out.truncate(PAYLOAD_BYTES);
    out
}
