//! Bulk changes: the retry or discard of many dead jobs that goes on without the one who asked. The process
//! that works on one tells here how far it has come, and looks whether it is to stop; so anybody sees it and
//! stops it, wherever it runs. The work itself is [`super::dead`]'s.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    dead::{Done, Fate, Filter},
    enqueue::millis,
};
use crate::kv::{Keys, KvError, Redis};

/// How many that have ended are kept.
const KEPT: usize = 20;
/// One that nobody has told of for so long is lost with its process.
pub const LOST: std::time::Duration = std::time::Duration::from_secs(10);

/// The bulk changes under one namespace.
#[derive(Debug, Clone)]
pub struct Bulks {
    redis: Redis,
    keys: Keys,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bulk {
    /// Its name.
    pub id: String,
    /// Who began it.
    pub by: String,
    /// What it does: `retry` or `discard`.
    pub fate: Fate,
    /// With which dead jobs.
    pub filter: Filter,
    /// How many of them a second, at most.
    pub rate: Option<f64>,
    /// When it began, by Redis's clock.
    pub begun_ms: u64,
    /// When it was told of last.
    pub told_ms: u64,
    /// How many were dead when it began.
    pub dead: u64,
    /// How far it has come.
    #[serde(flatten)]
    pub done: Done,
    /// How it stands.
    pub state: Course,
    /// Who stopped it, or what failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a bulk change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// It goes on.
    Running,
    /// It has come to its end.
    Done,
    /// Somebody stopped it.
    Stopped,
    /// Redis failed it.
    Failed,
    /// Its process is gone, or cannot reach Redis.
    Lost,
}

/// A name that a bulk change has in the hash; with this behind it, that of the wish to stop it.
const STOP: &str = ":stop";

impl Bulks {
    /// Those under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self { redis, keys }
    }

    /// All that are kept, the latest first, as they stood at `now_ms` by Redis's clock.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn list(&self, now_ms: u64) -> Result<Vec<Bulk>, KvError> {
        let mut connection = self.redis.connection().await?;
        let all: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(self.keys.bulks())
            .query_async(&mut connection)
            .await
            .map_err(|source| self.failed(source))?;
        let bulks = all.iter().filter(|(name, _)| !name.ends_with(STOP));
        let bulks = bulks.filter_map(|(_, text)| serde_json::from_str::<Bulk>(text).ok());
        let mut bulks: Vec<_> = bulks.collect();
        for bulk in &mut bulks {
            if bulk.state == Course::Running && bulk.told_ms + millis(LOST) < now_ms {
                bulk.state = Course::Lost;
            }
        }
        bulks.sort_by_key(|bulk| std::cmp::Reverse(bulk.begun_ms));
        Ok(bulks)
    }

    /// Tells how one stands; returns who wants it to stop, if anybody does.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn tell(&self, bulk: &Bulk) -> Result<Option<String>, KvError> {
        let mut connection = self.redis.connection().await?;
        let (key, stop) = (self.keys.bulks(), format!("{}{STOP}", bulk.id));
        let text = serde_json::to_string(bulk).unwrap_or_default();
        let mut pipe = redis::pipe();
        pipe.hset(&key, &bulk.id, text).ignore().hget(&key, &stop);
        if bulk.state != Course::Running {
            pipe.hdel(&key, &stop).ignore();
        }
        let (wish,): (Option<String>,) = pipe
            .query_async(&mut connection)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(wish)
    }

    /// Forgets those that ended long ago, and all but the latest.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn tidy(&self, now_ms: u64) -> Result<(), KvError> {
        let bulks = self.list(now_ms).await?;
        let ended = bulks.iter().filter(|bulk| bulk.state != Course::Running);
        let mut old: Vec<String> = Vec::new();
        for bulk in ended.skip(KEPT) {
            old.extend([bulk.id.clone(), format!("{}{STOP}", bulk.id)]);
        }
        if old.is_empty() {
            return Ok(());
        }
        let mut connection = self.redis.connection().await?;
        redis::cmd("HDEL")
            .arg(self.keys.bulks())
            .arg(old)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.failed(source))
    }

    /// Asks that one be stopped; returns whether it is going on.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn ask_stop(&self, id: &str, now_ms: u64, by: &str) -> Result<bool, KvError> {
        let bulks = self.list(now_ms).await?;
        let is_running = |bulk: &Bulk| bulk.id == id && bulk.state == Course::Running;
        if !bulks.iter().any(is_running) {
            return Ok(false);
        }
        let mut connection = self.redis.connection().await?;
        redis::cmd("HSET")
            .arg(self.keys.bulks())
            .arg(format!("{id}{STOP}"))
            .arg(by)
            .query_async::<()>(&mut connection)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(true)
    }

    fn failed(&self, source: redis::RedisError) -> KvError {
        self.redis.failed("tell of bulk changes", source)
    }
}
