//! `queuectl retry`, `queuectl replay` and `queuectl discard`.

use std::io::{BufRead, IsTerminal, Write};

use common::queue::{
    JobId, Queue,
    dead::{Done, Fate, Filter},
    inspect::show::Known,
};
use serde::Serialize;

use crate::{
    Ending, Failure, Outcome,
    connect::Connection,
    filter,
    out::{Out, add, count, number},
    progress::Progress,
    show::why_not,
};

/// Jobs a second that are replayed unless told otherwise: what killed them may not stand all at once.
const REPLAY_RATE: f64 = 50.0;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  queuectl retry low-17\nDead ones in bulk: queuectl replay")]
pub(crate) struct RetryArgs {
    /// Dead, scheduled or parked jobs
    #[arg(required = true)]
    ids: Vec<JobId>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  queuectl replay --task demo.greet --error 'no route' --since 2h\n  queuectl replay --rate 500\nTo see them first: queuectl jobs dead, with the same flags"
)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    bulk: BulkArgs,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  queuectl discard low-17\n  queuectl discard --all-dead --queue low --before 30d"
)]
pub(crate) struct DiscardArgs {
    /// Jobs that wait, are scheduled, parked or dead
    ids: Vec<JobId>,

    /// All dead jobs, or those that are chosen below
    #[arg(long, conflicts_with = "ids")]
    all_dead: bool,

    /// Do not ask before all are discarded
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    bulk: BulkArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BulkArgs {
    /// So many jobs a second at most [default: 50 to replay, no limit to discard]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    #[command(flatten)]
    which: filter::DeadArgs,

    /// Of this queue
    #[arg(long, help_heading = "Which dead jobs")]
    queue: Option<Queue>,
}

impl BulkArgs {
    fn is_empty(&self) -> bool {
        self.rate.is_none() && self.queue.is_none() && self.which.is_empty()
    }
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (0.001..=1e6).contains(rate))
        .ok_or_else(|| "a number of jobs per second is expected, such as 50 or 0.5".to_owned())
}

pub(crate) async fn retry(args: RetryArgs, connection: &Connection, out: &Out) -> Outcome {
    some(Fate::Retry, &args.ids, connection, out).await
}

pub(crate) async fn replay(args: ReplayArgs, connection: &Connection, out: &Out) -> Outcome {
    let now_ms = connection.now_ms().await?;
    let filter = args.bulk.which.at(now_ms, args.bulk.queue);
    let rate = args.bulk.rate.unwrap_or(REPLAY_RATE);
    all(Fate::Retry, &filter, Some(rate), connection, out).await
}

pub(crate) async fn discard(args: DiscardArgs, connection: &Connection, out: &Out) -> Outcome {
    if !args.all_dead {
        if args.ids.is_empty() {
            let text = "which jobs? Name them (<IDS>…), or say --all-dead for all that are dead";
            return Err(Failure::Usage(text.to_owned()));
        }
        if !args.bulk.is_empty() {
            let text = "--rate and what chooses among dead jobs go with --all-dead";
            return Err(Failure::Usage(text.to_owned()));
        }
        return some(Fate::Discard, &args.ids, connection, out).await;
    }
    let now_ms = connection.now_ms().await?;
    let filter = args.bulk.which.at(now_ms, args.bulk.queue);
    let dead = connection.operator().count_dead().await?;
    if dead > 0 && !args.yes && !agreed(dead, &filter)? {
        eprintln!("Nothing was discarded.");
        return Ok(Ending::NotForAll);
    }
    all(Fate::Discard, &filter, args.bulk.rate, connection, out).await
}

