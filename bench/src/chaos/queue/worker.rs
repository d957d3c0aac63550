//! The processes under test: this program, started again with a hidden command. A worker as users run
//! it, with the defaults of the product; a producer that enqueues what the plan says.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use clap::Args;
use common::{
    error::Chain,
    kv::{Keys, Redis},
    queue::{self, Options, Registry, When, Worker},
    shutdown::Shutdown,
    telemetry::{self, LogFormat},
};
use nix::sys::signal::{Signal, raise};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{
    event::Event,
    plan::{Key, Part, Plan},
    task::{Errand, Site},
};
use crate::chaos::ledger::{Ledger, Who};

/// What the driver tells a process that it starts.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProcessOptions {
    /// Which process it is
    #[arg(long)]
    who: Who,

    /// Of the run
    #[arg(long)]
    seed: u64,

    /// Where Redis is, as far as it knows
    #[arg(long)]
    redis_url: String,

    /// Prefix of all keys
    #[arg(long)]
    namespace: String,

    /// Where it tells what it does
    #[arg(long)]
    ledger: PathBuf,

    /// Jobs a second, of a producer
    #[arg(long, default_value_t = 100.0)]
    rate: f64,

    /// How long a worker's jobs have to finish when it is asked to stop, ms
    #[arg(long, default_value_t = 2000)]
    patience_ms: u64,
}

impl ProcessOptions {
    /// Opens the ledger and notes the beginning.
    fn begin(&self) -> Result<Ledger> {
        telemetry::init(LogFormat::Human);
        let ledger = Ledger::open(&self.ledger, self.who)?;
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        ledger.note(&Event::Boot {
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(0),
            pid: std::process::id(),
        });
        Ok(ledger)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")
}

/// Runs as a worker until it is asked to stop, or killed.
pub(crate) fn be_worker(options: &ProcessOptions) -> Result<()> {
    let site = Arc::new(Site {
        plan: Plan { seed: options.seed },
        ledger: options.begin()?,
        dies_at: Mutex::new(None),
    });
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let shutdown = Shutdown::on_signal().context("listen for signals")?;
        let limits = "high=24,default=24,low=12".parse()?;
        let worker_options = queue::WorkerOptions {
            shutdown_patience: Duration::from_millis(options.patience_ms),
            ..queue::WorkerOptions::new(limits)
        };
        tokio::spawn(obey(Arc::clone(&site)));
        // Redis may be away at this moment: a supervisor would start the worker again and again.
        loop {
            let keys = Keys::new(&options.namespace);
            let registry = Registry::new().with::<Errand>(&site);
            let worker = Worker::new(&options.redis_url, keys, registry, worker_options.clone())?;
            match worker.run(shutdown.clone()).await {
                Err(error) if !shutdown.is_asked() => {
                    eprintln!("cannot work yet: {}", Chain(&error));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                // An error: it was stopped before it could begin.
                Ok(()) | Err(_) => return Ok(()),
            }
        }
    });
    // A read of the input is under way, which only the driver can end: to wait for it would keep the slot from a new
    // worker.
    runtime.shutdown_background();
    ended
}

/// Obeys lines of the driver: the name of a point is an order to die there. The end of the input is the
/// end of the run, or of the driver: the worker stops in order.
async fn obey(site: Arc<Site>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(at) = serde_json::from_str(&line) {
            site.order_death(at);
        }
    }
    let _ = raise(Signal::SIGTERM);
}

/// Runs as a producer until its input ends, or until it is killed.
pub(crate) fn be_producer(options: &ProcessOptions) -> Result<()> {
    let ledger = options.begin()?;
    let plan = Plan { seed: options.seed };
    runtime()?.block_on(async {
        let redis = Redis::new(&options.redis_url)?;
        let producer = queue::Producer::new(redis, Keys::new(&options.namespace));
        let enough = tokio::spawn(async {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Ok(Some(_)) = lines.next_line().await {}
        });
        let mut next = Key {
            slot: options.who.slot,
            life: options.who.life,
            number: 0,
            part: Part::Whole,
        };
        let start = tokio::time::Instant::now();
        while !enough.is_finished() {
            // After an outage it catches up.
            let due = Duration::from_secs_f64(f64::from(next.number) / options.rate);
            tokio::time::sleep_until(start + due).await;
            next = enqueue(&producer, plan, &ledger, next).await;
        }
        Ok(())
    })
}

/// Enqueues what begins with this key; returns the next key. What failed is not tried again under the
/// same key: it may have been pushed, and nobody could tell the two apart.
async fn enqueue(producer: &queue::Producer, plan: Plan, ledger: &Ledger, first: Key) -> Key {
    let order = plan.order(first);
    let jobs = order.jobs;
    let options = Options {
        queue: Some(order.queue),
        when: order
            .in_ms
            .map_or(When::Now, |ms| When::In(Duration::from_millis(ms))),
        ..Options::default()
    };
    let errands: Vec<_> = (0..jobs)
        .map(|n| Errand {
            key: first.after(n),
        })
        .collect();
    ledger.note(&Event::Asks { first, jobs });
    let pushed = if let [errand] = errands.as_slice() {
        producer.enqueue_with(errand, &options).await.map(drop)
    } else {
        producer.enqueue_all(&errands, &options).await.map(drop)
    };
    ledger.note(&match pushed {
        Ok(()) => Event::Accepted { first, jobs },
        Err(error) => Event::Unsure {
            first,
            jobs,
            error: Chain(&error).to_string(),
        },
    });
    first.after(jobs)
}
