//! Inspect: what a person or a program asks of the rooms. It changes nothing, and reads no messages;
//! [`super::ask`] asks for a room's jobs by hand.
//!
//! [`Rooms::show`] for some rooms by name, [`list`] for those that Redis has a set of, page by page. Nothing here
//! costs more where a room's log is longer; only [`list::Which::All`] costs more where Redis holds more, and
//! goes in bounded steps. Times are Redis's own.

pub mod list;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Serialize;

use crate::{
    id::{MessageId, RoomId},
    kv::{Keys, KvError, Redis, Script},
    queue::Queue,
};

static ROOM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look at rooms",
        &[
            "#!lua flags=no-writes",
            super::LIB,
            include_str!("../lua/room.lua"),
        ],
    )
    .repeatable()
});

/// Looks at the rooms under one namespace.
#[derive(Debug, Clone)]
pub struct Rooms {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
}

/// The rooms at one instant.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// The instant.
    pub now_ms: u64,
    /// Rooms with messages that are not in the archive yet.
    pub dirty: u64,
    /// Since when the oldest of these messages waits.
    pub unflushed_since_ms: Option<u64>,
    /// Rooms whose jobs go before others'.
    pub premium: u64,
    /// Servers whose lease runs.
    pub servers: Vec<ServerStatus>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// Its identity.
    pub id: String,
    /// It has no members any more if it does not renew its lease until then.
    pub alive_until_ms: u64,
    /// Rooms with a member on it.
    pub rooms: u64,
}

/// One room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomStatus {
    /// When this was so.
    pub now_ms: u64,
    /// Its name.
    pub room: RoomId,
    /// Whether its log is complete from some id on. If not, it is cold: a join asks for its rehydration.
    pub warm: bool,
    /// From which id on the log is complete, if it is warm; 0: from the room's first message on.
    pub hydrated_from: Option<MessageId>,
    /// The newest message.
    pub top: MessageId,
    /// Up to there it is in the archive.
    pub watermark: MessageId,
    /// Messages in its log.
    pub messages: u64,
    /// Of these, those that are not in the archive yet.
    pub unflushed: u64,
    /// Since when the oldest of them waits.
    pub unflushed_since_ms: Option<u64>,
    /// Changed messages that the archive does not show yet.
    pub changed: u64,
    /// A flush is under way, in this queue.
    pub flushing: Option<Queue>,
    /// Another flush is to follow it.
    pub flush_again: bool,
    /// A rehydration is under way, in this queue.
    pub hydrating: Option<Queue>,
    /// When it leaves Redis, if nobody joins it or writes.
    pub expires_ms: Option<u64>,
    /// Until when its jobs go before others', if they do.
    pub premium_until_ms: Option<u64>,
    /// Members on all servers whose lease runs.
    pub members: u64,
    /// The same by server.
    pub members_by_server: BTreeMap<String, u64>,
    /// Members of servers whose lease has ended: they fade.
    pub fading: u64,
}

impl RoomStatus {
    /// Whether Redis has anything of it but its name.
    pub fn is_here(&self) -> bool {
        self.messages > 0 || self.top > MessageId::ZERO || self.warm
    }
}

/// Names, each with a time.
type Scored = Vec<(String, f64)>;
type Reply = (
    MessageId,
    MessageId,
    String,
    MessageId,
    u64,
    u64,
    u64,
    String,
    i64,
    (String, String, String),
    Vec<(String, u64, String)>,
);

