//! Parking and versions: what a worker does not know waits for one that does, and nothing else happens to it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    queue::{
        JobContext, JobId, OnDeath, Options, Queue, Registry, Task, TaskError, When,
        audit::Auditor,
        inspect::{Inspector, status::Status},
        operate::Operator,
    },
    testing::{TestQueue, eventually},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{Look, onto, sorted};

/// What ran, and by which release.
type Log = Mutex<Vec<String>>;

fn note(log: &Log, text: String) {
    log.lock().unwrap().push(text);
}

/// The release before.
mod old {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Mail {
        pub(super) to: String,
    }

    impl Task for Mail {
        const NAME: &'static str = "test.mail";
        type Context = Log;
        type Output = ();

        async fn run(self, log: &Log, _job: &JobContext) -> Result<(), TaskError> {
            note(log, format!("{} by the old", self.to));
            Ok(())
        }
    }

    pub(super) fn registry(log: &Arc<Log>) -> Registry {
        Registry::new().with::<Mail>(log)
    }
}

/// The release that comes: mails have another shape, and there is a task more.
mod new {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Mail {
        pub(super) addresses: Vec<String>,
    }

    impl Task for Mail {
        const NAME: &'static str = "test.mail";
        const VERSION: u32 = 2;
        type Context = Log;
        type Output = ();

        async fn run(self, log: &Log, _job: &JobContext) -> Result<(), TaskError> {
            note(log, format!("{} by the new", self.addresses.join("+")));
            Ok(())
        }

        fn upcast(version: u32, args: Value) -> Result<Value, TaskError> {
            match version {
                1 => Ok(json!({ "addresses": [args["to"]] })),
                _ => Err(TaskError::fatal(format!("there is no version {version}"))),
            }
        }
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Fax {
        pub(super) number: u32,
    }

    impl Task for Fax {
        const NAME: &'static str = "test.fax";
        type Context = Log;
        type Output = ();

        async fn run(self, log: &Log, _job: &JobContext) -> Result<(), TaskError> {
            note(log, format!("fax {}", self.number));
            Ok(())
        }
    }

    /// A master of a mail and a fax.
    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Both;

    impl Task for Both {
        const NAME: &'static str = "test.both";
        type Context = Log;
        type Output = ();

        async fn run(self, _: &Log, job: &JobContext) -> Result<(), TaskError> {
            let mut split = job.fan_out(OnDeath::Fail, &()).await?;
            let addresses = vec!["child".to_owned()];
            split.add(&Mail { addresses }).await?;
            split.add(&Fax { number: 1 }).await?;
            split.then(&Fax { number: 2 }).await?;
            Ok(())
        }
    }

    pub(super) fn registry(log: &Arc<Log>) -> Registry {
        Registry::new()
            .with::<Mail>(log)
            .with::<Fax>(log)
            .with::<Both>(log)
    }
}

fn old_mail(n: u32) -> old::Mail {
    old::Mail {
        to: format!("old {n}"),
    }
}

fn new_mail(n: u32) -> new::Mail {
    new::Mail {
        addresses: vec![format!("new {n}"), "all".to_owned()],
    }
}

async fn status(queue: &TestQueue) -> Status {
    let inspector = Inspector::new(queue.redis.clone(), queue.keys.clone());
    inspector.status().await.unwrap()
}

async fn are_parked(queue: &TestQueue, jobs: u64) -> Status {
    eventually(&format!("{jobs} are parked"), async || {
        let status = status(queue).await;
        (status.parked == jobs && status.claimed == 0).then_some(status)
    })
    .await
}

#[tokio::test]
async fn in_a_rolling_deploy_jobs_of_both_releases_run_once_and_none_dies() {
    let queue = TestQueue::start();
    let log = Arc::new(Log::default());
    let options = || TestQueue::options("high=2,default=8");
    let (producer, plain) = (queue.producer(), Options::default());
    let old_mails: Vec<_> = (0..100).map(old_mail).collect();
    let new_mails: Vec<_> = (0..100).map(new_mail).collect();
    let faxes: Vec<_> = (0..50).map(|number| new::Fax { number }).collect();

    // The producers are deployed first: the old workers cannot run what they send.
    let old_worker = queue.worker(old::registry(&log), options());
    producer
        .enqueue_all(&new_mails[..50], &plain)
        .await
        .unwrap();
    producer.enqueue_all(&faxes, &plain).await.unwrap();
    producer
        .enqueue_all(&old_mails[..50], &plain)
        .await
        .unwrap();
    are_parked(&queue, 100).await;
    assert_eq!(queue.stat("parked").await, 100, "each once: nobody spins");

    // Side by side.
    let new_worker = queue.worker(new::registry(&log), options());
    producer
        .enqueue_all(&old_mails[50..], &plain)
        .await
        .unwrap();
    producer
        .enqueue_all(&new_mails[50..], &plain)
        .await
        .unwrap();
    producer
        .enqueue_with(&new::Both, &onto(Queue::High))
        .await
        .unwrap();
    queue.ends_clean().await;
    old_worker.stop().await;
    new_worker.stop().await;

    assert_eq!(queue.dead().await, []);
    let by_whom = |entry: &String| !entry.ends_with(" by the old") || entry.starts_with("old ");
    let ran = log.lock().unwrap().clone();
    assert!(ran.iter().all(by_whom), "{ran:?}");
    let what = |entry: &String| entry.split(" by ").next().unwrap().to_owned();
    let mut expected: Vec<_> = (0..100)
        .flat_map(|n| [format!("old {n}"), format!("new {n}+all")])
        .chain((0..50).map(|n| format!("fax {n}")))
        .collect();
    expected.extend(["child", "fax 1", "fax 2"].map(str::to_owned));
    assert_eq!(sorted(ran.iter().map(what).collect()), sorted(expected));
}

#[tokio::test]
async fn what_is_parked_is_told_keeps_its_attempts_and_can_be_discarded() {
    let queue = TestQueue::start();
    let log = Arc::new(Log::default());
    let worker = queue.worker(old::registry(&log), TestQueue::options("default=4"));
    let producer = queue.producer();
    let mail = producer.enqueue(&new_mail(1)).await.unwrap();
    let fax = producer.enqueue(&new::Fax { number: 7 }).await.unwrap();

    let status = are_parked(&queue, 2).await;

    let kinds: Vec<_> = status
        .parked_kinds
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(kinds, ["default:test.fax:1", "default:test.mail:2"]);
    let audit = Auditor::new(queue.redis.clone(), queue.keys.clone());
    let report = audit.audit(|_| {}).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.queues[&Queue::Default].parked, 2);
    let lease: Option<String> = queue
        .command(&["HGET", &queue.keys.attempts(), &mail.to_string()])
        .await;
    assert_eq!(lease, None, "no attempt is counted");
    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
    assert_eq!(operator.discard(&[fax]).await.unwrap(), [fax]);
    assert_eq!(operator.retry(&[mail]).await.unwrap(), [mail]);
    are_parked(&queue, 1).await;
    assert_eq!(queue.stat("parked").await, 3);
    worker.stop().await;
    let new_worker = queue.worker(new::registry(&log), TestQueue::options("default=4"));
    queue.ends_clean().await;
    new_worker.stop().await;
}

