//! Times of day and days, in the five fields of cron: minute, hour, day of the month, month, weekday. Lists,
//! ranges, steps and English names; a day fits by either of the two day fields if both are restricted.

/// The moments of a calendar without a year or a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
    /// No hour is named: it goes on through the hours.
    pub any_hour: bool,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Sunday is 0, and 7.
pub(crate) const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads `*/5 9-17 * * mon-fri` and its like, or `@daily`.
    pub fn parse(text: &str) -> Result<Cron, String> {
        let text = match text {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            text => text,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("cron has five fields: minute, hour, day, month, weekday; {} are here", fields.len()));
        };
        let weekdays = field("weekday", weekday, 0, 7, &WEEKDAYS)?;
        Ok(Cron {
            minutes: field("minute", minute, 0, 59, &[])?,
            hours: field("hour", hour, 0, 23, &[])?,
            days: field("day", day, 1, 31, &[])?,
            months: field("month", month, 1, 12, &MONTHS)?,
            weekdays: weekdays | (weekdays >> 7),
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
            any_hour: hour.starts_with('*'),
        })
    }

    /// At one time on some weekdays.
    pub fn weekly(hour: u8, minute: u8, weekdays: impl IntoIterator<Item = u8>) -> Cron {
        let weekdays = weekdays.into_iter().fold(0, |bits, day| bits | (1 << day));
        Cron {
            minutes: 1 << minute,
            hours: 1 << hour,
            days: u64::MAX,
            months: u64::MAX,
            weekdays,
            any_day: true,
            any_weekday: false,
            any_hour: false,
        }
    }

    /// Whether there are moments on this day.
    pub fn fits(&self, month: i8, day: i8, weekday: i8) -> bool {
        let (by_day, by_weekday) = (self.days >> day & 1 == 1, self.weekdays >> weekday & 1 == 1);
        let fits = if self.any_day || self.any_weekday { by_day && by_weekday } else { by_day || by_weekday };
        fits && self.months >> month & 1 == 1
    }

    /// The times of such a day, in order.
    pub fn times(&self) -> impl Iterator<Item = (i8, i8)> {
        let hours = (0..24).filter(|hour| self.hours >> hour & 1 == 1);
        hours.flat_map(|hour| (0..60).filter(|minute| self.minutes >> minute & 1 == 1).map(move |minute| (hour, minute)))
    }
}

/// One field as bits.
fn field(name: &str, text: &str, min: u8, max: u8, names: &[&str]) -> Result<u64, String> {
    let wrong = || format!("{name} {text:?}: a number from {min} to {max}, a-b, *, a list with commas, a step such as */5");
    let number = |text: &str| -> Result<u8, String> {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name)).map(|place| place as u8 + min);
        let digits = || text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        named.or_else(digits).filter(|number| (min..=max).contains(number)).ok_or_else(wrong)
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u8>().ok().filter(|step| (1..=max).contains(step)).ok_or_else(wrong)?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None if range == "*" => (min, max),
            None if part.contains('/') => (number(range)?, max),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(wrong());
        }
        bits |= (from..=to).step_by(step.into()).fold(0u64, |bits, number| bits | (1 << number));
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_people_know_them() {
        let times = |text: &str| Cron::parse(text).unwrap().times().collect::<Vec<_>>();
        assert_eq!(times("*/20 7,9-10 * * *"), [7, 9, 10].map(|h| [(h, 0), (h, 20), (h, 40)]).concat());
        assert_eq!(times("30 4-10/3 * * *"), [(4, 30), (7, 30), (10, 30)]);
        assert_eq!(times("50/5 0 * * *"), [(0, 50), (0, 55)]);
        assert_eq!((times("@daily"), times("@hourly").len()), (vec![(0, 0)], 24));
        let fits = |text: &str, month, day, weekday| Cron::parse(text).unwrap().fits(month, day, weekday);
        assert!(fits("0 0 * * 7", 5, 3, 0) && fits("0 0 * * SUN", 5, 3, 0) && !fits("0 0 * * 1-6", 5, 3, 0));
        assert!(fits("0 0 1 Mar *", 3, 1, 4) && !fits("0 0 1 mar *", 4, 1, 4));
        assert!(fits("0 0 13 * fri", 3, 13, 1) && fits("0 0 13 * fri", 3, 12, 5), "either, if both are named");
        assert!(!fits("0 0 */2 * fri", 3, 12, 5) && fits("0 0 */2 * fri", 3, 13, 5), "a step from * names none");
    }

    #[test]
    fn what_is_no_cron_is_refused() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "1,,2 * * * *",
            "+1 * * * *",
            "- * * * *",
            "*/ * * * *",
            "monday * * * *",
            "@never",
        ] {
            assert!(Cron::parse(bad).is_err(), "{bad}");
        }
    }
}
