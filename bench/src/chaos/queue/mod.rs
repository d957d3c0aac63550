//! The suite for the queue: `bench chaos queue`.
//!
//! Producers and workers ([`crew`], [`worker`]) do what a plan says ([`plan`], [`task`]). A storm
//! ([`storm`]) that was drawn from the seed ([`faults`]) kills them at named points ([`point`],
//! [`watcher`]; [`traffic`] and [`lease`] know the queue's scripts), and does to Redis and the network what
//! happens to them. When it is over, what is left is worked off ([`finish`]), the ledger is put together
//! ([`event`], [`history`]), and everything is held against the plan ([`mod@check`], [`cause`], [`wrong`]).
//! [`recovery`] tells how soon things went on, [`report`] shows it all.

mod cause;
mod check;
#[cfg(test)]
mod check_test;
mod crew;
mod event;
mod faults;
mod finish;
mod history;
mod lease;
mod plan;
mod point;
mod recovery;
mod report;
mod storm;
mod task;
mod traffic;
mod watcher;
mod worker;
mod wrong;

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::Instant;

use self::{
    check::check,
    crew::Crew,
    event::Event,
    faults::Extent,
    history::History,
    plan::Plan,
    point::Point,
    recovery::Recovery,
    report::Summary,
    storm::Storm,
    watcher::Watcher,
    wrong::{Counts, Wrong},
};
use super::{
    ledger::{self, Ledger, Role, Who},
    process::Slot,
    proxy::Proxy,
    target::Target,
};
pub(crate) use worker::{ProcessOptions, be_producer, be_worker};

/// How much is to happen.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Jobs that producers enqueue; children of groups come on top [default: 100000; 6000 with --short]
    #[arg(long, value_name = "N")]
    jobs: Option<u64>,

    /// Processes killed, at least [default: 200; 24 with --short]
    #[arg(long, value_name = "N")]
    kills: Option<u32>,

    /// How long things go wrong, about [default: 480; 35 with --short]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,

    /// Worker processes at once
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=64))]
    workers: u16,

    /// Producer processes at once
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    producers: u16,

    /// What determines jobs and faults, to have the same again [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// About a minute in all
    #[arg(long)]
    short: bool,

    /// Keep the ledger and the logs, also if all is well
    #[arg(long)]
    keep: bool,

    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// What is promised of a killed worker's jobs, in seconds.
const PROMISED_ELSEWHERE: f64 = 10.0;
/// What is promised after an outage, in seconds.
const PROMISED_BACK: f64 = 2.0;
impl Options {
    fn jobs(&self) -> u64 {
        self.jobs
            .unwrap_or(if self.short { 6_000 } else { 100_000 })
    }

    fn extent(&self) -> Extent {
        Extent {
            kills: self.kills.unwrap_or(if self.short { 24 } else { 200 }),
            time: Duration::from_secs(self.seconds.unwrap_or(if self.short { 35 } else { 480 })),
            workers: self.workers,
            producers: self.producers,
        }
    }

    fn command(&self, seed: u64) -> String {
        let Extent {
            kills,
            time,
            workers,
            producers,
        } = self.extent();
        let short = if self.short { " --short" } else { "" };
        format!(
            "bench chaos queue{short} --jobs {} --kills {kills} --seconds {} --workers {workers} --producers {producers} --seed {seed}",
            self.jobs(),
            time.as_secs()
        )
    }
}

/// Runs the suite; fails if anything is wrong.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let command = |seed| options.command(seed);
    let suite = async |seed, folder: &Path| attempt(options, seed, folder).await;
    super::attempt::attempt(options.seed, options.keep, "ledger", command, suite).await
}

async fn attempt(options: &Options, seed: u64, folder: &Path) -> Result<()> {
    let start = Instant::now();
    let plan = Plan { seed };
    let extent = options.extent();
    let redis = Target::start().await?;
    let slots: Vec<_> = (0..extent.workers)
        .map(|n| Slot::new(Role::Worker, n))
        .chain((0..extent.producers).map(|n| Slot::new(Role::Producer, n)))
        .map(Arc::new)
        .collect();
    let watcher = Arc::new(Watcher::new(Ledger::open(folder, Who::DRIVER)?, &slots));
    let mut proxies = HashMap::new();
    for slot in &slots {
        let (who, place) = (slot.who(), Arc::clone(slot));
        let proxy = Proxy::start(redis.port, move || place.who(), Arc::clone(&watcher)).await?;
        proxies.insert((who.role, who.slot), proxy);
    }
    let storm = Storm {
        redis,
        slots,
        proxies: Arc::new(proxies),
        watcher,
        outage: Arc::default(),
    };
    let crew = Crew {
        storm: &storm,
        options,
        seed,
        folder,
    };
    crew.start();

    crew.endure(plan.seed, &extent).await?;
    eprintln!(
        "{:>4} s  no more faults; what is left is worked off",
        start.elapsed().as_secs()
    );
    let remains = finish::finish(&storm, plan).await?;
    storm.watcher.note(Who::DRIVER, &Event::Drained);

    let lines = tokio::task::block_in_place(|| ledger::read::<Event>(folder))?;
    let history = History::of(&lines);
    let (mut wrong, counts) = check(plan, &history, &remains);
    let recovery = Recovery::of(&history, &remains);
    wrong.extend(demand(options, &history, &counts, &recovery));
    let summary = Summary::of(seed, start.elapsed(), &history, (&wrong, &counts), recovery);
    let few = summary.kills() < u64::from(extent.kills);
    summary.print(options.json);
    if few {
        bail!(
            "{} processes were killed, not {}",
            summary.kills(),
            extent.kills
        );
    }
    if !wrong.is_empty() {
        bail!("{} things are wrong; the first: {}", wrong.len(), wrong[0]);
    }
    Ok(())
}

/// What was asked of the run itself: enough jobs, each point hit, and what is promised of recovery. A
/// short run, on a machine that has other things to do, is not held to the latter.
fn demand(
    options: &Options,
    history: &History,
    counts: &Counts,
    recovery: &Recovery,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if counts.accepted < options.jobs() {
        wrong.push(Wrong::Short(format!(
            "{} jobs were accepted, not {}",
            counts.accepted,
            options.jobs()
        )));
    }
    if options.short {
        return wrong;
    }
    for at in Point::ALL {
        if !history
            .hits
            .iter()
            .any(|(.., hit, act)| *hit == at && *act == point::Act::Kill)
        {
            wrong.push(Wrong::Short(format!(
                "nobody was killed at `{}`",
                at.name()
            )));
        }
    }
    let elsewhere = &recovery.held_by_killed;
    if elsewhere.p99 > PROMISED_ELSEWHERE {
        wrong.push(Wrong::Slow(format!(
            "jobs of a killed worker waited {} s (p99)",
            elsewhere.p99
        )));
    }
    for (kind, first) in &recovery.first_job {
        if first.max > PROMISED_BACK {
            wrong.push(Wrong::Slow(format!(
                "{kind}: the first job came after {} s",
                first.max
            )));
        }
    }
    wrong
}
