//! The report: what a run did and found, for people and as JSON.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    event::Event,
    wrong::{Counts, Wrong},
};
use crate::chaos::{
    ledger::{Line, Role},
    spread::Spread,
};

/// Not more of what is wrong is shown.
const SHOWN: usize = 25;

/// A run, summed up.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) seed: u64,
    pub(super) seconds: u64,
    pub(super) fsync: &'static str,
    /// Whether all is well.
    pub(super) passed: bool,
    pub(super) messages: BTreeMap<&'static str, u64>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// From the end of an outage of Redis to the first acknowledgement, by kind.
    pub(super) first_ack: BTreeMap<&'static str, Spread>,
    /// From a message's first sending to its acknowledgement.
    pub(super) acks: Spread,
    pub(super) wrong: Vec<String>,
}

impl Summary {
    /// Sums up.
    pub(super) fn of(
        (seed, fsync): (u64, &'static str),
        time: Duration,
        lines: &[Line<Event>],
        (wrong, counts): (&[Wrong], &Counts),
    ) -> Self {
        let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
        let storm = lines.iter().take_while(|line| line.event != Event::Peace);
        for Line { who, event, .. } in storm {
            match event {
                Event::Struck { fault } if who.role != Role::Client => {
                    *faults.entry(fault.name()).or_default() += 1;
                }
                Event::Began { fault } => *faults.entry(fault.name()).or_default() += 1,
                _ => {}
            }
        }
        let (first_ack, acks) = latencies(lines);
        Self {
            seed,
            seconds: time.as_secs(),
            fsync,
            passed: wrong.is_empty(),
            messages: counts.all.clone(),
            faults,
            first_ack,
            acks,
            wrong: wrong.iter().map(ToString::to_string).collect(),
        }
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
        let (seed, seconds, fsync) = (self.seed, self.seconds, self.fsync);
        println!("chaos chat, seed {seed}, {seconds} s, appendfsync {fsync}");
        let rows = |name: &str, rows: &BTreeMap<&'static str, u64>| {
            println!("\n{name}");
            let width = rows.keys().map(|what| what.len()).max().unwrap_or(0);
            for (what, n) in rows {
                println!("  {what:width$}  {n:>8}");
            }
        };
        rows("messages", &self.messages);
        rows("faults", &self.faults);
        println!("\ntimes, s                                     number     p50     p99     max");
        let spread = |what: &str, spread: &Spread| {
            let Spread {
                number,
                p50,
                p99,
                max,
            } = spread;
            println!("  {what:41}  {number:>6}  {p50:>6.3}  {p99:>6.3}  {max:>6.3}");
        };
        spread("sent first to acknowledged", &self.acks);
        for (kind, first) in &self.first_ack {
            spread(&format!("{kind}: first acknowledged"), first);
        }
        if self.passed {
            println!(
                "\nnothing lost, nothing doubled, one order, no hole that was not told, nothing left"
            );
        } else {
            println!("\nWRONG ({}):", self.wrong.len());
            for wrong in self.wrong.iter().take(SHOWN) {
                println!("  {wrong}");
            }
        }
    }
}

fn latencies(lines: &[Line<Event>]) -> (BTreeMap<&'static str, Spread>, Spread) {
    let mut sent = std::collections::HashMap::new();
    let mut acks = Vec::new();
    let mut ended: Vec<(&'static str, u64)> = Vec::new();
    let mut first: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for Line { t, event, .. } in lines {
        match event {
            Event::Posts { key, .. } => {
                sent.entry(*key).or_insert(Some(*t));
            }
            Event::Acked { key, .. } => {
                // Those that are sent again later do not count twice.
                if let Some(sent) = sent.get_mut(key).and_then(Option::take) {
                    acks.push(t - sent);
                    // Of a message that was kept before it was away, too: this says that it is back.
                    for (kind, over) in ended.drain(..) {
                        first.entry(kind).or_default().push(t - over);
                    }
                }
            }
            Event::Over { fault } if fault.is_of_redis() => ended.push((fault.name(), *t)),
            _ => {}
        }
    }
    let spread = |(kind, times)| (kind, Spread::of(times));
    (first.into_iter().map(spread).collect(), Spread::of(acks))
}
