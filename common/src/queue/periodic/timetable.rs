//! A timetable: at which times something is due. Times are ms since 1970.

use std::{fmt, sync::Arc, time::Duration};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why there is no timetable.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TimetableError {
    /// The expression is wrong.
    #[error("`{expression}` is not a cron expression (such as `0 9 * * MON-FRI`): {reason}")]
    Expression {
        /// As it was given.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such zone.
    #[error("`{0}` is not a time zone (such as Europe/Zurich or UTC)")]
    Zone(String),
    /// It is too short.
    #[error("a period of {0:?} is shorter than a second")]
    Period(Duration),
}

/// At which times something is due.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Timetable(Kind);

#[derive(Clone)]
enum Kind {
    Cron {
        expression: String,
        zone: TimeZone,
        cron: Arc<Cron>,
    },
    Every {
        ms: u64,
    },
}

/// What is written of a timetable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Cron { cron: String, zone: String },
    Every { every_ms: u64 },
}

impl Timetable {
    /// By a cron expression in a time zone.
    ///
    /// # Errors
    /// If one of them cannot be read, or no time ever matches.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, TimetableError> {
        let wrong = |reason: String| TimetableError::Expression {
            expression: expression.to_owned(),
            reason,
        };
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(expression)
            .map_err(|error| wrong(error.to_string()))?;
        let zone = TimeZone::get(zone).map_err(|_| TimetableError::Zone(zone.to_owned()))?;
        let timetable = Self(Kind::Cron {
            expression: expression.split_whitespace().collect::<Vec<_>>().join(" "),
            zone,
            cron: Arc::new(cron),
        });
        // Leap days come within eight years of any time.
        if timetable.after(0).is_none() {
            return Err(wrong("no time ever matches".to_owned()));
        }
        Ok(timetable)
    }

    /// At all multiples of a period since 1970.
    ///
    /// # Errors
    /// If it is shorter than a second.
    pub fn every(period: Duration) -> Result<Self, TimetableError> {
        let ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        if ms < 1000 {
            return Err(TimetableError::Period(period));
        }
        Ok(Self(Kind::Every { ms }))
    }

    /// The first tick after a time.
    pub fn after(&self, time: u64) -> Option<u64> {
        match &self.0 {
            Kind::Every { ms } => (time / ms).checked_add(1)?.checked_mul(*ms),
            Kind::Cron { cron, zone, .. } => {
                let from = local(zone, time)?;
                in_ms(&cron.find_next_occurrence(&from, false).ok()?).filter(|tick| *tick > time)
            }
        }
    }

    /// The last tick before or at a time.
    pub fn upto(&self, time: u64) -> Option<u64> {
        match &self.0 {
            Kind::Every { ms } => Some(time / ms * ms),
            Kind::Cron { cron, zone, .. } => {
                let from = local(zone, time)?;
                in_ms(&cron.find_previous_occurrence(&from, true).ok()?)
                    .filter(|tick| *tick <= time)
            }
        }
    }

    /// The latest `most` ticks after `from`, up to and with `to`; the oldest first.
    pub fn between(&self, from: u64, to: u64, most: usize) -> Vec<u64> {
        let mut ticks = Vec::new();
        let mut end = to;
        while ticks.len() < most
            && let Some(tick) = self.upto(end).filter(|tick| *tick > from)
        {
            ticks.push(tick);
            end = tick - 1;
        }
        ticks.reverse();
        ticks
    }

    /// The zone in which it reads the clock, if it does.
    pub fn zone(&self) -> Option<&str> {
        match &self.0 {
            Kind::Cron { zone, .. } => zone.iana_name(),
            Kind::Every { .. } => None,
        }
    }
}

/// A time to the second, in a zone.
fn local(zone: &TimeZone, ms: u64) -> Option<Zoned> {
    let seconds = i64::try_from(ms / 1000).ok()?;
    let time = Timestamp::from_second(seconds).ok()?;
    Some(time.to_zoned(zone.clone()))
}

fn in_ms(time: &Zoned) -> Option<u64> {
    u64::try_from(time.timestamp().as_millisecond()).ok()
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Every { ms }, Self::Every { ms: other }) => ms == other,
            (
                Self::Cron {
                    expression, zone, ..
                },
                Self::Cron {
                    expression: other,
                    zone: other_zone,
                    ..
                },
            ) => expression == other && zone == other_zone,
            _ => false,
        }
    }
}

impl Eq for Kind {}

impl TryFrom<Text> for Timetable {
    type Error = TimetableError;

    fn try_from(text: Text) -> Result<Self, TimetableError> {
        match text {
            Text::Cron { cron, zone } => Self::cron(&cron, &zone),
            Text::Every { every_ms } => Self::every(Duration::from_millis(every_ms)),
        }
    }
}

