//! Enqueue: where a job begins. One script makes it, counts it and lists it.
//! Next, `consume` pops it.

use std::{
    borrow::Cow,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{TryStreamExt, stream::FuturesOrdered};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{JobId, Queue, Task, job::Body};
use crate::kv::{Keys, KvError, Redis, Script};

static ENQUEUE: LazyLock<Script> =
    LazyLock::new(|| Script::new("push jobs", &[super::LIB, include_str!("lua/enqueue.lua")]));
static SCHEDULE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "schedule jobs",
        &[super::LIB, include_str!("lua/schedule.lua")],
    )
});

/// Jobs a script call at most, so that no call holds Redis up for long.
pub(super) const CHUNK: usize = 500;
/// A call with so many bytes of bodies takes no more.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Calls under way at once in a bulk.
const PIPELINE: usize = 4;

/// A body of more bytes is refused, unless [`Producer::with_max_body`] says otherwise.
pub const MAX_BODY: usize = 1 << 20;

/// Why a job was not enqueued.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The arguments cannot be written.
    #[error("write the arguments of `{task}` as JSON")]
    Write {
        /// Name of the task.
        task: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The body is too large.
    #[error(
        "the body of a `{task}` job has {bytes} bytes; {most} is the most: enqueue a reference instead"
    )]
    TooLarge {
        /// Name of the task.
        task: String,
        /// Its size.
        bytes: usize,
        /// The largest that is taken.
        most: usize,
    },
    /// Somebody lets the queue run empty.
    #[error(
        "queue `{queue}` drains and takes no new jobs; enqueue to another, or end it: queuectl resume {queue}"
    )]
    Draining {
        /// The queue.
        queue: Queue,
    },
    /// Redis's memory is full.
    #[error(
        "Redis's memory is full, so it takes no new jobs; what it holds is safe and is worked off"
    )]
    Full(#[source] KvError),
    /// Redis failed; whether the job was pushed is not known if it failed while answering.
    #[error("push onto queue `{queue}`")]
    Push {
        /// The queue.
        queue: Queue,
        /// Why.
        #[source]
        source: KvError,
    },
}

/// When a job may run.
#[derive(Debug, Clone, Copy, Default)]
pub enum When {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// After some time, by Redis's clock.
    In(Duration),
    /// At a time; late if it is in the past.
    At(SystemTime),
}

/// How to enqueue, where it differs from the task's own ways.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The queue; the task's own if not set.
    pub queue: Option<Queue>,
    /// When it may run.
    pub when: When,
    /// Attempts at most; the task's own if not set.
    pub max_attempts: Option<u32>,
}

/// Enqueues jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Producer {
    redis: Redis,
    keys: Keys,
    max_body: usize,
}

