//! `queuectl status` and `queuectl workers`.

use common::queue::{
    Queue,
    inspect::status::{Status, WorkerStatus},
    parking::Kind,
    pause::Decision,
};

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, add, clean, count, number, numbers, short, text},
    time::{since, until},
};

pub(crate) async fn run(connection: &Connection, out: &Out) -> Outcome {
    let status = connection.inspector().status().await?;
    out.answer(&status, || tell(&status, out))?;
    Ok(Ending::Done)
}

pub(crate) async fn workers(connection: &Connection, out: &Out) -> Outcome {
    let status = connection.inspector().status().await?;
    out.answer(&status.workers, || tell_workers(&status, out))?;
    Ok(Ending::Done)
}

/// Kinds of parked jobs that are named.
const KINDS: usize = 3;

fn tell(status: &Status, out: &Out) -> String {
    let now = status.now_ms;
    let alive = status.workers.iter().filter(|w| w.is_alive(now)).count();
    let mut rows = Vec::new();
    let mut row = |name: &str, n: u64, remark: String| {
        rows.push(vec![name.to_owned(), number(n), remark]);
    };
    for queue in &status.queues {
        let remark = match (queue.waiting, queue.listed, queue.waiting_since_ms) {
            (_, None, _) => format!("waiting; `queue:{}` is not a list!", queue.queue),
            (0, ..) => String::new(),
            (_, Some(0), _) => "waiting, not listed: a worker lists them again".to_owned(),
            (.., Some(then)) => format!("waiting, the oldest for {}", since(now, then)),
            (.., None) => "waiting".to_owned(),
        };
        let remarks = [remark, decided("paused", queue.paused.as_ref(), now)];
        let inbox = match queue.inbox {
            0 => String::new(),
            n => format!("{} in its inbox", number(n)),
        };
        let draining = decided("draining", queue.draining.as_ref(), now);
        let remarks = remarks.into_iter().chain([draining, inbox]);
        let remarks: Vec<_> = remarks.filter(|remark| !remark.is_empty()).collect();
        let remark = remarks.join("; ");
        row(queue.queue.name(), queue.waiting, remark);
    }
    if status.lanes > 0 {
        let remark = format!("in {}; see `queuectl lanes`", count(status.lanes, "lane"));
        row("laned", status.laned, remark);
    }
    let remark = match alive {
        0 => String::new(),
        n => format!("{} running", count(n as u64, "worker")),
    };
    row("claimed", status.claimed, remark);
    let due = status.next_due_ms;
    let due = due.map(|then| format!("the next {}", until(now, then)));
    row("scheduled", status.scheduled, due.unwrap_or_default());
    if status.parked > 0 {
        let kinds: Vec<_> = status.parked_kinds.iter().take(KINDS).map(kind).collect();
        let more = status.parked_kinds.len().saturating_sub(KINDS);
        let more = (more > 0).then(|| format!(" and {more} more"));
        let remark = format!(
            "no worker here knows {}{}",
            clean(&kinds.join(", ")),
            more.unwrap_or_default()
        );
        row("parked", status.parked, remark);
    }
    let look = if status.dead > 0 {
        "see `queuectl jobs dead`"
    } else {
        ""
    };
    row("dead", status.dead, look.to_owned());

    let mut told = out.table(&[text(""), numbers("JOBS"), text("")], rows);
    told.push_str("\n\n");
    told.push_str(&out.wrap(&totals(status), 0));
    let waiting: u64 = status.queues.iter().map(|queue| queue.waiting).sum();
    if alive == 0 && waiting + status.claimed > 0 {
        told.push_str("\n\nNo worker is running: jobs wait until one is started.");
    }
    told
}

/// `paused for 3 min by ada`.
pub(crate) fn decided(what: &str, decision: Option<&Decision>, now: u64) -> String {
    let Some(decision) = decision else {
        return String::new();
    };
    let mut told = what.to_owned();
    if decision.since_ms > 0 {
        add(
            &mut told,
            format_args!(" for {}", since(now, decision.since_ms)),
        );
    }
    if !decision.by.is_empty() {
        add(&mut told, format_args!(" by {}", clean(&decision.by)));
    }
    told
}

/// What parked jobs wait for.
fn kind((kind, _): (&Kind, &u64)) -> String {
    match kind.version {
        1 => kind.task.clone(),
        version => format!("{} version {version}", kind.task),
    }
}

/// What was counted since ever, in one sentence.
fn totals(status: &Status) -> String {
    let total = |what: &str| -> i64 {
        let of_queue = |queue: Queue| status.totals.get(&format!("{what}:{queue}"));
        let all = status.totals.get(what).copied().unwrap_or(0);
        all + Queue::ALL.into_iter().filter_map(of_queue).sum::<i64>()
    };
    if total("enqueued") == 0 {
        return "No job has been enqueued yet.".to_owned();
    }
    let parts = [
        ("enqueued", "enqueued"),
        ("completed", "completed"),
        ("discarded", "discarded"),
        ("cancelled", "cancelled"),
        ("expired", "not started in time"),
        ("retried", "failed and tried again"),
        ("parked", "parked"),
        ("buried", "buried"),
        ("revived", "retried by hand"),
        ("reaped", "taken from dead workers"),
        ("recovered", "lost and found"),
        ("lost", "lost"),
    ];
    let told: Vec<_> = parts
        .into_iter()
        .map(|(what, words)| (what, words, total(what)))
        .filter(|(what, _, n)| *n != 0 || *what == "completed")
        .map(|(_, words, n)| format!("{} {words}", number(n)))
        .collect();
    format!("Since ever: {}.", told.join(", "))
}

fn tell_workers(status: &Status, out: &Out) -> String {
    if status.workers.is_empty() {
        return "No worker is running.".to_owned();
    }
    let now = status.now_ms;
    let columns = [
        text("WORKER"),
        text("HOST"),
        numbers("PID"),
        numbers("HOLDS"),
        text("STATE"),
        text("FOR"),
        text("QUEUES"),
    ];
    let row = |worker: &WorkerStatus| {
        let info = &worker.info;
        let queues: Vec<_> = Queue::ALL
            .into_iter()
            .filter_map(|queue| Some(format!("{queue}={}", info.queues.get(queue.name())?)))
            .collect();
        let (state, time) = if worker.is_alive(now) {
            let state = if info.stopping { "stopping" } else { "alive" };
            (state, since(now, info.started * 1000))
        } else {
            ("silent", since(now, worker.alive_until_ms))
        };
        vec![
            short(&worker.id),
            clean(&info.host),
            info.pid.to_string(),
            format!("{}/{}", worker.holds, info.concurrency),
            state.to_owned(),
            time,
            queues.join(","),
        ]
    };
    out.table(&columns, status.workers.iter().map(row).collect())
}
