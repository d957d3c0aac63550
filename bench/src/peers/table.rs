//! The figures side by side, as a table of a document.

use std::{fmt::Write, path::Path, process::Command};

use super::{crash, peer::Peer};
use crate::figure::Figures;

/// Rows: a figure and what it is called.
const ROWS: [(&str, &str); 18] = [
    ("enqueue_single", "enqueue, one by one, jobs/s"),
    ("enqueue_bulk", "enqueue in bulk, jobs/s"),
    ("drain", "drain, jobs/s"),
    ("drain.jobs", "… of so many jobs"),
    ("both_at_once", "both at once, jobs/s"),
    ("pickup.p50", "pickup p50, ms"),
    ("pickup.p99", "pickup p99, ms"),
    ("enqueue_single.redis_cpu", "Redis CPU, enqueue one, µs/job"),
    (
        "enqueue_bulk.redis_cpu",
        "Redis CPU, enqueue in bulk, µs/job",
    ),
    ("drain.redis_cpu", "Redis CPU, drain, µs/job"),
    ("drain.worker_cpu", "worker CPU, drain, µs/job"),
    ("drain.commands", "Redis commands, drain, per job"),
    (
        "memory_per_waiting_job",
        "Redis memory per waiting job, bytes",
    ),
    ("idle.rss", "idle worker, RSS of all processes, MiB"),
    ("idle.pss", "… shared pages counted once, MiB"),
    ("idle.commands", "idle worker, commands sent/s"),
    ("idle.commands_in_scripts", "and run by its scripts/s"),
    (RECOVERY, "a killed worker's job runs again after, s"),
];

const RECOVERY: &str = "recovery";

/// What it was measured with, in a sentence.
pub(super) fn circumstances(folder: &Path, runs: u32, seconds: f64) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let version = |program: &Path| {
        let said = Command::new(program).arg("--version").output();
        let said = said.map(|output| output.stdout).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        // `Redis server v=7.0.15 sha=…`, `v20.20.2`, `Python 3.11.2`
        let number = said.split_whitespace().find_map(|word| {
            let word = word.trim_start_matches(['v', '=']);
            word.starts_with(|c: char| c.is_ascii_digit())
                .then_some(word)
        });
        number.unwrap_or("?").to_owned()
    };
    format!(
        "{cores} cores, Redis {}, Node {}, Python {}; {seconds} s a measurement, {runs} runs.\n",
        version(Path::new("redis-server")),
        version(Path::new("node")),
        version(&folder.join("venv/bin/python")),
    )
}

/// Figures in rows, peers in columns: the median, and the range where there was more than one run.
pub(super) fn markdown(peers: &[Peer], figures: &Figures) -> String {
    let mut table = String::from("| |");
    for peer in peers {
        let _ = write!(table, " {} |", peer.title());
    }
    table += "\n|---|";
    table += &"---|".repeat(peers.len());
    table.push('\n');
    for (figure, title) in ROWS {
        let cells: Vec<_> = peers
            .iter()
            .map(|peer| figures.cell(&format!("{}.{figure}", peer.name())))
            .collect();
        if cells.iter().all(Option::is_none) {
            continue; // not measured in this run
        }
        let _ = write!(table, "| {title} |");
        for (peer, cell) in peers.iter().zip(cells) {
            let cell = cell.unwrap_or_else(|| match figure {
                RECOVERY if *peer != Peer::CelerySolo => {
                    format!("not within {}", crash::LONGEST.as_secs())
                }
                _ => "–".to_owned(),
            });
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_has_no_row_and_what_did_not_recover_says_so() {
        let mut figures = Figures::new();
        for value in [100.0, 300.0, 200.0] {
            figures.add("rhubarb.drain", "jobs/s", value);
        }
        figures.add("rhubarb.recovery", "s", 7.25);

        assert_eq!(
            markdown(&[Peer::Rhubarb, Peer::CelerySolo, Peer::Celery], &figures),
            "| | Rhubarb | Celery, solo × 2 | Celery, prefork |\n|---|---|---|---|\n\
             | drain, jobs/s | 200 (100–300) | – | – |\n\
             | a killed worker's job runs again after, s | 7.25 | – | not within 90 |\n"
        );
    }
}
