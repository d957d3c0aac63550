//! Many jobs at once: they go to Redis in chunks, the next while others are under way.

use std::sync::LazyLock;

use futures_util::{TryStreamExt, stream::FuturesOrdered};

use super::{
    EnqueueError, HEAD, JobId, Options, Producer, Queue, Task,
    asked::Asked,
    clock::Clock,
    enqueue::{CHUNK, CHUNK_BYTES, When},
};
use crate::kv::Script;

static ENQUEUE: LazyLock<Script> =
    LazyLock::new(|| Script::new("push jobs", &[HEAD, include_str!("lua/enqueue.lua")]));

/// Calls under way at once in a bulk.
const PIPELINE: usize = 4;

/// A chunk of a bulk that was pushed.
struct Pushed {
    ids: Vec<JobId>,
    /// What Redis's clock showed, if it was told.
    clock: Option<Clock>,
}

impl Producer {
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
        let (mut under_way, mut clock) = (FuturesOrdered::new(), None::<Clock>);
        let mut tasks = tasks.iter().peekable();
        while tasks.peek().is_some() {
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            while chunk.len() < CHUNK
                && bytes < CHUNK_BYTES
                && let Some(task) = tasks.next()
            {
                let asked = Asked::of(task, options, None, self.max_body)?;
                bytes += asked.body.len();
                chunk.push(asked);
            }
            if under_way.len() == PIPELINE
                && let Some::<Pushed>(pushed) = under_way.try_next().await?
            {
                ids.extend(pushed.ids);
                clock = pushed.clock.map(|heard| heard.best(clock)).or(clock);
            }
            under_way.push_back(self.push_chunk(queue, options.when, chunk, clock));
        }
        while let Some(pushed) = under_way.try_next().await? {
            ids.extend(pushed.ids);
        }
        Ok(ids)
    }

    /// Pushes jobs of a bulk. Those that have nothing special bear their time if `clock` tells it.
    async fn push_chunk(
        &self,
        queue: Queue,
        when: When,
        jobs: Vec<Asked>,
        clock: Option<Clock>,
    ) -> Result<Pushed, EnqueueError> {
        if !matches!(when, When::Now) || !jobs.iter().all(Asked::is_plain) {
            let made = self.push(queue, when, jobs).await?;
            let ids = made.into_iter().map(|made| made.id).collect();
            return Ok(Pushed { ids, clock: None });
        }
        let mut call = ENQUEUE.on(self.keys.prefix());
        let stamped: Option<Vec<String>> = jobs.iter().map(|asked| asked.stamped(clock)).collect();
        call.arg(queue).arg(u8::from(stamped.is_some()));
        match stamped {
            Some(bodies) => call.arg(bodies),
            None => call.arg(jobs.iter().map(|asked| &asked.body).collect::<Vec<_>>()),
        };
        let pushed = ENQUEUE.run(&self.redis, &call).await;
        let (first, now_ms): (JobId, u64) =
            pushed.map_err(|source| EnqueueError::refused(queue, source))?;
        let numbers = first.number()..first.number() + jobs.len() as u64;
        Ok(Pushed {
            ids: numbers.map(|number| first.with_number(number)).collect(),
            clock: Some(Clock::shows(now_ms)),
        })
    }
}
