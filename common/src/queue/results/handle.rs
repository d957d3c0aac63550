//! A handle on a job: how it ended, how far it is, now or by push.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{
    CallError, Outcome,
    hearing::{Ear, Hearing, LOOK_EVERY, Signal, is_progress},
};
use crate::{
    kv::KvError,
    queue::{JobId, Task},
};

/// A handle on a job of the task `T`. Make one with [`crate::queue::Producer::handle`].
pub struct JobHandle<T> {
    job: JobId,
    hearing: Arc<Hearing>,
    task: PhantomData<fn() -> T>,
}

impl<T> Clone for JobHandle<T> {
    fn clone(&self) -> Self {
        Self::new(self.job, &self.hearing)
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobHandle").field(&self.job).finish()
    }
}

impl<T> JobHandle<T> {
    pub(super) fn new(job: JobId, hearing: &Arc<Hearing>) -> Self {
        Self {
            job,
            hearing: Arc::clone(hearing),
            task: PhantomData,
        }
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.job
    }

    /// What the job last told of its progress; none before it has, and after it has ended.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn progress<P: DeserializeOwned>(
        &self,
    ) -> Result<Option<serde_json::Result<P>>, KvError> {
        let (progress, _) = self.hearing.progress(self.job).await?;
        Ok(progress.map(|text| serde_json::from_str(&text)))
    }

    /// What the job tells of its progress, as it tells it, until it has ended: first what it told last. If
    /// the connection is lost, reports are missed, but not the last. It waits while Redis is away.
    pub fn updates<P: DeserializeOwned>(&self) -> BoxStream<'static, serde_json::Result<P>> {
        let updates = Updates {
            job: self.job,
            hearing: Arc::clone(&self.hearing),
            ear: None,
            next_look: Instant::now(),
            told: String::new(),
            by_look: false,
        };
        stream::unfold(updates, async |mut updates: Updates| {
            let text = updates.next().await?;
            Some((serde_json::from_str(&text), updates))
        })
        .boxed()
    }
}

impl<T: Task> JobHandle<T> {
    /// How the job ended, if it has and that is kept.
    ///
    /// # Errors
    /// If Redis fails, or what it gave back cannot be read.
    pub async fn outcome(&self) -> Result<Option<serde_json::Result<Outcome<T::Output>>>, KvError> {
        let outcome = self.hearing.outcome(self.job).await?;
        Ok(outcome.map(super::AnyOutcome::typed))
    }

    /// Waits until the job has ended; returns what it gave back. Its outcome must be kept: see
    /// [`crate::queue::Options::keep_result`] and [`Task::KEEP_RESULT`].
    ///
    /// # Errors
    /// If it has not ended in time, did not end well, or its outcome is not kept: see [`CallError`].
    pub async fn wait(&self, patience: Duration) -> Result<T::Output, CallError> {
        let job = self.job;
        let end = async {
            let mut ear = self.hearing.job(job).await;
            self.hearing.end_of(job, &mut ear, Instant::now()).await
        };
        let outcome = tokio::time::timeout(patience, end)
            .await
            .map_err(|_| CallError::NotYet { job, patience })??;
        let outcome = outcome
            .typed()
            .map_err(|source| CallError::Output { job, source })?;
        outcome.output_of(job)
    }
}

/// The reports of one job.
struct Updates {
    job: JobId,
    hearing: Arc<Hearing>,
    ear: Option<Ear>,
    next_look: Instant,
    /// The latest, so that a look does not tell it again.
    told: String,
    /// Whether a look has told it: then its publication may still come.
    by_look: bool,
}

impl Updates {
    async fn next(&mut self) -> Option<String> {
        let ear = match &mut self.ear {
            Some(ear) => ear,
            none => none.insert(self.hearing.job(self.job).await),
        };
        loop {
            tokio::select! {
                biased;
                signal = ear.next() => match signal {
                    Signal::Told(text) => {
                        let progress = is_progress(&text)?; // else it has ended
                        let is_new = !std::mem::take(&mut self.by_look) || progress != self.told;
                        if is_new {
                            progress.clone_into(&mut self.told);
                            return Some(progress.to_owned());
                        }
                    }
                    Signal::Missed => self.next_look = Instant::now(),
                },
                () = tokio::time::sleep_until(self.next_look) => {
                    let seen = self.hearing.progress(self.job).await;
                    self.next_look = Instant::now() + LOOK_EVERY;
                    match seen {
                        Ok((Some(text), _)) if text != self.told => {
                            self.told.clone_from(&text);
                            self.by_look = true;
                            return Some(text);
                        }
                        Ok((_, false)) => return None,
                        Ok((_, true)) | Err(_) => {}
                    }
                }
            }
        }
    }
}
