//! Why a job is not running, and what to do about it: for who is woken at night.
//!
//! [`Inspector::show`] tells where it is; here is what that means. `words` and `apart` say it in a sentence or two. Costs the
//! same at any depth.

mod apart;
mod look;
mod words;

use serde::Serialize;

use super::{Inspector, lanes::LaneStatus, show::Known};
use crate::{
    kv::KvError,
    queue::{JobId, pause::Decision},
};

/// Why a job is not running, or that it is.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// When this was so.
    pub now_ms: u64,
    /// The job.
    pub id: JobId,
    /// What keeps it.
    #[serde(flatten)]
    pub reason: Reason,
    /// The same in a sentence or two.
    pub text: String,
    /// What to do, if there is something to do.
    pub advice: Option<String>,
}

/// What keeps a job from running.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Nothing: a worker runs it.
    Running {
        /// Who, where.
        worker: String,
        /// Its machine.
        host: String,
        /// Its process.
        pid: u32,
        /// Since when.
        since_ms: Option<u64>,
        /// The how manieth attempt that is.
        attempt: u32,
    },
    /// The worker that runs it has stopped beating.
    WorkerSilent {
        /// Who.
        worker: String,
        /// Its machine.
        host: String,
        /// When its heartbeat ended.
        silent_since_ms: u64,
        /// Workers that are alive, which give the job back.
        alive: u64,
    },
    /// Its queue is paused.
    Paused {
        /// Since when, by whom.
        decision: Decision,
        /// Jobs before it.
        ahead: u64,
        /// Workers that are alive and serve it.
        workers: u64,
    },
    /// No worker that is alive serves its queue.
    NoWorker {
        /// Workers that are alive and serve other queues.
        alive: u64,
        /// Jobs before it.
        ahead: u64,
    },
    /// All slots are taken that its queue may use.
    Busy {
        /// The slots.
        slots: Slots,
        /// Jobs before it.
        ahead: u64,
    },
    /// Others come first; workers have free slots.
    Behind {
        /// The slots.
        slots: Slots,
        /// Jobs before it.
        ahead: u64,
    },
    /// Nothing: it is next, and a worker has a free slot.
    Next {
        /// The slots.
        slots: Slots,
        /// Since when it waits.
        since_ms: Option<u64>,
    },
    /// It was popped and not claimed, or its list was deleted.
    Unlisted {
        /// Workers that are alive, which list it again.
        alive: u64,
    },
    /// It is in the line of its lane.
    Laned {
        /// The lane.
        lane: LaneStatus,
        /// Jobs before it in the line.
        ahead: u64,
        /// Some of the jobs that hold the lane's slots.
        holders: Vec<String>,
        /// Workers that are alive.
        alive: u64,
    },
    /// It is for a later time.
    Scheduled {
        /// When.
        due_ms: u64,
        /// Attempts so far.
        attempts: u32,
        /// Why the last one failed.
        error: Option<String>,
        /// Workers that are alive, one of which lets it wait when it is due.
        alive: u64,
    },
    /// No worker that serves its queue knows its task in its version.
    Parked {
        /// The task.
        task: String,
        /// Its version.
        version: u32,
        /// Since when.
        since_ms: Option<u64>,
        /// Workers that are alive, serve its queue and do not know it.
        workers: Vec<String>,
    },
    /// It is dead.
    Dead {
        /// Since when.
        since_ms: Option<u64>,
        /// Attempts that it had.
        attempts: u32,
        /// Workers that died while they ran it.
        deaths: u32,
        /// Why.
        error: Option<String>,
        /// The master whose children are dead: that is why.
        children_of: Option<JobId>,
        /// Whether its body cannot be read.
        unreadable: bool,
    },
    /// It has ended, and what follows its group waits for the children.
    GroupOpen {
        /// Children in all.
        total: u64,
        /// Those that have not settled.
        left: u64,
        /// Those that are dead or were discarded.
        failed: u64,
    },
    /// It has ended.
    Ended {
        /// How: `done`, `dead`, `cancelled`, `expired`, `discarded`; none if that was not kept.
        how: Option<String>,
    },
    /// It never was.
    Never {
        /// The newest of its kind.
        newest: Option<JobId>,
        /// Bodies in the inbox of its queue: they are no jobs yet.
        inbox: u64,
        /// Whether its queue takes no new jobs.
        draining: bool,
    },
    /// It is in no place or in two: an audit mends that.
    Astray {
        /// Where it is.
        places: String,
    },
}

/// The slots of the workers that serve a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Slots {
    /// Workers that are alive and serve the queue.
    pub workers: u64,
    /// Slots that its jobs may use.
    pub usable: u64,
    /// Of these, those that are free.
    pub free: u64,
    /// Slots of these workers that run jobs of the queue.
    pub own: u64,
    /// Slots of these workers that run jobs of other queues.
    pub others: u64,
    /// Free slots of these workers that are kept for other queues.
    pub kept: u64,
}

impl Inspector {
    /// Explains why a job is not running.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn explain(&self, id: JobId) -> Result<Explanation, KvError> {
        let known = self.show(id).await?;
        self.explain_known(id, &known).await
    }

    /// The same for who has looked at the job: [`Self::show`] is not asked again.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn explain_known(&self, id: JobId, known: &Known) -> Result<Explanation, KvError> {
        let lane = match known {
            Known::Job(job) => job.lane.as_ref().map(|lane| lane.status.lane.as_str()),
            _ => None,
        };
        let look = self.look(id, lane).await?;
        let reason = match known {
            Known::Job(job) => look.reason(job),
            Known::Ended(outcome) => Reason::Ended {
                how: Some(outcome.name().to_owned()),
            },
            Known::Finished => {
                let group = self.group(id).await?;
                if group.open && group.left > 0 {
                    Reason::GroupOpen {
                        total: group.total,
                        left: group.left,
                        failed: group.failed,
                    }
                } else {
                    Reason::Ended { how: None }
                }
            }
            Known::Never { newest } => Reason::Never {
                newest: *newest,
                inbox: look.inbox,
                draining: look.draining.is_some(),
            },
        };
        let told = words::Teller {
            id,
            now_ms: look.now_ms,
            paused: look.paused.as_ref(),
        };
        let (text, advice) = told.tell(&reason);
        Ok(Explanation {
            now_ms: look.now_ms,
            id,
            reason,
            text,
            advice,
        })
    }
}
