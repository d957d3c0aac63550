//! Settle: how a claim ends. The verdict on each job that ran, as the turn script takes it.
//! Before this, [`super::run`] ran the job; the next [`super::turn`] carries the verdict out.

use std::time::Duration;

use redis::ScriptInvocation;
use serde::Serialize;

use super::{JobId, enqueue::millis, turn::Claimed};

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done and forgotten.
    Done,
    /// It failed and runs again.
    Retry {
        /// Not before this.
        delay: Duration,
        /// Why it failed.
        error: String,
    },
    /// It is dead: kept with its history until somebody retries or discards it.
    Bury {
        /// Why.
        error: String,
    },
    /// It did not run to its end through no fault of its own, and waits again.
    Back,
}

/// The end of one claim.
#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) id: JobId,
    pub(super) lease: String,
    pub(super) group: Option<JobId>,
    pub(super) follows: Option<JobId>,
    pub(super) had_group: bool,
    pub(super) verdict: Verdict,
}

/// One entry of a job's history, as JSON; Redis adds the time.
#[derive(Serialize)]
pub(super) struct HistoryEntry<'a> {
    pub(super) event: &'a str,
    pub(super) attempt: u32,
    pub(super) worker: String,
    pub(super) error: &'a str,
    /// The pause before the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_in_ms: Option<u64>,
}

/// Longer error texts are cut in the history.
const MAX_ERROR: usize = 2000;

impl HistoryEntry<'_> {
    pub(super) fn write(&self) -> String {
        let error: String = self.error.chars().take(MAX_ERROR).collect();
        let entry = HistoryEntry {
            error: &error,
            worker: self.worker.clone(),
            ..*self
        };
        serde_json::to_string(&entry).unwrap_or_else(|_| r#"{"event":"unreadable"}"#.to_owned())
    }
}

impl Settlement {
    /// The end of a claim whose job never started.
    pub(super) fn of(claimed: &Claimed, verdict: Verdict) -> Self {
        Self {
            id: claimed.id,
            lease: claimed.lease.clone(),
            group: None,
            follows: None,
            had_group: false,
            verdict,
        }
    }

    /// Adds this settlement's arguments to a call of the turn script.
    pub(super) fn write(&self, worker: &str, call: &mut ScriptInvocation<'_>) {
        let text = |job: Option<JobId>| job.map(|id| id.to_string()).unwrap_or_default();
        let (name, delay, error) = match &self.verdict {
            Verdict::Done => ("done", 0, ""),
            Verdict::Retry { delay, error } => ("retry", millis(*delay), error.as_str()),
            Verdict::Bury { error } => ("bury", 0, error.as_str()),
            Verdict::Back => ("back", 0, ""),
        };
        let entry = if error.is_empty() {
            String::new()
        } else {
            let event = if name == "bury" { "buried" } else { "failed" };
            let attempt = super::turn::attempt_of(&self.lease);
            HistoryEntry {
                event,
                attempt,
                worker: worker.to_owned(),
                error,
                retry_in_ms: (name == "retry").then_some(delay),
            }
            .write()
        };
        let reason: String = error.chars().take(MAX_ERROR).collect();
        call.arg(name)
            .arg(self.id)
            .arg(&self.lease)
            .arg(text(self.group))
            .arg(text(self.follows))
            .arg(if self.had_group { "master" } else { "" })
            .arg(delay)
            .arg(entry)
            .arg(reason);
    }
}
