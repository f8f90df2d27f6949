//! How much one token asks: a token bucket in one number (the generic cell rate algorithm), which is the moment at which
//! the bucket would be full again. Taking from it is one compare-and-swap; nobody waits for a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Millis;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// How much may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second.
    pub per_s: u32,
    /// Requests at once.
    pub burst: u32,
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Requests that may be made now.
    pub requests: u64,
    /// Until the bucket is full again, or there is one more if there is none.
    pub ms: u64,
}

/// The bucket of one token.
#[derive(Debug, Default)]
pub struct Meter {
    full_at_ns: AtomicU64,
}

impl Meter {
    /// Takes one request; `Err` if there is none to take.
    pub fn take(&self, now: Millis, rate: Rate) -> Result<Left, Left> {
        let (now, step) = (now.0.saturating_mul(NS_PER_MS), NS_PER_S / u64::from(rate.per_s.max(1)));
        let depth = step * u64::from(rate.burst.max(1));
        let after = |full_at: u64| full_at.max(now) + step;
        let took = self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(after(full_at)).filter(|after| after - now <= depth)
        });
        let ms = |ns: u64| ns.div_ceil(NS_PER_MS);
        match took {
            Ok(before) => {
                let used = after(before) - now;
                Ok(Left { requests: (depth - used) / step, ms: ms(used) })
            }
            Err(full_at) => Err(Left { requests: 0, ms: ms(after(full_at) - now - depth) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_then_a_burst_again() {
        let (meter, rate) = (Meter::default(), Rate { per_s: 10, burst: 3 });
        let take = |ms| meter.take(Millis(ms), rate);
        assert_eq!(take(1000), Ok(Left { requests: 2, ms: 100 }));
        assert_eq!(take(1000), Ok(Left { requests: 1, ms: 200 }));
        assert_eq!(take(1000), Ok(Left { requests: 0, ms: 300 }));
        assert_eq!(take(1000), Err(Left { requests: 0, ms: 100 }));
        assert_eq!(take(1099), Err(Left { requests: 0, ms: 1 }), "what is refused costs nothing");
        assert_eq!(take(1100), Ok(Left { requests: 0, ms: 300 }));
        assert_eq!(take(9000), Ok(Left { requests: 2, ms: 100 }), "no more than the burst is saved up");
    }

    #[test]
    fn several_threads_get_together_what_one_would() {
        let (meter, rate) = (Meter::default(), Rate { per_s: 1000, burst: 500 });
        let taken: usize = std::thread::scope(|scope| {
            let work = || (0..400).filter(|_| meter.take(Millis(1), rate).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 500);
    }
}
