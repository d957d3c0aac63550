//! Care: what every worker does beside its jobs, so that nothing depends on one process. Scheduled
//! jobs are pushed when they are due; dead workers' jobs are given back; lost pops are found.
//!
//! Each step is a script and safe to run by all workers at once.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::{
    JobId, Queue, WorkerOptions,
    enqueue::millis,
    job::Body,
    settle::HistoryEntry,
    turn::{Claimed, held_by},
};
use crate::{
    error::Chain,
    id::BootId,
    kv::{Keys, KvError, Redis, Script},
    shutdown::Shutdown,
};

static OVERDUE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "push what is due",
        &[super::LIB, include_str!("lua/overdue.lua")],
    )
});
static SWEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "look for lost pops",
        &[super::LIB, include_str!("lua/sweep.lua")],
    )
});
static REAP: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "give a dead worker's jobs back",
        &[super::ENDS, super::CANCELS, include_str!("lua/reap.lua")],
    )
});

/// Between two looks at most.
const EVERY: Duration = Duration::from_secs(2);
/// While something is missing that may be lost, between two looks at most.
const SOON: Duration = Duration::from_millis(500);
/// Looks in a time to live, at least. When nobody looked for half of one, nobody counts as dead.
const LOOKS: u32 = 3;
/// Scheduled jobs a script call at most.
const BATCH: usize = 500;
/// Missing ids a script call at most: what a deleted list is repaired by, per look.
const REPAIRS: usize = 4000;

/// Cares for the queues under one namespace.
#[derive(Debug)]
pub struct Care {
    redis: Redis,
    keys: Keys,
    /// How long after its last heartbeat a worker counts as dead.
    time_to_live: Duration,
    /// How many workers a job may take down before it is buried.
    max_deaths: u32,
    /// How long an id may be popped and not claimed.
    grace: Duration,
    /// When this process first saw an id missing.
    pub(super) missing: HashMap<JobId, Instant>,
}

/// What one look did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cared {
    /// Scheduled jobs that were pushed.
    pub promoted: usize,
    /// Jobs that were popped and never claimed, and are listed again.
    pub recovered: usize,
    /// Jobs that were taken from dead workers.
    pub reaped: usize,
    /// Until the next scheduled job is due.
    pub next_due: Option<Duration>,
    /// Queues whose list held something.
    pub listed: Vec<Queue>,
    /// Whether there is more to do at once.
    pub more: bool,
}

impl Care {
    /// Care as a worker with these options does it.
    pub fn new(redis: Redis, keys: Keys, options: &WorkerOptions) -> Self {
        Self {
            redis,
            keys,
            time_to_live: options.time_to_live,
            max_deaths: options.max_deaths,
            grace: options.claim_grace,
            missing: HashMap::new(),
        }
    }

