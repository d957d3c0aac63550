//! What a worker does about timetables: it *vouches* for its definitions now and then, and when a tick is
//! due enqueues its job, unless another worker was quicker.
//!
//! Old and new workers stand side by side during a deploy. The definition of the worker that started last
//! holds, for as long as some worker vouches for it; the others stand back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use super::{Missed, Overlap, Periodic};
use crate::{
    error::Chain,
    kv::{Keys, KvError, Redis, Script},
    queue::{
        EnqueueError, LIB,
        asked::write,
        enqueue::{MAX_BODY, millis},
    },
};

static VOUCH: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "vouch for periodic tasks",
        &[LIB, include_str!("../lua/vouch.lua")],
    )
});
static TICK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "enqueue a periodic task",
        &[LIB, include_str!("../lua/tick.lua")],
    )
});

/// Between two times that a worker vouches for what it knows.
const VOUCH_EVERY: Duration = Duration::from_secs(5);
/// A definition that nobody has vouched for this long gives way to another.
pub(super) const ORPHANED: Duration = Duration::from_secs(20);
/// A tick that is late by less than this was not missed.
const ON_TIME_MS: u64 = 10_000;
/// Missed ticks that run at most.
const MOST: usize = 1000;
/// How often a tick is tried that comes too early by Redis's clock.
const AGAIN_MS: u64 = 50;
/// How often a tick is tried whose queue drains.
const DRAINING_MS: u64 = 1000;

/// One worker's periodic tasks.
#[derive(Debug)]
pub(crate) struct Ticker {
    entries: Vec<Entry>,
    /// Whether this worker has said that it started.
    started: bool,
    vouched: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    periodic: Arc<Periodic>,
    definition: String,
    timetable: String,
    /// The last tick that was enqueued or passed over, if our definition holds.
    last: Option<u64>,
    /// The tick after it, once it is known: most looks ask no timetable.
    next: Option<u64>,
    stood_back: bool,
}

impl Ticker {
    pub(crate) fn new(periodics: &[Arc<Periodic>]) -> Self {
        let entry = |periodic: &Arc<Periodic>| Entry {
            definition: periodic.definition().write(),
            timetable: serde_json::to_string(&periodic.timetable).unwrap_or_default(),
            periodic: Arc::clone(periodic),
            last: None,
            next: None,
            stood_back: false,
        };
        Self {
            entries: periodics.iter().map(entry).collect(),
            started: false,
            vouched: None,
        }
    }

    /// Enqueues what is due at `now`, ms by Redis's clock; returns how many ticks it took, and how long it is
    /// until the next.
    ///
    /// # Errors
    /// If Redis fails; what was not enqueued is due still.
    pub(crate) async fn look(
        &mut self,
        redis: &Redis,
        keys: &Keys,
        now: u64,
    ) -> Result<(usize, Option<Duration>), KvError> {
        if self.entries.is_empty() {
            return Ok((0, None));
        }
        let is_time = |at: Instant| at.elapsed() >= VOUCH_EVERY;
        if self.vouched.is_none_or(is_time) {
            self.vouch(redis, keys).await?;
        }
        let (mut taken, mut next) = (0, Vec::new());
        for entry in &mut self.entries {
            let known = entry.last.is_some();
            let (took, tick) = entry.look(redis, keys, now).await?;
            taken += usize::from(took);
            next.extend(tick);
            if known && entry.last.is_none() {
                self.vouched = None; // it was removed, or another definition holds
            }
        }
        let next = next.into_iter().min();
        let next = next.map(|tick| Duration::from_millis(tick.saturating_sub(now)));
        Ok((taken, next))
    }

