//! Enqueue: where a job begins. One script makes it, counts it and lists it (`enqueue_one` for most).
//! Next, `consume` pops it.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::value::RawValue;
use thiserror::Error;

use super::{
    JobId, LIB, Lane, Queue, Task, TraceParent,
    asked::Asked,
    clock::LastShown,
    flow,
    job::Body,
    lane::MAX_LANE,
    results::Hearing,
    span::{enqueuing, spanned},
    unique::{self, ADMIT, Enqueued, MAX_KEY, Unique},
};
use crate::kv::{Keys, KvError, Redis, Script};

static ENQUEUE_LANED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "push jobs into lanes",
        &[LIB, include_str!("lua/enqueue_laned.lua")],
    )
});
static SCHEDULE: LazyLock<Script> =
    LazyLock::new(|| Script::new("schedule jobs", &[LIB, include_str!("lua/schedule.lua")]));

/// Jobs a script call at most, so that no call holds Redis up for long.
pub(super) const CHUNK: usize = 500;
/// A call with so many bytes of bodies takes no more.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

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
    /// The name of the lane cannot be used.
    #[error(
        "`{lane}` cannot be the name of a lane: it has 1 to {MAX_LANE} bytes, and no quotes, backslashes or control characters"
    )]
    Lane {
        /// The name.
        lane: String,
    },
    /// The key of the unique job is too long.
    #[error(
        "the key of a unique `{task}` job has {bytes} bytes, its name included; {MAX_KEY} is the most"
    )]
    LongKey {
        /// Name of the task.
        task: String,
        /// Its length.
        bytes: usize,
    },
    /// The flow is too large.
    #[error(
        "a flow of {steps} steps and {bytes} bytes is too large; {} steps and {} bytes are the most: let a \
         master split what is more (`JobContext::fan_out`)",
        flow::MAX_STEPS,
        flow::MAX_FLOW
    )]
    FlowTooLarge {
        /// Jobs, and groups of them.
        steps: usize,
        /// Their size; 0 if there are too many steps.
        bytes: usize,
    },
    /// Redis failed; whether the flow was started is not known if it failed while answering.
    #[error("start a flow")]
    Start(#[source] KvError),
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
    /// The lane to go through; the task's own if not set.
    pub lane: Option<Lane>,
    /// Whether there may be another such job; the task's own way if not set.
    pub unique: Option<Unique>,
    /// How long to keep how it ended; the task's own if not set, zero for not at all.
    pub keep_result: Option<Duration>,
    /// How long one attempt may take; the task's own if not set.
    pub timeout: Option<Duration>,
    /// After how long an attempt is asked to stop; the task's own if not set.
    pub soft_timeout: Option<Duration>,
    /// It ends without having run if it is not started so long after it may run.
    pub expires_in: Option<Duration>,
    /// The trace that it belongs to; that of the job that enqueues it, if not set.
    pub trace: Option<TraceParent>,
}

impl Options {
    /// A body that says so.
    pub(super) fn put<'a>(&self, body: Body<'a>) -> Body<'a> {
        Body {
            max_attempts: self.max_attempts,
            keep: self.keep_result.map(millis).or(body.keep),
            timeout: self.timeout.map(millis),
            soft_timeout: self.soft_timeout.map(millis),
            expires: self.expires_in.map(millis),
            trace: self.trace.or(body.trace),
            ..body
        }
    }
}

/// Enqueues jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Producer {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    pub(super) hearing: Arc<Hearing>,
    pub(super) max_body: usize,
    pub(super) clock: Arc<LastShown>,
}

impl Producer {
    /// A producer for the queues under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self {
            hearing: Hearing::new(redis.clone(), keys.clone()),
            redis,
            keys,
            max_body: MAX_BODY,
            clock: Arc::default(),
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

