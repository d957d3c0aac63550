//! The power, and what a cut of it does to a Redis that syncs its file every second: the end of the file,
//! which the kernel had and the disk had not, is gone.

use std::{
    collections::VecDeque,
    fs::OpenOptions,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{chaos::target::Target, machine::now_ns, number::nanos};

/// What is older than this is on the disk.
const UNSYNCED: Duration = Duration::from_secs(1);
/// Between two looks at the file.
const LOOK: Duration = Duration::from_millis(20);

/// How long the file was, and when.
#[derive(Debug, Default)]
pub(super) struct Power(Mutex<VecDeque<(u64, u64)>>);

impl Power {
    /// Watches the file for as long as the runtime lives.
    pub(super) fn watch(redis: &Target) -> Arc<Self> {
        let power = Arc::new(Self::default());
        let (watching, redis) = (Arc::clone(&power), redis.clone());
        tokio::spawn(async move {
            loop {
                // The time before the size: what was written before that time is in it.
                let t = now_ns();
                if let Ok((_, size)) = redis.file() {
                    let mut sizes = watching.0.lock().unwrap_or_else(PoisonError::into_inner);
                    sizes.push_back((t, size));
                    let old = t.saturating_sub(3 * nanos(UNSYNCED));
                    while sizes.front().is_some_and(|(t, _)| *t < old) {
                        sizes.pop_front();
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        power
    }

    /// Takes from the file of a Redis that was just killed what was not on the disk; gives the time from
    /// which on what it was told is gone.
    pub(super) fn cut(&self, redis: &Target) -> Result<u64> {
        let (path, size) = redis.file()?;
        let sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = now_ns().saturating_sub(nanos(UNSYNCED));
        let older = sizes.iter().rev().find(|(t, _)| *t <= synced);
        let (from, kept) = older
            .or(sizes.front())
            .copied()
            .context("a look at the file")?;
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(kept.min(size))?;
        Ok(from)
    }
}
