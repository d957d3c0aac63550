//! What an audit can find amiss, and what it means.

use std::fmt;

use serde::Serialize;

use crate::queue::{JobId, Queue};

/// Something that an audit found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What is amiss.
    pub problem: Problem,
    /// With what: an id, a worker, a queue, a text.
    pub subject: String,
    /// Where, if the problem alone does not tell.
    pub at: String,
    /// What was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<String>,
}

impl Finding {
    pub(super) fn new(problem: Problem, subject: impl Into<String>, at: impl Into<String>) -> Self {
        Self {
            problem,
            subject: subject.into(),
            at: at.into(),
            repaired: None,
        }
    }

    /// In which order to repair.
    pub(super) fn order(&self) -> (Problem, Option<(Queue, u64)>) {
        let id = self.subject.parse::<JobId>().ok();
        (self.problem, id.map(|id| (id.queue(), id.number())))
    }
}

/// What can be amiss, in the order in which it is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// A worker that is not on the list holds jobs: nobody would ever take them from it.
    UnknownWorker,
    /// Ids are in use above the number that was given out last.
    LowMark,
    /// A job's body names a lane, and the index of lanes does not.
    Unlaned,
    /// A job is in no place.
    Nowhere,
    /// A job is in two places.
    Twice,
    /// A body is kept under a name that is no id.
    NoId,
    /// A list holds a text that is no id of its queue.
    Stray,
    /// Something else stands in the place of a list.
    NotAList,
    /// There is something else in the place of a bucket.
    NotABucket,
    /// The schedule names a job that has no body.
    NoBodyScheduled,
    /// The dead name a job that has no body.
    NoBodyDead,
    /// The parked name a job that has no body.
    NoBodyParked,
    /// A worker holds a job that has no body.
    NoBodyClaims,
    /// Attempts are on record of a job that has no body.
    NoBodyAttempts,
    /// A history is kept of a job that has no body.
    NoBodyHistory,
    /// A group waits for a child that has no body.
    NoBodyLeft,
    /// A lane's line names a job that has no body.
    NoBodyLane,
    /// The index of lanes names a job that has no body.
    NoBodyLaneJobs,
    /// A job is under way without a slot of its lane.
    NoSlot,
    /// A slot is held by a job that is not under way.
    IdleSlot,
    /// A lane has jobs and is not on the list of lanes.
    SleepingLane,
    /// The count of the jobs in all lines is wrong.
    Miscount,
    /// A key is held by a job that has no body.
    NoBodyUnique,
    /// A flow waits for a job that has no body.
    NoBodyFlow,
    /// A flow is kept of which no job is left.
    JoblessFlow,
    /// A group has no child left and what follows it was not enqueued.
    Unfired,
    /// The totals do not come out.
    Imbalance,
}

impl Problem {
    /// Its name, in scripts and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownWorker => "unknown_worker",
            Self::LowMark => "low_mark",
            Self::Unlaned => "unlaned",
            Self::Nowhere => "nowhere",
            Self::Twice => "twice",
            Self::NoId => "no_id",
            Self::Stray => "stray",
            Self::NotAList => "not_a_list",
            Self::NotABucket => "not_a_bucket",
            Self::NoBodyScheduled => "no_body_scheduled",
            Self::NoBodyDead => "no_body_dead",
            Self::NoBodyParked => "no_body_parked",
            Self::NoBodyClaims => "no_body_claims",
            Self::NoBodyAttempts => "no_body_attempts",
            Self::NoBodyHistory => "no_body_history",
            Self::NoBodyLeft => "no_body_left",
            Self::NoBodyLane => "no_body_lane",
            Self::NoBodyLaneJobs => "no_body_lane_jobs",
            Self::NoSlot => "no_slot",
            Self::IdleSlot => "idle_slot",
            Self::SleepingLane => "sleeping_lane",
            Self::Miscount => "miscount",
            Self::NoBodyUnique => "no_body_unique",
            Self::NoBodyFlow => "no_body_flow",
            Self::JoblessFlow => "jobless_flow",
            Self::Unfired => "unfired",
            Self::Imbalance => "imbalance",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|problem| problem.name() == name)
    }

    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::UnknownWorker,
        Self::LowMark,
        Self::Unlaned,
        Self::Nowhere,
        Self::Twice,
        Self::NoId,
        Self::Stray,
        Self::NotAList,
        Self::NotABucket,
        Self::NoBodyScheduled,
        Self::NoBodyDead,
        Self::NoBodyParked,
        Self::NoBodyClaims,
        Self::NoBodyAttempts,
        Self::NoBodyHistory,
        Self::NoBodyLeft,
        Self::NoBodyLane,
        Self::NoBodyLaneJobs,
        Self::NoSlot,
        Self::IdleSlot,
        Self::SleepingLane,
        Self::Miscount,
        Self::NoBodyUnique,
        Self::NoBodyFlow,
        Self::JoblessFlow,
        Self::Unfired,
        Self::Imbalance,
    ];

    /// What a person can do about it that a repair cannot, if anything.
    pub const fn by_hand(self) -> Option<&'static str> {
        match self {
            Self::Twice => Some("look at it with `queuectl show`; it may run twice"),
            Self::NotAList => Some("RENAME or DEL it; workers then list the jobs again"),
            Self::NotABucket => Some("RENAME or DEL it; then audit once more: its jobs are lost"),
            Self::NoId => Some("look at it with HGET and remove it with HDEL"),
            Self::NoBodyClaims => Some("it ends with the worker; a second run would find no body"),
            _ => None,
        }
    }
}

