//! The room log: a room's recent messages in Redis, in their one order.

use std::sync::LazyLock;

use redis::{FromRedisValue, ParsingError, Value};

use super::{Content, Entry, IdRange, Settings};
use crate::{
    id::{MessageId, RoomId},
    kv::{Keys, KvError, Redis, Script},
    queue::enqueue::millis,
};

static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "append a message",
        &[super::LIB, include_str!("lua/append.lua")],
    )
});
static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full("read a room", &[super::LIB, include_str!("lua/open.lua")])
});
static ASK: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "ask for a room's job",
        &[super::LIB, include_str!("lua/ask.lua")],
    )
});
static FLUSHED: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "raise a room's watermark",
        &[super::LIB, include_str!("lua/flushed.lua")],
    )
});
static RESTORE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "restore archived messages",
        &[super::LIB, include_str!("lua/restore.lua")],
    )
});
static HYDRATED: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "mark a room as warm",
        &[super::LIB, include_str!("lua/hydrated.lua")],
    )
});
static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "keep rooms in Redis",
        &[super::LIB, include_str!("lua/touch.lua")],
    )
});

/// The logs of all rooms.
#[derive(Debug, Clone)]
pub struct RoomLog {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    settings: Settings,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The message's id; for a resend, the first one's.
    pub id: MessageId,
    /// Whether it was a resend.
    pub duplicate: bool,
    /// Messages in the room since the last flush was asked for.
    pub fresh: u64,
}

/// A room as somebody finds it who joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whether the log is known to be complete from some id on.
    pub warm: bool,
    /// From which id on, if it is warm.
    pub hydrated_from: MessageId,
    /// The newest id.
    pub top: MessageId,
    /// Members on all servers.
    pub members: u64,
    /// Whether the entries are all there is since the last id seen (or up to the newest).
    pub complete: bool,
    /// Whether there are older messages.
    pub more: bool,
    /// Oldest first.
    pub entries: Vec<Entry>,
}

/// Which job is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Flush,
    Rehydrate,
}

impl RoomLog {
    /// The logs under `keys`.
    pub fn new(redis: Redis, keys: Keys, settings: Settings) -> Self {
        Self {
            redis,
            keys,
            settings,
        }
    }

    /// The connection.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The names.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Appends a message and publishes it, in one step. A message that the same sender sent before
    /// with the same own id is not appended again.
    ///
    /// # Errors
    /// If Redis fails; the message may have been appended then, and sending it again is safe.
    pub async fn append(&self, room: &RoomId, content: &Content<'_>) -> Result<Appended, KvError> {
        let mut call = APPEND.on(self.keys.prefix());
        call.arg(room)
            .arg(format!("{} {}", content.user_id, content.client_id))
            .arg(content.write())
            .arg(millis(self.settings.resend_window));
        let (id, duplicate, fresh): (MessageId, u8, u64) = APPEND.run(&self.redis, &call).await?;
        Ok(Appended {
            id,
            duplicate: duplicate != 0,
            fresh,
        })
    }

