//! Lanes: at most so many jobs of a kind at once, and at most so many in a time. A lane per task limits the
//! task; a lane per tenant is fair to tenants. The rules are in `lua/lanes.lua`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::id::IdError;

/// Longer names are refused.
pub const MAX_LANE: usize = 200;

/// A lane: jobs of one lane wait in a line of their own, first in, first out. At most `width` of them are let
/// onto their queue's list or run at once, over all workers; the next is let go when one has come to its end.
///
/// So a flood in one lane delays others by `width` jobs, not by the flood. A job that waits for another attempt
/// is not in its lane's way, and comes back at the end of its line.
///
/// ```
/// use std::time::Duration;
/// use common::queue::Lane;
///
/// // Two at once of each tenant:
/// let fair = Lane::new("tenant-42", 2);
/// // Ten at once, 100 a minute, of these up to 20 in one go:
/// let slow = Lane::new("mail", 10).rate(100, Duration::from_secs(60)).burst(20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    name: String,
    width: u32,
    rate: Option<Rate>,
}

/// At most `jobs` in `period`, `burst` of them in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// How many.
    pub jobs: u32,
    /// In how many ms.
    pub period_ms: u64,
    /// How many may go at once after a quiet time.
    pub burst: u32,
}

impl Lane {
    /// A lane of that name, `width` jobs wide (at least one).
    ///
    /// All jobs that name it share it, whatever their task and queue. Its limits are those that came last.
    pub fn new(name: impl Into<String>, width: u32) -> Self {
        Self {
            name: name.into(),
            width: width.max(1),
            rate: None,
        }
    }

    /// Lets at most `jobs` of it go in a `period` (at least one in one ms), evenly spaced but for [`Self::burst`].
    #[must_use]
    pub fn rate(mut self, jobs: u32, period: Duration) -> Self {
        let period_ms = super::enqueue::millis(period).max(1);
        self.rate = Some(Rate {
            jobs: jobs.max(1),
            period_ms,
            burst: 1,
        });
        // A tenth of a second's jobs.
        self.burst(u32::try_from(u64::from(jobs) * 100 / period_ms).unwrap_or(u32::MAX))
    }

    /// With a rate: how many may go at once after a quiet time. In any time t, at most `burst` + t × rate go. It is
    /// at least one; a tenth of a second's jobs if not set.
    #[must_use]
    pub fn burst(mut self, burst: u32) -> Self {
        if let Some(rate) = &mut self.rate {
            rate.burst = burst.max(1);
        }
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How wide it is, and how fast.
    pub(super) fn limits(&self) -> (u32, Option<Rate>) {
        (self.width, self.rate)
    }

    /// Whether the scripts can find the name at the head of a body.
    pub(super) fn is_valid(&self) -> bool {
        let strange = |c: char| c.is_control() || c == '"' || c == '\\';
        (1..=MAX_LANE).contains(&self.name.len()) && !self.name.contains(strange)
    }

    /// `<width>` or `<width> <jobs>/<ms>+<burst>`, as it stands in Redis.
    fn read_limits(text: &str) -> Option<(u32, Option<Rate>)> {
        let Some((width, rate)) = text.split_once(' ') else {
            return Some((text.parse().ok()?, None));
        };
        let (jobs, rest) = rate.split_once('/')?;
        let (period, burst) = rest.split_once('+')?;
        let rate = Rate {
            jobs: jobs.parse().ok()?,
            period_ms: period.parse().ok()?,
            burst: burst.parse().ok()?,
        };
        Some((width.parse().ok()?, Some(rate)))
    }
}

/// Reads limits as they stand in Redis: how wide, and how fast.
pub(super) fn limits(text: &str) -> (u32, Option<Rate>) {
    Lane::read_limits(text).unwrap_or((1, None))
}

/// As it stands at the head of a body: `<limits>;<name>`.
impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.width)?;
        if let Some(rate) = self.rate {
            write!(f, " {}/{}+{}", rate.jobs, rate.period_ms, rate.burst)?;
        }
        write!(f, ";{}", self.name)
    }
}

impl FromStr for Lane {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::new(text, "a lane (such as 2;tenant-42 or 10 100/60000+20;mail)");
        let (limits, name) = text.split_once(';').ok_or_else(wrong)?;
        let (width, rate) = Self::read_limits(limits).ok_or_else(wrong)?;
        let name = name.to_owned();
        Ok(Self { name, width, rate })
    }
}

impl Serialize for Lane {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lane {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_reads_as_it_is_written() {
        let plain = Lane::new("a;b", 3);
        let paced = Lane::new("mail", 10)
            .rate(100, Duration::from_secs(60))
            .burst(20);

        assert_eq!(plain.to_string(), "3;a;b");
        assert_eq!(paced.to_string(), "10 100/60000+20;mail");
        for lane in [plain, paced] {
            assert_eq!(lane.to_string().parse::<Lane>().unwrap(), lane);
        }
        for wrong in ["", "3", "x;a", "3 4;a", "3 1/2;a", "-1;a"] {
            assert!(wrong.parse::<Lane>().is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn limits_that_allow_nothing_are_raised() {
        assert_eq!(
            Lane::new("a", 0).rate(0, Duration::ZERO).burst(0),
            Lane::new("a", 1).rate(1, Duration::from_millis(1)).burst(1)
        );
    }

    #[test]
    fn a_name_that_would_need_escapes_is_not_valid() {
        assert!(Lane::new("Zürich 🦀 {1}: 2;3", 1).is_valid());
        for name in ["", "a\"b", "a\\b", "a\nb", &"x".repeat(MAX_LANE + 1)] {
            assert!(!Lane::new(name, 1).is_valid(), "{name:?} passed");
        }
    }
}
