//! Redis's clock, as a process knows it from an answer. A body begins with the time at which it was made, and only
//! Redis's clock can tell that: clocks of machines differ. The scripts put it there; where many jobs are made, at once
//! or one soon after another, whoever makes them does, which takes Redis less for each.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::enqueue::millis;

/// How long an answer tells the time to a producer: another Redis may have taken over, with another
/// clock.
const FRESH: Duration = Duration::from_secs(1);

/// What Redis's clock showed, and when that was heard. Goes on by this machine's monotonic clock: behind by as long as
/// it took to hear the answer, and not ahead, unless Redis's own clock is set back.
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

    /// The one of two that is ahead: it was heard sooner after it was shown.
    pub(super) fn best(self, other: Option<Self>) -> Self {
        other
            .filter(|other| other.now_ms() > self.now_ms())
            .unwrap_or(self)
    }

    fn now_ms(self) -> u64 {
        self.shown_ms + millis(self.heard.elapsed())
    }

    /// A body with the time before all else, as `stamp` in `head.lua` writes it.
    pub(super) fn stamp(self, body: &str) -> String {
        let now_ms = self.now_ms();
        let rest = body.strip_prefix('{').unwrap_or(body);
        format!("{{\"at\":{now_ms},{rest}")
    }
}

/// What the clones of a producer know of Redis's clock.
#[derive(Debug, Default)]
pub(super) struct LastShown(Mutex<Option<Clock>>);

impl LastShown {
    /// What was heard just now, if anything was.
    pub(super) fn fresh(&self) -> Option<Clock> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|clock| clock.heard.elapsed() < FRESH)
    }

    pub(super) fn shows(&self, clock: Clock) {
        let clock = clock.best(self.fresh());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
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

    #[test]
    fn an_answer_that_was_heard_late_does_not_set_the_clock_back() {
        let (early, late) = (Clock::shows(2_000_000), Clock::shows(1_000_000));

        assert!(late.best(Some(early)).now_ms() >= 2_000_000);
        assert!(early.best(Some(late)).now_ms() >= 2_000_000);
        assert!(early.best(None).now_ms() >= 2_000_000);
    }

    #[test]
    fn what_was_heard_a_second_ago_tells_no_time_any_more() {
        let last = LastShown::default();
        assert!(last.fresh().is_none());

        last.shows(Clock::shows(1));
        assert!(last.fresh().is_some());

        let heard = Instant::now().checked_sub(FRESH).unwrap();
        last.shows(Clock { shown_ms: 1, heard });
        assert!(last.fresh().is_none());
    }
}
