//! The chat: rooms whose messages live in Redis while they are hot, and in Postgres for ever.
//!
//! In the order of a message's journey: [`log`] (appended and published in one step), [`bus`] (heard by
//! every server), [`flush`] (moved to the [`archive`] by a master job and its children), [`rehydrate`]
//! (brought back the same way when a cold room is opened). [`history`] reads log and archive as one.
//! [`change`] edits and deletes, and [`amend`] carries that out in the archive; [`archived`] waits until a message
//! is there. [`reflush`] is for when the archive was lost. [`premium`] says whose jobs go first. [`presence`] counts who
//! is there. [`inspect`] shows an operator the rooms. [`Chat`] is what all of them
//! work with.

pub mod amend;
mod append;
pub mod archive;
pub mod archived;
pub mod ask;
pub mod bus;
pub mod change;
mod columns;
pub mod flush;
pub mod history;
pub mod inspect;
pub mod log;
pub mod message;
pub mod premium;
pub mod presence;
pub mod reflush;
pub mod rehydrate;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    error::Chain,
    id::RoomId,
    kv::{Keys, KvError, Redis},
    pg::PgError,
    queue::{
        Producer,
        span::{Span, SpanKind, as_one, spanned},
    },
};

pub use append::{Appended, Posting};
pub use archive::Archive;
pub use change::ChangeError;
pub use log::RoomLog;
pub use message::{Content, Entry, IdRange};

/// How the chat behaves. Servers and workers of one deployment should agree.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// How many messages a room keeps in Redis
    #[arg(
        long,
        env = "HOT_WINDOW",
        default_value_t = 1000,
        value_name = "MESSAGES",
        value_parser = window
    )]
    pub hot_window: usize,

    /// How many messages a child job moves; 1 gives one child per message
    #[arg(long, env = "FLUSH_CHUNK", default_value_t = 1000, value_name = "MESSAGES", value_parser = chunk)]
    pub flush_chunk: usize,

    /// Flush a room when so many of its messages are new, or up to a quarter fewer, another number for each room
    #[arg(
        long,
        env = "FLUSH_COUNT",
        default_value_t = 500,
        value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub flush_count: u64,

    /// Flush a room when its oldest new message is so old
    #[arg(long, env = "FLUSH_AGE", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub flush_age: Duration,

    /// A room that is flushed and idle for so long leaves Redis
    #[arg(long, env = "ROOM_TTL", default_value = "600", value_name = "SECONDS", value_parser = seconds)]
    pub room_ttl: Duration,

    /// How long a resent message is recognised
    #[arg(long, env = "RESEND_WINDOW", default_value = "900", value_name = "SECONDS", value_parser = seconds)]
    pub resend_window: Duration,

    /// How long after its end a server's members still count
    #[arg(long, env = "SERVER_LEASE", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub server_lease: Duration,

    /// How long after somebody premium was in a room its jobs go before others'
    #[arg(long, env = "PREMIUM_FOR", default_value = "3600", value_name = "SECONDS", value_parser = seconds)]
    pub premium_for: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "a number of seconds is expected".to_owned())?;
    if (0.1..=1e7).contains(&number) {
        Ok(Duration::from_secs_f64(number))
    } else {
        Err("between 0.1 and 10000000 seconds are expected".to_owned())
    }
}

fn window(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| *n >= 1)
        .ok_or_else(|| "a number from 1 on is expected".to_owned())
}

fn chunk(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=5000).contains(n))
        .ok_or_else(|| "a number from 1 to 5000 is expected".to_owned())
}

impl Settings {
    /// New messages of a room after which it is flushed. Rooms differ in it, or those that talk alike would be flushed
    /// all at once, again and again, and everything else would wait. Programs that differ in it do no harm: what one
    /// does not ask for, another or the sweep does.
    fn enough_in(&self, room: &RoomId) -> u64 {
        let mut hasher = DefaultHasher::new();
        room.hash(&mut hasher);
        let spread = self.flush_count / 4 + 1;
        self.flush_count - hasher.finish() % spread
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hot_window: 1000,
            flush_chunk: 1000,
            flush_count: 500,
            flush_age: Duration::from_secs(10),
            room_ttl: Duration::from_secs(600),
            resend_window: Duration::from_secs(900),
            server_lease: Duration::from_secs(10),
            premium_for: Duration::from_secs(3600),
        }
    }
}

