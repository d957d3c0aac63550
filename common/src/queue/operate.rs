//! Operate: what a person changes by hand. Dead and scheduled jobs are retried; jobs that nobody runs
//! are discarded; [`super::cancel`] also ends those that somebody runs. Dead ones in bulk: [`super::dead`]. Before
//! this, [`super::inspect`] showed them.

use std::sync::{Arc, LazyLock};

use super::{ENDS, JobId, LIB, WITHDRAW, job::Ties, results::Hearing};
use crate::kv::{Keys, KvError, Redis, Script};

static REVIVE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "retry jobs",
        &[LIB, STILL_DEAD, include_str!("lua/revive.lua")],
    )
});
static DISCARD: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "discard jobs",
        &[ENDS, WITHDRAW, STILL_DEAD, include_str!("lua/discard.lua")],
    )
});
const STILL_DEAD: &str = include_str!("lua/still_dead.lua");

/// Jobs a script call at most.
const CHUNK: usize = 200;

/// Changes the queues under one namespace.
#[derive(Debug, Clone)]
pub struct Operator {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    pub(super) hearing: Arc<Hearing>,
    /// For whom it acts: see [`Self::acting_for`].
    pub(super) by: Option<Arc<str>>,
}

impl Operator {
    /// Changes the queues under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self {
            hearing: Hearing::new(redis.clone(), keys.clone()),
            redis,
            keys,
            by: None,
        }
    }

    /// Pushes dead, scheduled or parked jobs now, with their attempts counted anew. Returns those that were
    /// pushed; others are in another state.
    ///
    /// # Errors
    /// If Redis fails; an unknown part has been pushed then.
    pub async fn retry(&self, ids: &[JobId]) -> Result<Vec<JobId>, KvError> {
        self.write_down_all("retry", ids).await?;
        self.revive(ids, None).await
    }

    /// [`Self::retry`], without an entry of its own; with a time, only of those that were buried by then and are
    /// dead still.
    pub(super) async fn revive(
        &self,
        ids: &[JobId],
        until_ms: Option<u64>,
    ) -> Result<Vec<JobId>, KvError> {
        let mut pushed = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let mut call = REVIVE.on(self.keys.prefix());
            call.arg(until_ms.map(|ms| ms.to_string()).unwrap_or_default());
            for id in chunk {
                call.arg(id);
            }
            let some: Vec<JobId> = call.run(&self.redis).await?;
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
        self.write_down_all("discard", ids).await?;
        self.remove(ids, None).await
    }

    /// [`Self::discard`], without an entry of its own; of which, as [`Self::revive`].
    pub(super) async fn remove(
        &self,
        ids: &[JobId],
        until_ms: Option<u64>,
    ) -> Result<Vec<JobId>, KvError> {
        let mut removed = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let bodies = self.bodies(chunk).await?;
            let mut call = DISCARD.on(self.keys.prefix());
            call.arg(until_ms.map(|ms| ms.to_string()).unwrap_or_default());
            for (id, body) in chunk.iter().zip(&bodies) {
                let ties = Ties::of(body.as_deref().unwrap_or_default().as_bytes());
                call.arg(id).arg(ties.write());
            }
            let some: Vec<JobId> = call.run(&self.redis).await?;
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

    /// The bodies of jobs, where they can be read as text.
    pub(super) async fn bodies(&self, ids: &[JobId]) -> Result<Vec<Option<String>>, KvError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.redis.connection().await?;
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.hget(self.keys.bucket(*id), id);
        }
        let bodies: Vec<Option<Vec<u8>>> = pipe
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read jobs", source))?;
        let text = |body: Vec<u8>| String::from_utf8(body).ok();
        Ok(bodies.into_iter().map(|body| body.and_then(text)).collect())
    }
}
