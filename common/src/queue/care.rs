//! Care: what every worker does beside its jobs, so that nothing depends on one process. Scheduled
//! jobs are pushed when they are due; what others left in the inboxes is fetched; dead workers' jobs are
//! given back; lost pops are found.
//!
//! Each step is a script and safe to run by all workers at once.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::{
    JobId, Limits, Queue, Registry, WorkerOptions,
    enqueue::{CHUNK_BYTES, MAX_BODY, millis},
    job::Body,
    parking::Returns,
    periodic::ticker::Ticker,
    settle::HistoryEntry,
    tail::{Event, Kind, Tail},
    turn::{Claimed, held_by},
};
use crate::{
    error::Chain,
    id::BootId,
    kv::{Call, Keys, KvError, Redis, Script},
    shutdown::Shutdown,
};

static OVERDUE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "push what is due",
        &[
            super::LIB,
            include_str!("lua/inbox.lua"),
            include_str!("lua/overdue.lua"),
        ],
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

/// What `overdue.lua` tells: how many were pushed, ms until the next, dead workers, now, kinds of parked jobs,
/// how many left an inbox, whether more are in it, whether a pop may be lost, queues whose list held something before.
pub(super) type Overdue = (
    usize,
    i64,
    Vec<BootId>,
    u64,
    Vec<String>,
    usize,
    u8,
    u8,
    Vec<Queue>,
);

/// Between two looks at most.
const EVERY: Duration = Duration::from_secs(2);
/// While something is missing that may be lost, between two looks at most.
const SOON: Duration = Duration::from_millis(500);
/// Looks in a time to live, at least. When nobody looked for half of one, nobody counts as dead.
const LOOKS: u32 = 3;
/// Every worker wakes when a job is due, and one of them pushes it. Whoever found nothing to push wakes that
/// much later the next time, and whoever did, on time: so one is prompt and the crowd costs little. Should
/// the prompt one be gone, a job is late by this at most, once.
const FIRST_SLACK: Duration = Duration::from_millis(5);
/// The most of it.
const MOST_SLACK: Duration = Duration::from_millis(100);
/// Scheduled jobs, and bodies of one inbox, a script call at most.
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
    /// At the last look, by Redis's clock.
    now_ms: u64,
    /// When this process first saw an id missing.
    pub(super) missing: HashMap<JobId, Instant>,
    /// Whom it tells what it mends, and as whom.
    told: Option<(BootId, Tail)>,
    returns: Option<Returns>,
    ticker: Ticker,
}