impl From<Timetable> for Text {
    fn from(Timetable(kind): Timetable) -> Self {
        match kind {
            Kind::Cron {
                expression, zone, ..
            } => Self::Cron {
                cron: expression,
                zone: zone.iana_name().unwrap_or_default().to_owned(),
            },
            Kind::Every { ms } => Self::Every { every_ms: ms },
        }
    }
}

/// `0 9 * * MON-FRI`, `every 90s`.
impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Cron { expression, .. } => f.write_str(expression),
            Kind::Every { ms } => write!(f, "every {:?}", Duration::from_millis(*ms)),
        }
    }
}

impl fmt::Debug for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timetable({self}, {:?})", self.zone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        let time: Timestamp = text.parse().unwrap();
        u64::try_from(time.as_millisecond()).unwrap()
    }

    fn text(ms: u64) -> String {
        let time = Timestamp::from_millisecond(i64::try_from(ms).unwrap());
        time.unwrap().to_string()
    }

    /// The ticks of two days in Zurich around a change of its clock.
    fn ticks(expression: &str, from: &str, to: &str) -> Vec<String> {
        let timetable = Timetable::cron(expression, "Europe/Zurich").unwrap();
        let (mut at, end) = (ms(from), ms(to));
        let mut forward = Vec::new();
        while let Some(tick) = timetable.after(at).filter(|tick| *tick <= end) {
            forward.push(tick);
            at = tick;
        }
        let backward = timetable.between(ms(from), end, usize::MAX);
        assert_eq!(forward, backward, "{expression}");
        forward.into_iter().map(text).collect()
    }

    #[test]
    fn a_daily_tick_keeps_to_the_clock_on_the_wall() {
        let days = ticks("0 9 * * *", "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");
        let right = [
            "2026-03-28T08:00:00Z",
            "2026-03-29T07:00:00Z",
            "2026-03-30T07:00:00Z",
        ];
        assert_eq!(days, right);
    }

    #[test]
    fn a_time_that_the_clock_skips_is_caught_up_right_after() {
        // On 29 March 2026 the clock goes from 02:00 to 03:00, which is 01:00 UTC.
        let ticks = ticks("30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(ticks, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    #[test]
    fn a_time_that_the_clock_repeats_counts_once() {
        // On 25 October 2026 the clock goes from 03:00 back to 02:00, which is 01:00 UTC.
        let ticks = ticks("30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(ticks, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn a_quarter_of_an_hour_passes_every_quarter_of_an_hour() {
        for (from, to) in [
            ("2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z"),
            ("2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z"),
        ] {
            assert_eq!(ticks("*/15 * * * *", from, to).len(), 12, "{from}");
        }
    }

    #[test]
    fn forward_and_backward_tell_the_same_ticks_around_every_change() {
        for expression in [
            "0 * * * *",
            "*/20 2 * * *",
            "15 1-3 * * *",
            "59 1,2,3 * * *",
            "0 0 * * *",
            "0 3 * * SUN",
            "30 30 2 * * *",
            "0 2 29 3 *",
            "0 12 L * *",
        ] {
            ticks(expression, "2026-03-27T00:00:00Z", "2026-04-02T00:00:00Z");
            ticks(expression, "2026-10-23T00:00:00Z", "2026-11-02T00:00:00Z");
        }
    }

    #[test]
    fn periods_tick_at_their_multiples() {
        let minute = Timetable::every(Duration::from_secs(60)).unwrap();
        assert_eq!(minute.after(59_999), Some(60_000));
        assert_eq!(minute.after(60_000), Some(120_000));
        assert_eq!(minute.upto(119_999), Some(60_000));
        assert_eq!(minute.between(0, 300_000, 2), [240_000, 300_000]);
        assert!(Timetable::every(Duration::from_millis(999)).is_err());
    }

    #[test]
    fn what_is_wrong_is_refused_with_a_hint() {
        for (expression, zone, hint) in [
            ("0 9 * *", "UTC", "not a cron expression"),
            ("0 25 * * *", "UTC", "not a cron expression"),
            ("soon", "UTC", "such as `0 9 * * MON-FRI`"),
            ("0 0 31 2 *", "UTC", "no time ever matches"),
            ("0 9 * * *", "Europe/Gotham", "not a time zone"),
        ] {
            let error = Timetable::cron(expression, zone).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_timetable_reads_as_it_is_written() {
        for timetable in [
            Timetable::cron("0  9 * * mon-fri", "Europe/Zurich").unwrap(),
            Timetable::every(Duration::from_secs(90)).unwrap(),
        ] {
            let text = serde_json::to_string(&timetable).unwrap();
            assert_eq!(serde_json::from_str::<Timetable>(&text).unwrap(), timetable);
        }
    }
}
