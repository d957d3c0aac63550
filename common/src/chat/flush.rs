//! Flush: a room's new messages go from its log to the archive. A master cuts what is new into ranges
//! of ids, a child stores one range, and what follows raises the watermark.
//!
//! It is asked for when the last member leaves, when so many messages are new, when a server drains, and
//! by [`Sweep`], which finds rooms whose oldest new message is too old and needs no server alive.

use std::{sync::LazyLock, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Chat, IdRange, RoomLog,
    archive::statement,
    ask::{AGAIN, Ask, AskError},
};
use crate::{
    error::Chain,
    id::{MessageId, RoomId},
    kv::{KvError, Script},
    pg::PgError,
    queue::{
        EnqueueError, FanOutError, JobContext, OnDeath, Task, TaskError, enqueue::millis,
        makes_jobs, task::exponential,
    },
    shutdown::Shutdown,
};

static FLUSHED: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "raise a room's watermark",
        &[makes_jobs(), super::LIB, include_str!("lua/flushed.lua")],
    )
});

/// Children of one master at most, so that its cut and its plan stay small after a long outage.
const MOST_CHILDREN: usize = 2000;

/// Postgres may be away for long: the jobs go on trying, every half minute at least.
const TRIES: u32 = 100_000;

fn backoff(attempt: u32) -> Duration {
    exponential(attempt, Duration::from_millis(500), Duration::from_secs(30))
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
    type Output = ();

    async fn run(self, chat: &Chat, job: &JobContext) -> Result<(), TaskError> {
        let begun_ms = now_ms();
        chat.log.still_under_way(&self.room, Ask::Flush).await?;
        let cuts = chat
            .log
            .cut_unflushed(&self.room, chat.settings.flush_chunk)
            .await?;
        let mut split = match job.fan_out(OnDeath::Fail, &cuts).await {
            Err(FanOutError::Redis { source, .. }) if source.is_out_of_memory() => {
                return Ok(chat.flush_at_once(&self.room).await?);
            }
            split => split?,
        };
        let cuts = split.plan()?;
        for range in ranges(&cuts) {
            split
                .add(&FlushChunk {
                    room: self.room.clone(),
                    range,
                })
                .await?;
        }
        let after = cuts.first().copied().unwrap_or_default();
        let to = cuts.last().copied().unwrap_or_default();
        split
            .then(&FlushDone {
                room: self.room,
                after,
                to,
                begun_ms: Some(begun_ms),
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

/// Now by this machine's clock, which is near enough to others' for a metric.
pub(super) fn now_ms() -> u64 {
    millis(std::time::UNIX_EPOCH.elapsed().unwrap_or_default())
}

/// How long ago that was.
pub(super) fn since(ms: u64) -> Duration {
    Duration::from_millis(now_ms().saturating_sub(ms))
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
    type Output = ();

    async fn run(self, chat: &Chat, job: &JobContext) -> Result<(), TaskError> {
        if job.attempt() > 1 {
            chat.log.still_under_way(&self.room, Ask::Flush).await?;
        }
        chat.store(&self.room, self.range).await?;
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
    /// Where the flush began. Jobs of the release before do not say.
    #[serde(default)]
    pub after: MessageId,
    /// The id.
    pub to: MessageId,
    /// When the master began, by its clock: for the metrics only.
    #[serde(default)]
    pub begun_ms: Option<u64>,
}

impl Task for FlushDone {
    const NAME: &'static str = "chat.flush_done";
    const MAX_ATTEMPTS: u32 = TRIES;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
    type Context = Chat;
    type Output = ();

    async fn run(self, chat: &Chat, _job: &JobContext) -> Result<(), TaskError> {
        let (after, to) = (self.after, self.to);
        let shown = chat.carry_out(&self.room, IdRange { after, to }).await?;
        let next = FlushRoom {
            room: self.room.clone(),
        };
        let body = chat.producer.body_of(&next).map_err(AskError::Enqueue)?;
        let (left, again) = chat
            .log
            .flushed(&self.room, IdRange { after, to }, shown, &body)
            .await?;
        if let Some(begun) = self.begun_ms {
            metrics::histogram!("rhubarb_flush_seconds").record(since(begun));
        }
        tracing::info!(room.id = %self.room, watermark = %self.to, left, again, "flushed {}", self.room);
        Ok(())
    }

    fn backoff(attempt: u32) -> Duration {
        backoff(attempt)
    }
}

/// Why a room was not flushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// It could not be asked for.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] KvError),
    /// Postgres failed.
    #[error(transparent)]
    Archive(#[from] PgError),
}

impl Chat {
    /// Stores a range of a room's log in the archive.
    async fn store(&self, room: &RoomId, range: IdRange) -> Result<(), FlushError> {
        let entries = self.log.range(room, range).await?;
        let insert = self.archive.insert(room, &entries);
        let stored = statement("store messages", insert).await?;
        metrics::counter!("rhubarb_flushed_messages_total").increment(stored as u64);
        Ok(())
    }

    /// Flushes a room without jobs. A Redis whose memory is full takes none, and a flush makes room.
    async fn flush_at_once(&self, room: &RoomId) -> Result<(), FlushError> {
        let chunk = self.settings.flush_chunk;
        let cuts = self.log.cut_unflushed(room, chunk).await?;
        for range in ranges(&cuts) {
            self.store(room, range).await?;
            let shown = self.carry_out(room, range).await?;
            self.log.flushed(room, range, shown, "").await?;
        }
        tracing::warn!(room.id = %room, "Redis is full; flushed {room} without jobs");
        Ok(())
    }
}

impl RoomLog {
    /// The last id of each chunk of what is not in the archive: (watermark, id, id, …, newest].
    ///
    /// # Errors
    /// If Redis fails.
    async fn cut_unflushed(&self, room: &RoomId, chunk: usize) -> Result<Vec<MessageId>, KvError> {
        let doing = "cut what is new in a room";
        let mut connection = self.redis.connection().await?;
        let log = self.keys.log(room);
        let watermark: Option<MessageId> = redis::cmd("HGET")
            .arg(self.keys.meta(room))
            .arg("watermark")
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed(doing, source))?;
        let watermark = watermark.unwrap_or_default();
        // By id, not by rank: the log may be trimmed between two calls.
        let mut cuts = vec![watermark];
        while cuts.len() <= MOST_CHILDREN {
            let after = cuts.last().copied().unwrap_or_default();
            let last: Vec<(String, MessageId)> = redis::cmd("ZRANGEBYSCORE")
                .arg(&log)
                .arg(format!("({after}"))
                .arg("+inf")
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(chunk - 1)
                .arg(1)
                .query_async(&mut connection)
                .await
                .map_err(|source| self.redis.failed(doing, source))?;
            let Some((_, id)) = last.first() else { break };
            cuts.push(*id);
        }
        if cuts.len() > MOST_CHILDREN {
            return Ok(cuts); // what is left is still dirty, and asked for again
        }
        let newest: Vec<(String, MessageId)> = redis::cmd("ZRANGE")
            .arg(&log)
            .arg(-1)
            .arg(-1)
            .arg("WITHSCORES")
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed(doing, source))?;
        if let Some((_, newest)) = newest.first()
            && cuts.last().is_some_and(|last| last < newest)
        {
            cuts.push(*newest);
        }
        Ok(cuts)
    }

    /// Raises the watermark, trims the log and lets a clean room rest; not if it was lowered since the flush of
    /// this range began ([`super::reflush`]). Returns how many messages are above the watermark, and whether the job with this body was enqueued to flush them. The archive shows
    /// all changes up to `shown` of what it has.
    async fn flushed(
        &self,
        room: &RoomId,
        range: IdRange,
        shown: MessageId,
        next: &str,
    ) -> Result<(u64, bool), KvError> {
        let mut call = FLUSHED.on(self.keys.prefix());
        call.arg(room)
            .arg(range.to)
            .arg(self.settings.hot_window)
            .arg(millis(self.settings.room_ttl))
            .arg(shown)
            .arg(self.settings.enough_in(room))
            .arg(millis(AGAIN))
            .arg(next)
            .arg(range.after);
        call.run(&self.redis).await
    }

    /// Rooms whose oldest new message is older than the flush age.
    async fn overdue(&self, limit: usize) -> Result<Vec<RoomId>, KvError> {
        let doing = "look for rooms to flush";
        let mut connection = self.redis.connection().await?;
        let (seconds, _): (u64, u64) = redis::cmd("TIME")
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed(doing, source))?;
        let before = (seconds * 1000).saturating_sub(millis(self.settings.flush_age));
        redis::cmd("ZRANGEBYSCORE")
            .arg(self.keys.dirty())
            .arg("-inf")
            .arg(before)
            .arg("LIMIT")
            .arg(0)
            .arg(limit)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed(doing, source))
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
    /// If Redis fails; if it is full, also if Postgres fails.
    pub async fn once(&self) -> Result<usize, FlushError> {
        let rooms = self.0.log.overdue(SWEEP_ROOMS).await?;
        for room in &rooms {
            match self.0.ask_flush_once(room).await {
                Err(AskError::Enqueue(EnqueueError::Full(_))) => {
                    self.0.flush_at_once(room).await?;
                }
                asked => asked?,
            }
        }
        Ok(rooms.len())
    }
}
