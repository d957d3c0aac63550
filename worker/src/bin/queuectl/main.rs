//! Looks into Rhubarb's queues and changes them by hand.
//!
//! One file per command; `out` writes for people and for programs, `connect` explains why Redis cannot
//! be reached, `cursor` and `time` read what was typed, `signals` hears who asks to stop, `progress` shows how far a long command is.

mod actions;
mod audit;
mod bench;
mod cancel;
mod change;
mod connect;
mod control;
mod cursor;
mod enqueue;
mod explain;
mod filter;
mod jobs;
mod lanes;
mod manual;
mod migrate;
mod out;
mod periodic;
mod progress;
mod reflush;
mod room_jobs;
mod rooms;
mod show;
mod signals;
mod status;
mod tail;
mod tasks;
mod time;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use common::{
    config::{self, Process},
    error::Chain,
    kv::Keys,
};

use connect::Connection;
use out::Out;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, or not done for all jobs that were named, or stopped before the end
  2  called in a wrong way
  3  the audit found something that is not repaired";

/// Looks into Rhubarb's queues and changes them by hand.
#[derive(Debug, Parser)]
#[command(name = "queuectl", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Write JSON, for programs
    #[arg(long)]
    json: bool,

    /// Who changes something, for `queuectl actions` [default: the user and the machine]
    #[arg(long, env = "RHUBARB_BY", value_name = "NAME")]
    by: Option<String>,

    #[command(flatten)]
    common: config::Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how many jobs wait, for how long, and what else there is
    Status,
    /// Watch the queues live
    Top(top::Args),
    /// List the workers: what they serve, what they hold, whether they live
    Workers,
    /// Count what became of the attempts of each task, and how long they ran
    Tasks,
    /// Follow what happens to jobs, while it happens
    Tail(tail::Args),
    /// List jobs in one state
    Jobs(jobs::Args),
    /// List the lanes: how many jobs wait and run in each, how wide and how fast it is
    Lanes(lanes::Args),
    /// Show one job: what it is to do, where it is, what happened to it, its group
    Show(show::Args),
    /// Say why a job is not running, and what to do
    Explain(explain::Args),
    /// Enqueue a job
    Enqueue(enqueue::Args),
    /// Have workers take nothing from a queue; what runs goes on, and jobs may be enqueued
    Pause(control::PauseArgs),
    /// Refuse new jobs for a queue while workers finish what is there
    Drain(control::DrainArgs),
    /// End a pause or a drain
    Resume(control::ResumeArgs),
    /// List the periodic tasks; pause, resume and forget them
    Periodic(periodic::Args),
    /// Run dead, scheduled or parked jobs now, with their attempts counted anew
    Retry(change::RetryArgs),
    /// Retry dead jobs in bulk, so many a second
    Replay(change::ReplayArgs),
    /// Remove jobs that nobody runs
    Discard(change::DiscardArgs),
    /// End jobs for good, also those that are being run
    Cancel(cancel::Args),
    /// List who changed what by hand
    Actions(actions::Args),
    /// Account for every job; with --repair, mend what is amiss
    Audit(audit::Args),
    /// List rooms, or show one: members, log, what is not in the archive yet
    Rooms(rooms::Args),
    /// Have a room's new messages moved to the archive now
    Flush(room_jobs::FlushArgs),
    /// Bring a cold room back from the archive
    Rehydrate(room_jobs::RehydrateArgs),
    /// Measure how fast this Redis takes and gives jobs
    Bench(bench::Args),
    /// Have all that Redis holds of the rooms archived once more: after Postgres was lost
    Reflush(reflush::Args),
    /// Bring the database to this version
    Migrate(migrate::Args),
    /// Write completions for a shell
    Completions(manual::CompletionsArgs),
    /// Write the man page
    Man(manual::ManArgs),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Done,
    NotForAll,
    Found,
}

