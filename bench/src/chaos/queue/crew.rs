//! The crew: the processes of a run, and how long they are at it.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use tokio::{process::Command, time::Instant};

use super::{
    Options,
    event::Event,
    faults::{Extent, schedule},
    storm::Storm,
};
use crate::{
    chaos::ledger::{Role, Who},
    number::float,
};

/// After a process has ended, before its place is taken again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a run may take longer than planned until its faults have struck and its jobs are there.
const OVERTIME: Duration = Duration::from_secs(90);
/// What workers' clocks are wrong by, in turn; the others' are right.
const SKEWS: [&str; 2] = ["+7m", "-5m"];

/// Those who take part.
pub(super) struct Crew<'a> {
    pub(super) storm: &'a Storm,
    pub(super) options: &'a Options,
    pub(super) seed: u64,
    pub(super) folder: &'a Path,
}

impl Crew<'_> {
    /// Starts a process in each place.
    pub(super) fn start(&self) {
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
    pub(super) async fn endure(&self, seed: u64, extent: &Extent) -> Result<()> {
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
        jobs + jobs / 50 + 20
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
