//! The report: what a run did and found, for people and as JSON.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    history::History,
    point::{Act, Point},
    recovery::Recovery,
    wrong::{Counts, Wrong},
};
use crate::{
    chaos::{ledger::Role, spread::Spread},
    number::count,
};

/// Not more of what is wrong is shown.
const SHOWN: usize = 25;

/// A run, summed up.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) seed: u64,
    pub(super) seconds: u64,
    /// Whether all is well.
    pub(super) passed: bool,
    pub(super) jobs: BTreeMap<&'static str, u64>,
    pub(super) processes: BTreeMap<&'static str, u64>,
    /// Processes killed, by point.
    pub(super) kills_at: BTreeMap<String, u64>,
    /// Connections cut and answers held back, by point.
    pub(super) cuts_at: BTreeMap<String, u64>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Second runs, by what explains them.
    pub(super) duplicates: BTreeMap<&'static str, u64>,
    pub(super) recovery: Recovery,
    /// Wall clocks of workers, seconds from the middle one.
    pub(super) clocks: (i64, i64),
    pub(super) wrong: Vec<String>,
}

impl Summary {
    /// Sums up.
    pub(super) fn of(
        seed: u64,
        time: Duration,
        history: &History,
        (wrong, counts): (&[Wrong], &Counts),
        recovery: Recovery,
    ) -> Self {
        let lost = wrong
            .iter()
            .filter(|wrong| matches!(wrong, Wrong::Lost(_) | Wrong::Stuck(_)));
        let unexplained = wrong
            .iter()
            .filter(|wrong| matches!(wrong, Wrong::Unexplained(..)));
        let left = wrong
            .iter()
            .filter(|wrong| matches!(wrong, Wrong::Leftover(_)));
        let jobs = BTreeMap::from([
            ("accepted", counts.accepted),
            ("unsure", counts.unsure),
            ("unsure, and were pushed", counts.unsure_ran),
            ("children", counts.children),
            ("groups", counts.groups),
            ("callbacks run", counts.callbacks),
            ("callbacks withheld, as planned", counts.withheld),
            ("runs", counts.runs),
            ("retries, as planned", counts.planned_retries),
            ("dead, as planned", counts.dead_as_planned),
            (
                "buried for three deaths, then retried by hand",
                counts.revived,
            ),
            ("with their effect twice", counts.double_effects),
            ("lost", count(lost.count())),
            ("unexplained", count(unexplained.count())),
            ("keys left", count(left.count())),
        ]);
        let killed = |role| {
            let lives = history
                .lives
                .iter()
                .filter(|(who, life)| who.role == role && life.killed.is_some());
            count(lives.count())
        };
        let lives = |role| count(history.lives.keys().filter(|who| who.role == role).count());
        let processes = BTreeMap::from([
            ("workers", lives(Role::Worker)),
            ("workers killed", killed(Role::Worker)),
            ("producers", lives(Role::Producer)),
            ("producers killed", killed(Role::Producer)),
        ]);
        let at = |fits: fn(Act) -> bool| {
            let mut by_point: BTreeMap<String, u64> = BTreeMap::new();
            for (.., at, _) in history.hits.iter().filter(|(.., act)| fits(*act)) {
                *by_point.entry(at.name()).or_default() += 1;
            }
            by_point
        };
        Self {
            seed,
            seconds: time.as_secs(),
            passed: wrong.is_empty(),
            jobs,
            processes,
            kills_at: at(|act| act == Act::Kill),
            cuts_at: at(|act| act != Act::Kill),
            faults: history.faults.clone(),
            duplicates: counts
                .duplicates
                .iter()
                .map(|(cause, n)| (cause.name(), *n))
                .collect(),
            recovery,
            clocks: (history.skew_ms.0 / 1000, history.skew_ms.1 / 1000),
            wrong: wrong.iter().map(ToString::to_string).collect(),
        }
    }

    /// Processes that were killed.
    pub(super) fn kills(&self) -> u64 {
        self.processes["workers killed"] + self.processes["producers killed"]
    }

    /// Prints it on standard output.
    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            // Texts and numbers cannot fail to be written.
            println!("{}", serde_json::to_string(self).unwrap_or_default());
        } else {
            self.print_tables();
        }
    }

    fn print_tables(&self) {
        println!("chaos queue, seed {}, {} s", self.seed, self.seconds);
        let rows = |name: &str, rows: Vec<(String, u64)>| {
            println!("\n{name}");
            let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
            for (what, n) in rows {
                println!("  {what:width$}  {n:>8}");
            }
        };
        let named = |map: &BTreeMap<&'static str, u64>| {
            map.iter()
                .map(|(what, n)| ((*what).to_owned(), *n))
                .collect()
        };
        rows("jobs", named(&self.jobs));
        rows("processes", named(&self.processes));
        let points = Point::ALL.map(|at| {
            let name = at.name();
            let kills = self.kills_at.get(&name).copied().unwrap_or(0);
            let cuts = self.cuts_at.get(&name).copied().unwrap_or(0);
            (name, kills, cuts)
        });
        println!("\npoints              killed  cut or late");
        for (name, kills, cuts) in points {
            println!("  {name:16}  {kills:>6}  {cuts:>11}");
        }
        rows("other faults", named(&self.faults));
        rows("second runs, each explained by", named(&self.duplicates));
        println!(
            "\nrecovery, s                                         number     p50     p99     max"
        );
        let spread = |what: &str, spread: &Spread| {
            let Spread {
                number,
                p50,
                p99,
                max,
            } = spread;
            println!("  {what:48}  {number:>6}  {p50:>6.3}  {p99:>6.3}  {max:>6.3}");
        };
        let recovery = &self.recovery;
        spread(
            "jobs of a killed worker, claimed elsewhere",
            &recovery.held_by_killed,
        );
        spread(
            "  the same, Redis being away then or just before",
            &recovery.held_by_killed_amid_more,
        );
        spread("ids popped for nobody, claimed", &recovery.lost_pops);
        spread("worker stopped in order: its end", &recovery.stops);
        spread(
            "  the same, Redis being away then or just before",
            &recovery.stops_amid_more,
        );
        for (kind, first) in &recovery.first_job {
            spread(&format!("{kind}: first job"), first);
        }
        for (kind, each) in &recovery.each_worker {
            spread(&format!("{kind}: each worker"), each);
        }
        match self.clocks {
            (0, 0) => println!("\nworkers' clocks: all right; libfaketime would make some wrong"),
            (low, high) => println!("\nworkers' clocks: {low} to {high:+} s"),
        }
        if self.passed {
            println!("\nnothing lost, nothing doubled without a cause, nothing left");
        } else {
            println!("\nWRONG ({}):", self.wrong.len());
            for wrong in self.wrong.iter().take(SHOWN) {
                println!("  {wrong}");
            }
        }
    }
}