/// What one look did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cared {
    /// Scheduled jobs that were pushed.
    pub promoted: usize,
    /// What others had left in the inboxes and is a job now: one that waits, or a dead one.
    pub taken_in: usize,
    /// Ticks of periodic tasks that were enqueued or passed over.
    pub ticked: usize,
    /// Jobs that were popped and never claimed, and are listed again.
    pub recovered: usize,
    /// Jobs that were taken from dead workers.
    pub reaped: usize,
    /// Jobs that were parked and wait again.
    pub returned: usize,
    /// Until the next scheduled job or periodic task is due.
    pub next_due: Option<Duration>,
    /// Queues whose list held something before this look pushed.
    pub listed: Vec<Queue>,
    /// Whether a pop may be lost.
    pub(super) to_sweep: bool,
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
            now_ms: 0,
            missing: HashMap::new(),
            told: None,
            returns: None,
            ticker: Ticker::new(&[]),
        }
    }

    /// Cares also for what only a worker with this registry can: parked jobs and periodic tasks.
    #[must_use]
    pub fn knowing(self, registry: &Arc<Registry>, limits: &Limits) -> Self {
        Self {
            returns: Some(Returns::new(Arc::clone(registry), limits)),
            ticker: Ticker::new(registry.periodics()),
            ..self
        }
    }

    /// Tells who follows what it mends, as the worker that it belongs to.
    #[must_use]
    pub(super) fn telling(self, worker: BootId, tail: Tail) -> Self {
        Self {
            told: Some((worker, tail)),
            ..self
        }
    }

    fn tell(&self, event: Event) {
        if let Some((worker, tail)) = &self.told {
            tail.tell(|| event.told_by(*worker, self.now_ms));
        }
    }

    /// Looks again and again until the shutdown; at once when `look` asks for it. Tells `listed` which
    /// queues held something before.
    pub(super) async fn run(
        mut self,
        shutdown: Shutdown,
        look: Arc<Notify>,
        listed: watch::Sender<Vec<Queue>>,
    ) {
        let every = EVERY.min(self.time_to_live / LOOKS);
        let mut well = true;
        let mut next_look = Instant::now();
        let mut slack = Duration::ZERO;
        loop {
            let whole = next_look <= Instant::now();
            let cared = if whole {
                next_look = Instant::now() + every;
                self.look().await
            } else {
                self.promote().await.map(|(cared, _)| cared)
            };
            let wait = match cared {
                Ok(cared) => {
                    well = true;
                    listed.send_replace(cared.listed);
                    if cared.promoted + cared.ticked > 0 {
                        slack = Duration::ZERO;
                    } else if !whole {
                        slack = (slack * 2).clamp(FIRST_SLACK, MOST_SLACK);
                    }
                    if cared.more {
                        next_look = Instant::now();
                    } else if !self.missing.is_empty() {
                        next_look = next_look.min(Instant::now() + SOON);
                    }
                    let rest = next_look.saturating_duration_since(Instant::now());
                    match cared.next_due {
                        Some(due) => rest.min(due + slack),
                        None => rest,
                    }
                }
                Err(error) => {
                    if std::mem::replace(&mut well, false) {
                        tracing::warn!(error = %Chain(&error), "cannot care for the queues");
                    }
                    next_look = Instant::now();
                    every / 4
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = look.notified() => {
                    tokio::time::sleep(slack).await;
                    next_look = Instant::now();
                }
                () = shutdown.asked() => return,
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// If Redis fails; what was not done is done by the next look.
    pub async fn look(&mut self) -> Result<Cared, KvError> {
        let (mut cared, parked) = self.promote().await?;
        if cared.to_sweep || !self.missing.is_empty() {
            let (recovered, more) = self.sweep().await?;
            cared.recovered = recovered;
            cared.more |= more;
        }
        if let Some(returns) = &mut self.returns {
            let (returned, more) = returns.take(&self.redis, &self.keys, &parked).await?;
            cared.returned = returned;
            cared.more |= more;
        }
        Ok(cared)
    }

    /// Does what is due now: a part of a look, at the very ms. Tells also which kinds of jobs are parked.
    async fn promote(&mut self) -> Result<(Cared, Vec<String>), KvError> {
        let (promoted, wait, dead, now_ms, parked, taken_in, more_in, to_sweep, listed) =
            self.overdue().await?;
        self.now_ms = now_ms;
        let (ticked, tick) = self.ticker.look(&self.redis, &self.keys, now_ms).await?;
        let mut reaped = 0;
        for worker in dead {
            match self.reap(worker).await {
                Ok(jobs) => reaped += jobs,
                // What cannot be read of one must not keep the jobs of others.
                Err(error) if error.is_unreadable() => {
                    tracing::error!(worker = %worker, error = %Chain(&error), "cannot take over what worker {worker} held; look at its `claims:` with redis-cli");
                }
                Err(error) => return Err(error),
            }
        }
        let due = u64::try_from(wait).ok().map(Duration::from_millis);
        let cared = Cared {
            promoted,
            taken_in,
            ticked,
            reaped,
            next_due: [due, tick].into_iter().flatten().min(),
            listed,
            to_sweep: to_sweep != 0,
            more: promoted == BATCH || more_in == 1,
            ..Cared::default()
        };
        Ok((cared, parked))
    }

    /// Pushes what is due, and tells what else there is to do.
    pub(super) async fn overdue(&self) -> Result<Overdue, KvError> {
        let mut call = OVERDUE.on(self.keys.prefix());
        call.arg(BATCH).arg(millis(self.time_to_live));
        call.arg(CHUNK_BYTES).arg(MAX_BODY);
        call.run(&self.redis).await
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
        let (missing, recovered, more): (Vec<JobId>, usize, u8) = call.run(&self.redis).await?;
        if recovered > 0 {
            metrics::counter!("rhubarb_recovered_jobs_total").increment(recovered as u64);
            self.tell(Event::counted(Kind::Recovered, recovered));
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
        let deaths = held.iter();
        let buried: Vec<_> = deaths
            .filter_map(|claimed| self.write_death(worker, claimed, &mut call))
            .collect();
        let taken: i64 = call.run(&self.redis).await?;
        let taken = usize::try_from(taken).unwrap_or(0);
        if taken > 0 {
            metrics::counter!("rhubarb_reaped_jobs_total").increment(taken as u64);
            self.tell(Event {
                of: Some(worker.to_string()),
                ..Event::counted(Kind::Reaped, taken)
            });
            for event in buried {
                self.tell(event);
            }
            tracing::warn!(%worker, taken, "worker {worker} is dead; gave back its {taken} jobs");
        }
        Ok(taken)
    }

    /// Gives the event if that is its end.
    fn write_death(&self, worker: BootId, claimed: &Claimed, call: &mut Call<'_>) -> Option<Event> {
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
        bury.then(|| Event::buried(claimed.id, &error))
    }
}
