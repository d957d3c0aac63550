//! The worker: consuming, the heartbeat and the care, started and stopped together.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{sync::watch, task::JoinSet};

use super::{
    Queue, Registry,
    bell::Bell,
    buckets,
    care::Care,
    consume::{self, Consumer},
    heartbeat::{Heartbeat, News, Pulse, retire},
    inspect::{Inspector, status::WorkerInfo},
    limits::{Limits, Slots},
    run::Runner,
    samples,
    share::{self, PerQueue, ShareError},
    tail::Tail,
    turn::Turns,
    watch::{Polls, Watchdog},
};
use crate::{
    error::Chain,
    id::BootId,
    kv::{
        Keys, KvError, Redis,
        blocking::{BlockingHealth, Inbox},
    },
    shutdown::Shutdown,
    telemetry::Beats,
};

/// Why a worker cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] KvError),
    /// There can be no heartbeat, or no loop that consumes.
    #[error("start a thread of the worker")]
    Thread(#[source] std::io::Error),
    /// The slots cannot be shared as was asked for.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The heartbeat has ended, so that others take this worker for dead.
    #[error("the thread of the heartbeat ended by itself")]
    Heartbeat,
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The queues it serves, and how many jobs of each it runs at once.
    pub limits: Limits,
    /// How many jobs it runs at once in all.
    pub concurrency: usize,
    /// Between two heartbeats.
    pub beat: Duration,
    /// How long after its last heartbeat a worker counts as dead.
    pub time_to_live: Duration,
    /// How long an id may be popped and not claimed.
    pub claim_grace: Duration,
    /// How many workers a job may take down before it is buried.
    pub max_deaths: u32,
    /// How long a lower queue's first job waits, at most, while higher ones are never empty; without
    /// weights.
    pub starvation: Duration,
    /// The queues' shares of the claims while all have work. If not set, priority is strict.
    pub weights: Option<PerQueue>,
    /// Slots that only one queue may use, so that others, however slow, cannot occupy all.
    pub reserve: PerQueue,
    /// How long running jobs have to finish at a shutdown.
    pub shutdown_patience: Duration,
}

impl WorkerOptions {
    /// The default ways of a worker for `limits`.
    pub fn new(limits: Limits) -> Self {
        Self {
            concurrency: limits.largest(),
            limits,
            beat: Duration::from_secs(2),
            time_to_live: Duration::from_secs(6),
            claim_grace: Duration::from_millis(1500),
            max_deaths: 3,
            starvation: Duration::from_secs(2),
            weights: None,
            reserve: PerQueue::default(),
            shutdown_patience: Duration::from_secs(25),
        }
    }
}

/// Runs queues. Any number of workers, in any number of processes, may run the same ones.
#[derive(Debug)]
pub struct Worker {
    id: BootId,
    redis_url: String,
    redis: Redis,
    /// Connections of the thread of the loop.
    own: Redis,
    keys: Keys,
    registry: Arc<Registry>,
    options: WorkerOptions,
    inbox: Inbox,
    beats: Beats,
}

impl Worker {
    /// A worker that knows the tasks of `registry`.
    ///
    /// # Errors
    /// If `redis_url` cannot be read, or a queue would be left without a slot.
    pub fn new(
        redis_url: &str,
        keys: Keys,
        registry: Registry,
        options: WorkerOptions,
    ) -> Result<Self, WorkerError> {
        let (weights, reserve) = (options.weights.as_ref(), &options.reserve);
        share::check(&options.limits, options.concurrency, weights, reserve)?;
        let redis = Redis::new(redis_url)?;
        let own = Redis::new(redis_url)?;
        let inbox = Inbox::new(own.clone());
        let beats = Beats::new(options.time_to_live);
        Ok(Self {
            id: BootId::fresh(),
            redis_url: redis_url.to_owned(),
            redis,
            own,
            keys,
            registry: Arc::new(registry),
            options,
            inbox,
            beats,
        })
    }

    /// This worker's identity.
    pub fn id(&self) -> BootId {
        self.id
    }

    /// Tells whether the blocking connection works.
    pub fn blocking_health(&self) -> BlockingHealth {
        self.inbox.health()
    }

    /// Tells when the heartbeat last reached Redis.
    pub fn beats(&self) -> Beats {
        self.beats.clone()
    }

