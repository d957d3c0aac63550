//! `queuectl retry` and `queuectl discard`.

use std::io::{BufRead, IsTerminal, Write};

use common::queue::{
    JobId,
    inspect::{Inspector, show::Known},
    operate::{Fate, Operator},
};
use serde::Serialize;

use crate::{
    Ending, Failure, Outcome,
    connect::Connection,
    out::{Out, add, count, number},
    progress::Progress,
    show::why_not,
};

#[derive(Debug, clap::Args)]
pub(crate) struct RetryArgs {
    /// Dead, scheduled or parked jobs
    #[arg(required_unless_present = "all")]
    ids: Vec<JobId>,

    /// All dead jobs
    #[arg(long, conflicts_with = "ids")]
    all: bool,

    /// Of these: those of one task
    #[arg(long, requires = "all", value_name = "TASK")]
    task: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DiscardArgs {
    /// Jobs that wait, are scheduled, parked or dead
    #[arg(required_unless_present = "all_dead")]
    ids: Vec<JobId>,

    /// All dead jobs
    #[arg(long, conflicts_with = "ids")]
    all_dead: bool,

    /// Of these: those of one task
    #[arg(long, requires = "all_dead", value_name = "TASK")]
    task: Option<String>,

    /// Do not ask before all are discarded
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn retry(args: RetryArgs, connection: &Connection, out: &Out) -> Outcome {
    if args.all {
        return all(Fate::Retry, args.task.as_deref(), connection, out).await;
    }
    some(Fate::Retry, &args.ids, connection, out).await
}

pub(crate) async fn discard(args: DiscardArgs, connection: &Connection, out: &Out) -> Outcome {
    if !args.all_dead {
        return some(Fate::Discard, &args.ids, connection, out).await;
    }
    let dead = operator(connection).count_dead().await?;
    if dead > 0 && !args.yes && !agreed(dead, args.task.as_deref())? {
        eprintln!("Nothing was discarded.");
        return Ok(Ending::NotForAll);
    }
    all(Fate::Discard, args.task.as_deref(), connection, out).await
}

fn operator(connection: &Connection) -> Operator {
    Operator::new(connection.redis.clone(), connection.keys.clone())
}

/// Asks before jobs are discarded in bulk.
fn agreed(dead: u64, task: Option<&str>) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is nobody to ask whether all are to be discarded; say so with --yes".to_owned(),
        ));
    }
    let which = match task {
        Some(task) => format!("all dead jobs of {task} (of {} in all)", number(dead)),
        None => format!("all dead jobs ({})", number(dead)),
    };
    eprint!("Discard {which}? They cannot be brought back. [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[derive(Serialize)]
struct Changed {
    changed: u64,
    dead_before: u64,
}

async fn all(fate: Fate, task: Option<&str>, connection: &Connection, out: &Out) -> Outcome {
    let operator = operator(connection);
    let dead = operator.count_dead().await?;
    let progress = Progress::new();
    let (doing, did) = words(fate);
    let done = operator
        .all_dead(fate, task, |done| progress.at(doing, done.seen, dead))
        .await?;
    drop(progress);
    let changed = Changed {
        changed: done.changed,
        dead_before: dead,
    };
    out.answer(&changed, || match (done.changed, task) {
        (0, Some(task)) => format!("No job of {task} is dead."),
        (0, None) => "No job is dead.".to_owned(),
        (n, _) => format!("{did} {}.", count(n, "dead job")),
    })?;
    Ok(Ending::Done)
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
    let operator = operator(connection);
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
    let inspector = Inspector::new(connection.redis.clone(), connection.keys.clone());
    Ok(match inspector.show(id).await? {
        Known::Job(job) if job.state == "claimed" => format!("{id} is being run"),
        Known::Job(job) => format!("{id} is {}", job.state),
        gone => why_not(id, &gone),
    })
}
