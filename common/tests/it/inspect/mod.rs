//! Looking into the queues, changing them by hand, accounting for every job.

mod audit;
mod dead;
mod explain;
mod explain_apart;
mod flows;
mod operate;
mod recipes;
mod records;
mod views;

use std::{sync::Arc, time::Duration};

use common::{
    queue::{
        JobContext, JobId, OnDeath, Options, Registry, Task, TaskError, When,
        audit::{Auditor, Finding, Report},
        inspect::{Inspector, list::State},
        operate::Operator,
    },
    testing::{RunningWorker, TestQueue, eventually},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// Does nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Nothing {
    n: u32,
}

impl Task for Nothing {
    const NAME: &'static str = "demo.nothing";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Runs until it is let go.
#[derive(Debug, Serialize, Deserialize)]
struct Hold;

impl Task for Hold {
    const NAME: &'static str = "demo.hold";
    type Context = Semaphore;
    type Output = ();

    async fn run(self, gate: &Semaphore, _job: &JobContext) -> Result<(), TaskError> {
        gate.acquire().await?.forget();
        Ok(())
    }
}

/// Fails: for good, or until its attempts are used up.
#[derive(Debug, Serialize, Deserialize)]
struct Fail {
    fatal: bool,
}

impl Task for Fail {
    const NAME: &'static str = "demo.fail";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        if self.fatal {
            return Err(TaskError::fatal("the disk is on fire"));
        }
        Err("the disk is full".into())
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::from_secs(3600)
    }
}

/// A master: three children that hold, then nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Holds;

impl Task for Holds {
    const NAME: &'static str = "demo.holds";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), job: &JobContext) -> Result<(), TaskError> {
        let mut split = job.fan_out(OnDeath::Continue, &3).await?;
        for _ in 0..split.plan()? {
            split.add(&Hold).await?;
        }
        split.then(&Nothing { n: 0 }).await?;
        Ok(())
    }
}

/// A queue with what looks at it.
struct Stage {
    queue: TestQueue,
    gate: Arc<Semaphore>,
    inspector: Inspector,
    operator: Operator,
    auditor: Auditor,
}

impl Stage {
    fn set() -> Self {
        let queue = TestQueue::start();
        let parts = || (queue.redis.clone(), queue.keys.clone());
        let (inspector, operator, auditor) = (parts(), parts(), parts());
        Self {
            gate: Arc::new(Semaphore::new(0)),
            inspector: Inspector::new(inspector.0, inspector.1),
            operator: Operator::new(operator.0, operator.1),
            auditor: Auditor::new(auditor.0, auditor.1),
            queue,
        }
    }

    fn worker(&self, limits: &str) -> RunningWorker {
        let nothing = Arc::new(());
        let registry = Registry::new()
            .with::<Nothing>(&nothing)
            .with::<Fail>(&nothing)
            .with::<Holds>(&nothing)
            .with::<Hold>(&self.gate);
        self.queue.worker(registry, TestQueue::options(limits))
    }

    async fn enqueue(&self, task: &impl Task) -> JobId {
        self.queue
            .producer()
            .enqueue(task)
            .await
            .expect("Redis answers")
    }

    /// Due in an hour.
    async fn schedule(&self, task: &impl Task) -> JobId {
        let options = Options {
            when: When::In(Duration::from_secs(3600)),
            ..Options::default()
        };
        let producer = self.queue.producer();
        producer
            .enqueue_with(task, &options)
            .await
            .expect("Redis answers")
    }

    async fn settle_down(&self, what: &str, counts: [u64; 3]) {
        eventually(what, async || {
            let status = self.inspector.status().await.expect("Redis answers");
            ([status.scheduled, status.claimed, status.dead] == counts).then_some(())
        })
        .await;
    }

    /// One job in each state: `default-1` dead, `default-2` to be retried in an hour, `default-3` claimed,
    /// `default+1` due in an hour, `high-1` and `high-2` waiting.
    async fn one_of_each(&self) -> RunningWorker {
        let worker = self.worker("default=4");
        self.enqueue(&Fail { fatal: true }).await;
        self.enqueue(&Fail { fatal: false }).await;
        self.enqueue(&Hold).await;
        self.schedule(&Nothing { n: 7 }).await;
        let high = Options {
            queue: Some(common::queue::Queue::High),
            ..Options::default()
        };
        let producer = self.queue.producer();
        let jobs = [Nothing { n: 1 }, Nothing { n: 2 }];
        producer
            .enqueue_all(&jobs, &high)
            .await
            .expect("Redis answers");
        self.settle_down("one is claimed, one dead, two scheduled", [2, 1, 1])
            .await;
        worker
    }

    async fn ids(&self, state: State) -> Vec<String> {
        let listing = common::queue::inspect::list::Listing {
            lane: None,
            state,
            queue: None,
            filter: common::queue::dead::Filter::default(),
            limit: 100,
            cursor: None,
        };
        let page = self.inspector.jobs(&listing).await.expect("Redis answers");
        page.jobs.into_iter().map(|job| job.id).collect()
    }

    async fn audit(&self) -> Report {
        self.auditor.audit(|_| {}).await.expect("Redis answers")
    }

    /// Audits, repairs, and audits again: what was found, and the report after the repair.
    async fn mend(&self) -> (Vec<Finding>, Report) {
        let mut report = self.audit().await;
        let repair = self.auditor.repair(&mut report.findings, |_| {});
        repair.await.expect("Redis answers");
        (report.findings, self.audit().await)
    }

    /// The names of all keys but for those that running workers keep.
    async fn names(&self) -> Vec<String> {
        let mut names = self.queue.key_names().await;
        names.retain(|name| !["looked", "workers", "workers:info"].contains(&name.as_str()));
        names
    }

    /// Waits until exactly these jobs are being run.
    async fn wait_for_claims(&self, ids: &[&str]) {
        eventually("these jobs are claimed", async || {
            let mut claimed = self.ids(State::Claimed).await;
            claimed.sort_unstable();
            (claimed == ids).then_some(())
        })
        .await;
    }

    /// Waits until no job is left.
    async fn wait_until_empty(&self) {
        self.queue.until_drained().await;
    }

    /// A total since ever.
    async fn total(&self, name: &str) -> i64 {
        let status = self.inspector.status().await.expect("Redis answers");
        status.totals.get(name).copied().unwrap_or(0)
    }

    async fn delete(&self, key: &str) {
        let name = format!("{}{key}", self.queue.keys.prefix());
        let deleted: u32 = self.queue.command(&["DEL", &name]).await;
        assert_eq!(deleted, 1, "{key} was there");
    }

    async fn command(&self, command: &str, key: &str, args: &[&str]) {
        let name = format!("{}{key}", self.queue.keys.prefix());
        let words = [&[command, &name], args].concat();
        let _: redis::Value = self.queue.command(&words).await;
    }
}

fn id(text: &str) -> JobId {
    text.parse().expect("a job's id")
}
