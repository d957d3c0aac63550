//! Samples: how the queues were, minute by minute, for a week. Any worker writes the next one: its id is its minute, so
//! Redis refuses a second, and nothing depends on one process.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use rand::RngExt;
use serde::Serialize;

use super::{
    LIB, Queue,
    inspect::{Inspector, status::Status},
};
use crate::{
    error::Chain,
    kv::{KvError, Script},
    shutdown::Shutdown,
};

static SAMPLE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full("sample the queues", &[LIB, include_str!("lua/sample.lua")])
});

/// Samples that are kept: a week of them.
const KEPT: usize = 7 * 24 * 60;
/// Workers look for the minute's sample within this, each at a time of its own: the first one writes it.
const SPREAD: Duration = Duration::from_secs(10);

/// The queues at one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When it was taken, some seconds into its minute: in ms since 1970, by Redis's clock.
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
                Duration::from_secs(60)
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
        let mut call = SAMPLE.on(self.keys.prefix());
        call.arg(KEPT);
        let (is_due, next_ms): (bool, u64) = call.run(&self.redis).await?;
        if is_due {
            let status = self.status().await?;
            call.arg("at_ms").arg(status.now_ms);
            for (name, value) in values(&status) {
                call.arg(name).arg(value);
            }
            let _: (bool, u64) = call.run(&self.redis).await?;
        }
        Ok(Duration::from_millis(next_ms))
    }

    /// The samples since a time, the oldest first, `most` at most.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn samples(&self, since_ms: u64, most: usize) -> Result<Vec<Sample>, KvError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(self.keys.samples()).arg(since_ms).arg("+");
        command.arg("COUNT").arg(most);
        let entries: Vec<(String, BTreeMap<String, String>)> =
            self.redis.read("read the samples", &command).await?;
        Ok(entries.into_iter().map(read).collect())
    }
}

/// Reads a sample. What somebody has put there by hand is passed over.
fn read((id, fields): (String, BTreeMap<String, String>)) -> Sample {
    let number = |(name, text): (String, String)| Some((name, text.parse().ok()?));
    let mut values: BTreeMap<String, i64> = fields.into_iter().filter_map(number).collect();
    let minute = id.split('-').next().and_then(|ms| ms.parse().ok());
    let at_ms = values.remove("at_ms").map(i64::unsigned_abs);
    Sample {
        at_ms: at_ms.or(minute).unwrap_or(0),
        values,
    }
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
    let workers = status.workers.iter();
    let workers = workers
        .filter(|worker| worker.is_alive(status.now_ms))
        .count();
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
