//! `queuectl audit`.

use std::collections::BTreeMap;

use common::queue::audit::{Account, Auditor, Finding, Problem, Report};
use serde::Serialize;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, add, clean, count, number, numbers, text},
    progress::Progress,
};

/// Findings of one kind that are told one by one; JSON has them all.
const TOLD: usize = 5;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Mend what is amiss: jobs that are nowhere wait again, and so on
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    report: &'a Report,
    remaining: usize,
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> Outcome {
    let auditor = Auditor::new(connection.redis.clone(), connection.keys.clone());
    let progress = Progress::new();
    let mut report = auditor
        .audit(|step| progress.at(step.over, step.done, step.total))
        .await?;
    let mut remaining = report.findings.len();
    if args.repair && remaining > 0 {
        let findings = count(remaining as u64, "finding");
        connection
            .operator()
            .write_down("repair", &findings)
            .await?;
        remaining = auditor
            .repair(&mut report.findings, |step| {
                progress.at(step.over, step.done, step.total);
            })
            .await?;
    }
    drop(progress);
    let answer = Answer {
        report: &report,
        remaining,
    };
    out.answer(&answer, || tell(&report, args.repair, out))?;
    Ok(if remaining == 0 {
        Ending::Done
    } else {
        Ending::Found
    })
}

fn tell(report: &Report, repair: bool, out: &Out) -> String {
    let mut told = table(report, out);
    told.push_str("\n\n");
    if report.findings.is_empty() {
        let jobs = count(report.jobs, "job");
        let text = format!("All is well: {jobs} here, each in its place, and the totals come out.");
        told.push_str(&out.wrap(&text, 0));
        return told;
    }
    let found = count(report.findings.len() as u64, "finding");
    let mended = report.findings.iter().filter(|f| f.repaired.is_some());
    match mended.count() {
        _ if !repair => add(&mut told, format_args!("{found}:\n")),
        n if n == report.findings.len() => {
            add(&mut told, format_args!("{found}, mended:\n"));
        }
        n => add(&mut told, format_args!("{found}, {} mended:\n", number(n))),
    }
    let mut kinds: BTreeMap<Problem, Vec<&Finding>> = BTreeMap::new();
    for finding in &report.findings {
        kinds.entry(finding.problem).or_default().push(finding);
    }
    for findings in kinds.values() {
        told.push_str(&tell_kind(findings, repair, out));
    }
    let can_be_mended = |finding: &Finding| finding.problem.by_hand().is_none();
    if !repair && report.findings.iter().any(can_be_mended) {
        told.push_str("\nTo mend this: queuectl audit --repair");
    }
    told
}

/// One column a queue: the numbers may be large, and a terminal is not wide.
fn table(report: &Report, out: &Out) -> String {
    let queues = report.queues.keys();
    let mut columns = vec![text("")];
    columns.extend(queues.map(|queue| numbers(queue.name())));
    columns.push(numbers("ALL"));
    let row = |name: &str, of: fn(&Account) -> i64| {
        let each: Vec<i64> = report.queues.values().map(of).collect();
        let all: i64 = each.iter().sum();
        let cells = each.into_iter().chain([all]).map(number);
        [name.to_owned()].into_iter().chain(cells).collect()
    };
    let mut rows: Vec<Vec<String>> = vec![
        row("enqueued", |account| account.enqueued),
        row("completed", |account| account.completed),
        row("discarded", |account| account.discarded),
        row("cancelled", |account| account.cancelled),
        row("expired", |account| account.expired),
        row("waiting", |account| account.waiting.cast_signed()),
        row("scheduled", |account| account.scheduled.cast_signed()),
        row("claimed", |account| account.claimed.cast_signed()),
        row("parked", |account| account.parked.cast_signed()),
        row("dead", |account| account.dead.cast_signed()),
    ];
    if report.queues.values().any(|account| account.laned > 0) {
        rows.insert(4, row("laned", |account| account.laned.cast_signed()));
    }
    if report.queues.values().any(|account| account.nowhere > 0) {
        rows.push(row("nowhere", |account| account.nowhere.cast_signed()));
    }
    if report.queues.values().any(|account| account.lost != 0) {
        rows.push(row("written off", |account| account.lost));
    }
    out.table(&columns, rows)
}

fn tell_kind(findings: &[&Finding], repair: bool, out: &Out) -> String {
    let mut told = String::new();
    for finding in findings.iter().take(TOLD) {
        let mut text = finding.to_string();
        match (&finding.repaired, finding.problem.by_hand()) {
            (Some(done), _) => add(&mut text, format_args!(" → {done}")),
            (None, Some(hint)) => add(&mut text, format_args!(" → {hint}")),
            (None, None) if repair => text.push_str(" → not repaired"),
            (None, None) => {}
        }
        add(
            &mut told,
            format_args!("- {}\n", out.wrap(&clean(&text), 2)),
        );
    }
    if findings.len() > TOLD {
        let more = number(findings.len() - TOLD);
        add(
            &mut told,
            format_args!("- {more} more like this (all of them with --json)\n"),
        );
    }
    told
}
