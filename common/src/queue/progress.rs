//! Progress: what a running job tells of how far it is. Kept for whoever asks, pushed to whoever listens
//! ([`super::results`]), and gone with the job.

use std::{
    sync::{LazyLock, atomic::Ordering},
    time::Duration,
};

use serde::Serialize;
use thiserror::Error;

use super::{JobId, LIB, context::JobContext, enqueue::millis, turn::Turns};
use crate::kv::{KvError, Script};

static PROGRESS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "tell a job's progress",
        &[LIB, include_str!("lua/progress.lua")],
    )
});

/// How long the last report is kept, should nothing else remove it.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Why a job could not tell its progress.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// This worker stopped beating and the job was given to another.
    #[error("{0} is no longer this worker's: its heartbeat had ended")]
    ClaimLost(JobId),
    /// It cannot be written.
    #[error("write the progress of {job} as JSON")]
    Write {
        /// The job.
        job: JobId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Redis failed.
    #[error("tell the progress of {job}")]
    Redis {
        /// The job.
        job: JobId,
        /// Why.
        #[source]
        source: KvError,
    },
}

impl JobContext {
    /// Tells how far the job is, as any JSON. Each report is one call of Redis: tell by the second, not by
    /// the item.
    ///
    /// # Errors
    /// If the claim was lost (then the job goes on elsewhere, and this run may stop) or Redis fails.
    pub async fn progress(&self, value: &(impl Serialize + ?Sized)) -> Result<(), ProgressError> {
        let job = self.id;
        let text =
            serde_json::to_string(value).map_err(|source| ProgressError::Write { job, source })?;
        self.told_progress.store(true, Ordering::Relaxed);
        let Turns {
            redis,
            keys,
            worker,
            ..
        } = &self.turns;
        let mut call = PROGRESS.on(keys.prefix());
        call.arg(worker).arg(job).arg(&self.lease);
        call.arg(text).arg(millis(KEPT));
        let told: i64 = call
            .run(redis)
            .await
            .map_err(|source| ProgressError::Redis { job, source })?;
        if told == 1 {
            Ok(())
        } else {
            Err(ProgressError::ClaimLost(job))
        }
    }
}
