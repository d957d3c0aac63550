//! Pause, drain, resume: what a person decides about a whole queue. It stands in Redis, so it holds for all
//! workers and producers, and outlives each of them.
//!
//! *Paused*: workers take nothing from it; what runs goes on, and jobs may be enqueued. *Draining*: no job
//! may be enqueued from outside; workers go on, and so do the groups of its masters. Workers hear of it by
//! the bell within milliseconds; the turn script and the enqueue scripts look by themselves, so nothing
//! depends on that.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{LIB, Queue, operate::Operator};
use crate::kv::{KvError, Script};

static CONTROL: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "pause, drain or resume a queue",
        &[LIB, include_str!("lua/control.lua")],
    )
});

/// Since when a queue is paused or drains, and who decided it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// By Redis's clock.
    #[serde(default)]
    pub since_ms: u64,
    /// A person, a program.
    #[serde(default)]
    pub by: String,
}

impl Decision {
    /// Reads what stands in Redis; what somebody wrote there by hand counts, too.
    pub(super) fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| serde_json::from_str(text).unwrap_or_default())
    }
}

/// The queues of these names. A name that somebody has written by hand, and that is no queue's, is passed over.
pub(super) fn known_queues(names: &[String]) -> Vec<Queue> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

impl Operator {
    /// Has all workers take nothing more from a queue, until [`Self::resume`]. What runs goes on. Returns
    /// whether it was not paused before.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn pause(&self, queue: Queue) -> Result<bool, KvError> {
        self.control("pause", queue).await
    }

    /// Refuses new jobs for a queue, until [`Self::resume`], while workers finish what is there. Returns
    /// whether it did not drain before. What is left of it: [`super::inspect::Inspector::left`].
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn drain(&self, queue: Queue) -> Result<bool, KvError> {
        self.control("drain", queue).await
    }

    /// Ends a pause and a drain. Returns whether there was one.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn resume(&self, queue: Queue) -> Result<bool, KvError> {
        self.control("resume", queue).await
    }

    async fn control(&self, action: &str, queue: Queue) -> Result<bool, KvError> {
        self.write_down_all(action, &[queue]).await?;
        let mut call = CONTROL.on(self.keys.prefix());
        let by = serde_json::Value::from(self.by.as_deref().unwrap_or_default()).to_string();
        call.arg(action).arg(queue).arg(by);
        let changed: u8 = call.run(&self.redis).await?;
        Ok(changed == 1)
    }
}
