//! The chat's speed: messages through two servers, idle connections, a room's way to Postgres and back.
//!
//! [`stack`] starts the real processes, [`site`] the servers of other sides beside them: [`bound`], and what
//! is usually built with Node. [`socket`] is one WebSocket, [`client`] speaks with one server, [`crowd`] is
//! the members of all rooms with what each of them saw, [`load`] sends on a schedule; [`fan_out`], [`idle`],
//! [`joins`] and [`room`] measure with them.

mod bound;
mod client;
mod crowd;
mod database;
mod fan_out;
mod idle;
mod joins;
mod load;
mod room;
mod server;
mod site;
mod socket;
mod stack;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{How, figure::Figures};
pub(crate) use bound::{BoundOptions, be_bound};
use fan_out::Best;
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
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,

    /// How many idle connections to hold
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=50_000))]
    connections: u32,

    /// Measure nothing else
    #[arg(long, value_enum, value_name = "WHAT")]
    only: Option<Only>,

    /// Keep all messages in Redis meanwhile, to measure without the worker's and Postgres's part
    #[arg(long)]
    no_flush: bool,

    /// Measure what a rival built with Node, `ws` and Redis does as well
    #[arg(long)]
    rival: bool,

    /// Where `bench/peers/install.sh` has put it
    #[arg(long, default_value = ".rhubarb/peers", value_name = "FOLDER")]
    peers: PathBuf,

    /// Measure only what a copy costs at so many copies a second in small rooms
    #[arg(long, value_name = "COPIES", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    cost_at: Vec<u32>,
}

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Joins with a history
    Joins,
    /// Connections that come, join and do nothing
    Connects,
}

impl Options {
    /// Whether this part is measured.
    fn wants(&self, part: Only) -> bool {
        self.only.is_none_or(|only| only == part)
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
}

/// Settings of servers and workers, as environment variables: no flush but the one that is asked for.
const NO_FLUSH: [(&str, &str); 2] = [("FLUSH_COUNT", "1000000000"), ("FLUSH_AGE", "100000")];

/// Measures fan-out, latency and idle connections `how.runs` times.
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
        "at most {open_files} files may be open, too few for {} connections: raise the limit \
         (ulimit -Hn), or ask for fewer with --connections",
        options.connections
    );
    let peers = std::path::absolute(&options.peers)?;
    let sides = options.sides();
    let steps = if options.cost_at.is_empty() {
        5
    } else {
        options.cost_at.len()
    };
    figures.expect_steps(1 + how.runs * u32::try_from(sides.len() * steps)?);
    figures.begin("start two servers and a worker");
    let stack = Stack::start(how, database, settings).await?;
    let mut others = Vec::new();
    for side in &sides[1..] {
        others.push(stack.beside(*side, &peers).await?);
    }
    let all = || std::iter::once(stack.site()).chain(&others);
    for run in 1..=how.runs {
        let label = |site: &Site, what: &str| {
            let name = site.side().figure(what);
            format!("run {run} of {}: {name}", how.runs)
        };
        if !options.cost_at.is_empty() {
            for load in &options.cost_at {
                for site in all() {
                    figures.begin(label(site, "cost"));
                    fan_out::cost(site, *load, options, figures).await?;
                }
            }
            continue;
        }
        if options.wants(Only::Joins) {
            figures.begin(format!("run {run} of {}: joins with a history", how.runs));
            // Apart: with these settings rooms keep more in Redis than with the others.
            let apart = Stack::start(how, database, &joins::SETTINGS).await?;
            joins::measure(&apart, figures).await?;
        }
        if options.only.is_none() {
            let measured: Vec<_> = all().collect();
            measure_fan_out(&measured, label, options, figures).await?;
        }
        if !options.wants(Only::Connects) {
            continue;
        }
        // Fresh processes: what the load has left in their memory is not a connection's.
        for site in all() {
            figures.begin(label(site, "idle connections"));
            if site.side() == Side::Rhubarb {
                let stack = stack.again(settings).await?;
                idle::measure(stack.site(), options, figures).await?;
            } else {
                let site = stack.beside(site.side(), &peers).await?;
                idle::measure(&site, options, figures).await?;
            }
        }
    }
    Ok(())
}

/// Measures latency and fan-out of all sides, ours first.
async fn measure_fan_out(
    sites: &[&Site],
    label: impl Fn(&Site, &str) -> String,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    for site in sites {
        figures.begin(label(site, "latency"));
        fan_out::latency(site, options, figures).await?;
    }
    for case in [fan_out::SMALL_ROOMS, fan_out::BIG_ROOM] {
        let mut best = Vec::new();
        for site in sites {
            figures.begin(label(site, case.name));
            let found = fan_out::search(site, &case, options, figures).await?;
            best.push((site.side(), found));
        }
        compare(case.name, &best, figures);
    }
    Ok(())
}

/// Sets ours, which is the first, against the others.
fn compare(name: &str, best: &[(Side, Best)], figures: &mut Figures) {
    let Some(((_, ours), others)) = best.split_first() else {
        return;
    };
    for (side, other) in others {
        let (copies, by_cpu) = (ours.copies / other.copies, ours.by_cpu / other.by_cpu);
        let figure = |what: &str| format!("chat.{name}.{what}");
        if *side == Side::Bound {
            figures.add(figure("copies.of_bound"), "%", 100.0 * copies);
        } else {
            figures.add(figure("copies.of_node"), "times", copies);
            figures.add(figure("copies_per_cpu_second.of_node"), "times", by_cpu);
        }
    }
}

/// Measures the way of a room's messages to Postgres `how.runs` times.
pub(crate) async fn measure_flush(
    how: &How,
    database: &Database,
    options: &RoomOptions,
    figures: &mut Figures,
) -> Result<()> {
    room::measure(how, database, options, room::Way::Out, figures).await
}

/// Measures a cold room's way back `how.runs` times.
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
