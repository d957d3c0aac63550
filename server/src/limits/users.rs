//! Users: what all connections of one user to this server may do together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::rate::{Bucket, Rate};

/// As many users are kept before it is first looked for those that can be forgotten.
const FEW: usize = 1024;

/// Every user who is connected, or was active lately. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Users(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    users: HashMap<Box<str>, User>,
    look_at: usize,
}

#[derive(Debug, Default)]
struct User {
    connections: usize,
    messages: Bucket,
}

/// One connection of a user, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    users: Users,
    user_id: Box<str>,
}

impl Users {
    /// Counts a connection, unless there are so many.
    pub(super) fn sit(&self, user_id: &str, most: usize) -> Option<Seat> {
        let mut all = self.all();
        let user = all.user(user_id, Instant::now());
        if user.connections >= most {
            return None;
        }
        user.connections += 1;
        Some(Seat {
            users: self.clone(),
            user_id: user_id.into(),
        })
    }

    /// Counts a message.
    pub(super) fn message(&self, user_id: &str, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.all().user(user_id, now).messages.take(rate, now)
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn user(&mut self, user_id: &str, now: Instant) -> &mut User {
        // Whoever comes back at once has not a fresh rate; so users go later than their connections, when
        // there are twice as many as were worth keeping.
        if self.users.len() >= self.look_at.max(FEW) {
            let is_here = |user: &User| user.connections > 0 || !user.messages.is_empty(now);
            self.users.retain(|_, user| is_here(user));
            self.look_at = self.users.len() * 2;
        }
        // Not `entry`, which needs a name of its own for each message.
        if !self.users.contains_key(user_id) {
            self.users.insert(user_id.into(), User::default());
        }
        self.users.entry(user_id.into()).or_default()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.users.all();
        let user = all.user(&self.user_id, Instant::now());
        user.connections = user.connections.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

        let left = users.all().users.len();
        assert_eq!(left, 2, "ada, who is here, and bob");
    }
}
