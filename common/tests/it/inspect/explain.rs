//! Why a job is not running: each reason, from the real thing.

use std::sync::Arc;

use common::{
    queue::{
        JobId, Options, Queue, Registry,
        inspect::explain::{Explanation, Reason},
    },
    testing::{TestQueue, eventually},
};

use super::{Fail, Hold, Nothing, Stage, id};

impl Stage {
    pub(super) async fn explain(&self, job: impl ToString) -> Explanation {
        let job = id(&job.to_string());
        self.inspector.explain(job).await.expect("Redis answers")
    }

    pub(super) async fn enqueue_on(&self, queue: Queue) -> JobId {
        let options = Options {
            queue: Some(queue),
            ..Options::default()
        };
        let producer = self.queue.producer();
        let job = producer.enqueue_with(&Nothing { n: 1 }, &options).await;
        job.expect("Redis answers")
    }
}

/// What a job is told begins so.
#[track_caller]
pub(super) fn says(explanation: &Explanation, text: &str) {
    assert!(explanation.text.starts_with(text), "{explanation:#?}");
}

#[tokio::test]
async fn without_a_worker_a_job_waits_for_one() {
    let stage = Stage::set();
    let first = stage.enqueue(&Nothing { n: 1 }).await;
    let second = stage.enqueue(&Nothing { n: 2 }).await;

    let told = stage.explain(first).await;
    says(
        &told,
        "No worker is running. No job is before it in queue default.",
    );
    let told = stage.explain(second).await;
    assert_eq!(told.reason, Reason::NoWorker { alive: 0, ahead: 1 });
    assert!(told.advice.unwrap().contains("Start a worker"));

    let _other = stage.worker("low=1");
    eventually("it beats", async || {
        let told = stage.explain(first).await;
        (told.reason == Reason::NoWorker { alive: 1, ahead: 0 }).then_some(())
    })
    .await;
    says(
        &stage.explain(first).await,
        "No worker that is alive serves queue default; one serves",
    );
}

#[tokio::test]
async fn a_paused_queue_is_told_with_who_paused_it() {
    let stage = Stage::set();
    let job = stage.enqueue(&Nothing { n: 1 }).await;
    let later = stage.schedule(&Nothing { n: 2 }).await;
    stage
        .operator
        .clone()
        .acting_for("ada")
        .pause(Queue::Default)
        .await
        .unwrap();

    let told = stage.explain(job).await;
    says(
        &told,
        "Queue default is paused for 0 s by ada: workers take nothing",
    );
    assert!(
        told.text
            .ends_with("No worker that is alive serves it, either."),
        "{told:?}"
    );
    assert_eq!(
        told.advice.as_deref(),
        Some("To let it go on: queuectl resume default")
    );
    let told = stage.explain(later).await;
    says(
        &told,
        "It is scheduled, and due in 59 min. No worker is running.",
    );
    assert!(
        told.text
            .ends_with("queue default is paused for 0 s by ada."),
        "{told:?}"
    );
}

#[tokio::test]
async fn busy_workers_are_told_with_their_slots() {
    let stage = Stage::set();
    let worker = stage.worker("default=2");
    for _ in 0..2 {
        stage.enqueue(&Hold).await;
    }
    stage.wait_for_claims(&["default-1", "default-2"]).await;
    for _ in 0..3 {
        stage.enqueue(&Nothing { n: 1 }).await;
    }

    let told = stage.explain("default-5").await;
    let Reason::Busy { slots, ahead } = told.reason.clone() else {
        panic!("{told:#?}")
    };
    assert_eq!(
        (slots.workers, slots.usable, slots.free, slots.own, ahead),
        (1, 2, 0, 2, 2)
    );
    says(
        &told,
        "All slots are taken that the one worker that serves queue default may use for it: \
         2 run jobs of default. 2 jobs are before it.",
    );
    let running = stage.explain("default-1").await;
    says(&running, "It is running for 0 s: attempt 1, on worker ");
    assert!(
        running.text.contains(&worker.id.to_string()[..8]),
        "{running:?}"
    );

    stage.gate.add_permits(2);
    stage.wait_until_empty().await;
    let done = stage.explain("default-5").await;
    assert_eq!(done.reason, Reason::Ended { how: None });
}

