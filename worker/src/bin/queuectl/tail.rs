//! `queuectl tail`.

use std::io::Write;

use common::queue::{
    JobId, Queue,
    tail::{Event, Follower, Kind},
};
use console::Style;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, add, clean, count, short},
    tasks,
    time::{clock_ms, span},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  queuectl tail --event buried,retried\n  queuectl tail --task demo.greet --json | jq .error"
)]
pub(crate) struct Args {
    /// Of this queue
    #[arg(long)]
    queue: Option<Queue>,

    /// Of this task
    #[arg(long, value_name = "TASK")]
    task: Option<String>,

    /// Of this job
    #[arg(long, value_name = "ID")]
    job: Option<JobId>,

    /// Only these: claimed, done, retried, buried, cancelled, expired, parked, released, reaped, recovered, acted
    #[arg(long, value_name = "EVENT", value_delimiter = ',', value_parser = kind)]
    event: Vec<Kind>,

    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

fn kind(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("one of {} is expected", names.join(", "))
    })
}

impl Args {
    /// That something was left out concerns everybody.
    fn fits(&self, event: &Event) -> bool {
        if matches!(event.event, Kind::Skipped | Kind::Missed) {
            return true;
        }
        let job = event.job.as_deref();
        let id = self.job.map(|id| id.to_string());
        let in_queue = |queue: Queue| job.is_some_and(|id| id.starts_with(queue.name()));
        (self.event.is_empty() || self.event.contains(&event.event))
            && (id.is_none() || id.as_deref() == job)
            && (self.task.is_none() || self.task == event.task)
            && self.queue.is_none_or(in_queue)
    }
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> Outcome {
    let follow = Follower::start(connection.redis.clone(), connection.keys.clone());
    let mut follower = follow.await?;
    eprintln!("Following what happens to jobs; Ctrl-C ends it.");
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let event = tokio::select! {
            event = follower.next() => event,
            stop = tokio::signal::ctrl_c() => { stop?; break }
        };
        if !args.fits(&event) {
            continue;
        }
        left -= 1;
        let line = if out.json {
            serde_json::to_string(&event)?
        } else {
            tell(&event)
        };
        match writeln!(std::io::stdout(), "{line}") {
            // Who reads has seen enough, e.g. `| head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            other => other?,
        }
    }
    Ok(Ending::Done)
}

/// `14:13:20.017  done       default-17  demo.greet  ran 1.2 ms on 1b9d6bcd`.
fn tell(event: &Event) -> String {
    let name = style(event.event).apply_to(format!("{:<9}", event.event.name()));
    let mut told = format!("{:<12}  {name}", clock_ms(event.at_ms));
    let part = |told: &mut String, text: &str| add(told, format_args!("  {}", clean(text)));
    if let Some(job) = &event.job {
        part(&mut told, &format!("{job:<12}"));
    }
    if let Some(task) = &event.task {
        part(&mut told, task);
    }
    let details = details(event);
    if !details.is_empty() {
        part(&mut told, &details);
    }
    told
}

fn details(event: &Event) -> String {
    if let (Some(by), Some(did)) = (&event.by, &event.did) {
        let of = event.of.as_deref().unwrap_or_default();
        return format!("{by}: {did} {of}");
    }
    let mut parts = Vec::new();
    match (event.event, event.count) {
        (Kind::Reaped, Some(n)) => {
            parts.push(format!("{} of a dead worker wait again", count(n, "job")));
        }
        (Kind::Recovered, Some(n)) => {
            parts.push(format!(
                "{} that nobody had claimed wait again",
                count(n, "job")
            ));
        }
        (Kind::Skipped, Some(n)) => parts.push(format!("{} are left out", count(n, "event"))),
        (Kind::Missed, _) => parts.push("some events may be missing here".to_owned()),
        _ => {}
    }
    let again = event.attempt.filter(|n| *n > 1);
    parts.extend(again.map(|n| format!("attempt {n}")));
    parts.extend(event.waited_ms.map(|ms| match ms {
        0..1000 => format!("waited {ms} ms"),
        _ => format!("waited {}", span(ms)),
    }));
    parts.extend(event.took_ms.map(|ms| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float saturates"
        )]
        let us = (ms * 1e3) as u64;
        format!("ran {}", tasks::short(us))
    }));
    let mut told = parts.join(", ");
    if let Some(worker) = &event.worker {
        let blank = if told.is_empty() { "" } else { " " };
        add(&mut told, format_args!("{blank}on {}", short(worker)));
    }
    if let Some(error) = &event.error {
        add(&mut told, format_args!(": {error}"));
    }
    told
}

fn style(kind: Kind) -> Style {
    let style = Style::new();
    match kind {
        Kind::Done => style.green(),
        Kind::Buried => style.red().bold(),
        Kind::Retried | Kind::Expired | Kind::Cancelled | Kind::Parked => style.yellow(),
        Kind::Reaped | Kind::Recovered | Kind::Missed | Kind::Skipped => style.magenta(),
        Kind::Acted => style.cyan(),
        _ => style,
    }
}
