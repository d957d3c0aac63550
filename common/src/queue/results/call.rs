//! Call: enqueue a job and wait for what it gives back, as if it were a function that runs elsewhere.

use std::time::Duration;

use tokio::time::Instant;

use super::{CallError, JobHandle, hearing::LOOK_EVERY};
use crate::queue::{Enqueued, JobId, Options, Producer, Task};

/// How long the outcome of a call is kept, if nobody says: as long as the caller may be cut off.
const KEEP: Duration = Duration::from_secs(60);

impl Producer {
    /// Enqueues a job and waits until it has ended; returns what it gave back. That takes one call of Redis
    /// and one message from it. If the future is dropped, the job runs all the same: for a time limit, see
    /// [`Options::expires_in`], [`Options::timeout`] and [`tokio::time::timeout`]. If the task is unique and such
    /// a job is here already, its end is awaited; it must keep its outcome.
    ///
    /// # Errors
    /// If it cannot be enqueued, or did not end well: see [`CallError`].
    pub async fn call<T: Task>(&self, task: &T) -> Result<T::Output, CallError> {
        self.call_with(task, &Options::default()).await
    }

    /// Calls a job in another way than the task's own.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_with<T: Task>(
        &self,
        task: &T,
        options: &Options,
    ) -> Result<T::Output, CallError> {
        let (mut ear, reply) = self.hearing.call().await;
        let keep = options.keep_result.or(T::KEEP_RESULT).unwrap_or(KEEP);
        let options = Options {
            keep_result: Some(keep),
            ..options.clone()
        };
        let Enqueued { id: job, existed } = self.enqueue_for(task, &options, Some(&reply)).await?;
        let mut first_look = Instant::now() + LOOK_EVERY;
        if existed {
            // A unique job that somebody else enqueued does not tell this call, but its own channel.
            ear = self.hearing.job(job).await;
            first_look = Instant::now();
        }
        let outcome = self.hearing.end_of(job, &mut ear, first_look).await?;
        let outcome = outcome
            .typed()
            .map_err(|source| CallError::Output { job, source })?;
        outcome.output_of(job)
    }

    /// A handle on a job of this task, whoever enqueued it.
    pub fn handle<T: Task>(&self, job: JobId) -> JobHandle<T> {
        JobHandle::new(job, &self.hearing)
    }
}
