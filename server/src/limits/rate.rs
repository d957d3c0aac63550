//! Rates: so many in a second, and so many at once after a quiet time.

use std::{fmt, str::FromStr, time::Duration};

use tokio::time::Instant;

/// How often something may be done; `10:50` is ten times a second, and fifty times at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(Option<Bound>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    per_second: u32,
    burst: u32,
}

/// How much of a [`Rate`] is used up: the time at which none of it is. That is a token bucket (GCRA).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    empty_at: Option<Instant>,
}

impl Bucket {
    /// Uses the rate once; if it is used up, tells for how long.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let Some(Bound { per_second, burst }) = rate.0 else {
            return Ok(());
        };
        let each = Duration::from_secs(1) / per_second;
        let ahead = self
            .empty_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let after = ahead + each;
        let most = each * burst;
        let too_soon = after.saturating_sub(most);
        if !too_soon.is_zero() {
            return Err(too_soon);
        }
        self.empty_at = Some(now + after);
        Ok(())
    }

    /// Whether nothing of it is used, so that it can be forgotten.
    pub(crate) fn is_empty(&self, now: Instant) -> bool {
        self.empty_at.is_none_or(|at| at <= now)
    }
}

impl Rate {
    /// So many a second, and so many at once; both from 1 on.
    pub(super) const fn of(per_second: u32, burst: u32) -> Self {
        Self(Some(Bound { per_second, burst }))
    }

    /// Whether there is no bound.
    pub(crate) fn is_off(self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Bound { per_second, burst }) => write!(f, "{per_second}:{burst}"),
            None => f.write_str("off"),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let number = |text: &str| text.parse().ok().filter(|n| (1..=1_000_000).contains(n));
        let (per_second, burst) = text.split_once(':').unwrap_or((text, text));
        match (number(per_second), number(burst)) {
            (Some(per_second), Some(burst)) => Ok(Self(Some(Bound { per_second, burst }))),
            _ => Err(
                "so many a second and so many at once are expected, such as 10:50, or `off`"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate() {
        let rate: Rate = "10:3".parse().unwrap();
        let mut bucket = Bucket::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);

        assert!((0..3).all(|_| bucket.take(rate, at(0)).is_ok()));
        assert_eq!(bucket.take(rate, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(rate, at(40)), Err(Duration::from_millis(60)));
        assert_eq!(bucket.take(rate, at(100)), Ok(()), "when it said so");
        assert!(bucket.take(rate, at(100)).is_err());
        assert!(!bucket.is_empty(at(399)) && bucket.is_empty(at(400)));
        assert!(
            (0..3).all(|_| bucket.take(rate, at(9000)).is_ok()),
            "a burst again"
        );
        assert!(
            bucket.take(rate, at(9000)).is_err(),
            "and no more than that"
        );
    }

    #[test]
    fn a_rate_can_be_off() {
        let off: Rate = "off".parse().unwrap();
        let mut bucket = Bucket::default();
        let now = Instant::now();

        assert!((0..10_000).all(|_| bucket.take(off, now).is_ok()));
    }

    #[test]
    fn rates_are_read_as_they_are_written() {
        for text in ["10:50", "1:1", "off"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("7".parse::<Rate>().unwrap().to_string(), "7:7");
        for wrong in ["", "0", "0:5", "5:0", "x", "1:2:3", "-1", "1.5"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
