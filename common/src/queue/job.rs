//! A job: one request to run a task. Its id, its queue, its body as it lies in Redis.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Lane,
    flow::InFlow,
    trace::{self, TraceParent},
    unique::Hold,
};
use crate::id::IdError;

/// A priority class, and the Redis list of that name. Workers take `high` before `default` before `low`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// Somebody waits for it.
    High,
    /// The usual.
    Default,
    /// Whenever there is time.
    Low,
}

impl Queue {
    /// All queues, in the order of their priority.
    pub const ALL: [Self; 3] = [Self::High, Self::Default, Self::Low];

    /// The name in keys, flags and ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Default => "default",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Queue {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL
            .into_iter()
            .find(|queue| queue.name() == text)
            .ok_or_else(|| IdError::new(text, "a queue (high, default or low)"))
    }
}

crate::id_as_text!(Queue);

/// How a job came to be, which tells where its number is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Birth {
    /// Pushed onto its list at once: `high-17`.
    Pushed,
    /// Given a time, or buried at birth: `high+17`.
    Unlisted,
}

/// How many numbers share a hash of bodies, as `lua/numbers.lua` has it.
const BUCKET: u64 = 1000;

/// A job's id: its queue and a number, e.g. `high-1042`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    queue: Queue,
    birth: Birth,
    number: u64,
}

impl JobId {
    /// The queue it belongs to.
    pub const fn queue(self) -> Queue {
        self.queue
    }

    pub(crate) const fn birth(self) -> Birth {
        self.birth
    }

    pub(crate) const fn number(self) -> u64 {
        self.number
    }

    /// Which thousand of its kind it is of.
    pub(crate) const fn bucket(self) -> u64 {
        self.number / BUCKET
    }

    /// The id of the same kind with another number.
    pub(crate) const fn with_number(self, number: u64) -> Self {
        Self { number, ..self }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.birth {
            Birth::Pushed => '-',
            Birth::Unlisted => '+',
        };
        write!(f, "{}{mark}{}", self.queue, self.number)
    }
}

impl FromStr for JobId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::new(text, "a job's id (such as high-17 or low+3)");
        let at = text.find(['-', '+']).ok_or_else(wrong)?;
        let birth = if text.as_bytes()[at] == b'-' {
            Birth::Pushed
        } else {
            Birth::Unlisted
        };
        let queue = text[..at].parse().map_err(|_| wrong())?;
        let digits = &text[at + 1..];
        if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let number = digits.parse().map_err(|_| wrong())?;
        Ok(Self {
            queue,
            birth,
            number,
        })
    }
}

crate::id_as_text!(JobId);

/// A job's body, as it lies in Redis: JSON with short, stable names. Fields that are not set are left
/// out; fields that are not known are passed over, so that older and newer processes understand each
/// other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Body<'a> {
    /// The lane that it goes through. It stands first, where the scripts look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Name of the task.
    #[serde(borrow)]
    pub task: std::borrow::Cow<'a, str>,
    /// What the task is to run on.
    #[serde(borrow)]
    pub args: std::borrow::Cow<'a, RawValue>,
    /// Attempts at most, where it differs from the task's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Version of the arguments; left out when it is 1.
    #[serde(rename = "v", default = "first", skip_serializing_if = "is_first")]
    pub version: u32,
    /// The tick of a periodic task, ms, that it was enqueued for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<u64>,
    /// The master whose child this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<JobId>,
    /// The master whose group this follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<JobId>,
    /// How long to keep how it ended, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u64>,
    /// Who is told how it ended: `<process>/<call>`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<std::borrow::Cow<'a, str>>,
    /// How long one attempt may take, ms, where it differs from the task's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// After how long an attempt is asked to stop, ms, where it differs from the task's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_timeout: Option<u64>,
    /// How long after it may run it must have been started, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The key that no other job may have meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Hold>,
    /// Its place in a flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<InFlow>,
    /// The trace context of who enqueued it.
    #[serde(
        default,
        deserialize_with = "trace::in_body",
        skip_serializing_if = "Option::is_none"
    )]
    pub trace: Option<TraceParent>,
}

const fn first() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
const fn is_first(version: &u32) -> bool {
    *version == 1
}

/// What hears of a job's end, as the scripts read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ties {
    /// The group that it is a child of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<JobId>,
    /// The group that it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) follows: Option<JobId>,
    /// How long its outcome is kept, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) keep: Option<u64>,
    /// The call that awaits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<String>,
    /// Whether its channel has to hear of its end, kept or not: it told its progress, or is to be
    /// cancelled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) heard: bool,
    /// The lane that it holds a slot of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lane: Option<String>,
    /// The key that it may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unique: Option<String>,
    /// Its place in a flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flow: Option<InFlow>,
}

impl Ties {
    /// Whether nothing hears of the job's end, or only the group that it is a child of.
    pub(super) fn are_of_a_child_at_most(&self) -> bool {
        let Self {
            group: _,
            follows: None,
            keep: None,
            reply: None,
            heard: false,
            lane: None,
            unique: None,
            flow: None,
        } = self
        else {
            return false;
        };
        true
    }

    /// JSON, or nothing for the many jobs that are tied to nothing.
    pub(super) fn write(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The ties of a body, as far as it can be read.
    pub(super) fn of(body: &[u8]) -> Self {
        let text = std::str::from_utf8(body).ok();
        text.and_then(|text| Body::read(text).ok())
            .map(|body| body.ties())
            .unwrap_or_default()
    }
}

impl<'a> Body<'a> {
    /// A body of a job that is tied to nothing, its arguments in their first version, in the trace of whoever makes
    /// it.
    pub(super) fn new(task: &'a str, args: impl Into<std::borrow::Cow<'a, RawValue>>) -> Self {
        Self {
            task: task.into(),
            args: args.into(),
            max_attempts: None,
            lane: None,
            version: 1,
            tick: None,
            group: None,
            follows: None,
            keep: None,
            reply: None,
            timeout: None,
            soft_timeout: None,
            expires: None,
            unique: None,
            flow: None,
            trace: TraceParent::current(),
        }
    }

    /// Whether somebody wants what the task gives back.
    pub(super) fn wants_output(&self) -> bool {
        self.keep.is_some_and(|ms| ms > 0)
            || self.reply.is_some()
            || self.flow.is_some_and(|flow| flow.output)
    }

    pub(super) fn ties(&self) -> Ties {
        Ties {
            group: self.group,
            follows: self.follows,
            keep: self.keep.filter(|ms| *ms > 0),
            reply: self.reply.as_deref().map(str::to_owned),
            heard: false,
            lane: self.lane.as_ref().map(|lane| lane.name().to_owned()),
            unique: self.unique.as_ref().map(|hold| hold.key.clone()),
            flow: self.flow,
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// If it is not JSON of this shape.
    pub fn read(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Writes a body.
    ///
    /// # Errors
    /// If a field cannot be written as JSON.
    pub fn write(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_written() {
        for text in ["high-1", "default-1042", "low+3"] {
            assert_eq!(text.parse::<JobId>().unwrap().to_string(), text);
        }
        for wrong in [
            "", "high", "high-", "high-01", "high--1", "mid-1", "high-1x", "high-+1",
        ] {
            assert!(wrong.parse::<JobId>().is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn a_body_leaves_out_what_is_not_set_and_passes_over_what_is_not_known() {
        let body = Body::read(r#"{"task":"t","args":{"a":1},"from_the_future":true}"#).unwrap();

        assert_eq!(body.write().unwrap(), r#"{"task":"t","args":{"a":1}}"#);
    }
}
