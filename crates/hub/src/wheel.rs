//! Wake-up times of a shard's connections: a hashed wheel of half-second ticks. Most entries are
//! keep-alives that are pushed back by every packet; the floor leaves such an entry where it is and looks
//! at the real time when it fires, so a packet costs nothing here.

use contract::ConnId;
use model::Millis;

/// Length of a tick in milliseconds. A timer fires up to one tick late.
const TICK_MS: u64 = 500;
/// Slots of the wheel; later times lie in the same slot and are passed over until their round comes.
const SLOTS: usize = 1024;

/// The wheel.
pub struct Wheel {
    slots: Vec<Vec<(ConnId, u64)>>,
    /// The first tick that has not been looked at.
    next: u64,
    count: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel { slots: vec![Vec::new(); SLOTS], next: 0, count: 0 }
    }
}

impl Wheel {
    /// Fires for `conn` at or soon after `at`, once.
    pub fn insert(&mut self, conn: ConnId, at: Millis) {
        let tick = at.0.div_ceil(TICK_MS).max(self.next);
        self.slots[tick as usize % SLOTS].push((conn, tick));
        self.count += 1;
    }

    /// Appends to `due` every connection whose time has come.
    pub fn advance(&mut self, now: Millis, due: &mut Vec<ConnId>) {
        let end = now.0 / TICK_MS;
        if self.count == 0 {
            self.next = self.next.max(end + 1);
            return;
        }
        // After a long silence one round sees every slot; more would only repeat it.
        let first = self.next.max((end + 1).saturating_sub(SLOTS as u64));
        for tick in first..=end {
            self.slots[tick as usize % SLOTS].retain(|(conn, at)| {
                let later = *at > end;
                if !later {
                    due.push(*conn);
                    self.count -= 1;
                }
                later
            });
        }
        self.next = self.next.max(end + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    fn due(wheel: &mut Wheel, ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(Millis(ms), &mut due);
        due.iter().map(|c| c.index).collect()
    }

    #[test]
    fn nothing_fires_early_and_everything_fires_once() {
        arbtest::arbtest(|u| {
            let mut wheel = Wheel::default();
            let mut open: Vec<(u32, u64)> = Vec::new();
            let mut now = 0;
            for index in 0..u.int_in_range(0..=40)? {
                if u.ratio(1, 2)? {
                    let at = now + u.int_in_range(0..=2_000_000)?;
                    wheel.insert(conn(index), Millis(at));
                    open.push((index, at));
                } else {
                    now += u.int_in_range(0..=1_000_000)?;
                    let mut fired = due(&mut wheel, now);
                    fired.sort_unstable();
                    let late_s = now - now % TICK_MS;
                    let mut want: Vec<u32> = open.iter().filter(|(_, at)| *at <= late_s).map(|(i, _)| *i).collect();
                    want.sort_unstable();
                    open.retain(|(_, at)| *at > late_s);
                    assert_eq!(fired, want);
                }
            }
            assert_eq!(wheel.count, open.len());
            Ok(())
        });
    }
}
