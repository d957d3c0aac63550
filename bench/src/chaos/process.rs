//! Processes under test, each in a place where the next one begins when the last one has ended, as a
//! supervisor would have it.

use std::{
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, Command},
    sync::{mpsc, watch},
};

use super::ledger::{Role, Who};

/// A place for one process at a time.
#[derive(Debug)]
pub(crate) struct Slot {
    role: Role,
    number: u16,
    life: AtomicU32,
    running: Mutex<Option<Pid>>,
    orders: mpsc::UnboundedSender<String>,
    next_orders: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    stop: watch::Sender<bool>,
}

impl Slot {
    /// An empty place.
    pub(crate) fn new(role: Role, number: u16) -> Self {
        let (orders, next_orders) = mpsc::unbounded_channel();
        Self {
            role,
            number,
            life: AtomicU32::new(0),
            running: Mutex::new(None),
            orders,
            next_orders: tokio::sync::Mutex::new(next_orders),
            stop: watch::Sender::new(false),
        }
    }

    /// The process that runs in it, or ran in it last.
    pub(crate) fn who(&self) -> Who {
        Who {
            role: self.role,
            slot: self.number,
            life: self.life.load(Ordering::Relaxed),
        }
    }

    /// Whether a process runs in it.
    pub(crate) fn is_busy(&self) -> bool {
        self.running().is_some()
    }

    /// Sends a signal to the process, if it still is `who`; `before` is called first. Returns whether it
    /// was sent.
    pub(crate) fn signal(&self, who: Who, signal: Signal, before: impl FnOnce()) -> bool {
        // The lock keeps the process from being buried meanwhile, and its number from another's use.
        let running = self.running();
        let Some(pid) = *running else { return false };
        if self.who() != who {
            return false;
        }
        before();
        kill(pid, signal).is_ok()
    }

    /// Writes a line to the process's input.
    pub(crate) fn order(&self, line: String) {
        // The receiver lives as long as we do.
        let _ = self.orders.send(line);
    }

    /// No process is started any more; the one that runs has its input ended.
    pub(crate) fn close(&self) {
        self.stop.send_replace(true);
    }

    /// Starts one process after the other until [`Self::close`]. `command` says what to start, `ended`
    /// hears of each end, `pause` is between two lives.
    pub(crate) async fn fill(
        self: Arc<Self>,
        command: impl Fn(Who) -> Command,
        ended: impl Fn(Who, u32, ExitStatus),
        pause: Duration,
    ) -> Result<()> {
        let mut stop = self.stop.subscribe();
        while !*stop.borrow() {
            let who = {
                let mut running = self.running();
                self.life.fetch_add(1, Ordering::Relaxed);
                let who = self.who();
                let child = command(who)
                    .stdin(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()
                    .with_context(|| format!("start {who}"))?;
                *running = child
                    .id()
                    .and_then(|pid| i32::try_from(pid).ok())
                    .map(Pid::from_raw);
                (who, child)
            };
            let (who, mut child) = who;
            let pid = child.id().unwrap_or(0);
            let mut input = child.stdin.take();
            let mut orders = self.next_orders.lock().await;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status?,
                    Some(line) = orders.recv() => write(&mut input, &line).await,
                    _ = stop.changed() => {
                        input = None;
                        break child.wait().await?;
                    }
                }
            };
            *self.running() = None;
            // Orders that came too late are not for the next one.
            while orders.try_recv().is_ok() {}
            drop(orders);
            ended(who, pid, status);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {}
            }
        }
        Ok(())
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Pid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that has just ended does not read; then there is nothing to say.
async fn write(input: &mut Option<ChildStdin>, line: &str) {
    if let Some(input) = input {
        let _ = input.write_all(format!("{line}\n").as_bytes()).await;
    }
}