/// Why a command did not end well.
#[derive(Debug)]
enum Failure {
    /// It was called in a wrong way.
    Usage(String),
    /// Something did not work.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Outcome = Result<Ending, Failure>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = parse();
    let out = Out::new(cli.json);
    match run(cli, &out).await {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::NotForAll) => ExitCode::from(1),
        Ok(Ending::Found) => ExitCode::from(3),
        Err(Failure::Usage(text)) => {
            eprintln!("{}", out::complaint(&text));
            eprintln!("\nFor more information, try 'queuectl --help'.");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("{}", out::complaint(&Chain(error.as_ref()).to_string()));
            ExitCode::from(1)
        }
    }
}

/// Reads the command line. The flags that all commands share may stand before or after the command's
/// name; clap allows that only to flags that are not required, so Redis's address is checked later.
fn parse() -> Cli {
    let variable = |name: &str| std::env::var_os(name);
    let given = config::load(Process::Queuectl, command(), std::env::args_os(), variable);
    let given = given.unwrap_or_else(|error| error.exit());
    for warning in &given.warnings {
        eprintln!("queuectl: {warning}");
    }
    Cli::from_arg_matches(&given.matches).unwrap_or_else(|error| error.exit())
}

fn command() -> clap::Command {
    Cli::command().mut_args(|arg| {
        let arg = arg.global(true);
        match arg.get_id().as_str() {
            "redis_url" => arg
                .required(false)
                .default_value("")
                .hide_default_value(true),
            "log_format" => arg.hide(true),
            _ => arg,
        }
    })
}

async fn run(cli: Cli, out: &Out) -> Outcome {
    // What needs no Redis.
    match &cli.command {
        Command::Migrate(args) => return migrate::run(args, out).await,
        Command::Completions(args) => return manual::completions(args, command()),
        Command::Man(args) => return manual::man(args, command()),
        _ => {}
    }
    let redis = connect::connect(&cli.common.redis_url).await?;
    let keys = Keys::new(&cli.common.namespace);
    let by = cli.by.filter(|by| !by.is_empty());
    let by = by.unwrap_or_else(connect::caller);
    let connection = Connection { redis, keys, by };
    match cli.command {
        Command::Status => status::run(&connection, out).await,
        Command::Top(args) => top::run(&args, &connection, out).await,
        Command::Workers => status::workers(&connection, out).await,
        Command::Tasks => tasks::run(&connection, out).await,
        Command::Tail(args) => tail::run(&args, &connection, out).await,
        Command::Jobs(args) => jobs::run(args, &connection, out).await,
        Command::Lanes(args) => lanes::run(args, &connection, out).await,
        Command::Show(args) => show::run(&args, &connection, out).await,
        Command::Explain(args) => explain::run(&args, &connection, out).await,
        Command::Enqueue(args) => enqueue::run(args, &connection, out).await,
        Command::Pause(args) => control::pause(args, &connection, out).await,
        Command::Drain(args) => control::drain(args, &connection, out).await,
        Command::Resume(args) => control::resume(args, &connection, out).await,
        Command::Periodic(args) => periodic::run(&args, &connection, out).await,
        Command::Retry(args) => change::retry(args, &connection, out).await,
        Command::Replay(args) => change::replay(args, &connection, out).await,
        Command::Discard(args) => change::discard(args, &connection, out).await,
        Command::Cancel(args) => cancel::run(&args, &connection, out).await,
        Command::Actions(args) => actions::run(&args, &connection, out).await,
        Command::Audit(args) => audit::run(&args, &connection, out).await,
        Command::Reflush(args) => reflush::run(&args, &connection, out).await,
        Command::Rooms(args) => rooms::run(args, &connection, out).await,
        Command::Flush(args) => room_jobs::flush(&args, &connection, out).await,
        Command::Rehydrate(args) => room_jobs::rehydrate(&args, &connection, out).await,
        Command::Bench(args) => {
            let common = &cli.common;
            bench::run(
                &args,
                &common.redis_url,
                &common.namespace,
                &connection,
                out,
            )
            .await
        }
        Command::Migrate(_) | Command::Completions(_) | Command::Man(_) => Ok(Ending::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_settings_has_those_of_queuectl() {
        config::setting::check_page(Process::Queuectl, &Cli::command()).unwrap();
    }
}
