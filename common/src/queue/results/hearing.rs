//! What a process hears of jobs: one subscription for all that it awaits, and what is kept, to read when a
//! publication may have been missed.
//!
//! Calls are told on the process's own channel, which stays subscribed, so a call costs no subscription.
//! Other jobs are told on theirs, subscribed to while somebody waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OnceCell, mpsc},
    time::Instant,
};

use super::{AnyOutcome, CallError, Outcome};
use crate::{
    error::Chain,
    id::BootId,
    kv::{
        Keys, KvError, Redis,
        subscription::{Heard, Subscription},
    },
    queue::{JobId, job::Body},
};

/// Whoever waits for long looks so often by himself: nobody publishes what a hand has deleted.
pub(in crate::queue) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What a process hears of jobs.
pub(in crate::queue) struct Hearing {
    redis: Redis,
    keys: Keys,
    /// Names this process's channel.
    process: BootId,
    ears: Arc<Mutex<Ears>>,
    /// Started by whoever waits first.
    subscription: OnceCell<Subscription>,
}

impl std::fmt::Debug for Hearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hearing").finish_non_exhaustive()
    }
}

type Tell = mpsc::UnboundedSender<Signal>;

/// Everybody who waits.
#[derive(Default)]
struct Ears {
    next: u64,
    calls: HashMap<u64, Tell>,
    jobs: HashMap<JobId, Vec<(u64, Tell)>>,
}

/// What somebody who waits hears.
#[derive(Debug)]
pub(in crate::queue) enum Signal {
    /// What was published.
    Told(String),
    /// Something may have been missed.
    Missed,
}

/// What is known of a job.
enum Known {
    /// It has ended, so.
    Ended(AnyOutcome),
    /// It goes on, and its outcome will be kept.
    Pending,
    /// It goes on, and its outcome will not be kept.
    NotKept,
    /// Nothing is.
    Gone,
}

impl Hearing {
    pub(in crate::queue) fn new(redis: Redis, keys: Keys) -> Arc<Self> {
        Arc::new(Self {
            redis,
            keys,
            process: BootId::fresh(),
            ears: Arc::default(),
            subscription: OnceCell::new(),
        })
    }

    /// Listens for the answer to a call; also returns what the job's body is to name.
    pub(super) async fn call(self: &Arc<Self>) -> (Ear, String) {
        self.subscription().await;
        let (tell, heard) = mpsc::unbounded_channel();
        let call = held(&self.ears).enter(|ears, call| drop(ears.calls.insert(call, tell)));
        let ear = Ear {
            hearing: Arc::clone(self),
            call,
            job: None,
            heard,
        };
        (ear, format!("{}/{call}", self.process))
    }

    /// Listens to a job. What is published after this returned is heard; if that is not sure, there is
    /// [`Signal::Missed`] as soon as it is.
    pub(in crate::queue) async fn job(self: &Arc<Self>, job: JobId) -> Ear {
        let subscription = self.subscription().await;
        let (ear, subscribed) = self.enter(job, subscription);
        subscribed.await;
        ear
    }

    fn enter(
        self: &Arc<Self>,
        job: JobId,
        subscription: &Subscription,
    ) -> (Ear, impl Future<Output = bool> + Send + use<>) {
        let (tell, heard) = mpsc::unbounded_channel();
        let mut ears = held(&self.ears);
        let call = ears.enter(|ears, call| ears.jobs.entry(job).or_default().push((call, tell)));
        // Asked for under the lock, as the contrary is: so the last request is the one that holds.
        let subscribed = subscription.subscribe(self.keys.job(job));
        drop(ears);
        let ear = Ear {
            hearing: Arc::clone(self),
            call,
            job: Some(job),
            heard,
        };
        (ear, subscribed)
    }

    async fn subscription(&self) -> &Subscription {
        let start = || async {
            let ears = Arc::clone(&self.ears);
            let replies = self.keys.replies(self.process);
            let jobs = format!("{}job:", self.keys.prefix());
            let subscription = Subscription::start(self.redis.clone(), {
                let replies = replies.clone();
                move |heard| held(&ears).hear(&heard, &replies, &jobs)
            });
            subscription.subscribe(replies).await;
            subscription
        };
        self.subscription.get_or_init(start).await
    }

    /// Waits for the end of a job; looks at once if it may have ended before.
    pub(super) async fn end_of(
        &self,
        job: JobId,
        ear: &mut Ear,
        first_look: Instant,
    ) -> Result<AnyOutcome, CallError> {
        let mut next_look = first_look;
        loop {
            tokio::select! {
                biased;
                signal = ear.next() => match signal {
                    Signal::Told(text) => match AnyOutcome::read(&text) {
                        Some(outcome) => return Ok(outcome),
                        None if is_progress(&text).is_none() => next_look = Instant::now(),
                        None => {}
                    },
                    Signal::Missed => next_look = Instant::now(),
                },
                () = tokio::time::sleep_until(next_look) => {
                    next_look = Instant::now() + match self.known(job).await {
                        Ok(Known::Ended(outcome)) => return Ok(outcome),
                        Ok(Known::NotKept) if ear.job.is_some() => return Err(CallError::NotKept(job)),
                        Ok(Known::Gone) => return Err(CallError::Gone(job)),
                        Ok(Known::Pending | Known::NotKept) => LOOK_EVERY,
                        Err(error) => {
                            tracing::debug!(error = %Chain(&error), job.id = %job, "cannot look at {job}");
                            RETRY
                        }
                    };
                }
            }
        }
    }

