//! Runs queues: pops jobs, runs them, settles them. Any number of these processes share the work.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Parser;
use common::{
    chat::{Chat, Settings, flush},
    config::{self, Given, Process},
    error::Chain,
    kv::{Keys, Redis},
    pg,
    preflight::Report,
    queue::{Limits, PerQueue, Worker, WorkerOptions, outbox},
    shutdown::Shutdown,
    telemetry::{self, metric, spans},
};
use worker::{listen::Vitals, tasks};

/// Runs queues: pops jobs, runs them, settles them. Any number of these processes share the work; a job
/// of a process that dies is run by another.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The queues to run, and how many jobs of each at once
    #[arg(
        long,
        env = "QUEUES",
        default_value = "high=16,default=8,low=2",
        value_name = "QUEUE=N,…"
    )]
    queues: Limits,

    /// How many jobs at once in all [default: the largest number in --queues]
    #[arg(long, env = "CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Option<u16>,

    /// The queues' shares of the jobs begun while all have work, e.g. high=6,default=3,low=1; without
    /// them, higher queues come first
    #[arg(long, env = "WEIGHTS", value_name = "QUEUE=N,…")]
    weights: Option<PerQueue>,

    /// Of the jobs at once in all: slots that only this queue may use, e.g. high=4, so that slow jobs of
    /// others cannot occupy all
    #[arg(long, env = "RESERVE", value_name = "QUEUE=N,…")]
    reserve: Option<PerQueue>,

    /// How long running jobs have to finish when the worker is told to stop
    #[arg(
        long,
        env = "SHUTDOWN_SECONDS",
        default_value_t = 25,
        value_name = "SECONDS"
    )]
    shutdown: u64,

    /// How many workers a job may take down before it is buried
    #[arg(long, env = "MAX_DEATHS", default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_deaths: u32,

    /// Address to answer /health and /metrics at, e.g. 127.0.0.1:9090; with port 0 any that is free, which the
    /// log tells. Off if not set
    #[arg(long, env = "WORKER_LISTEN", value_name = "HOST:PORT")]
    listen: Option<String>,

    #[command(flatten)]
    check: config::Check,

    #[command(flatten)]
    common: config::Common,

    #[command(flatten)]
    tracing: config::Tracing,

    #[command(flatten)]
    archive: config::Archive,

    #[command(flatten)]
    chat: Settings,
}

fn main() -> ExitCode {
    let (args, given) = config::parse::<Args>(Process::Worker);
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .and_then(|runtime| {
            let ended = runtime.block_on(start(args, given));
            // Not to be held up by a job that blocks a thread and does not stop.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("worker: {}", Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn start(args: Args, given: Given) -> anyhow::Result<ExitCode> {
    if args.check.check_config {
        return Ok(check(&args, &given).await);
    }
    telemetry::init(args.common.log_format);
    for warning in given.warnings {
        tracing::warn!("{warning}");
    }
    run(args).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signal().context("listen for signals")?;
    // First of all: what is counted before would be lost. Who cannot be asked does not count.
    let metrics = args
        .listen
        .is_some()
        .then(|| metric::install(Process::Worker));
    let metrics = metrics.transpose().context("set metrics up")?;

    let redis = Redis::new(&args.common.redis_url)?;
    redis.check().await?;
    pg::check_schema(&args.archive.database_url).await?;
    let keys = Keys::new(&args.common.namespace);
    let archive = &args.archive;
    let relay = outbox::Relay::new(redis.clone(), keys.clone(), &archive.database_url);
    let chat = Chat::new(
        redis,
        keys.clone(),
        &archive.database_url,
        archive.database_connections,
        args.chat,
    )?;

    let mut options = WorkerOptions::new(args.queues);
    options.concurrency = args.concurrency.map_or(options.concurrency, usize::from);
    options.shutdown_patience = std::time::Duration::from_secs(args.shutdown);
    options.max_deaths = args.max_deaths;
    options.weights = args.weights;
    options.reserve = args.reserve.unwrap_or_default();
    let registry = tasks::registry(&Arc::new(chat.clone()));
    tracing::info!(tasks = ?registry.names(), "running {}, {} at once", options.limits, options.concurrency);
    let worker = Worker::new(&args.common.redis_url, keys, registry, options)?;
    telemetry::identify(Process::Worker, &worker.id());
    spans::start(&args.tracing, Process::Worker, &worker.id().to_string())?;
    if let (Some(address), Some(metrics)) = (&args.listen, metrics) {
        tokio::spawn(metric::keep_up(metrics.clone()));
        let vitals = Vitals::of(&worker, &chat, &shutdown, metrics);
        vitals.listen(address).await?;
    }

    let sweep = tokio::spawn(flush::Sweep(chat).run(shutdown.clone()));
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    worker.run(shutdown).await?;
    let _ = tokio::join!(sweep, relay);
    spans::end().await;
    Ok(())
}

/// `--check-config`.
async fn check(args: &Args, given: &Given) -> ExitCode {
    let (redis_url, database_url) = (&args.common.redis_url, &args.archive.database_url);
    let report = Report::of(
        Process::Worker,
        given,
        redis_url,
        &args.common.namespace,
        database_url,
    )
    .await;
    print!("{report}");
    if report.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_page_of_settings_has_those_of_a_worker() {
        config::setting::check_page(Process::Worker, &Args::command()).unwrap();
    }

    #[test]
    fn a_secret_is_not_in_the_debug_text_of_the_settings() {
        let words = "worker --redis-url redis://:s3cret@h --database-url postgres://u:s3cret@h/d";
        let args = Args::try_parse_from(words.split_whitespace()).unwrap();
        assert!(!format!("{args:?}").contains("s3cret"));
    }
}
