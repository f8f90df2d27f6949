//! When a schedule's moments are: once, every so many seconds, or by a calendar in a time zone. Pure: it is asked
//! for the moments between two others.
//!
//! A time of day that the clocks skip is at the first moment after the gap; one that comes twice is at the first
//! of both, unless no hour is named: what goes on through the hours goes on through both.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use model::{UnixMs, limits};
use serde::Deserialize;

use crate::cron::{Cron, WEEKDAYS};

/// Days that are looked through for the next moment: 29 February may be eight years away.
const DAYS_AHEAD: usize = 9 * 366;

/// When a schedule's moments are.
#[derive(Clone, Debug)]
pub enum When {
    /// Once.
    At(UnixMs),
    /// Every so many milliseconds from a moment on, that one not included.
    Every {
        /// The step.
        ms: i64,
        /// What it counts from.
        from: UnixMs,
    },
    /// By the calendar.
    Calendar(Calendar),
}

/// Times and days in a zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    cron: Cron,
    zone: TimeZone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    at: Option<UnixMs>,
    every_s: Option<u64>,
    daily: Option<String>,
    weekly: Option<Weekly>,
    cron: Option<String>,
    time_zone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weekly {
    days: Vec<String>,
    time: String,
}

impl When {
    /// Reads the JSON that people write. `created` is what `every_s` counts from.
    pub fn read(text: &str, created: UnixMs) -> Result<When, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let zone = written.time_zone.as_deref();
        let cron = match written {
            Written { at: Some(at), every_s: None, daily: None, weekly: None, cron: None, time_zone: None } => {
                return Ok(When::At(at));
            }
            Written { at: None, every_s: Some(s), daily: None, weekly: None, cron: None, time_zone: None } => {
                if !(limits::SCHEDULE_EVERY_S_MIN..=limits::SCHEDULE_EVERY_S_MAX).contains(&s) {
                    let (min, max) = (limits::SCHEDULE_EVERY_S_MIN, limits::SCHEDULE_EVERY_S_MAX);
                    return Err(format!("every_s is {min} to {max}"));
                }
                return Ok(When::Every { ms: s as i64 * 1000, from: created });
            }
            Written { at: None, every_s: None, daily: Some(ref time), weekly: None, cron: None, .. } => {
                let (hour, minute) = time_of_day(time)?;
                Cron::weekly(hour, minute, 0..7)
            }
            Written { at: None, every_s: None, daily: None, weekly: Some(ref weekly), cron: None, .. } => {
                let (hour, minute) = time_of_day(&weekly.time)?;
                let day = |name: &String| {
                    let found = WEEKDAYS.iter().position(|day| name.eq_ignore_ascii_case(day));
                    found
                        .map(|day| day as u8)
                        .ok_or_else(|| format!("days are some of mon tue wed thu fri sat sun, not {name:?}"))
                };
                let days = weekly.days.iter().map(day).collect::<Result<Vec<_>, _>>()?;
                if days.is_empty() {
                    return Err("weekly names at least one of its days".into());
                }
                Cron::weekly(hour, minute, days)
            }
            Written { at: None, every_s: None, daily: None, weekly: None, cron: Some(ref cron), .. } => Cron::parse(cron)?,
            _ => return Err("say one of at, every_s, daily, weekly, cron; time_zone goes with the last three".into()),
        };
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => {
                TimeZone::get(name).map_err(|_| format!("there is no time zone {name:?}; write one such as Europe/Berlin"))?
            }
        };
        let calendar = Calendar { cron, zone };
        if calendar.next(created.0).is_none() {
            return Err("that day never comes".into());
        }
        Ok(When::Calendar(calendar))
    }

    /// The first moment after another.
    pub fn next(&self, after: UnixMs) -> Option<UnixMs> {
        match self {
            When::At(at) => Some(*at).filter(|at| *at > after),
            When::Every { ms, from } => Some(UnixMs(from.0 + ((after.0 - from.0).div_euclid(*ms) + 1).max(1) * ms)),
            When::Calendar(calendar) => calendar.next(after.0).map(UnixMs),
        }
    }

    /// The last moment after `after` that is not after `until`.
    pub fn last(&self, after: UnixMs, until: UnixMs) -> Option<UnixMs> {
        let last = match self {
            When::At(at) => Some(*at).filter(|at| *at <= until),
            When::Every { ms, from } => Some(UnixMs(from.0 + (until.0 - from.0).div_euclid(*ms) * ms)).filter(|at| at > from),
            When::Calendar(calendar) => calendar.last(after.0, until.0).map(UnixMs),
        };
        last.filter(|at| *at > after)
    }

    /// How many moments there are after `after` and before `before`; no further than
    /// [`limits::SCHEDULE_MISSED_COUNTED_MAX`] is counted.
    pub fn count(&self, after: UnixMs, before: UnixMs) -> u64 {
        let counted = match self {
            When::At(at) => u64::from(after < *at && *at < before),
            When::Every { ms, .. } => match (self.next(after), self.last(after, UnixMs(before.0 - 1))) {
                (Some(first), Some(last)) if first <= last => ((last.0 - first.0) / ms + 1).unsigned_abs(),
                _ => 0,
            },
            When::Calendar(calendar) => calendar.count(after.0, before.0),
        };
        counted.min(limits::SCHEDULE_MISSED_COUNTED_MAX)
    }
}

