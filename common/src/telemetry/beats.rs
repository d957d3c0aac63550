//! A sign of life that is renewed again and again, and how long ago that was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// When something was renewed last. Clones share it.
#[derive(Debug, Clone)]
pub struct Beats {
    start: Instant,
    lasts: Duration,
    /// Milliseconds from the start to the last beat, and 1; 0 if there was none.
    last: Arc<AtomicU64>,
}

impl Beats {
    /// Beats of something that lasts so long without another one.
    pub fn new(lasts: Duration) -> Self {
        Self {
            start: Instant::now(),
            lasts,
            last: Arc::default(),
        }
    }

    /// It was renewed now.
    pub fn beat(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(ms.saturating_add(1), Ordering::Relaxed);
    }

    /// How long ago it was renewed; none if it never was.
    pub fn age(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        let at = self.start + Duration::from_millis(last);
        Some(at.elapsed())
    }

    /// Tells its age to the metrics.
    pub fn tell(&self) {
        let age = self.age().map_or(f64::INFINITY, |age| age.as_secs_f64());
        metrics::gauge!("rhubarb_heartbeat_age_seconds").set(age);
    }

    /// Whether it has not ended.
    pub fn lives(&self) -> bool {
        self.age().is_some_and(|age| age < self.lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_began_or_has_ended_does_not_live() {
        let beats = Beats::new(Duration::from_secs(60));
        assert!(!beats.lives());
        assert_eq!(beats.age(), None);
        beats.clone().beat();
        assert!(beats.lives());
        let over = Beats::new(Duration::ZERO);
        over.beat();
        assert!(!over.lives());
    }
}