impl Rooms {
    /// Looks at the rooms under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self { redis, keys }
    }

    /// Looks at one room.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn show(&self, room: &RoomId) -> Result<RoomStatus, KvError> {
        let mut rooms = self.show_all(std::slice::from_ref(room)).await?;
        rooms
            .pop()
            .ok_or_else(|| self.redis.failed("look at a room", nothing()))
    }

    /// Looks at some rooms.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn show_all(&self, rooms: &[RoomId]) -> Result<Vec<RoomStatus>, KvError> {
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = ROOM.on(self.keys.prefix());
        for room in rooms {
            call.arg(room);
        }
        let (now_ms, replies): (u64, Vec<Reply>) = call.run(&self.redis).await?;
        let rooms = rooms.iter().cloned().zip(replies);
        Ok(rooms
            .map(|(room, reply)| read(now_ms, room, &reply))
            .collect())
    }

    /// Looks at the whole.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn overview(&self) -> Result<Overview, KvError> {
        let doing = "look at the rooms";
        let now_ms = self.now_ms().await?;
        let keys = &self.keys;
        let mut questions = redis::pipe();
        questions.cmd("ZCARD").arg(keys.dirty());
        questions.cmd("ZRANGE").arg(keys.dirty());
        questions.arg(0).arg(0).arg("WITHSCORES");
        questions.cmd("ZCOUNT").arg(keys.premium());
        questions.arg(format!("({now_ms}")).arg("+inf");
        questions.cmd("ZRANGE").arg(keys.servers());
        questions.arg(0).arg(-1).arg("WITHSCORES");
        let (dirty, oldest, premium, servers): (u64, Scored, u64, Scored) =
            self.redis.read_all(doing, &questions).await?;
        let alive = servers
            .into_iter()
            .map(|(id, until)| (id, whole(until)))
            .filter(|(_, until)| *until > now_ms);
        let alive: Vec<_> = alive.collect();
        let mut questions = redis::pipe();
        for (id, _) in &alive {
            questions.cmd("SCARD").arg(self.rooms_of(id));
        }
        let rooms: Vec<u64> = match &alive[..] {
            [] => Vec::new(),
            _ => self.redis.read_all(doing, &questions).await?,
        };
        let servers = alive.into_iter().zip(rooms);
        Ok(Overview {
            now_ms,
            dirty,
            unflushed_since_ms: oldest.first().map(|(_, ms)| whole(*ms)),
            premium,
            servers: servers
                .map(|((id, alive_until_ms), rooms)| ServerStatus {
                    id,
                    alive_until_ms,
                    rooms,
                })
                .collect(),
        })
    }

    /// The rooms with a member on one server, whatever somebody has written as its name.
    fn rooms_of(&self, server: &str) -> String {
        format!("{}server:{server}:rooms", self.keys.prefix())
    }

    async fn now_ms(&self) -> Result<u64, KvError> {
        let time = redis::cmd("TIME");
        let (seconds, micros): (u64, u64) =
            self.redis.read("ask Redis for the time", &time).await?;
        Ok(seconds * 1000 + micros / 1000)
    }
}

fn nothing() -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "no reply").into()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times in ms are below 2^53, and a float saturates"
)]
fn whole(ms: f64) -> u64 {
    ms as u64
}

fn time(text: &str) -> Option<u64> {
    text.parse().ok().map(whole)
}

fn read(now_ms: u64, room: RoomId, reply: &Reply) -> RoomStatus {
    let (top, watermark, hydrated_from, newest, messages, unflushed, changed, since, ttl, ..) =
        reply;
    let (flushing, hydrating, premium) = &reply.9;
    let hydrated_from = hydrated_from.parse::<MessageId>().ok();
    // As `open.lua` has it: a warm log ends with the newest message.
    let warm = hydrated_from.is_some() && newest == top;
    let (mut members_by_server, mut fading) = (BTreeMap::new(), 0);
    for (server, n, lease) in &reply.10 {
        if time(lease).is_some_and(|until| until > now_ms) {
            members_by_server.insert(server.clone(), *n);
        } else {
            fading += n;
        }
    }
    RoomStatus {
        now_ms,
        room,
        warm,
        hydrated_from: hydrated_from.filter(|_| warm),
        top: *top.max(newest),
        watermark: *watermark,
        messages: *messages,
        unflushed: *unflushed,
        unflushed_since_ms: time(since),
        changed: *changed,
        flushing: flushing.trim_end_matches('+').parse().ok(),
        flush_again: flushing.ends_with('+'),
        hydrating: hydrating.parse().ok(),
        expires_ms: u64::try_from(*ttl).ok().map(|ttl| now_ms + ttl),
        premium_until_ms: time(premium).filter(|until| *until > now_ms),
        members: members_by_server.values().sum(),
        members_by_server,
        fading,
    }
}