#[tokio::test]
async fn slots_that_are_reserved_for_another_queue_are_told() {
    let stage = Stage::set();
    let mut options = TestQueue::options("high=2,default=2");
    options.reserve = "high=1".parse().unwrap();
    let registry = Registry::new()
        .with::<Nothing>(&Arc::new(()))
        .with::<Hold>(&stage.gate);
    let _worker = stage.queue.worker(registry, options);
    stage.enqueue(&Hold).await;
    stage.wait_for_claims(&["default-1"]).await;
    let job = stage.enqueue(&Nothing { n: 1 }).await;

    let told = stage.explain(job).await;

    let Reason::Busy { slots, .. } = told.reason.clone() else {
        panic!("{told:#?}")
    };
    assert_eq!(
        (slots.usable, slots.free, slots.own, slots.kept),
        (1, 0, 1, 1)
    );
    assert!(
        told.text
            .contains("1 run jobs of default, 1 are kept for other queues"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_parked_job_names_the_workers_that_do_not_know_it() {
    let stage = Stage::set();
    let nothing = Registry::new();
    let worker = stage.queue.worker(nothing, TestQueue::options("default=1"));
    let job = stage.enqueue(&Fail { fatal: true }).await;
    eventually("it is parked", async || {
        matches!(stage.explain(job).await.reason, Reason::Parked { .. }).then_some(())
    })
    .await;

    let told = stage.explain(job).await;

    let name = &worker.id.to_string()[..8];
    assert_eq!(
        told.text,
        format!(
            "It is parked: no worker that serves queue default knows version 1 of demo.fail (1 worker: {name})."
        )
    );
}

#[tokio::test]
async fn a_worker_that_stopped_beating_is_told() {
    let stage = Stage::set();
    let worker = stage.worker("default=1");
    let job = stage.enqueue(&Hold).await;
    stage.wait_for_claims(&["default-1"]).await;
    worker.vanish().await;

    eventually("its heartbeat has ended", async || {
        let told = stage.explain(job).await;
        matches!(told.reason, Reason::WorkerSilent { alive: 0, .. }).then_some(())
    })
    .await;

    let told = stage.explain(job).await;
    assert!(
        told.text
            .ends_with("No other worker is there to give it back."),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_job_that_was_popped_and_not_claimed_is_told() {
    let stage = Stage::set();
    let job = stage.enqueue(&Nothing { n: 1 }).await;
    stage.enqueue(&Nothing { n: 2 }).await;
    let queue = stage.queue.keys.queue(Queue::Default);
    let worker = stage.worker("low=1");
    eventually("it beats", async || {
        let told = stage.explain(job).await;
        matches!(told.reason, Reason::NoWorker { alive: 1, .. }).then_some(())
    })
    .await;
    worker.stop().await; // so that nobody lists it again
    let now = stage.operator.now_ms().await.unwrap() + 60_000;
    let info = r#"{"queues":{"default":1},"concurrency":1}"#;
    stage
        .command("ZADD", "workers", &[&now.to_string(), "w"])
        .await;
    stage.command("HSET", "workers:info", &["w", info]).await;
    says(&stage.explain(job).await, "It is next");
    says(
        &stage.explain("default-2").await,
        "It waits for its turn: 1 job is before it in queue default, and 1 slot is free.",
    );

    let popped: String = stage.queue.command(&["RPOP", &queue]).await;

    assert_eq!(popped, job.to_string());
    assert_eq!(
        stage.explain(job).await.reason,
        Reason::Unlisted { alive: 1 }
    );
    says(&stage.explain("default-2").await, "It is next");
}

#[tokio::test]
async fn the_slots_of_a_worker_that_stops_are_not_free() {
    let stage = Stage::set();
    let worker = stage.worker("default=4");
    let first = stage.enqueue(&Hold).await;
    stage.wait_for_claims(&[&first.to_string()]).await;
    let told = stage.inspector.status().await.unwrap();
    assert!(!told.workers[0].info.stopping);

    let stopping = tokio::spawn(worker.stop());

    eventually("it tells so", async || {
        let status = stage.inspector.status().await.expect("Redis answers");
        status.workers[0].info.stopping.then_some(())
    })
    .await;
    let second = stage.enqueue(&Hold).await;
    let told = stage.explain(second).await;
    assert_eq!(told.reason, Reason::NoWorker { alive: 0, ahead: 0 });
    let told = stage.explain(first).await;
    assert!(matches!(told.reason, Reason::Running { .. }), "{told:?}");
    stage.gate.add_permits(1);
    stopping.await.expect("an end in order");
}
