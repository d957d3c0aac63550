//! Middleware: code around every attempt of every task of a worker. Before, after, or instead of it.

use std::{fmt, future::Future, panic::AssertUnwindSafe};

use futures_util::{FutureExt, future::BoxFuture};

use super::{
    TaskError,
    context::JobContext,
    registry::{Args, Entry, Outcome, Output},
    run::text_of,
};

/// Code that runs around each attempt: see [`super::Registry::around`].
///
/// ```
/// use common::queue::{JobContext, Middleware, Next, TaskError};
///
/// /// Refuses tasks that this place is not to run, and tells how the others ended.
/// struct Guard;
///
/// impl Middleware for Guard {
///     async fn around(&self, job: &JobContext, next: Next<'_>) -> Result<(), TaskError> {
///         let task = next.task();
///         if task.starts_with("billing.") {
///             return Err(TaskError::fatal(format!("`{task}` is not run here"))); // before: refused
///         }
///         let outcome = next.run().await;
///         if let Err(error) = &outcome {
///             eprintln!("{} (`{task}`), attempt {}: {error}", job.id(), job.attempt()); // after
///         }
///         outcome
///     }
/// }
/// ```
pub trait Middleware: Send + Sync + 'static {
    /// Runs what is further in with [`Next::run`], or does not. What it returns counts as what the task
    /// returned: an error is tried again, unless it is fatal.
    ///
    /// An attempt that reaches its time limit, or whose job is cancelled, is dropped with its middleware: what
    /// must be done even then belongs in a `Drop`.
    fn around(
        &self,
        job: &JobContext,
        next: Next<'_>,
    ) -> impl Future<Output = Result<(), TaskError>> + Send;
}

/// A middleware with its type erased.
pub(super) trait Layer: Send + Sync {
    fn wrap<'a>(
        &'a self,
        job: &'a JobContext,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<(), TaskError>>;
}

impl<M: Middleware> Layer for M {
    fn wrap<'a>(
        &'a self,
        job: &'a JobContext,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<(), TaskError>> {
        self.around(job, next).boxed()
    }
}

/// What is further in: the middleware that was added later, and the task.
#[must_use = "the task does not run unless this is run"]
pub struct Next<'a> {
    layers: &'a [Box<dyn Layer>],
    entry: &'a Entry,
    args: Args<'a>,
    job: &'a JobContext,
    /// What the task gave back, past the middleware.
    output: &'a mut Output,
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Next").field(&self.entry.name).finish()
    }
}

impl<'a> Next<'a> {
    /// Name of the task.
    pub fn task(&self) -> &'static str {
        self.entry.name
    }

    /// The task's arguments, as JSON.
    pub fn args(&self) -> &'a str {
        self.args.text
    }

    /// Runs it.
    ///
    /// # Errors
    /// If the task fails or panics, or a middleware further in refuses.
    pub async fn run(self) -> Result<(), TaskError> {
        if let Some((first, layers)) = self.layers.split_first() {
            return first.wrap(self.job, Next { layers, ..self }).await;
        }
        let running = (self.entry.run)(self.args, self.job);
        match AssertUnwindSafe(running).catch_unwind().await {
            Ok(outcome) => *self.output = outcome?,
            Err(panic) => return Err(format!("it panicked: {}", text_of(&*panic)).into()),
        }
        Ok(())
    }
}

/// One attempt, with what is around it. Without middleware it is the task's own run and nothing more.
pub(super) fn attempt<'a>(
    layers: &'a [Box<dyn Layer>],
    entry: &'a Entry,
    args: Args<'a>,
    job: &'a JobContext,
) -> Outcome<'a> {
    if layers.is_empty() {
        return (entry.run)(args, job);
    }
    Box::pin(async move {
        let mut output = None;
        let next = Next {
            layers,
            entry,
            args,
            job,
            output: &mut output,
        };
        next.run().await?;
        Ok(output)
    })
}
