//! Input: what a job of a flow sees of what came before it.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use thiserror::Error;

use super::InFlow;
use crate::{
    kv::{KvError, Script},
    queue::{ENDS, JobContext, JobId, inspect::ONLY_LOOKS},
};

static BEFORE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "read what a job came after",
        &[ONLY_LOOKS, ENDS, include_str!("../lua/flow_before.lua")],
    )
});

/// A job that died, or was discarded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{id} (`{task}`) failed: {reason}")]
pub struct Failure {
    /// Its id.
    pub id: JobId,
    /// Name of its task.
    pub task: String,
    /// Why.
    pub reason: String,
}

/// Why there is no input.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InputError {
    /// The job came after nothing.
    #[error("{0} came after nothing: it is in no flow, or one of the first in it")]
    First(JobId),
    /// What it came after is not kept any more.
    #[error("what {0} came after is no longer kept: the flow has gone on without it")]
    Gone(JobId),
    /// What it came after failed.
    #[error("what it came after failed")]
    Failed(#[source] Failure),
    /// The output has another shape.
    #[error("what {job} came after gave back something else than expected")]
    Shape {
        /// The job.
        job: JobId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Redis failed.
    #[error("read the input")]
    Redis(#[from] KvError),
}

type Reply = (
    String,
    Vec<(String, String)>,
    Vec<(usize, JobId, String, String)>,
);

/// How what a job came after has ended.
struct Before {
    is_kept: bool,
    is_all: bool,
    /// Of each part of an `all`, or of the one step: what it gave back (JSON), if it ended well.
    outputs: Vec<Option<String>>,
    /// Who died, with the part (from 0).
    deaths: Vec<(usize, Failure)>,
}

impl JobContext {
    /// What the job before this one in its flow gave back. After an [`all`](super::all) it is the list of
    /// what its parts gave back, with `null` for those that failed; for [`Self::inputs`] those are errors.
    ///
    /// # Errors
    /// If nothing came before, or it failed (this job handles its [`Self::failure`]), or gave back
    /// something of another shape; or Redis cannot be asked.
    pub async fn input<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        let before = self.before().await?.ok_or(InputError::First(self.id))?;
        if before.is_all {
            let null = || RawValue::NULL.get().to_owned();
            let outputs = before.outputs.into_iter();
            let list: Vec<_> = outputs.map(|text| text.unwrap_or_else(null)).collect();
            return self.read(&format!("[{}]", list.join(",")));
        }
        match before.outputs.first() {
            Some(Some(text)) => self.read(text),
            _ => Err(self.why_not(before.deaths.into_iter().next())),
        }
    }

    /// What the parts of the [`all`](super::all) before this job gave back, in the order of the flow; for
    /// each part that failed, why. After a single job it is a list of one.
    ///
    /// # Errors
    /// If nothing came before, or an output has another shape, or Redis cannot be asked.
    pub async fn inputs<T: DeserializeOwned>(
        &self,
    ) -> Result<Vec<Result<T, InputError>>, InputError> {
        let before = self.before().await?.ok_or(InputError::First(self.id))?;
        if !before.is_kept {
            return Err(InputError::Gone(self.id));
        }
        let (outputs, deaths) = (before.outputs, before.deaths);
        let part = |(part, output): (usize, Option<String>)| match output {
            Some(text) => Ok(Ok(self.read(&text)?)),
            None => Ok(Err(
                self.why_not(deaths.iter().find(|(of, _)| *of == part).cloned())
            )),
        };
        outputs.into_iter().enumerate().map(part).collect()
    }

    /// Why what came before this job in its flow failed: the first of [`Self::failures`].
    ///
    /// # Errors
    /// If Redis cannot be asked.
    pub async fn failure(&self) -> Result<Option<Failure>, KvError> {
        let deaths = self.before().await?.map(|before| before.deaths);
        Ok(deaths.and_then(|deaths| deaths.into_iter().next().map(|(_, failure)| failure)))
    }

    /// The dead among what came before this job in its flow, each with its reason.
    pub(in crate::queue) async fn flow_failures(&self) -> Result<BTreeMap<JobId, String>, KvError> {
        let deaths = self.before().await?.map(|before| before.deaths);
        let deaths = deaths.unwrap_or_default().into_iter();
        Ok(deaths.map(|(_, dead)| (dead.id, dead.reason)).collect())
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, InputError> {
        serde_json::from_str(text).map_err(|source| InputError::Shape {
            job: self.id,
            source,
        })
    }

    fn why_not(&self, death: Option<(usize, Failure)>) -> InputError {
        death.map_or(InputError::Gone(self.id), |(_, failure)| {
            InputError::Failed(failure)
        })
    }

    /// Asks how what this job came after has ended.
    async fn before(&self) -> Result<Option<Before>, KvError> {
        let Some(InFlow {
            id,
            after: Some(after),
            ..
        }) = self.flow
        else {
            return Ok(None);
        };
        let mut call = BEFORE.on(self.turns.keys.prefix());
        call.arg(id).arg(after);
        let (kind, ends, deaths): Reply = call.run(&self.turns.redis).await?;
        let output = |(how, text): (String, String)| (how == "well").then_some(text);
        let death = |(part, id, task, reason): (usize, JobId, _, _)| {
            (part - 1, Failure { id, task, reason })
        };
        Ok(Some(Before {
            is_kept: !kind.is_empty(),
            is_all: kind == "all",
            outputs: ends.into_iter().map(output).collect(),
            deaths: deaths.into_iter().map(death).collect(),
        }))
    }
}