impl Calendar {
    /// The moments of a day, in order.
    fn moments(&self, date: Date) -> Vec<i64> {
        if !self.cron.fits(date.month(), date.day(), date.weekday().to_sunday_zero_offset()) {
            return Vec::new();
        }
        let mut moments = Vec::new();
        for (hour, minute) in self.cron.times() {
            let time = date.at(hour, minute, 0, 0);
            let first = match self.zone.to_ambiguous_timestamp(time).offset() {
                AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
                AmbiguousOffset::Gap { after, .. } => {
                    // By the offset to come it lies just before the clocks jump.
                    let before = after.to_timestamp(time).ok();
                    before.and_then(|before| self.zone.following(before).next()).map(|jump| jump.timestamp())
                }
                AmbiguousOffset::Fold { before, after } => {
                    let second = after.to_timestamp(time).ok().filter(|_| self.cron.any_hour);
                    moments.extend(second.map(|at| at.as_millisecond()));
                    before.to_timestamp(time).ok()
                }
            };
            moments.extend(first.map(|at| at.as_millisecond()));
        }
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// The day of a moment, or one some days beside it.
    fn day(&self, at: i64, beside: i64) -> Option<Date> {
        let at = Timestamp::from_millisecond(at).ok()?;
        self.zone.to_datetime(at).date().checked_add(beside.days()).ok()
    }

    // Days overlap where clocks are set at midnight: the one beside is always looked at too.

    fn next(&self, after: i64) -> Option<i64> {
        let mut found = None;
        for date in self.day(after, -1)?.series(1.day()).take(DAYS_AHEAD) {
            let first = self.moments(date).into_iter().find(|at| *at > after);
            if let Some(found) = found {
                return first.into_iter().chain([found]).min();
            }
            found = first;
        }
        found
    }

    fn last(&self, after: i64, until: i64) -> Option<i64> {
        let end = self.day(after, -1)?;
        let mut found = None;
        for date in self.day(until, 1)?.series((-1).day()).take_while(|date| *date >= end) {
            let last = self.moments(date).into_iter().rfind(|at| *at <= until && *at > after);
            if found.is_some() {
                return last.max(found);
            }
            found = last;
        }
        found
    }

    fn count(&self, after: i64, before: i64) -> u64 {
        let (Some(begin), Some(end)) = (self.day(after, -1), self.day(before, 1)) else { return 0 };
        let mut counted = 0;
        for date in begin.series(1.day()).take_while(|date| *date <= end) {
            counted += self.moments(date).into_iter().filter(|at| after < *at && *at < before).count() as u64;
            if counted >= limits::SCHEDULE_MISSED_COUNTED_MAX {
                break;
            }
        }
        counted
    }
}

/// `07:30`.
fn time_of_day(text: &str) -> Result<(u8, u8), String> {
    let number =
        |text: &str| -> Option<u8> { (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())? };
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((number(hour)?, number(minute)?)));
    parts.filter(|(hour, minute)| *hour < 24 && *minute < 60).ok_or_else(|| format!("a time of day is 07:30, not {text:?}"))
}

#[cfg(test)]
mod tests;
