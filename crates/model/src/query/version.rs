//! Firmware versions in order: dotted numbers compare as numbers (`1.10` is after `1.9`, `1.4` is `1.4.0`),
//! a pre-release (`1.4.0-rc1`) is before its release. What stands before the first digit names a kind of
//! firmware (`AT 1.2`); versions of different kinds have no order, nor have texts that are none.

use std::cmp::Ordering;

/// The order of two versions, `None` when they have none. A leading `v` says nothing.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (Version::read(a)?, Version::read(b)?);
    if !a.kind.eq_ignore_ascii_case(b.kind) {
        return None;
    }
    let (mut ours, mut theirs) = (a.numbers, b.numbers);
    while !ours.is_empty() || !theirs.is_empty() {
        let (first, second) = (next(&mut ours), next(&mut theirs));
        match whole(first, second) {
            Ordering::Equal => {}
            order => return Some(order),
        }
    }
    Some(suffix(a.suffix, b.suffix))
}

struct Version<'a> {
    kind: &'a str,
    numbers: &'a str,
    suffix: &'a str,
}

impl<'a> Version<'a> {
    fn read(text: &'a str) -> Option<Version<'a>> {
        let text = text.trim();
        let begin = text.find(|c: char| c.is_ascii_digit())?;
        let (kind, rest) = text.split_at(begin);
        let kind = kind.strip_suffix(['v', 'V']).unwrap_or(kind).trim_end();
        let mut end = 0;
        // Dots belong to the numbers only while a digit follows.
        for (place, c) in rest.char_indices() {
            match c {
                '0'..='9' => end = place + 1,
                '.' if end == place => {}
                _ => break,
            }
        }
        let suffix = &rest[end..];
        // What was built of it says nothing about its age.
        let suffix = suffix.split_once('+').map_or(suffix, |(before, _)| before).trim();
        Some(Version { kind, numbers: &rest[..end], suffix })
    }
}

/// Takes the next number; an end counts as zeros.
fn next<'a>(numbers: &mut &'a str) -> &'a str {
    let (number, rest) = numbers.split_once('.').unwrap_or((numbers, ""));
    *numbers = rest;
    number
}

/// Two runs of digits of any length, as numbers.
fn whole(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// `-rc1` is before nothing, nothing is before `b`; else piece by piece, digits as numbers.
fn suffix(a: &str, b: &str) -> Ordering {
    let rank = |suffix: &str| match suffix.chars().next() {
        Some('-') => 0,
        None => 1,
        Some(_) => 2,
    };
    rank(a).cmp(&rank(b)).then_with(|| {
        let (mut a, mut b) = (a, b);
        while !a.is_empty() && !b.is_empty() {
            let (first, second) = (piece(&mut a), piece(&mut b));
            let digits = |piece: &str| piece.starts_with(|c: char| c.is_ascii_digit());
            let order = match (digits(first), digits(second)) {
                (true, true) => whole(first, second),
                _ => first.cmp(second),
            };
            if order.is_ne() {
                return order;
            }
        }
        a.len().cmp(&b.len())
    })
}

/// Takes a run of digits or of anything else.
fn piece<'a>(text: &mut &'a str) -> &'a str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    let (piece, rest) = text.split_at(end);
    *text = rest;
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_order_that_people_mean() {
        let ascending = ["0.9", "1.4.0-alpha.2", "1.4.0-alpha.10", "1.4.0-rc1", "1.4", "1.4.0b", "1.4.1", "1.9", "1.10", "2"];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), Some(i.cmp(&j)), "{a} and {b}");
            }
        }
        for (a, b) in
            [("1.4", "1.4.0"), ("v1.4", "1.4.0"), ("1.04", "1.4"), ("1.4+x86", "1.4"), ("AT 1.2", "at v1.2"), ("1.4.", "1.4.")]
        {
            assert_eq!(compare(a, b), Some(Ordering::Equal), "{a} and {b}");
        }
        assert_eq!(compare("1.99999999999999999999999", "1.100000000000000000000000"), Some(Ordering::Less));
    }

    #[test]
    fn what_is_no_version_has_no_order() {
        for (a, b) in [("", "1.0"), ("beta", "1.0"), ("AT 1.2", "1.4"), ("SDK 2.0", "AT 2.1"), ("灯", "1")] {
            assert_eq!((compare(a, b), compare(b, a)), (None, None), "{a} and {b}");
        }
    }
}
