//! Unique jobs: a second one with the same key is not made; the first one's id is given back instead. The
//! rules are in `lua/admit.lua`.

use std::{sync::LazyLock, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    JobId,
    enqueue::millis,
    turn::{Lease, Turns},
};
use crate::kv::{Call, KvError, Script};

pub(super) static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "push unique jobs",
        &[super::LIB, include_str!("lua/admit.lua")],
    )
});
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "release the key of a unique job",
        &[super::LIB, include_str!("lua/release.lua")],
    )
});

/// Longer keys are refused.
pub const MAX_KEY: usize = 500;

/// A key that only one job of its task has at a time, and for how long.
///
/// ```
/// use std::time::Duration;
/// use common::queue::Unique;
///
/// let minute = Duration::from_secs(60);
/// Unique::until_done("room-7"); // not while one waits, runs or is to be tried again
/// Unique::until_started("room-7"); // one may wait while another runs
/// Unique::once_in(minute, "room-7"); // one in a minute, whatever becomes of it
/// // Runs a minute after the last call, but ten minutes after the first at most, with the last arguments:
/// Unique::debounced(minute, 10 * minute, "room-7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    key: String,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    UntilDone,
    UntilStarted,
    OnceIn(Duration),
    Debounced { delay: Duration, at_most: Duration },
}

/// What came of an enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The job: the new one, or that which was here.
    pub id: JobId,
    /// Whether it was here already.
    pub existed: bool,
}

impl Enqueued {
    /// One that was not here.
    pub(super) fn new(id: JobId) -> Self {
        Self { id, existed: false }
    }
}

/// What the script tells: each job's id, and whether that was here.
pub(super) fn admitted(jobs: Vec<(JobId, bool)>) -> Vec<Enqueued> {
    let here = jobs.iter().filter(|(_, existed)| *existed).count();
    if here > 0 {
        metrics::counter!("rhubarb_duplicate_jobs_total").increment(here as u64);
    }
    let jobs = jobs.into_iter();
    jobs.map(|(id, existed)| Enqueued { id, existed }).collect()
}

impl Unique {
    /// None other is made until the job has come to its end: it is done, dead, cancelled, expired or
    /// discarded.
    pub fn until_done(key: impl Into<String>) -> Self {
        let key = key.into();
        let mode = Mode::UntilDone;
        Self { key, mode }
    }

    /// None other is made until the job is started for the first time: what comes after may not be seen by it.
    pub fn until_started(key: impl Into<String>) -> Self {
        let key = key.into();
        let mode = Mode::UntilStarted;
        Self { key, mode }
    }

    /// None other is made until `period` has passed since the first was made, whatever has become of it. The id
    /// that a second enqueue gets may be of a job that is done.
    pub fn once_in(period: Duration, key: impl Into<String>) -> Self {
        let key = key.into();
        let mode = Mode::OnceIn(period.max(Duration::from_millis(1)));
        Self { key, mode }
    }

    /// The job is due `delay` after the last enqueue, and at most `at_most` after the first; it runs once, with
    /// the last arguments and options. What is enqueued after it has started makes a new one. Says itself when
    /// it is due: the time in the options does not count.
    pub fn debounced(delay: Duration, at_most: Duration, key: impl Into<String>) -> Self {
        let key = key.into();
        let mode = Mode::Debounced { delay, at_most };
        Self { key, mode }
    }

    /// The key. Two tasks may have jobs of the same key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// It, for one task.
    pub(super) fn of(self, task: &str) -> Keyed {
        Keyed {
            key: format!("{task}:{}", self.key),
            mode: self.mode,
        }
    }
}

/// How a job of one task is unique.
#[derive(Debug)]
pub(super) struct Keyed {
    /// `<task>:<key>`.
    pub(super) key: String,
    mode: Mode,
}

impl Keyed {
    /// What the body keeps of it.
    pub(super) fn hold(&self) -> Option<Hold> {
        let until = match self.mode {
            Mode::UntilDone => Until::Done,
            Mode::UntilStarted | Mode::Debounced { .. } => Until::Started,
            Mode::OnceIn(_) => return None,
        };
        let key = self.key.clone();
        Some(Hold { key, until })
    }
}

/// How long a job holds its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// Until its end.
    Done,
    /// Until its first start.
    Started,
}

/// The key that a job holds, as its body has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// `<task>:<key>`.
    pub key: String,
    /// How long.
    pub until: Until,
}

/// Adds to a call of `admit.lua` how a job is unique.
pub(super) fn write(unique: Option<&Keyed>, call: &mut Call<'_>) {
    let Some(unique) = unique else {
        call.arg("").arg("").arg(0).arg(0);
        return;
    };
    let (name, ms, at_most) = match unique.mode {
        Mode::UntilDone => ("done", 0, 0),
        Mode::UntilStarted => ("started", 0, 0),
        Mode::OnceIn(period) => ("once", millis(period), 0),
        Mode::Debounced { delay, at_most } => ("debounce", millis(delay), millis(at_most)),
    };
    call.arg(name).arg(&unique.key).arg(ms).arg(at_most);
}

/// Whether a claim still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
}

impl Turns {
    /// Lets others have the key of a job that is about to start.
    pub(super) async fn release(
        &self,
        id: JobId,
        lease: &Lease,
        key: &str,
    ) -> Result<Held, KvError> {
        let mut call = RELEASE.on(self.keys.prefix());
        call.arg(self.worker).arg(id).arg(lease).arg(key);
        let held: i64 = call.run(&self.redis).await?;
        Ok(if held == 1 { Held::Yes } else { Held::No })
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::{
        queue::{
            Options, Queue,
            limits::Demand,
            settle::{Settlement, Verdict},
        },
        testing::TestQueue,
    };

    #[tokio::test]
    async fn a_key_is_released_by_the_claim_that_holds_it_and_by_no_other() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _counting = metrics::set_default_local_recorder(&recorder);
        let queue = TestQueue::start();
        let enqueue = async || -> JobId {
            let options = Options {
                unique: Some(Unique::until_started("k")),
                ..Options::default()
            };
            let args = serde_json::value::RawValue::NULL;
            let producer = queue.producer();
            producer
                .enqueue_raw("test.any", args, &options)
                .await
                .unwrap()
        };
        let turns = Turns::on(&queue);
        let demand = Demand {
            order: vec![(Queue::Default, 1)],
            free: 1,
            ..Demand::default()
        };
        let first = enqueue().await;
        let reply = turns.take(&[], None, &demand).await.unwrap();
        let claimed = &reply.claimed[0];
        let key = "test.any:k";

        // Claimed and not started: a worker that dies now has not started it.
        assert_eq!(enqueue().await, first);
        let late = Lease::from("1@7");
        assert_eq!(turns.release(first, &late, key).await.unwrap(), Held::No);
        assert_eq!(enqueue().await, first);
        let released = turns.release(first, &claimed.lease, key).await.unwrap();
        assert_eq!(released, Held::Yes);
        let second = enqueue().await;
        assert_ne!(second, first);

        // Neither a release that was sent twice nor the end of the first takes the key from the second.
        turns.release(first, &claimed.lease, key).await.unwrap();
        let mut end = Settlement::of(claimed.id, &claimed.lease, Verdict::Done);
        end.ties = crate::queue::job::Ties::of(&claimed.body);
        assert_eq!(end.ties.unique.as_deref(), Some(key));
        turns.take(&[end], None, &demand).await.unwrap();
        assert_eq!(enqueue().await, second);
        let counted = recorder.handle().render();
        assert!(
            counted.contains("rhubarb_duplicate_jobs_total 3\n"),
            "{counted}"
        );
    }
}