#[tokio::test]
async fn what_is_parked_does_not_come_back_to_workers_that_do_not_serve_its_queue() {
    let queue = TestQueue::start();
    let log = Arc::new(Log::default());
    let old_worker = queue.worker(old::registry(&log), TestQueue::options("low=2"));
    let producer = queue.producer();
    let fax = new::Fax { number: 1 };
    producer
        .enqueue_with(&fax, &onto(Queue::Low))
        .await
        .unwrap();
    are_parked(&queue, 1).await;

    let other = queue.worker(new::registry(&log), TestQueue::options("high=2"));
    // When the second of these has run, it has looked since it came.
    for number in [2, 3] {
        let fax = new::Fax { number };
        let soon = Options {
            when: When::In(Duration::from_millis(400)),
            ..onto(Queue::High)
        };
        producer.enqueue_with(&fax, &soon).await.unwrap();
        let entry = format!("fax {number}");
        eventually(&entry, async || {
            log.lock().unwrap().contains(&entry).then_some(())
        })
        .await;
    }

    assert_eq!(queue.stat("parked").await, 1);
    other.stop().await;
    old_worker.stop().await;
    let right = queue.worker(new::registry(&log), TestQueue::options("low=2"));
    queue.ends_clean().await;
    right.stop().await;
}

#[tokio::test]
async fn what_is_known_among_many_unknown_kinds_comes_back() {
    let queue = TestQueue::start();
    let log = Arc::new(Log::default());
    let args = RawValue::from_string(r#"{"number":1}"#.to_owned()).unwrap();
    let producer = queue.producer();
    for n in 0..300 {
        let task = format!("test.unheard_of.{n}");
        producer
            .enqueue_raw(&task, &args, &Options::default())
            .await
            .unwrap();
    }
    let faxes: Vec<_> = (0..3000).map(|number| new::Fax { number }).collect();
    producer
        .enqueue_all(&faxes, &Options::default())
        .await
        .unwrap();
    let old_worker = queue.worker(old::registry(&log), TestQueue::options("default=50"));
    eventually("all are parked", async || {
        (queue.stat("parked").await == 3300).then_some(())
    })
    .await;
    old_worker.stop().await;

    let worker = queue.worker(new::registry(&log), TestQueue::options("default=50"));
    eventually("the faxes have run", async || {
        (queue.stat("completed:default").await == 3000).then_some(())
    })
    .await;

    worker.stop().await;
    queue.adds_up(300).await;
    assert_eq!(queue.dead().await, []);
}

#[tokio::test]
async fn an_upcast_that_fails_buries_the_job_with_its_reason() {
    let queue = TestQueue::start();
    let log = Arc::new(Log::default());
    let body = r#"{"task":"test.mail","args":{},"v":0}"#;
    let worker = queue.worker(new::registry(&log), TestQueue::options("default=4"));
    let mail = queue.producer().enqueue(&new_mail(1)).await.unwrap();
    queue.ends_clean().await;

    // By hand, as no release has sent it.
    let id: JobId = mail.to_string().replace("-1", "+1").parse().unwrap();
    let keys = &queue.keys;
    let mark = keys.mark(Queue::Default);
    let _: usize = queue.command(&["HSET", &mark, "later", "1"]).await;
    let id_text = id.to_string();
    queue.set_body(id, body.as_bytes()).await;
    let _: usize = queue
        .command(&["ZADD", &keys.scheduled(), "1", &id_text])
        .await;

    let reason = queue.dies(id).await;
    assert!(reason.contains("there is no version 0"), "{reason}");
    worker.stop().await;
}
