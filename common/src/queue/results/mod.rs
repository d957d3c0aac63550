//! Results: how a job ended, kept for a while and pushed to whoever awaits it.
//!
//! The step that ends a job also keeps its outcome (`result:<job>`, if the one who enqueued it or its task
//! asked for that) and publishes it: so no outcome is told of an end that did not count. `hearing` is what
//! a process listens with: one connection for all that it awaits. Publications may be missed, what is kept
//! may not: whoever waits reads it after each (re)subscription. `call` enqueues and waits in one;
//! `handle` waits for any job.

mod call;
mod handle;
mod hearing;

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{EnqueueError, JobId};

pub use handle::JobHandle;
pub(super) use hearing::{Ear, Hearing, LOOK_EVERY, Signal};

/// How a job ended. As JSON: `{"done":<what it gave back>}`, `{"dead":"<reason>"}` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome<T> {
    /// It is done, and gave this back.
    Done(T),
    /// It is dead, for this reason, until somebody retries it.
    Dead(String),
    /// It was cancelled.
    Cancelled(String),
    /// It was not started in time.
    Expired(String),
    /// Somebody discarded it.
    Discarded(String),
}

/// An outcome whose task is not known.
pub type AnyOutcome = Outcome<Box<RawValue>>;

/// Why a call brought no output.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no such job.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// It failed for good; it is kept until somebody retries or discards it.
    #[error("{job} is dead: {reason}")]
    Dead {
        /// The job.
        job: JobId,
        /// Why.
        reason: String,
    },
    /// Somebody cancelled it.
    #[error("{job}: {reason}")]
    Cancelled {
        /// The job.
        job: JobId,
        /// What is known of it.
        reason: String,
    },
    /// It was not started in time.
    #[error("{job} has expired: {reason}")]
    Expired {
        /// The job.
        job: JobId,
        /// How late it was.
        reason: String,
    },
    /// Somebody discarded it.
    #[error("{job} was discarded")]
    Discarded {
        /// The job.
        job: JobId,
    },
    /// It has not ended yet, and goes on.
    #[error("{job} has not ended within {patience:?}")]
    NotYet {
        /// The job.
        job: JobId,
        /// How long it was waited for.
        patience: Duration,
    },
    /// Nobody asked that its outcome be kept.
    #[error("how {0} ends is not kept: enqueue it with `keep_result`")]
    NotKept(JobId),
    /// Nothing is known of it any more.
    #[error("{0} has ended and its outcome is not kept any more, or it has never been")]
    Gone(JobId),
    /// What it gave back cannot be read.
    #[error("read what {job} gave back")]
    Output {
        /// The job.
        job: JobId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl AnyOutcome {
    /// The name of such an end, as in its JSON; what the job gave back; or the reason.
    pub fn into_parts(self) -> (&'static str, Option<Box<RawValue>>, Option<String>) {
        match self {
            Self::Done(output) => ("done", Some(output), None),
            Self::Dead(reason) => ("dead", None, Some(reason)),
            Self::Cancelled(reason) => ("cancelled", None, Some(reason)),
            Self::Expired(reason) => ("expired", None, Some(reason)),
            Self::Discarded(reason) => ("discarded", None, Some(reason)),
        }
    }

    /// Reads what the scripts write.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// As the output of a task that is known.
    pub(super) fn typed<T: DeserializeOwned>(self) -> serde_json::Result<Outcome<T>> {
        Ok(match self {
            Self::Done(output) => Outcome::Done(serde_json::from_str(output.get())?),
            Self::Dead(reason) => Outcome::Dead(reason),
            Self::Cancelled(reason) => Outcome::Cancelled(reason),
            Self::Expired(reason) => Outcome::Expired(reason),
            Self::Discarded(reason) => Outcome::Discarded(reason),
        })
    }
}

impl<T> Outcome<T> {
    /// Its name: `done`, `dead`, `cancelled`, `expired` or `discarded`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Dead(_) => "dead",
            Self::Cancelled(_) => "cancelled",
            Self::Expired(_) => "expired",
            Self::Discarded(_) => "discarded",
        }
    }

    /// What the job gave back, or why it did not.
    fn output_of(self, job: JobId) -> Result<T, CallError> {
        match self {
            Self::Done(output) => Ok(output),
            Self::Dead(reason) => Err(CallError::Dead { job, reason }),
            Self::Cancelled(reason) => Err(CallError::Cancelled { job, reason }),
            Self::Expired(reason) => Err(CallError::Expired { job, reason }),
            Self::Discarded(_) => Err(CallError::Discarded { job }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_reads_as_the_scripts_write_it() {
        let done = AnyOutcome::read(r#"{"done":{"sum":3}}"#).unwrap();
        let sum: Outcome<serde_json::Value> = done.typed().unwrap();
        assert_eq!(sum, Outcome::Done(serde_json::json!({"sum": 3})));

        let nothing = AnyOutcome::read(r#"{"done":null}"#).unwrap();
        assert_eq!(nothing.typed::<()>().unwrap(), Outcome::Done(()));

        let dead = AnyOutcome::read(r#"{"dead":"a \/ b"}"#).unwrap();
        assert_eq!(dead.typed::<()>().unwrap(), Outcome::Dead("a / b".into()));
        assert!(AnyOutcome::read(r#"{"from_the_future":1}"#).is_none());
    }
}
