//! The chat on a real Redis and Postgres: real workers, and accidents made by hand.

mod append;
mod append_batch;
mod archive;
mod archived;
mod asks;
mod bus;
mod deleted;
mod edits;
mod edits_archive;
mod edits_lost;
mod edits_model;
mod flush;
mod flush_trouble;
mod hazards;
mod history;
mod inspect;
mod leave;
mod open;
mod premium;
mod presence;
mod reflush;
mod rehydrate;
mod rehydrate_trouble;

use std::{collections::BTreeMap, time::Duration};

use common::{
    chat::{Content, Entry, IdRange, Settings},
    id::{MessageId, RoomId},
    testing::{TestChat, eventually},
};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

pub(crate) fn room(name: &str) -> RoomId {
    name.parse().unwrap()
}

/// What Ada writes; the text is its own id too.
pub(crate) fn by_ada(text: &str) -> Content<'_> {
    Content {
        user_id: "ada".into(),
        username: "Ada".into(),
        client_id: text.into(),
        message: text.into(),
    }
}

pub(crate) fn ids(entries: &[Entry]) -> Vec<MessageId> {
    entries.iter().map(|entry| entry.id).collect()
}

pub(crate) fn texts(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| entry.content().unwrap().message.into_owned())
        .collect()
}

/// Each entry names the one before it; the first one names `first`.
pub(crate) fn assert_chain(entries: &[Entry], first: MessageId) {
    let mut last = first;
    for entry in entries {
        assert_eq!(entry.prev, last, "before {}", entry.id);
        assert!(entry.id > last, "{} after {last}", entry.id);
        last = entry.id;
    }
}

pub(crate) fn between(after: MessageId, to: MessageId) -> IdRange {
    IdRange { after, to }
}

/// A hot window of so many messages, in chunks of so many.
pub(crate) fn windowed(hot_window: usize, flush_chunk: usize) -> Settings {
    Settings {
        hot_window,
        flush_chunk,
        ..Settings::default()
    }
}

/// A lock that keeps everybody else from the table of messages.
pub(crate) struct TableLock<'a> {
    chat: &'a TestChat,
    connection: AsyncPgConnection,
}

impl<'a> TableLock<'a> {
    pub(crate) async fn take(chat: &'a TestChat) -> Self {
        let mut connection = chat.database.connect().await;
        connection
            .batch_execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        Self { chat, connection }
    }

    /// Waits until somebody waits for the lock.
    pub(crate) async fn is_awaited(&self) {
        use diesel_async::RunQueryDsl;
        let mut looking = self.chat.database.connect().await;
        let waiting = format!(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = '{}.messages'::regclass",
            self.chat.database.schema()
        );
        loop {
            let count = diesel::sql_query(&waiting)
                .execute(&mut looking)
                .await
                .unwrap();
            if count > 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn release(mut self) {
        self.connection.batch_execute("COMMIT").await.unwrap();
    }
}

/// A time that does not come while a test runs.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// What tests do with a chat and see of it.
pub(crate) trait Look {
    /// Ada posts a text.
    async fn say(&self, room: &RoomId, text: &str) -> MessageId;
    /// Ada posts so many numbers, from 1.
    async fn say_many(&self, room: &RoomId, count: usize) -> Vec<MessageId>;
    /// The room's log as it lies in Redis.
    async fn log(&self, room: &RoomId) -> Vec<Entry>;
    /// The room's archive as it lies in Postgres.
    async fn archived(&self, room: &RoomId) -> Vec<Entry>;
    async fn meta(&self, room: &RoomId) -> BTreeMap<String, String>;
    async fn is_dirty(&self, room: &RoomId) -> bool;
    /// Has the room flushed and waits for it.
    async fn flush(&self, room: &RoomId);
    /// Waits until the room is clean and no flush of it goes on.
    async fn is_flushed(&self, room: &RoomId);
    /// Has the room rehydrated and waits for it.
    async fn warm(&self, room: &RoomId);
    /// Removes the room's log and what belongs to it, as their expiry would.
    async fn expire(&self, room: &RoomId);
    /// Waits until no job is left.
    async fn is_idle(&self);
    /// The keys of the room, without their common beginning.
    async fn keys_of(&self, room: &RoomId) -> Vec<String>;
    /// The rest of a key's life in ms; -1 if it does not expire, -2 if there is none.
    async fn life_of(&self, key: &str) -> i64;
    async fn stat(&self, name: &str) -> u64;
}

impl Look for TestChat {
    async fn say(&self, room: &RoomId, text: &str) -> MessageId {
        self.chat.post(room, &by_ada(text)).await.unwrap().id
    }

    async fn say_many(&self, room: &RoomId, count: usize) -> Vec<MessageId> {
        let mut ids = Vec::new();
        for number in 1..=count {
            ids.push(self.say(room, &number.to_string()).await);
        }
        ids
    }

    async fn log(&self, room: &RoomId) -> Vec<Entry> {
        let key = self.queue.keys.log(room);
        self.queue.command(&["ZRANGE", &key, "0", "-1"]).await
    }

    async fn archived(&self, room: &RoomId) -> Vec<Entry> {
        let all = between(MessageId::ZERO, MessageId::MAX);
        self.chat.archive.range(room, all).await.unwrap()
    }

    async fn meta(&self, room: &RoomId) -> BTreeMap<String, String> {
        let key = self.queue.keys.meta(room);
        self.queue.command(&["HGETALL", &key]).await
    }

    async fn is_dirty(&self, room: &RoomId) -> bool {
        let dirty: Option<String> = self
            .queue
            .command(&["ZSCORE", &self.queue.keys.dirty(), room.as_str()])
            .await;
        dirty.is_some()
    }

    async fn flush(&self, room: &RoomId) {
        self.chat.ask_flush(room).await.unwrap();
        self.is_flushed(room).await;
    }

    async fn is_flushed(&self, room: &RoomId) {
        let flushing = self.queue.keys.flushing(room);
        eventually(&format!("{room} is flushed"), async || {
            let busy = self.is_dirty(room).await || self.life_of(&flushing).await > 0;
            (!busy).then_some(())
        })
        .await;
    }

    async fn warm(&self, room: &RoomId) {
        eventually(&format!("{room} is warm"), async || {
            self.chat.ask_rehydrate(room).await.unwrap();
            let opened = self.chat.log.open(room, None, 1).await.unwrap();
            opened.warm.then_some(())
        })
        .await;
    }

    async fn expire(&self, room: &RoomId) {
        let keys = &self.queue.keys;
        let _: usize = self
            .queue
            .command(&[
                "DEL",
                &keys.log(room),
                &keys.meta(room),
                &keys.changed(room),
            ])
            .await;
    }

    async fn is_idle(&self) {
        self.queue.until_drained().await;
    }

    async fn keys_of(&self, room: &RoomId) -> Vec<String> {
        let beginning = format!("room:{room}:");
        let names = self.queue.key_names().await;
        names
            .iter()
            .filter_map(|name| name.strip_prefix(&beginning))
            .map(str::to_owned)
            .collect()
    }

    async fn life_of(&self, key: &str) -> i64 {
        self.queue.command(&["PTTL", key]).await
    }

    async fn stat(&self, name: &str) -> u64 {
        let value: Option<u64> = self
            .queue
            .command(&["HGET", &self.queue.keys.stats(), name])
            .await;
        value.unwrap_or(0)
    }
}
