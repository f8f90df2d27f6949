//! The real clocks: the one place of the device side where time is read.

use std::time::{Instant, SystemTime};

use contract::Clock;
use model::{Millis, UnixMs};

/// The machine's own clocks. One for the whole program: its monotonic time counts from its making.
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts the monotonic clock at 0.
    #[expect(clippy::new_without_default, reason = "making one fixes an epoch: not something to happen by default")]
    pub fn new() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn unix(&self) -> UnixMs {
        UnixMs(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
    }

    fn millis(&self) -> Millis {
        Millis(self.0.elapsed().as_millis() as u64)
    }
}
