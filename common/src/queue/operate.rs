//! Operate: what a person changes by hand. Dead and scheduled jobs are retried; jobs that nobody runs
//! are discarded. Before this, [`super::inspect`] showed them.

use std::{collections::HashSet, sync::LazyLock};

use super::{Body, JobId, LIB, job::Ties};
use crate::kv::{Keys, KvError, Redis, Script};

static REVIVE: LazyLock<Script> =
    LazyLock::new(|| Script::even_if_full("retry jobs", &[LIB, include_str!("lua/revive.lua")]));
static DISCARD: LazyLock<Script> =
    LazyLock::new(|| Script::even_if_full("discard jobs", &[LIB, include_str!("lua/discard.lua")]));

/// Jobs a script call at most.
const CHUNK: usize = 200;

/// Changes the queues under one namespace.
#[derive(Debug, Clone)]
pub struct Operator {
    redis: Redis,
    keys: Keys,
}

/// What to do with dead jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Push them, with their attempts counted anew.
    Retry,
    /// Remove them for good.
    Discard,
}

/// How far a walk over the dead has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Dead jobs looked at.
    pub seen: u64,
    /// Of these, retried or discarded.
    pub changed: u64,
}

impl Operator {
    /// Changes the queues under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self { redis, keys }
    }

    /// Pushes dead, scheduled or parked jobs now, with their attempts counted anew. Returns those that were
    /// pushed; others are in another state.
    ///
    /// # Errors
    /// If Redis fails; an unknown part has been pushed then.
    pub async fn retry(&self, ids: &[JobId]) -> Result<Vec<JobId>, KvError> {
        let mut pushed = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let mut call = REVIVE.on(self.keys.prefix());
            for id in chunk {
                call.arg(id);
            }
            let some: Vec<JobId> = REVIVE.run(&self.redis, &call).await?;
            pushed.extend(some);
        }
        Ok(pushed)
    }

    /// Removes jobs that wait, are scheduled, parked or dead. Returns those that were removed; others are
    /// claimed, or there are none. A child counts as failed in its group.
    ///
    /// # Errors
    /// If Redis fails; an unknown part has been removed then.
    pub async fn discard(&self, ids: &[JobId]) -> Result<Vec<JobId>, KvError> {
        let mut removed = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let bodies = self.bodies(chunk).await?;
            let mut call = DISCARD.on(self.keys.prefix());
            for (id, body) in chunk.iter().zip(&bodies) {
                let ties = Ties::of(body.as_deref().unwrap_or_default().as_bytes());
                call.arg(id).arg(ties.write());
            }
            let some: Vec<JobId> = DISCARD.run(&self.redis, &call).await?;
            removed.extend(some);
        }
        Ok(removed)
    }

    /// How many jobs are dead.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn count_dead(&self) -> Result<u64, KvError> {
        let mut connection = self.redis.connection().await?;
        redis::cmd("ZCARD")
            .arg(self.keys.dead())
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("count the dead jobs", source))
    }

    /// Retries or discards all jobs that are dead now, or those of one task; tells `progress` of each
    /// chunk. A job that dies meanwhile is left alone, so a job that fails at once is not retried again.
    ///
    /// # Errors
    /// If Redis fails; what was done so far was told to `progress`.
    pub async fn all_dead(
        &self,
        fate: Fate,
        task: Option<&str>,
        mut progress: impl FnMut(Done),
    ) -> Result<Done, KvError> {
        let mut done = Done::default();
        let mut seen = HashSet::new(); // a scan may tell an entry twice
        let mut cursor = 0_u64;
        let until = self.now_ms().await?;
        loop {
            let (next, found) = self.scan_dead(cursor).await?;
            let mut ids: Vec<JobId> = found
                .into_iter()
                .filter(|(_, buried_ms)| *buried_ms <= until)
                .filter_map(|(id, _)| id.parse().ok())
                .filter(|id| seen.insert(*id))
                .collect();
            done.seen += ids.len() as u64;
            if let Some(task) = task {
                ids = self.of_task(ids, task).await?;
            }
            ids.sort_unstable();
            let changed = match fate {
                Fate::Retry => self.retry(&ids).await?,
                Fate::Discard => self.discard(&ids).await?,
            };
            done.changed += changed.len() as u64;
            progress(done);
            if next == 0 {
                return Ok(done);
            }
            cursor = next;
        }
    }

    async fn of_task(&self, ids: Vec<JobId>, task: &str) -> Result<Vec<JobId>, KvError> {
        let mut of_task = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let bodies = self.bodies(chunk).await?;
            let fits = |body: &Option<String>| {
                let body = body.as_deref().and_then(|text| Body::read(text).ok());
                body.is_some_and(|body| body.task == task)
            };
            let chosen = chunk.iter().zip(&bodies).filter(|(_, body)| fits(body));
            of_task.extend(chosen.map(|(id, _)| *id));
        }
        Ok(of_task)
    }

    async fn bodies(&self, ids: &[JobId]) -> Result<Vec<Option<String>>, KvError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.redis.connection().await?;
        let bodies: Vec<Option<Vec<u8>>> = redis::cmd("HMGET")
            .arg(self.keys.jobs())
            .arg(ids)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read jobs", source))?;
        let text = |body: Vec<u8>| String::from_utf8(body).ok();
        Ok(bodies.into_iter().map(|body| body.and_then(text)).collect())
    }

    async fn scan_dead(&self, cursor: u64) -> Result<(u64, Vec<(String, f64)>), KvError> {
        let mut connection = self.redis.connection().await?;
        redis::cmd("ZSCAN")
            .arg(self.keys.dead())
            .arg(cursor)
            .arg("COUNT")
            .arg(CHUNK)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("walk over the dead jobs", source))
    }

    async fn now_ms(&self) -> Result<f64, KvError> {
        let mut connection = self.redis.connection().await?;
        let (seconds, micros): (f64, f64) =
            redis::cmd("TIME")
                .query_async(&mut connection)
                .await
                .map_err(|source| self.redis.failed("ask Redis for the time", source))?;
        Ok((seconds * 1e3 + micros / 1e3).floor())
    }
}
