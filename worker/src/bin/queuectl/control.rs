//! `queuectl pause`, `queuectl drain` and `queuectl resume`.

use std::{collections::BTreeSet, time::Duration};

use common::queue::{
    Queue,
    inspect::{Inspector, left::Left},
    operate::Operator,
};
use serde::Serialize;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, add, count, number},
    progress::Progress,
};

/// Between two looks at what is left.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// The queues: high, default, low
    #[arg(required = true, value_name = "QUEUE")]
    queues: Vec<Queue>,

    /// Who decides that, for `queuectl status` [default: the user's name]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: end a queue\n  queuectl drain low --wait --scheduled")]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    of: PauseArgs,

    /// Wait until nothing of it waits or is being run
    #[arg(long)]
    wait: bool,

    /// Wait for its scheduled jobs, too: those of a later time, and those that are to be tried again
    #[arg(long, requires = "wait")]
    scheduled: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// The queues: high, default, low
    #[arg(required = true, value_name = "QUEUE")]
    queues: Vec<Queue>,
}

#[derive(Serialize)]
struct Answer {
    queue: Queue,
    changed: bool,
    #[serde(flatten)]
    left: Left,
}

pub(crate) async fn pause(args: PauseArgs, connection: &Connection, out: &Out) -> Outcome {
    let by = args.by();
    let mut answers = Vec::new();
    for queue in args.queues() {
        let changed = operator(connection).acting_for(&by).pause(queue).await?;
        answers.push(answer(queue, changed, connection).await?);
    }
    tell(&answers, out, |answer| {
        let (queue, now) = (answer.queue, now(&answer.left));
        if answer.changed {
            format!("Paused {queue}: workers take nothing from it ({now}).")
        } else {
            format!("{queue} was paused already ({now}).")
        }
    })
}

pub(crate) async fn resume(args: ResumeArgs, connection: &Connection, out: &Out) -> Outcome {
    let mut answers = Vec::new();
    for queue in args.queues.iter().copied().collect::<BTreeSet<_>>() {
        let changed = operator(connection).resume(queue).await?;
        answers.push(answer(queue, changed, connection).await?);
    }
    tell(&answers, out, |Answer { queue, changed, .. }| {
        if *changed {
            format!("Resumed {queue}: it takes jobs, and workers take from it.")
        } else {
            format!("{queue} was neither paused nor draining.")
        }
    })
}

pub(crate) async fn drain(args: DrainArgs, connection: &Connection, out: &Out) -> Outcome {
    let by = args.of.by();
    let queues = args.of.queues();
    let mut changed = Vec::new();
    for queue in &queues {
        changed.push(operator(connection).acting_for(&by).drain(*queue).await?);
    }
    if args.wait {
        let progress = Progress::new();
        for queue in &queues {
            wait(*queue, args.scheduled, connection, &progress).await?;
        }
    }
    let mut answers = Vec::new();
    for (queue, changed) in queues.into_iter().zip(changed) {
        answers.push(answer(queue, changed, connection).await?);
    }
    tell(&answers, out, |answer| {
        let Answer {
            queue,
            changed,
            left,
        } = answer;
        let mut told = match (left.is_drained(), changed) {
            (true, _) => {
                format!("{queue} is drained: it takes no new jobs, and none waits or is being run.")
            }
            (false, true) => format!("{queue} drains: it takes no new jobs ({}).", now(left)),
            (false, false) => format!("{queue} was draining already ({}).", now(left)),
        };
        if left.kept > 0 {
            let jobs = count(left.kept, "job");
            let are = if left.kept == 1 { "is" } else { "are" };
            add(
                &mut told,
                format_args!(" {jobs} of it {are} scheduled or dead."),
            );
        }
        if left.parked > 0 {
            let jobs = count(left.parked, "job");
            add(
                &mut told,
                format_args!(" {jobs} of it parked: for a worker to come that knows them."),
            );
        }
        if left.inbox > 0 {
            let bodies = count(left.inbox, "job");
            add(
                &mut told,
                format_args!(" {bodies} in its inbox: fetched when it is resumed."),
            );
        }
        if left.paused && left.waiting > 0 {
            told.push_str(" It is paused, too: nothing of it will be run before it is resumed.");
        }
        told
    })
}

fn now(left: &Left) -> String {
    let (waiting, claimed) = (number(left.waiting), number(left.claimed));
    format!("{waiting} waiting, {claimed} being run")
}

async fn wait(
    queue: Queue,
    scheduled: bool,
    connection: &Connection,
    progress: &Progress,
) -> Result<(), crate::Failure> {
    let inspector = inspector(connection);
    let mut most = 0;
    let mut warned = false;
    loop {
        let left = inspector.left(queue).await?;
        if left.is_drained() {
            // Dead ones count among those that are kept: only a walk can tell.
            if !scheduled || left.kept == 0 || !inspector.has_scheduled(queue).await? {
                return Ok(());
            }
            tokio::time::sleep(LOOK * 4).await;
        }
        if left.paused && left.waiting > 0 && !warned {
            warned = true;
            eprintln!("{queue} is paused: what waits is not run before `queuectl resume {queue}`.");
        }
        let now = left.waiting + left.claimed;
        most = now.max(most);
        progress.at(&format!("draining {queue}"), most - now, most);
        tokio::time::sleep(LOOK).await;
    }
}

async fn answer(
    queue: Queue,
    changed: bool,
    connection: &Connection,
) -> Result<Answer, crate::Failure> {
    let left = inspector(connection).left(queue).await?;
    Ok(Answer {
        queue,
        changed,
        left,
    })
}

fn tell(answers: &[Answer], out: &Out, told: impl Fn(&Answer) -> String) -> Outcome {
    out.answer(&answers, || {
        let lines: Vec<_> = answers.iter().map(|one| out.wrap(&told(one), 0)).collect();
        lines.join("\n")
    })?;
    Ok(Ending::Done)
}

impl PauseArgs {
    /// Each once, by priority.
    fn queues(&self) -> Vec<Queue> {
        let queues: BTreeSet<_> = self.queues.iter().copied().collect();
        queues.into_iter().collect()
    }

    fn by(&self) -> String {
        let user = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let by = self.by.clone().or_else(|| user().ok());
        by.unwrap_or_else(|| "queuectl".to_owned())
    }
}

fn operator(connection: &Connection) -> Operator {
    Operator::new(connection.redis.clone(), connection.keys.clone())
}

fn inspector(connection: &Connection) -> Inspector {
    Inspector::new(connection.redis.clone(), connection.keys.clone())
}