    /// Looks again and again until the shutdown; at once when `look` asks for it. Tells `listed` which
    /// queues hold something.
    pub(super) async fn run(
        mut self,
        shutdown: Shutdown,
        look: Arc<Notify>,
        listed: watch::Sender<Vec<Queue>>,
    ) {
        let every = EVERY.min(self.time_to_live / LOOKS);
        let mut well = true;
        loop {
            let wait = match self.look().await {
                Ok(cared) => {
                    well = true;
                    listed.send_replace(cared.listed);
                    let every = if self.missing.is_empty() {
                        every
                    } else {
                        every.min(SOON)
                    };
                    if cared.more {
                        Duration::ZERO
                    } else {
                        cared.next_due.map_or(every, |due| due.min(every))
                    }
                }
                Err(error) => {
                    if std::mem::replace(&mut well, false) {
                        tracing::warn!(error = %Chain(&error), "cannot care for the queues");
                    }
                    every / 4
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = look.notified() => {}
                () = shutdown.asked() => return,
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// If Redis fails; what was not done is done by the next look.
    pub async fn look(&mut self) -> Result<Cared, KvError> {
        let (promoted, wait, dead, to_sweep, listed) = self.overdue().await?;
        let mut reaped = 0;
        for worker in dead {
            reaped += self.reap(worker).await?;
        }
        let (recovered, more) = if to_sweep != 0 || !self.missing.is_empty() {
            self.sweep().await?
        } else {
            (0, false)
        };
        let next_due = u64::try_from(wait).ok().map(Duration::from_millis);
        Ok(Cared {
            promoted,
            recovered,
            reaped,
            next_due,
            listed,
            more: more || promoted == BATCH,
        })
    }

    /// Pushes what is due; returns how many, ms until the next or -1, dead workers, 1 if a pop may be lost,
    /// and queues whose list holds something.
    pub(super) async fn overdue(
        &self,
    ) -> Result<(usize, i64, Vec<BootId>, u8, Vec<Queue>), KvError> {
        let mut call = OVERDUE.on(self.keys.prefix());
        call.arg(BATCH).arg(millis(self.time_to_live));
        OVERDUE.run(&self.redis, &call).await
    }

    /// Lists again what has been missing for longer than the grace.
    pub(super) async fn sweep(&mut self) -> Result<(usize, bool), KvError> {
        let now = Instant::now();
        let mut lost: Vec<_> = self
            .missing
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= self.grace)
            .map(|(id, since)| (*since, *id))
            .collect();
        lost.sort_unstable();
        lost.truncate(REPAIRS);
        let mut call = SWEEP.on(self.keys.prefix());
        call.arg(REPAIRS);
        for (_, id) in &lost {
            call.arg(id);
        }
        let (missing, recovered, more): (Vec<JobId>, usize, u8) =
            SWEEP.run(&self.redis, &call).await?;
        if recovered > 0 {
            metrics::counter!("rhubarb_recovered_jobs_total").increment(recovered as u64);
            tracing::warn!(
                recovered,
                "listed {recovered} jobs again that were popped and never claimed"
            );
        }
        // Forget those that were claimed meanwhile; keep the time of those that are missing still.
        let seen = std::mem::take(&mut self.missing);
        self.missing = missing
            .into_iter()
            .map(|id| (id, seen.get(&id).copied().unwrap_or(now)))
            .collect();
        Ok((recovered, more != 0 && recovered > 0))
    }

    /// Takes from a dead worker what it held.
    pub(super) async fn reap(&self, worker: BootId) -> Result<usize, KvError> {
        let held = held_by(&self.redis, &self.keys, worker).await?;
        self.give_back(worker, &held).await
    }

    /// Takes from a dead worker what it was seen to hold, if it is still dead and holds it.
    pub(super) async fn give_back(
        &self,
        worker: BootId,
        held: &[Claimed],
    ) -> Result<usize, KvError> {
        let mut call = REAP.on(self.keys.prefix());
        call.arg(worker);
        for claimed in held {
            self.write_death(worker, claimed, &mut call);
        }
        let taken: i64 = REAP.run(&self.redis, &call).await?;
        let taken = usize::try_from(taken).unwrap_or(0);
        if taken > 0 {
            metrics::counter!("rhubarb_reaped_jobs_total").increment(taken as u64);
            tracing::warn!(%worker, taken, "worker {worker} is dead; gave back its {taken} jobs");
        }
        Ok(taken)
    }

    fn write_death(
        &self,
        worker: BootId,
        claimed: &Claimed,
        call: &mut redis::ScriptInvocation<'_>,
    ) {
        // What cannot be read is buried by the next worker that claims it; here it has no ties.
        let body = std::str::from_utf8(&claimed.body)
            .ok()
            .and_then(|text| Body::read(text).ok());
        let ties = body.as_ref().map(Body::ties).unwrap_or_default();
        let most = body.and_then(|body| body.max_attempts).unwrap_or(u32::MAX);
        let (attempt, deaths) = (claimed.lease.attempt(), claimed.deaths + 1);
        let bury = deaths >= self.max_deaths || attempt >= most;
        let error = if bury {
            format!(
                "buried: its worker died while it ran ({deaths} times so far, {attempt} attempts)"
            )
        } else {
            "its worker died while it ran".to_owned()
        };
        let event = if bury { "buried" } else { "worker_died" };
        let entry = HistoryEntry {
            event,
            attempt,
            worker: worker.to_string(),
            error: &error,
            retry_in_ms: None,
        };
        call.arg(if bury { "bury" } else { "back" })
            .arg(claimed.id)
            .arg(&claimed.lease)
            .arg(ties.write())
            .arg(format!("{attempt} {deaths}"))
            .arg(entry.write())
            .arg(&error);
    }
}
