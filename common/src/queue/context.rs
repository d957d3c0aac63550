//! What a running job knows of itself. A master's [`super::fan_out`] begins here.

use std::{
    collections::BTreeMap,
    sync::atomic::AtomicBool,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    JobId, TraceParent,
    blocking::Blocking,
    flow::InFlow,
    stop::Stops,
    turn::{Lease, Turns},
};
use crate::{kv::KvError, shutdown::Shutdown};

/// A running job's view of itself.
#[derive(Debug)]
pub struct JobContext {
    pub(super) turns: Turns,
    pub(super) id: JobId,
    pub(super) lease: Lease,
    pub(super) follows: Option<JobId>,
    /// Its place in a flow.
    pub(super) flow: Option<InFlow>,
    /// Whether somebody wants what the task gives back.
    pub(super) wants_output: bool,
    /// Its own place in its trace.
    pub(super) trace: Option<TraceParent>,
    pub(super) had_group: AtomicBool,
    /// Whether it told its progress.
    pub(super) told_progress: AtomicBool,
    /// The tick of a periodic task, ms.
    pub(super) tick: Option<u64>,
    /// What it runs on threads where it may block.
    pub(super) blocking: Blocking,
    pub(super) shutdown: Shutdown,
    pub(super) stops: Stops,
}
#[cfg(test)]
impl JobContext {
    /// A job that a test holds by hand, and that is tied to nothing.
    pub(super) fn by_hand(turns: Turns, id: JobId, lease: Lease, shutdown: Shutdown) -> Self {
        Self {
            turns,
            id,
            lease,
            follows: None,
            flow: None,
            wants_output: false,
            trace: None,
            had_group: AtomicBool::new(false),
            told_progress: AtomicBool::new(false),
            tick: None,
            blocking: Blocking::default(),
            shutdown,
            stops: Stops::never(),
        }
    }
}

impl JobContext {
    /// The job's id. It is the same in each attempt, so it serves as an idempotency key.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.lease.attempt()
    }

    /// The time for which a periodic task was enqueued: when it was due, not when it runs.
    pub fn tick(&self) -> Option<SystemTime> {
        self.tick.map(|ms| UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// Hears when the worker is to stop; what still runs at its deadline is given back.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// The dead children of the group that this job follows, or the dead among what came before it in its
    /// flow, each with its reason.
    ///
    /// # Errors
    /// If Redis cannot be asked.
    pub async fn failures(&self) -> Result<BTreeMap<JobId, String>, KvError> {
        let Some(group) = self.follows else {
            return self.flow_failures().await;
        };
        let redis = &self.turns.redis;
        let mut connection = redis.connection().await?;
        redis::cmd("HGETALL")
            .arg(self.turns.keys.group_failed(group))
            .query_async(&mut connection)
            .await
            .map_err(|source| redis.failed("read a group's failures", source))
    }
}
