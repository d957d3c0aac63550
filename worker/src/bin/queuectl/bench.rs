//! `queuectl bench`: how fast this Redis is, from this machine. In a namespace of its own, which is gone at the end: no
//! worker of the deployment sees its jobs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use common::{
    id::BootId,
    kv::{Keys, Redis},
    queue::{
        EnqueueError, JobContext, JobId, Options, Producer, Queue, Registry, Task, TaskError,
        Worker, WorkerError, WorkerOptions,
    },
    shutdown::{Shutdown, Stop},
};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

use crate::{
    Ending, Failure, Outcome,
    connect::Connection,
    out::{Out, count, number},
    progress::Progress,
    signals::Signals,
    tasks::short,
};

/// Calls under way at once.
const PIPELINE: usize = 100;
/// Jobs, at most, of which it is measured how long they wait for an idle worker.
const LONELY: u64 = 500;
/// So long nothing ends before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  queuectl bench --count 50000 --slots 64")]
pub(crate) struct Args {
    /// Jobs
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,

    /// The queue
    #[arg(long, default_value = "default")]
    queue: Queue,

    /// Jobs at once
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    slots: u16,

    /// Also if jobs wait or run: they share this Redis
    #[arg(long)]
    yes: bool,
}

/// What it came to.
#[derive(Debug, Serialize)]
struct Figures {
    jobs: u64,
    queue: Queue,
    slots: u16,
    /// One call a job.
    enqueued_per_s: u64,
    /// By one process.
    run_per_s: u64,
    /// From the call that enqueues to the start, one job at a time.
    wait_p50_us: u64,
    wait_p99_us: u64,
    wait_max_us: u64,
}

/// Does nothing but tell that it was started.
#[derive(Debug, Serialize, Deserialize)]
struct Nothing {
    /// When it was enqueued, µs since the beginning.
    at_us: u64,
}

struct Probe {
    began: Instant,
    ran: AtomicU64,
    end: Notify,
    waits: Mutex<Histogram<u64>>,
}

impl Probe {
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn ran(&self) -> u64 {
        self.ran.load(Ordering::Relaxed)
    }

