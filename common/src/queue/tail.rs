//! Tail: what happens to jobs, while it happens, for people who follow. Workers publish nothing unless somebody does:
//! a follower leaves a key that says so, and every heartbeat brings it to its worker.
//!
//! Publications are at most once and carry no state: what is missed here is in [`super::inspect`] all the same.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::{
    error::Chain,
    kv::{
        Keys, KvError, Redis,
        subscription::{Heard, Subscription},
    },
    shutdown::Shutdown,
};

/// Events of this time are published together.
const BATCH_EVERY: Duration = Duration::from_millis(100);
/// Of one worker in that time at most; more are counted, and told of as [`Kind::Skipped`].
const BATCH: usize = 200;
/// How long a follower counts as one after its last word.
const FOLLOWED_FOR: Duration = Duration::from_secs(6);
/// Between two words of a follower.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// Events that a slow follower may be behind; it misses later ones.
const BEHIND: usize = 10_000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A worker has claimed a job and begins an attempt.
    Claimed,
    /// An attempt succeeded.
    Done,
    /// An attempt failed; another follows.
    Retried,
    /// The job is dead.
    Buried,
    /// The job was cancelled while it ran.
    Cancelled,
    /// The job was not started in time.
    Expired,
    /// No worker so far knows the job's task.
    Parked,
    /// The worker gives the job back as it was.
    Released,
    /// A worker is dead, and what it held waits again: [`Event::count`] jobs.
    Reaped,
    /// Jobs were popped and never claimed, and wait again: [`Event::count`] of them.
    Recovered,
    /// Somebody changed something by hand: [`Event::by`], [`Event::did`], [`Event::of`].
    Acted,
    /// So many events of a worker are left out: more happened than is told.
    Skipped,
    /// The follower may have missed events: its connection was lost, or it was too slow.
    Missed,
}

impl Kind {
    /// All, in the order in which they are documented.
    pub const ALL: [Self; 13] = [
        Self::Claimed,
        Self::Done,
        Self::Retried,
        Self::Buried,
        Self::Cancelled,
        Self::Expired,
        Self::Parked,
        Self::Released,
        Self::Reaped,
        Self::Recovered,
        Self::Acted,
        Self::Skipped,
        Self::Missed,
    ];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Buried => "buried",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Parked => "parked",
            Self::Released => "released",
            Self::Reaped => "reaped",
            Self::Recovered => "recovered",
            Self::Acted => "acted",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
        }
    }
}

/// Something that happened. What does not concern its kind is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in ms since 1970, by Redis's clock.
    pub at_ms: u64,
    /// What.
    pub event: Kind,
    /// Id of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Name of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The worker that tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Which attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How long the job waited before its first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// How long the attempt took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many jobs, or events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Did what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// To what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

impl Event {
    /// Something of this kind, and nothing more of it.
    pub(super) fn of(kind: Kind) -> Self {
        Self {
            at_ms: 0,
            event: kind,
            job: None,
            task: None,
            worker: None,
            attempt: None,
            waited_ms: None,
            took_ms: None,
            error: None,
            count: None,
            by: None,
            did: None,
            of: None,
        }
    }
}

/// A worker's end: what it tells, if anybody follows.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    followed: AtomicBool,
    batch: Mutex<Batch>,
    begun: Notify,
}

#[derive(Debug, Default)]
struct Batch {
    events: Vec<Event>,
    skipped: u64,
}

impl Tail {
    /// Notes what a heartbeat has brought: whether anybody follows.
    pub(super) fn follow(&self, followed: bool) {
        self.inner.followed.store(followed, Ordering::Relaxed);
    }

