//! The heartbeat: a thread of its own, so that a busy runtime cannot make a live worker look dead. It also
//! tells which jobs keep the runtime busy ([`super::watch`]).
//! When it ends, [`super::care`] of any other worker gives back what this one held.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{
    JobId, Queue, Registry, bell::Bell, enqueue::millis, inspect::status::WorkerInfo,
    pause::known_queues, tail::Tail, turn::Lease, watch::Watchdog,
};
use crate::{
    error::Chain,
    id::BootId,
    kv::{Keys, KvError, Redis, Script},
    shutdown::Shutdown,
};

static BEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "show that this worker lives",
        &[super::LIB, super::CANCELS, include_str!("lua/beat.lua")],
    )
});
static RETIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "take this worker off the list",
        &[super::LIB, super::CANCELS, include_str!("lua/retire.lua")],
    )
});

/// A worker's sign of life, until it is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat {
    stop: Arc<AtomicBool>,
    /// Whether a last beat takes along what is counted.
    in_order: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    news: watch::Receiver<News>,
}

/// What a heartbeat brings back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    /// How many jobs Redis says the worker holds.
    pub(super) held: usize,
    /// Queues from which no worker takes.
    pub(super) paused: Vec<Queue>,
    /// How many beats succeeded after one that failed: Redis was away so often.
    pub(super) returns: u64,
    /// Which claims are to be cancelled. A claim stays here until it has ended.
    pub(super) cancels: Vec<(String, String)>,
}

impl News {
    /// Whether a claim is to be cancelled.
    pub(super) fn cancels(&self, job: JobId, lease: &Lease) -> bool {
        // Nearly always there is none, and no text is made.
        !self.cancels.is_empty() && {
            let job = job.to_string();
            self.cancels
                .iter()
                .any(|(id, held)| *id == job && lease.is(held))
        }
    }
}

/// Who beats, and how often.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    pub(super) keys: Keys,
    pub(super) worker: BootId,
    pub(super) every: Duration,
    pub(super) time_to_live: Duration,
    /// What to tell of the worker.
    pub(super) info: WorkerInfo,
    /// Whether it is asked to stop, which is told, too.
    pub(super) shutdown: Shutdown,
    /// What is counted by task.
    pub(super) registry: Arc<Registry>,
    /// Whom a beat tells whether somebody follows.
    pub(super) tail: Tail,
}

/// Whether the worker was known, how many jobs it holds, which it is to cancel, which queues are paused.
pub(super) type Beat = (bool, usize, Vec<(String, String)>, Vec<Queue>);
/// The same as Redis tells it, and whether somebody follows.
type Reply = (bool, usize, Vec<(String, String)>, Vec<String>, bool);

impl Pulse {
    pub(super) async fn beat(&self, redis: &Redis) -> Result<Beat, KvError> {
        let info = WorkerInfo {
            stopping: self.shutdown.is_asked(),
            ..self.info.clone()
        };
        let mut call = BEAT.on(self.keys.prefix());
        call.arg(self.worker)
            .arg(millis(self.time_to_live))
            .arg(serde_json::json!(info).to_string());
        let tasks = self.registry.entries();
        let counted: Vec<_> = tasks.map(|task| (task, task.tally.take())).collect();
        for (task, counts) in &counted {
            for (name, count) in counts {
                call.arg(format!("{name}:{}", task.name)).arg(*count);
            }
        }
        let reply: Result<Reply, _> = call.run(redis).await;
        if reply.is_err() {
            for (task, counts) in &counted {
                task.tally.give_back(counts);
            }
        }
        let (known, held, cancels, paused, followed) = reply?;
        self.tail.follow(followed);
        Ok((known, held, cancels, known_queues(&paused)))
    }
}

