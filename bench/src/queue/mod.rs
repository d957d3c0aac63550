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
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    only: Vec<Step>,

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
    /// What is measured, in the order of [`Step::ALL`].
    fn steps(&self) -> impl Iterator<Item = Step> {
        let wanted = |step: &Step| self.only.is_empty() || self.only.contains(step);
        Step::ALL.into_iter().filter(wanted)
    }

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
            Step::Drain | Step::Both => true,
            Step::Single | Step::Pickup => !matches!(self, Self::BoundWithIds),
            Step::Call | Step::Group => matches!(self, Self::Queue),
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

/// Jobs a second in one run, to be set against each other; 0 of what was not measured.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    single: f64,
    bulk: f64,
    drain: f64,
    both: f64,
    group: f64,
}

impl Rates {
    /// By the names of their figures.
    fn by_name(self) -> [(&'static str, f64); 4] {
        [
            ("enqueue_single", self.single),
            ("enqueue_bulk", self.bulk),
            ("drain", self.drain),
            ("both_at_once", self.both),
        ]
    }

    /// Adds what they are of another side's, where both were measured.
    fn compare(self, bound: Self, of: &str, figures: &mut Figures) {
        for ((name, ours), (_, its)) in self.by_name().into_iter().zip(bound.by_name()) {
            if ours > 0.0 && its > 0.0 {
                figures.add(format!("queue.{name}.{of}"), "%", 100.0 * ours / its);
            }
        }
    }
}

/// Measures the queue `how.runs()` times.
pub(crate) async fn measure(how: &How, options: &Options, figures: &mut Figures) -> Result<()> {
    let each = |step| Side::ALL.into_iter().filter(|side| side.has(step)).count();
    let steps: usize = options.steps().map(each).sum();
    figures.expect_steps(3 + how.runs() * u32::try_from(steps)?);
    let redis = RedisSide::start(how.redis_url.as_deref()).await?;
    let bench = steps::Bench {
        redis,
        options: options.clone(),
    };

    // The warm-up also tells how many jobs last for the time asked.
    let mut jobs = [0; 3];
    for side in Side::ALL {
        figures.begin(format!("warm-up: {}", side.figure("drain")));
        jobs[side as usize] = bench.jobs_that_last(side).await?;
    }
    // Each step's runs follow one another, those of latency first: for half a minute after the steps that push
    // millions of jobs, the disk takes what these have written, and everything waits for longer.
    let mut rates = vec![[Rates::default(); 3]; usize::try_from(how.runs())?];
    for step in options.steps() {
        for (run, rates) in (1..).zip(&mut rates) {
            for side in Side::ALL.into_iter().filter(|side| side.has(step)) {
                let name = side.figure(step.name());
                figures.begin(format!("run {run} of {}: {name}", how.runs()));
                let (jobs, rates) = (jobs[side as usize], &mut rates[side as usize]);
                match step {
                    Step::Pickup => {
                        bench.pickup(side, figures).await?;
                        if side == Side::Queue {
                            bench.eta(figures).await?;
                        }
                    }
                    Step::Call => bench.call(figures).await?,
                    Step::Single => rates.single = bench.single(side, figures).await?,
                    Step::Drain => {
                        (rates.bulk, rates.drain) =
                            bench.bulk_and_drain(side, jobs, figures).await?;
                    }
                    Step::Both => rates.both = bench.both(side, jobs, figures).await?,
                    Step::Group => rates.group = bench.group(figures).await?,
                }
            }
        }
    }
    for [queue, bound, with_ids] in rates {
        if queue.group > 0.0 && queue.drain > 0.0 {
            let of_drain = 100.0 * queue.group / queue.drain;
            figures.add("queue.group.of_drain", "%", of_drain);
        }
        queue.compare(bound, "of_bound", figures);
        queue.compare(with_ids, "of_bound_with_ids", figures);
    }
    Ok(())
}

/// What is measured, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Enqueue at a light load onto an idle worker, at once and for a time
    Pickup,
    /// The same, and await what the job gives back
    Call,
    /// Enqueue one job after another
    Single,
    /// A master with many children
    Group,
    /// Enqueue many at once, then run them
    Drain,
    /// Enqueue many at once beside a worker that runs them
    Both,
}

impl Step {
    const ALL: [Self; 6] = [
        Self::Pickup,
        Self::Call,
        Self::Single,
        Self::Group,
        Self::Drain,
        Self::Both,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Pickup => "pickup",
            Self::Call => "call",
            Self::Single => "enqueue_single",
            Self::Drain => "enqueue_bulk and drain",
            Self::Both => "both_at_once",
            Self::Group => "group",
        }
    }
}
