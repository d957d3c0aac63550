//! Run: one claimed job, from its body to the verdict on it. A panic is caught, a timeout kept.
//! Before this, [`super::turn`] claimed it; next, [`super::settle`].

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::sync::watch;
use tracing::Instrument;

use super::{
    Registry,
    blocking::{Blocking, Closures},
    context::JobContext,
    heartbeat::News,
    inspect::Times,
    job::Body,
    middleware::{self, Layer},
    parking,
    registry::{Args, Entry, Output},
    report::Attempt,
    settle::{Settlement, Verdict},
    stop::Stops,
    tail::Tail,
    trace::{self, TraceParent},
    turn::{Claimed, Lease, Turns},
    unique::{Held, Until},
    watch::Polls,
};
use crate::{error::Chain, shutdown::Shutdown};

/// Before a job whose key could not be released is given back.
const UNRELEASED: Duration = Duration::from_secs(1);

/// What every job of a worker runs with.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    pub(super) registry: Arc<Registry>,
    pub(super) turns: Turns,
    /// What runs where it may block.
    pub(super) closures: Arc<Closures>,
    /// Who follows what happens.
    pub(super) tail: Tail,
    /// Which jobs hold a thread of the runtime.
    pub(super) polls: Polls,
    pub(super) shutdown: Shutdown,
    pub(super) news: watch::Receiver<News>,
}

impl Runner {
    /// Runs a job to its verdict.
    pub(super) async fn run(self, claimed: Claimed) -> Settlement {
        let bury =
            |error: String| Settlement::of(claimed.id, &claimed.lease, Verdict::Bury { error });
        let Ok(text) = std::str::from_utf8(&claimed.body) else {
            return bury("its body is not UTF-8; read it with HGET and discard the job".to_owned());
        };
        let body = match Body::read(text) {
            Ok(body) => body,
            Err(error) => return bury(format!("its body cannot be read: {error}")),
        };
        let mut settlement = Settlement {
            ties: body.ties(),
            ..Settlement::of(claimed.id, &claimed.lease, Verdict::Done)
        };
        let told = Attempt::begun(&self.tail, self.turns.worker, &claimed, text, &body.task);
        let Some(entry) = self.registry.get(&body.task, body.version) else {
            parking::tell(claimed.id, &body);
            settlement.verdict = Verdict::Park;
            told.put_aside(&settlement.verdict);
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
            settlement.verdict = Verdict::Bury { error };
            told.ended(&entry, &settlement.verdict, None);
            return settlement;
        }
        if !self.may_start(&claimed, &body).await {
            settlement.verdict = Verdict::Back;
            told.put_aside(&settlement.verdict);
            return settlement;
        }
        if let Some(reason) = too_late(&body, text, &claimed.lease) {
            tracing::warn!(job.id = %claimed.id, task = entry.name, "{} has expired: {reason}", claimed.id);
            settlement.verdict = Verdict::Expire { reason };
            told.ended(&entry, &settlement.verdict, None);
            return settlement;
        }
        let limits = TimeLimits {
            hard: own_or(body.timeout, entry.timeout),
            cancel_grace: entry.cancel_grace,
        };
        let soft = own_or(body.soft_timeout, entry.soft_timeout);
        let job = JobContext {
            turns: self.turns,
            id: claimed.id,
            lease: claimed.lease.clone(),
            follows: body.follows,
            flow: body.flow,
            wants_output: body.wants_output(),
            trace: body.trace.map(TraceParent::child),
            had_group: AtomicBool::new(false),
            told_progress: AtomicBool::new(false),
            tick: body.tick,
            blocking: Blocking::of(claimed.id, &self.closures),
            shutdown: self.shutdown,
            stops: Stops::new(self.news, soft),
        };
        let span = tracing::info_span!(
            "job", job.id = %claimed.id, task = entry.name, queue = %claimed.id.queue(), attempt,
            trace.id = tracing::field::Empty,
        );
        if let Some(trace) = job.trace {
            span.record("trace.id", trace.trace_id());
        }
        let layers = &self.registry.layers[..];
        let judged = async {
            if !entry.is_quick() {
                // The consumer tries jobs itself before it gives them a task: not this one.
                tokio::task::yield_now().await;
            }
            let started = Instant::now();
            let args = Args {
                version: body.version,
                text: body.args.get(),
            };
            let outcome = attempt_once(layers, &entry, args, &job, &limits).await;
            // What blocks a thread cannot be dropped: it is still until then, whatever its verdict.
            job.blocking.ended().await;
            let took = started.elapsed();
            entry.took(took);
            let (verdict, output) = verdict(&entry, &job, max_attempts, outcome);
            (verdict, output, Some(took))
        };
        // A panic out here is one of the task's `backoff`, or of what it drops at its timeout.
        let judged = AssertUnwindSafe(judged.instrument(span)).catch_unwind();
        let judged = self.polls.watch(entry.name, claimed.id, judged);
        let (verdict, output, took) = judged.await.unwrap_or_else(|panic| {
            let error = format!("it panicked beside its run: {}", text_of(&*panic));
            (Verdict::Bury { error }, None, None)
        });
        (settlement.verdict, settlement.output) = (verdict, output);
        told.ended(&entry, &settlement.verdict, took);
        settlement.had_group = job.had_group.load(Ordering::Relaxed);
        settlement.ties.heard = job.told_progress.load(Ordering::Relaxed) || job.is_cancelled();
        settlement
    }
}

