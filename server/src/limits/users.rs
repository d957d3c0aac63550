//! Users: what all connections of one user to this server may do together.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    crowd::{Counted, Crowd},
    rate::{Bucket, Rate},
};

/// Every user who is connected, or was active lately. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Users(Arc<Mutex<Crowd<Box<str>, User>>>);

#[derive(Debug, Default)]
struct User {
    connections: usize,
    messages: Bucket,
    reads: Bucket,
}

/// One connection of a user, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    users: Users,
    user_id: Box<str>,
}

impl Counted for User {
    fn is_nothing(&self, now: Instant) -> bool {
        let rates = [self.messages, self.reads];
        self.connections == 0 && rates.iter().all(|rate| rate.is_empty(now))
    }
}

impl Users {
    /// Counts a connection, unless there are so many.
    pub(super) fn sit(&self, user_id: &str, most: usize) -> Option<Seat> {
        let is_free = self.all().with(user_id, Instant::now(), |user| {
            let is_free = user.connections < most;
            user.connections += usize::from(is_free);
            is_free
        });
        is_free.then(|| Seat {
            users: self.clone(),
            user_id: user_id.into(),
        })
    }

    /// Counts a message.
    pub(super) fn message(&self, user_id: &str, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.is_off() {
            return Ok(());
        }
        self.all()
            .with(user_id, now, |user| user.messages.take(rate, now))
    }

    /// Counts a read over HTTP.
    pub(super) fn read(&self, user_id: &str, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.is_off() {
            return Ok(());
        }
        self.all()
            .with(user_id, now, |user| user.reads.take(rate, now))
    }

    fn all(&self) -> MutexGuard<'_, Crowd<Box<str>, User>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let leave = |user: &mut User| user.connections = user.connections.saturating_sub(1);
        self.users.all().with(&*self.user_id, Instant::now(), leave);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::crowd::FEW, *};

    #[test]
    fn a_user_has_so_many_connections_at_once() {
        let users = Users::default();

        let (first, second) = (users.sit("ada", 2), users.sit("ada", 2));
        assert!(first.is_some() && second.is_some());
        assert!(users.sit("ada", 2).is_none());
        assert!(users.sit("bob", 2).is_some(), "others are not held by it");
        drop(first);
        assert!(users.sit("ada", 2).is_some());
    }

    #[test]
    fn a_user_who_comes_back_has_no_fresh_rate() {
        let users = Users::default();
        let (rate, now) = ("1:2".parse().unwrap(), Instant::now());

        let seat = users.sit("ada", 1);
        assert!(users.message("ada", rate, now).is_ok() && users.message("ada", rate, now).is_ok());
        drop(seat);
        let _seat = users.sit("ada", 1);

        assert!(users.message("ada", rate, now).is_err());
        assert!(users.message("bob", rate, now).is_ok());
    }

    #[test]
    fn users_who_are_gone_are_forgotten() {
        let users = Users::default();
        let (rate, now) = ("1:2".parse().unwrap(), Instant::now());
        let _here = users.sit("ada", 1);
        for n in 1..FEW {
            users.message(&format!("guest-{n}"), rate, now).unwrap();
        }

        let later = now + Duration::from_secs(5);
        users.message("bob", rate, later).unwrap();

        let left = users.all().len();
        assert_eq!(left, 2, "ada, who is here, and bob");
    }
}
