//! What the ledger of this run tells.

use common::queue::JobId;
use serde::{Deserialize, Serialize};

use super::{
    faults::Fault,
    plan::Key,
    point::{Act, Point},
};

/// One thing that happened; its line says when and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A process began; its wall clock, in ms since 1970, shows what it takes for the time.
    Boot {
        /// That clock.
        wall_ms: u64,
        /// Its number.
        pid: u32,
    },
    /// A process ended: by a signal, or with a code.
    Exited {
        /// The signal.
        signal: Option<i32>,
        /// The code.
        code: Option<i32>,
    },

    /// A producer is about to enqueue `jobs` jobs, this one and those after it.
    Asks {
        /// The first.
        first: Key,
        /// How many.
        jobs: u32,
    },
    /// Enqueue returned: they are promised.
    Accepted {
        /// The first.
        first: Key,
        /// How many.
        jobs: u32,
    },
    /// Enqueue failed: they were pushed or not.
    Unsure {
        /// The first.
        first: Key,
        /// How many.
        jobs: u32,
        /// Why.
        error: String,
    },

    /// A worker runs a job.
    Started {
        /// Which.
        key: Key,
        /// Its id.
        id: JobId,
        /// Which attempt.
        attempt: u32,
    },
    /// The job has had its effect; this line is the effect.
    Effect {
        /// Which.
        key: Key,
    },
    /// The job is about to return.
    Ended {
        /// Which.
        key: Key,
        /// Which attempt.
        attempt: u32,
        /// How.
        outcome: Outcome,
    },
    /// A master has sealed its group.
    Sealed {
        /// Which.
        key: Key,
    },
    /// What follows a group was told of these dead children.
    Failures {
        /// What follows.
        key: Key,
        /// The children.
        dead: Vec<JobId>,
    },
    /// A job is about to kill its worker.
    Dying {
        /// Which.
        key: Key,
        /// Where; a poison job does it by its own nature.
        at: Option<Point>,
    },

    /// Redis has given these jobs to a worker, with these leases (or told it so again).
    Claimed {
        /// Each with its lease.
        jobs: Vec<(JobId, String)>,
    },
    /// Redis has carried these settlements of a worker out.
    Settled {
        /// Each with its lease and the verdict.
        jobs: Vec<(JobId, String, String)>,
    },
    /// This id was popped for a worker that was killed or cut off before it heard of it.
    PopLost {
        /// Which.
        id: JobId,
    },
    /// Something was done to a process or its socket when it passed a point.
    Hit {
        /// Where.
        at: Point,
        /// What.
        act: Act,
    },
    /// A process is killed at no point in particular.
    Killed,
    /// Something begins to go wrong.
    Began {
        /// What.
        fault: Fault,
    },
    /// It is over: from now on things could go on.
    Over {
        /// What.
        fault: Fault,
    },
    /// No more faults from here on.
    Peace,
    /// All that was wrong has been waited for; what is left is looked at.
    Drained,
}

/// How a run of a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Well.
    Done,
    /// To be tried again.
    Failed,
    /// For good.
    Fatal,
}
