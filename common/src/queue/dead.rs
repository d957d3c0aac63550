//! Dead letters in bulk: which of them, retried or discarded at which rate. Before this,
//! [`super::inspect::list`] showed them, by the same [`Filter`].

use std::{
    collections::HashSet,
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Body, JobId, Queue, inspect::Entry, operate::Operator};
use crate::kv::KvError;

/// Jobs a call at most.
const CHUNK: usize = 200;
/// With a rate, jobs are changed about so often.
const TICK: Duration = Duration::from_millis(100);

/// Which dead jobs: those that fit all that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Of this task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// With this text in the reason of their death, in capitals or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Children of this master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<JobId>,
    /// Buried at this time or later: ms since 1970, by Redis's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Buried before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_ms: Option<u64>,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all dead jobs")?;
        let Self {
            task,
            queue,
            error,
            group,
            since_ms,
            before_ms,
        } = self;
        if let Some(task) = task {
            write!(f, " of task {task}")?;
        }
        if let Some(queue) = queue {
            write!(f, " of queue {queue}")?;
        }
        if let Some(error) = error {
            write!(f, " with {error:?} in their reason")?;
        }
        if let Some(group) = group {
            write!(f, " of the group of {group}")?;
        }
        if let Some(since) = since_ms {
            write!(f, " since {since} ms")?;
        }
        if let Some(before) = before_ms {
            write!(f, " before {before} ms")?;
        }
        Ok(())
    }
}

impl Filter {
    /// Whether a job was buried at a time that fits.
    pub(super) fn fits_time(&self, buried_ms: u64) -> bool {
        self.since_ms.is_none_or(|since| buried_ms >= since)
            && self.before_ms.is_none_or(|before| buried_ms < before)
    }

    pub(super) fn fits_body(&self, body: Option<&Body<'_>>) -> bool {
        let task = body.map(|body| &*body.task);
        let group = body.and_then(|body| body.group);
        (self.task.is_none() || self.task.as_deref() == task)
            && (self.group.is_none() || self.group == group)
    }

    pub(super) fn fits_error(&self, error: Option<&str>) -> bool {
        self.error.as_ref().is_none_or(|wanted| {
            error.is_some_and(|error| error.to_lowercase().contains(&wanted.to_lowercase()))
        })
    }
}

/// What to do with dead jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Push them, with their attempts counted anew.
    Retry,
    /// Remove them for good.
    Discard,
}

impl Fate {
    /// What it is called where actions are written down.
    const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }
}

/// How far a walk over the dead has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Dead jobs looked at; some of them twice, if Redis failed it meanwhile.
    pub seen: u64,
    /// Of these, retried or discarded.
    pub changed: u64,
    /// All that were buried before this time are done with: a walk that was cut off goes on there, with
    /// [`Filter::since_ms`]. Its end is the first walk's beginning: [`Self::until_ms`].
    pub at_ms: u64,
    /// Those that were buried later than this are left alone.
    pub until_ms: u64,
}

/// A walk over the dead, from the oldest on.
struct Walk {
    done: Done,
    /// The ms up to which it has read.
    read_ms: u64,
    /// Those of that ms that it has seen.
    seen: HashSet<String>,
}

impl Operator {
    /// Retries or discards the dead jobs that fit, the oldest first, `rate` jobs a second at most; tells
    /// `progress` of each step. A job that dies meanwhile is left alone, so one that fails at once is not
    /// retried again, and so is one that somebody changed meanwhile. Each step is a few short calls, however
    /// many are dead.
    ///
    /// # Errors
    /// If Redis fails; what was done so far was told to `progress`.
    pub async fn all_dead(
        &self,
        fate: Fate,
        filter: &Filter,
        rate: Option<f64>,
        progress: impl FnMut(Done),
    ) -> Result<Done, KvError> {
        let begun = self.begin_all_dead(fate, filter).await?;
        self.go_on_all_dead(fate, filter, rate, begun, progress)
            .await
    }

