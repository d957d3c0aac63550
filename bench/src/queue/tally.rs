//! The job that is measured, which does nothing, and the tally of its executions: each id once.

use std::{
    borrow::Cow,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use common::queue::{JobContext, Task, TaskError};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{machine::now_ns, number::length};

/// Makes the arguments about 100 bytes of JSON.
const PAD: &str = "..................................................................";

/// Latencies beyond this count as this.
const LONGEST_NS: u64 = 60_000_000_000;

/// A job that does nothing. Its arguments take about 100 bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Noop {
    /// Its number, from 0.
    pub(crate) n: u64,
    /// When it was due to be enqueued, if its latency counts: nanoseconds of the machine's clock.
    pub(crate) due: Option<u64>,
    pad: Cow<'static, str>,
}

impl Noop {
    /// The job of this number.
    pub(crate) fn new(n: u64, due: Option<u64>) -> Self {
        Self {
            n,
            due,
            pad: Cow::Borrowed(PAD),
        }
    }
}

impl Task for Noop {
    const NAME: &'static str = "bench.noop";
    type Context = Tally;
    type Output = ();

    async fn run(self, tally: &Tally, _job: &JobContext) -> Result<(), TaskError> {
        tally.execute(&self);
        Ok(())
    }
}

/// What was executed. The jobs' numbers are below a bound that is known from the start.
#[derive(Debug)]
pub(crate) struct Tally {
    /// One bit a number.
    seen: Vec<AtomicU64>,
    executed: AtomicU64,
    distinct: AtomicU64,
    /// How many somebody waits for.
    awaited: AtomicU64,
    reached: Notify,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    latency_ns: Mutex<Histogram<u64>>,
}

/// A tally as it is told to the process that measures.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Executions.
    pub(crate) executed: u64,
    /// Jobs among them, each counted once.
    pub(crate) distinct: u64,
    /// When the first was executed.
    pub(crate) first_ns: u64,
    /// When the last that was awaited was executed.
    pub(crate) last_ns: u64,
    /// Latency of those that had a due time.
    pub(crate) p50_ns: u64,
    /// The same.
    pub(crate) p99_ns: u64,
    /// The same.
    pub(crate) max_ns: u64,
}

impl Tally {
    /// A tally of jobs whose numbers are below `jobs`.
    pub(crate) fn new(jobs: u64) -> anyhow::Result<Self> {
        let words = length(jobs.div_ceil(64));
        Ok(Self {
            seen: (0..words).map(|_| AtomicU64::new(0)).collect(),
            executed: AtomicU64::new(0),
            distinct: AtomicU64::new(0),
            awaited: AtomicU64::new(0),
            reached: Notify::new(),
            first_ns: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            latency_ns: Mutex::new(Histogram::new_with_bounds(1_000, LONGEST_NS, 3)?),
        })
    }

    /// Counts one execution.
    pub(crate) fn execute(&self, job: &Noop) {
        if let Some(due) = job.due {
            let latency = now_ns().saturating_sub(due);
            let mut latencies = self
                .latency_ns
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            latencies.saturating_record(latency);
        }
        // A number beyond the bound is no job of this run: it counts as executed and not as distinct.
        if let Some(word) = self.seen.get(length(job.n / 64)) {
            let bit = 1 << (job.n % 64);
            if word.fetch_or(bit, Relaxed) & bit == 0 {
                self.distinct.fetch_add(1, Relaxed);
            }
        }
        let executed = self.executed.fetch_add(1, Relaxed) + 1;
        if executed == 1 {
            self.first_ns.store(now_ns(), Relaxed);
        }
        if executed == self.awaited.load(Relaxed) {
            self.last_ns.store(now_ns(), Relaxed);
            self.reached.notify_one();
        }
    }

    /// Waits until so many executions are counted. To be asked for before they can have happened.
    pub(crate) async fn reach(&self, executions: u64) {
        self.awaited.store(executions, Relaxed);
        while self.executed.load(Relaxed) < executions {
            self.reached.notified().await;
        }
    }

    /// What was counted so far.
    pub(crate) fn report(&self) -> Report {
        let latencies = self
            .latency_ns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Report {
            executed: self.executed.load(Relaxed),
            distinct: self.distinct.load(Relaxed),
            first_ns: self.first_ns.load(Relaxed),
            last_ns: self.last_ns.load(Relaxed),
            p50_ns: latencies.value_at_quantile(0.5),
            p99_ns: latencies.value_at_quantile(0.99),
            max_ns: latencies.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tally_tells_doubles_and_strangers_from_jobs() {
        let tally = Tally::new(100).unwrap();
        for n in [0, 63, 64, 99, 64, 128] {
            tally.execute(&Noop::new(n, None));
        }
        tally.reach(6).await;

        let report = tally.report();
        assert_eq!((report.executed, report.distinct), (6, 4));
    }

    #[test]
    fn arguments_take_about_a_hundred_bytes() {
        let args = serde_json::to_string(&Noop::new(123_456, None)).unwrap();

        assert!((95..=105).contains(&args.len()), "{}: {args}", args.len());
    }
}
