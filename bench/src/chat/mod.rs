//! The chat's speed: messages through two servers, idle connections, a room's way to Postgres and back.
//!
//! [`stack`] starts the real processes, [`site`] the servers of other sides beside them: [`bound`], and what
//! is usually built with Node. [`socket`] is one WebSocket, [`client`] speaks with one server, [`crowd`] is
//! the members of all rooms with what each of them saw, [`load`] sends on a schedule; [`fan_out`], [`idle`],
//! [`joins`] and [`room`] measure with them; so does [`restart`], with clients that come back ([`returning`])
//! and a way to Postgres that counts ([`queries`]).

mod bound;
mod client;
mod crowd;
mod database;
mod fan_out;
mod idle;
mod joins;
mod load;
mod queries;
mod restart;
mod returning;
mod room;
mod server;
mod site;
mod socket;
mod stack;
mod sustained;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{How, figure::Figures};
pub(crate) use bound::{BoundOptions, be_bound};
use fan_out::{Best, Case};
pub(crate) use server::free_port;
use site::{Side, Site};
use stack::Stack;

/// Where Postgres is. The measurement uses a schema of its own there, and drops it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Database {
    /// Address of Postgres, e.g. `postgres://user:password@127.0.0.1:5432/rhubarb`; bin/bench starts one
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

/// What to measure of the chat, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How long each step of the load takes, after a warm-up of 0.6 seconds
    #[arg(long, default_value_t = 1.5, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,

    /// How many connections to hold, idle and through a restart
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=50_000))]
    connections: u32,

    /// Measure only these [default: all but cost]
    #[arg(long, value_enum, value_name = "STEP", value_delimiter = ',')]
    only: Vec<Step>,

    /// Keep all messages in Redis meanwhile, to measure without the worker's and Postgres's part
    #[arg(long)]
    no_flush: bool,

    /// Measure what a rival built with Node, `ws` and Redis does as well
    #[arg(long)]
    rival: bool,

    /// Where `bench/peers/install.sh` has put it
    #[arg(long, default_value = ".rhubarb/peers", value_name = "FOLDER")]
    peers: PathBuf,

    /// Copies a second of the step `cost`
    #[arg(long, value_name = "COPIES", value_delimiter = ',', default_value = "20000,100000",
        value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    cost_at: Vec<u32>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Joins with a history
    Joins,
    /// Latency at a light load and at a medium one
    Latency,
    /// The highest load in rooms of 10
    SmallRooms,
    /// The highest load in one room of 1,000
    BigRoom,
    /// How fast connections come, and what each costs while it is idle
    Idle,
    /// One of two servers is replaced, then killed, under all connections
    Restart,
    /// What a copy costs at given loads
    Cost,
}

impl Step {
    /// Those of a run, unless others are asked for.
    const USUAL: [Self; 6] = [
        Self::Joins,
        Self::Latency,
        Self::SmallRooms,
        Self::BigRoom,
        Self::Idle,
        Self::Restart,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Joins => "joins with a history",
            Self::Latency => "latency",
            Self::SmallRooms => "small rooms",
            Self::BigRoom => "big room",
            Self::Idle => "idle connections",
            Self::Restart => "restart",
            Self::Cost => "cost",
        }
    }
}

impl Options {
    /// What is measured.
    fn steps(&self) -> &[Step] {
        if self.only.is_empty() {
            &Step::USUAL
        } else {
            &self.only
        }
    }

    /// Who is measured.
    fn sides(&self) -> Vec<Side> {
        let mut sides = vec![Side::Rhubarb, Side::Bound];
        sides.extend(self.rival.then_some(Side::Node));
        sides
    }
}

/// What to measure of a room's way to Postgres and back.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoomOptions {
    /// How many messages the room has
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,

    /// How many messages many rooms have together, which are flushed at once after each; 0 leaves that out. Not for
    /// the way back
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=5_000_000))]
    sustained: u32,
}

/// How often all is measured, unless told otherwise: once takes two minutes.
const RUNS: u32 = 1;

/// Settings of servers and workers, as environment variables: no flush but the one that is asked for.
const NO_FLUSH: [(&str, &str); 2] = [("FLUSH_COUNT", "1000000000"), ("FLUSH_AGE", "100000")];

