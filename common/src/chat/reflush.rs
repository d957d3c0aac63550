//! Reflush: Postgres was lost, or restored to an older point, and Redis counts messages as archived that are not.
//! All that it still holds is flushed once more; what the archive has is left as it is.

use std::sync::LazyLock;

use super::{IdRange, RoomLog, flush::FlushChunk};
use crate::{
    id::{MessageId, RoomId},
    kv::{KvError, Script},
    queue::{EnqueueError, Producer},
};

static REFLUSH: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "have a room flushed once more",
        &[super::LIB, include_str!("lua/reflush.lua")],
    )
});

/// Names a SCAN at most.
const NAMES: usize = 1000;

/// What is flushed once more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reflushed {
    /// Rooms with messages in Redis.
    pub rooms: u64,
    /// Messages that count as new again.
    pub messages: u64,
}

/// Why a reflush stopped. Run again it begins anew, which does no harm.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReflushError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] KvError),
    /// The queue did not take a job.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
}

impl RoomLog {
    /// Has all that Redis holds of every room flushed once more. Needs no Postgres: nothing of it leaves Redis before
    /// that is there again and has it.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn reflush_all(
        &self,
        producer: &Producer,
        mut progress: impl FnMut(Reflushed),
    ) -> Result<Reflushed, ReflushError> {
        let mut done = Reflushed::default();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            let pattern = format!("{}room:*:log", self.keys.prefix());
            scan.arg(cursor)
                .arg("MATCH")
                .arg(pattern)
                .arg("COUNT")
                .arg(NAMES);
            let (next, names): (u64, Vec<String>) =
                self.redis.read("walk over the rooms", &scan).await?;
            for name in names {
                let room = name
                    .strip_prefix(self.keys.prefix())
                    .and_then(|name| name.strip_prefix("room:"));
                let room = room.and_then(|name| name.strip_suffix(":log"));
                let Some(room) = room.and_then(|name| name.parse().ok()) else {
                    continue;
                };
                done.messages += self.reflush(producer, &room).await?;
                done.rooms += 1;
                progress(done);
            }
            if next == 0 {
                return Ok(done);
            }
            cursor = next;
        }
    }

    /// Has all that Redis holds of a room flushed once more; returns how many messages that are.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn reflush(&self, producer: &Producer, room: &RoomId) -> Result<u64, ReflushError> {
        let mut call = REFLUSH.on(self.keys.prefix());
        call.arg(room);
        let (messages, pieces): (u64, MessageId) = call.run(&self.redis).await?;
        if pieces > MessageId::ZERO {
            // Nobody reads them here, for there may be holes between them; the archive may lack them all the same.
            let range = IdRange {
                after: MessageId::ZERO,
                to: pieces,
            };
            let job = FlushChunk {
                room: room.clone(),
                range,
            };
            producer.enqueue(&job).await?;
        }
        Ok(messages)
    }
}
