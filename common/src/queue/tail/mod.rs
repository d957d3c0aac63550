//! Tail: what happens to jobs, while it happens, for people who follow. Workers publish nothing unless somebody does:
//! a follower leaves a key that says so, and every heartbeat brings it to its worker.
//!
//! Publications are at most once and carry no state: what is missed here is in [`super::inspect`] all the same.

mod event;

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use super::{LIB, enqueue::millis};
pub(super) use event::cut;
pub use event::{Event, Kind};

use crate::{
    error::Chain,
    kv::{
        Keys, KvError, Redis, Script,
        subscription::{Heard, Subscription},
    },
    shutdown::Shutdown,
};

static FOLLOW: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "tell that somebody follows",
        &[LIB, include_str!("../lua/follow.lua")],
    )
});

/// Events of this time are published together.
const BATCH_EVERY: Duration = Duration::from_millis(100);
/// Of one worker in that time at most; more are counted, and told of as [`Kind::Skipped`].
const BATCH: usize = 200;
/// Of these, places that what usually happens may not take: what fails among many jobs is to be seen.
const RARE: usize = 50;
/// How long a follower counts as one after its last word.
const FOLLOWED_FOR: Duration = Duration::from_secs(6);
/// Between two words of a follower.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// Events that a slow follower may be behind; it misses later ones.
const BEHIND: usize = 10_000;

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
        let event = event();
        let is_usual = matches!(event.event, Kind::Claimed | Kind::Done);
        let most = if is_usual { BATCH - RARE } else { BATCH };
        let mut batch = self.batch();
        if batch.events.len() >= most {
            batch.skipped += 1;
            return;
        }
        batch.events.push(event);
        if batch.events.len() == 1 {
            self.inner.begun.notify_one();
        }
    }

    /// Publishes what is told, until the end; then what is left.
    pub(super) async fn run(self, redis: Redis, keys: Keys, end: Shutdown) {
        while !end.is_asked() {
            tokio::select! {
                () = self.inner.begun.notified() => {}
                () = end.asked() => {}
            }
            tokio::select! {
                () = tokio::time::sleep(BATCH_EVERY) => {}
                () = end.asked() => {}
            }
            let batch = std::mem::take(&mut *self.batch());
            let untold = batch.events.len() as u64 + batch.skipped;
            if let Err(error) = publish(&redis, &keys, batch).await {
                tracing::debug!(error = %Chain(&error), "events could not be published");
                self.batch().skipped += untold;
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
    if events.is_empty() {
        return Ok(());
    }
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
    let mut call = FOLLOW.on(keys.prefix());
    call.arg(millis(FOLLOWED_FOR));
    call.run(redis).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_while_nobody_follows_and_no_more_than_a_batch_while_somebody_does() {
        let tail = Tail::default();
        tail.tell(|| unreachable!("nobody follows"));
        tail.follow(true);
        for _ in 0..BATCH {
            tail.tell(|| Event::of(Kind::Done));
        }
        for _ in 0..RARE + 3 {
            tail.tell(|| Event::of(Kind::Buried));
        }

        let batch = tail.batch();
        let counts = (batch.events.len(), batch.skipped);
        assert_eq!(counts, (BATCH, RARE as u64 + 3));
    }
}