    async fn vouch(&mut self, redis: &Redis, keys: &Keys) -> Result<(), KvError> {
        let mut call = VOUCH.on(keys.prefix());
        call.arg(if self.started { "go on" } else { "start" })
            .arg(millis(ORPHANED));
        for entry in &self.entries {
            call.arg(entry.periodic.name())
                .arg(&entry.timetable)
                .arg(&entry.definition);
        }
        let reply: Vec<String> = call.run(redis).await?;
        for (entry, last) in self.entries.iter_mut().zip(reply) {
            entry.last_is(last.parse().ok());
            let stands_back = entry.last.is_none();
            if stands_back && !entry.stood_back {
                tracing::info!(
                    "another release says when `{}` is due, and this worker stands back",
                    entry.periodic.name()
                );
            }
            entry.stood_back = stands_back;
        }
        self.started = true;
        self.vouched = Some(Instant::now());
        Ok(())
    }
}

impl Entry {
    /// Enqueues what is due; returns whether there was something, and the next tick.
    async fn look(
        &mut self,
        redis: &Redis,
        keys: &Keys,
        now: u64,
    ) -> Result<(bool, Option<u64>), KvError> {
        let Some(last) = self.last else {
            return Ok((false, None));
        };
        if let Some(next) = self.next.filter(|next| *next > now) {
            return Ok((false, Some(next)));
        }
        let timetable = &self.periodic.timetable;
        let Some(latest) = timetable.upto(now).filter(|tick| *tick > last) else {
            self.next = timetable.after(now.max(last));
            return Ok((false, self.next));
        };
        let ticks = match self.periodic.missed {
            Missed::Skip if now - latest > ON_TIME_MS => Vec::new(),
            Missed::Skip | Missed::RunOnce => vec![latest],
            Missed::RunAll(most) => timetable.between(last, now, MOST.min(most.into())),
        };
        let Some(bodies) = self.bodies(&ticks) else {
            self.next = timetable.after(now); // with what is due then, if that goes better
            return Ok((false, self.next));
        };
        let mut call = TICK.on(keys.prefix());
        call.arg(self.periodic.name())
            .arg(&self.definition)
            .arg(last)
            .arg(latest)
            .arg(self.periodic.queue)
            .arg(match self.periodic.overlap {
                Overlap::Allow => "allow",
                Overlap::Skip => "skip",
            });
        for body in bodies {
            call.arg(body);
        }
        let (verdict, last, ids): (String, String, Vec<String>) = call.run(redis).await?;
        if verdict == "early" {
            // Redis's clock was set back.
            return Ok((false, Some(now + AGAIN_MS)));
        }
        if verdict == "draining" {
            self.next = Some(now + DRAINING_MS);
            return Ok((false, self.next));
        }
        self.last_is(last.parse().ok());
        if verdict == "enqueued" {
            let late = now - latest;
            tracing::debug!(ids = ?ids, "`{}` was due {late} ms ago", self.periodic.name());
        }
        self.next = self
            .last
            .and_then(|last| self.periodic.timetable.after(now.max(last)));
        Ok((verdict != "other", self.next))
    }

    fn last_is(&mut self, last: Option<u64>) {
        if last != self.last {
            (self.last, self.next) = (last, None);
        }
    }

