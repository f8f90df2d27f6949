//! Where the platform's rooms read the time. Machines and the hub get it as an argument; rooms that
//! run as tasks get a clock instead, so that a test can move it.

use model::{Millis, UnixMs};

/// Both clocks at once; see `model::time` for what each is for.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn unix(&self) -> UnixMs;

    /// The clock that never jumps, the same one that the shards use.
    fn millis(&self) -> Millis;
}
