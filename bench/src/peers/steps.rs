//! The measurements, each on a stage of its own.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    ledger::Record,
    peer::Peer,
    program::Group,
    stage::{Settings, Stage},
};
use crate::{
    figure::Figures,
    machine::{now_ns, precise_sleeps, sleep_until_ns},
    number::{count, float, per_second, whole},
};

/// Jobs with which a worker gets warm.
const WARM: u64 = 100;
/// Jobs of the shortest drain.
const FEWEST: u64 = 1_000;
/// Jobs an order, when they are enqueued one by one.
const SLICE: u64 = 500;
/// A light load, in jobs a second.
const LIGHT: u64 = 200;

/// The measurements of a run, in their order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Single,
    BulkAndDrain,
    Both,
    Pickup,
}

impl Step {
    pub(super) const ALL: [Self; 4] = [Self::Single, Self::BulkAndDrain, Self::Both, Self::Pickup];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "enqueue one by one",
            Self::BulkAndDrain => "enqueue in bulk, then drain",
            Self::Both => "both at once",
            Self::Pickup => "pickup",
        })
    }
}

/// Measures peers.
#[derive(Debug)]
pub(super) struct Bench {
    /// Where they are installed.
    pub(super) folder: PathBuf,
    /// About how long a measurement takes.
    pub(super) seconds: f64,
}

impl Bench {
    /// How many jobs a worker runs in the time of a measurement.
    pub(super) async fn jobs_that_last(&self, peer: Peer) -> Result<u64> {
        let most = peer.most_waiting();
        let mut jobs = FEWEST;
        loop {
            let mut stage = self.stage(peer).await?;
            stage.producer.bulk(0, jobs).await?;
            let workers = stage.workers()?;
            stage.reach(jobs).await?;
            let rate = rate(&stage.ledger.of(0..jobs))?;
            stage.finish(workers, jobs).await?;
            // A drain of a few ms tells little.
            let last = whole(rate * self.seconds).clamp(FEWEST, most);
            if last <= jobs * 10 {
                return Ok(last);
            }
            jobs *= 10;
        }
    }

    /// Enqueues one job after another, each awaited.
    pub(super) async fn single(&self, peer: Peer, figures: &mut Figures) -> Result<()> {
        let mut stage = self.stage(peer).await?;
        stage.producer.single(0, WARM).await?;
        let before = stage.redis.account().await?;
        let (begun, mut next) = (Instant::now(), WARM);
        while begun.elapsed().as_secs_f64() < self.seconds {
            stage.producer.single(next, next + SLICE).await?;
            next += SLICE;
        }
        let time = begun.elapsed();
        let after = stage.redis.account().await?;

        let jobs = next - WARM;
        let mut add = |name: &str, unit, value| figures.add(named(peer, name), unit, value);
        add("enqueue_single", "jobs/s", per_second(jobs, time));
        add(
            "enqueue_single.redis_cpu",
            "µs/job",
            micros_each(after.cpu_since(&before), jobs),
        );
        Ok(())
    }

    /// Enqueues many, then starts the workers: from the first execution to the last.
    pub(super) async fn bulk_and_drain(
        &self,
        peer: Peer,
        jobs: u64,
        figures: &mut Figures,
    ) -> Result<()> {
        let mut stage = self.stage(peer).await?;
        let (before, begun) = (stage.redis.account().await?, Instant::now());
        stage.producer.bulk(0, jobs).await?;
        let time = begun.elapsed();
        let filled = stage.redis.account().await?;

        let workers = stage.workers()?;
        // What a worker uses to start is not part of what a job costs.
        stage.reach(1).await?;
        let (cpu_before, already) = (cpu(&workers)?, stage.ledger.distinct());
        stage.settled(jobs).await?;
        let cpu_after = cpu(&workers)?;
        let drained = stage.redis.account().await?;
        let rate = rate(&stage.ledger.of(0..jobs))?;
        stage.finish(workers, jobs).await?;

        let mut add = |name: &str, unit, value| figures.add(named(peer, name), unit, value);
        let unit = "µs/job";
        add("enqueue_bulk", "jobs/s", per_second(jobs, time));
        add(
            "enqueue_bulk.redis_cpu",
            unit,
            micros_each(filled.cpu_since(&before), jobs),
        );
        add(
            "memory_per_waiting_job",
            "bytes",
            filled.memory_each(&before, jobs),
        );
        add("drain", "jobs/s", rate);
        add("drain.jobs", "jobs", float(jobs));
        add(
            "drain.redis_cpu",
            unit,
            micros_each(drained.cpu_since(&filled), jobs),
        );
        let worker_cpu = cpu_after.saturating_sub(cpu_before);
        add(
            "drain.worker_cpu",
            unit,
            micros_each(worker_cpu, jobs - already),
        );
        add(
            "drain.commands",
            "per job",
            drained.commands_each(&filled, jobs),
        );
        Ok(())
    }