    /// Enqueues one job in another way than the task's own. If it is unique and such a job is here, the id is
    /// of that one.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_with<T: Task>(
        &self,
        task: &T,
        options: &Options,
    ) -> Result<JobId, EnqueueError> {
        Ok(self.enqueue_unique(task, options).await?.id)
    }

    /// Enqueues one job, and tells whether it was here already: see [`Unique`].
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_unique<T: Task>(
        &self,
        task: &T,
        options: &Options,
    ) -> Result<Enqueued, EnqueueError> {
        self.enqueue_for(task, options, None).await
    }

    /// Enqueues one job, whose end is told to a call of this process, if there is one.
    pub(super) async fn enqueue_for<T: Task>(
        &self,
        task: &T,
        options: &Options,
        reply: Option<&str>,
    ) -> Result<Enqueued, EnqueueError> {
        let queue = options.queue.unwrap_or(T::QUEUE);
        let asked = || Asked::of(task, options, reply, self.max_body);
        self.push_one(T::NAME, queue, options.when, asked).await
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
        let queue = options.queue.unwrap_or(Queue::Default);
        let asked = || {
            let body = Body::new(task, Cow::Borrowed(args));
            Asked::new(body, options.unique.clone(), options, self.max_body)
        };
        let made = self.push_one("a job", queue, options.when, asked).await;
        Ok(made?.id)
    }

    /// Pushes a job, as a step of the trace that runs here: its body names that step as its parent.
    async fn push_one(
        &self,
        task: &'static str,
        queue: Queue,
        when: When,
        asked: impl FnOnce() -> Result<Asked, EnqueueError>,
    ) -> Result<Enqueued, EnqueueError> {
        let push = async {
            let asked = asked()?;
            if matches!(when, When::Now) && asked.is_plain() {
                return self.push_plain(queue, &asked).await;
            }
            Ok(self.push(queue, when, vec![asked]).await?[0])
        };
        spanned(enqueuing(task), push).await
    }

    pub(super) async fn push(
        &self,
        queue: Queue,
        when: When,
        jobs: Vec<Asked>,
    ) -> Result<Vec<Enqueued>, EnqueueError> {
        let some_unique = jobs.iter().any(|asked| asked.unique.is_some());
        let script = match when {
            _ if some_unique => &ADMIT,
            When::Now => &ENQUEUE_LANED,
            When::In(_) | When::At(_) => &SCHEDULE,
        };
        let mut call = script.on(self.keys.prefix());
        call.arg(queue);
        match when {
            When::Now if some_unique => {
                call.arg("now").arg("");
            }
            When::Now => {}
            When::In(delay) => {
                call.arg("in").arg(millis(delay));
            }
            When::At(time) => {
                let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                call.arg("at").arg(millis(since_1970));
            }
        }
        for asked in &jobs {
            if some_unique {
                unique::write(asked.unique.as_ref(), &mut call);
            }
            call.arg(&asked.body);
        }
        let pushed = if some_unique {
            let made: Result<Vec<(JobId, bool)>, _> = call.run(&self.redis).await;
            made.map(unique::admitted)
        } else {
            let ids: Result<Vec<JobId>, _> = call.run(&self.redis).await;
            ids.map(|ids| ids.into_iter().map(Enqueued::new).collect())
        };
        pushed.map_err(|source| EnqueueError::refused(queue, source))
    }

    /// The body of a job without lane and key, for a script of [`super::makes_jobs`] that pushes it itself.
    pub(crate) fn body_of<T: Task>(&self, task: &T) -> Result<String, EnqueueError> {
        Ok(Asked::of(task, &Options::default(), None, self.max_body)?.body)
    }
}

impl EnqueueError {
    /// What it means that Redis refused a script that pushes onto `queue`.
    pub(crate) fn refused(queue: Queue, source: KvError) -> Self {
        if source.is_out_of_memory() {
            Self::Full(source)
        } else if source.has_code("DRAINING") {
            Self::Draining { queue }
        } else {
            Self::Push { queue, source }
        }
    }
}

/// Whole milliseconds, for Redis.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
