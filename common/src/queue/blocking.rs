//! Blocking: a place for what holds its thread, be it computing or calling what cannot wait otherwise. It
//! runs on a thread of its own beside the runtime, so that heartbeat, turns and other jobs go on.
//!
//! Code that holds a thread cannot be dropped. At a timeout, at the end of a shutdown's patience, or when
//! whoever waits for it is dropped, it is *asked* to stop ([`BlockingJob::should_stop`]); its job keeps its
//! slot and its claim until the code has really ended, so that it never runs beside itself.

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    JobContext, JobId, Lane, Queue, Task, TaskError, Unique,
    task::{no_upcast, usual_backoff},
};
use crate::shutdown::Shutdown;

/// A task that holds its thread. As [`Task`], but for `run`, which is a plain function. Added to a worker
/// with [`super::Registry::with_blocking`]; enqueued like any other.
///
/// A process runs 512 of them at once at most; the rest wait for a thread.
pub trait BlockingTask: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// As [`Task::NAME`].
    const NAME: &'static str;
    /// As [`Task::QUEUE`].
    const QUEUE: Queue = Queue::Default;
    /// As [`Task::MAX_ATTEMPTS`].
    const MAX_ATTEMPTS: u32 = 10;
    /// How long one attempt may take; then it is asked to stop. It counts as failed when it has ended.
    const TIMEOUT: Option<Duration> = None;
    /// As [`Task::KEEP_RESULT`].
    const KEEP_RESULT: Option<Duration> = None;
    /// As [`Task::VERSION`].
    const VERSION: u32 = 1;

    /// As [`Task::Context`].
    type Context: Send + Sync + 'static;
    /// As [`Task::Output`].
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Does the work, and asks [`BlockingJob::should_stop`] now and then.
    ///
    /// # Errors
    /// If the attempt failed.
    fn run(self, context: &Self::Context, job: &BlockingJob) -> Result<Self::Output, TaskError>;

    /// As [`Task::lane`].
    fn lane(&self) -> Option<Lane> {
        None
    }

    /// As [`Task::unique`].
    fn unique(&self) -> Option<Unique> {
        None
    }

    /// As [`Task::upcast`].
    ///
    /// # Errors
    /// If that cannot be done.
    fn upcast(version: u32, _args: Value) -> Result<Value, TaskError> {
        Err(no_upcast(Self::NAME, version))
    }

    /// As [`Task::backoff`].
    fn backoff(attempt: u32) -> Duration {
        usual_backoff(attempt)
    }
}

impl<T: BlockingTask> Task for T {
    const NAME: &'static str = <T as BlockingTask>::NAME;
    const QUEUE: Queue = <T as BlockingTask>::QUEUE;
    const MAX_ATTEMPTS: u32 = <T as BlockingTask>::MAX_ATTEMPTS;
    const TIMEOUT: Option<Duration> = <T as BlockingTask>::TIMEOUT;
    const KEEP_RESULT: Option<Duration> = <T as BlockingTask>::KEEP_RESULT;
    const VERSION: u32 = <T as BlockingTask>::VERSION;
    type Context = Arc<<T as BlockingTask>::Context>;
    type Output = <T as BlockingTask>::Output;

    async fn run(
        self,
        context: &Self::Context,
        job: &JobContext,
    ) -> Result<Self::Output, TaskError> {
        let context = Arc::clone(context);
        job.blocking(move |job| BlockingTask::run(self, &context, job))
            .await
    }

    fn lane(&self) -> Option<Lane> {
        BlockingTask::lane(self)
    }

    fn unique(&self) -> Option<Unique> {
        BlockingTask::unique(self)
    }

    fn upcast(version: u32, args: Value) -> Result<Value, TaskError> {
        <T as BlockingTask>::upcast(version, args)
    }

    fn backoff(attempt: u32) -> Duration {
        <T as BlockingTask>::backoff(attempt)
    }
}

/// What code that blocks knows of its job.
#[derive(Debug)]
pub struct BlockingJob {
    id: JobId,
    attempt: u32,
    tick: Option<SystemTime>,
    stop: Arc<AtomicBool>,
    shutdown: Shutdown,
}

impl BlockingJob {
    /// As [`JobContext::id`].
    pub fn id(&self) -> JobId {
        self.id
    }

    /// As [`JobContext::attempt`].
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// As [`JobContext::tick`].
    pub fn tick(&self) -> Option<SystemTime> {
        self.tick
    }

    /// Whether nobody waits for the outcome any more: the time is up, or the worker ends. Then return soon,
    /// with whatever; the job is settled without it.
    pub fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Hears when the worker is to stop; what still runs at its deadline should stop.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}

impl JobContext {
    /// Runs code that blocks on a thread where it may, and waits for it. A panic in it is one of the job.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn blocking<R, W>(&self, work: W) -> Result<R, TaskError>
    where
        R: Send + 'static,
        W: FnOnce(&BlockingJob) -> Result<R, TaskError> + Send + 'static,
    {
        let asked = StopWhenDropped(Arc::default());
        let job = BlockingJob {
            id: self.id(),
            attempt: self.attempt(),
            tick: self.tick(),
            stop: Arc::clone(&asked.0),
            shutdown: self.shutdown().clone(),
        };
        let running = self.blocking.begin();
        let span = tracing::Span::current();
        let ended = tokio::task::spawn_blocking(move || {
            let _running = running;
            if job.should_stop() {
                return Err("it was to stop before it had a thread".into());
            }
            span.in_scope(|| work(&job))
        });
        match ended.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err("the runtime ended before it had a thread".into()),
        }
    }
}

struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the jobs of one worker run on threads where they may block.
#[derive(Debug, Default)]
pub(super) struct Closures {
    running: watch::Sender<HashMap<JobId, usize>>,
}

impl Closures {
    /// Waits until all have ended, for `patience` at most; returns the jobs whose have not.
    pub(super) async fn ended(&self, patience: Duration) -> Vec<JobId> {
        let mut running = self.running.subscribe();
        let all = running.wait_for(HashMap::is_empty);
        let _ = tokio::time::timeout(patience, all).await;
        self.running.borrow().keys().copied().collect()
    }
}

/// What one job runs so.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    closures: Option<(JobId, Arc<Closures>)>,
    began: AtomicBool,
}

impl Blocking {
    pub(super) fn of(id: JobId, closures: &Arc<Closures>) -> Self {
        Self {
            closures: Some((id, Arc::clone(closures))),
            began: AtomicBool::new(false),
        }
    }

    fn begin(&self) -> Option<Running> {
        self.began.store(true, Ordering::Relaxed);
        let (id, closures) = self.closures.clone()?;
        closures
            .running
            .send_modify(|running| *running.entry(id).or_default() += 1);
        Some(Running { id, closures })
    }

    /// Waits until all that the job began so has ended; asked to stop or not.
    pub(super) async fn ended(&self) {
        if !self.began.load(Ordering::Relaxed) {
            return;
        }
        if let Some((id, closures)) = &self.closures {
            let mut running = closures.running.subscribe();
            let _ = running.wait_for(|running| !running.contains_key(id)).await;
        }
    }
}

/// Code of a job that holds a thread.
struct Running {
    id: JobId,
    closures: Arc<Closures>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.closures.running.send_modify(|running| {
            let left = running.get(&self.id).map_or(0, |n| n - 1);
            if left == 0 {
                running.remove(&self.id);
            } else {
                running.insert(self.id, left);
            }
        });
    }
}
