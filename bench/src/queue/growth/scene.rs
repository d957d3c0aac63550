//! One depth: enqueue a few more jobs; ask for the status and care for the queue; run jobs with a worker
//! while as many new ones come in, so that the depth stays; then drain.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use common::{
    kv::Redis,
    queue::{
        self, JobContext, Queue, Registry, Task, TaskError, When, Worker, WorkerOptions,
        care::Care, inspect::Inspector, operate::Operator,
    },
    shutdown::Shutdown,
};
use serde::{Deserialize, Serialize};

use super::Depth;
use crate::{
    figure::Figures,
    machine::cpu_time,
    number::{float, length, per_second},
    queue::{Options, Side, child::WorkerProcess, tally::Noop},
    redis_side::{Account, Namespace, RedisSide},
};

/// Jobs that are enqueued onto those that wait, one by one and then in bulk.
const MORE: u64 = 2_000;
/// Calls of what a person or a worker asks now and then.
const CALLS: u64 = 200;
/// Jobs that come in when as many have run.
const REFILL: u64 = 250;
/// Jobs that run before the measurement, and jobs of it.
const WARM: u64 = 2_000;
const THROUGH: u64 = 50_000;
/// Jobs that are made and then handed over at once.
const SLICE: u64 = 10_000;

/// A job that fails for good.
#[derive(Debug, Serialize, Deserialize)]
struct Doomed;

impl Task for Doomed {
    const NAME: &'static str = "bench.doomed";
    const QUEUE: Queue = Queue::Low;
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Err(TaskError::fatal("this job is to be dead"))
    }
}

/// Measures at a depth.
pub(super) async fn at(depth: Depth, redis: &RedisSide, figures: &mut Figures) -> Result<()> {
    let namespace = redis.namespace()?;
    let queue = Redis::new(redis.url())?;
    queue.connection().await?;
    let scene = Scene {
        depth,
        redis,
        namespace: &namespace,
        producer: queue::Producer::new(queue.clone(), namespace.keys.clone()),
        queue,
    };
    scene.fill().await?;
    redis.until_written().await?;
    scene.asked(figures).await?;
    scene.enqueued(figures).await?;
    scene.run(figures).await
}

/// A namespace at a depth.
#[derive(Debug)]
struct Scene<'a> {
    depth: Depth,
    redis: &'a RedisSide,
    namespace: &'a Namespace,
    queue: Redis,
    producer: queue::Producer,
}

