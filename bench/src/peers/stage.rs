//! What one measurement of one peer needs: a Redis of its own, a ledger, a producer.

use std::{fs::OpenOptions, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::{
    ledger::Ledger,
    peer::Peer,
    program::{Group, Producer},
};
use crate::redis_side::RedisSide;

/// How long no job may run before a measurement has failed. apalis may wait for its next heartbeat.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after the last job the last acknowledgement may come.
const SETTLE: Duration = Duration::from_millis(300);

/// A peer's stage. Dropping it ends all that belongs to it.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    peer: Peer,
    folder: &'a Path,
    settings: Settings,
    pub(super) ledger: Ledger,
    pub(super) producer: Producer,
    pub(super) redis: RedisSide,
}

/// Which settings the worker has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Settings {
    /// The best for speed.
    Speed,
    /// Those that decide when a job runs again are as the package has them.
    Default,
}

impl<'a> Stage<'a> {
    /// An empty Redis and a producer that is connected to it.
    pub(super) async fn set(peer: Peer, folder: &'a Path, settings: Settings) -> Result<Self> {
        // Of our own, whatever else there may be: its settings are part of what is measured.
        let redis = RedisSide::start(None).await?;
        let ledger = Ledger::new()?;
        let mut command = peer.producer(folder);
        prepare(&mut command, &redis, &ledger, settings);
        command.stderr(log(folder, peer)?);
        let producer = Producer::start(&mut command)
            .await
            .with_context(|| format!("start the producer of {}", peer.name()))?;
        Ok(Self {
            peer,
            folder,
            settings,
            ledger,
            producer,
            redis,
        })
    }

    /// Starts one worker.
    pub(super) fn worker(&self) -> Result<Group> {
        let mut command = self.peer.worker(self.folder);
        prepare(&mut command, &self.redis, &self.ledger, self.settings);
        command.stdout(log(self.folder, self.peer)?);
        command.stderr(log(self.folder, self.peer)?);
        Group::start(&mut command)
    }

    /// Starts as many workers as the peer is measured with.
    pub(super) fn workers(&self) -> Result<Vec<Group>> {
        (0..self.peer.workers()).map(|_| self.worker()).collect()
    }

    /// Waits until so many jobs have run.
    pub(super) async fn reach(&mut self, jobs: u64) -> Result<()> {
        let reached = self.ledger.reach(jobs, PATIENCE).await;
        reached.with_context(|| {
            let log = log_path(self.folder, self.peer);
            format!("{}; see {}", self.peer.name(), log.display())
        })
    }

    /// Waits until so many jobs have run and are acknowledged.
    pub(super) async fn settled(&mut self, jobs: u64) -> Result<()> {
        self.reach(jobs).await?;
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// Stops the workers; then each of the jobs must have run once and no more.
    pub(super) async fn finish(mut self, workers: Vec<Group>, jobs: u64) -> Result<()> {
        for worker in workers {
            worker.stop().await?;
        }
        let (distinct, doubles) = (self.ledger.distinct(), self.ledger.doubles()?);
        ensure!(
            (distinct, doubles) == (jobs, 0),
            "WRONG COUNT: of {jobs} jobs of {}, {distinct} ran, and {doubles} times one ran again",
            self.peer.name()
        );
        Ok(())
    }
}

fn prepare(command: &mut Command, redis: &RedisSide, ledger: &Ledger, settings: Settings) {
    command.env("PEER_REDIS_URL", redis.url());
    command.env("PEER_LEDGER", ledger.path());
    let settings = match settings {
        Settings::Speed => "speed",
        Settings::Default => "default",
    };
    command.env("PEER_SETTINGS", settings);
    // As a worker of ours logs by default, but not the last words of each.
    command.env("RUST_LOG", "info,common::queue::consume=warn");
}

fn log_path(folder: &Path, peer: Peer) -> std::path::PathBuf {
    folder.join(format!("{}.log", peer.name()))
}

/// What its programs say.
fn log(folder: &Path, peer: Peer) -> Result<Stdio> {
    let path = log_path(folder, peer);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    Ok(file
        .with_context(|| format!("open {}", path.display()))?
        .into())
}
