//! The measurements themselves. Each uses a namespace of its own, ends with a worker that has executed
//! every job exactly once, and leaves nothing in Redis.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use common::queue::{CallError, Queue};
use hdrhistogram::Histogram;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Options, Side, child::WorkerProcess, producer::Producer, tally::Noop};
use crate::{
    figure::Figures,
    machine::{cpu_time, now_ns, precise_sleeps, resident_memory, sleep_until_ns},
    number::{float, nanos, per_second, whole},
    redis_side::{Namespace, RedisSide},
};

/// Jobs of the warm-up.
const WARM_UP: u64 = 20_000;
/// Jobs per second of the pickup measurement: a light load.
const LIGHT: u64 = 200;
/// How long an idle worker is looked at.
const IDLE: Duration = Duration::from_secs(12);
/// Jobs of the measurement of due times.
const SCHEDULED: u64 = 100;
/// Jobs that a worker is warmed up with where it is to be warm.
const FIRST: u64 = 1000;

/// What the measurements work with.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) redis: RedisSide,
    pub(super) options: Options,
}

impl Bench {
    /// How many jobs keep a worker busy for the time asked; at most two million.
    pub(super) async fn jobs_that_last(&self, side: Side) -> Result<u64> {
        let namespace = self.redis.namespace()?;
        Producer::connect(side, &self.redis, &namespace)
            .await?
            .all(WARM_UP)
            .await?;
        let rate = self.drain(side, &namespace, WARM_UP).await?;
        Ok(whole(rate * self.options.seconds).clamp(10_000, 2_000_000))
    }

    /// Enqueues one job after another, each awaited, over one connection.
    pub(super) async fn single(&self, side: Side, figures: &mut Figures) -> Result<f64> {
        let namespace = self.redis.namespace()?;
        let mut producer = Producer::connect(side, &self.redis, &namespace).await?;
        let before = self.redis.account().await?;
        let begun = Instant::now();
        let mut jobs = 0;
        while begun.elapsed().as_secs_f64() < self.options.seconds {
            producer.one(&Noop::new(jobs, None)).await?;
            jobs += 1;
        }
        let rate = per_second(jobs, begun.elapsed());
        let after = self.redis.account().await?;

        figures.add(side.figure("enqueue_single"), "jobs/s", rate);
        let cpu = micros_each(after.cpu_since(&before), jobs);
        figures.add(side.figure("enqueue_single.redis_cpu"), "µs/job", cpu);
        // What was enqueued is to be there: each job once.
        self.drain(side, &namespace, jobs).await?;
        Ok(rate)
    }

    /// Enqueues many at once, then has a worker run them, which starts when all are there.
    pub(super) async fn bulk_and_drain(
        &self,
        side: Side,
        jobs: u64,
        figures: &mut Figures,
    ) -> Result<(f64, f64)> {
        let namespace = self.redis.namespace()?;
        let mut producer = Producer::connect(side, &self.redis, &namespace).await?;
        let before = self.redis.account().await?;
        let begun = Instant::now();
        producer.all(jobs).await?;
        let bulk = per_second(jobs, begun.elapsed());
        let after = self.redis.account().await?;

        let unit = "µs/job";
        figures.add(side.figure("enqueue_bulk"), "jobs/s", bulk);
        let cpu = micros_each(after.cpu_since(&before), jobs);
        figures.add(side.figure("enqueue_bulk.redis_cpu"), unit, cpu);
        figures.add(
            side.figure("enqueue_bulk.commands"),
            "per job",
            after.commands_each(&before, jobs),
        );
        figures.add(
            side.figure("memory_per_waiting_job"),
            "bytes",
            after.memory_each(&before, jobs),
        );

        let before = self.redis.account().await?;
        let mut worker = self.worker(side, &namespace, jobs)?;
        let report = worker.executed(jobs).await?;
        let worker_cpu = cpu_time(worker.pid()?)?;
        let after = self.redis.account().await?;
        self.finish(worker, &namespace).await?;

        let drain = per_second(jobs, Duration::from_nanos(report.last_ns - report.first_ns));
        figures.add(side.figure("drain"), "jobs/s", drain);
        let cpu = micros_each(after.cpu_since(&before), jobs);
        figures.add(side.figure("drain.redis_cpu"), unit, cpu);
        figures.add(
            side.figure("drain.worker_cpu"),
            unit,
            micros_each(worker_cpu, jobs),
        );
        figures.add(
            side.figure("drain.commands"),
            "per job",
            after.commands_each(&before, jobs),
        );
        Ok((bulk, drain))
    }