    /// Tells an event, if anybody follows.
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if !self.inner.followed.load(Ordering::Relaxed) {
            return;
        }
        let mut batch = self.batch();
        if batch.events.len() >= BATCH {
            batch.skipped += 1;
            return;
        }
        batch.events.push(event());
        if batch.events.len() == 1 {
            self.inner.begun.notify_one();
        }
    }

    /// Publishes what is told, until the shutdown.
    pub(super) async fn run(self, redis: Redis, keys: Keys, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = self.inner.begun.notified() => {}
                () = shutdown.asked() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(BATCH_EVERY) => {}
                () = shutdown.asked() => {}
            }
            let batch = std::mem::take(&mut *self.batch());
            if let Err(error) = publish(&redis, &keys, batch).await {
                tracing::debug!(error = %Chain(&error), "events could not be published");
            }
        }
    }

    fn batch(&self) -> std::sync::MutexGuard<'_, Batch> {
        self.inner
            .batch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn publish(redis: &Redis, keys: &Keys, batch: Batch) -> Result<(), KvError> {
    let Batch {
        mut events,
        skipped,
    } = batch;
    if skipped > 0
        && let Some(last) = events.last()
    {
        let (at_ms, worker) = (last.at_ms, last.worker.clone());
        events.push(Event {
            at_ms,
            worker,
            count: Some(skipped),
            ..Event::of(Kind::Skipped)
        });
    }
    let lines: Vec<String> = events
        .iter()
        .filter_map(|event| serde_json::to_string(event).ok())
        .collect();
    let mut command = redis::cmd("PUBLISH");
    command.arg(keys.events()).arg(lines.join("\n"));
    redis.read::<i64>("publish events", &command).await?;
    Ok(())
}

/// A follower's end. Workers stop telling some seconds after the last follower is dropped.
#[derive(Debug)]
pub struct Follower {
    events: mpsc::Receiver<Event>,
    missed: Arc<AtomicBool>,
    _subscription: Subscription,
    saying: JoinHandle<()>,
}

impl Follower {
    /// Follows what happens to the jobs under `keys`. Workers begin to tell within milliseconds, and at their next
    /// heartbeat at the latest.
    ///
    /// # Errors
    /// If Redis cannot be reached now. If it is away later, following goes on when it is back.
    pub async fn start(redis: Redis, keys: Keys) -> Result<Self, KvError> {
        let (tell, events) = mpsc::channel(BEHIND);
        let missed = Arc::new(AtomicBool::new(false));
        let hear = {
            let missed = Arc::clone(&missed);
            move |heard: Heard<'_>| match heard {
                Heard::Resumed => missed.store(true, Ordering::Relaxed),
                Heard::Message { payload, .. } => {
                    let lines = payload.split(|byte| *byte == b'\n');
                    for event in lines.filter_map(|line| serde_json::from_slice(line).ok()) {
                        if tell.try_send(event).is_err() {
                            missed.store(true, Ordering::Relaxed);
                        }
                    }
                }
            }
        };
        let subscription = Subscription::start(redis.clone(), hear);
        subscription.subscribe(keys.events()).await;
        say(&redis, &keys).await?;
        let saying = tokio::spawn(async move {
            loop {
                tokio::time::sleep(FOLLOW_EVERY).await;
                if let Err(error) = say(&redis, &keys).await {
                    tracing::debug!(error = %Chain(&error), "cannot tell that somebody follows");
                }
            }
        });
        Ok(Self {
            events,
            missed,
            _subscription: subscription,
            saying,
        })
    }

    /// The next event. That some may have been missed is an event, too: [`Kind::Missed`].
    pub async fn next(&mut self) -> Event {
        loop {
            if self.missed.swap(false, Ordering::Relaxed) {
                return Event::of(Kind::Missed);
            }
            // The sender lives in the subscription: there is always another.
            let wait = tokio::time::timeout(FOLLOW_EVERY, self.events.recv());
            if let Ok(Some(event)) = wait.await {
                return event;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.saying.abort();
    }
}

/// Says that somebody follows; at the first time also to the heartbeats, at once.
async fn say(redis: &Redis, keys: &Keys) -> Result<(), KvError> {
    let mut set = redis::cmd("SET");
    set.arg(keys.followed()).arg(1);
    set.arg("PX").arg(FOLLOWED_FOR.as_millis().to_string());
    set.arg("GET");
    let before: Option<String> = redis.read("tell that somebody follows", &set).await?;
    if before.is_none() {
        let mut ring = redis::cmd("PUBLISH");
        ring.arg(keys.bell()).arg("beat");
        redis.read::<i64>("wake the workers", &ring).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_while_nobody_follows_and_no_more_than_a_batch_while_somebody_does() {
        let tail = Tail::default();
        tail.tell(|| unreachable!("nobody follows"));
        tail.follow(true);
        for _ in 0..BATCH + 3 {
            tail.tell(|| Event::of(Kind::Done));
        }

        let batch = tail.batch();
        assert_eq!((batch.events.len(), batch.skipped), (BATCH, 3));
    }

    #[test]
    fn kinds_are_named_as_they_are_written() {
        for kind in Kind::ALL {
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, kind.name());
        }
    }
}
