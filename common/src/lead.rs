//! A lead: how far somebody is ahead of a pace, by which so long on average one thing is to be after the one before it.
//! Who is ahead may pause, so that more gathers and is done together.

use std::time::Duration;

use tokio::time::Instant;

/// How far somebody is ahead of a pace. Nobody is behind: time that was not used is lost.
#[derive(Debug)]
pub struct Lead {
    noted: Instant,
    /// How far it was ahead then.
    ahead: Duration,
}

impl Default for Lead {
    fn default() -> Self {
        Self {
            noted: Instant::now(),
            ahead: Duration::ZERO,
        }
    }
}

impl Lead {
    /// Takes note of what is to take so much time. It is never ahead by more than `most`.
    pub fn note(&mut self, time: Duration, most: Duration) {
        let now = Instant::now();
        self.ahead = (self.ahead_at(now) + time).min(most);
        self.noted = now;
    }

    /// How far it is ahead now.
    pub fn ahead(&self) -> Duration {
        self.ahead_at(Instant::now())
    }

    fn ahead_at(&self, now: Instant) -> Duration {
        self.ahead.saturating_sub(now - self.noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_noted_adds_up_to_the_most() {
        let mut lead = Lead::default();
        for _ in 0..3 {
            lead.note(MOST / 2, MOST);
        }
        assert!((MOST / 2..=MOST).contains(&lead.ahead()));
    }

    #[test]
    fn time_takes_it_back() {
        let mut lead = Lead::default();
        lead.note(MOST, MOST);

        assert_eq!(lead.ahead_at(lead.noted + MOST / 4), MOST * 3 / 4);
        assert_eq!(lead.ahead_at(lead.noted + MOST * 2), Duration::ZERO);
    }
}
