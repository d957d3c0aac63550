//! Guesses: wrong secrets that came from an address. While there are too many, right ones are not taken either:
//! whoever guesses must not learn which one was.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    address::Address,
    crowd::{Counted, Crowd},
    rate::{Bucket, Rate},
};

/// Wrong ones in a second, and at once.
const RATE: Rate = Rate::of(1, 10);

/// Wrong secrets by address. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Guesses(Arc<Mutex<Crowd<Address, Bucket>>>);

impl Counted for Bucket {
    fn is_nothing(&self, now: Instant) -> bool {
        self.is_empty(now)
    }
}

impl Guesses {
    /// Checks a secret; counts it if it is wrong. If there were too many, tells for how long.
    pub(super) fn check<T>(
        &self,
        address: Address,
        now: Instant,
        check: impl FnOnce() -> Option<T>,
    ) -> Result<Option<T>, Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.with(&address, now, |wrong| {
            let mut one_more = *wrong;
            one_more.take(RATE, now)?;
            let right = check();
            if right.is_none() {
                *wrong = one_more;
            }
            Ok(right)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from(Ipv4Addr::new(192, 0, 2, last)).into()
    }

    #[test]
    fn after_many_wrong_ones_a_right_one_is_not_taken_for_a_while() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let wrong = || guesses.check(address(1), now, || None::<()>);
        let right = |last, now| guesses.check(address(last), now, || Some(()));

        assert!(
            (0..50).all(|_| right(1, now) == Ok(Some(()))),
            "no bound on right ones"
        );
        assert!((0..10).all(|_| wrong() == Ok(None)));
        assert_eq!(wrong(), Err(Duration::from_secs(1)));
        assert!(right(1, now).is_err());
        assert_eq!(right(2, now), Ok(Some(())), "others are not held by it");
        assert_eq!(right(1, now + Duration::from_secs(1)), Ok(Some(())));
    }
}
