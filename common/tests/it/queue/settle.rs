//! Settle: done, tried again, buried. What a job does must never harm its worker or the next job.

use common::{
    queue::{JobId, Options, Queue},
    testing::{TestQueue, eventually},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::value::RawValue;

use super::{Clumsy, Hasty, Look, Plot, Stage, act};

#[tokio::test]
async fn a_job_that_fails_is_tried_again_until_it_succeeds_and_leaves_nothing() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));

    queue
        .producer()
        .enqueue(&act("a", Plot::Fails(2)))
        .await
        .unwrap();
    stage.has_ended("a").await;

    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(stage.starts_of("a"), 3);
    assert_eq!(queue.stat("retried").await, 2);
}

#[tokio::test]
async fn a_job_whose_attempts_are_used_up_is_buried_with_its_history() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));

    let job = queue
        .producer()
        .enqueue(&act("a", Plot::Fails(99)))
        .await
        .unwrap();

    assert_eq!(queue.dies(job).await, "flaw 3");
    worker.stop().await;
    let history = queue.history(job).await;
    let told: Vec<_> = history
        .iter()
        .map(|e| (e["event"].as_str().unwrap(), e["attempt"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("failed", 1), ("failed", 2), ("buried", 3)]);
    assert!(
        history
            .iter()
            .all(|entry| entry["at_ms"].is_u64() && entry["worker"].is_string())
    );
    assert_eq!(stage.starts_of("a"), 3);
    queue.adds_up(1).await;
}

#[tokio::test]
async fn a_job_may_have_fewer_attempts_than_its_task_allows() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));

    let once = Options {
        max_attempts: Some(1),
        ..Options::default()
    };
    let job = queue
        .producer()
        .enqueue_with(&act("a", Plot::Fails(99)), &once)
        .await
        .unwrap();

    assert_eq!(queue.dies(job).await, "flaw 1");
    worker.stop().await;
}

#[tokio::test]
async fn a_fatal_error_buries_at_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));

    let job = queue
        .producer()
        .enqueue(&act("a", Plot::Fatal))
        .await
        .unwrap();

    assert_eq!(queue.dies(job).await, "a hopeless case");
    worker.stop().await;
    assert_eq!(stage.starts_of("a"), 1);
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_harms_no_other_job() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));

    let other = queue
        .producer()
        .enqueue(&act("other", Plot::Waits))
        .await
        .unwrap();
    stage.has_started("other").await;
    let job = queue
        .producer()
        .enqueue(&act("a", Plot::Panics))
        .await
        .unwrap();

    assert_eq!(
        queue.dies(job).await,
        "it panicked: the act fell through the floor"
    );
    assert_eq!(stage.starts_of("a"), 3);
    stage.open();
    stage.has_ended("other").await;
    worker.stop().await;
    assert_ne!(job, other);
    assert_eq!(stage.starts_of("other"), 1);
}

