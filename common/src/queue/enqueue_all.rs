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
        let mut under_way = FuturesOrdered::new();
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
                && let Some::<Vec<JobId>>(pushed) = under_way.try_next().await?
            {
                ids.extend(pushed);
            }
            under_way.push_back(self.push_chunk(queue, options.when, chunk));
        }
        while let Some(pushed) = under_way.try_next().await? {
            ids.extend(pushed);
        }
        Ok(ids)
    }

    /// Pushes jobs of a bulk. Those that have nothing special bear their time if an answer told it just now.
    async fn push_chunk(
        &self,
        queue: Queue,
        when: When,
        jobs: Vec<Asked>,
    ) -> Result<Vec<JobId>, EnqueueError> {
        if !matches!(when, When::Now) || !jobs.iter().all(Asked::is_plain) {
            let made = self.push(queue, when, jobs).await?;
            return Ok(made.into_iter().map(|made| made.id).collect());
        }
        let clock = self.clock.fresh();
        let mut call = ENQUEUE.on(self.keys.prefix());
        let stamped: Option<Vec<String>> = jobs.iter().map(|asked| asked.stamped(clock)).collect();
        call.arg(queue).arg(u8::from(stamped.is_some()));
        match stamped {
            Some(bodies) => call.arg(bodies),
            None => call.arg(jobs.iter().map(|asked| &asked.body).collect::<Vec<_>>()),
        };
        let pushed = call.run(&self.redis).await;
        let (first, now_ms): (JobId, u64) =
            pushed.map_err(|source| EnqueueError::refused(queue, source))?;
        self.clock.shows(Clock::shows(now_ms));
        let numbers = first.number()..first.number() + jobs.len() as u64;
        Ok(numbers.map(|number| first.with_number(number)).collect())
    }
}