impl Producer {
    /// A producer for the queues under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self {
            redis,
            keys,
            max_body: MAX_BODY,
        }
    }

    /// Refuses bodies of more bytes than this; [`MAX_BODY`] if it is not called. Children of a master keep
    /// that limit.
    #[must_use]
    pub fn with_max_body(self, bytes: usize) -> Self {
        Self {
            max_body: bytes,
            ..self
        }
    }

    /// Enqueues one job. When this returns, the job is kept until it is settled.
    ///
    /// # Errors
    /// If the arguments cannot be written or are too large, or Redis does not take them.
    pub async fn enqueue<T: Task>(&self, task: &T) -> Result<JobId, EnqueueError> {
        self.enqueue_with(task, &Options::default()).await
    }

    /// Enqueues one job in another way than the task's own.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_with<T: Task>(
        &self,
        task: &T,
        options: &Options,
    ) -> Result<JobId, EnqueueError> {
        let body = self.body_of(task, options.max_attempts)?;
        let queue = options.queue.unwrap_or(T::QUEUE);
        let ids = self.push(queue, options.when, vec![body]).await?;
        Ok(ids[0])
    }

    /// Enqueues many jobs, in chunks that are pipelined. If it fails, an unknown part of them has been
    /// pushed.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_all<T: Task>(
        &self,
        tasks: &[T],
        options: &Options,
    ) -> Result<Vec<JobId>, EnqueueError> {
        let queue = options.queue.unwrap_or(T::QUEUE);
        let mut ids = Vec::with_capacity(tasks.len());
        let mut under_way = FuturesOrdered::new();
        let mut tasks = tasks.iter().peekable();
        while tasks.peek().is_some() {
            let (mut bodies, mut bytes) = (Vec::new(), 0);
            while bodies.len() < CHUNK
                && bytes < CHUNK_BYTES
                && let Some(task) = tasks.next()
            {
                let body = self.body_of(task, options.max_attempts)?;
                bytes += body.len();
                bodies.push(body);
            }
            if under_way.len() == PIPELINE {
                ids.extend(under_way.try_next().await?.unwrap_or_default());
            }
            under_way.push_back(self.push(queue, options.when, bodies));
        }
        while let Some(more) = under_way.try_next().await? {
            ids.extend(more);
        }
        Ok(ids)
    }

    /// Enqueues a job by its task's name: for tools that do not know the task.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_raw(
        &self,
        task: &str,
        args: &RawValue,
        options: &Options,
    ) -> Result<JobId, EnqueueError> {
        let body = Body {
            max_attempts: options.max_attempts,
            ..Body::new(task, Cow::Borrowed(args))
        };
        let body = write(&body, self.max_body)?;
        let queue = options.queue.unwrap_or(Queue::Default);
        let ids = self.push(queue, options.when, vec![body]).await?;
        Ok(ids[0])
    }

    /// Writes a job of `task` that is not part of a group.
    fn body_of<T: Task>(
        &self,
        task: &T,
        max_attempts: Option<u32>,
    ) -> Result<String, EnqueueError> {
        let body = Body {
            max_attempts,
            ..body_for(task)?
        };
        write(&body, self.max_body)
    }

    async fn push(
        &self,
        queue: Queue,
        when: When,
        bodies: Vec<String>,
    ) -> Result<Vec<JobId>, EnqueueError> {
        let script = if matches!(when, When::Now) {
            &ENQUEUE
        } else {
            &SCHEDULE
        };
        let mut call = script.on(self.keys.prefix());
        call.arg(queue);
        match when {
            When::Now => {}
            When::In(delay) => {
                call.arg("in").arg(millis(delay));
            }
            When::At(time) => {
                let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                call.arg("at").arg(millis(since_1970));
            }
        }
        for body in bodies {
            call.arg(body);
        }
        let pushed = script.run(&self.redis, &call).await;
        pushed.map_err(|source| {
            if source.is_out_of_memory() {
                EnqueueError::Full(source)
            } else if source.has_code("DRAINING") {
                EnqueueError::Draining { queue }
            } else {
                EnqueueError::Push { queue, source }
            }
        })
    }
}

/// Whole milliseconds, for Redis.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The body of a job of `task` that is tied to nothing, its arguments in the task's version.
pub(super) fn body_for<T: Task>(task: &T) -> Result<Body<'static>, EnqueueError> {
    let args = serde_json::value::to_raw_value(task).map_err(|source| EnqueueError::Write {
        task: T::NAME.to_owned(),
        source,
    })?;
    Ok(Body {
        version: T::VERSION,
        ..Body::new(T::NAME, Cow::Owned(args))
    })
}

/// Writes a body, if it has `most` bytes or less.
pub(super) fn write(body: &Body<'_>, most: usize) -> Result<String, EnqueueError> {
    let text = body.write().map_err(|source| EnqueueError::Write {
        task: body.task.to_string(),
        source,
    })?;
    if text.len() > most {
        return Err(EnqueueError::TooLarge {
            task: body.task.to_string(),
            bytes: text.len(),
            most,
        });
    }
    Ok(text)
}
