//! Addresses: what all connections and requests from one address to this server may do together.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    address::Address,
    crowd::{Counted, Crowd},
    rate::{Bucket, Rate},
};

/// Every address from which somebody is connected, or was lately. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses(Arc<Mutex<Crowd<Address, Asked>>>);

#[derive(Debug, Default)]
struct Asked {
    open: usize,
    connects: Bucket,
    requests: Bucket,
}

/// One connection from an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Addresses,
    address: Address,
}

/// Why an address gets no connection more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Too many come at once; for so long.
    TooFast(Duration),
    /// It has too many.
    TooMany,
}

impl Counted for Asked {
    fn is_nothing(&self, now: Instant) -> bool {
        self.open == 0 && self.connects.is_empty(now) && self.requests.is_empty(now)
    }
}

impl Addresses {
    /// Counts a connection, unless there are so many, or too many come at once.
    pub(super) fn enter(
        &self,
        address: Address,
        most: usize,
        rate: Rate,
        now: Instant,
    ) -> Result<Place, Full> {
        self.all().with(&address, now, |asked| {
            asked.connects.take(rate, now).map_err(Full::TooFast)?;
            if asked.open >= most {
                return Err(Full::TooMany);
            }
            asked.open += 1;
            Ok(())
        })?;
        Ok(Place {
            addresses: self.clone(),
            address,
        })
    }

    /// Counts a request without a connection of its own; if there are too many, tells for how long.
    pub(super) fn request(
        &self,
        address: Address,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        self.all()
            .with(&address, now, |asked| asked.requests.take(rate, now))
    }

    fn all(&self) -> MutexGuard<'_, Crowd<Address, Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let leave = |asked: &mut Asked| asked.open = asked.open.saturating_sub(1);
        self.addresses
            .all()
            .with(&self.address, Instant::now(), leave);
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
    fn an_address_has_so_many_connections_at_once() {
        let (addresses, off, now) = (Addresses::default(), "off".parse().unwrap(), Instant::now());
        let enter = |last| addresses.enter(address(last), 2, off, now);

        let (first, second) = (enter(1), enter(1));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(enter(1).err(), Some(Full::TooMany));
        assert!(enter(2).is_ok(), "others are not held by it");
        drop(first);
        assert!(enter(1).is_ok());
    }

    #[test]
    fn an_address_that_comes_back_has_no_fresh_rate() {
        let (addresses, rate, now) = (Addresses::default(), "1:2".parse().unwrap(), Instant::now());
        let enter = |last| addresses.enter(address(last), 9, rate, now).map(drop);

        assert!(enter(1).is_ok() && enter(1).is_ok());
        assert_eq!(enter(1), Err(Full::TooFast(Duration::from_secs(1))));
        assert!(enter(2).is_ok());
    }

    #[test]
    fn requests_and_connections_of_an_address_are_counted_apart() {
        let (addresses, rate, now) = (Addresses::default(), "1:1".parse().unwrap(), Instant::now());
        let request = |last| addresses.request(address(last), rate, now);

        assert_eq!(request(1), Ok(()));
        assert_eq!(request(1), Err(Duration::from_secs(1)));
        assert_eq!(request(2), Ok(()));
        assert!(addresses.enter(address(1), 9, rate, now).is_ok());
    }
}
