//! Jobs run by hand, and a clock to move: what tests of tasks need to be quick and to know what happens when.

use std::{sync::LazyLock, time::Duration};

use super::{PATIENCE, TestQueue};
use crate::{
    kv::{Keys, Redis, Script},
    queue::{CallError, HandWorker, Options, Producer, Ran, Registry, Task, enqueue::millis},
};

static ADVANCE: LazyLock<Script> =
    LazyLock::new(|| Script::new("move the clock", &[include_str!("lua/advance.lua")]));

/// Attempts that [`Stepper::run_all`] runs at most: some task goes on for ever.
const MOST: usize = 100_000;
/// How often it moves the clock at most while nothing comes of it.
const MOST_IDLE: usize = 1000;
/// How long a call's outcome is kept: the clock may be moved far.
const KEEP: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Runs jobs one at a time, when it is told to: the highest queue first, and each queue in order. It uses the
/// scripts and the code of a real worker, and can stand beside real ones.
///
/// It has no heartbeat, and so a job that it runs does not hear at once that it is cancelled: the cancel
/// counts when the job has ended.
#[derive(Debug)]
pub struct Stepper {
    worker: HandWorker,
    redis: Redis,
    keys: Keys,
}

impl Stepper {
    /// Claims, runs and settles one job; none if none may run now. Jobs that are due wait no longer.
    ///
    /// # Panics
    /// If Redis fails.
    pub async fn step(&mut self) -> Option<Ran> {
        let step = Box::pin(self.worker.step()).await;
        step.expect("a Redis that answers")
    }

    /// Runs all that may run now, and what comes of it, until nothing is left that may run now.
    ///
    /// # Panics
    /// If Redis fails, or it does not end.
    pub async fn run_due(&mut self) -> Vec<Ran> {
        let mut all = Vec::new();
        while let Some(ran) = self.step().await {
            all.push(ran);
            assert!(all.len() < MOST, "{MOST} attempts, and still more to run");
        }
        all
    }

    /// Runs everything to its end: when nothing may run now, the clock is moved to what is due next.
    ///
    /// # Panics
    /// If Redis fails, or it does not end.
    pub async fn run_all(&mut self) -> Vec<Ran> {
        let mut all = Vec::new();
        let mut idle = 0;
        loop {
            let ran = self.run_due().await;
            idle = if ran.is_empty() { idle + 1 } else { 0 };
            all.extend(ran);
            assert!(
                all.len() < MOST && idle < MOST_IDLE,
                "this does not end: {} attempts, the last {:?}",
                all.len(),
                all.last()
            );
            let next = Box::pin(self.worker.care()).await;
            let Some(next) = next.expect("a Redis that answers") else {
                return all;
            };
            // Care knows whole milliseconds.
            advance(&self.redis, &self.keys, next + Duration::from_millis(1)).await;
        }
    }

    /// Runs a task, and all that it leads to, as if it were called here; returns what it gave back.
    ///
    /// # Errors
    /// If it cannot be enqueued, or did not end well.
    ///
    /// # Panics
    /// As [`Self::run_all`].
    pub async fn call<T: Task>(&mut self, task: &T) -> Result<T::Output, CallError> {
        let producer = Producer::new(self.redis.clone(), self.keys.clone());
        let options = Options {
            keep_result: Some(KEEP),
            ..Options::default()
        };
        let job = producer.enqueue_with(task, &options).await?;
        self.run_all().await;
        producer.handle::<T>(job).wait(PATIENCE).await
    }
}

impl TestQueue {
    /// A worker that is driven by hand.
    pub fn stepper(&self, registry: Registry) -> Stepper {
        let options = Self::options("high=1,default=1,low=1");
        Stepper {
            worker: HandWorker::new(&self.redis, &self.keys, registry, &options),
            redis: self.redis.clone(),
            keys: self.keys.clone(),
        }
    }

    /// Runs everything to its end, one job at a time, whatever the time: see [`Stepper::run_all`].
    ///
    /// # Panics
    /// If Redis fails, or it does not end.
    pub async fn run_all(&self, registry: Registry) -> Vec<Ran> {
        self.stepper(registry).run_all().await
    }

    /// Moves the clock: all that is kept in Redis of times is as if `by` had passed. So jobs become due,
    /// attempts are made again, lanes go on by their rate, outcomes and keys of [`Unique::once_in`] expire, and
    /// jobs become too late. Workers that run hear of it at once.
    ///
    /// Not moved: the heartbeats of workers, the time limits of attempts that run (they are kept in their
    /// worker), and the clock of this process, by which [`When::At`] is meant.
    ///
    /// [`Unique::once_in`]: crate::queue::Unique::once_in
    /// [`When::At`]: crate::queue::When::At
    ///
    /// # Panics
    /// If Redis fails.
    pub async fn advance(&self, by: Duration) {
        advance(&self.redis, &self.keys, by).await;
    }
}

async fn advance(redis: &Redis, keys: &Keys, by: Duration) {
    let mut call = ADVANCE.on(keys.prefix());
    call.arg(millis(by));
    let moved: Result<(), _> = call.run(redis).await;
    moved.expect("a Redis that answers");
}