    async fn known(&self, job: JobId) -> Result<Known, KvError> {
        let mut connection = self.redis.connection().await?;
        let (result, body, buried): (Option<Vec<u8>>, Option<Vec<u8>>, Option<f64>) = redis::pipe()
            .atomic()
            .get(self.keys.result(job))
            .hget(self.keys.bucket(job), job)
            .zscore(self.keys.dead(), job)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("look how a job ended", source))?;
        let text = |bytes: &Option<Vec<u8>>| {
            let bytes = bytes.as_deref().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        if let Some(outcome) = AnyOutcome::read(&text(&result)) {
            return Ok(Known::Ended(outcome));
        }
        if body.is_none() {
            return Ok(Known::Gone);
        }
        if buried.is_some() {
            let reason = "why is in its history".to_owned();
            return Ok(Known::Ended(Outcome::Dead(reason)));
        }
        let text = text(&body);
        let is_kept = Body::read(&text).is_ok_and(|body| body.ties().keep.is_some());
        Ok(if is_kept {
            Known::Pending
        } else {
            Known::NotKept
        })
    }

    /// How a job ended, if that is kept.
    pub(super) async fn outcome(&self, job: JobId) -> Result<Option<AnyOutcome>, KvError> {
        let mut connection = self.redis.connection().await?;
        let text: Option<String> = redis::cmd("GET")
            .arg(self.keys.result(job))
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read how a job ended", source))?;
        Ok(text.and_then(|text| AnyOutcome::read(&text)))
    }

    /// What a job last told of its progress, and whether it may tell more.
    pub(super) async fn progress(&self, job: JobId) -> Result<(Option<String>, bool), KvError> {
        let mut connection = self.redis.connection().await?;
        let (progress, exists, buried): (Option<String>, bool, Option<f64>) = redis::pipe()
            .atomic()
            .get(self.keys.progress(job))
            .hexists(self.keys.bucket(job), job)
            .zscore(self.keys.dead(), job)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read a job's progress", source))?;
        Ok((progress, exists && buried.is_none()))
    }
}

/// What a job tells of its progress, if a publication is that.
pub(super) fn is_progress(text: &str) -> Option<&str> {
    text.strip_prefix(r#"{"progress":"#)?.strip_suffix('}')
}

fn held(ears: &Mutex<Ears>) -> MutexGuard<'_, Ears> {
    ears.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ears {
    fn enter(&mut self, enter: impl FnOnce(&mut Self, u64)) -> u64 {
        self.next += 1;
        enter(self, self.next);
        self.next
    }

    fn hear(&self, heard: &Heard<'_>, replies: &str, jobs: &str) {
        match heard {
            Heard::Resumed => {
                let jobs = self.jobs.values().flatten().map(|(_, tell)| tell);
                for tell in self.calls.values().chain(jobs) {
                    let _ = tell.send(Signal::Missed);
                }
            }
            Heard::Message { channel, payload } => {
                let text = String::from_utf8_lossy(payload);
                if *channel == replies {
                    let Some((call, outcome)) = text.split_once(' ') else {
                        return;
                    };
                    let call = call
                        .parse()
                        .ok()
                        .and_then(|call: u64| self.calls.get(&call));
                    if let Some(tell) = call {
                        let _ = tell.send(Signal::Told(outcome.to_owned()));
                    }
                } else if let Some(job) = channel.strip_prefix(jobs)
                    && let Some(tells) = job.parse().ok().and_then(|job: JobId| self.jobs.get(&job))
                {
                    for (_, tell) in tells {
                        let _ = tell.send(Signal::Told(text.clone().into_owned()));
                    }
                }
            }
        }
    }
}

/// Somebody who waits.
#[derive(Debug)]
pub(in crate::queue) struct Ear {
    hearing: Arc<Hearing>,
    call: u64,
    /// If it listens to a job's channel.
    job: Option<JobId>,
    heard: mpsc::UnboundedReceiver<Signal>,
}

impl Ear {
    /// What is heard next.
    pub(in crate::queue) async fn next(&mut self) -> Signal {
        match self.heard.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await, // the other end is with the ears until this is dropped
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut ears = held(&self.hearing.ears);
        let Some(job) = self.job else {
            ears.calls.remove(&self.call);
            return;
        };
        if let Some(tells) = ears.jobs.get_mut(&job) {
            tells.retain(|(call, _)| *call != self.call);
            if tells.is_empty() {
                ears.jobs.remove(&job);
                if let Some(subscription) = self.hearing.subscription.get() {
                    subscription.unsubscribe(self.hearing.keys.job(job));
                }
            }
        }
    }
}
