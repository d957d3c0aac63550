//! Inspect: what a person or a program asks of the queues. It changes nothing, and no question costs
//! more when more jobs wait.
//!
//! [`status`] for the whole, [`left`] for a queue that drains, [`list`] for jobs page by page, [`show`] for
//! one job, [`flow`] for its flow, [`lanes`] for lanes, [`tasks`] for totals by task. Times are Redis's own,
//! in ms since 1970, so that an age is right whatever the asker's clock says. Ids are text here: what
//! somebody put into a key by hand must not keep the rest from being seen. To change something, see
//! [`super::operate`]; to account for every job, [`super::audit`].

pub mod flow;
pub mod lanes;
pub mod left;
pub mod list;
pub mod show;
pub mod status;
pub mod tasks;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::job::Body;
use crate::kv::{Keys, Redis};

/// Looks into the queues under one namespace.
#[derive(Debug, Clone)]
pub struct Inspector {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
}

impl Inspector {
    /// Looks into the queues under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self { redis, keys }
    }
}

/// First line of a script that only looks: Redis runs it on a replica and with full memory, too.
pub(super) const ONLY_LOOKS: &str = "#!lua flags=no-writes";
/// What the scripts that look share.
pub(super) const PLACES: &str = include_str!("../lua/places.lua");

/// One entry of a job's history.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    #[serde(default)]
    pub at_ms: u64,
    /// What: `failed`, `buried`, `worker_died`, `group_failed`, `refused`, `revived`.
    #[serde(default)]
    pub event: String,
    /// The attempt that ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Who ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The pause before the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
}

impl Entry {
    /// Reads an entry; what cannot be read is shown as it is.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        Some(serde_json::from_str(text).unwrap_or_else(|_| Self {
            event: text.to_owned(),
            ..Self::default()
        }))
    }
}

/// When a job was made, and for which time. Both stand at the head of its body; that it may be cut off
/// after them keeps the questions about large jobs cheap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) made: Option<u64>,
    pub(super) due: Option<u64>,
}

impl Times {
    pub(super) fn of(body: &str) -> Self {
        let number = |text: &str| {
            let digits = text.find(|c: char| !c.is_ascii_digit())?;
            text[..digits].parse().ok()
        };
        let Some(rest) = body.strip_prefix(r#"{"at":"#) else {
            return Self::default();
        };
        let made = number(rest);
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let due = rest.strip_prefix(r#","due":"#).and_then(number);
        Self { made, due }
    }

    /// Since when a job that waits now has been waiting: since it was made, or due, or was to be tried
    /// again. (One that was given back by a worker that stopped has been waiting since before that.)
    fn waiting_since(self, last: Option<&Entry>) -> Option<u64> {
        let again = last.map(|entry| entry.at_ms + entry.retry_in_ms.unwrap_or(0));
        [self.made, self.due, again].into_iter().flatten().max()
    }
}

/// `<attempts> <deaths>`.
fn tries(text: &str) -> (u32, u32) {
    let (attempts, deaths) = text.split_once(' ').unwrap_or((text, "0"));
    (attempts.parse().unwrap_or(0), deaths.parse().unwrap_or(0))
}

/// A lease, `<attempt>@<µs>` or `<attempt>#<µs>`: when the job was claimed, in ms.
fn claimed_ms(lease: &str) -> Option<u64> {
    let (_, since) = lease.split_once(['@', '#'])?;
    since.parse::<u64>().ok().map(|us| us / 1000)
}

/// A score, as Redis writes it: whole ms.
fn score(text: &str) -> Option<u64> {
    let ms: f64 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times in ms are below 2^53, and a float saturates"
    )]
    (ms.is_finite() && ms >= 0.0).then_some(ms as u64)
}

/// A body's task and arguments, as they were written, if it can be read.
fn task_and_args(body: &str) -> (Option<String>, Option<Box<RawValue>>) {
    let Ok(body) = Body::read(body) else {
        return (None, None);
    };
    (Some(body.task.into_owned()), Some(body.args.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_job_are_read_from_the_head_of_its_body() {
        let made = Times {
            made: Some(17),
            due: None,
        };
        assert_eq!(Times::of(r#"{"at":17,"task":"t"#), made);
        assert_eq!(Times::of(r#"{"at":17,"due":99,"ta"#).due, Some(99));
        assert_eq!(Times::of(r#"{"task":"t","at":17}"#), Times::default());
        assert_eq!(Times::of(""), Times::default());
    }

    #[test]
    fn a_job_waits_since_it_was_last_free_to_run() {
        let times = Times::of(r#"{"at":100,"due":500,"task":"t"}"#);
        let failed = Entry {
            at_ms: 900,
            retry_in_ms: Some(50),
            ..Entry::default()
        };

        assert_eq!(times.waiting_since(None), Some(500));
        assert_eq!(times.waiting_since(Some(&failed)), Some(950));
        assert_eq!(Times::default().waiting_since(None), None);
    }

    #[test]
    fn leases_scores_and_tries_are_read() {
        assert_eq!(claimed_ms("3@1790000000000000"), Some(1_790_000_000_000));
        assert_eq!(claimed_ms("3#1790000000000000"), Some(1_790_000_000_000));
        assert_eq!(claimed_ms("x"), None);
        assert_eq!(score("1.79e+12"), Some(1_790_000_000_000));
        assert_eq!(score("-inf"), None);
        assert_eq!(tries("4 1"), (4, 1));
        assert_eq!(tries(""), (0, 0));
    }
}
