//! Flush: a room's new messages go from its log to the archive. A master cuts what is new into ranges
//! of ids, a child stores one range, and what follows raises the watermark.
//!
//! It is asked for when the last member leaves, when so many messages are new, when a server drains, and
//! by [`Sweep`], which finds rooms whose oldest new message is too old and needs no server alive.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Chat, IdRange, log::Ask};
use crate::{
    error::Chain,
    id::{MessageId, RoomId},
    kv::KvError,
    queue::{EnqueueError, JobContext, OnDeath, Queue, Task, TaskError, task::exponential},
    shutdown::Shutdown,
};

/// Postgres may be away for long: the jobs go on trying, every half minute at least.
const TRIES: u32 = 100_000;

fn backoff(attempt: u32) -> Duration {
    exponential(attempt, Duration::from_millis(500), Duration::from_secs(30))
}

/// Why a job for a room was not enqueued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] KvError),
    /// The queue did not take it.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
}

impl Chat {
    /// Asks for a flush of a room, unless it is clean or one is under way.
    ///
    /// # Errors
    /// If Redis fails; the sweep asks again later.
    pub async fn ask_flush(&self, room: &RoomId) -> Result<(), AskError> {
        if self.log.ask(room, Ask::Flush).await? {
            self.producer
                .enqueue(&FlushRoom { room: room.clone() })
                .await?;
        }
        Ok(())
    }
}

/// The master: cuts what is new in a room into ranges.
#[derive(Debug, Serialize, Deserialize)]
pub struct FlushRoom {
    /// The room.
    pub room: RoomId,
}

impl Task for FlushRoom {
    const NAME: &'static str = "chat.flush_room";
    const MAX_ATTEMPTS: u32 = TRIES;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
    type Context = Chat;

    async fn run(self, chat: &Chat, job: &JobContext) -> Result<(), TaskError> {
        chat.log.still_under_way(&self.room, Ask::Flush).await?;
        let cuts = chat
            .log
            .cut_unflushed(&self.room, chat.settings.flush_chunk)
            .await?;
        let mut split = job.fan_out(OnDeath::Fail, &cuts).await?;
        let cuts = split.plan()?;
        for range in ranges(&cuts) {
            split
                .add(&FlushChunk {
                    room: self.room.clone(),
                    range,
                })
                .await?;
        }
        let to = cuts.last().copied().unwrap_or_default();
        split
            .then(&FlushDone {
                room: self.room,
                to,
            })
            .await?;
        Ok(())
    }

    fn backoff(attempt: u32) -> Duration {
        backoff(attempt)
    }
}

/// The ranges between the cuts.
pub(super) fn ranges(cuts: &[MessageId]) -> impl Iterator<Item = IdRange> {
    cuts.windows(2).map(|pair| IdRange {
        after: pair[0],
        to: pair[1],
    })
}

/// A child: stores one range of a room's log in the archive. Safe to run twice.
#[derive(Debug, Serialize, Deserialize)]
pub struct FlushChunk {
    /// The room.
    pub room: RoomId,
    /// The messages.
    pub range: IdRange,
}

impl Task for FlushChunk {
    const NAME: &'static str = "chat.flush_chunk";
    const MAX_ATTEMPTS: u32 = TRIES;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
    type Context = Chat;

    async fn run(self, chat: &Chat, job: &JobContext) -> Result<(), TaskError> {
        if job.attempt() > 1 {
            chat.log.still_under_way(&self.room, Ask::Flush).await?;
        }
        let entries = chat.log.range(&self.room, self.range).await?;
        let stored = chat.archive.insert(&self.room, &entries).await?;
        metrics::counter!("rhubarb_flushed_messages_total").increment(stored as u64);
        Ok(())
    }

    fn backoff(attempt: u32) -> Duration {
        backoff(attempt)
    }
}

/// What follows the children: everything up to an id is in the archive.
#[derive(Debug, Serialize, Deserialize)]
pub struct FlushDone {
    /// The room.
    pub room: RoomId,
    /// The id.
    pub to: MessageId,
}

impl Task for FlushDone {
    const NAME: &'static str = "chat.flush_done";
    const QUEUE: Queue = Queue::Default;
    const MAX_ATTEMPTS: u32 = TRIES;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
    type Context = Chat;

    async fn run(self, chat: &Chat, _job: &JobContext) -> Result<(), TaskError> {
        let left = chat.log.flushed(&self.room, self.to).await?;
        tracing::info!(room.id = %self.room, watermark = %self.to, left, "flushed {}", self.room);
        if left >= chat.settings.flush_count {
            chat.ask_flush(&self.room).await?;
        }
        Ok(())
    }

    fn backoff(attempt: u32) -> Duration {
        backoff(attempt)
    }
}

/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Rooms a sweep at most.
const SWEEP_ROOMS: usize = 200;

/// Asks for the flush of rooms whose oldest new message is too old. Every worker does it.
#[derive(Debug)]
pub struct Sweep(pub Chat);

impl Sweep {
    /// Sweeps until the shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let mut well = true;
        loop {
            match self.once().await {
                Ok(_) => well = true,
                Err(error) if std::mem::replace(&mut well, false) => {
                    tracing::warn!(error = %Chain(&error), "cannot look for rooms to flush");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY.min(self.0.settings.flush_age)) => {}
                () = shutdown.asked() => return,
            }
        }
    }

    /// Sweeps once; returns how many rooms are overdue.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn once(&self) -> Result<usize, AskError> {
        let rooms = self.0.log.overdue(SWEEP_ROOMS).await?;
        for room in &rooms {
            self.0.ask_flush(room).await?;
        }
        Ok(rooms.len())
    }
}