/// Asks before jobs are discarded in bulk.
fn agreed(dead: u64, filter: &Filter) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is nobody to ask whether all are to be discarded; say so with --yes".to_owned(),
        ));
    }
    let (which, dead) = (filter::words(filter), number(dead));
    let which = if *filter == Filter::default() {
        format!("all {which} ({dead})")
    } else {
        format!("all {which} (of {dead} in all)")
    };
    eprint!("Discard {which}? They cannot be brought back. [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[derive(Serialize)]
struct InBulk {
    changed: u64,
    dead_before: u64,
    /// Whether it came to its end.
    finished: bool,
}

async fn all(
    fate: Fate,
    filter: &Filter,
    rate: Option<f64>,
    connection: &Connection,
    out: &Out,
) -> Outcome {
    let operator = connection.operator();
    let dead = operator.count_dead().await?;
    let progress = Progress::new();
    let (doing, did) = words(fate);
    let mut last = Done::default();
    let walk = operator.all_dead(fate, filter, rate, |done| {
        progress.at(doing, done.seen, dead);
        last = done;
    });
    // Cut off between two calls or in the middle of one: what Redis has heard is done, as always.
    let ended = tokio::select! {
        ended = walk => Some(ended?),
        stop = tokio::signal::ctrl_c() => { stop?; None }
    };
    drop(progress);
    let (finished, done) = (ended.is_some(), ended.unwrap_or(last));
    let changed = InBulk {
        changed: done.changed,
        dead_before: dead,
        finished,
    };
    out.answer(&changed, || match done.changed {
        _ if !finished => stopped(fate, filter, rate, done),
        0 if *filter == Filter::default() => "No job is dead.".to_owned(),
        0 => format!("There are no {}.", filter::words(filter)),
        n => format!("{did} {}.", count(n, "dead job")),
    })?;
    Ok(if finished {
        Ending::Done
    } else {
        Ending::NotForAll
    })
}

/// What a walk that was cut off has done, and how it goes on.
fn stopped(fate: Fate, filter: &Filter, rate: Option<f64>, done: Done) -> String {
    let (_, did) = words(fate);
    let rest = Filter {
        since_ms: (done.until_ms > 0)
            .then_some(done.at_ms)
            .or(filter.since_ms),
        before_ms: (done.until_ms > 0)
            .then_some(done.until_ms + 1)
            .or(filter.before_ms),
        ..filter.clone()
    };
    let command = match fate {
        Fate::Retry => "replay",
        Fate::Discard => "discard --all-dead",
    };
    let jobs = count(done.changed, "dead job");
    let flags = filter::flags(&rest);
    let rate = rate
        .map(|rate| format!(" --rate {rate}"))
        .unwrap_or_default();
    format!("{did} {jobs}, then stopped. To go on: queuectl {command}{flags}{rate}")
}

const fn words(fate: Fate) -> (&'static str, &'static str) {
    match fate {
        Fate::Retry => ("retrying", "Retried"),
        Fate::Discard => ("discarding", "Discarded"),
    }
}

#[derive(Serialize)]
struct Answer {
    changed: Vec<JobId>,
    unchanged: Vec<Unchanged>,
}

#[derive(Serialize)]
struct Unchanged {
    id: JobId,
    why: String,
}

async fn some(fate: Fate, ids: &[JobId], connection: &Connection, out: &Out) -> Outcome {
    let operator = connection.operator();
    let changed = match fate {
        Fate::Retry => operator.retry(ids).await?,
        Fate::Discard => operator.discard(ids).await?,
    };
    let mut unchanged = Vec::new();
    for id in ids.iter().copied().filter(|id| !changed.contains(id)) {
        let why = why(id, connection).await?;
        unchanged.push(Unchanged { id, why });
    }
    let ending = if unchanged.is_empty() {
        Ending::Done
    } else {
        Ending::NotForAll
    };
    let answer = Answer { changed, unchanged };
    out.answer(&answer, || {
        let (_, did) = words(fate);
        let mut told = match &answer.changed[..] {
            [] => String::new(),
            [id] => format!("{did} {id}.\n"),
            ids => format!("{did} {}.\n", count(ids.len() as u64, "job")),
        };
        for Unchanged { why, .. } in &answer.unchanged {
            add(
                &mut told,
                format_args!("Not {}: {why}.\n", did.to_lowercase()),
            );
        }
        told
    })?;
    Ok(ending)
}

/// Why a job was left as it is.
async fn why(id: JobId, connection: &Connection) -> Result<String, Failure> {
    let inspector = connection.inspector();
    Ok(match inspector.show(id).await? {
        Known::Job(job) if job.state == "claimed" => format!("{id} is being run"),
        Known::Job(job) => format!("{id} is {}", job.state),
        gone => why_not(id, &gone),
    })
}
