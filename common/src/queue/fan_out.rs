//! Fan-out: a master names its children, and what follows when all of them have settled. Each step is a
//! script, fenced by the master's claim; a second attempt goes on where the first was.

use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    sync::{LazyLock, atomic::Ordering},
};

use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{
    EnqueueError, JobContext, JobId, Task,
    asked::{body_for, write},
    chunk::{Answer, Chunk, Sent},
    clock::Clock,
    enqueue::{CHUNK_BYTES, MAX_BODY},
    flow::InFlow,
    job::Body,
    pace::{Group, Pace},
    turn::Turns,
};
use crate::{
    begun::begun,
    kv::{KvError, Script},
};

static SEAL: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full("seal a group", &[super::ENDS, include_str!("lua/seal.lua")])
});

/// Children in a chunk. Fewer than jobs in a bulk's: the turns that run them wait behind each (docs/decisions/0039).
pub(super) const CHUNK: usize = 200;
/// Chunks under way at once: while Redis adds one, the master makes the next.
const UNDER_WAY: usize = 2;

/// What becomes of a group when a child dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeath {
    /// What follows runs all the same and can see [`JobContext::failures`].
    Continue,
    /// What follows is buried; retry the dead children, then it.
    Fail,
}

/// Why a group could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FanOutError {
    /// This worker stopped beating and the job was given to another.
    #[error("{0} is no longer this worker's: its heartbeat had ended")]
    ClaimLost(JobId),
    /// Redis has not kept the children before these, which it had taken.
    #[error("the children of {0} that were added first are gone: Redis lost its last moments")]
    Gap(JobId),
    /// The plan cannot be written or read.
    #[error("write or read the plan of group {group}")]
    Plan {
        /// The master.
        group: JobId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A child's body cannot be written.
    #[error("make a child of group {group}")]
    Child {
        /// The master.
        group: JobId,
        /// Why.
        #[source]
        source: EnqueueError,
    },
    /// Redis failed.
    #[error("fan {group} out")]
    Redis {
        /// The master.
        group: JobId,
        /// Why.
        #[source]
        source: KvError,
    },
}

impl JobContext {
    /// Makes this job the master of a group. `plan` is what its split depends on, and must determine
    /// the children and their order: if the master starts again after a crash it gets back the plan that
    /// it recorded first, and children that were added before are passed over.
    ///
    /// # Errors
    /// If the claim was lost or Redis fails.
    pub async fn fan_out<P>(&self, on_death: OnDeath, plan: &P) -> Result<Split<'_, P>, FanOutError>
    where
        P: Serialize + DeserializeOwned,
    {
        self.had_group.store(true, Ordering::Relaxed);
        let plan = serde_json::to_string(plan).map_err(|source| FanOutError::Plan {
            group: self.id,
            source,
        })?;
        let mut split = Split {
            job: self,
            on_death,
            plan_text: String::new(),
            next: 0,
            index: 0,
            sealed: false,
            pending: Vec::new(),
            pending_bytes: 0,
            some_laned: false,
            clock: None,
            under_way: VecDeque::new(),
            pace: Pace::default(),
            plan: PhantomData,
        };
        let begun = split.chunk(0, Vec::new(), false).send(plan).await;
        split.plan_text = split.heard(begun).await?;
        Ok(split)
    }
}

/// A group in the making.
pub struct Split<'a, P> {
    job: &'a JobContext,
    on_death: OnDeath,
    /// As it was recorded first.
    plan_text: String,
    /// How many children Redis had when it was last heard.
    pub(super) next: u64,
    /// How many the master has named.
    pub(super) index: u64,
    pub(super) sealed: bool,
    pending: Vec<String>,
    pending_bytes: usize,
    /// Whether some of the pending have a lane.
    some_laned: bool,
    /// As Redis showed it last.
    clock: Option<Clock>,
    /// In their order.
    under_way: VecDeque<BoxFuture<'a, Sent>>,
    pace: Pace,
    plan: PhantomData<P>,
}

impl<P> fmt::Debug for Split<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split")
            .field("group", &self.job.id)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl<P: DeserializeOwned> Split<'_, P> {
    /// The plan that this group was begun with.
    ///
    /// # Errors
    /// If another version of the task recorded a plan of another shape.
    pub fn plan(&self) -> Result<P, FanOutError> {
        serde_json::from_str(&self.plan_text).map_err(|source| FanOutError::Plan {
            group: self.job.id,
            source,
        })
    }
}

