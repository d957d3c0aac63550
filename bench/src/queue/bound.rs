//! The lower bound: the same client library and the same jobs, without what makes it a queue. No job has
//! an id, an attempt, a priority, a delay or a group; nobody notices a dead worker. What is kept: jobs
//! are claimed into a hash of the worker before they run and leave it afterwards, so that a crash would
//! lose none if somebody looked.
//!
//! The second bound has what every queue has: each job an id, by which the worker's hash knows it and an
//! acknowledgement names it, and three lists, which each claim asks in order of priority.

use std::{sync::LazyLock, time::Duration};

use anyhow::{Context, Result};
use common::{kv::Keys, queue::Queue, shutdown::Shutdown};
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{AsyncConnectionConfig, Script, aio::MultiplexedConnection};
use serde::{Deserialize, Serialize};

use super::tally::{Noop, Tally};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static CLAIM_BY_ID: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("claim_by_id.lua")));

/// Jobs a claim at most.
const BATCH: u32 = 100;
/// Claimers of one worker: while one's jobs run, the other's claim is under way.
const CLAIMERS: u32 = 2;
/// Commands in one pipeline of the bulk producer.
const PIPELINE: usize = 200;
/// Pipelines under way at once.
const PIPELINES: usize = 4;
/// How long an idle claimer waits at a time.
const PATIENCE: Duration = Duration::from_secs(1);

/// A job as it lies in the list.
#[derive(Serialize, Deserialize)]
struct Job<A> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    task: std::borrow::Cow<'static, str>,
    args: A,
}

fn write(job: &Noop, with_id: bool) -> Result<String> {
    let id = with_id.then(|| format!("default-{}", job.n));
    let task = "bench.noop".into();
    let args = job;
    serde_json::to_string(&Job { id, task, args }).context("write a job")
}

/// Pushes jobs onto a list.
#[derive(Debug)]
pub(super) struct Producer {
    connection: MultiplexedConnection,
    list: String,
    with_ids: bool,
}

impl Producer {
    /// A producer for `list`.
    pub(super) fn new(connection: MultiplexedConnection, list: String, with_ids: bool) -> Self {
        Self {
            connection,
            list,
            with_ids,
        }
    }

    /// Pushes one job.
    pub(super) async fn enqueue(&mut self, job: &Noop) -> Result<()> {
        redis::cmd("LPUSH")
            .arg(&self.list)
            .arg(write(job, self.with_ids)?)
            .exec_async(&mut self.connection)
            .await
            .context("push a job")
    }

    /// Pushes jobs in pipelines, each by a command of its own.
    pub(super) async fn enqueue_all(&self, jobs: &[Noop]) -> Result<()> {
        stream::iter(jobs.chunks(PIPELINE))
            .map(|jobs| async move {
                let mut pipeline = redis::Pipeline::with_capacity(jobs.len());
                for job in jobs {
                    pipeline
                        .lpush(&self.list, write(job, self.with_ids)?)
                        .ignore();
                }
                let mut connection = self.connection.clone();
                pipeline
                    .exec_async(&mut connection)
                    .await
                    .context("push jobs")
            })
            .buffered(PIPELINES)
            .try_collect()
            .await
    }
}

/// Claims and runs jobs until the shutdown.
pub(super) async fn consume(
    url: &str,
    keys: &Keys,
    tally: &Tally,
    with_ids: bool,
    shutdown: Shutdown,
) -> Result<()> {
    let client = redis::Client::open(url)?;
    let claimers = (0..CLAIMERS).map(|n| claim(&client, keys, n, tally, with_ids));
    tokio::select! {
        ended = futures_util::future::try_join_all(claimers) => ended.map(drop),
        () = shutdown.asked() => Ok(()),
    }
}

async fn claim(
    client: &redis::Client,
    keys: &Keys,
    n: u32,
    tally: &Tally,
    with_ids: bool,
) -> Result<()> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE * 5));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .context("connect a claimer")?;
    let (list, [high, low]) = (
        keys.queue(Queue::Default),
        [Queue::High, Queue::Low].map(|queue| keys.queue(queue)),
    );
    let held = format!("{}bound:held:{n}", keys.prefix());
    let waited = format!("{}bound:waited:{n}", keys.prefix());

    let (mut done, mut ids) = (0, Vec::new());
    loop {
        let mut call = if with_ids { &CLAIM_BY_ID } else { &CLAIM }.prepare_invoke();
        if with_ids {
            call.key(&[&high, &list, &low, &held, &waited]);
            call.arg(BATCH).arg(std::mem::take(&mut ids));
        } else {
            call.key(&[&list, &held, &waited]).arg(done).arg(BATCH);
        }
        let jobs: Vec<String> = call
            .invoke_async(&mut connection)
            .await
            .context("claim jobs")?;
        for job in &jobs {
            ids.extend(run(job, tally)?);
        }
        done = jobs.len();
        if jobs.is_empty() {
            let job: Option<String> = redis::cmd("BLMOVE")
                .arg(&[&list, &waited, "RIGHT", "LEFT"])
                .arg(PATIENCE.as_secs_f64())
                .query_async(&mut connection)
                .await
                .context("wait for a job")?;
            if let Some(job) = &job {
                // Acknowledged by the next claim, as the only one in its list.
                run(job, tally)?;
            }
        }
        // As a runtime with other things to do would.
        tokio::task::yield_now().await;
    }
}

/// Runs a job; returns its id, if it has one.
fn run(job: &str, tally: &Tally) -> Result<Option<String>> {
    let job: Job<Noop> = serde_json::from_str(job).context("read a job")?;
    tally.execute(&job.args);
    Ok(job.id)
}
