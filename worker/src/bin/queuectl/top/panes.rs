//! The tables below the queues: what stands in them, and by what they are sorted.

use common::{
    chat::inspect::RoomStatus,
    queue::{
        Queue,
        inspect::{
            list::Row as Job,
            status::{Status, WorkerStatus},
            tasks::TaskTotals,
        },
    },
};

use super::app::{Pane, Seen};
use crate::{
    out::{clean, number, short},
    rooms, tasks,
    time::since,
};

/// A column, and whether it holds numbers.
pub(super) type Column = (&'static str, bool);

/// One row: each cell, and what it is sorted by.
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    keys: Vec<Key>,
    /// Something to look at.
    pub(super) alarming: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Largest first.
    Number(std::cmp::Reverse<u64>),
    Text(String),
}

/// The columns of a pane; the first is what it is sorted by at first.
pub(super) const fn columns(pane: Pane) -> &'static [Column] {
    match pane {
        Pane::Workers => &[
            ("SLOTS", true),
            ("", false),
            ("WORKER", false),
            ("BEATS", false),
            ("UP", true),
            ("HOST", false),
            ("PID", true),
            ("QUEUES", false),
        ],
        Pane::Running => &[
            ("FOR", true),
            ("TRY", true),
            ("JOB", false),
            ("WORKER", false),
            ("TASK", false),
        ],
        Pane::Tasks => &[
            ("DONE", true),
            ("RETRIED", true),
            ("DEAD", true),
            ("EXPIRED", true),
            ("RAN FOR", true),
            ("TASK", false),
        ],
        Pane::Rooms => &[
            ("OLDEST", true),
            ("UNFLUSHED", true),
            ("MEMBERS", true),
            ("STATE", false),
            ("ROOM", false),
        ],
    }
}

/// The rows of a pane, sorted by one of its columns.
pub(super) fn rows(pane: Pane, seen: &Seen, sort: usize, reversed: bool) -> Vec<Row> {
    let status = &seen.status;
    let mut rows: Vec<Row> = match pane {
        Pane::Workers => status.workers.iter().map(|of| worker(of, status)).collect(),
        Pane::Running => seen.running.iter().map(|of| job(of, status)).collect(),
        Pane::Tasks => seen.tasks.iter().map(task).collect(),
        Pane::Rooms => seen.rooms.iter().map(room).collect(),
    };
    rows.sort_by(|one, other| one.keys[sort].cmp(&other.keys[sort]));
    if reversed {
        rows.reverse();
    }
    rows
}

/// What a pane says that has no rows.
pub(super) const fn nothing(pane: Pane) -> &'static str {
    match pane {
        Pane::Workers => "No worker is running.",
        Pane::Running => "No job is being run.",
        Pane::Tasks => "No worker has told of an attempt yet.",
        Pane::Rooms => "All that was written is in the archive.",
    }
}

fn largest(n: u64) -> Key {
    Key::Number(std::cmp::Reverse(n))
}

fn worker(of: &WorkerStatus, status: &Status) -> Row {
    let (info, now) = (&of.info, status.now_ms);
    let alive = of.is_alive(now);
    let beats = if alive && info.stopping {
        "stopping".to_owned()
    } else if alive {
        "yes".to_owned()
    } else {
        format!("not for {}", since(now, of.alive_until_ms))
    };
    let queues = Queue::ALL
        .into_iter()
        .filter_map(|queue| Some(format!("{queue}={}", info.queues.get(queue.name())?)));
    let queues: Vec<_> = queues.collect();
    let up = now.saturating_sub(info.started * 1000);
    let (host, queues) = (clean(&info.host), queues.join(","));
    Row {
        keys: vec![
            largest(of.holds),
            largest(of.holds),
            Key::Text(of.id.clone()),
            Key::Text(beats.clone()),
            largest(up),
            Key::Text(host.clone()),
            largest(info.pid.into()),
            Key::Text(queues.clone()),
        ],
        cells: vec![
            format!("{}/{}", of.holds, info.concurrency),
            bar(of.holds, info.concurrency),
            short(&of.id),
            beats,
            since(now, info.started * 1000),
            host,
            info.pid.to_string(),
            queues,
        ],
        alarming: !alive,
    }
}

/// How full something is, in ten characters.
fn bar(n: u64, of: u64) -> String {
    const WIDE: u64 = 10;
    let full = (n * WIDE).div_ceil(of.max(1)).min(WIDE);
    let repeat = |what: &str, n: u64| what.repeat(usize::try_from(n).unwrap_or(0));
    format!("{}{}", repeat("━", full), repeat("─", WIDE - full))
}

fn job(of: &Job, status: &Status) -> Row {
    let now = status.now_ms;
    let time = of.claimed_ms.map_or(0, |then| now.saturating_sub(then));
    let task = clean(of.task.as_deref().unwrap_or("(unreadable)"));
    let worker = of.worker.as_deref().map(short).unwrap_or_default();
    Row {
        keys: vec![
            largest(time),
            largest(of.attempts.into()),
            Key::Text(of.id.clone()),
            Key::Text(worker.clone()),
            Key::Text(task.clone()),
        ],
        cells: vec![
            since(now, now - time),
            of.attempts.to_string(),
            clean(&of.id),
            worker,
            task,
        ],
        alarming: false,
    }
}

fn task((name, of): (&String, &TaskTotals)) -> Row {
    let attempts = of.done + of.retried + of.buried + of.cancelled;
    let ran = of.ran_us.checked_div(attempts);
    Row {
        keys: vec![
            largest(of.done),
            largest(of.retried),
            largest(of.buried),
            largest(of.expired),
            largest(ran.unwrap_or(0)),
            Key::Text(name.clone()),
        ],
        cells: vec![
            number(of.done),
            number(of.retried),
            number(of.buried),
            number(of.expired),
            ran.map(tasks::short).unwrap_or_default(),
            clean(name),
        ],
        alarming: false,
    }
}

fn room(of: &RoomStatus) -> Row {
    let age = of.unflushed_since_ms;
    let age = age.map_or(0, |then| of.now_ms.saturating_sub(then));
    let (name, state) = (of.room.as_str().to_owned(), rooms::state(of));
    Row {
        keys: vec![
            largest(age),
            largest(of.unflushed),
            largest(of.members),
            Key::Text(state.clone()),
            Key::Text(name.clone()),
        ],
        cells: vec![
            since(age, 0),
            number(of.unflushed),
            number(of.members),
            state,
            name,
        ],
        alarming: age > 60_000,
    }
}
