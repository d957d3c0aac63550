//! The chat's speed: messages through two servers, idle connections, a room's way to Postgres and back.
//!
//! [`stack`] starts the real processes. [`client`] is one WebSocket, [`crowd`] the members of all rooms
//! with what each of them saw, [`load`] sends on a schedule; [`fan_out`], [`idle`], [`joins`] and [`room`]
//! measure with them.

mod client;
mod crowd;
mod database;
mod fan_out;
mod idle;
mod joins;
mod load;
mod room;
mod server;
mod stack;

use anyhow::Result;
use clap::Args;

use crate::{How, figure::Figures};
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

    /// Measure nothing but joins with a history
    #[arg(long)]
    only_joins: bool,

    /// Keep all messages in Redis meanwhile, to measure without the worker's and Postgres's part
    #[arg(long)]
    no_flush: bool,
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
    figures.expect_steps(1 + how.runs * 5);
    figures.begin("start two servers and a worker");
    let stack = Stack::start(how, database, settings).await?;
    for run in 1..=how.runs {
        let label = |what: &str| format!("run {run} of {}: {what}", how.runs);
        figures.begin(label("joins with a history"));
        // Apart: with these settings rooms keep more in Redis than with the others.
        let apart = Stack::start(how, database, &joins::SETTINGS).await?;
        joins::measure(&apart, figures).await?;
        drop(apart);
        if options.only_joins {
            continue;
        }
        figures.begin(label("latency"));
        fan_out::latency(&stack, options, figures).await?;
        figures.begin(label("50 rooms of 10"));
        fan_out::search(&stack, &fan_out::SMALL_ROOMS, options, figures).await?;
        figures.begin(label("one room of 1,000"));
        fan_out::search(&stack, &fan_out::BIG_ROOM, options, figures).await?;
        // Fresh processes: what the load has left in their memory is not a connection's.
        figures.begin(label("idle connections"));
        let stack = stack.again(settings).await?;
        idle::measure(&stack, options, figures).await?;
    }
    Ok(())
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