    /// Reads a room for somebody who joins it: what came since the last id seen, or the newest.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn open(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
    ) -> Result<Opened, KvError> {
        let mut call = OPEN.on(self.keys.prefix());
        call.arg(room)
            .arg(since.map(|id| id.to_string()).unwrap_or_default())
            .arg(limit)
            .arg(millis(self.settings.room_ttl));
        OPEN.run(&self.redis, &call).await
    }

    /// The messages of a range, oldest first.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn range(&self, room: &RoomId, range: IdRange) -> Result<Vec<Entry>, KvError> {
        let mut connection = self.redis.connection().await?;
        redis::cmd("ZRANGEBYSCORE")
            .arg(self.keys.log(room))
            .arg(format!("({}", range.after))
            .arg(range.to)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read a range of a room's log", source))
    }

    /// Up to `limit` messages before an id, oldest first, and from which id on the log is complete.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn before(
        &self,
        room: &RoomId,
        before: MessageId,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<MessageId>), KvError> {
        let mut connection = self.redis.connection().await?;
        let (mut entries, from): (Vec<Entry>, Option<MessageId>) = redis::pipe()
            .atomic()
            .cmd("ZREVRANGEBYSCORE")
            .arg(self.keys.log(room))
            .arg(format!("({before}"))
            .arg("-inf")
            .arg("LIMIT")
            .arg(0)
            .arg(limit)
            .cmd("HGET")
            .arg(self.keys.meta(room))
            .arg("hydrated_from")
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read a page of a room's log", source))?;
        entries.reverse();
        Ok((entries, from))
    }

    /// Up to `limit` messages after an id, oldest first, and from which id on the log is complete.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn after(
        &self,
        room: &RoomId,
        after: MessageId,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<MessageId>), KvError> {
        let mut connection = self.redis.connection().await?;
        redis::pipe()
            .atomic()
            .cmd("ZRANGEBYSCORE")
            .arg(self.keys.log(room))
            .arg(format!("({after}"))
            .arg("+inf")
            .arg("LIMIT")
            .arg(0)
            .arg(limit)
            .cmd("HGET")
            .arg(self.keys.meta(room))
            .arg("hydrated_from")
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read a page of a room's log", source))
    }

    /// The last id of each chunk of what is not in the archive: (watermark, id, id, …, newest].
    ///
    /// # Errors
    /// If Redis fails.
    pub(super) async fn cut_unflushed(
        &self,
        room: &RoomId,
        chunk: usize,
    ) -> Result<Vec<MessageId>, KvError> {
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
        loop {
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

    /// Whether the caller is to enqueue the job: it is needed, and nobody else asked lately.
    pub(super) async fn ask(&self, room: &RoomId, what: Ask) -> Result<bool, KvError> {
        let mut call = ASK.on(self.keys.prefix());
        call.arg(room).arg(match what {
            Ask::Flush => "flushing",
            Ask::Rehydrate => "hydrating",
        });
        call.arg(millis(ASK_AGAIN));
        ASK.run(&self.redis, &call).await
    }

    /// Keeps others from asking for the same job while it goes on.
    pub(super) async fn still_under_way(&self, room: &RoomId, what: Ask) -> Result<(), KvError> {
        let key = match what {
            Ask::Flush => self.keys.flushing(room),
            Ask::Rehydrate => self.keys.hydrating(room),
        };
        let mut connection = self.redis.connection().await?;
        redis::cmd("SET")
            .arg(key)
            .arg(1)
            .arg("PX")
            .arg(millis(ASK_AGAIN))
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("keep a room's job single", source))
    }

    /// Raises the watermark, trims the log and lets a clean room rest. Returns how many messages are
    /// above the watermark.
    pub(super) async fn flushed(&self, room: &RoomId, to: MessageId) -> Result<u64, KvError> {
        let mut call = FLUSHED.on(self.keys.prefix());
        call.arg(room)
            .arg(to)
            .arg(self.settings.hot_window)
            .arg(millis(self.settings.room_ttl));
        FLUSHED.run(&self.redis, &call).await
    }

    /// Rooms whose oldest new message is older than the flush age.
    pub(super) async fn overdue(&self, limit: usize) -> Result<Vec<RoomId>, KvError> {
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

    /// Puts archived messages back, in any order and as often as one likes.
    pub(super) async fn restore(&self, room: &RoomId, entries: &[Entry]) -> Result<(), KvError> {
        for chunk in entries.chunks(RESTORE_CHUNK) {
            let mut call = RESTORE.on(self.keys.prefix());
            call.arg(room).arg(millis(self.settings.room_ttl));
            for entry in chunk {
                call.arg(entry.text());
            }
            RESTORE.run::<i64>(&self.redis, &call).await?;
        }
        Ok(())
    }

    /// Marks a room as warm. False if what was restored is gone.
    pub(super) async fn hydrated(
        &self,
        room: &RoomId,
        from: MessageId,
        newest: MessageId,
        restored: u64,
    ) -> Result<bool, KvError> {
        let mut call = HYDRATED.on(self.keys.prefix());
        call.arg(room)
            .arg(from)
            .arg(newest)
            .arg(restored)
            .arg(millis(self.settings.room_ttl));
        HYDRATED.run(&self.redis, &call).await
    }

    /// Keeps rooms that have members from leaving Redis.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn touch(&self, rooms: &[RoomId]) -> Result<(), KvError> {
        for chunk in rooms.chunks(200) {
            let mut call = TOUCH.on(self.keys.prefix());
            call.arg(millis(self.settings.room_ttl));
            for room in chunk {
                call.arg(room);
            }
            TOUCH.run::<i64>(&self.redis, &call).await?;
        }
        Ok(())
    }
}

/// How long an ask keeps others from asking, unless the job says that it goes on.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);
/// Entries a script call at most.
const RESTORE_CHUNK: usize = 1000;

impl FromRedisValue for Opened {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        type Fields = (u8, MessageId, MessageId, u64, u8, u8, Vec<Entry>);
        let (warm, hydrated_from, top, members, complete, more, entries): Fields =
            FromRedisValue::from_redis_value(value)?;
        Ok(Self {
            warm: warm != 0,
            hydrated_from,
            top,
            members,
            complete: complete != 0,
            more: more != 0,
            entries,
        })
    }
}
