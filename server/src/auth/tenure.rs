//! Tenure: how long a connection may go on as whom it is, and what it is told before its end.

use std::time::Duration;

use tokio::time::Instant;

use crate::person::{Person, Proof};

/// How long a connection may go on.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    /// What comes next, and when; nothing for a guest.
    next: Option<(Instant, Ring)>,
    ends: Instant,
    grace: Duration,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    /// The token expires soon: the client is told.
    Soon {
        /// How long it still is good for.
        left: Duration,
    },
    /// It has expired: nothing of any room any more.
    Over,
    /// It was not renewed: the connection ends.
    Close,
    /// No token has come: the connection ends.
    Silent,
}

impl Tenure {
    /// From `now` on.
    pub(super) fn new(
        person: &Person,
        now: Instant,
        authenticate_within: Duration,
        grace: Duration,
    ) -> Self {
        match person.proof {
            Proof::Word => Self {
                next: None,
                ends: now,
                grace,
            },
            Proof::Awaited => Self {
                next: Some((now + authenticate_within, Ring::Silent)),
                ends: now,
                grace,
            },
            Proof::Token { ends, .. } => {
                let left = ends.saturating_duration_since(now);
                // Not at once, however short it lives: who renews when told must not renew all the time.
                let before = grace.min(left / 2);
                Self {
                    next: Some((ends - before, Ring::Soon { left: before })),
                    ends,
                    grace,
                }
            }
        }
    }

    /// When something is due.
    pub(crate) fn rings_at(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }

    /// What is due now.
    pub(crate) fn ring(&mut self, now: Instant) -> Option<Ring> {
        let (at, ring) = self.next?;
        if now < at {
            return None;
        }
        self.next = match ring {
            Ring::Soon { .. } => Some((self.ends, Ring::Over)),
            Ring::Over => Some((self.ends + self.grace, Ring::Close)),
            Ring::Close | Ring::Silent => None,
        };
        Some(ring)
    }

    /// Whether it has ended: only a fresh token helps.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        match self.next {
            Some((_, Ring::Soon { .. } | Ring::Over)) => now >= self.ends,
            Some((_, Ring::Close)) => true,
            Some((_, Ring::Silent)) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenure(proof: Proof, now: Instant) -> Tenure {
        let person = Person {
            proof,
            ..Person::stranger()
        };
        Tenure::new(
            &person,
            now,
            Duration::from_secs(10),
            Duration::from_secs(5),
        )
    }

    #[test]
    fn a_token_is_said_to_expire_then_over_then_the_end() {
        let now = Instant::now();
        let ends = now + Duration::from_secs(60);
        let mut tenure = tenure(
            Proof::Token {
                expires: ends,
                ends,
            },
            now,
        );
        let at = |seconds| now + Duration::from_secs(seconds);
        let left = Duration::from_secs(5);

        assert_eq!(tenure.rings_at(), Some(at(55)));
        assert_eq!(tenure.ring(at(54)), None);
        assert_eq!(tenure.ring(at(55)), Some(Ring::Soon { left }));
        assert!(!tenure.is_over(at(59)));
        assert!(tenure.is_over(at(60)), "also before it has rung");
        assert_eq!(tenure.ring(at(60)), Some(Ring::Over));
        assert!(tenure.is_over(at(60)));
        assert_eq!(tenure.rings_at(), Some(at(65)));
        assert_eq!(tenure.ring(at(65)), Some(Ring::Close));
    }

    #[test]
    fn who_says_nothing_is_not_waited_for_and_a_guest_may_stay() {
        let now = Instant::now();
        let later = now + Duration::from_secs(10);

        assert_eq!(tenure(Proof::Awaited, now).ring(later), Some(Ring::Silent));
        assert_eq!(tenure(Proof::Word, now).rings_at(), None);
        assert!(!tenure(Proof::Word, now).is_over(later));
    }
}