/// Measures all steps `how.runs()` times.
pub(crate) async fn measure(
    how: &How,
    database: &Database,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    let settings: &[_] = if options.no_flush { &NO_FLUSH } else { &[] };
    let open_files = crate::machine::raise_open_files()?;
    anyhow::ensure!(
        open_files > u64::from(options.connections) + 500,
        "at most {open_files} files may be open in a process, too few for {} connections: raise the limit \
         (ulimit -Hn), or ask for fewer with --connections",
        options.connections
    );
    let peers = std::path::absolute(&options.peers)?;
    let (sides, steps) = (options.sides(), options.steps());
    let runs = how.runs.unwrap_or(RUNS);
    figures.expect_steps(1 + runs * u32::try_from(steps.len())?);
    figures.begin("start two servers and a worker");
    let stack = Stack::start(how, database, settings).await?;
    let mut others = Vec::new();
    for side in &sides[1..] {
        others.push(stack.beside(*side, &peers).await?);
    }
    let all = || std::iter::once(stack.site()).chain(&others);
    for run in 1..=runs {
        for step in steps {
            figures.begin(format!("run {run} of {runs}: {}", step.name()));
            match step {
                Step::Joins => {
                    // Apart: with these settings rooms keep more in Redis than with the others.
                    let apart = Stack::start(how, database, &joins::SETTINGS).await?;
                    joins::measure(&apart, figures).await?;
                }
                Step::Latency => {
                    for site in all() {
                        fan_out::latency(site, options, figures).await?;
                    }
                }
                Step::SmallRooms => search(all(), &fan_out::SMALL_ROOMS, options, figures).await?,
                Step::BigRoom => search(all(), &fan_out::BIG_ROOM, options, figures).await?,
                Step::Idle => {
                    // Fresh processes: what the load has left in their memory is not a connection's.
                    let fresh = stack.again(settings).await?;
                    let ours = idle::measure(fresh.site(), options, figures).await?;
                    drop(fresh);
                    for side in &sides[1..] {
                        let site = stack.beside(*side, &peers).await?;
                        let theirs = idle::measure(&site, options, figures).await?;
                        share("connects", *side, ours / theirs, figures);
                    }
                }
                Step::Restart => restart::measure(how, database, options, figures).await?,
                Step::Cost => {
                    for load in &options.cost_at {
                        for site in all() {
                            fan_out::cost(site, *load, options, figures).await?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// Searches the limit of each side, and sets ours, which is the first, against the others.
async fn search(
    sites: impl Iterator<Item = &Site>,
    case: &Case,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    let mut ours: Option<Best> = None;
    for site in sites {
        let best = fan_out::search(site, case, options, figures).await?;
        let Some(ours) = ours else {
            ours = Some(best);
            continue;
        };
        let name = |what: &str| format!("{}.{what}", case.name);
        share(
            &name("copies"),
            site.side(),
            ours.copies / best.copies,
            figures,
        );
        if site.side() != Side::Bound {
            let by_cpu = ours.by_cpu / best.by_cpu;
            share(&name("copies_per_cpu_second"), site.side(), by_cpu, figures);
        }
    }
    Ok(())
}

/// Ours as a share of another side's.
fn share(name: &str, of: Side, ratio: f64, figures: &mut Figures) {
    match of {
        Side::Bound => figures.add(format!("chat.{name}.of_bound"), "%", 100.0 * ratio),
        _ => figures.add(format!("chat.{name}.of_node"), "times", ratio),
    }
}

/// Measures the way of a room's messages to Postgres `how.runs()` times.
pub(crate) async fn measure_flush(
    how: &How,
    database: &Database,
    options: &RoomOptions,
    figures: &mut Figures,
) -> Result<()> {
    room::measure(how, database, options, room::Way::Out, figures).await
}

/// Measures a cold room's way back `how.runs()` times.
pub(crate) async fn measure_rehydrate(
    how: &How,
    database: &Database,
    options: &RoomOptions,
    figures: &mut Figures,
) -> Result<()> {
    room::measure(how, database, options, room::Way::Back, figures).await
}

/// Reads a number of seconds of a flag.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "a number of seconds is expected".to_owned())?;
    if (0.1..=600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("between 0.1 and 600 seconds are expected".to_owned())
    }
}
