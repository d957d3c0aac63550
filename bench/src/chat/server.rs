//! The processes of the chat as a measurement starts them: the same binaries as everywhere.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is measured. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// How to start the binary `program`, which lies beside this one.
    pub(super) fn beside(program: &str) -> Result<Command> {
        let path = std::env::current_exe()
            .context("find this program")?
            .with_file_name(program);
        ensure!(
            path.exists(),
            "{} is not built: run bin/bench, or `cargo build --release` first",
            path.display()
        );
        Ok(Command::new(path))
    }

    /// Starts a process, with its output in `folder`.
    pub(super) fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{}.log", common::testing::unique("process-")));
        let output = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let name = format!("{:?}", command.as_std());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Its number.
    pub(super) fn pid(&self) -> Result<u32> {
        self.child
            .id()
            .with_context(|| format!("{} has ended", self.name))
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?);
        kill(pid, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Waits until it has ended.
    pub(super) async fn ended(mut self) -> Result<ExitStatus> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended
            .with_context(|| format!("{} does not end", self.name))?
            .context("await a process")
    }

    /// Fails, with its last words, if it has ended.
    pub(super) fn expect_alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("look after a process")? else {
            return Ok(());
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        bail!("{} ended with {status}:\n{last}", self.name)
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Waits until the server on `port` says that it is ready.
pub(super) async fn await_ready(process: &mut Process, port: u16) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = ready_status(port).await.unwrap_or_default();
        if status.starts_with("HTTP/1.1 200") {
            return Ok(());
        }
        process.expect_alive()?;
        ensure!(
            Instant::now() < deadline,
            "{} was not ready within {PATIENCE:?}: {status}",
            process.name
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first line of the answer to `GET /health/ready`.
async fn ready_status(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = "GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await??;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
