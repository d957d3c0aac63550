//! The queue's speed: enqueue, drain, both at once, pickup latency, calls, and what each costs.
//!
//! Producer (this process), worker ([`worker`], a process that [`child`] starts) and Redis are three
//! processes. Each measurement is taken of the queue and then of a lower bound ([`bound`]) that has none of its
//! features, so that the ratio of the two says what the features cost; what handles many jobs at once also
//! of a second one whose jobs have ids and priorities.
//! [`tally`] counts what was executed. [`growth`] asks whether a job costs more when others wait.

mod bound;
mod child;
mod group;
mod growth;
mod producer;
mod steps;
mod tally;
mod worker;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{How, figure::Figures, redis_side::RedisSide};

pub(crate) use growth::{GrowthOptions, measure as measure_growth, print as print_growth};
pub(crate) use worker::{WorkerOptions, be_worker};

/// What to measure of the queue, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// About how long each measurement takes
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = crate::chat::seconds)]
    seconds: f64,

    /// How many jobs the worker runs at once
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,

    /// Threads of the queue's worker; the bound's has one [default: one a core, as the real worker]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    worker_threads: Option<u32>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// The queue.
    Queue,
    /// What the same client library does without its features.
    Bound,
    /// The same, but for an id of each job and three priorities.
    BoundWithIds,
}

impl Options {
    /// How many threads a worker's runtime has.
    fn threads(&self, side: Side) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        match side {
            Side::Queue => self
                .worker_threads
                .unwrap_or_else(|| u32::try_from(cores()).unwrap_or(1)),
            Side::Bound | Side::BoundWithIds => 1,
        }
    }
}

impl Side {
    const ALL: [Self; 3] = [Self::Queue, Self::Bound, Self::BoundWithIds];

    /// Whether this step is measured of it. A bare list gives nothing back, and one job at a time costs both
    /// bounds the same.
    const fn has(self, step: Step) -> bool {
        match step {
            Step::BulkAndDrain | Step::Both => true,
            Step::Single | Step::Pickup => !matches!(self, Self::BoundWithIds),
            Step::Call => matches!(self, Self::Queue),
        }
    }

    /// A figure's name on this side.
    fn figure(self, name: &str) -> String {
        match self {
            Self::Queue => format!("queue.{name}"),
            Self::Bound => format!("queue.{name}.bound"),
            Self::BoundWithIds => format!("queue.{name}.bound_with_ids"),
        }
    }
}

/// Rates of one run, to be set against each other.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    single: f64,
    bulk: f64,
    drain: f64,
    both: f64,
}

/// Measures the queue `how.runs()` times.
pub(crate) async fn measure(how: &How, options: &Options, figures: &mut Figures) -> Result<()> {
    figures.expect_steps(3 + how.runs() * 12);
    let redis = RedisSide::start(how.redis_url.as_deref()).await?;
    let bench = steps::Bench {
        redis,
        options: options.clone(),
    };

    // The warm-up also tells how many jobs last for the time asked.
    let mut jobs = [0; 3];
    for (side, jobs) in Side::ALL.into_iter().zip(&mut jobs) {
        figures.begin(format!("warm-up: {}", side.figure("drain")));
        *jobs = bench.jobs_that_last(side).await?;
    }
    for run in 1..=how.runs() {
        let mut rates = [Rates::default(); 3];
        for step in Step::ALL {
            for (side, (jobs, rates)) in Side::ALL.into_iter().zip(jobs.into_iter().zip(&mut rates))
            {
                if !side.has(step) {
                    continue;
                }
                figures.begin(format!(
                    "run {run} of {}: {}",
                    how.runs(),
                    side.figure(step.name())
                ));
                match step {
                    Step::Single => rates.single = bench.single(side, figures).await?,
                    Step::BulkAndDrain => {
                        (rates.bulk, rates.drain) =
                            bench.bulk_and_drain(side, jobs, figures).await?;
                    }
                    Step::Both => rates.both = bench.both(side, jobs, figures).await?,
                    Step::Pickup => {
                        bench.pickup(side, figures).await?;
                        if side == Side::Queue {
                            bench.eta(figures).await?;
                        }
                    }
                    Step::Call => bench.call(figures).await?,
                }
            }
        }
        let [queue, bound, with_ids] = rates;
        figures.begin(format!("run {run} of {}: queue.group", how.runs()));
        bench.group(queue.drain, figures).await?;
        for (name, queue, bound) in [
            ("enqueue_single", queue.single, bound.single),
            ("enqueue_bulk", queue.bulk, bound.bulk),
            ("drain", queue.drain, bound.drain),
            ("both_at_once", queue.both, bound.both),
        ] {
            figures.add(format!("queue.{name}.of_bound"), "%", 100.0 * queue / bound);
        }
        for (name, queue, bound) in [
            ("enqueue_bulk", queue.bulk, with_ids.bulk),
            ("drain", queue.drain, with_ids.drain),
            ("both_at_once", queue.both, with_ids.both),
        ] {
            let name = format!("queue.{name}.of_bound_with_ids");
            figures.add(name, "%", 100.0 * queue / bound);
        }
    }
    Ok(())
}

/// The measurements of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Single,
    BulkAndDrain,
    Both,
    Pickup,
    Call,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Single,
        Self::BulkAndDrain,
        Self::Both,
        Self::Pickup,
        Self::Call,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Single => "enqueue_single",
            Self::BulkAndDrain => "enqueue_bulk and drain",
            Self::Both => "both_at_once",
            Self::Pickup => "pickup",
            Self::Call => "call",
        }
    }
}
