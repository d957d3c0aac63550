//! Samples: how the queues were, minute by minute, for a week. Any worker writes the next one: its id is its minute, so
//! Redis refuses a second, and nothing depends on one process.

use std::{collections::BTreeMap, time::Duration};

use rand::RngExt;
use serde::Serialize;

use super::{
    Queue,
    inspect::{Inspector, status::Status},
};
use crate::{error::Chain, kv::KvError, shutdown::Shutdown};

/// A sample every so often.
const EVERY_MS: u64 = 60_000;
/// Samples that are kept: a week of them.
const KEPT: usize = 7 * 24 * 60;
/// Workers look for the minute's sample within this, each at a time of its own: the first one writes it.
const SPREAD: Duration = Duration::from_secs(10);

/// The queues at one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The minute, in ms since 1970, by Redis's clock.
    pub at_ms: u64,
    /// As in `samples`: `<queue>:waiting`, `:age_ms` (of the oldest that waits), `:enqueued` and `:completed` (since
    /// ever); `scheduled`, `claimed`, `parked`, `dead`, `laned`, `workers`.
    pub values: BTreeMap<String, i64>,
}

/// Writes samples, until the shutdown.
pub(super) async fn run(inspector: Inspector, shutdown: Shutdown) {
    let mut well = true;
    loop {
        let next = match inspector.sample().await {
            Ok(next) => {
                well = true;
                next
            }
            Err(error) => {
                if std::mem::replace(&mut well, false) {
                    tracing::debug!(error = %Chain(&error), "cannot sample the queues");
                }
                Duration::from_secs(5)
            }
        };
        let spread = rand::rng().random_range(Duration::ZERO..SPREAD);
        tokio::select! {
            () = tokio::time::sleep(next + spread) => {}
            () = shutdown.asked() => return,
        }
    }
}

impl Inspector {
    /// Writes this minute's sample, if nobody has; returns the time until the next minute.
    pub(super) async fn sample(&self) -> Result<Duration, KvError> {
        let mut last = redis::cmd("XREVRANGE");
        last.arg(self.keys.samples()).arg("+").arg("-");
        last.arg("COUNT").arg(1);
        let mut questions = redis::pipe();
        questions.cmd("TIME").add_command(last);
        let ((seconds, us), last): ((u64, u64), Vec<(String, redis::Value)>) = self
            .redis
            .read_all("look for the minute's sample", &questions)
            .await?;
        let now_ms = seconds * 1000 + us / 1000;
        let minute = now_ms - now_ms % EVERY_MS;
        let next = Duration::from_millis(minute + EVERY_MS - now_ms);
        let done = last.first().is_some_and(|(id, _)| time_of(id) >= minute);
        if !done {
            self.write_sample(minute, &self.status().await?).await?;
        }
        Ok(next)
    }

    async fn write_sample(&self, minute: u64, status: &Status) -> Result<(), KvError> {
        let mut add = redis::cmd("XADD");
        add.arg(self.keys.samples())
            .arg("MAXLEN")
            .arg("~")
            .arg(KEPT);
        add.arg(format!("{minute}-0"));
        for (name, value) in values(status) {
            add.arg(name).arg(value);
        }
        let mut connection = self.redis.connection().await?;
        let added: redis::RedisResult<String> = add.query_async(&mut connection).await;
        match added {
            // Another worker was quicker.
            Err(error) if error.to_string().contains("equal or smaller") => Ok(()),
            Err(error) => Err(self.redis.failed("write a sample of the queues", error)),
            Ok(_) => Ok(()),
        }
    }

    /// The samples since a time, the oldest first, `most` at most.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn samples(&self, since_ms: u64, most: usize) -> Result<Vec<Sample>, KvError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(self.keys.samples()).arg(since_ms).arg("+");
        command.arg("COUNT").arg(most);
        let entries: Vec<(String, BTreeMap<String, i64>)> =
            self.redis.read("read the samples", &command).await?;
        let sample = |(id, values): (String, _)| Sample {
            at_ms: time_of(&id),
            values,
        };
        Ok(entries.into_iter().map(sample).collect())
    }
}

/// The time in an entry's id.
fn time_of(id: &str) -> u64 {
    let ms = id.split('-').next().and_then(|ms| ms.parse().ok());
    ms.unwrap_or(0)
}

/// What is kept of a status: always the same names in the same order, which makes a stream small.
fn values(status: &Status) -> Vec<(String, i64)> {
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let total = |name: &str, queue: Queue| {
        let total = status.totals.get(&format!("{name}:{queue}"));
        total.copied().unwrap_or(0)
    };
    let mut values = Vec::new();
    for queue in &status.queues {
        let name = queue.queue;
        let since = queue.waiting_since_ms.filter(|_| queue.waiting > 0);
        let age = since.map_or(0, |since| status.now_ms.saturating_sub(since));
        values.push((format!("{name}:waiting"), whole(queue.waiting)));
        values.push((format!("{name}:age_ms"), whole(age)));
        values.push((format!("{name}:enqueued"), total("enqueued", name)));
        values.push((format!("{name}:completed"), total("completed", name)));
    }
    let alive = |worker: &&_| {
        let super::inspect::status::WorkerStatus { alive_until_ms, .. } = worker;
        *alive_until_ms > status.now_ms
    };
    let workers = status.workers.iter().filter(alive).count();
    let others = [
        ("scheduled", status.scheduled),
        ("claimed", status.claimed),
        ("parked", status.parked),
        ("dead", status.dead),
        ("laned", status.laned),
        ("workers", workers as u64),
    ];
    values.extend(others.map(|(name, n)| (name.to_owned(), whole(n))));
    values
}