impl Runner {
    /// Releases the key of a job that is unique until it is started; before its start, so that it sees all that
    /// was done before an enqueue that found it here. What cannot be released is not run.
    async fn may_start(&self, claimed: &Claimed, body: &Body<'_>) -> bool {
        let Some(hold) = body.unique.as_ref().filter(|h| h.until == Until::Started) else {
            return true;
        };
        let (id, key) = (claimed.id, &hold.key);
        match self.turns.release(id, &claimed.lease, key).await {
            Ok(claim) => claim == Held::Yes,
            Err(error) => {
                tracing::warn!(job.id = %id, error = %Chain(&error), "{id} waits again: cannot release `{key}`");
                tokio::time::sleep(UNRELEASED).await;
                false
            }
        }
    }
}

/// How long an attempt may go on.
struct TimeLimits {
    hard: Option<Duration>,
    /// After it was cancelled.
    cancel_grace: Duration,
}

/// A limit of the job's own, in ms, or its task's.
fn own_or(ms: Option<u64>, tasks: Option<Duration>) -> Option<Duration> {
    ms.map(Duration::from_millis).or(tasks)
}

/// How late a job is that was not started in time. What ran before was started, and what somebody retries
/// by hand is wanted.
fn too_late(body: &Body<'_>, text: &str, lease: &Lease) -> Option<String> {
    let limit = body.expires?;
    if lease.attempt() > 1 || lease.has_record() {
        return None;
    }
    let times = Times::of(text);
    let since = times.made.max(times.due)?;
    let waited = lease.claimed_ms().saturating_sub(since);
    (waited > limit).then(|| format!("it waited {waited} ms, and no more than {limit} was allowed"))
}

/// A failed attempt.
enum Failure {
    /// It may be tried again.
    Flaw(String),
    /// No retry can mend it.
    Fatal(String),
    /// It was cancelled, and did not end by itself.
    Dropped,
}

async fn attempt_once(
    layers: &[Box<dyn Layer>],
    entry: &Entry,
    args: Args<'_>,
    job: &JobContext,
    limits: &TimeLimits,
) -> Result<Output, Failure> {
    let running = middleware::attempt(layers, entry, args, job);
    let running = AssertUnwindSafe(trace::within(job.trace, running)).catch_unwind();
    // Made when the job first waits, and on the heap: most jobs never do, and stay small.
    let stopped = async { Box::pin(stop(job, limits)).await };
    let outcome = tokio::select! {
        biased;
        outcome = running => outcome,
        failure = stopped => return Err(failure),
    };
    match outcome {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) if error.is_fatal() => Err(Failure::Fatal(error.to_string())),
        Ok(Err(error)) => Err(Failure::Flaw(error.to_string())),
        Err(panic) => Err(Failure::Flaw(format!("it panicked: {}", text_of(&*panic)))),
    }
}

/// Waits until an attempt may go on no longer.
async fn stop(job: &JobContext, limits: &TimeLimits) -> Failure {
    let overtime = async {
        match limits.hard {
            Some(limit) => {
                tokio::time::sleep(limit).await;
                limit
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        limit = overtime => Failure::Flaw(format!("it took longer than its limit of {limit:?}")),
        () = job.is_given_up(limits.cancel_grace) => Failure::Dropped,
    }
}

pub(super) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref().map(String::as_str))
        .unwrap_or_default()
}

fn verdict(
    entry: &Entry,
    job: &JobContext,
    max_attempts: u32,
    outcome: Result<Output, Failure>,
) -> (Verdict, Output) {
    let attempt = job.attempt();
    let mut given = None;
    let verdict = match outcome {
        Ok(output) => {
            given = output;
            Verdict::Done
        }
        Err(Failure::Dropped) => {
            tracing::info!("it was cancelled and is dropped");
            let reason = "cancelled while it ran".to_owned();
            Verdict::Cancel { reason }
        }
        Err(Failure::Flaw(error) | Failure::Fatal(error)) if job.is_cancelled() => {
            tracing::info!("it was cancelled and has ended: {error}");
            let reason = format!("cancelled while it ran; it ended with: {error}");
            Verdict::Cancel { reason }
        }
        Err(Failure::Flaw(error)) if attempt < max_attempts => {
            let delay = (entry.backoff)(attempt);
            tracing::warn!(
                "attempt {attempt} of {max_attempts} failed, the next is in {delay:.1?}: {error}"
            );
            Verdict::Retry { delay, error }
        }
        Err(Failure::Flaw(error) | Failure::Fatal(error)) => {
            tracing::error!(
                "attempt {attempt} of {max_attempts} failed, the job is buried: {error}"
            );
            Verdict::Bury { error }
        }
    };
    (verdict, given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_started_can_be_too_late() {
        let is_late = |text: &str, lease: &str| {
            let body = Body::read(text).unwrap();
            too_late(&body, text, &Lease::from(lease)).is_some()
        };
        let now = r#"{"at":1000,"task":"t","args":1,"expires":50}"#;
        let due = r#"{"at":1000,"due":2000,"task":"t","args":1,"expires":50}"#;
        let overdue = r#"{"at":1000,"due":7,"task":"t","args":1,"expires":50}"#;

        assert!(!is_late(now, "1@1050999"));
        assert!(is_late(now, "1@1051000"));
        assert!(!is_late(now, "2#9999000"), "it was started before");
        assert!(!is_late(now, "1#9999000"), "it was retried by hand");
        assert!(!is_late(due, "1@2050000"));
        assert!(is_late(due, "1@2051000"));
        assert!(!is_late(overdue, "1@1050000"), "it could not run before");
        assert!(!is_late(r#"{"at":1,"task":"t","args":1}"#, "1@9999000"));
    }
}
