//! A worker process as the process that measures holds it. [`super::worker`] is the other side.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Options, Side, tally::Report};
use crate::redis_side::{Namespace, RedisSide};

/// Longer than any measurement takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A worker in a process of its own. Dropping it kills it.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    jobs: u64,
}

impl WorkerProcess {
    /// Starts one that will be given `jobs` jobs.
    pub(super) fn start(
        side: Side,
        redis: &RedisSide,
        namespace: &Namespace,
        jobs: u64,
        options: &Options,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let threads = options.threads(side);
        let side = match side {
            Side::Queue => "queue",
            Side::Bound => "bound",
            Side::BoundWithIds => "bound-with-ids",
        };
        let mut process = Command::new(program)
            .args(["queue-worker", "--side", side])
            .args(["--namespace", &namespace.name])
            .args(["--jobs", &jobs.to_string()])
            .args(["--concurrency", &options.concurrency.to_string()])
            .args(["--threads", &threads.to_string()])
            // Not on the command line, which everybody can read: it may hold a password.
            .env("BENCH_REDIS_URL", redis.url())
            // A worker logs at this level; only its last words are nobody's concern here.
            .env("RUST_LOG", "info,common::queue::consume=warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a worker process")?;
        let (Some(orders), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("the worker process has no pipes");
        };
        let answers = BufReader::new(answers).lines();
        Ok(Self {
            process,
            orders,
            answers,
            jobs,
        })
    }

    /// Its number.
    pub(super) fn pid(&self) -> Result<u32> {
        self.process.id().context("the worker process has ended")
    }

    /// Waits until `jobs` executions are counted. To be asked for before the last of them can happen.
    pub(super) async fn executed(&mut self, jobs: u64) -> Result<Report> {
        self.order(jobs).await?;
        self.answer(&format!("execute {jobs} jobs")).await
    }

    /// Tells it how many executions the next answer waits for.
    pub(super) async fn order(&mut self, jobs: u64) -> Result<()> {
        let order = format!("await {jobs}\n");
        self.orders
            .write_all(order.as_bytes())
            .await
            .context("give the worker process an order")
    }

    /// The next answer.
    pub(super) async fn answer(&mut self, what: &str) -> Result<Report> {
        let line = timeout(PATIENCE, self.answers.next_line())
            .await
            .with_context(|| format!("the worker process did not {what} within {PATIENCE:?}"))?
            .context("read the worker process's answer")?
            .with_context(|| format!("the worker process ended before it could {what}"))?;
        serde_json::from_str(&line).with_context(|| format!("read the answer `{line}`"))
    }

    /// Stops it in order. Fails unless it has executed each of its jobs exactly once.
    pub(super) async fn stop(mut self) -> Result<()> {
        drop(self.orders);
        let line = timeout(PATIENCE, self.answers.next_line())
            .await
            .context("the worker process does not stop")??
            .context("the worker process ended without its last word")?;
        let report: Report = serde_json::from_str(&line)?;
        let ended = self
            .process
            .wait()
            .await
            .context("wait for the worker process")?;
        ensure!(ended.success(), "the worker process ended with {ended}");

        let Report {
            executed, distinct, ..
        } = report;
        let jobs = self.jobs;
        ensure!(
            executed == jobs && distinct == jobs,
            "WRONG COUNT: of {jobs} jobs, {distinct} were executed, {executed} times in all"
        );
        Ok(())
    }
}
