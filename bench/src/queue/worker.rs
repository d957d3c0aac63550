//! The worker as a process of its own: this program, started again with a hidden command.
//!
//! It obeys lines on standard input and answers each with a line of JSON on standard output: `await N`
//! answers when N jobs were executed. The end of the input ends it, in order; its last line is what it
//! has counted in all. [`super::child`] is the other side.

use std::{io::Write, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Args;
use common::{
    kv::Keys,
    queue::{Registry, Worker},
    shutdown::Shutdown,
    telemetry::{self, LogFormat},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinHandle,
};

use super::{
    Side, bound,
    group::Spread,
    tally::{Noop, Report, Tally},
};

/// What the process that measures tells its worker at the start.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerOptions {
    /// Of the queue or of the bound
    #[arg(long, value_enum)]
    pub(super) side: Side,

    /// Where Redis is
    #[arg(long, env = "BENCH_REDIS_URL", hide_env_values = true)]
    pub(super) redis_url: String,

    /// Prefix of all keys
    #[arg(long)]
    pub(super) namespace: String,

    /// All jobs' numbers are below this
    #[arg(long)]
    pub(super) jobs: u64,

    /// Jobs at once
    #[arg(long)]
    pub(super) concurrency: u32,

    /// Threads of the runtime
    #[arg(long)]
    pub(super) threads: u32,
}

/// Runs as a worker until the input ends.
pub(crate) fn be_worker(options: WorkerOptions) -> Result<()> {
    // As the real worker does: the events of its jobs are part of its cost.
    telemetry::init(LogFormat::Human);
    let runtime = if options.threads == 1 {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads as usize)
            .enable_all()
            .build()
    };
    runtime
        .context("start the runtime")?
        .block_on(work(options))
}

async fn work(options: WorkerOptions) -> Result<()> {
    let tally = Arc::new(Tally::new(options.jobs)?);
    let (stop, shutdown) = Shutdown::manual();
    let mut running = start(&options, &tally, shutdown)?;

    tokio::select! {
        obeyed = obey(&tally) => obeyed?,
        ended = &mut running => {
            ended.context("run the worker")??;
            bail!("the worker ended by itself");
        }
    }
    stop.now();
    running.await.context("run the worker")??;
    tell(&tally.report())
}

fn start(
    options: &WorkerOptions,
    tally: &Arc<Tally>,
    shutdown: Shutdown,
) -> Result<JoinHandle<Result<()>>> {
    let keys = Keys::new(&options.namespace);
    Ok(match options.side {
        Side::Queue => {
            let limits = format!("default={}", options.concurrency).parse()?;
            let registry = Registry::new().with::<Noop>(tally).with::<Spread>(tally);
            let worker_options = common::queue::WorkerOptions::new(limits);
            let worker = Worker::new(&options.redis_url, keys, registry, worker_options)?;
            tokio::spawn(async move { Ok(worker.run(shutdown).await?) })
        }
        Side::Bound | Side::BoundWithIds => {
            let (url, tally) = (options.redis_url.clone(), Arc::clone(tally));
            let with_ids = options.side == Side::BoundWithIds;
            tokio::spawn(
                async move { bound::consume(&url, &keys, &tally, with_ids, shutdown).await },
            )
        }
    })
}

/// Does what the lines of the input say, until they end.
async fn obey(tally: &Tally) -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.context("read an order")? {
        let jobs = line.strip_prefix("await ").and_then(|n| n.parse().ok());
        tally
            .reach(jobs.with_context(|| format!("`{line}` is no order"))?)
            .await;
        tell(&tally.report())?;
    }
    Ok(())
}

fn tell(report: &Report) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, report)?;
    out.write_all(b"\n")
        .and_then(|()| out.flush())
        .context("tell what was executed")
}
