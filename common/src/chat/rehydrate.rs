//! Rehydrate: a cold room comes back from the archive to its log. A master reads the bounds of the hot
//! window, a child copies one range, and what follows marks the room as warm. Children may run in any
//! order and twice, and messages may be appended meanwhile.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Chat, IdRange,
    archive::Hot,
    flush::{AskError, ranges},
    log::Ask,
};
use crate::{
    id::{MessageId, RoomId},
    queue::{JobContext, OnDeath, Queue, Task, TaskError, task::exponential},
};

/// Somebody waits for it, and whoever joins later asks again: a few tries are enough.
const TRIES: u32 = 20;

fn backoff(attempt: u32) -> Duration {
    exponential(attempt, Duration::from_millis(200), Duration::from_secs(10))
}

impl Chat {
    /// Asks for the rehydration of a room, unless it is warm or one is under way.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn ask_rehydrate(&self, room: &RoomId) -> Result<(), AskError> {
        if self.log.ask(room, Ask::Rehydrate).await? {
            self.producer
                .enqueue(&RehydrateRoom { room: room.clone() })
                .await?;
        }
        Ok(())
    }
}

/// The master: reads which messages of a room are hot.
#[derive(Debug, Serialize, Deserialize)]
pub struct RehydrateRoom {
    /// The room.
    pub room: RoomId,
}

/// What the split depends on.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    count: u64,
    from_first: bool,
    cuts: Vec<MessageId>,
}

impl Task for RehydrateRoom {
    const NAME: &'static str = "chat.rehydrate_room";
    const QUEUE: Queue = Queue::High;
    const MAX_ATTEMPTS: u32 = TRIES;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
    type Context = Chat;

    async fn run(self, chat: &Chat, job: &JobContext) -> Result<(), TaskError> {
        chat.log.still_under_way(&self.room, Ask::Rehydrate).await?;
        let (window, chunk) = (chat.settings.hot_window, chat.settings.flush_chunk);
        let Hot {
            count,
            from_first,
            cuts,
        } = chat.archive.cut_hot(&self.room, window, chunk).await?;
        let mut split = job
            .fan_out(
                OnDeath::Fail,
                &Plan {
                    count,
                    from_first,
                    cuts,
                },
            )
            .await?;
        let Plan {
            count,
            from_first,
            cuts,
        } = split.plan()?;
        let oldest = cuts.first().copied().unwrap_or_default();
        // The first range begins before the oldest message.
        let mut bounds = cuts;
        if let Some(first) = bounds.first_mut() {
            first.0 -= 1;
        }
        if bounds.len() == 1 {
            bounds.push(oldest);
        }
        for range in ranges(&bounds) {
            split
                .add(&RehydrateChunk {
                    room: self.room.clone(),
                    range,
                })
                .await?;
        }
        split
            .then(&RehydrateDone {
                room: self.room,
                from: if from_first { MessageId::ZERO } else { oldest },
                newest: bounds.last().copied().unwrap_or_default(),
                count,
            })
            .await?;
        Ok(())
    }

    fn backoff(attempt: u32) -> Duration {
        backoff(attempt)
    }
}

/// A child: copies one range of the archive into the room's log. Safe to run twice.
#[derive(Debug, Serialize, Deserialize)]
pub struct RehydrateChunk {
    /// The room.
    pub room: RoomId,
    /// The messages.
    pub range: IdRange,
}

impl Task for RehydrateChunk {
    const NAME: &'static str = "chat.rehydrate_chunk";
    const QUEUE: Queue = Queue::High;
    const MAX_ATTEMPTS: u32 = TRIES;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
    type Context = Chat;

    async fn run(self, chat: &Chat, _job: &JobContext) -> Result<(), TaskError> {
        let entries = chat.archive.range(&self.room, self.range).await?;
        chat.log.restore(&self.room, &entries).await?;
        metrics::counter!("rhubarb_rehydrated_messages_total").increment(entries.len() as u64);
        Ok(())
    }

    fn backoff(attempt: u32) -> Duration {
        backoff(attempt)
    }
}

/// What follows the children: the log is complete from an id on.
#[derive(Debug, Serialize, Deserialize)]
pub struct RehydrateDone {
    /// The room.
    pub room: RoomId,
    /// The id; 0 if the log reaches back to the room's first message.
    pub from: MessageId,
    /// The newest archived id.
    pub newest: MessageId,
    /// How many messages were copied.
    pub count: u64,
}

impl Task for RehydrateDone {
    const NAME: &'static str = "chat.rehydrate_done";
    const QUEUE: Queue = Queue::High;
    const MAX_ATTEMPTS: u32 = TRIES;
    type Context = Chat;

    async fn run(self, chat: &Chat, _job: &JobContext) -> Result<(), TaskError> {
        let Self {
            room,
            from,
            newest,
            count,
        } = self;
        if chat.log.hydrated(&room, from, newest, count).await? {
            tracing::info!(room.id = %room, count, "rehydrated {room}: {count} messages");
        } else {
            // Its keys were deleted or expired meanwhile: the room is still cold.
            tracing::warn!(room.id = %room, "what was restored of {room} is gone again; starting anew");
            chat.ask_rehydrate(&room).await?;
        }
        Ok(())
    }
}
