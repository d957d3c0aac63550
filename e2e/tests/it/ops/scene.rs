//! Queues in which something happens: mails that go out, cards that are declined, a report of which some pages
//! are made and some fail, pictures in a lane, a queue that nobody serves.

use std::{sync::Arc, time::Duration};

use common::{
    kv::{Keys, Redis},
    queue::{
        JobContext, JobId, Lane, OnDeath, Options, Periodic, Producer, Queue, Registry, Task,
        TaskError, When, operate::Operator,
    },
    testing::{RunningWorker, TestQueue, eventually},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::harness::Stack;

/// Dead jobs: cards and pages.
const DEAD: u64 = 5;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mail {
    to: String,
    template: String,
}

impl Task for Mail {
    const NAME: &'static str = "mail.send";
    type Context = Semaphore;
    type Output = ();

    async fn run(self, _: &Semaphore, _job: &JobContext) -> Result<(), TaskError> {
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Charge {
    card: String,
    cents: u32,
    note: String,
}

impl Task for Charge {
    const NAME: &'static str = "payments.charge";
    type Context = Semaphore;
    type Output = ();

    async fn run(self, _: &Semaphore, _job: &JobContext) -> Result<(), TaskError> {
        Err(TaskError::fatal(
            "the card was declined: insufficient funds",
        ))
    }
}

/// The master.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    month: String,
}

impl Task for Report {
    const NAME: &'static str = "report.monthly";
    type Context = Semaphore;
    type Output = ();

    async fn run(self, _: &Semaphore, job: &JobContext) -> Result<(), TaskError> {
        let mut split = job.fan_out(OnDeath::Continue, &12_u32).await?;
        for n in 0..split.plan()? {
            split.add(&Page { n }).await?;
        }
        let template = "report".to_owned();
        let to = "board@example.com".to_owned();
        split.then(&Mail { to, template }).await?;
        Ok(())
    }
}

/// A child: some are done, two fail, the others go on for as long as the scene.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    n: u32,
}

impl Task for Page {
    const NAME: &'static str = "report.page";
    type Context = Semaphore;
    type Output = ();

    async fn run(self, gate: &Semaphore, job: &JobContext) -> Result<(), TaskError> {
        match self.n {
            0..5 => Ok(()),
            5 | 6 => Err(TaskError::fatal("the template has no page of that number")),
            n => {
                let told = serde_json::json!({"done": n * 7, "total": 100});
                job.progress(&told).await?;
                gate.acquire().await?.forget();
                Ok(())
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Resize {
    picture: String,
}

impl Task for Resize {
    const NAME: &'static str = "images.resize";
    const QUEUE: Queue = Queue::Low;
    type Context = Semaphore;
    type Output = ();

    async fn run(self, gate: &Semaphore, _job: &JobContext) -> Result<(), TaskError> {
        gate.acquire().await?.forget();
        Ok(())
    }

    fn lane(&self) -> Option<Lane> {
        Some(Lane::new("images", 2).rate(600, Duration::from_secs(60)))
    }
}

/// Fails, and is tried again much later.
#[derive(Debug, Serialize, Deserialize)]
struct Sync {
    account: u32,
}

impl Task for Sync {
    const NAME: &'static str = "crm.sync";
    type Context = Semaphore;
    type Output = ();

    async fn run(self, _: &Semaphore, _job: &JobContext) -> Result<(), TaskError> {
        Err("the CRM answered 502 Bad Gateway".into())
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::from_secs(1800)
    }
}

/// What happens, until it is dropped.
pub(super) struct Scene {
    producer: Producer,
    redis: Redis,
    keys: Keys,
    /// The master of the report.
    pub(super) report: JobId,
    _worker: RunningWorker,
}

impl Scene {
    pub(super) async fn set(stack: &Stack) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let nightly = || Mail {
            to: "team@example.com".to_owned(),
            template: "digest".to_owned(),
        };
        let periodic = Periodic::cron("30 6 * * MON-FRI", "Europe/Zurich", nightly);
        let often = Periodic::every(Duration::from_secs(900), || Sync { account: 1 });
        let registry = Registry::new()
            .with::<Mail>(&gate)
            .with::<Charge>(&gate)
            .with::<Report>(&gate)
            .with::<Page>(&gate)
            .with::<Resize>(&gate)
            .with::<Sync>(&gate)
            .periodic(periodic.expect("a timetable").named("digest"))
            .periodic(often.expect("a timetable").named("crm"));
        let options = TestQueue::options("default=12,low=4");
        let worker = stack.queue.worker(registry, options);
        let producer = stack.queue.producer();
        for n in 0..3 {
            let card = format!("4242 4242 4242 000{n}");
            let cents = 1999 * (n + 1);
            let note = "<img src=x onerror=alert(1)>".to_owned();
            producer
                .enqueue(&Charge { card, cents, note })
                .await
                .unwrap();
        }
        for n in 0..9 {
            let picture = format!("albums/2026/summer-{n}.jpg");
            producer.enqueue(&Resize { picture }).await.unwrap();
        }
        for account in 100..104 {
            producer.enqueue(&Sync { account }).await.unwrap();
        }
        let month = "2026-10".to_owned();
        let report = producer.enqueue(&Report { month }).await.unwrap();
        let unknown = serde_json::value::RawValue::from_string(r#"{"order":7}"#.to_owned());
        let unknown = unknown.expect("JSON");
        let now = Options::default();
        producer
            .enqueue_raw("orders.ship", &unknown, &now)
            .await
            .unwrap();
        let scene = Self {
            producer,
            redis: stack.queue.redis.clone(),
            keys: stack.queue.keys.clone(),
            report,
            _worker: worker,
        };
        scene.mails(40).await;
        scene.unserved().await;
        eventually("the scene is set", async || {
            (scene.dead().await == DEAD).then_some(())
        })
        .await;
        scene
    }

    /// So many mails go out.
    pub(super) async fn mails(&self, count: u32) {
        for n in 0..count {
            let to = format!("user{n}@example.com");
            let template = "welcome".to_owned();
            self.producer.enqueue(&Mail { to, template }).await.unwrap();
        }
    }

    /// Jobs of a queue that no worker serves, and of a later time.
    async fn unserved(&self) {
        let high = Options {
            queue: Some(Queue::High),
            ..Options::default()
        };
        let later = Options {
            when: When::In(Duration::from_secs(7200)),
            ..Options::default()
        };
        for options in [&high, &high, &high, &later] {
            let mail = Mail {
                to: "vip@example.com".to_owned(),
                template: "urgent".to_owned(),
            };
            self.producer.enqueue_with(&mail, options).await.unwrap();
        }
    }

    /// How many jobs are dead.
    pub(super) async fn dead(&self) -> u64 {
        let operator = Operator::new(self.redis.clone(), self.keys.clone());
        operator.count_dead().await.expect("Redis answers")
    }
}