#[tokio::test]
async fn a_panic_beside_the_run_buries_the_job_and_frees_its_slot() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));

    let job = queue.producer().enqueue(&Clumsy).await.unwrap();

    assert_eq!(
        queue.dies(job).await,
        "it panicked beside its run: and then it tripped"
    );
    queue
        .producer()
        .enqueue(&act("next", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("next").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_fails_and_frees_its_slot() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));

    let job = queue.producer().enqueue(&Hasty).await.unwrap();

    assert_eq!(
        queue.dies(job).await,
        "it took longer than its limit of 30ms"
    );
    assert_eq!(queue.history(job).await.len(), 2);
    queue
        .producer()
        .enqueue(&act("next", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("next").await;
    worker.stop().await;
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_dead_with_a_clear_reason() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));

    let args = RawValue::from_string("[1, 2]".to_owned()).unwrap();
    let job = queue
        .producer()
        .enqueue_raw("test.act", &args, &Options::default())
        .await
        .unwrap();

    let reason = queue.dies(job).await;
    assert!(
        reason.starts_with("its arguments do not fit `test.act`"),
        "{reason}"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_dead_with_a_clear_reason_and_never_looped() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let bodies: [&[u8]; 7] = [
        b"",
        b"not json",
        b"{\"task\":\"test.act\"",
        b"{}",
        b"[]",
        b"\xff\xfe{}",
        b"{\"task\":5,\"args\":{}}",
    ];
    let mut jobs = Vec::new();
    for body in bodies {
        let job = queue
            .producer()
            .enqueue(&act("a", Plot::Brief))
            .await
            .unwrap();
        queue.set_body(job, body).await;
        jobs.push(job);
    }

    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));

    for job in jobs {
        let reason = queue.dies(job).await;
        assert!(
            reason.contains("cannot be read") || reason.contains("not UTF-8"),
            "{reason}"
        );
        assert_eq!(queue.history(job).await.len(), 1, "it was tried once");
    }
    queue
        .producer()
        .enqueue(&act("next", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("next").await;
    worker.stop().await;
    assert_eq!(stage.started(), ["next"]);
    queue.adds_up(7).await;
}

/// As if this worker had been given up: its claim is taken from it and the job listed again.
pub(super) async fn take_away(
    queue: &TestQueue,
    worker: &common::testing::RunningWorker,
    job: JobId,
) {
    let id = job.to_string();
    queue.take_away(worker.id, job).await;
    let _: usize = queue
        .command(&["ZADD", &queue.keys.loose(Queue::Default), "0", &id])
        .await;
    let _: usize = queue
        .command(&["RPUSH", &queue.keys.queue(Queue::Default), &id])
        .await;
}

#[tokio::test]
async fn what_a_worker_settles_after_its_claim_was_lost_is_refused() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let queue = TestQueue::start();
    let stage = Stage::new();
    let zombie = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let job = queue
        .producer()
        .enqueue(&act("a", Plot::Waits))
        .await
        .unwrap();
    stage.has_started("a").await;
    take_away(&queue, &zombie, job).await;
    let second = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.has_started_times("a", 2).await;

    stage.open();

    stage.have_ended(2).await; // both ran to the end
    queue.ends_clean().await;
    zombie.stop().await;
    second.stop().await;
    assert_eq!(queue.stat("completed:default").await, 1);
    let counted = recorder.handle().render();
    assert!(
        counted.contains("rhubarb_stale_settlements_total 1\n"),
        "{counted}"
    );
}

#[tokio::test]
async fn a_worker_that_lost_a_claim_and_made_it_again_stops_in_time() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let mut options = TestQueue::options("default=2");
    options.shutdown_patience = std::time::Duration::from_millis(50);
    let worker = queue.worker(stage.registry(), options);
    let job = queue
        .producer()
        .enqueue(&act("a", Plot::Waits))
        .await
        .unwrap();
    stage.has_started("a").await;
    take_away(&queue, &worker, job).await;
    stage.has_started_times("a", 2).await;

    worker.stop().await; // neither run would end by itself

    assert_eq!(queue.listed(Queue::Default).await, 1);
    queue.adds_up(1).await;
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_found_and_run() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));
    eventually("the worker beats", async || {
        queue
            .command::<Option<f64>>(&["ZSCORE", &queue.keys.workers(), &worker.id.to_string()])
            .await
    })
    .await;
    // Made by hand as the claim script makes it, and told to nobody.
    let id = "default-1";
    let body = r#"{"task":"test.act","args":{"name":"a","plot":"Brief"}}"#;
    let _: usize = queue
        .command(&[
            "HSET",
            &queue.keys.mark(Queue::Default),
            "last",
            "1",
            "cursor",
            "1",
        ])
        .await;
    let _: usize = queue
        .command(&["HSET", &queue.keys.stats(), "enqueued:default", "1"])
        .await;
    queue.set_body(id.parse().unwrap(), body.as_bytes()).await;
    let claims = queue.keys.claims(worker.id);
    let _: usize = queue
        .command(&["HSET", &claims, "1@1", &format!("{id} ")])
        .await;

    stage.has_ended("a").await;

    queue.ends_clean().await;
    worker.stop().await;
}
