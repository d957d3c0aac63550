//! Rehydrate: a cold room comes back from the archive to its log. A master reads the bounds of the hot
//! window, a child copies one range, and what follows marks the room as warm. Children may run in any
//! order and twice, and messages may be appended meanwhile.

use std::{sync::LazyLock, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Chat, Entry, IdRange, RoomLog,
    archive::{Hot, statement},
    ask::Ask,
    flush::{now_ms, ranges, since},
};
use crate::{
    id::{MessageId, RoomId},
    kv::{KvError, Script},
    queue::{JobContext, OnDeath, Task, TaskError, enqueue::millis, task::exponential},
};

static BEGIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "begin to rehydrate a room",
        &[super::LIB, include_str!("lua/begin.lua")],
    )
    .repeatable()
});
static RESTORE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "restore archived messages",
        &[super::LIB, super::ENTRY, include_str!("lua/restore.lua")],
    )
});
static HYDRATED: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "mark a room as warm",
        &[super::LIB, include_str!("lua/hydrated.lua")],
    )
});

/// Postgres may be away for long, and who is in the room waits for its history: the jobs go on trying.
const TRIES: u32 = 100_000;

fn backoff(attempt: u32) -> Duration {
    exponential(attempt, Duration::from_millis(200), Duration::from_secs(10))
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
    mark: String,
}

impl Task for RehydrateRoom {
    const NAME: &'static str = "chat.rehydrate_room";
    const MAX_ATTEMPTS: u32 = TRIES;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
    type Context = Chat;
    type Output = ();

    async fn run(self, chat: &Chat, job: &JobContext) -> Result<(), TaskError> {
        let begun_ms = now_ms();
        chat.log.still_under_way(&self.room, Ask::Rehydrate).await?;
        // Before the archive is read: what goes from then on must be seen in the end.
        let mark = chat.log.begin_rehydration(&self.room).await?;
        let (window, chunk) = (chat.settings.hot_window, chat.settings.flush_chunk);
        let Hot {
            count,
            from_first,
            cuts,
        } = statement(
            "read bounds",
            chat.archive.cut_hot(&self.room, window, chunk),
        )
        .await?;
        if let (Some(&after), Some(&to)) = (cuts.first(), cuts.last()) {
            // Redis may have lost a change that was stored, and with it the flush that was to carry it out.
            let hot = IdRange { after, to };
            chat.carry_out_archived(&self.room, hot).await?;
        }
        let mut split = job
            .fan_out(
                OnDeath::Fail,
                &Plan {
                    count,
                    from_first,
                    cuts,
                    mark,
                },
            )
            .await?;
        let Plan {
            count,
            from_first,
            cuts,
            mark,
        } = split.plan()?;
        for range in ranges(&cuts) {
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
                from: match cuts.first() {
                    Some(before_oldest) if !from_first => MessageId(before_oldest.0 + 1),
                    _ => MessageId::ZERO,
                },
                newest: cuts.last().copied().unwrap_or_default(),
                count,
                mark,
                begun_ms: Some(begun_ms),
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
    const MAX_ATTEMPTS: u32 = TRIES;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
    type Context = Chat;
    type Output = ();

    async fn run(self, chat: &Chat, job: &JobContext) -> Result<(), TaskError> {
        if job.attempt() > 1 {
            chat.log.still_under_way(&self.room, Ask::Rehydrate).await?;
        }
        let reading = chat.archive.range(&self.room, self.range);
        let entries = statement("read messages", reading).await?;
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
    /// What [`RoomLog::begin_rehydration`] gave.
    pub mark: String,
    /// When the master began, by its clock: for the metrics only.
    #[serde(default)]
    pub begun_ms: Option<u64>,
}

impl Task for RehydrateDone {
    const NAME: &'static str = "chat.rehydrate_done";
    const MAX_ATTEMPTS: u32 = TRIES;
    type Context = Chat;
    type Output = ();

    async fn run(self, chat: &Chat, _job: &JobContext) -> Result<(), TaskError> {
        let Self { room, count, .. } = &self;
        if chat.log.hydrated(&self).await? {
            if let Some(begun) = self.begun_ms {
                metrics::histogram!("rhubarb_rehydrate_seconds").record(since(begun));
            }
            tracing::info!(room.id = %room, count, "rehydrated {room}: {count} messages");
        } else {
            // Its keys were deleted or expired meanwhile: the room is still cold.
            tracing::warn!(room.id = %room, "what was restored of {room} is gone again; starting anew");
            chat.ask_rehydrate(room).await?;
        }
        Ok(())
    }
    fn backoff(attempt: u32) -> Duration {
        backoff(attempt)
    }
}

/// Entries a script call at most.
const RESTORE_CHUNK: usize = 1000;

impl RoomLog {
    /// Marks the room, so that it is seen in the end if its keys expired or were deleted meanwhile.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn begin_rehydration(&self, room: &RoomId) -> Result<String, KvError> {
        let mut call = BEGIN.on(self.keys.prefix());
        call.arg(room).arg(millis(self.settings.room_ttl));
        call.run(&self.redis).await
    }

    /// Puts archived messages back, in any order and as often as one likes.
    async fn restore(&self, room: &RoomId, entries: &[Entry]) -> Result<(), KvError> {
        for chunk in entries.chunks(RESTORE_CHUNK) {
            let mut call = RESTORE.on(self.keys.prefix());
            call.arg(room).arg(millis(self.settings.room_ttl));
            for entry in chunk {
                call.arg(entry.text());
            }
            call.run::<i64>(&self.redis).await?;
        }
        Ok(())
    }

    /// Marks a room as warm. False if something went since its rehydration began.
    pub(super) async fn hydrated(&self, done: &RehydrateDone) -> Result<bool, KvError> {
        let mut call = HYDRATED.on(self.keys.prefix());
        call.arg(&done.room)
            .arg(done.from)
            .arg(done.newest)
            .arg(done.count)
            .arg(&done.mark)
            .arg(millis(self.settings.room_ttl));
        call.run(&self.redis).await
    }
}
