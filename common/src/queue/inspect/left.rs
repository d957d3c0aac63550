//! What is left of one queue: for who drains it.

use std::sync::LazyLock;

use serde::Serialize;

use super::{Inspector, ONLY_LOOKS, PLACES};
use crate::{
    kv::{KvError, Script},
    queue::Queue,
};

static LEFT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look what is left of a queue",
        &[
            ONLY_LOOKS,
            crate::queue::LIB,
            PLACES,
            include_str!("../lua/left.lua"),
        ],
    )
});

/// Scheduled jobs that one call reads at most.
const CHUNK: usize = 500;

/// What is left of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Jobs that wait.
    pub waiting: u64,
    /// Jobs that are being run.
    pub claimed: u64,
    /// Jobs that no running worker knows. They wait again when one comes that does.
    pub parked: u64,
    /// Jobs that wait for their time, or are dead. They are not counted apart, since that would cost more
    /// the more there are.
    pub kept: u64,
    /// Bodies in its inbox; no worker fetches them while the queue drains.
    pub inbox: u64,
    /// Whether it is paused, so that what waits will go on waiting.
    pub paused: bool,
}

impl Left {
    /// Whether nothing of it waits or is being run.
    pub fn is_drained(&self) -> bool {
        self.waiting == 0 && self.claimed == 0
    }
}

impl Inspector {
    /// Looks what is left of a queue. Costs the same at any depth.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn left(&self, queue: Queue) -> Result<Left, KvError> {
        let mut call = LEFT.on(self.keys.prefix());
        call.arg(queue);
        let (waiting, claimed, jobs, inbox, paused, parked): (u64, u64, i64, u64, u8, u64) =
            call.run(&self.redis).await?;
        let jobs = u64::try_from(jobs).unwrap_or(0);
        Ok(Left {
            waiting,
            claimed,
            parked,
            kept: jobs.saturating_sub(waiting + claimed + parked),
            inbox,
            paused: paused == 1,
        })
    }

    /// Whether a job of a queue waits for its time. Walks over the scheduled jobs of all queues, in small
    /// steps, until it finds one.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn has_scheduled(&self, queue: Queue) -> Result<bool, KvError> {
        let of_queue = |id: &String| id.starts_with(queue.name());
        let mut connection = self.redis.connection().await?;
        let mut cursor = 0_u64;
        loop {
            let (next, found): (u64, Vec<(String, f64)>) = redis::cmd("ZSCAN")
                .arg(self.keys.scheduled())
                .arg(cursor)
                .arg("COUNT")
                .arg(CHUNK)
                .query_async(&mut connection)
                .await
                .map_err(|source| self.redis.failed("walk over the scheduled jobs", source))?;
            if found.iter().any(|(id, _)| of_queue(id)) {
                return Ok(true);
            }
            if next == 0 {
                return Ok(false);
            }
            cursor = next;
        }
    }
}