    /// Writes down what [`Self::all_dead`] is about to do; returns where it begins.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn begin_all_dead(&self, fate: Fate, filter: &Filter) -> Result<Done, KvError> {
        self.write_down(fate.name(), &filter.to_string()).await?;
        let now_ms = self.now_ms().await?;
        let before_ms = filter.before_ms.map(|ms| ms.saturating_sub(1));
        Ok(Done {
            at_ms: filter.since_ms.unwrap_or(0),
            until_ms: before_ms.unwrap_or(now_ms).min(now_ms),
            ..Done::default()
        })
    }

    /// Goes on with [`Self::all_dead`] from what it told last, and counts on.
    ///
    /// # Errors
    /// If Redis fails; it may be called again with what was told to `progress`.
    pub async fn go_on_all_dead(
        &self,
        fate: Fate,
        filter: &Filter,
        rate: Option<f64>,
        from: Done,
        mut progress: impl FnMut(Done),
    ) -> Result<Done, KvError> {
        let until_ms = from.until_ms;
        let mut walk = Walk {
            read_ms: from.at_ms,
            done: from,
            seen: HashSet::new(),
        };
        let mut pace = rate.map(Pace::new);
        while let Some(found) = self.next_dead(&mut walk).await? {
            let fitting = self
                .that_fit(found.iter().map(|(id, _)| *id).collect(), filter)
                .await?;
            let mut rest = &fitting[..];
            while !rest.is_empty() {
                let step = match &mut pace {
                    Some(pace) => pace.step().await,
                    None => CHUNK,
                };
                let (now, later) = rest.split_at(step.min(rest.len()));
                let changed = match fate {
                    Fate::Retry => self.revive(now, Some(until_ms)).await?,
                    Fate::Discard => self.remove(now, Some(until_ms)).await?,
                };
                rest = later;
                let next = found.iter().find(|(id, _)| Some(id) == rest.first());
                walk.done.at_ms = next.map_or(walk.read_ms, |(_, buried_ms)| *buried_ms);
                walk.done.changed += changed.len() as u64;
                progress(walk.done);
            }
            walk.done.at_ms = walk.read_ms;
            progress(walk.done);
        }
        Ok(walk.done)
    }

    /// The next of the dead, by the time of their burial, in ms; none at the end of the walk.
    async fn next_dead(&self, walk: &mut Walk) -> Result<Option<Vec<(JobId, u64)>>, KvError> {
        let mut connection = self.redis.connection().await?;
        let found: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(self.keys.dead())
            .arg(walk.read_ms)
            .arg(walk.done.until_ms)
            .arg("BYSCORE")
            .arg("LIMIT")
            .arg(0)
            .arg(CHUNK + walk.seen.len())
            .arg("WITHSCORES")
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("walk over the dead jobs", source))?;
        let mut fresh = Vec::new();
        for (id, buried_ms) in found {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "times in ms are below 2^53, and a float saturates"
            )]
            let buried_ms = buried_ms as u64;
            if buried_ms > walk.read_ms {
                walk.read_ms = buried_ms;
                walk.seen.clear();
            }
            if walk.seen.insert(id.clone()) {
                fresh.push((id, buried_ms));
            }
        }
        walk.done.seen += fresh.len() as u64;
        let jobs = fresh
            .iter()
            .filter_map(|(id, ms)| Some((id.parse().ok()?, *ms)));
        Ok((!fresh.is_empty()).then(|| jobs.collect()))
    }

    /// Those that fit, as far as more than their ids must be read for it.
    async fn that_fit(&self, mut ids: Vec<JobId>, filter: &Filter) -> Result<Vec<JobId>, KvError> {
        ids.retain(|id| filter.queue.is_none_or(|queue| queue == id.queue()));
        if filter.task.is_some() || filter.group.is_some() {
            let bodies = self.bodies(&ids).await?;
            let mut bodies = bodies.iter();
            ids.retain(|_| {
                let text = bodies.next().and_then(Option::as_deref);
                let body = text.and_then(|text| Body::read(text).ok());
                filter.fits_body(body.as_ref())
            });
        }
        if filter.error.is_some() {
            let entries = self.last_entries(&ids).await?;
            let mut entries = entries.iter();
            ids.retain(|_| {
                let entry = entries.next().and_then(|text| Entry::read(text));
                filter.fits_error(entry.as_ref().and_then(|entry| entry.error.as_deref()))
            });
        }
        Ok(ids)
    }

    async fn last_entries(&self, ids: &[JobId]) -> Result<Vec<String>, KvError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.redis.connection().await?;
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.cmd("LINDEX").arg(self.keys.history(*id)).arg(-1);
        }
        let entries: Vec<Option<Vec<u8>>> = pipe
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read why jobs are dead", source))?;
        let text = |entry: Option<Vec<u8>>| {
            String::from_utf8_lossy(&entry.unwrap_or_default()).into_owned()
        };
        Ok(entries.into_iter().map(text).collect())
    }

    /// The time, by Redis's clock.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn now_ms(&self) -> Result<u64, KvError> {
        let mut connection = self.redis.connection().await?;
        let (seconds, micros): (u64, u64) =
            redis::cmd("TIME")
                .query_async(&mut connection)
                .await
                .map_err(|source| self.redis.failed("ask Redis for the time", source))?;
        Ok(seconds * 1000 + micros / 1000)
    }
}

/// Keeps a rate of jobs per second: small steps, none earlier than its time.
struct Pace {
    step: usize,
    pause: Duration,
    next: Instant,
}

impl Pace {
    fn new(rate: f64) -> Self {
        let one = Duration::from_secs_f64(1.0 / rate.clamp(0.001, 1e6));
        let step = TICK.as_nanos() / one.as_nanos().max(1);
        let step = usize::try_from(step).unwrap_or(CHUNK).clamp(1, CHUNK);
        Self {
            step,
            pause: one * u32::try_from(step).unwrap_or(1),
            next: Instant::now(),
        }
    }

    /// Waits until the next step may be taken; returns how many jobs it may be. A step that was late does
    /// not make the next one early.
    async fn step(&mut self) -> usize {
        tokio::time::sleep_until(self.next.into()).await;
        self.next = Instant::now() + self.pause;
        self.step
    }
}
