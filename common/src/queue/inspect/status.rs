//! The queues at a glance: depth and age, what is due, what is dead, who works.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::{Entry, Inspector, ONLY_LOOKS, PLACES, Times, score};
use crate::{
    kv::{KvError, Script},
    queue::{Queue, parking::Kind, pause::Decision},
};

static STATUS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look at the queues",
        &[
            ONLY_LOOKS,
            crate::queue::LIB,
            PLACES,
            include_str!("../lua/status.lua"),
        ],
    )
});

/// The queues at one instant.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The instant.
    pub now_ms: u64,
    /// By priority.
    pub queues: Vec<QueueStatus>,
    /// Jobs that are not settled: all that wait, are in the lines of lanes, scheduled, claimed, parked or dead. By the
    /// totals, so those that somebody deleted count until an audit writes them off.
    pub jobs: u64,
    /// Jobs that wait for their time.
    pub scheduled: u64,
    /// When the next of them is due.
    pub next_due_ms: Option<u64>,
    /// Jobs that are being run.
    pub claimed: u64,
    /// Jobs that no worker knew so far.
    pub parked: u64,
    /// The same by what they ask of a worker; a hundred kinds at most.
    pub parked_kinds: BTreeMap<Kind, u64>,
    /// Jobs that are kept for somebody to look at.
    pub dead: u64,
    /// Jobs in the lines of lanes.
    pub laned: u64,
    /// Lanes with jobs in line or in flight.
    pub lanes: u64,
    /// Everybody who runs jobs.
    pub workers: Vec<WorkerStatus>,
    /// Counted since ever.
    pub totals: BTreeMap<String, i64>,
}

/// One queue.
#[derive(Debug, Clone, Serialize)]
pub struct QueueStatus {
    /// Which.
    pub queue: Queue,
    /// Jobs that wait. Those that were discarded while they waited count until their turn comes.
    pub waiting: u64,
    /// Length of its list; none if something else stands in its place. It differs from `waiting` for a
    /// moment when ids are popped, and when somebody has changed the list by hand.
    pub listed: Option<u64>,
    /// The job that is next.
    pub oldest: Option<String>,
    /// Since when it waits.
    pub waiting_since_ms: Option<u64>,
    /// Workers take nothing from it: since when, and by whose decision.
    pub paused: Option<Decision>,
    /// It takes no new jobs.
    pub draining: Option<Decision>,
    /// Bodies that others have left for it, and no worker has fetched yet.
    pub inbox: u64,
}

/// One worker.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerStatus {
    /// Its identity.
    pub id: String,
    /// It is given up if it does not beat until then.
    pub alive_until_ms: u64,
    /// Jobs that it holds.
    pub holds: u64,
    /// What it told of itself.
    #[serde(flatten)]
    pub info: WorkerInfo,
}

impl WorkerStatus {
    /// Whether its heartbeat has not ended at this time, by Redis's clock.
    pub fn is_alive(&self, now_ms: u64) -> bool {
        self.alive_until_ms > now_ms
    }
}

/// What a worker tells of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerInfo {
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// When it started, in seconds since 1970 by its own clock.
    pub started: u64,
    /// Jobs at once, by queue.
    pub queues: BTreeMap<String, u64>,
    /// Jobs at once in all.
    pub concurrency: u64,
    /// Slots that only one queue may use.
    pub reserve: BTreeMap<String, u64>,
    /// It was asked to stop: it finishes what it holds, and takes nothing more.
    pub stopping: bool,
}

impl WorkerInfo {
    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

type Reply = (
    u64,
    Vec<(
        Queue,
        u64,
        i64,
        String,
        Vec<u8>,
        String,
        String,
        String,
        u64,
    )>,
    (u64, u64, String, u64, Vec<(String, u64)>, u64, u64),
    BTreeMap<String, i64>,
    Vec<(String, String, String, u64)>,
);

impl Inspector {
    /// Looks at the whole.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn status(&self) -> Result<Status, KvError> {
        let mut call = STATUS.on(self.keys.prefix());
        for queue in Queue::ALL {
            call.arg(queue);
        }
        let (now_ms, queues, counts, totals, workers): Reply = call.run(&self.redis).await?;
        let (jobs, scheduled, next_due, dead, parked, laned, lane_count) = counts;
        let kind = |(kind, n): &(String, u64)| Some((kind.parse().ok()?, *n));
        let queues = queues
            .into_iter()
            .map(|found| {
                let (queue, waiting, listed, oldest, body, entry, paused, draining, inbox) = found;
                let times = Times::of(&String::from_utf8_lossy(&body));
                QueueStatus {
                    queue,
                    waiting,
                    listed: u64::try_from(listed).ok(),
                    waiting_since_ms: times.waiting_since(Entry::read(&entry).as_ref()),
                    oldest: (!oldest.is_empty()).then_some(oldest),
                    paused: Decision::read(&paused),
                    draining: Decision::read(&draining),
                    inbox,
                }
            })
            .collect();
        let workers: Vec<_> = workers
            .into_iter()
            .map(|(id, until, info, holds)| WorkerStatus {
                id,
                alive_until_ms: score(&until).unwrap_or(0),
                holds,
                info: WorkerInfo::read(&info),
            })
            .collect();
        Ok(Status {
            now_ms,
            queues,
            jobs,
            scheduled,
            next_due_ms: score(&next_due),
            claimed: workers.iter().map(|worker| worker.holds).sum(),
            parked: parked.iter().map(|(_, n)| n).sum(),
            parked_kinds: parked.iter().filter_map(kind).collect(),
            dead,
            laned,
            lanes: lane_count,
            workers,
            totals,
        })
    }
}
