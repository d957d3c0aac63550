//! apalis on Redis: `peer-apalis worker` and `peer-apalis producer`.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    sync::OnceLock,
    time::Duration,
};

use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Jobs that a push or a fetch takes at once.
const BATCH: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    id: u64,
    t: u64,
    pad: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nap: Option<u64>,
}

impl Job {
    fn new(id: u64, nap: Option<u64>) -> Self {
        Self {
            id,
            t: now() as u64,
            pad: ".".repeat(60),
            nap,
        }
    }
}

/// Microseconds of the machine's monotonic clock.
fn now() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock");
    Duration::from(time).as_nanos() as f64 / 1000.0
}

static LEDGER: OnceLock<File> = OnceLock::new();

async fn run(job: Job) -> Result<(), BoxDynError> {
    let mut record = [0; 24];
    for (bytes, value) in record
        .chunks_mut(8)
        .zip([job.id as f64, job.t as f64, now()])
    {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    let mut ledger = LEDGER.get().ok_or("there is no ledger")?;
    ledger.write_all(&record)?;
    if let Some(seconds) = job.nap {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, BoxDynError> {
    std::env::var(name).map_err(|error| format!("{name}: {error}").into())
}

async fn storage() -> Result<RedisStorage<Job>, BoxDynError> {
    let connection = apalis_redis::connect(variable("PEER_REDIS_URL")?).await?;
    let mut config = Config::default().queue("peers").batch_size(BATCH);
    if variable("PEER_SETTINGS")? == "speed" {
        // No locks and events, as it advises for short tasks. An idle worker fetches only when it beats.
        config = config
            .lock_tasks(false)
            .emit_events(false)
            .heartbeat_interval(Duration::from_secs(1));
    }
    Ok(RedisStorage::new(connection).with_config(config))
}

async fn work() -> Result<(), BoxDynError> {
    let ledger = OpenOptions::new()
        .append(true)
        .open(variable("PEER_LEDGER")?)?;
    LEDGER.set(ledger).map_err(|_| "a second ledger")?;
    let worker = WorkerBuilder::new(format!("worker-{}", std::process::id()))
        .backend(storage().await?)
        .concurrency(BATCH)
        .parallelize(tokio::spawn)
        .build(run);
    Ok(worker.run().await?)
}

async fn produce() -> Result<(), BoxDynError> {
    let mut storage = storage().await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split(' ');
        let order = words.next().unwrap_or_default();
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        match (order, &numbers[..]) {
            ("ready", []) => {}
            ("single", &[from, to]) => {
                for id in from..to {
                    storage.push(Job::new(id, None)).await?;
                }
            }
            ("bulk", &[from, to]) => {
                for first in (from..to).step_by(BATCH) {
                    let ids = first..to.min(first + BATCH as u64);
                    storage
                        .push_bulk(ids.map(|id| Job::new(id, None)).collect())
                        .await?;
                }
            }
            ("nap", &[id, seconds]) => storage.push(Job::new(id, Some(seconds))).await?,
            _ => return Err(format!("`{line}` is no order").into()),
        }
        println!("ok");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    match std::env::args().nth(1).as_deref() {
        Some("worker") => work().await,
        Some("producer") => produce().await,
        _ => Err("say `worker` or `producer`".into()),
    }
}
