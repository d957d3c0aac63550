//! Measures Rhubarb as its users run it: separate processes, a real Redis with its append-only file, a
//! real Postgres. Every run also checks, exactly, that nothing was lost, doubled or put out of order;
//! a run that finds such a thing fails.
//!
//! [`queue`] measures jobs, [`chat`] messages, [`peers`] jobs beside other queues; each adds its figures to
//! [`figure::Figures`]. `docs/benchmarks.md` tells the method and what was measured. [`chaos`] measures
//! nothing but breaks everything, and proves that nothing is lost by it: `docs/reliability.md`.

mod chaos;
mod chat;
mod figure;
mod machine;
mod number;
mod peers;
mod queue;
mod redis_side;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use common::{error::Chain, shutdown::Shutdown};
use figure::Figures;

/// Measures the speed of the queue and the chat, and checks in each run that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

/// What to measure.
#[derive(Debug, Subcommand)]
enum What {
    /// Enqueue, drain, both at once, pickup latency; beside each a lower bound without our features
    Queue {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        options: queue::Options,
    },
    /// Delivered copies a second and latency through two servers, memory per idle connection
    Chat {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        database: chat::Database,
        #[command(flatten)]
        options: chat::Options,
    },
    /// A room's messages from the last leave until all are in Postgres
    Flush {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        database: chat::Database,
        #[command(flatten)]
        options: chat::RoomOptions,
    },
    /// A room that has left Redis, until a joiner has its answer
    Rehydrate {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        database: chat::Database,
        #[command(flatten)]
        options: chat::RoomOptions,
    },
    /// Break everything, over and over, and prove that nothing is lost
    #[command(subcommand)]
    Chaos(Chaos),
    /// The bound of the chat, started by it
    #[command(hide = true)]
    ChatBound(chat::BoundOptions),
    /// A worker of the chaos, started by it
    #[command(hide = true)]
    ChaosWorker(chaos::queue::ProcessOptions),
    /// A producer of the chaos, started by it
    #[command(hide = true)]
    ChaosProducer(chaos::queue::ProcessOptions),
    /// What a job costs while up to a million others wait, are scheduled or dead
    Growth {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        options: queue::GrowthOptions,
    },
    /// Rhubarb beside other queues, all in one run
    Peers(peers::Options),
    /// A worker of the queue's measurement, started by it
    #[command(hide = true)]
    QueueWorker(queue::WorkerOptions),
    /// Rhubarb's worker beside the others'
    #[command(hide = true)]
    PeerWorker,
    /// Rhubarb's producer beside the others'
    #[command(hide = true)]
    PeerProducer,
}

/// What to break.
#[derive(Debug, Subcommand)]
enum Chaos {
    /// Producers, workers, masters and their Redis; docs/reliability.md has the method
    Queue(chaos::queue::Options),
    /// Servers, workers and clients of the chat, its Redis and its Postgres
    Chat(chaos::chat::Options),
}

/// How to measure, whatever it is.
#[derive(Debug, Clone, Args)]
struct How {
    /// A Redis to use instead of one of its own; nobody else may use it meanwhile
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,

    /// How often to measure; the median and the range are shown [default: 3; of the chat 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,

    /// One JSON object a line for each figure, instead of a table
    #[arg(long)]
    json: bool,
}

impl How {
    /// How often to measure what is soon measured.
    fn runs(&self) -> u32 {
        self.runs.unwrap_or(3)
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().what {
        What::QueueWorker(options) => queue::be_worker(options),
        What::ChatBound(options) => chat::be_bound(&options),
        What::ChaosWorker(options) => chaos::queue::be_worker(&options),
        What::ChaosProducer(options) => chaos::queue::be_producer(&options),
        What::Chaos(Chaos::Queue(options)) => {
            break_things(async || chaos::queue::run(&options).await)
        }
        What::Chaos(Chaos::Chat(options)) => {
            break_things(async || chaos::chat::run(&options).await)
        }
        What::PeerWorker => peers::be_worker(),
        What::PeerProducer => peers::be_producer(),
        What::Growth { how, options } => run(
            async |figures| queue::measure_growth(&how, figures).await,
            |figures| queue::print_growth(&how, &options, figures),
        ),
        What::Peers(options) => run(
            async |figures| peers::measure(&options, figures).await,
            |figures| {
                peers::print(&options, figures);
                Ok(())
            },
        ),
        What::Queue { how, options } => measure(&how, async |how, figures| {
            queue::measure(how, &options, figures).await
        }),
        What::Chat {
            how,
            database,
            options,
        } => measure(&how, async |how, figures| {
            chat::measure(how, &database, &options, figures).await
        }),
        What::Flush {
            how,
            database,
            options,
        } => measure(&how, async |how, figures| {
            chat::measure_flush(how, &database, &options, figures).await
        }),
        What::Rehydrate {
            how,
            database,
            options,
        } => measure(&how, async |how, figures| {
            chat::measure_rehydrate(how, &database, &options, figures).await
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {}", Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Measures, and prints the figures as asked.
fn measure(how: &How, what: impl AsyncFnOnce(&How, &mut Figures) -> Result<()>) -> Result<()> {
    run(
        async |figures| what(how, figures).await,
        |figures| {
            figures.print(how.json);
            Ok(())
        },
    )
}

/// Measures, and prints the figures if all went well. A signal ends it in order: what it started ends
/// with it.
fn run(
    what: impl AsyncFnOnce(&mut Figures) -> Result<()>,
    print: impl FnOnce(&Figures) -> Result<()>,
) -> Result<()> {
    // One thread: the second core is for the processes that are measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signal().context("listen for signals")?;
        let mut figures = Figures::new();
        tokio::select! {
            measured = what(&mut figures) => measured?,
            () = shutdown.asked() => anyhow::bail!("interrupted"),
        }
        print(&figures)
    })
}

/// Breaks things. Two threads, as a proxy carries all that passes.
fn break_things(what: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signal().context("listen for signals")?;
        tokio::select! {
            done = what() => done,
            () = shutdown.asked() => anyhow::bail!("interrupted"),
        }
    })
}
