//! A large group: one master, its children, and what follows them, on a warm worker.

use std::time::Duration;

use anyhow::Result;
use common::queue::{JobContext, OnDeath, Producer, Task, TaskError};
use serde::{Deserialize, Serialize};

use super::{
    Side,
    steps::{Bench, micros_each},
    tally::{Noop, Tally},
};
use crate::{
    figure::Figures,
    machine::{cpu_time, now_ns, resident_memory},
    number::{float, per_second},
};

/// Children of the group.
const CHILDREN: u64 = 100_000;
/// Between two looks at the memory that is in use. Each takes some of Redis's time.
const LOOK: Duration = Duration::from_millis(40);

/// A master: as many children as it says, then one more job.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spread(u64);

impl Task for Spread {
    const NAME: &'static str = "bench.spread";
    type Context = Tally;
    type Output = ();

    async fn run(self, _: &Tally, job: &JobContext) -> Result<(), TaskError> {
        let mut split = job.fan_out(OnDeath::Fail, &self.0).await?;
        let children = split.plan()?;
        for n in 0..children {
            split.add(&Noop::new(n, None)).await?;
        }
        split.then(&Noop::new(children, None)).await?;
        Ok(())
    }
}

impl Bench {
    /// Has one master fan out, from its enqueue until what follows its children was executed; returns how
    /// many children a second that is. Looks at the memory of Redis and of the worker meanwhile.
    pub(super) async fn group(&self, figures: &mut Figures) -> Result<f64> {
        let namespace = self.redis.namespace()?;
        let mut worker = self.worker(Side::Queue, &namespace, CHILDREN + 1)?;
        self.until_warm(&mut worker).await?;
        let redis = common::kv::Redis::new(self.redis.url())?;
        let producer = Producer::new(redis, namespace.keys.clone());
        let (account, pid) = (self.redis.account().await?, worker.pid()?);
        let (memory, worker_cpu) = (resident_memory(pid)?, cpu_time(pid)?);

        worker.order(CHILDREN + 1).await?;
        let begun = now_ns();
        producer.enqueue(&Spread(CHILDREN)).await?;
        let (mut most_redis, mut most_worker) = (0.0_f64, 0);
        let report = {
            let executed = worker.answer("execute the group");
            tokio::pin!(executed);
            loop {
                tokio::select! {
                    report = &mut executed => break report?,
                    () = tokio::time::sleep(LOOK) => {
                        let now = self.redis.account().await?;
                        most_redis = most_redis.max(now.memory_each(&account, 1));
                        most_worker = most_worker.max(resident_memory(pid)?);
                    }
                }
            }
        };
        let after = self.redis.account().await?;
        let worker_cpu = cpu_time(pid)?.saturating_sub(worker_cpu);
        self.finish(worker, &namespace).await?;

        let rate = per_second(CHILDREN, Duration::from_nanos(report.last_ns - begun));
        let mib = float(1 << 20);
        figures.add("queue.group", "children/s", rate);
        let cpu = micros_each(after.cpu_since(&account), CHILDREN);
        figures.add("queue.group.redis_cpu", "µs/child", cpu);
        let cpu = micros_each(worker_cpu, CHILDREN);
        figures.add("queue.group.worker_cpu", "µs/child", cpu);
        let commands = after.commands_each(&account, CHILDREN);
        figures.add("queue.group.commands", "per child", commands);
        figures.add("queue.group.redis_memory", "MiB", most_redis / mib);
        let grown = float(most_worker.saturating_sub(memory));
        figures.add("queue.group.worker_memory", "MiB", grown / mib);
        Ok(rate)
    }
}
