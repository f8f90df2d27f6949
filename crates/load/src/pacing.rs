//! When each message is due. A rate fixes that before the first is sent, so that a message which had to
//! wait, because the server was slow or we were, is measured from the moment at which it was due and not
//! from the one at which it could go: otherwise one slow second would hide thousands of late messages
//! behind one slow one ("coordinated omission").

/// Messages at an even rate, from a moment on.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    begin_ns: u64,
    per_second: f64,
    next: u64,
    end: u64,
}

impl Pace {
    /// `count` messages, `per_second` of them a second, the first at `begin_ns`.
    pub fn new(begin_ns: u64, per_second: f64, count: u64) -> Pace {
        Pace { begin_ns, per_second, next: 0, end: count }
    }

    /// When the next one is due; `None` when all were taken.
    pub fn next_ns(&self) -> Option<u64> {
        (self.next < self.end).then(|| self.begin_ns + (self.next as f64 * 1e9 / self.per_second) as u64)
    }

    /// When the next one was due, if that is not in the future.
    pub fn due_ns(&self, now_ns: u64) -> Option<u64> {
        self.next_ns().filter(|due| *due <= now_ns)
    }

    /// The next one is on its way.
    pub fn take(&mut self) {
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_their_rate_however_late_they_are_taken() {
        let mut pace = Pace::new(1_000, 1e6, 5);
        assert_eq!(pace.due_ns(999), None);
        let mut dues = Vec::new();
        // Nobody took one for 2.5 µs: the first three were due at their own times.
        while let Some(due) = pace.due_ns(3_500) {
            dues.push(due);
            pace.take();
        }
        assert_eq!(dues, [1_000, 2_000, 3_000]);
        assert_eq!(pace.next_ns(), Some(4_000));
        while pace.due_ns(u64::MAX).is_some() {
            dues.push(pace.next_ns().unwrap());
            pace.take();
        }
        assert_eq!(dues, [1_000, 2_000, 3_000, 4_000, 5_000]);
        assert_eq!(pace.next_ns(), None);
    }

    #[test]
    fn an_uneven_rate_does_not_drift() {
        let mut pace = Pace::new(0, 3.0, 3_000_001);
        for _ in 0..3_000_000 {
            pace.take();
        }
        assert_eq!(pace.next_ns(), Some(1_000_000 * 1_000_000_000));
    }
}