    /// Works until the shutdown, then finishes or gives back what it holds.
    ///
    /// # Errors
    /// If it cannot start, or its heartbeat ends by itself. What else fails later is tried again for as
    /// long as it takes.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), WorkerError> {
        let Self {
            id,
            redis_url,
            redis,
            own,
            keys,
            registry,
            options,
            inbox,
            beats,
        } = self;
        for entry in registry.entries() {
            entry.tally.begin(entry.name);
        }
        buckets::move_old(&redis, &keys).await?;
        let tail = Tail::default();
        let pulse = Pulse {
            keys: keys.clone(),
            worker: id,
            every: options.beat,
            time_to_live: options.time_to_live,
            info: describe(&options),
            shutdown: shutdown.clone(),
            registry: Arc::clone(&registry),
            tail: tail.clone(),
        };
        let polls = Polls::default();
        let heartbeat = Heartbeat::start(&redis_url, pulse, Watchdog::new(&polls)).await?;
        let bell = Bell::default();
        let mut beside = JoinSet::new();
        beside.spawn(
            bell.clone()
                .listen(redis.clone(), keys.clone(), shutdown.clone()),
        );
        if let Some(thread) = heartbeat.thread() {
            beside.spawn(Heartbeat::hurry(thread, bell.clone(), shutdown.clone()));
        }
        beside.spawn(note_beats(heartbeat.news(), beats));
        let inspector = Inspector::new(redis.clone(), keys.clone());
        beside.spawn(samples::run(inspector, shutdown.clone()));
        // On a connection of its own: what people follow must not hold up a turn. It ends last.
        let (tell_no_more, told) = Shutdown::manual();
        let telling = tail.clone();
        let telling = tokio::spawn(telling.run(Redis::new(&redis_url)?, keys.clone(), told));
        let (tell, listed) = watch::channel(Vec::new());
        let care = Care::new(redis.clone(), keys.clone(), &options)
            .knowing(&registry, &options.limits)
            .telling(id, tail.clone());
        let care = tokio::spawn(care.run(shutdown.clone(), Arc::clone(&bell.look), tell));

        let turns = |redis| Turns {
            redis,
            keys: keys.clone(),
            worker: id,
            time_to_live: options.time_to_live,
            max_deaths: options.max_deaths,
        };
        let runner = Runner {
            registry,
            turns: turns(redis.clone()),
            closures: Arc::default(),
            tail,
            polls,
            shutdown: shutdown.clone(),
            news: heartbeat.news(),
        };
        let slots = Slots::new(options.limits, options.concurrency, options.starvation)
            .shared(options.weights, options.reserve);
        let mut consumer = Consumer::new(
            turns(own),
            runner,
            slots,
            inbox,
            heartbeat.news(),
            listed,
            bell,
        );
        let until = shutdown.clone();
        let consuming = async move { consumer.run(&until, options.shutdown_patience).await };
        let ended = consume::alone(consuming).await;

        let alive = ended.is_ok() && shutdown.is_asked();
        if !alive {
            care.abort();
        }
        let _ = care.await;
        heartbeat.end().await;
        tell_no_more.now();
        let _ = telling.await;
        if let Err(error) = retire(&redis, &keys, id).await {
            tracing::warn!(error = %Chain(&error), "could not sign off; the heartbeat will run out");
        }
        ended.map_err(WorkerError::Thread)?;
        if alive {
            Ok(())
        } else {
            Err(WorkerError::Heartbeat)
        }
    }
}

/// Notes each beat, of which the first has succeeded.
async fn note_beats(mut news: watch::Receiver<News>, beats: Beats) {
    loop {
        beats.beat();
        if news.changed().await.is_err() {
            return;
        }
    }
}

/// What the list of workers tells of this one.
fn describe(options: &WorkerOptions) -> WorkerInfo {
    let by_queue = |numbers: &[(Queue, usize)]| {
        let entry = |(queue, n): &(Queue, usize)| (queue.to_string(), *n as u64);
        numbers.iter().map(entry).collect()
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    WorkerInfo {
        host: host.trim().to_owned(),
        pid: std::process::id(),
        started,
        queues: by_queue(options.limits.per_queue()),
        concurrency: options.concurrency as u64,
        reserve: by_queue(options.reserve.named()),
        stopping: false,
    }
}
