//! Settle: how a claim ends. The verdict on each job that ran, as the turn script takes it.
//! Before this, [`super::run`] ran the job; the next [`super::turn`] carries the verdict out.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{JobId, enqueue::millis, job::Ties, registry::Output, turn::Lease};
use crate::{id::BootId, kv::Call};

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
    /// It was to be cancelled, and ends for good.
    Cancel {
        /// Why it ended so.
        reason: String,
    },
    /// It was not started in time, and ends for good.
    Expire {
        /// How late it was.
        reason: String,
    },
    /// It did not run to its end through no fault of its own, and waits again.
    Back,
    /// This worker does not know its task in its version: it is kept until one comes that does.
    Park,
}

/// The end of one claim.
#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) id: JobId,
    pub(super) lease: Lease,
    pub(super) ties: Ties,
    pub(super) had_group: bool,
    /// What the task gave back, if anybody wants it.
    pub(super) output: Output,
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

/// What the scripts must know of an end that is not plain.
#[derive(Serialize)]
struct Details<'a> {
    entry: String,
    reason: &'a str,
    delay_ms: u64,
    /// Text for the scripts, which do not read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
}

impl Settlement {
    /// The end of a claim whose job never started, or did not come to an end.
    pub(super) fn of(id: JobId, lease: &Lease, verdict: Verdict) -> Self {
        Self {
            id,
            lease: lease.clone(),
            ties: Ties::default(),
            had_group: false,
            output: None,
            verdict,
        }
    }

    /// Whether nothing hears of this end but the worker's own claims and the group that it is a child of.
    fn is_plain(&self) -> bool {
        self.verdict == Verdict::Done
            && !self.had_group
            && self.output.is_none()
            && self.ties.are_of_a_child_at_most()
            && !self.lease.has_record()
    }

    /// Adds an end that is not plain to a call of the turn script.
    fn write(&self, worker: BootId, call: &mut Call<'_>) {
        let (name, delay_ms, error) = match &self.verdict {
            Verdict::Done => ("done", 0, ""),
            Verdict::Retry { delay, error } => ("retry", millis(*delay), error.as_str()),
            Verdict::Bury { error } => ("bury", 0, error.as_str()),
            Verdict::Cancel { reason } => ("cancel", 0, reason.as_str()),
            Verdict::Expire { reason } => ("expire", 0, reason.as_str()),
            Verdict::Back => ("back", 0, ""),
            Verdict::Park => ("park", 0, ""),
        };
        let entry = HistoryEntry {
            event: if name == "bury" { "buried" } else { "failed" },
            attempt: self.lease.attempt(),
            worker: worker.to_string(),
            error,
            retry_in_ms: (name == "retry").then_some(delay_ms),
        };
        let reason: String = error.chars().take(MAX_ERROR).collect();
        let details = Details {
            entry: if matches!(name, "retry" | "bury") {
                entry.write()
            } else {
                String::new()
            },
            reason: &reason,
            delay_ms,
            output: self.output.as_deref().map(RawValue::get),
        };
        call.arg(name)
            .arg(self.id)
            .arg(&self.lease)
            .arg(self.ties.write());
        call.arg(serde_json::to_string(&details).unwrap_or_else(|_| "{}".to_owned()));
    }
}

/// Adds settlements to a call of the turn script: first those that are plain, by runs of one group,
/// lease and bucket.
pub(super) fn write_all(settlements: &[Settlement], worker: BootId, call: &mut Call<'_>) {
    let (mut plain, others): (Vec<_>, Vec<_>) = settlements.iter().partition(|s| s.is_plain());
    // As they were claimed, if all of a lease are here: then Redis need not look at each.
    plain.sort_by(|one, other| {
        (&one.lease, one.ties.group, one.id).cmp(&(&other.lease, other.ties.group, other.id))
    });
    let runs: Vec<_> = plain
        .chunk_by(|one, next| {
            let run = |s: &Settlement| (s.ties.group, s.id.queue(), s.id.birth(), s.id.bucket());
            run(one) == run(next) && one.lease == next.lease
        })
        .collect();
    call.arg(runs.len());
    for run in runs {
        match run[0].ties.group {
            Some(group) => call.arg(group),
            None => call.arg(""),
        };
        call.arg(&run[0].lease).arg(run.len());
        for settlement in run {
            call.arg(settlement.id);
        }
    }
    call.arg(others.len());
    for settlement in others {
        settlement.write(worker, call);
    }
}
