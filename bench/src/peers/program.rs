//! A peer's programs as processes: the worker with all that it starts, the producer with its orders.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::machine::{cpu_time, resident_memory};

/// Longer than any order takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a program may take to end in order.
const FAREWELL: Duration = Duration::from_secs(15);

/// A worker and the processes that it has started: a process group. Dropping it kills them all.
#[derive(Debug)]
pub(super) struct Group {
    leader: Child,
    group: Pid,
}

impl Drop for Group {
    fn drop(&mut self) {
        // Where it fails, there is nobody left.
        let _ = killpg(self.group, Signal::SIGKILL);
    }
}

impl Group {
    /// Starts one.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let leader = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", command.as_std().get_program().display()))?;
        let pid = leader.id().context("the worker ended at once")?;
        Ok(Self {
            leader,
            group: Pid::from_raw(i32::try_from(pid)?),
        })
    }

    /// Its processes.
    fn members(&self) -> Result<Vec<u32>> {
        let mut members = Vec::new();
        for entry in std::fs::read_dir("/proc").context("list the processes")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // One that has ended meanwhile is no member.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The program's name, in parentheses, may hold anything; then: state, parent, group.
            let group = stat
                .rsplit_once(") ")
                .and_then(|(_, fields)| fields.split(' ').nth(2)?.parse::<i32>().ok());
            if group == Some(self.group.as_raw()) {
                members.push(pid);
            }
        }
        ensure!(!members.is_empty(), "the worker has ended");
        Ok(members)
    }

    /// CPU time of all.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.members()?.into_iter().map(cpu_time).sum()
    }

    /// Memory of all in RAM, what they share counted for each.
    pub(super) fn resident(&self) -> Result<u64> {
        self.members()?.into_iter().map(resident_memory).sum()
    }

    /// Memory of all in RAM, what they share counted once.
    pub(super) fn proportional(&self) -> Result<u64> {
        let each = |pid: u32| {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            let kib = text
                .lines()
                .find_map(|line| line.strip_prefix("Pss:"))
                .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            Ok(1024 * kib.with_context(|| format!("{path} has no Pss"))?)
        };
        self.members()?.into_iter().map(each).sum()
    }

    /// Asks it to stop, and kills what is left after a while.
    pub(super) async fn stop(mut self) -> Result<()> {
        kill(self.group, Signal::SIGTERM).context("stop the worker")?;
        if let Ok(ended) = timeout(FAREWELL, self.leader.wait()).await {
            ended.context("wait for the worker")?;
        }
        Ok(())
    }

    /// Kills all of them at once, as a machine that loses its power would.
    pub(super) async fn kill(mut self) -> Result<()> {
        killpg(self.group, Signal::SIGKILL).context("kill the worker")?;
        self.leader.wait().await.context("wait for the worker")?;
        Ok(())
    }
}

/// A producer. The end of its input ends it.
#[derive(Debug)]
pub(super) struct Producer {
    _process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Producer {
    /// Starts one and waits until it is ready.
    pub(super) async fn start(command: &mut Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", command.as_std().get_program().display()))?;
        let orders = process.stdin.take().context("a producer without input")?;
        let answers = process.stdout.take().context("a producer without output")?;
        let mut producer = Self {
            _process: process,
            orders,
            answers: BufReader::new(answers).lines(),
        };
        producer.order("ready").await?;
        Ok(producer)
    }

    /// Gives it an order and waits until it is done.
    pub(super) async fn order(&mut self, order: &str) -> Result<()> {
        self.orders
            .write_all(format!("{order}\n").as_bytes())
            .await
            .context("give the producer an order")?;
        let answer = timeout(PATIENCE, self.answers.next_line())
            .await
            .with_context(|| format!("the producer did not `{order}` within {PATIENCE:?}"))?
            .context("read the producer's answer")?;
        ensure!(
            answer.as_deref() == Some("ok"),
            "the producer answered {answer:?} to `{order}`"
        );
        Ok(())
    }

    /// Enqueues jobs one after another, each awaited.
    pub(super) async fn single(&mut self, from: u64, to: u64) -> Result<()> {
        self.order(&format!("single {from} {to}")).await
    }

    /// Enqueues jobs as fast as it can.
    pub(super) async fn bulk(&mut self, from: u64, to: u64) -> Result<()> {
        self.order(&format!("bulk {from} {to}")).await
    }
}
