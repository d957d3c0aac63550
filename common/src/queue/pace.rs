//! The pace of a split: a master of a large group waits while many of its children have not settled, so that
//! Redis holds a part of the group at a time, and not all of it.

use std::time::Duration;

use super::JobId;
use crate::kv::{Keys, KvError, Redis};

/// So many children may be left before the next are added.
const WINDOW: u64 = 20_000;
/// Between two looks at how many are left.
const LOOK: Duration = Duration::from_millis(20);
/// Looks without any child having settled, after which nobody seems to run them: the master itself may be
/// in the only slot.
const PATIENCE: u32 = 25;

/// Waits until at most [`WINDOW`] children are left of the `left` that there were, as long as some settle.
/// False if none do: then it is no use to wait again.
pub(super) async fn wait(
    redis: &Redis,
    keys: &Keys,
    group: JobId,
    mut left: u64,
) -> Result<bool, KvError> {
    let mut looks = 0;
    while left > WINDOW {
        if looks == PATIENCE {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
        let mut connection = redis.connection().await?;
        let now: u64 = redis::cmd("SCARD")
            .arg(keys.group_left(group))
            .query_async(&mut connection)
            .await
            .map_err(|source| redis.failed("count a group's children", source))?;
        looks = if now < left { 0 } else { looks + 1 };
        left = now;
    }
    Ok(true)
}
