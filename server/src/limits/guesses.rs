//! Guesses: wrong secrets that came from an address. Right ones are always taken, so whoever guesses from an address
//! keeps nobody else there out: what keeps a guess from being right is the length of the secrets.

use std::{
    hash::{BuildHasher, RandomState},
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
pub(super) struct Guesses {
    all: Arc<Mutex<Crowd<Address, Wrong>>>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Wrong {
    used: Bucket,
    /// The hash of the latest: a program with an old secret sends it again and again, and learns nothing by that.
    latest: Option<u64>,
}

impl Counted for Wrong {
    fn is_nothing(&self, now: Instant) -> bool {
        self.used.is_empty(now)
    }
}

impl Guesses {
    /// Checks a secret; counts it if it is wrong. If there were too many, tells for how long.
    pub(super) fn check<T>(
        &self,
        address: Address,
        secret: &str,
        now: Instant,
        check: impl FnOnce() -> Option<T>,
    ) -> Result<Option<T>, Duration> {
        let right = check();
        if right.is_some() {
            return Ok(right);
        }
        let hash = self.hasher.hash_one(secret);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.with(&address, now, |wrong| {
            if wrong.latest != Some(hash) {
                wrong.used.take(RATE, now)?;
                wrong.latest = Some(hash);
            }
            Ok(None)
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
    fn many_wrong_ones_are_slowed_down_and_right_ones_never_are() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let wrong =
            |secret: u32, now| guesses.check(address(1), &secret.to_string(), now, || None::<()>);
        let right = |last, now| guesses.check(address(last), "right", now, || Some(()));

        assert!((0..50).all(|_| right(1, now) == Ok(Some(()))));
        assert!((0..10).all(|n| wrong(n, now) == Ok(None)));
        assert_eq!(wrong(10, now), Err(Duration::from_secs(1)));
        assert_eq!(right(1, now), Ok(Some(())), "nobody is kept out by it");
        assert_eq!(right(2, now), Ok(Some(())));
        assert_eq!(wrong(11, now + Duration::from_secs(1)), Ok(None));
        assert!(wrong(12, now + Duration::from_secs(1)).is_err());
    }

    #[test]
    fn the_same_wrong_one_again_costs_nothing() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let wrong =
            |secret: u32| guesses.check(address(1), &secret.to_string(), now, || None::<()>);

        assert!((0..50).all(|_| wrong(1) == Ok(None)));
        assert!((2..11).all(|n| wrong(n) == Ok(None)), "one was used up");
        assert!(wrong(11).is_err());
        assert_eq!(wrong(10), Ok(None), "it is known to be wrong");
    }
}
