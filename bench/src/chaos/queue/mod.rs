//! The suite for the queue: `bench chaos queue`.
//!
//! Producers and workers ([`worker`]) do what a plan says ([`plan`], [`task`]); a storm ([`storm`]) that
//! was drawn from the seed ([`faults`]) kills them at named points ([`point`], [`traffic`], [`watcher`]),
//! and does to Redis and the network what happens to them. When it is over, what is left is worked off
//! ([`finish`]), the ledger is put together ([`event`], [`history`]), and everything is held against the
//! plan ([`check`], [`cause`]). [`recovery`] tells how soon things went on, [`report`] shows it all.

mod cause;
mod check;
#[cfg(test)]
mod check_test;
mod event;
mod faults;
mod finish;
mod history;
mod plan;
mod point;
mod recovery;
mod report;
mod storm;
mod task;
mod traffic;
mod watcher;
mod worker;

use std::{
    collections::HashMap,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::{process::Command, time::Instant};

use self::{
    check::{Counts, Wrong, check},
    event::Event,
    faults::{Extent, schedule},
    history::History,
    plan::Plan,
    point::Point,
    recovery::Recovery,
    report::Summary,
    storm::Storm,
    watcher::Watcher,
};
use super::{
    ledger::{self, Ledger, Role, Who},
    process::Slot,
    proxy::Proxy,
    target::Target,
};
use crate::number::{float, length};

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

    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// After a process has ended, before its place is taken again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a run may take longer than planned until its faults have struck and its jobs are there.
const OVERTIME: Duration = Duration::from_secs(90);
/// What is promised of a killed worker's jobs, in seconds.
const PROMISED_ELSEWHERE: f64 = 10.0;
/// What is promised after an outage, in seconds.
const PROMISED_BACK: f64 = 2.0;
/// What workers' clocks are wrong by, in turn; the others' are right.
const SKEWS: [&str; 2] = ["+7m", "-5m"];

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
    // Short, so that it can be read out; any number will do.
    let drawn = || u64::from(std::process::id()) ^ crate::machine::now_ns() % 1_000_000_007;
    let seed = options.seed.unwrap_or_else(drawn);
    eprintln!("seed {seed}; again: {}", options.command(seed));
    let folder = std::env::temp_dir().join(common::testing::unique("rhubarb-chaos-"));
    std::fs::create_dir_all(&folder).context("make a folder for the ledger")?;

    let outcome = attempt(options, seed, &folder).await;
    if outcome.is_ok() {
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        eprintln!("the ledger and the logs are in {}", folder.display());
        eprintln!("again: {}", options.command(seed));
    }
    outcome
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
    let recovery = Recovery::of(&history);
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
            .any(|(_, hit, act)| *hit == at && *act == point::Act::Kill)
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

/// Those who take part.
struct Crew<'a> {
    storm: &'a Storm,
    options: &'a Options,
    seed: u64,
    folder: &'a Path,
}

impl Crew<'_> {
    /// Starts a process in each place.
    fn start(&self) {
        for slot in &self.storm.slots {
            let who = slot.who();
            let url = self.storm.proxies[&(who.role, who.slot)].url();
            let command = self.command(url);
            let watcher = Arc::clone(&self.storm.watcher);
            let ended = move |who: Who, pid: u32, status: ExitStatus| {
                let (signal, code) = (status.signal(), status.code());
                watcher.note(who, &Event::Exited { signal, code });
                forget_clock(pid);
            };
            let slot = Arc::clone(slot);
            tokio::spawn(async move {
                if let Err(error) = slot.fill(command, ended, PAUSE).await {
                    eprintln!("a place stays empty: {error:#}");
                }
            });
        }
    }

    /// How to start a process that reaches Redis at `url`.
    fn command(&self, url: String) -> impl Fn(Who) -> Command + Send + 'static {
        let program = std::env::current_exe().unwrap_or_else(|_| "bench".into());
        let Extent {
            time, producers, ..
        } = self.options.extent();
        // Done with when three quarters of the faults have struck, so that there are jobs to the end.
        let rate = float(self.options.jobs()) / time.as_secs_f64() * 1.2 / f64::from(producers);
        let (seed, folder) = (self.seed.to_string(), self.folder.to_owned());
        let namespace = self.storm.redis.namespace.clone();
        let library = clock_library();
        move |who| {
            let mut command = Command::new(&program);
            let kind = if who.role == Role::Worker {
                "chaos-worker"
            } else {
                "chaos-producer"
            };
            command
                .args([
                    kind,
                    "--who",
                    &who.to_string(),
                    "--seed",
                    &seed,
                    "--redis-url",
                    &url,
                ])
                .args(["--namespace", &namespace, "--rate", &rate.to_string()])
                .arg("--ledger")
                .arg(&folder)
                .env("RUST_LOG", "warn,common::queue::run=off");
            let log = folder.join(format!("{who}.log"));
            if let Ok(log) = std::fs::File::create(log) {
                command.stderr(log);
            }
            let skew = SKEWS
                .get(usize::from(who.slot))
                .filter(|_| who.role == Role::Worker);
            if let (Some(skew), Some(library)) = (skew, &library) {
                command
                    .env("LD_PRELOAD", library)
                    .env("FAKETIME", skew)
                    // Only the wall clock: timers of any program go by the monotonic one.
                    .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            }
            command
        }
    }

    /// Lets the storm rage until all faults have struck and enough jobs were accepted.
    async fn endure(&self, seed: u64, extent: &Extent) -> Result<()> {
        let storm = self.storm;
        let steps = schedule(seed, extent);
        let (start, total) = (Instant::now(), steps.len());
        let progress = |at: usize, _| {
            if at.is_multiple_of((total / 20).max(1)) {
                let (time, jobs) = (start.elapsed().as_secs(), storm.watcher.accepted());
                eprintln!("{time:>4} s  {at} of {total} faults, {jobs} jobs accepted");
            }
        };
        storm.rage(&steps, progress).await?;
        let deadline = start + extent.time + OVERTIME;
        while storm.watcher.ambush.len() > 0 || storm.watcher.accepted() < self.enough() {
            if Instant::now() > deadline {
                break; // what is missing is said by the checks
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        storm.watcher.ambush.lift();
        storm.watcher.note(Who::DRIVER, &Event::Peace);
        let producers = storm
            .slots
            .iter()
            .filter(|slot| slot.who().role == Role::Producer);
        producers.for_each(|slot| slot.close());
        while storm
            .slots
            .iter()
            .any(|slot| slot.who().role == Role::Producer && slot.is_busy())
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Redis may have taken some whose producer never heard of it: these are not counted in the end.
    fn enough(&self) -> u64 {
        let jobs = self.options.jobs();
        jobs + jobs / 50 + length(20) as u64
    }
}

/// The library that shows a process another time than it is, if it is installed (Debian: libfaketime).
fn clock_library() -> Option<PathBuf> {
    let folders = ["/usr/lib", "/usr/local/lib"]
        .into_iter()
        .map(PathBuf::from);
    let below = |folder: PathBuf| {
        let parts = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut all: Vec<_> = parts.map(|part| part.path()).collect();
        all.push(folder);
        all
    };
    folders
        .flat_map(below)
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
}

/// Removes what that library leaves behind of a process that was killed.
fn forget_clock(pid: u32) {
    for name in [
        format!("faketime_shm_{pid}"),
        format!("sem.faketime_sem_{pid}"),
    ] {
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
    }
}
