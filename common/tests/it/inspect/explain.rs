//! Why a job is not running: each reason, from the real thing.

use std::{sync::Arc, time::Duration};

use common::{
    queue::{
        JobId, Lane, Options, Queue, Registry,
        inspect::explain::{Explanation, Reason},
        operate::Operator,
    },
    testing::{TestQueue, eventually},
};

use super::{Fail, Hold, Holds, Nothing, Stage, id};

impl Stage {
    async fn explain(&self, job: impl ToString) -> Explanation {
        let job = id(&job.to_string());
        self.inspector.explain(job).await.expect("Redis answers")
    }

    async fn enqueue_on(&self, queue: Queue) -> JobId {
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
fn says(explanation: &Explanation, text: &str) {
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
async fn a_lane_is_told_with_what_holds_its_slots() {
    let stage = Stage::set();
    let options = Options {
        lane: Some(Lane::new("tenant-7", 1)),
        ..Options::default()
    };
    let producer = stage.queue.producer();
    for _ in 0..3 {
        producer
            .enqueue_with(&Nothing { n: 1 }, &options)
            .await
            .unwrap();
    }

    let told = stage.explain("default+3").await;

    let Reason::Laned { ahead, holders, .. } = told.reason.clone() else {
        panic!("{told:#?}")
    };
    assert_eq!((ahead, &holders[..]), (1, &["default+1".to_owned()][..]));
    says(
        &told,
        "It is in the line of lane tenant-7, 1 job is before it. 1 of 1 slots of the lane are held by default+1",
    );

    let slow = Options {
        lane: Some(Lane::new("slow", 9).rate(1, Duration::from_secs(3600))),
        ..Options::default()
    };
    for _ in 0..2 {
        producer
            .enqueue_with(&Nothing { n: 1 }, &slow)
            .await
            .unwrap();
    }
    let told = stage.explain("default+5").await;
    assert!(
        told.text
            .contains("lets 1 job in 1 h go; the next one may go in "),
        "{told:?}"
    );
}

#[tokio::test]
async fn failed_and_dead_jobs_are_told_with_their_errors() {
    let stage = Stage::set();
    let _worker = stage.one_of_each().await;

    let told = stage.explain("default-2").await;
    says(
        &told,
        "Attempt 1 failed (the disk is full); the next one is due in ",
    );
    let told = stage.explain("default-1").await;
    says(&told, "It is dead for 0 s: the disk is on fire");
    assert!(told.advice.unwrap().contains("queuectl retry default-1"));
    let told = stage.explain("default+1").await;
    says(&told, "It is scheduled, and due in ");
    // Its worker serves another queue.
    let told = stage.explain("high-2").await;
    assert_eq!(told.reason, Reason::NoWorker { alive: 1, ahead: 1 });
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

    let popped: String = stage.queue.command(&["RPOP", &queue]).await;

    assert_eq!(popped, job.to_string());
    assert_eq!(
        stage.explain(job).await.reason,
        Reason::Unlisted { alive: 1 }
    );
    says(&stage.explain("default-2").await, "It is next");
}

#[tokio::test]
async fn a_master_tells_of_the_children_that_its_group_waits_for() {
    let stage = Stage::set();
    let _worker = stage.worker("default=4");
    let master = stage.enqueue(&Holds).await;
    eventually("the master has ended", async || {
        let told = stage.explain(master).await;
        (told.reason
            == Reason::GroupOpen {
                total: 3,
                left: 3,
                failed: 0,
            })
        .then_some(())
    })
    .await;

    says(
        &stage.explain(master).await,
        "It has run, and what follows its group waits for 3 of its 3 children.",
    );
    stage.gate.add_permits(3);
    stage.wait_until_empty().await;
    assert_eq!(
        stage.explain(master).await.reason,
        Reason::Ended { how: None }
    );
}

#[tokio::test]
async fn an_id_that_never_was_is_told_with_what_lies_in_the_inbox() {
    let stage = Stage::set();
    says(
        &stage.explain("low-1").await,
        "No job has the id low-1: none of its kind has been",
    );
    stage.enqueue_on(Queue::Low).await;
    stage.command("LPUSH", "inbox:low", &["{}"]).await;
    let operator: &Operator = &stage.operator;
    operator.drain(Queue::Low).await.unwrap();

    let told = stage.explain("low-7").await;

    assert_eq!(
        told.text,
        "No job has the id low-7: the newest of its kind is low-1. 1 body lies in the inbox of queue low, \
         to be made jobs by a worker. Queue low drains: it takes no new jobs."
    );
}

#[tokio::test]
async fn a_job_in_no_place_is_for_the_audit() {
    let stage = Stage::set();
    let job = stage.schedule(&Nothing { n: 1 }).await;
    stage.delete("scheduled").await;

    let told = stage.explain(job).await;

    assert_eq!(
        told.reason,
        Reason::Astray {
            places: "nowhere".to_owned()
        }
    );
    assert!(told.advice.unwrap().contains("audit --repair"));
}
