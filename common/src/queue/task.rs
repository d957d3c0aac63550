//! A task: code that can run, by a stable name, on arguments that are data.

use std::{error::Error, fmt, future::Future, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Lane, Queue, Unique, context::JobContext};
use crate::error::Chain;

/// Code that can run. The value is the arguments; they travel as JSON.
///
/// A task runs at least once, and a second time only for cause (its worker died, it failed, its result
/// could not be stored), so `run` must be safe to run twice.
///
/// ```
/// use common::queue::{JobContext, Task, TaskError};
/// use serde::{Deserialize, Serialize};
///
/// /// Greets somebody.
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Greet { name: String }
///
/// impl Task for Greet {
///     const NAME: &'static str = "demo.greet";
///     type Context = ();
///     type Output = ();
///
///     async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
///         println!("hello {}", self.name);
///         Ok(())
///     }
/// }
/// ```
pub trait Task: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name on the wire. It outlives the type's name: change it only with the jobs that carry it.
    const NAME: &'static str;
    /// Where its jobs are pushed, if the one who enqueues does not choose.
    const QUEUE: Queue = Queue::Default;
    /// Attempts at most, the first included; then the job is dead.
    const MAX_ATTEMPTS: u32 = 10;
    /// How long one attempt may take; then it is dropped at its next await and counts as failed.
    const TIMEOUT: Option<Duration> = None;
    /// After how long an attempt is asked to stop: [`JobContext::stopping`] tells.
    const SOFT_TIMEOUT: Option<Duration> = None;
    /// How long a job that listens to [`JobContext::stopping`] has to end when it is cancelled; then, as
    /// one that does not listen at once, it is dropped at its next await.
    const CANCEL_GRACE: Duration = Duration::from_secs(5);
    /// How long to keep how a job ended, if the one who enqueues does not say.
    const KEEP_RESULT: Option<Duration> = None;

    /// Version of the arguments' shape. Raise it when jobs of older releases can no longer be read as they
    /// are, and tell in [`Task::upcast`] how to read them. A job of a newer version than a worker knows is
    /// parked until a worker comes that knows it.
    const VERSION: u32 = 1;

    /// What its code works with: pools, clients.
    type Context: Send + Sync + 'static;
    /// What it gives back: `()` if nothing.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Does the work.
    fn run(
        self,
        context: &Self::Context,
        job: &JobContext,
    ) -> impl Future<Output = Result<Self::Output, TaskError>> + Send;

    /// The lane that this job goes through, if the one who enqueues does not choose: it limits how many run at
    /// once, and how many in a time. Children of a group, and what follows it, go through theirs, too.
    fn lane(&self) -> Option<Lane> {
        None
    }

    /// Whether there may be another such job, if the one who enqueues does not choose. Not asked for children of a
    /// group, and what follows it: each of them is one of a kind.
    fn unique(&self) -> Option<Unique> {
        None
    }

    /// Makes of arguments of an older version those of this one.
    ///
    /// # Errors
    /// If that cannot be done: the job is buried, unless the error allows a retry.
    fn upcast(version: u32, _args: Value) -> Result<Value, TaskError> {
        Err(no_upcast(Self::NAME, version))
    }

    /// How long to wait before the next attempt, after `attempt` have failed. Half of it is random, so
    /// that jobs that failed together do not come back together.
    fn backoff(attempt: u32) -> Duration {
        usual_backoff(attempt)
    }
}

/// Why arguments of an older version cannot be read by a task that has no `upcast`.
pub(super) fn no_upcast(task: &str, version: u32) -> TaskError {
    TaskError::fatal(format!(
        "`{task}` does not tell how to read arguments of version {version}"
    ))
}

/// The pause of a task that has no `backoff`: a second, doubled up to an hour.
pub(super) fn usual_backoff(attempt: u32) -> Duration {
    exponential(attempt, Duration::from_secs(1), Duration::from_secs(3600))
}

/// `first` doubled for each failed attempt after the first, at most `most`; between half of that and all.
pub fn exponential(attempt: u32, first: Duration, most: Duration) -> Duration {
    let factor = 2_u32
        .checked_pow(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX);
    let whole = first.saturating_mul(factor).min(most);
    whole.mul_f64(rand::random_range(0.5..=1.0))
}

/// Why a task failed. Any error becomes one with `?` and is retried; [`TaskError::fatal`] is not.
#[derive(Debug)]
pub struct TaskError {
    source: Box<dyn Error + Send + Sync>,
    fatal: bool,
}

impl TaskError {
    /// A failure that no retry can mend: the job is buried at once.
    pub fn fatal(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: error.into(),
            fatal: true,
        }
    }

    /// Whether a retry is pointless.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self {
            source: error.into(),
            fatal: false,
        }
    }
}

/// The error and its causes, on one line.
impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Chain(&*self.source).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound_and_is_at_least_half() {
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        for (attempt, whole) in [(1, 1), (2, 2), (5, 16), (7, 60), (40, 60), (u32::MAX, 60)] {
            let delay = exponential(attempt, first, most);
            assert!(delay <= Duration::from_secs(whole), "{attempt}: {delay:?}");
            assert!(
                delay >= Duration::from_secs(whole) / 2,
                "{attempt}: {delay:?}"
            );
        }
    }
}