/// What the chat's parts work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chat {
    /// The rooms in Redis.
    pub log: RoomLog,
    /// The rooms in Postgres.
    pub archive: Archive,
    /// Asks for flushes and rehydrations.
    pub producer: Producer,
    /// How it behaves.
    pub settings: Settings,
    /// How the archive was when somebody last asked.
    pub(crate) archive_seen: ArchiveSeen,
}

/// When it was looked at; whether it was reached; its schema.
pub(crate) type ArchiveSeen = Arc<tokio::sync::Mutex<Option<(Instant, (bool, &'static str))>>>;

impl Chat {
    /// A chat under `keys`. Connects when first used.
    ///
    /// # Errors
    /// If no pool of connections to Postgres can be made.
    pub fn new(
        redis: Redis,
        keys: Keys,
        database_url: &str,
        connections: usize,
        settings: Settings,
    ) -> Result<Self, PgError> {
        let archive = Archive::new(crate::pg::pool(database_url, connections)?);
        let producer = Producer::new(redis.clone(), keys.clone());
        let log = RoomLog::new(redis, keys, settings.clone());
        Ok(Self {
            log,
            archive,
            producer,
            settings,
            archive_seen: ArchiveSeen::default(),
        })
    }

    /// Takes a message: it is kept and published when this returns. Asks for a flush when enough are
    /// new.
    ///
    /// # Errors
    /// If Redis fails; the message may have been kept then, and posting it again is safe.
    pub async fn post(&self, room: &RoomId, content: &Content<'_>) -> Result<Appended, KvError> {
        let content = content.clone();
        let mut kept = self.post_row(&[Posting { room, content }]).await;
        kept.pop().unwrap_or(Err(KvError::ConnectTimeout))
    }

    /// As [`Self::post`], what one sender said in a row, a thousand messages at most: it is kept in this order. Gives an
    /// answer to each.
    pub async fn post_row(&self, said: &[Posting<'_>]) -> Vec<Result<Appended, KvError>> {
        let span = Span::part("append", SpanKind::Client);
        let appending = async { as_one(self.log.append_row(said).await) };
        let (Ok(kept) | Err(kept)) = spanned(span, appending).await;
        for (Posting { room, .. }, kept) in said.iter().zip(&kept) {
            if let Ok(kept) = kept {
                self.ask_flush_of_many(room, *kept).await;
            }
        }
        kept
    }

    /// Asks for a flush when enough entries are new.
    async fn ask_flush_of_many(&self, room: &RoomId, appended: Appended) {
        let fresh = appended.fresh;
        if fresh > 0 && fresh.is_multiple_of(self.settings.enough_in(room)) {
            // The entry is kept all the same, and the sweep asks again.
            if let Err(error) = self.ask_flush(room).await {
                tracing::warn!(error = %Chain(&error), room.id = %room, "cannot ask for a flush");
            }
        }
    }
}

/// What the scripts share.
const LIB: &str = include_str!("lua/lib.lua");
/// What those share that read and write entries.
const ENTRY: &str = include_str!("lua/entry.lua");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rooms_differ_in_how_many_new_messages_are_enough_by_a_quarter_at_most() {
        let enough = |flush_count: u64| -> BTreeSet<u64> {
            let settings = Settings {
                flush_count,
                ..Settings::default()
            };
            let rooms = (0..100).map(|n| format!("room-{n}").parse().unwrap());
            rooms.map(|room| settings.enough_in(&room)).collect()
        };

        let of_many = enough(500);
        assert!(of_many.len() > 50, "{of_many:?}");
        assert!(of_many.iter().all(|n| (375..=500).contains(n)));
        for few in 1..=3 {
            assert_eq!(enough(few), [few].into());
        }
    }
}
