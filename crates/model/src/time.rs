//! The two clocks. Machines and the hub measure durations on [`Millis`], which never jumps; people
//! read [`UnixMs`], which may. Nothing in this crate reads either: time always comes in as a value.

use serde::{Deserialize, Serialize};

/// Milliseconds on a monotonic clock that starts with the program (or the test).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus `seconds`.
    pub fn plus_s(self, seconds: u64) -> Millis {
        Millis(self.0 + seconds * 1000)
    }
    /// This moment plus `ms`.
    pub fn plus_ms(self, ms: u64) -> Millis {
        Millis(self.0 + ms)
    }
    /// Milliseconds since `earlier`, 0 when it lies ahead.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A [`Millis`] that may be none, in no more memory than one: connections have several each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due(u64);

impl Due {
    /// None.
    pub const NEVER: Due = Due(u64::MAX);

    /// The moment, if there is one.
    pub fn at(self) -> Option<Millis> {
        (self != Due::NEVER).then_some(Millis(self.0))
    }
}

impl From<Option<Millis>> for Due {
    /// The end of time is never reached, and so is none.
    fn from(at: Option<Millis>) -> Due {
        at.map_or(Due::NEVER, |at| Due(at.0))
    }
}

/// Milliseconds since 1970-01-01 UTC by the wall clock. Shown as RFC 3339 with milliseconds in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// RFC 3339 in UTC with milliseconds, such as `2026-11-20T09:48:48.123Z`.
    pub fn rfc3339(self) -> String {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let s = ms / 1000;
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z", s / 3600, s / 60 % 60, s % 60, ms % 1000)
    }

    /// Reads RFC 3339 (`2026-11-20T09:48:48Z`, fractions and offsets allowed) or a plain number of
    /// milliseconds. `None` for anything else.
    pub fn parse(text: &str) -> Option<UnixMs> {
        if let Ok(ms) = text.parse::<i64>() {
            return Some(UnixMs(ms));
        }
        let b = text.as_bytes();
        if !text.is_ascii()
            || b.len() < 20
            || b[4] != b'-'
            || b[7] != b'-'
            || !matches!(b[10], b'T' | b't' | b' ')
            || b[13] != b':'
            || b[16] != b':'
        {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = &text[from..to];
            digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let days = days_from_civil(year, month, day);
        // 31 April would silently become 1 May: refuse what does not survive the way back.
        if civil_from_days(days) != (year, month, day) {
            return None;
        }
        let mut rest = &text[19..];
        let mut ms = 0;
        if let Some(fraction) = rest.strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return None;
            }
            for (i, c) in fraction[..digits].bytes().take(3).enumerate() {
                ms += i64::from(c - b'0') * [100, 10, 1][i];
            }
            rest = &fraction[digits..];
        }
        let offset_min = match rest.as_bytes() {
            [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|c| c.is_ascii_digit()) => {
                let of = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
                let total = of(h1, h2) * 60 + of(m1, m2);
                if *sign == b'-' { -total } else { total }
            }
            _ => return None,
        };
        Some(UnixMs(days * 86_400_000 + ((hour * 60 + minute - offset_min) * 60 + second) * 1000 + ms))
    }
}

impl Serialize for UnixMs {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.rfc3339())
    }
}

impl<'de> Deserialize<'de> for UnixMs {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        UnixMs::parse(&text).ok_or_else(|| serde::de::Error::custom("a time is RFC 3339, such as 2026-11-20T09:48:48Z"))
    }
}

// Days and civil dates in the proleptic Gregorian calendar, counted in 400-year eras that begin on
// 1 March so that the leap day is the last of its year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_out_and_back() {
        for ms in [0, 1, 951_782_400_000, 1_466_599_588_123, 1_795_000_000_999, -1] {
            let text = UnixMs(ms).rfc3339();
            assert_eq!(UnixMs::parse(&text), Some(UnixMs(ms)), "{text}");
        }
        assert_eq!(UnixMs(1_466_599_588_000).rfc3339(), "2016-06-22T12:46:28.000Z");
    }

    #[test]
    fn what_people_write_is_read_and_nonsense_is_not() {
        assert_eq!(UnixMs::parse("2016-06-22T14:46:28+02:00"), Some(UnixMs(1_466_599_588_000)));
        assert_eq!(UnixMs::parse("2016-06-22 12:46:28.5Z"), Some(UnixMs(1_466_599_588_500)));
        assert_eq!(UnixMs::parse("1466599588000"), Some(UnixMs(1_466_599_588_000)));
        for bad in [
            "",
            "yesterday",
            "2016-04-31T00:00:00Z",
            "2016-06-22T12:46:28",
            "2016-13-01T00:00:00Z",
            "2016-06-22T25:00:00Z",
            "2016-06-22T12:46:28.Z",
            "２016-06-22T12:46:28Z",
        ] {
            assert_eq!(UnixMs::parse(bad), None, "{bad}");
        }
    }
}
