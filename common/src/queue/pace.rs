//! The pace of a split: a master of a large group waits while many of its children wait, so that Redis holds a part
//! of the group at a time, and not all of it.

use std::time::Duration;

use super::JobId;
use crate::kv::{Keys, KvError, Redis};

/// So many children may be left before the next are added: a few milliseconds' work of all that run them, and little
/// enough to stay in the caches of a core (docs/decisions/0039).
const WINDOW: u64 = 5_000;
/// So many if none waits in the queue's list, because that many run, or wait in lanes.
const WINDOW_IF_NONE_WAITS: u64 = 20_000;
/// Between two looks at how many are left.
const LOOK: Duration = Duration::from_millis(5);
/// Looks without any child having settled, after which nobody seems to run them: the master itself may be
/// in the only slot.
const PATIENCE: u32 = 100;

/// A group as Redis has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// Children that were added.
    pub(super) total: u64,
    /// Those of them that have not settled.
    pub(super) left: u64,
}

impl Group {
    const fn settled(self) -> u64 {
        self.total.saturating_sub(self.left)
    }
}

/// The pace of one split.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many had settled when none did for long: until it is another number, it is no use to wait again.
    stuck_at: Option<u64>,
}

impl Pace {
    /// Waits until few enough children are left, as long as some settle.
    pub(super) async fn wait(
        &mut self,
        redis: &Redis,
        keys: &Keys,
        master: JobId,
        mut group: Group,
    ) -> Result<(), KvError> {
        let (mut looks, mut waiting) = (0, 1);
        while group.left > window(waiting) && self.stuck_at != Some(group.settled()) {
            if looks == PATIENCE {
                self.stuck_at = Some(group.settled());
                break;
            }
            tokio::time::sleep(LOOK).await;
            let before = group.settled();
            (group, waiting) = look(redis, keys, master).await?;
            looks = if group.settled() == before {
                looks + 1
            } else {
                0
            };
        }
        Ok(())
    }
}

const fn window(waiting: u64) -> u64 {
    if waiting == 0 {
        WINDOW_IF_NONE_WAITS
    } else {
        WINDOW
    }
}

/// A group, and what waits in its queue's list.
async fn look(redis: &Redis, keys: &Keys, master: JobId) -> Result<(Group, u64), KvError> {
    let mut connection = redis.connection().await?;
    let (total, left, waiting): (Option<u64>, u64, u64) = redis::pipe()
        .atomic()
        .hget(keys.group(master), "total")
        .scard(keys.group_left(master))
        .llen(keys.queue(master.queue()))
        .query_async(&mut connection)
        .await
        .map_err(|source| redis.failed("count a group's children", source))?;
    let total = total.unwrap_or_default();
    Ok((Group { total, left }, waiting))
}