/// What is amiss, in one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, at, .. } = self;
        match self.problem {
            Problem::UnknownWorker => {
                write!(
                    f,
                    "worker {subject} holds jobs and is not on the list of workers"
                )
            }
            Problem::LowMark => write!(
                f,
                "`mark:{subject}` is below the numbers in use ({at}): they would be given out again"
            ),
            Problem::Unlaned => write!(f, "`lanes:jobs` does not say that {subject} has lane {at}"),
            Problem::NoBodyLane => {
                write!(f, "{subject} is in the line of lane {at} and has no body")
            }
            Problem::NoBodyLaneJobs => write!(f, "`lanes:jobs` has {subject}, which has no body"),
            Problem::NoSlot => write!(f, "{subject} is under way without a slot of lane {at}"),
            Problem::IdleSlot => write!(
                f,
                "{subject} holds a slot of lane {at} and is not under way"
            ),
            Problem::SleepingLane => {
                write!(f, "lane {subject} has jobs and is not on the list of lanes")
            }
            Problem::Miscount => write!(f, "`lanes:waiting` is not how many wait in lanes"),
            Problem::NoBodyUnique => {
                write!(f, "the key {subject} is held by {at}, which has no body")
            }
            Problem::Nowhere => write!(f, "{subject} is in no place"),
            Problem::Twice => write!(f, "{subject} is {at} at once"),
            Problem::NoId => write!(
                f,
                "`jobs:{at}` has a field that is no id of it: {subject:?}"
            ),
            Problem::Stray => write!(f, "`queue:{at}` holds what is no id of it: {subject:?}"),
            Problem::NotAList => write!(f, "`queue:{subject}` is not a list"),
            Problem::NotABucket => write!(f, "`jobs:{subject}` is not a hash"),
            Problem::NoBodyScheduled => write!(f, "{subject} is scheduled and has no body"),
            Problem::NoBodyDead => write!(f, "{subject} is among the dead and has no body"),
            Problem::NoBodyParked => write!(f, "{subject} is parked as {at} and has no body"),
            Problem::NoBodyClaims => write!(f, "{subject} is held by {at} and has no body"),
            Problem::NoBodyAttempts => write!(f, "`attempts` has {subject}, which has no body"),
            Problem::NoBodyHistory => write!(f, "`history:{subject}` is of a job without a body"),
            Problem::NoBodyLeft => {
                write!(
                    f,
                    "the group of {at} waits for {subject}, which has no body"
                )
            }
            Problem::NoBodyFlow => write!(f, "flow {at} waits for {subject}, which has no body"),
            Problem::JoblessFlow => write!(f, "flow {subject} is kept, and no job of it is left"),
            Problem::Unfired => {
                write!(
                    f,
                    "the group of {subject} is done and what follows it was not enqueued"
                )
            }
            Problem::Imbalance => {
                let queue = if at.is_empty() {
                    String::new()
                } else {
                    format!(" of queue {at}")
                };
                match subject.strip_prefix('-') {
                    Some(n) => write!(f, "the totals in `stats` lack {n} of the jobs{queue} here"),
                    None => write!(
                        f,
                        "lost{queue}: {subject} (enqueued, and neither ended nor here)"
                    ),
                }
            }
        }
    }
}
