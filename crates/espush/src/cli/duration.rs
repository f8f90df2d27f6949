//! Lengths of time and moments as people type them: `500ms`, `5s`, `10m`, `2h`, `7d`; a moment is
//! RFC 3339, milliseconds since 1970, or a length of time ago.

use model::UnixMs;

/// Milliseconds of `5s` and its like; a bare number is seconds.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let number = text[..digits].parse::<u64>().ok().filter(|_| unit_ms > 0);
    number.and_then(|n| n.checked_mul(unit_ms)).ok_or_else(|| "a length of time is 500ms, 5s, 10m, 2h or 7d".to_owned())
}

/// A moment. `now` is what "ago" counts from.
pub fn parse_moment(text: &str, now: UnixMs) -> Result<UnixMs, String> {
    // `10m` before milliseconds: a bare number here is a time stamp, never seconds ago.
    let ago = if text.ends_with(|c: char| c.is_ascii_alphabetic()) { parse_ms(text).ok() } else { None };
    match ago {
        Some(ms) => Ok(UnixMs(now.0.saturating_sub(ms.try_into().unwrap_or(i64::MAX)))),
        None => UnixMs::parse(text).ok_or_else(|| {
            "a moment is 2026-11-20T09:48:48Z, milliseconds since 1970, or a length of time ago such as 2h".to_owned()
        }),
    }
}

/// A moment to come, or how long it is until then.
pub fn parse_ahead(text: &str, now: UnixMs) -> Result<UnixMs, String> {
    let ahead = if text.ends_with(|c: char| "smhd".contains(c)) { parse_ms(text).ok() } else { None };
    match ahead {
        Some(ms) => Ok(UnixMs(now.0.saturating_add(ms.try_into().unwrap_or(i64::MAX)))),
        None => UnixMs::parse(text).ok_or_else(|| {
            "a moment to come is 2026-11-20T09:48:48Z, milliseconds since 1970, or a length of time such as 2h".to_owned()
        }),
    }
}

/// The wall clock.
pub fn now() -> UnixMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMs(since.as_millis().try_into().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        let rows =
            [("500ms", 500), ("5s", 5_000), ("5", 5_000), ("10m", 600_000), ("2h", 7_200_000), ("7d", 604_800_000), ("0", 0)];
        for (text, ms) in rows {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
        for bad in ["", "s", "5 s", "-5s", "5y", "1.5s", "99999999999999999999d", "5秒"] {
            assert!(parse_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments() {
        let now = UnixMs(1_466_599_588_000);
        assert_eq!(parse_moment("1h", now), Ok(UnixMs(now.0 - 3_600_000)));
        assert_eq!(parse_moment("2016-06-22T12:46:28Z", UnixMs(0)), Ok(now));
        assert_eq!(parse_moment("1466599588000", UnixMs(0)), Ok(now));
        assert!(parse_moment("yesterday", now).is_err());
        assert_eq!(parse_ahead("90s", now), Ok(UnixMs(now.0 + 90_000)));
        assert_eq!(parse_ahead("2016-06-22T12:46:28Z", UnixMs(0)), Ok(now));
        assert!(parse_ahead("tomorrow", now).is_err() && parse_ahead("s", now).is_err());
    }
}
