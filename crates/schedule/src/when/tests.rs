//! Moments by calendars, above all where clocks are set.

use super::*;

fn ms(text: &str) -> UnixMs {
    UnixMs::parse(text).unwrap()
}

fn when(text: &str) -> When {
    When::read(text, ms("2026-01-01T00:00:00Z")).unwrap()
}

/// The next moments, as UTC without seconds.
fn next(text: &str, after: &str, count: usize) -> Vec<String> {
    let when = when(text);
    let mut at = ms(after);
    let mut found = Vec::new();
    for _ in 0..count {
        at = when.next(at).unwrap();
        found.push(at.rfc3339()[..16].to_owned());
    }
    found
}

#[test]
fn a_day_and_a_week_are_by_the_wall_clock_of_the_zone() {
    let berlin = r#"{"daily":"07:30","time_zone":"Europe/Berlin"}"#;
    // Summer begins on 29 March.
    let days = ["2026-03-28T06:30", "2026-03-29T05:30", "2026-03-30T05:30"];
    assert_eq!(next(berlin, "2026-03-27T06:30:00Z", 3), days);
    assert_eq!(next(r#"{"daily":"07:30"}"#, "2026-03-28T07:29:59Z", 2), ["2026-03-28T07:30", "2026-03-29T07:30"]);
    let weekly = r#"{"weekly":{"days":["mon","FRI"],"time":"00:00"},"time_zone":"Asia/Shanghai"}"#;
    assert_eq!(next(weekly, "2026-11-20T00:00:00Z", 3), ["2026-11-22T16:00", "2026-11-26T16:00", "2026-11-29T16:00"]);
}

#[test]
fn a_time_that_the_clocks_skip_is_when_they_jump() {
    let gap = r#"{"daily":"02:30","time_zone":"Europe/Berlin"}"#;
    assert_eq!(next(gap, "2026-03-27T12:00:00Z", 3), ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]);
    // All that was skipped falls on the same moment, which is there anyway.
    let often = r#"{"cron":"*/30 * * * *","time_zone":"Europe/Berlin"}"#;
    assert_eq!(next(often, "2026-03-29T00:15:00Z", 3), ["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30"]);
    // Midnight itself is skipped.
    let midnight = r#"{"daily":"00:00","time_zone":"Africa/Cairo"}"#;
    assert_eq!(next(midnight, "2026-04-23T00:00:00Z", 2), ["2026-04-23T22:00", "2026-04-24T21:00"]);
    // A whole day is: Samoa went from the 29th to the 31st of December 2011.
    let samoa = When::read(r#"{"cron":"0 12 30 12 *","time_zone":"Pacific/Apia"}"#, ms("2011-01-01T00:00:00Z")).unwrap();
    assert_eq!(samoa.next(ms("2011-06-01T00:00:00Z")), Some(ms("2011-12-30T10:00:00Z")));
}

#[test]
fn a_time_that_comes_twice_is_the_first_unless_no_hour_is_named() {
    let fold = r#"{"daily":"02:30","time_zone":"Europe/Berlin"}"#;
    assert_eq!(next(fold, "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30", "2026-10-26T01:30"]);
    let fixed = r#"{"cron":"0,30 1-3 * * *","time_zone":"Europe/Berlin"}"#;
    let halves = ["2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T02:00", "2026-10-25T02:30"];
    assert_eq!(next(fixed, "2026-10-24T23:45:00Z", 4), halves);
    let often = r#"{"cron":"*/30 * * * *","time_zone":"Europe/Berlin"}"#;
    let all = ["2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-25T02:00"];
    assert_eq!(next(often, "2026-10-24T23:45:00Z", 5), all);
}

#[test]
fn between_two_moments_nothing_is_lost_and_nothing_is_twice() {
    for text in [
        r#"{"cron":"*/30 */2 * * *","time_zone":"Europe/Berlin"}"#,
        r#"{"cron":"30 0,2,23 * * *","time_zone":"America/Santiago"}"#,
        r#"{"cron":"0 0 * * 1","time_zone":"Australia/Lord_Howe"}"#,
        r#"{"every_s":3601}"#,
    ] {
        let when = when(text);
        let (begin, end) = (ms("2026-01-15T00:00:00Z"), ms("2027-01-15T00:00:00Z"));
        let mut all = vec![when.next(begin).unwrap()];
        while let Some(at) = when.next(*all.last().unwrap()).filter(|at| *at <= end) {
            all.push(at);
        }
        assert!(all.is_sorted_by(|a, b| a < b), "{text}");
        assert_eq!(when.count(begin, UnixMs(end.0 + 1)), all.len() as u64, "{text}");
        for (place, at) in all.iter().enumerate().step_by(1_997) {
            assert_eq!(when.last(begin, *at), Some(*at), "{text}");
            assert_eq!(when.last(begin, UnixMs(at.0 + 1)), Some(*at), "{text}");
            assert_eq!(when.last(begin, UnixMs(at.0 - 1)), place.checked_sub(1).map(|before| all[before]), "{text}");
            assert_eq!(when.count(begin, *at), place as u64, "{text}");
        }
    }
}

#[test]
fn once_and_every_so_often() {
    let once = when(r#"{"at":"2026-05-01T10:00:00Z"}"#);
    let at = ms("2026-05-01T10:00:00Z");
    assert_eq!((once.next(UnixMs(at.0 - 1)), once.next(at)), (Some(at), None));
    assert_eq!((once.last(UnixMs(0), at), once.last(at, UnixMs(at.0 + 9))), (Some(at), None));
    assert_eq!(next(r#"{"every_s":90}"#, "2026-01-01T00:00:00Z", 2), ["2026-01-01T00:01", "2026-01-01T00:03"]);
    assert_eq!(next(r#"{"every_s":60}"#, "2025-06-01T00:00:00Z", 1), ["2026-01-01T00:01"], "not before it was made");
    let leap = r#"{"cron":"0 0 29 2 *"}"#;
    assert_eq!(next(leap, "2026-01-01T00:00:00Z", 2), ["2028-02-29T00:00", "2032-02-29T00:00"]);
}

#[test]
fn what_is_no_moment_is_refused_with_a_reason() {
    for bad in [
        "{}",
        r#"{"daily":"7:30"}"#,
        r#"{"daily":"24:00"}"#,
        r#"{"daily":"07:30","cron":"* * * * *"}"#,
        r#"{"every_s":1}"#,
        r#"{"every_s":60,"time_zone":"UTC"}"#,
        r#"{"daily":"07:30","time_zone":"Europe/Bonn"}"#,
        r#"{"weekly":{"days":[],"time":"07:30"}}"#,
        r#"{"weekly":{"days":["monday"],"time":"07:30"}}"#,
        r#"{"cron":"0 0 30 2 *"}"#,
        r#"{"hourly":1}"#,
    ] {
        let said = When::read(bad, UnixMs(0)).unwrap_err();
        assert!(!said.is_empty(), "{bad}");
    }
}