    /// The bodies of the jobs for some ticks, unless the code that makes them fails.
    fn bodies(&self, ticks: &[u64]) -> Option<Vec<String>> {
        let body = |tick: &u64| {
            let mut body = (self.periodic.make)()?;
            body.tick = Some(*tick);
            write(&body, MAX_BODY)
        };
        // A panic must not end the worker's care.
        let made: Result<Result<Vec<_>, EnqueueError>, _> =
            catch_unwind(AssertUnwindSafe(|| ticks.iter().map(body).collect()));
        let name = self.periodic.name();
        match made {
            Ok(Ok(bodies)) => return Some(bodies),
            Ok(Err(error)) => {
                tracing::error!(error = %Chain(&error), "cannot make a job of `{name}`");
            }
            Err(_) => tracing::error!("the code that makes the jobs of `{name}` panicked"),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{
        queue::{JobContext, Queue, Task, TaskError, operate::Operator},
        testing::TestQueue,
    };

    #[derive(Debug, Serialize, Deserialize)]
    struct Nop;

    impl Task for Nop {
        const NAME: &'static str = "test.nop";
        type Context = ();
        type Output = ();

        async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
            Ok(())
        }
    }

    const HOUR_MS: u64 = 3_600_000;

    fn hourly() -> Ticker {
        let hourly = Periodic::every(Duration::from_millis(HOUR_MS), || Nop).unwrap();
        Ticker::new(&[Arc::new(hourly)])
    }

    /// A queue, Redis's time, and how many jobs wait.
    async fn start() -> (TestQueue, u64) {
        let queue = TestQueue::start();
        let (seconds, _): (u64, u64) = queue.command(&["TIME"]).await;
        (queue, seconds * 1000)
    }

    async fn waiting(queue: &TestQueue) -> usize {
        let list = queue.keys.queue(Queue::Default);
        queue.command(&["LLEN", &list]).await
    }

    /// As if the last tick had been some hours ago.
    async fn set_last(queue: &TestQueue, last: u64) {
        let key = queue.keys.periodic_entry("test.nop");
        let _: usize = queue
            .command(&["HSET", &key, "last", &last.to_string()])
            .await;
    }

    #[tokio::test]
    async fn a_worker_whose_idea_of_the_time_is_hours_ahead_enqueues_nothing_too_early() {
        let (queue, now) = start().await;
        let mut ticker = hourly();

        let ahead = now + 5 * HOUR_MS;
        let (taken, _) = ticker.look(&queue.redis, &queue.keys, ahead).await.unwrap();

        assert_eq!(taken, 0);
        assert_eq!(waiting(&queue).await, 0);
    }

    #[tokio::test]
    async fn many_workers_take_a_tick_once() {
        let (queue, now) = start().await;
        let mut tickers = [hourly(), hourly(), hourly()];
        for ticker in &mut tickers {
            ticker.look(&queue.redis, &queue.keys, now).await.unwrap();
        }
        // All think that the tick before is the last.
        let before = now / HOUR_MS * HOUR_MS - HOUR_MS;
        set_last(&queue, before).await;
        for ticker in &mut tickers {
            ticker.entries[0].last_is(Some(before));
        }

        let mut taken = 0;
        for ticker in &mut tickers {
            taken += ticker.look(&queue.redis, &queue.keys, now).await.unwrap().0;
        }

        assert_eq!(taken, 1);
        assert_eq!(waiting(&queue).await, 1);
    }

    #[tokio::test]
    async fn a_tick_of_a_queue_that_drains_is_due_until_it_is_resumed() {
        let (queue, now) = start().await;
        let mut ticker = hourly();
        ticker.look(&queue.redis, &queue.keys, now).await.unwrap();
        let before = now / HOUR_MS * HOUR_MS - HOUR_MS;
        set_last(&queue, before).await;
        ticker.entries[0].last_is(Some(before));
        let operator = Operator::new(queue.redis.clone(), queue.keys.clone());

        operator
            .clone()
            .acting_for("a test")
            .drain(Queue::Default)
            .await
            .unwrap();
        let (taken, next) = ticker.look(&queue.redis, &queue.keys, now).await.unwrap();
        assert_eq!((taken, next), (0, Some(Duration::from_millis(DRAINING_MS))));
        assert_eq!(waiting(&queue).await, 0);

        operator.resume(Queue::Default).await.unwrap();
        let later = now + DRAINING_MS;
        let (taken, _) = ticker.look(&queue.redis, &queue.keys, later).await.unwrap();
        assert_eq!(taken, 1);
        assert_eq!(waiting(&queue).await, 1);
    }

    #[tokio::test]
    async fn what_is_gone_from_redis_is_told_anew() {
        let (queue, now) = start().await;
        let mut ticker = hourly();
        ticker.look(&queue.redis, &queue.keys, now).await.unwrap();
        let entry = queue.keys.periodic_entry("test.nop");
        let _: usize = queue
            .command(&["DEL", &entry, &queue.keys.periodic()])
            .await;

        let later = now + 2 * HOUR_MS;
        ticker.look(&queue.redis, &queue.keys, later).await.unwrap();
        ticker.look(&queue.redis, &queue.keys, now).await.unwrap();

        let known: usize = queue.command(&["EXISTS", &entry]).await;
        assert_eq!(known, 1);
    }
}
