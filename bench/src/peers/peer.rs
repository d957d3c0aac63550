//! Who is measured, and how its programs are started. `bench/peers` has the programs with their settings.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use tokio::process::Command;

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    /// Ours.
    Rhubarb,
    /// One process, 200 jobs at once.
    Bullmq,
    /// A pool of two processes, as most run it.
    Celery,
    /// Two workers without a pool, the fastest for jobs that do nothing.
    CelerySolo,
    /// Two processes of eight threads.
    Dramatiq,
    /// Batches of 500.
    Apalis,
}

impl Peer {
    /// Its name in figures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rhubarb => "rhubarb",
            Self::Bullmq => "bullmq",
            Self::Celery => "celery",
            Self::CelerySolo => "celery-solo",
            Self::Dramatiq => "dramatiq",
            Self::Apalis => "apalis",
        }
    }

    /// Its name for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Rhubarb => "Rhubarb",
            Self::Bullmq => "BullMQ",
            Self::Celery => "Celery, prefork",
            Self::CelerySolo => "Celery, solo × 2",
            Self::Dramatiq => "Dramatiq",
            Self::Apalis => "apalis",
        }
    }

    /// How many jobs may wait at once. apalis fetches all that wait by one `unpack` in its script, and its
    /// worker ends with an error somewhere between 7,500 and 9,000.
    pub(super) fn most_waiting(self) -> u64 {
        match self {
            Self::Apalis => 7_500,
            _ => 1_000_000,
        }
    }

    /// Whether its programs are there.
    pub(super) fn is_installed(self, folder: &Path) -> bool {
        let needed = match self {
            Self::Rhubarb => return true,
            Self::Bullmq => "bullmq/node_modules/bullmq",
            Self::Celery | Self::CelerySolo => "venv/bin/celery",
            Self::Dramatiq => "venv/bin/dramatiq",
            Self::Apalis => "apalis/release/peer-apalis",
        };
        folder.join(needed).exists()
    }

    /// How many worker processes are started; each may start more.
    pub(super) fn workers(self) -> usize {
        if self == Self::CelerySolo { 2 } else { 1 }
    }

    /// A worker.
    pub(super) fn worker(self, folder: &Path) -> Command {
        let celery = |pool: &[&str]| {
            let mut command = python(folder, "celery");
            command.args([
                "--app",
                "celery_app",
                "--quiet",
                "worker",
                "--loglevel",
                "WARNING",
            ]);
            command.args([
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ]);
            // Each node by a name of its own.
            command.args(["--hostname", &common::testing::unique("node-")]);
            command.args(pool);
            command
        };
        match self {
            Self::Rhubarb => own("peer-worker"),
            Self::Bullmq => node(folder, "worker.js"),
            Self::Celery => celery(&["--pool", "prefork", "--concurrency", "2"]),
            Self::CelerySolo => celery(&["--pool", "solo"]),
            Self::Dramatiq => {
                let mut command = python(folder, "dramatiq");
                command.args(["dramatiq_app", "--processes", "2", "--threads", "8"]);
                command
            }
            Self::Apalis => apalis(folder, "worker"),
        }
    }

    /// A producer.
    pub(super) fn producer(self, folder: &Path) -> Command {
        let script = |name: &str| {
            let mut command = python(folder, "python");
            command.arg(name);
            command
        };
        match self {
            Self::Rhubarb => own("peer-producer"),
            Self::Bullmq => node(folder, "producer.js"),
            Self::Celery | Self::CelerySolo => script("celery_producer.py"),
            Self::Dramatiq => script("dramatiq_producer.py"),
            Self::Apalis => apalis(folder, "producer"),
        }
    }
}

/// This program, as something else.
fn own(what: &str) -> Command {
    // A program that cannot find itself will not be found when it is started, either.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bench"));
    let mut command = Command::new(program);
    command.arg(what);
    command
}

fn node(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(folder.join("bullmq").join(script));
    command.env("NODE_ENV", "production");
    command
}

/// A program of the virtual environment, run where our modules are.
fn python(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(folder.join("venv/bin").join(program));
    let modules = folder.join("python");
    command.env("PYTHONPATH", &modules).current_dir(modules);
    // What the user has installed elsewhere is not measured.
    command.env("PYTHONNOUSERSITE", "1");
    command
}

fn apalis(folder: &Path, what: &str) -> Command {
    let mut command = Command::new(folder.join("apalis/release/peer-apalis"));
    command.arg(what);
    command
}
