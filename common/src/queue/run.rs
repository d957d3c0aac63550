//! Run: one claimed job, from its body to the verdict on it. A panic is caught, a timeout kept.
//! Before this, [`super::turn`] claimed it; next, [`super::settle`].

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures_util::FutureExt;
use tracing::Instrument;

use super::{
    Registry,
    blocking::{Blocking, Closures},
    context::JobContext,
    job::Body,
    parking,
    registry::{Args, Entry, Output},
    settle::{Settlement, Verdict},
    turn::{Claimed, Turns},
    watch::Polls,
};
use crate::shutdown::Shutdown;

/// What every job of a worker runs with.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    pub(super) registry: Arc<Registry>,
    pub(super) turns: Turns,
    /// What runs where it may block.
    pub(super) closures: Arc<Closures>,
    /// Which jobs hold a thread of the runtime.
    pub(super) polls: Polls,
    pub(super) shutdown: Shutdown,
}

impl Runner {
    /// Runs a job to its verdict.
    pub(super) async fn run(self, claimed: Claimed) -> Settlement {
        let bury = |error: String| Settlement::of(&claimed, Verdict::Bury { error });
        let Ok(text) = std::str::from_utf8(&claimed.body) else {
            return bury("its body is not UTF-8; read it with HGET and discard the job".to_owned());
        };
        let body = match Body::read(text) {
            Ok(body) => body,
            Err(error) => return bury(format!("its body cannot be read: {error}")),
        };
        let mut settlement = Settlement {
            id: claimed.id,
            lease: claimed.lease.clone(),
            ties: body.ties(),
            had_group: false,
            output: None,
            verdict: Verdict::Done,
        };
        let Some(entry) = self.registry.get(&body.task, body.version) else {
            parking::tell(claimed.id, &body);
            settlement.verdict = Verdict::Park;
            return settlement;
        };
        let attempt = claimed.lease.attempt();
        let max_attempts = body.max_attempts.unwrap_or(entry.max_attempts);
        if attempt > max_attempts.max(1) {
            // A failure would have buried it; a worker that died cannot.
            let error = format!(
                "its attempts are used up: the worker died in the last of {max_attempts}; it is not run again"
            );
            tracing::error!(job.id = %claimed.id, task = entry.name, "{} is buried: {error}", claimed.id);
            metrics::counter!("rhubarb_jobs_total", "task" => entry.name, "outcome" => "buried")
                .increment(1);
            settlement.verdict = Verdict::Bury { error };
            return settlement;
        }
        let job = JobContext {
            turns: self.turns,
            id: claimed.id,
            lease: claimed.lease.clone(),
            follows: body.follows,
            wants_output: body.wants_output(),
            had_group: AtomicBool::new(false),
            tick: body.tick,
            blocking: Blocking::of(claimed.id, &self.closures),
            shutdown: self.shutdown,
        };
        let span = tracing::info_span!(
            "job", job.id = %claimed.id, task = entry.name, queue = %claimed.id.queue(), attempt
        );
        let judged = async {
            let started = Instant::now();
            let args = Args {
                version: body.version,
                text: body.args.get(),
            };
            let outcome = attempt_once(&entry, args, &job).await;
            // What blocks a thread cannot be dropped: it is still until then, whatever its verdict.
            job.blocking.ended().await;
            metrics::histogram!("rhubarb_job_seconds", "task" => entry.name)
                .record(started.elapsed().as_secs_f64());
            verdict(&entry, attempt, max_attempts, outcome)
        };
        // A panic out here is one of the task's `backoff`, or of what it drops at its timeout.
        let judged = AssertUnwindSafe(judged.instrument(span)).catch_unwind();
        let judged = self.polls.watch(entry.name, claimed.id, judged);
        (settlement.verdict, settlement.output) = judged.await.unwrap_or_else(|panic| {
            let error = format!("it panicked beside its run: {}", text_of(&*panic));
            (Verdict::Bury { error }, None)
        });
        settlement.had_group = job.had_group.load(Ordering::Relaxed);
        settlement
    }
}

/// A failed attempt.
struct Failure {
    error: String,
    fatal: bool,
}

async fn attempt_once(entry: &Entry, args: Args<'_>, job: &JobContext) -> Result<Output, Failure> {
    let running = AssertUnwindSafe((entry.run)(args, job)).catch_unwind();
    let outcome = match entry.timeout {
        None => running.await,
        Some(limit) => tokio::time::timeout(limit, running)
            .await
            .map_err(|_| Failure {
                error: format!("it took longer than its limit of {limit:?}"),
                fatal: false,
            })?,
    };
    match outcome {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(Failure {
            fatal: error.is_fatal(),
            error: error.to_string(),
        }),
        Err(panic) => Err(Failure {
            error: format!("it panicked: {}", text_of(&*panic)),
            fatal: false,
        }),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref().map(String::as_str))
        .unwrap_or_default()
}

fn verdict(
    entry: &Entry,
    attempt: u32,
    max_attempts: u32,
    outcome: Result<Output, Failure>,
) -> (Verdict, Output) {
    let mut given = None;
    let (name, verdict) = match outcome {
        Ok(output) => {
            given = output;
            ("done", Verdict::Done)
        }
        Err(Failure { error, fatal }) if fatal || attempt >= max_attempts => {
            tracing::error!(
                "attempt {attempt} of {max_attempts} failed, the job is buried: {error}"
            );
            ("buried", Verdict::Bury { error })
        }
        Err(Failure { error, .. }) => {
            let delay = (entry.backoff)(attempt);
            tracing::warn!(
                "attempt {attempt} of {max_attempts} failed, the next is in {delay:.1?}: {error}"
            );
            ("retried", Verdict::Retry { delay, error })
        }
    };
    metrics::counter!("rhubarb_jobs_total", "task" => entry.name, "outcome" => name).increment(1);
    (verdict, given)
}
