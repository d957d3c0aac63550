//! Events: what happens to jobs, as it is told.

use serde::{Deserialize, Serialize};

use crate::{id::BootId, queue::JobId};

/// Of an error, bytes that are told.
const MAX_ERROR: usize = 300;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A worker has claimed a job and begins an attempt.
    Claimed,
    /// An attempt succeeded.
    Done,
    /// An attempt failed; another follows.
    Retried,
    /// The job is dead.
    Buried,
    /// The job was cancelled while it ran.
    Cancelled,
    /// The job was not started in time.
    Expired,
    /// No worker so far knows the job's task.
    Parked,
    /// The worker gives the job back as it was.
    Released,
    /// A worker is dead, and what it held waits again: [`Event::count`] jobs.
    Reaped,
    /// Jobs were popped and never claimed, and wait again: [`Event::count`] of them.
    Recovered,
    /// Somebody changed something by hand: [`Event::by`], [`Event::did`], and to what.
    Acted,
    /// So many events of a worker are left out: more happened than is told.
    Skipped,
    /// The follower may have missed events: its connection was lost, or it was too slow.
    Missed,
}

impl Kind {
    /// All, in the order in which they are documented.
    pub const ALL: [Self; 13] = [
        Self::Claimed,
        Self::Done,
        Self::Retried,
        Self::Buried,
        Self::Cancelled,
        Self::Expired,
        Self::Parked,
        Self::Released,
        Self::Reaped,
        Self::Recovered,
        Self::Acted,
        Self::Skipped,
        Self::Missed,
    ];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Buried => "buried",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Parked => "parked",
            Self::Released => "released",
            Self::Reaped => "reaped",
            Self::Recovered => "recovered",
            Self::Acted => "acted",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
        }
    }
}

/// Something that happened. What does not concern its kind is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in ms since 1970, by Redis's clock; 0 where that is not known: then it was just before.
    pub at_ms: u64,
    /// What.
    pub event: Kind,
    /// Id of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Name of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The worker that tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Which attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How long the job waited before its first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// How long the attempt took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many jobs, or events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Did what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// To what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

impl Event {
    /// A job was given back by who had no slot for it, or stops. It has no time: it is now.
    pub(in crate::queue) fn released(job: JobId) -> Self {
        Self {
            job: Some(job.to_string()),
            ..Self::of(Kind::Released)
        }
    }

    /// So many jobs.
    pub(in crate::queue) fn counted(kind: Kind, jobs: usize) -> Self {
        Self {
            count: Some(jobs as u64),
            ..Self::of(kind)
        }
    }

    /// A job died because its worker did.
    pub(in crate::queue) fn buried(job: JobId, why: &str) -> Self {
        Self {
            job: Some(job.to_string()),
            error: Some(cut(why)),
            ..Self::of(Kind::Buried)
        }
    }

    /// The same event, as this worker tells it at this time.
    pub(in crate::queue) fn told_by(self, worker: BootId, at_ms: u64) -> Self {
        Self {
            at_ms,
            worker: Some(worker.to_string()),
            ..self
        }
    }

    /// Something of this kind, and nothing more of it.
    pub(in crate::queue) fn of(kind: Kind) -> Self {
        Self {
            at_ms: 0,
            event: kind,
            job: None,
            task: None,
            worker: None,
            attempt: None,
            waited_ms: None,
            took_ms: None,
            error: None,
            count: None,
            by: None,
            did: None,
            of: None,
        }
    }
}

/// So much of an error as is told.
pub(in crate::queue) fn cut(error: &str) -> String {
    let mut end = error.len().min(MAX_ERROR);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_they_are_written() {
        for kind in Kind::ALL {
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, kind.name());
        }
    }
}
