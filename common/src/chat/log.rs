//! The room log: a room's recent messages in Redis, in their one order.

use std::sync::LazyLock;

use redis::{FromRedisValue, ParsingError, Value};

use super::{
    Content, Entry, IdRange, Settings,
    append::{Appended, Appends, Posting},
};
use crate::{
    id::{MessageId, RoomId},
    kv::{Keys, KvError, Redis, Script},
    queue::enqueue::millis,
};

static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full("read a room", &[super::LIB, include_str!("lua/open.lua")]).repeatable()
});
static ADOPT: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "tell what a cold room ends with",
        &[super::LIB, include_str!("lua/adopt.lua")],
    )
    .repeatable()
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
    .repeatable()
});

/// The logs of all rooms.
#[derive(Debug, Clone)]
pub struct RoomLog {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    pub(super) settings: Settings,
    appends: Appends,
}

/// A room as somebody finds it who joins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each answers a question of its own, and any mixture occurs"
)]
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
    /// What is to be shown begins after this id.
    pub after: MessageId,
    /// Only the archive can tell what came since the last id seen: the log begins later.
    pub behind: bool,
    /// How many messages of the log are newer than the last id seen.
    pub newer: usize,
    /// In a cold room: how many messages are above the watermark.
    pub unflushed: usize,
    /// In a cold room: the first of those; 0 if there is none.
    pub first_unflushed: MessageId,
    /// Whether everything after `after` can be read: a warm room, or a cold one whose archive was asked.
    pub whole: bool,
    /// Oldest first; empty unless they were asked for.
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

/// Whether the messages themselves are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entries {
    Wanted,
    Unwanted,
}

impl RoomLog {
    /// The logs under `keys`.
    pub fn new(redis: Redis, keys: Keys, settings: Settings) -> Self {
        let appends = Appends::new(redis.clone(), keys.clone(), settings.resend_window);
        Self {
            redis,
            keys,
            settings,
            appends,
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
        let content = content.clone();
        let mut answers = self.append_row(&[Posting { room, content }]).await;
        answers.pop().unwrap_or(Err(KvError::ConnectTimeout))
    }

    /// As [`Self::append`], what one sender said in a row, a thousand messages at most: all in one step, in this order.
    /// Gives an answer to each, as a room that fails is no matter of the others.
    pub async fn append_row(&self, said: &[Posting<'_>]) -> Vec<Result<Appended, KvError>> {
        self.appends.append(said).await
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
        self.find(room, since, limit, Entries::Wanted).await
    }

    /// As [`Self::open`], without the messages: where they begin, and what they will be.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn beginning(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
    ) -> Result<Opened, KvError> {
        self.find(room, since, limit, Entries::Unwanted).await
    }

    async fn find(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
        entries: Entries,
    ) -> Result<Opened, KvError> {
        let mut call = OPEN.on(self.keys.prefix());
        call.arg(room)
            .arg(since.map(|id| id.to_string()).unwrap_or_default())
            .arg(limit)
            .arg(millis(self.settings.room_ttl))
            .arg(u8::from(entries == Entries::Wanted));
        call.run(&self.redis).await
    }

    /// Looks at a room without a trace: a cold one stays cold.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn look(&self, room: &RoomId) -> Result<Seen, KvError> {
        let mut call = LOOK.on(self.keys.prefix());
        call.arg(room);
        let (warm, top, members): (u8, MessageId, u64) = call.run(&self.redis).await?;
        Ok(Seen {
            warm: warm != 0,
            top,
            members,
        })
    }

    /// Tells a cold room what its newest archived message is, so that the next one follows that. `mark` is
    /// what [`Self::begin_rehydration`] gave before the archive was read.
    pub(super) async fn adopt(
        &self,
        room: &RoomId,
        newest: MessageId,
        mark: &str,
    ) -> Result<(), KvError> {
        let mut call = ADOPT.on(self.keys.prefix());
        call.arg(room).arg(newest).arg(mark);
        call.run(&self.redis).await
    }

    /// The messages of a range, oldest first.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn range(&self, room: &RoomId, range: IdRange) -> Result<Vec<Entry>, KvError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command
            .arg(self.keys.log(room))
            .arg(format!("({}", range.after))
            .arg(range.to);
        let doing = "read a range of a room's log";
        self.redis.read(doing, &command).await
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
        let mut page = redis::pipe();
        page.atomic()
            .add_command(range)
            .add_command(bounds)
            .add_command(newest);
        let doing = "read a page of a room's log";
        let (entries, (from, top), newest): Page = self.redis.read_all(doing, &page).await?;
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
            call.run::<i64>(&self.redis).await?;
        }
        Ok(())
    }
}

impl FromRedisValue for Opened {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        type State = (bool, MessageId, MessageId, u64, bool, bool);
        type Place = (MessageId, bool, usize, usize, MessageId);
        type Fields = (State, Place, Vec<Entry>);
        let (
            (warm, hydrated_from, top, members, complete, more),
            (after, behind, newer, unflushed, first_unflushed),
            entries,
        ): Fields = FromRedisValue::from_redis_value(value)?;
        Ok(Self {
            warm,
            hydrated_from,
            top,
            members,
            complete,
            more,
            after,
            behind,
            newer,
            unflushed,
            first_unflushed,
            whole: warm,
            entries,
        })
    }
}
