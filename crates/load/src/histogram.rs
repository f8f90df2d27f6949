//! How long things took: counts in buckets that grow with their value, so that nanoseconds and minutes
//! have the same relative precision (1/128, below one per cent) in a few kilobytes, and histograms of
//! several processes can be added. No sample is kept.

use serde::{Deserialize, Serialize};

/// Buckets of each power of two, as a power of two.
const FINE_BITS: u32 = 7;
const FINE: u64 = 1 << FINE_BITS;

/// A histogram of nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Bucket → count, up to the highest that was used.
    counts: Vec<u64>,
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, ns: u64) {
        let bucket = bucket(ns);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Histogram) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The mean; 0 of nothing.
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count).unwrap_or(0)
    }

    /// The value that `share` of all (0.99 for the 99th percentile) do not exceed, at most 1/128 too high;
    /// 0 of nothing.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(bucket).min(self.max_ns);
            }
        }
        0
    }
}

/// The bucket of a value: itself while it is small, then its power of two and the bits behind the first.
fn bucket(ns: u64) -> usize {
    if ns < FINE {
        return ns as usize;
    }
    let shift = ns.ilog2() - FINE_BITS;
    (u64::from(shift + 1) * FINE + ((ns >> shift) - FINE)) as usize
}

/// The highest value in a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let (power, fine) = (bucket / FINE, bucket % FINE);
    if power == 0 {
        return fine;
    }
    let next = u128::from(FINE + fine + 1) << (power - 1);
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!((bucket(0), bucket(127), bucket(128), bucket(255), bucket(256)), (0, 127, 128, 255, 256));
        for index in 0..bucket(u64::MAX) {
            assert_eq!((bucket(highest(index)), bucket(highest(index) + 1)), (index, index + 1), "{index}");
        }
        assert_eq!(highest(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn nothing_has_no_length() {
        let none = Histogram::default();
        assert_eq!((none.count(), none.mean_ns(), none.quantile_ns(0.5), none.max_ns()), (0, 0, 0, 0));
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values_within_one_per_cent() {
        arbtest::arbtest(|u| {
            let count = u.int_in_range(1..=400usize)?;
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                let bits = u.int_in_range(0..=45u32)?;
                values.push(u.arbitrary::<u64>()? & ((1 << bits) - 1));
            }
            // In two histograms that are added, as two processes would have them.
            let (mut whole, mut part) = (Histogram::default(), Histogram::default());
            for (i, value) in values.iter().enumerate() {
                if i % 3 == 0 { part.record(*value) } else { whole.record(*value) }
            }
            whole.add(&part);
            values.sort_unstable();
            assert_eq!((whole.count(), whole.max_ns()), (count as u64, values[count - 1]));
            assert_eq!(whole.mean_ns(), values.iter().sum::<u64>() / count as u64);
            for share in [0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
                let true_one = values[((count as f64 * share).ceil() as usize).clamp(1, count) - 1];
                let ours = whole.quantile_ns(share);
                assert!(ours >= true_one && ours <= true_one + true_one / 128, "{share}: {true_one} {ours}");
            }
            Ok(())
        });
    }

    #[test]
    fn it_passes_between_processes() {
        let mut histogram = Histogram::default();
        for ns in [3, 1_000_000, 77] {
            histogram.record(ns);
        }
        let told = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&told).unwrap(), histogram);
    }
}