    /// Enqueues many at once beside a warm worker that runs them: from the first execution to the last.
    pub(super) async fn both(&self, side: Side, jobs: u64, figures: &mut Figures) -> Result<f64> {
        let namespace = self.redis.namespace()?;
        let mut producer = Producer::connect(side, &self.redis, &namespace).await?;
        let mut worker = self.worker(side, &namespace, jobs)?;
        self.until_warm(&mut worker).await?;

        worker.order(jobs).await?;
        producer.all(jobs).await?;
        let report = worker.answer("execute all jobs").await?;
        self.finish(worker, &namespace).await?;

        let rate = per_second(jobs, Duration::from_nanos(report.last_ns - report.first_ns));
        figures.add(side.figure("both_at_once"), "jobs/s", rate);
        Ok(rate)
    }

    /// Enqueues at a light load, at fixed times whatever happens, onto an idle warm worker: from the
    /// time at which a job was due to be enqueued to its first line. Before that, looks at the worker
    /// while it has nothing to do.
    pub(super) async fn pickup(&self, side: Side, figures: &mut Figures) -> Result<()> {
        let namespace = self.redis.namespace()?;
        let seconds = self.options.seconds.max(5.0);
        let jobs = FIRST + whole(float(LIGHT) * seconds);
        let mut producer = Producer::connect(side, &self.redis, &namespace).await?;
        let mut worker = self.worker(side, &namespace, jobs)?;
        producer.all(FIRST).await?;
        worker.executed(FIRST).await?;
        self.until_warm(&mut worker).await?;
        if side == Side::Queue {
            self.idle(&worker, figures).await?;
        }

        worker.order(jobs).await?;
        precise_sleeps();
        let start = now_ns() + 10_000_000;
        for n in FIRST..jobs {
            let due = start + (n - FIRST) * 1_000_000_000 / LIGHT;
            sleep_until_ns(due);
            producer.one(&Noop::new(n, Some(due))).await?;
        }
        let report = worker.answer("execute all jobs").await?;
        self.finish(worker, &namespace).await?;

        for (name, nanos) in [
            ("pickup.p50", report.p50_ns),
            ("pickup.p99", report.p99_ns),
            ("pickup.max", report.max_ns),
        ] {
            figures.add(side.figure(name), "ms", float(nanos) / 1e6);
        }
        Ok(())
    }

    /// Calls jobs at a light load, at fixed times whatever happens: from the time at which a call was due to
    /// what the job gave back.
    pub(super) async fn call(&self, figures: &mut Figures) -> Result<()> {
        let namespace = self.redis.namespace()?;
        let seconds = self.options.seconds.max(5.0);
        let first = FIRST + 1;
        let jobs = first + whole(float(LIGHT) * seconds);
        let mut producer = Producer::connect(Side::Queue, &self.redis, &namespace).await?;
        let mut worker = self.worker(Side::Queue, &namespace, jobs)?;
        producer.all(FIRST).await?;
        worker.executed(FIRST).await?;
        let caller = producer.caller()?;
        caller.call(&Noop::new(FIRST, None)).await?; // subscribes
        self.until_warm(&mut worker).await?;

        // The clock has a thread of its own: this one is to hear the results.
        let (tick, mut ticks) = mpsc::unbounded_channel();
        let clock = std::thread::spawn(move || {
            precise_sleeps();
            let start = now_ns() + 10_000_000;
            for n in first..jobs {
                let due = start + (n - first) * 1_000_000_000 / LIGHT;
                sleep_until_ns(due);
                let _ = tick.send((n, due));
            }
        });
        let mut calls = JoinSet::new();
        while let Some((n, due)) = ticks.recv().await {
            let caller = caller.clone();
            calls.spawn(async move {
                caller.call(&Noop::new(n, None)).await?;
                Ok::<_, CallError>(now_ns().saturating_sub(due))
            });
        }
        ensure!(clock.join().is_ok(), "the clock's thread panicked");
        let mut latencies = Histogram::<u64>::new(3)?;
        while let Some(latency) = calls.join_next().await {
            latencies.record(latency??)?;
        }
        worker.stop().await?;

        for (name, nanos) in [
            ("queue.call.p50", latencies.value_at_quantile(0.5)),
            ("queue.call.p99", latencies.value_at_quantile(0.99)),
            ("queue.call.max", latencies.max()),
        ] {
            figures.add(name, "ms", float(nanos) / 1e6);
        }
        Ok(())
    }