    /// Waits until so many have run.
    async fn wait(&self, n: u64, mut told: impl FnMut(u64)) -> Result<(), Failure> {
        let mut last = (self.ran(), Instant::now());
        while self.ran() < n {
            let _ = tokio::time::timeout(Duration::from_millis(100), self.end.notified()).await;
            told(self.ran());
            if self.ran() > last.0 {
                last = (self.ran(), Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                return Err(anyhow::anyhow!("no job has run for {} s", PATIENCE.as_secs()).into());
            }
        }
        Ok(())
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Histogram<u64>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task for Nothing {
    const NAME: &'static str = "bench.nothing";
    type Context = Probe;
    type Output = ();

    async fn run(self, probe: &Probe, _job: &JobContext) -> Result<(), TaskError> {
        let waited = probe.now_us().saturating_sub(self.at_us);
        let _ = probe.waits().record(waited.max(1));
        probe.ran.fetch_add(1, Ordering::Relaxed);
        probe.end.notify_one();
        Ok(())
    }
}

type Calls = JoinSet<Result<JobId, EnqueueError>>;

/// What is at work in the bench's namespace.
#[derive(Default)]
struct Crew {
    calls: Calls,
    worker: Option<(Stop, JoinHandle<Result<(), WorkerError>>)>,
}

impl Crew {
    fn start(&mut self, worker: Worker) {
        let (stop, shutdown) = Shutdown::manual();
        self.worker = Some((stop, tokio::spawn(worker.run(shutdown))));
    }

    /// Returns when nothing is at work any more.
    async fn stop(mut self) -> Result<(), Failure> {
        self.calls.shutdown().await;
        if let Some((stop, working)) = self.worker {
            stop.now();
            working.await??;
        }
        Ok(())
    }
}

pub(crate) async fn run(
    args: &Args,
    redis_url: &str,
    namespace: &str,
    connection: &Connection,
    out: &Out,
) -> Outcome {
    let status = connection.inspector().status().await?;
    let waiting: u64 = status.queues.iter().map(|queue| queue.waiting).sum();
    if waiting + status.claimed > 0 && !args.yes {
        let (waiting, claimed) = (number(waiting), number(status.claimed));
        let text = format!(
            "{waiting} jobs wait in namespace {namespace} and {claimed} run: a bench takes from the same \
             Redis.\nTo do it all the same: queuectl bench --yes"
        );
        return Err(anyhow::anyhow!(text).into());
    }
    let keys = Keys::new(&format!("{namespace}-bench-{}", BootId::fresh()));
    let mut signals = Signals::listen()?;
    let mut crew = Crew::default();
    let measured = tokio::select! {
        measured = measure(args, redis_url, &connection.redis, &keys, &mut crew) => Some(measured),
        () = signals.asked() => None,
    };
    // What is still at work would write anew.
    let stopped = crew.stop().await;
    clean_up(&connection.redis, &keys).await?;
    let Some(measured) = measured else {
        eprintln!("Stopped; what was enqueued is removed.");
        return Ok(Ending::NotForAll);
    };
    let figures = measured?;
    stopped?;
    out.answer(&figures, || tell(&figures))?;
    Ok(Ending::Done)
}

fn tell(figures: &Figures) -> String {
    let Figures { queue, slots, .. } = figures;
    let jobs = count(figures.jobs, "job");
    let (enqueued, run) = (number(figures.enqueued_per_s), number(figures.run_per_s));
    let wait = [
        figures.wait_p50_us,
        figures.wait_p99_us,
        figures.wait_max_us,
    ]
    .map(short);
    let [p50, p99, max] = wait;
    format!(
        "{jobs} that do nothing, on queue {queue} of a namespace of their own:\n\n\
         enqueue  {enqueued} jobs a second, one call each, {PIPELINE} at once\n\
         run      {run} jobs a second, in one process with {slots} slots\n\
         wait     p50 {p50}, p99 {p99}, at most {max}: from the call to the start, one job at a time"
    )
}

async fn measure(
    args: &Args,
    redis_url: &str,
    redis: &Redis,
    keys: &Keys,
    crew: &mut Crew,
) -> Result<Figures, Failure> {
    let probe = Arc::new(Probe {
        began: Instant::now(),
        ran: AtomicU64::new(0),
        end: Notify::new(),
        waits: Mutex::new(Histogram::new(3).context("a histogram")?),
    });
    let progress = Progress::new();
    let producer = Producer::new(redis.clone(), keys.clone());
    let options = Options {
        queue: Some(args.queue),
        ..Options::default()
    };

    let begun = Instant::now();
    let calls = &mut crew.calls;
    enqueue(args.count, &producer, &options, &probe, &progress, calls).await?;
    let enqueued_per_s = rate(args.count, begun);

    let registry = Registry::new().with::<Nothing>(&probe);
    let limits = format!("{}={}", args.queue, args.slots).parse()?;
    let worker = Worker::new(
        redis_url,
        keys.clone(),
        registry,
        WorkerOptions::new(limits),
    )?;
    let begun = Instant::now();
    crew.start(worker);
    let all = probe.wait(args.count, |ran| progress.at("running", ran, args.count));
    all.await?;
    let run_per_s = rate(args.count, begun);

    probe.waits().reset();
    let lonely = LONELY.min(args.count);
    for n in 1..=lonely {
        // Idle workers listen; so does this one between two.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let at_us = probe.now_us();
        producer.enqueue_with(&Nothing { at_us }, &options).await?;
        probe.wait(args.count + n, |_| {}).await?;
        progress.at("waiting", n, lonely);
    }
    let waits = probe.waits().clone();
    Ok(Figures {
        jobs: args.count,
        queue: args.queue,
        slots: args.slots,
        enqueued_per_s,
        run_per_s,
        wait_p50_us: waits.value_at_quantile(0.5),
        wait_p99_us: waits.value_at_quantile(0.99),
        wait_max_us: waits.max(),
    })
}

async fn enqueue(
    n: u64,
    producer: &Producer,
    options: &Options,
    probe: &Probe,
    progress: &Progress,
    calls: &mut Calls,
) -> Result<(), Failure> {
    let (mut begun, mut done) = (0, 0);
    while done < n {
        while begun < n && calls.len() < PIPELINE {
            let (producer, options) = (producer.clone(), options.clone());
            let job = Nothing {
                at_us: probe.now_us(),
            };
            calls.spawn(async move { producer.enqueue_with(&job, &options).await });
            begun += 1;
        }
        if let Some(call) = calls.join_next().await {
            call??;
        }
        done += 1;
        progress.at("enqueueing", done, n);
    }
    Ok(())
}

fn rate(n: u64, since: Instant) -> u64 {
    let us = since.elapsed().as_micros().max(1);
    u64::try_from(u128::from(n) * 1_000_000 / us).unwrap_or(u64::MAX)
}

/// The names of what holds bodies.
async fn buckets(redis: &Redis, keys: &Keys) -> Result<Vec<String>, Failure> {
    let (mut names, mut cursor) = (Vec::new(), 0_u64);
    loop {
        let scan = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(keys.buckets())
            .arg("COUNT")
            .arg(1000)
            .to_owned();
        let (next, some): (u64, Vec<String>) =
            redis.read("find what the bench has left", &scan).await?;
        names.extend(some);
        if next == 0 {
            return Ok(names);
        }
        cursor = next;
    }
}

/// Removes what a bench may leave, whatever ended it.
async fn clean_up(redis: &Redis, keys: &Keys) -> Result<(), Failure> {
    let mut names = vec![
        keys.attempts(),
        keys.scheduled(),
        keys.dead(),
        keys.stats(),
        keys.tasks(),
        keys.samples(),
        keys.workers(),
        keys.workers_info(),
        keys.looked(),
        keys.parked(),
    ];
    for queue in Queue::ALL {
        names.extend([keys.queue(queue), keys.mark(queue), keys.loose(queue)]);
    }
    names.extend(buckets(redis, keys).await?);
    let workers = redis::cmd("ZRANGE")
        .arg(keys.workers())
        .arg(0)
        .arg(-1)
        .to_owned();
    let workers: Vec<BootId> = redis.read("find the bench's worker", &workers).await?;
    names.extend(workers.into_iter().map(|worker| keys.claims(worker)));
    let delete = redis::cmd("DEL").arg(names).to_owned();
    redis
        .read::<u64>("remove what the bench has left", &delete)
        .await?;
    Ok(())
}
