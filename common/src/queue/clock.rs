//! Redis's clock, as a process knows it from an answer. A body begins with the time at which it was made, and only
//! Redis's clock can tell that: clocks of machines differ. The scripts put it there; where many jobs are made at
//! once, whoever makes them does, which takes Redis an eighth less for each.

use std::time::Instant;

use super::enqueue::millis;

/// What Redis's clock showed, and when that was heard. Goes on by this machine's monotonic clock: behind by as
/// long as the answer took, and never ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    shown_ms: u64,
    heard: Instant,
}

impl Clock {
    /// Redis's clock shows this now.
    pub(super) fn shows(ms: u64) -> Self {
        Self {
            shown_ms: ms,
            heard: Instant::now(),
        }
    }

    /// A body with the time before all else, as `stamp` in `head.lua` writes it.
    pub(super) fn stamp(self, body: &str) -> String {
        let now_ms = self.shown_ms + millis(self.heard.elapsed());
        let rest = body.strip_prefix('{').unwrap_or(body);
        format!("{{\"at\":{now_ms},{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::job::Body;

    #[test]
    fn a_body_with_its_time_is_still_that_body() {
        let body = r#"{"task":"t","args":1}"#;

        let stamped = Clock::shows(1_700_000_000_000).stamp(body);

        assert!(stamped.starts_with(r#"{"at":17000000000"#), "{stamped}");
        assert_eq!(Body::read(&stamped).unwrap().write().unwrap(), body);
    }
}