    /// Schedules jobs one after another onto an idle warm worker: from the time for which each was made to
    /// its first line. The producer's clock and Redis's are one, for they share a machine.
    pub(super) async fn eta(&self, figures: &mut Figures) -> Result<()> {
        let namespace = self.redis.namespace()?;
        let mut producer = Producer::connect(Side::Queue, &self.redis, &namespace).await?;
        let mut worker = self.worker(Side::Queue, &namespace, FIRST + SCHEDULED)?;
        producer.all(FIRST).await?;
        worker.executed(FIRST).await?;
        self.until_warm(&mut worker).await?;

        worker.order(FIRST + SCHEDULED).await?;
        for n in FIRST..FIRST + SCHEDULED {
            // Whole ms, for that is what a schedule knows; between 5 and 100 of them ahead.
            let (since_1970, now) = (SystemTime::now().duration_since(UNIX_EPOCH)?, now_ns());
            let wall = whole(since_1970.as_secs_f64() * 1e3) + 5 + n * 37 % 96;
            let ahead = Duration::from_millis(wall).saturating_sub(since_1970);
            let due = now + nanos(ahead);
            producer
                .scheduled(&Noop::new(n, Some(due)), Duration::from_millis(wall))
                .await?;
            sleep_until_ns(due);
        }
        let report = worker.answer("execute all jobs").await?;
        self.finish(worker, &namespace).await?;

        for (name, nanos) in [("p50", report.p50_ns), ("p99", report.p99_ns)] {
            figures.add(format!("queue.eta.{name}"), "ms", float(nanos) / 1e6);
        }
        Ok(())
    }

    /// What a worker costs that has nothing to do.
    async fn idle(&self, worker: &WorkerProcess, figures: &mut Figures) -> Result<()> {
        let (sent, inside) = self.redis.commands_within(IDLE).await?;
        let unit = "per second";
        figures.add("queue.idle_worker.commands", unit, per_second(sent, IDLE));
        let inside = per_second(inside, IDLE);
        figures.add("queue.idle_worker.commands_in_scripts", unit, inside);
        let memory = resident_memory(worker.pid()?)?;
        figures.add(
            "queue.idle_worker.rss",
            "MiB",
            float(memory) / float(1 << 20),
        );
        Ok(())
    }

    pub(super) fn worker(
        &self,
        side: Side,
        namespace: &Namespace,
        jobs: u64,
    ) -> Result<WorkerProcess> {
        WorkerProcess::start(side, &self.redis, namespace, jobs, &self.options)
    }

    /// Waits until a worker has connected and waits for jobs.
    pub(super) async fn until_warm(&self, worker: &mut WorkerProcess) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.pid().map(drop)
    }

    /// Runs waiting jobs, each of them once; returns how many a second.
    async fn drain(&self, side: Side, namespace: &Namespace, jobs: u64) -> Result<f64> {
        let mut worker = self.worker(side, namespace, jobs)?;
        let report = worker.executed(jobs).await?;
        self.finish(worker, namespace).await?;
        ensure!(
            report.last_ns > report.first_ns,
            "too few jobs to measure a rate"
        );
        Ok(per_second(
            jobs,
            Duration::from_nanos(report.last_ns - report.first_ns),
        ))
    }

    /// Stops a worker, checks that each job ran once and that none is left in Redis.
    pub(super) async fn finish(&self, worker: WorkerProcess, namespace: &Namespace) -> Result<()> {
        worker.stop().await?;
        let keys = &namespace.keys;
        let left = [
            keys.buckets(),
            keys.queue(Queue::Default),
            keys.loose(Queue::Default),
        ];
        self.redis.expect_none("unsettled jobs", &left).await
    }
}

pub(super) fn micros_each(time: Duration, things: u64) -> f64 {
    time.as_secs_f64() * 1e6 / float(things)
}
