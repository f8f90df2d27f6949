//! How long to wait before a delivery is tried again: four times as long after each failure, up to a limit, a quarter
//! more or less by chance, so that what failed together does not come back together.

use model::limits;

/// The pause after so many failures. `chance` is any number.
pub(crate) fn pause_ms(first_ms: u64, failures: u32, chance: u64) -> u64 {
    let doublings = failures.saturating_sub(1).saturating_mul(2).min(40);
    let pause = first_ms.saturating_mul(1 << doublings).min(limits::WEBHOOK_RETRY_MS_MAX.max(first_ms));
    pause * 3 / 4 + pause / 2 * (chance % 1024) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_quadruple_up_to_six_hours() {
        // A chance in the middle leaves the pause as it is.
        let seen: Vec<u64> = (1..=10).map(|failures| pause_ms(5_000, failures, 512) / 1000).collect();
        assert_eq!(seen, [5, 20, 80, 320, 1280, 5120, 20_480, 21_600, 21_600, 21_600]);
        let in_all: u64 = seen[..9].iter().sum();
        assert_eq!(in_all / 3600, 19, "ten attempts take the time that the documents say");
        assert_eq!(pause_ms(5_000, u32::MAX, 512), limits::WEBHOOK_RETRY_MS_MAX);
    }

    #[test]
    fn chance_moves_a_pause_by_a_quarter_at_most() {
        for chance in [0, 1, 511, 1023, u64::MAX] {
            assert!((3_750..=6_250).contains(&pause_ms(5_000, 1, chance)), "{chance}");
        }
    }
}