    /// Enqueues many beside warm workers: from the first execution to the last.
    pub(super) async fn both(&self, peer: Peer, jobs: u64, figures: &mut Figures) -> Result<()> {
        let mut stage = self.stage(peer).await?;
        let workers = warm(&mut stage).await?;
        let all = WARM + jobs;
        stage.producer.bulk(WARM, all).await?;
        stage.settled(all).await?;
        let rate = rate(&stage.ledger.of(WARM..all))?;
        stage.finish(workers, all).await?;

        figures.add(named(peer, "both_at_once"), "jobs/s", rate);
        Ok(())
    }

    /// Looks at warm workers without jobs; then gives them jobs at a light load, at fixed times: from
    /// just before the call that enqueues to the job's first line.
    pub(super) async fn pickup(&self, peer: Peer, figures: &mut Figures) -> Result<()> {
        let mut stage = self.stage(peer).await?;
        let workers = warm(&mut stage).await?;
        idle(peer, &stage, &workers, figures).await?;

        let all = WARM + whole(float(LIGHT) * self.seconds.max(2.0) * 5.0 / 3.0);
        precise_sleeps();
        let start = now_ns() + 10_000_000;
        for id in WARM..all {
            sleep_until_ns(start + (id - WARM) * 1_000_000_000 / LIGHT);
            stage.producer.single(id, id + 1).await?;
        }
        stage.settled(all).await?;
        let mut waits: Vec<_> = stage.ledger.of(WARM..all).iter().map(wait_ms).collect();
        stage.finish(workers, all).await?;

        waits.sort_by(f64::total_cmp);
        let at = |percent: usize| waits[(waits.len() * percent / 100).min(waits.len() - 1)];
        for (name, wait) in [("p50", at(50)), ("p99", at(99)), ("max", at(100))] {
            figures.add(named(peer, &format!("pickup.{name}")), "ms", wait);
        }
        Ok(())
    }

    async fn stage(&self, peer: Peer) -> Result<Stage<'_>> {
        Stage::set(peer, &self.folder, Settings::Speed).await
    }
}

/// Workers that have run some jobs and wait for more.
async fn warm(stage: &mut Stage<'_>) -> Result<Vec<Group>> {
    let workers = stage.workers()?;
    stage.producer.bulk(0, WARM).await?;
    stage.reach(WARM).await?;
    // The second of two may have started later and had none.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    Ok(workers)
}

/// How long idle workers are looked at.
const IDLE: Duration = Duration::from_secs(8);

/// What workers cost that have nothing to do.
async fn idle(
    peer: Peer,
    stage: &Stage<'_>,
    workers: &[Group],
    figures: &mut Figures,
) -> Result<()> {
    let (sent, inside) = stage.redis.commands_within(IDLE).await?;
    let unit = "per second";
    let inside = per_second(inside, IDLE);
    figures.add(named(peer, "idle.commands"), unit, per_second(sent, IDLE));
    figures.add(named(peer, "idle.commands_in_scripts"), unit, inside);
    let mib = |sizes: Result<Vec<u64>>| sizes.map(|all| float(all.iter().sum()) / float(1 << 20));
    let resident = mib(workers.iter().map(Group::resident).collect())?;
    figures.add(named(peer, "idle.rss"), "MiB", resident);
    let proportional = mib(workers.iter().map(Group::proportional).collect())?;
    figures.add(named(peer, "idle.pss"), "MiB", proportional);
    Ok(())
}

fn cpu(workers: &[Group]) -> Result<Duration> {
    workers.iter().map(Group::cpu).sum()
}

/// Executions a second from the first to the last.
fn rate(records: &[Record]) -> Result<f64> {
    let times = || records.iter().map(|record| record.ran);
    let time = times().fold(0.0, f64::max) - times().fold(f64::INFINITY, f64::min);
    ensure!(time > 0.0, "too few jobs to measure a rate");
    Ok(float(count(records.len())) / time * 1e6)
}

fn wait_ms(record: &Record) -> f64 {
    (record.ran - record.sent) / 1e3
}

fn micros_each(time: Duration, jobs: u64) -> f64 {
    time.as_secs_f64() * 1e6 / float(jobs.max(1))
}

/// A figure of a peer.
fn named(peer: Peer, figure: &str) -> String {
    format!("{}.{figure}", peer.name())
}
