//! What is around a job: its list, its queue, the workers that serve it.

use std::sync::LazyLock;

use super::{
    super::{
        Entry, Inspector, ONLY_LOOKS, PLACES, score,
        show::{Claim, Job},
        status::WorkerInfo,
    },
    Reason, Slots,
};
use crate::{
    kv::{KvError, Script},
    queue::{JobId, Queue, pause::Decision},
};

static EXPLAIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look what keeps a job",
        &[
            ONLY_LOOKS,
            crate::queue::LIB,
            PLACES,
            include_str!("../../lua/explain.lua"),
        ],
    )
});

/// What is around a job.
pub(super) struct Look {
    pub(super) now_ms: u64,
    waits: bool,
    listed: bool,
    ahead: u64,
    pub(super) paused: Option<Decision>,
    pub(super) draining: Option<Decision>,
    pub(super) inbox: u64,
    /// Those that are alive and do not stop: who stops takes nothing more.
    workers: Vec<Serving>,
    holders: Vec<String>,
    id: JobId,
}

/// A worker that takes jobs.
struct Serving {
    id: String,
    info: WorkerInfo,
    /// Jobs that it holds, by queue.
    holds: Vec<(Queue, u64)>,
}

type Reply = (
    u64,
    (u8, u8, u64),
    String,
    String,
    u64,
    Vec<(String, String, String, u64, u64, u64)>,
    Vec<String>,
);

impl Inspector {
    pub(super) async fn look(&self, id: JobId, lane: Option<&str>) -> Result<Look, KvError> {
        let mut call = EXPLAIN.on(self.keys.prefix());
        call.arg(id).arg(lane.unwrap_or_default());
        let (now_ms, (waits, listed, ahead), paused, draining, inbox, workers, mut holders): Reply =
            call.run(&self.redis).await?;
        let alive = workers
            .into_iter()
            .filter(|(_, until, ..)| score(until).is_some_and(|until| until > now_ms));
        holders.sort_unstable();
        Ok(Look {
            now_ms,
            waits: waits == 1,
            listed: listed == 1,
            ahead,
            paused: Decision::read(&paused),
            draining: Decision::read(&draining),
            inbox,
            workers: alive
                .map(|(id, _, info, high, default, low)| Serving {
                    id,
                    info: WorkerInfo::read(&info),
                    holds: Queue::ALL.into_iter().zip([high, default, low]).collect(),
                })
                .filter(|worker| !worker.info.stopping)
                .collect(),
            holders,
            id,
        })
    }
}

impl Look {
    fn alive(&self) -> u64 {
        self.workers.len() as u64
    }

    /// The workers that serve the job's queue.
    fn serving(&self) -> impl Iterator<Item = &Serving> {
        let queue = self.id.queue().name();
        self.workers
            .iter()
            .filter(move |worker| worker.info.queues.get(queue).is_some_and(|n| *n > 0))
    }

    /// As a worker counts its slots (`queue/limits.rs`).
    fn slots(&self) -> Slots {
        let mut slots = Slots::default();
        for worker in self.serving() {
            let info = &worker.info;
            let (mut own, mut held, mut reserved, mut kept) = (0, 0, 0, 0);
            for (queue, n) in &worker.holds {
                held += n;
                if *queue == self.id.queue() {
                    own = *n;
                    continue;
                }
                let reserve = info.reserve.get(queue.name()).copied().unwrap_or(0);
                reserved += reserve;
                kept += reserve.saturating_sub(*n);
            }
            let limit = info.queues.get(self.id.queue().name());
            let limit = limit.copied().unwrap_or(0);
            let free = info.concurrency.saturating_sub(held);
            slots.workers += 1;
            slots.usable += limit.min(info.concurrency.saturating_sub(reserved));
            slots.free += limit.saturating_sub(own).min(free.saturating_sub(kept));
            slots.own += own;
            slots.others += held - own;
            slots.kept += kept.min(free);
        }
        slots
    }

    pub(super) fn reason(&self, job: &Job) -> Reason {
        match job.state.as_str() {
            "claimed" => match &job.claim {
                Some(claim) => self.claimed(job, claim),
                None => astray(job),
            },
            "waiting" => self.waiting(job),
            "laned" => match &job.lane {
                Some(lane) => Reason::Laned {
                    lane: lane.status.clone(),
                    ahead: lane.ahead.unwrap_or(0),
                    holders: self.holders.clone(),
                    alive: self.alive(),
                },
                None => astray(job),
            },
            "scheduled" => Reason::Scheduled {
                due_ms: job.due_ms.unwrap_or(self.now_ms),
                attempts: job.attempts,
                error: job.history.last().and_then(|entry| entry.error.clone()),
                alive: self.alive(),
            },
            "parked" => Reason::Parked {
                task: job.task.clone().unwrap_or_default(),
                version: job.version,
                since_ms: job.parked_ms,
                workers: self.serving().map(|worker| worker.id.clone()).collect(),
            },
            "dead" => {
                let by_children = |entry: &&Entry| entry.event == "group_failed";
                let children_of = job.history.last().filter(by_children);
                let children_of = children_of.and(job.follows.as_ref().map(|group| group.master));
                Reason::Dead {
                    since_ms: job.buried_ms,
                    attempts: job.attempts,
                    deaths: job.deaths,
                    error: job.history.last().and_then(|entry| entry.error.clone()),
                    children_of,
                    unreadable: job.unreadable.is_some(),
                }
            }
            _ => astray(job),
        }
    }

    fn claimed(&self, job: &Job, claim: &Claim) -> Reason {
        let (worker, host) = (claim.worker.clone(), claim.info.host.clone());
        match claim.alive_until_ms {
            Some(until) if until > self.now_ms => Reason::Running {
                worker,
                host,
                pid: claim.info.pid,
                since_ms: claim.claimed_ms,
                attempt: job.attempts,
            },
            until => Reason::WorkerSilent {
                worker,
                host,
                silent_since_ms: until.unwrap_or(0),
                alive: self.alive(),
            },
        }
    }

    fn waiting(&self, job: &Job) -> Reason {
        let (ahead, slots) = (self.ahead, self.slots());
        if let Some(decision) = self.paused.clone() {
            return Reason::Paused {
                decision,
                ahead,
                workers: slots.workers,
            };
        }
        if slots.workers == 0 {
            let alive = self.alive();
            return Reason::NoWorker { alive, ahead };
        }
        if !self.listed && self.waits {
            let alive = self.alive();
            return Reason::Unlisted { alive };
        }
        match (slots.free, ahead) {
            (0, _) => Reason::Busy { slots, ahead },
            (_, 0) => Reason::Next {
                slots,
                since_ms: job.waiting_since_ms,
            },
            _ => Reason::Behind { slots, ahead },
        }
    }
}

fn astray(job: &Job) -> Reason {
    Reason::Astray {
        places: job.state.clone(),
    }
}
