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
        &[super::LIB, super::ENTRY, include_str!("lua/append.lua")],
    )
});
static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full("read a room", &[super::LIB, include_str!("lua/open.lua")])
});
static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "look at a room",
        &[super::LIB, include_str!("lua/look.lua")],
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
    pub(super) settings: Settings,
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

/// A room as somebody sees it who does not join it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whether the log is known to be complete from some id on.
    pub warm: bool,
    /// The newest id that Redis knows of.
    pub top: MessageId,
    /// Members on all servers.
    pub members: u64,
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

    /// Looks at a room without a trace: a cold one stays cold.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn look(&self, room: &RoomId) -> Result<Seen, KvError> {
        let mut call = LOOK.on(self.keys.prefix());
        call.arg(room);
        let (warm, top, members): (u8, MessageId, u64) = LOOK.run(&self.redis, &call).await?;
        Ok(Seen {
            warm: warm != 0,
            top,
            members,
        })
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
        let mut page = redis::cmd("ZREVRANGEBYSCORE");
        page.arg(self.keys.log(room))
            .arg(format!("({before}"))
            .arg("-inf");
        let (mut entries, from) = self.page(room, page, limit).await?;
        entries.reverse();
        // Below it are pieces, which a late child of a rehydration has put there.
        entries.retain(|entry| from.is_none_or(|from| entry.id >= from));
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
        let mut page = redis::cmd("ZRANGEBYSCORE");
        page.arg(self.keys.log(room))
            .arg(format!("({after}"))
            .arg("+inf");
        self.page(room, page, limit).await
    }

    /// Entries that a ZRANGEBYSCORE names, and from which id on the log is complete.
    async fn page(
        &self,
        room: &RoomId,
        mut range: redis::Cmd,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<MessageId>), KvError> {
        type Bounds = (Option<MessageId>, Option<MessageId>);
        type Page = (Vec<Entry>, Bounds, Vec<(String, MessageId)>);
        range.arg("LIMIT").arg(0).arg(limit);
        let mut bounds = redis::cmd("HMGET");
        bounds
            .arg(self.keys.meta(room))
            .arg("hydrated_from")
            .arg("top");
        let mut newest = redis::cmd("ZRANGE");
        newest
            .arg(self.keys.log(room))
            .arg(-1)
            .arg(-1)
            .arg("WITHSCORES");
        let mut connection = self.redis.connection().await?;
        let (entries, (from, top), newest): Page = redis::pipe()
            .atomic()
            .add_command(range)
            .add_command(bounds)
            .add_command(newest)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read a page of a room's log", source))?;
        // As `open.lua` has it: a warm log ends with the newest message.
        let newest = newest.first().map(|(_, id)| *id).unwrap_or_default();
        let from = from.filter(|_| newest == top.unwrap_or_default());
        Ok((entries, from))
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