impl Heartbeat {
    /// Beats from now on, over a connection of its own. Waits for the first beat, so that a worker is
    /// known before it claims.
    ///
    /// # Errors
    /// If the first beat fails, or the thread or its runtime cannot be started.
    pub(super) async fn start(
        redis_url: &str,
        pulse: Pulse,
        mut watchdog: Watchdog,
    ) -> Result<Self, super::WorkerError> {
        let redis = Redis::new(redis_url)?;
        pulse.beat(&redis).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let in_order = Arc::new(AtomicBool::new(false));
        let (tell, news) = watch::channel(News::default());
        // The connection belongs to the thread's runtime: on this one it would starve with it.
        let own = Redis::new(redis_url)?;
        let (ready, is_ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn({
                let (stop, in_order) = (Arc::clone(&stop), Arc::clone(&in_order));
                move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build();
                    match runtime {
                        Ok(runtime) => {
                            let _ = ready.send(Ok(()));
                            keep_beating(&runtime, &own, &pulse, &stop, &tell, &mut watchdog);
                            if in_order.load(Ordering::Relaxed) {
                                // What it counted since the last one; if it fails, some seconds' counts are missing.
                                let _ = runtime.block_on(pulse.beat(&own));
                            }
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                        }
                    }
                }
            })
            .map_err(super::WorkerError::Thread)?;
        match is_ready.await {
            Ok(Ok(())) => Ok(Self {
                stop,
                in_order,
                thread: Some(thread),
                news,
            }),
            Ok(Err(error)) => Err(super::WorkerError::Thread(error)),
            Err(_) => Err(super::WorkerError::Heartbeat),
        }
    }

    /// What each beat brings back. Closed when the thread ends.
    pub(super) fn news(&self) -> watch::Receiver<News> {
        self.news.clone()
    }

    /// Beats at once whenever the bell asks for it, and when the worker is asked to stop.
    pub(super) async fn hurry(thread: std::thread::Thread, bell: Bell, shutdown: Shutdown) {
        let rings = async {
            loop {
                bell.beat.notified().await;
                thread.unpark();
            }
        };
        let stop = async {
            shutdown.asked().await;
            thread.unpark();
        };
        tokio::join!(rings, stop);
    }

    /// The thread that beats.
    pub(super) fn thread(&self) -> Option<std::thread::Thread> {
        self.thread.as_ref().map(|thread| thread.thread().clone())
    }

    /// Stops beating, and waits until a beat that is under way has ended: it would bring a worker back
    /// that has signed off.
    pub(super) async fn end(mut self) {
        self.in_order.store(true, Ordering::Relaxed);
        if let Some(thread) = self.stop() {
            // An error is a thread that panicked: it beats no more.
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }

    fn stop(&mut self) -> Option<std::thread::JoinHandle<()>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        thread.thread().unpark();
        Some(thread)
    }
}

fn keep_beating(
    runtime: &tokio::runtime::Runtime,
    redis: &Redis,
    pulse: &Pulse,
    stop: &AtomicBool,
    tell: &watch::Sender<News>,
    watchdog: &mut Watchdog,
) {
    let mut well = true;
    let mut returns = 0;
    while !stop.load(Ordering::Relaxed) {
        match runtime.block_on(pulse.beat(redis)) {
            Ok((known, held, cancels, paused)) => {
                if !known {
                    tracing::warn!("this worker had been given up; what it held may run twice");
                }
                if !well {
                    tracing::info!("the heartbeat is back");
                    returns += 1;
                }
                well = true;
                tell.send_replace(News {
                    held,
                    paused,
                    returns,
                    cancels,
                });
            }
            Err(error) => {
                if well {
                    tracing::warn!(error = %Chain(&error), "the heartbeat cannot reach Redis");
                }
                well = false;
            }
        }
        watchdog.bark();
        // A failed beat is tried again soon: the time to live is running.
        let pause = if well { pulse.every } else { pulse.every / 8 };
        std::thread::park_timeout(pause);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Takes a worker that holds nothing off the list; returns how many jobs it still holds.
pub(super) async fn retire(redis: &Redis, keys: &Keys, worker: BootId) -> Result<usize, KvError> {
    let mut call = RETIRE.on(keys.prefix());
    call.arg(worker);
    call.run(redis).await
}
