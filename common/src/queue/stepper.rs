//! Stepper: a worker that is driven by hand, for tests. It claims, runs and settles with the same scripts and
//! the same code as any worker, but one job at a time and only when it is told to.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    JobId, Queue, Registry, WorkerOptions, care::Care, heartbeat::News, job::Body, limits::Demand,
    run::Runner, settle::Verdict, tail::Tail, turn::Turns, watch::Polls,
};
use crate::{
    id::BootId,
    kv::{Keys, KvError, Redis},
    shutdown::{Shutdown, Stop},
};

/// A stepper does not beat. After a claim it counts as alive for so long.
const ALIVE: Duration = Duration::from_secs(3600);

/// One attempt that was run by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The job.
    pub id: JobId,
    /// Name of its task; empty if its body cannot be read.
    pub task: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub ended: Ended,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The job is done.
    Done,
    /// It failed and runs again.
    Retried {
        /// Not before this.
        delay: Duration,
        /// Why it failed.
        error: String,
    },
    /// The job is dead.
    Buried {
        /// Why.
        error: String,
    },
    /// The job was cancelled.
    Cancelled {
        /// What is known of it.
        reason: String,
    },
    /// The job was not started in time.
    Expired {
        /// How late it was.
        reason: String,
    },
    /// It was given back, and waits again.
    Back,
    /// The registry does not know its task in this version.
    Parked,
    /// The claim was no longer the stepper's: what the job did does not count.
    Lost,
}

impl From<Verdict> for Ended {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Done => Self::Done,
            Verdict::Retry { delay, error } => Self::Retried { delay, error },
            Verdict::Bury { error } => Self::Buried { error },
            Verdict::Cancel { reason } => Self::Cancelled { reason },
            Verdict::Expire { reason } => Self::Expired { reason },
            Verdict::Back => Self::Back,
            Verdict::Park => Self::Parked,
        }
    }
}

/// A worker that is driven by hand.
#[derive(Debug)]
pub(crate) struct HandWorker {
    runner: Runner,
    care: Care,
    /// Keep what its jobs listen to alive.
    _stop: Stop,
    _news: watch::Sender<News>,
}

impl HandWorker {
    pub(crate) fn new(
        redis: &Redis,
        keys: &Keys,
        registry: Registry,
        options: &WorkerOptions,
    ) -> Self {
        let registry = Arc::new(registry);
        let (stop, shutdown) = Shutdown::manual();
        let (tell, news) = watch::channel(News::default());
        let turns = Turns {
            redis: redis.clone(),
            keys: keys.clone(),
            worker: BootId::fresh(),
            time_to_live: ALIVE,
            max_deaths: options.max_deaths,
        };
        let runner = Runner {
            tail: Tail::default(),
            registry: Arc::clone(&registry),
            turns,
            closures: Arc::default(),
            polls: Polls::default(),
            shutdown,
            news,
        };
        Self {
            runner,
            care: Care::new(redis.clone(), keys.clone(), options)
                .knowing(&registry, &options.limits),
            _stop: stop,
            _news: tell,
        }
    }

    /// Does the care that is due; tells until when nothing else is.
    pub(crate) async fn care(&mut self) -> Result<Option<Duration>, KvError> {
        loop {
            let cared = self.care.look().await?;
            if !cared.more {
                return Ok(cared.next_due);
            }
        }
    }

    /// Claims, runs and settles the next job, if any may run: of the highest queue that has one.
    pub(crate) async fn step(&mut self) -> Result<Option<Ran>, KvError> {
        self.care().await?;
        let turns = &self.runner.turns;
        let one = Demand {
            order: Queue::ALL.map(|queue| (queue, 1)).to_vec(),
            free: 1,
            ..Demand::default()
        };
        let reply = turns.take(&[], None, &one).await?;
        let Some(claimed) = reply.claimed.into_iter().next() else {
            return Ok(None);
        };
        let (id, attempt) = (claimed.id, claimed.lease.attempt());
        let text = String::from_utf8_lossy(&claimed.body);
        let task = Body::read(&text).map_or_else(|_| String::new(), |body| body.task.into_owned());

        let settlement = self.runner.clone().run(claimed).await;
        let mut ended = settlement.verdict.clone().into();
        let reply = turns.take(&[settlement], None, &Demand::default()).await?;
        if reply.refused.contains(&id) {
            ended = Ended::Lost;
        }
        Ok(Some(Ran {
            id,
            task,
            attempt,
            ended,
        }))
    }
}
