//! Parking: a job whose task a worker does not know, or not in its version, is neither run nor buried. It
//! is put aside until a worker comes that knows it, as happens in every rolling deploy: the new release's
//! jobs reach workers of the old one. `docs/deploy.md` tells how to use it.
//!
//! Parked jobs lie by their *kind*: queue, task and version. Whoever knows a kind, and serves its queue,
//! has its jobs wait again, at the back, in batches. Where old workers take many of them once more, the
//! batches get smaller and no longer follow each other at once, so the two never spin.

use std::{
    collections::BTreeSet,
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use super::{JobId, Limits, Queue, Registry, job::Body};
use crate::{
    id::IdError,
    kv::{Keys, KvError, Redis, Script},
};

static UNPARK: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "have parked jobs wait again",
        &[super::LIB, include_str!("lua/unpark.lua")],
    )
});

/// Jobs of the first batch, and the fewest and the most of a later one.
const FIRST: usize = 100;
const FEWEST: usize = 10;
const MOST: usize = 1000;
/// Kinds that a process warns of at most.
const TOLD: usize = 1000;

/// What a job asks of the worker that is to run it; written `<queue>:<task>:<version>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Its queue, which the worker must serve.
    pub queue: Queue,
    /// Its task, which the worker must know.
    pub task: String,
    /// The version of its arguments, which must not be newer than the worker's.
    pub version: u32,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.queue, self.task, self.version)
    }
}

impl FromStr for Kind {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::new(text, "a kind of jobs (such as high:mail.send:2)");
        let (queue, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (task, version) = rest.rsplit_once(':').ok_or_else(wrong)?;
        Ok(Self {
            queue: queue.parse().map_err(|_| wrong())?,
            task: task.to_owned(),
            version: version.parse().map_err(|_| wrong())?,
        })
    }
}

crate::id_as_text!(Kind);

/// Warns of a job that this worker is about to park; once for each task and version.
pub(super) fn tell(id: JobId, body: &Body<'_>) {
    static KNOWN: Mutex<BTreeSet<(String, u32)>> = Mutex::new(BTreeSet::new());
    metrics::counter!("rhubarb_parked_jobs_total").increment(1);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let (task, version) = (body.task.to_string(), body.version);
    if known.len() < TOLD && known.insert((task, version)) {
        tracing::warn!(
            job.id = %id, task = %body.task, version,
            "this worker knows no task `{}` of version {version}: its jobs are parked until one comes that does",
            body.task
        );
    }
}

/// Has parked jobs wait again that this worker knows.
#[derive(Debug)]
pub(super) struct Returns {
    registry: Arc<Registry>,
    queues: Vec<Queue>,
    /// Kinds that it knows and that were not empty after the last batch.
    known: BTreeSet<String>,
    batch: usize,
    /// How many were left parked after the last batch.
    left: usize,
}

impl Returns {
    pub(super) fn new(registry: Arc<Registry>, limits: &Limits) -> Self {
        let served = limits.per_queue().iter().map(|(queue, _)| *queue);
        Self {
            registry,
            queues: served.collect(),
            known: BTreeSet::new(),
            batch: FIRST,
            left: 0,
        }
    }

    /// Takes one batch of the kinds that this worker knows; `kinds` are some of those that are parked. Returns how many jobs wait again, and whether
    /// it is worth looking again at once.
    pub(super) async fn take(
        &mut self,
        redis: &Redis,
        keys: &Keys,
        kinds: &[String],
    ) -> Result<(usize, bool), KvError> {
        let known = kinds.iter().filter(|kind| self.knows(kind)).cloned();
        let known: Vec<_> = known.collect();
        self.known.extend(known);
        if self.known.is_empty() {
            return Ok((0, false));
        }
        let mut call = UNPARK.on(keys.prefix());
        call.arg(self.batch);
        for kind in &self.known {
            call.arg(kind);
        }
        let (back, left): (usize, usize) = call.run(redis).await?;
        if back > 0 {
            tracing::info!("{back} parked jobs wait again; {left} like them are parked still");
        }
        // What is left should be less than last time; if not, others park what this worker brings back.
        let gains = self.left == 0 || left < self.left;
        self.batch = if gains {
            (self.batch * 2).min(MOST)
        } else {
            (self.batch / 2).max(FEWEST)
        };
        self.left = left;
        if left == 0 {
            self.known.clear();
        }
        Ok((back, gains && left > 0))
    }

    fn knows(&self, kind: &str) -> bool {
        kind.parse::<Kind>().is_ok_and(|kind| {
            self.queues.contains(&kind.queue)
                && self.registry.get(&kind.task, kind.version).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_reads_as_it_is_written() {
        for text in ["high:mail.send:2", "low:a:b:1", "default:?:1"] {
            assert_eq!(text.parse::<Kind>().unwrap().to_string(), text);
        }
        for wrong in ["", "high", "high:mail", "mid:mail:1", "high:mail:x"] {
            assert!(wrong.parse::<Kind>().is_err(), "{wrong} passed");
        }
    }
}
