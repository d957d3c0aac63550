//! Rhubarb as a peer: the same two programs as the others have, by its public interface and with its
//! default settings, except that the worker runs 200 jobs at once. `bench/peers/README.md` has what
//! each peer's programs do.

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    io::Write,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use common::{
    kv::{Keys, Redis},
    queue::{self, JobContext, Registry, Task, TaskError, Worker},
    shutdown::Shutdown,
    telemetry::{self, LogFormat},
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::ledger::Record;
use crate::{
    machine::now_ns,
    number::{float, length},
};

/// Prefix of all keys.
const NAMESPACE: &str = "peers";
/// Jobs that are made and then handed over at once.
const SLICE: u64 = 10_000;
/// Makes the arguments about 100 bytes of JSON.
const PAD: &str = "............................................................";

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    id: u64,
    t: u64,
    pad: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nap: Option<u64>,
}

impl Job {
    fn new(id: u64, nap: Option<u64>) -> Self {
        Self {
            id,
            t: now_ns() / 1000,
            pad: Cow::Borrowed(PAD),
            nap,
        }
    }
}

impl Task for Job {
    const NAME: &'static str = "noop";
    type Context = File;
    type Output = ();

    async fn run(self, mut ledger: &File, _job: &JobContext) -> Result<(), TaskError> {
        let record = Record {
            id: self.id,
            sent: float(self.t),
            ran: float(now_ns()) / 1e3,
        };
        ledger.write_all(&record.to_bytes())?;
        if let Some(seconds) = self.nap {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        Ok(())
    }
}

/// Runs as a worker until a signal.
pub(crate) fn be_worker() -> Result<()> {
    // As the real worker does: the events of its jobs are part of its cost.
    telemetry::init(LogFormat::Human);
    runtime()?.block_on(async {
        let path = variable("PEER_LEDGER")?;
        let ledger = OpenOptions::new().append(true).open(path);
        let ledger = Arc::new(ledger.context("open the ledger")?);
        let options = queue::WorkerOptions::new("default=200".parse()?);
        let worker = Worker::new(
            &variable("PEER_REDIS_URL")?,
            Keys::new(NAMESPACE),
            Registry::new().with::<Job>(&ledger),
            options,
        )?;
        Ok(worker.run(Shutdown::on_signal()?).await?)
    })
}

/// Enqueues what the lines of the input say.
pub(crate) fn be_producer() -> Result<()> {
    runtime()?.block_on(async {
        let redis = Redis::new(&variable("PEER_REDIS_URL")?)?;
        redis.connection().await?;
        let producer = queue::Producer::new(redis, Keys::new(NAMESPACE));
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await.context("read an order")? {
            obey(&line, &producer).await?;
            println!("ok");
        }
        Ok(())
    })
}

async fn obey(order: &str, producer: &queue::Producer) -> Result<()> {
    let words: Vec<_> = order.split(' ').collect();
    let number = |word: &str| word.parse::<u64>().context("read a number of an order");
    match words[..] {
        ["ready"] => {}
        ["single", from, to] => {
            for id in number(from)?..number(to)? {
                producer.enqueue(&Job::new(id, None)).await?;
            }
        }
        ["bulk", from, to] => {
            let (from, to) = (number(from)?, number(to)?);
            for first in (from..to).step_by(length(SLICE)) {
                let ids = first..to.min(first + SLICE);
                let jobs: Vec<_> = ids.map(|id| Job::new(id, None)).collect();
                let options = queue::Options::default();
                producer.enqueue_all(&jobs, &options).await?;
            }
        }
        ["nap", id, seconds] => {
            let job = Job::new(number(id)?, Some(number(seconds)?));
            producer.enqueue(&job).await?;
        }
        _ => bail!("`{order}` is no order"),
    }
    Ok(())
}

/// As `worker` has it: a thread a core.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new().context("start the runtime")
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("read {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_take_about_a_hundred_bytes() {
        let args = serde_json::to_string(&Job::new(123_456, None)).unwrap();

        assert!((92..=105).contains(&args.len()), "{}: {args}", args.len());
    }
}