impl Scene<'_> {
    /// Makes the jobs that wait, with numbers from 0 on, and the others.
    async fn fill(&self) -> Result<()> {
        let Depth {
            waiting,
            scheduled,
            dead,
        } = self.depth;
        self.enqueue(0, waiting).await?;
        let later = queue::Options {
            when: When::In(Duration::from_secs(24 * 3600)),
            ..queue::Options::default()
        };
        let others: Vec<_> = (0..scheduled).map(|n| Noop::new(n, None)).collect();
        self.producer.enqueue_all(&others, &later).await?;
        if dead > 0 {
            self.bury(dead).await?;
        }
        Ok(())
    }

    async fn bury(&self, jobs: u64) -> Result<()> {
        let doomed: Vec<_> = (0..jobs).map(|_| Doomed).collect();
        let options = queue::Options::default();
        self.producer.enqueue_all(&doomed, &options).await?;

        let keys = self.namespace.keys.clone();
        let registry = Registry::new().with::<Doomed>(&Arc::new(()));
        let options = WorkerOptions::new("low=200".parse()?);
        let undertaker = Worker::new(self.redis.url(), keys.clone(), registry, options)?;
        let (stop, shutdown) = Shutdown::manual();
        let all_dead = async {
            let operator = Operator::new(self.queue.clone(), keys);
            while operator.count_dead().await? < jobs {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            stop.now();
            anyhow::Ok(())
        };
        let (worked, buried) = tokio::join!(Box::pin(undertaker.run(shutdown)), all_dead);
        worked?;
        buried
    }

    /// Enqueues the jobs with these numbers, in bulk.
    async fn enqueue(&self, from: u64, to: u64) -> Result<()> {
        for first in (from..to).step_by(length(SLICE)) {
            let numbers = first..to.min(first + SLICE);
            let jobs: Vec<_> = numbers.map(|n| Noop::new(n, None)).collect();
            let options = queue::Options::default();
            self.producer.enqueue_all(&jobs, &options).await?;
        }
        Ok(())
    }

    /// What is asked now and then: the status, and what each worker does for the queues beside its jobs.
    async fn asked(&self, figures: &mut Figures) -> Result<()> {
        let keys = &self.namespace.keys;
        let inspector = Inspector::new(self.queue.clone(), keys.clone());
        let options = WorkerOptions::new("default=1".parse()?);
        let mut care = Care::new(self.queue.clone(), keys.clone(), &options);
        inspector.status().await?;
        care.look().await?;

        let window = self.begin().await?;
        for _ in 0..CALLS {
            inspector.status().await?;
        }
        let cost = window.end(self.redis).await?;
        figures.add(
            self.depth.figure("status.redis_cpu"),
            "µs/call",
            cost.redis_each(CALLS),
        );

        let window = self.begin().await?;
        for _ in 0..CALLS {
            care.look().await?;
        }
        let cost = window.end(self.redis).await?;
        figures.add(
            self.depth.figure("care.redis_cpu"),
            "µs/call",
            cost.redis_each(CALLS),
        );
        Ok(())
    }

    /// Enqueues a few more, one by one and in bulk.
    async fn enqueued(&self, figures: &mut Figures) -> Result<()> {
        let first = self.depth.waiting;
        let window = self.begin().await?;
        for n in first..first + MORE {
            self.producer.enqueue(&Noop::new(n, None)).await?;
        }
        let cost = window.end(self.redis).await?;
        cost.add("enqueue_single", MORE, self.depth, figures);

        let window = self.begin().await?;
        self.enqueue(first + MORE, first + 2 * MORE).await?;
        let cost = window.end(self.redis).await?;
        cost.add("enqueue_bulk", MORE, self.depth, figures);
        Ok(())
    }

    /// Runs jobs while as many come in; then all that are left.
    async fn run(&self, figures: &mut Figures) -> Result<()> {
        let waiting = self.depth.waiting + 2 * MORE;
        let all = waiting + WARM + THROUGH;
        let options = Options {
            only: Vec::new(),
            seconds: 1.0,
            concurrency: 200,
            worker_threads: None,
        };
        let mut worker =
            WorkerProcess::start(Side::Queue, self.redis, self.namespace, all, &options)?;
        let pid = worker.pid()?;

        let (mut next, mut ran) = (waiting, 0);
        let mut begun = None;
        while next < all {
            ran += REFILL;
            worker.executed(ran).await?;
            if ran == WARM {
                begun = Some((self.begin().await?, cpu_time(pid)?));
            }
            self.enqueue(next, next + REFILL).await?;
            next += REFILL;
        }
        let Some((window, cpu_before)) = begun else {
            bail!("the measurement has not begun");
        };
        let cost = window.end(self.redis).await?;
        cost.add("through", THROUGH, self.depth, figures);
        let cpu = cpu_time(pid)?.saturating_sub(cpu_before);
        let each = cpu.as_secs_f64() * 1e6 / float(THROUGH);
        figures.add(self.depth.figure("through.worker_cpu"), "µs/job", each);

        let before = worker.executed(ran + 1).await?.executed;
        let window = self.begin().await?;
        worker.executed(all).await?;
        let cost = window.end(self.redis).await?;
        // Few jobs may be gone before they are looked at.
        if before < all {
            cost.add("drain", all - before, self.depth, figures);
        }
        worker.stop().await
    }

    async fn begin(&self) -> Result<Window> {
        let before = self.redis.account().await?;
        Ok(Window {
            before,
            begun: Instant::now(),
        })
    }
}

/// What something took, so far.
#[derive(Debug)]
struct Window {
    before: Account,
    begun: Instant,
}

/// What something took.
#[derive(Debug)]
struct Cost {
    time: Duration,
    redis: Duration,
}

impl Window {
    async fn end(self, redis: &RedisSide) -> Result<Cost> {
        let time = self.begun.elapsed();
        let redis = redis.account().await?.cpu_since(&self.before);
        Ok(Cost { time, redis })
    }
}

impl Cost {
    fn redis_each(&self, things: u64) -> f64 {
        self.redis.as_secs_f64() * 1e6 / float(things)
    }

    fn add(&self, name: &str, jobs: u64, depth: Depth, figures: &mut Figures) {
        figures.add(depth.figure(name), "jobs/s", per_second(jobs, self.time));
        let name = depth.figure(&format!("{name}.redis_cpu"));
        figures.add(name, "µs/job", self.redis_each(jobs));
    }
}