impl<P> Split<'_, P> {
    /// Adds a child, on the master's own queue whatever its [`Task::QUEUE`]: the children of an urgent
    /// job are as urgent. Children are sent in chunks,
    /// the next while others are under way, so an error may be that of an earlier chunk.
    ///
    /// # Errors
    /// If the child cannot be made, the claim was lost, Redis fails or has lost children that it had taken.
    pub async fn add<T: Task>(&mut self, child: &T) -> Result<(), FanOutError> {
        // Made even if it is here already: what cannot be made is no child, in no attempt.
        let body = self.body(child, Some(self.job.id), None)?;
        self.index += 1;
        if self.index <= self.next || self.sealed {
            return Ok(()); // added before this master's crash
        }
        self.pending_bytes += body.len();
        self.some_laned |= child.lane().is_some();
        self.pending.push(body);
        if self.pending.len() >= CHUNK || self.pending_bytes >= CHUNK_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// Ends the split: `then` is enqueued, once, when the last child has settled; at once if none is
    /// left. It too goes to the master's queue.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub async fn then<T: Task>(mut self, then: &T) -> Result<(), FanOutError> {
        if !self.pending.is_empty() {
            self.send().await?;
        }
        self.hear(1).await?;
        let body = self.body(then, None, Some(self.job.id))?;
        let Turns {
            redis,
            keys,
            worker,
            ..
        } = &self.job.turns;
        let mut call = SEAL.on(keys.prefix());
        call.arg(worker).arg(self.job.id).arg(&self.job.lease);
        call.arg(body)
            .arg(self.job.flow.map_or_else(String::new, InFlow::write))
            .arg(self.index);
        let sealed: i64 = call
            .run(redis)
            .await
            .map_err(|source| self.redis_error(source))?;
        match sealed {
            1 => Ok(()),
            -3 => Err(FanOutError::Gap(self.job.id)),
            _ => Err(FanOutError::ClaimLost(self.job.id)),
        }
    }

    /// Sends the pending children. Waits only while enough are under way.
    pub(super) async fn send(&mut self) -> Result<(), FanOutError> {
        let first = self.index - self.pending.len() as u64;
        let mut bodies = std::mem::take(&mut self.pending);
        let clock = self.clock.filter(|_| !self.some_laned);
        if let Some(clock) = clock {
            for body in &mut bodies {
                *body = clock.stamp(body);
            }
        }
        let chunk = self.chunk(first, bodies, clock.is_some());
        (self.pending_bytes, self.some_laned) = (0, false);
        self.under_way.push_back(begun(chunk.send(String::new())));
        self.hear(UNDER_WAY).await
    }

    /// Waits until fewer chunks than this are under way.
    pub(super) async fn hear(&mut self, fewer_than: usize) -> Result<(), FanOutError> {
        while self.under_way.len() >= fewer_than
            && let Some(sent) = self.under_way.pop_front()
        {
            self.heard(sent.await).await?;
        }
        Ok(())
    }

    fn chunk(&self, first: u64, bodies: Vec<String>, stamped: bool) -> Chunk {
        Chunk {
            turns: self.job.turns.clone(),
            master: self.job.id,
            lease: self.job.lease.clone(),
            on_death: self.on_death,
            first,
            bodies,
            stamped,
        }
    }

    /// What Redis says of a chunk, all before it having been heard; returns the plan that holds, if one was sent.
    async fn heard(&mut self, (chunk, reply): Sent) -> Result<String, FanOutError> {
        let mut told = reply.map_err(|source| self.redis_error(source))?;
        if matches!(told.answer, Answer::Gap) {
            // It overtook the one before it, on another connection: that one is there now.
            let (_, again) = chunk.send(String::new()).await;
            told = again.map_err(|source| self.redis_error(source))?;
        }
        self.clock = Some(told.clock.best(self.clock));
        match told.answer {
            Answer::Added { next, plan, left } => {
                self.next = next;
                let Turns { redis, keys, .. } = &self.job.turns;
                let group = Group { total: next, left };
                let waited = self.pace.wait(redis, keys, self.job.id, group).await;
                waited.map_err(|source| self.redis_error(source))?;
                Ok(plan)
            }
            Answer::Sealed { plan } => {
                self.sealed = true;
                Ok(plan)
            }
            Answer::ClaimLost => Err(FanOutError::ClaimLost(self.job.id)),
            Answer::Gap => Err(FanOutError::Gap(self.job.id)),
        }
    }

    fn body<T: Task>(
        &self,
        task: &T,
        group: Option<JobId>,
        follows: Option<JobId>,
    ) -> Result<String, FanOutError> {
        let child = |source| FanOutError::Child {
            group: self.job.id,
            source,
        };
        let body = Body {
            group,
            follows,
            // What follows takes the master's place in a flow.
            flow: follows.and(self.job.flow),
            ..body_for(task).map_err(child)?
        };
        write(&body, MAX_BODY).map_err(child)
    }

    fn redis_error(&self, source: KvError) -> FanOutError {
        FanOutError::Redis {
            group: self.job.id,
            source,
        }
    }
}
