//! `queuectl show`.

use common::queue::{
    JobId, Outcome as Ended,
    inspect::{
        Entry,
        flow::Around,
        show::{Group, Job, Known},
    },
    results::AnyOutcome,
    unique::Until,
};

use crate::{
    Ending, Failure, Outcome,
    connect::Connection,
    lanes::tell_lane,
    out::{Out, add, clean, count, number, short},
    time::{ago, clock, since, span, until},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job's id, such as default-17
    id: JobId,
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> Outcome {
    let inspector = connection.inspector();
    let id = args.id;
    match inspector.show(id).await? {
        Known::Job(job) => {
            out.answer(&job, || tell(&job, out))?;
            Ok(Ending::Done)
        }
        Known::Ended(outcome) => {
            out.answer(&outcome, || {
                format!("{id}  {}", clean(&tell_outcome(&outcome)))
            })?;
            Ok(Ending::Done)
        }
        gone => Err(Failure::Failed(anyhow::anyhow!(why_not(id, &gone)))),
    }
}

/// How a job ended.
pub(crate) fn tell_outcome(outcome: &AnyOutcome) -> String {
    match outcome {
        Ended::Done(output) => format!("done, and gave back {output}"),
        Ended::Dead(reason) => format!("dead: {reason}"),
        Ended::Cancelled(reason) => reason.clone(),
        Ended::Expired(reason) => format!("expired: {reason}"),
        Ended::Discarded(_) => "discarded".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Why there is nothing to show.
pub(crate) fn why_not(id: JobId, known: &Known) -> String {
    match known {
        Known::Ended(outcome) => format!("{id} has ended: {}", tell_outcome(outcome)),
        Known::Finished => format!(
            "{id} is finished: it was completed, discarded or cancelled, or has expired, and nothing is kept of it"
        ),
        Known::Never {
            newest: Some(newest),
        } => format!("no job has the id {id}: the newest of its kind is {newest}"),
        _ => format!("no job has the id {id}: none of its kind has been enqueued yet"),
    }
}

const INDENT: usize = 11;

fn tell(job: &Job, out: &Out) -> String {
    let now = job.now_ms;
    let mut told = format!("{}  {}\n\n", job.id, state(job));
    let mut line = |name: &str, text: String| {
        let text = out.wrap(&clean(&text), INDENT);
        add(&mut told, format_args!("{name:<INDENT$}{text}\n"));
    };
    match (&job.task, &job.unreadable) {
        (Some(task), _) => line("task", task.clone()),
        (None, body) => line(
            "body",
            format!("unreadable: {}", body.as_deref().unwrap_or("")),
        ),
    }
    if let Some(args) = &job.args {
        line("args", args.to_string());
    }
    if let Some(then) = job.enqueued_ms {
        line("enqueued", format!("{}, {}", ago(now, then), clock(then)));
    }
    if job.version > 1 {
        line("version", job.version.to_string());
    }
    if let Some(tick) = job.tick_ms {
        line("tick", clock(tick));
    }
    line("attempts", attempts(job));
    if let Some(progress) = &job.progress {
        line("progress", progress.to_string());
    }
    if let Some(claim) = &job.claim {
        let info = &claim.info;
        let (name, host, pid) = (short(&claim.worker), &info.host, info.pid);
        line("worker", format!("{name} on {host}, process {pid}"));
    }
    if let Some(lane) = &job.lane {
        line("lane", tell_lane(&lane.status));
    }
    if let Some(hold) = &job.unique {
        let until = match hold.until {
            Until::Done => "until it has ended",
            Until::Started => "until it is started",
        };
        line("unique", format!("{}, {until}", hold.key));
    }
    if let Some(trace) = job.trace {
        line("trace", trace.to_string());
    }
    for (role, group) in [
        ("child of", &job.child_of),
        ("follows", &job.follows),
        ("master of", &job.group),
    ] {
        if let Some(group) = group {
            line(role, tell_group(group, role == "master of"));
            for (child, why) in &group.failures {
                line("", format!("{child} failed: {why}"));
            }
        }
    }
    if let Some(around) = &job.flow {
        for (name, text) in tell_flow(around) {
            line(name, text);
        }
    }
    if !job.history.is_empty() {
        told.push_str("\nWhat happened:\n");
        for entry in &job.history {
            told.push_str(&tell_entry(entry, now, out));
        }
    }
    if let Some(hint) = hint(job) {
        add(&mut told, format_args!("\n{hint}\n"));
    }
    told
}

fn state(job: &Job) -> String {
    let now = job.now_ms;
    let time = match job.state.as_str() {
        "waiting" => job.waiting_since_ms.map(|then| {
            let ahead = match job.ahead {
                None => String::new(),
                Some(0) => ", next in line".to_owned(),
                Some(n) => format!(", {} before it", number(n)),
            };
            format!("for {}{ahead}", since(now, then))
        }),
        "laned" => job.waiting_since_ms.map(|then| {
            let told = format!("for {}", since(now, then));
            match job
                .lane
                .as_ref()
                .and_then(|lane| Some((&lane.status, lane.ahead?)))
            {
                Some((lane, n)) => {
                    format!(
                        "{told} in lane {}, {} before it",
                        clean(&lane.lane),
                        number(n)
                    )
                }
                None => told,
            }
        }),
        "scheduled" => job
            .due_ms
            .map(|then| format!("{}, {}", until(now, then), clock(then))),
        "claimed" => job.claim.as_ref().and_then(|claim| {
            let silent = claim.alive_until_ms.is_some_and(|until| until <= now);
            let remark = if silent { "; its worker is silent" } else { "" };
            Some(format!("for {}{remark}", since(now, claim.claimed_ms?)))
        }),
        "parked" => job
            .parked_ms
            .map(|then| format!("for {}, {}", since(now, then), clock(then))),
        "dead" => job
            .buried_ms
            .map(|then| format!("for {}, {}", since(now, then), clock(then))),
        _ => None,
    };
    match time {
        Some(time) => format!("{} {time}", job.state),
        None => job.state.clone(),
    }
}

fn attempts(job: &Job) -> String {
    let mut told = number(job.attempts);
    if let Some(most) = job.max_attempts {
        add(&mut told, format_args!(" of {}", number(most)));
    }
    if job.deaths > 0 {
        let times = count(job.deaths.into(), "time");
        add(&mut told, format_args!("; its worker died {times}"));
    }
    told
}

fn tell_group(group: &Group, own: bool) -> String {
    let mut told = String::new();
    if !own {
        told = format!("{}: ", group.master);
    }
    if group.open {
        let total = count(group.total, "child").replace("childs", "children");
        add(
            &mut told,
            format_args!("{total}, {} left", number(group.left)),
        );
        if !group.sealed {
            told.push_str(", more to come");
        }
    } else {
        told.push_str("the group has ended");
    }
    if group.failed > 0 {
        add(&mut told, format_args!(", {} failed", number(group.failed)));
    }
    told
}

fn tell_flow(around: &Around) -> Vec<(&'static str, String)> {
    let (step, steps) = (around.step, around.steps);
    let jobs = count(around.jobs, "job");
    let mut told = vec![(
        "flow",
        format!(
            "{}: step {step} of {steps}, {jobs} not finished",
            around.flow
        ),
    )];
    told.extend(around.then.clone().map(|next| ("then", next)));
    told.extend(around.or_else.clone().map(|next| ("or else", next)));
    if let Some(all) = &around.within {
        let (part, parts) = (all.part, all.parts);
        let mut text = format!("part {part} of {parts}, {} left", number(all.left));
        if all.failed > 0 {
            add(&mut text, format_args!(", {} failed", number(all.failed)));
        }
        if let Some(next) = &all.then {
            add(&mut text, format_args!("; then {next}"));
        }
        if let Some(next) = &all.or_else {
            add(&mut text, format_args!("; or else {next}"));
        }
        told.push(("in an all", text));
    }
    told
}

fn tell_entry(entry: &Entry, now: u64, out: &Out) -> String {
    let what = match entry.event.as_str() {
        "failed" => "failed",
        "buried" => "buried",
        "worker_died" => "given back",
        "group_failed" => "not run",
        "refused" => "refused",
        "revived" => "retried by hand",
        other => other,
    };
    let mut text = what.to_owned();
    if let Some(attempt) = entry.attempt {
        text = format!("attempt {attempt} {what}");
    }
    if let Some(worker) = &entry.worker {
        add(&mut text, format_args!(" on worker {}", short(worker)));
    }
    if let Some(error) = &entry.error {
        add(&mut text, format_args!(": {error}"));
    }
    if let Some(ms) = entry.retry_in_ms {
        add(&mut text, format_args!(" (again after {})", span(ms)));
    }
    let when = format!("  {:<14}", ago(now, entry.at_ms));
    let text = out.wrap(&clean(&text), when.len());
    format!("{when}{text}\n")
}

fn hint(job: &Job) -> Option<String> {
    let id = job.id;
    match job.state.as_str() {
        "dead" if job.unreadable.is_some() => Some(format!(
            "It cannot be run, for it cannot be read. To remove it: queuectl discard {id}"
        )),
        "dead" => Some(format!("To run it again: queuectl retry {id}")),
        "scheduled" => Some(format!("To run it now: queuectl retry {id}")),
        "parked" => Some(format!(
            "It waits for a worker that serves queue {} and knows version {} of {}.",
            job.queue,
            job.version,
            job.task.as_deref().unwrap_or("its task")
        )),
        "waiting" | "laned" | "claimed" => None,
        _ => Some("To mend this: queuectl audit --repair".to_owned()),
    }
}
