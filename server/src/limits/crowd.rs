//! Crowd: of whom something is counted, by a key; those of whom nothing is any more are forgotten in time.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

use tokio::time::Instant;

/// As many are kept before it is first looked for those that can be forgotten.
pub(super) const FEW: usize = 1024;

/// What is counted of one of them.
pub(super) trait Counted: Default {
    /// Whether nothing is, so that it can be forgotten.
    fn is_nothing(&self, now: Instant) -> bool;
}

/// All of whom something is counted.
#[derive(Debug)]
pub(super) struct Crowd<K, V> {
    all: HashMap<K, V>,
    look_at: usize,
}

impl<K, V> Default for Crowd<K, V> {
    fn default() -> Self {
        Self {
            all: HashMap::new(),
            look_at: 0,
        }
    }
}

impl<K: Eq + Hash, V: Counted> Crowd<K, V> {
    /// Looks at one, and at those who can be forgotten when there are twice as many as were worth keeping.
    /// Not when the last connection of one ends: who comes back at once has not a fresh rate.
    pub(super) fn with<Q, T>(&mut self, key: &Q, now: Instant, look: impl FnOnce(&mut V) -> T) -> T
    where
        K: Borrow<Q> + for<'a> From<&'a Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(counted) = self.all.get_mut(key) {
            return look(counted);
        }
        if self.all.len() >= self.look_at.max(FEW) {
            self.all.retain(|_, counted| !counted.is_nothing(now));
            self.look_at = self.all.len() * 2;
        }
        look(self.all.entry(key.into()).or_default())
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
