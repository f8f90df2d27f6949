//! Wake-up times of a shard's connections: a hashed wheel of half-second ticks. Most are keep-alives that
//! are pushed back by every packet; the floor leaves such a time where it is and looks at the real one when
//! it fires, so a packet costs nothing here. Each seat has one time at most, and the seats of a slot name
//! each other: nothing grows, and nothing of an earlier crowd stays behind.

use model::Millis;

/// Length of a tick in milliseconds. A timer fires up to one tick late.
const TICK_MS: u64 = 500;
/// Slots of the wheel; later times lie in the same slot and are passed over until their round comes.
const SLOTS: usize = 1024;
/// No seat, and no tick: seats and half-seconds never come to so many.
const NONE: u32 = u32::MAX;

/// A seat's time, and the seats before and behind it in its slot.
#[derive(Clone, Copy)]
struct Link {
    tick: u32,
    before: u32,
    behind: u32,
}

const UNSET: Link = Link { tick: NONE, before: NONE, behind: NONE };

/// The wheel.
pub struct Wheel {
    /// The first seat of each slot.
    slots: Vec<u32>,
    links: Vec<Link>,
    /// The first tick that has not been looked at.
    next: u64,
    count: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel { slots: vec![NONE; SLOTS], links: Vec::new(), next: 0, count: 0 }
    }
}

impl Wheel {
    /// Fires for `seat` at or soon after `at`, once; or earlier, if that was set before.
    pub fn set(&mut self, seat: u32, at: Millis) {
        let tick = u32::try_from(at.0.div_ceil(TICK_MS).max(self.next)).unwrap_or(NONE - 1).min(NONE - 1);
        if self.links.len() <= seat as usize {
            self.links.resize(seat as usize + 1, UNSET);
        }
        if self.links[seat as usize].tick <= tick {
            return;
        }
        self.clear(seat);
        let behind = std::mem::replace(&mut self.slots[tick as usize % SLOTS], seat);
        if behind != NONE {
            self.links[behind as usize].before = seat;
        }
        self.links[seat as usize] = Link { tick, before: NONE, behind };
        self.count += 1;
    }

    /// Does not fire for `seat`.
    pub fn clear(&mut self, seat: u32) {
        let Some(link) = self.links.get_mut(seat as usize).filter(|link| link.tick != NONE) else { return };
        let Link { tick, before, behind } = std::mem::replace(link, UNSET);
        match before {
            NONE => self.slots[tick as usize % SLOTS] = behind,
            before => self.links[before as usize].behind = behind,
        }
        if behind != NONE {
            self.links[behind as usize].before = before;
        }
        self.count -= 1;
    }

    /// Appends to `due` every seat whose time has come.
    pub fn advance(&mut self, now: Millis, due: &mut Vec<u32>) {
        let end = now.0 / TICK_MS;
        if self.count > 0 {
            // After a long silence one round sees every slot; more would only repeat it.
            let first = self.next.max((end + 1).saturating_sub(SLOTS as u64));
            for tick in first..=end {
                let mut seat = self.slots[tick as usize % SLOTS];
                while seat != NONE {
                    let Link { tick, behind, .. } = self.links[seat as usize];
                    if u64::from(tick) <= end {
                        self.clear(seat);
                        due.push(seat);
                    }
                    seat = behind;
                }
            }
        }
        self.next = self.next.max(end + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_fires_early_and_everything_fires_once() {
        arbtest::arbtest(|u| {
            let mut wheel = Wheel::default();
            let mut open: Vec<(u32, u64)> = Vec::new();
            let mut now = 0;
            for _ in 0..u.int_in_range(0..=40)? {
                let seat = u.int_in_range(0..=12)?;
                if u.ratio(1, 2)? {
                    let at = now + u.int_in_range(0..=2_000_000)?;
                    wheel.set(seat, Millis(at));
                    match open.iter_mut().find(|(other, _)| *other == seat) {
                        // Times within one tick are the same.
                        Some((_, set)) => *set = at.min(*set),
                        None => open.push((seat, at)),
                    }
                } else if u.ratio(1, 4)? {
                    wheel.clear(seat);
                    open.retain(|(other, _)| *other != seat);
                } else {
                    now += u.int_in_range(0..=1_000_000)?;
                    let mut fired = Vec::new();
                    wheel.advance(Millis(now), &mut fired);
                    fired.sort_unstable();
                    let late_s = now - now % TICK_MS;
                    let mut want: Vec<u32> = open.iter().filter(|(_, at)| *at <= late_s).map(|(seat, _)| *seat).collect();
                    want.sort_unstable();
                    open.retain(|(_, at)| *at > late_s);
                    assert_eq!(fired, want);
                }
                assert_eq!(wheel.count, open.len());
            }
            Ok(())
        });
    }
}
