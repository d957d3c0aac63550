//! Timeouts and expiry: a job is told to stop, is stopped, or is not started at all.

use std::time::Duration;

use common::{
    queue::{CallError, Options},
    testing::{PATIENCE, TestQueue, eventually},
};

use super::{
    Look, Plot, Stage, act,
    recite::{How, recite},
};

const SHORT: Option<Duration> = Some(Duration::from_millis(30));

#[tokio::test]
async fn a_job_hears_of_its_soft_timeout_and_ends_in_order() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let soft = Options {
        soft_timeout: SHORT,
        ..Options::default()
    };

    let task = recite("a", How::UntilStopped);
    let called = queue.producer().call_with(&task, &soft).await;

    assert_eq!(called.unwrap(), "a: run 1");
    assert_eq!(stage.started(), ["a", "SoftTimeout"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_hard_timeout_of_the_jobs_own_drops_it() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let both = Options {
        soft_timeout: SHORT,
        timeout: Some(Duration::from_millis(90)),
        max_attempts: Some(1),
        ..Options::default()
    };

    let task = recite("a", How::Stubbornly);
    let called = queue.producer().call_with(&task, &both).await;

    let Err(CallError::Dead { reason, .. }) = called else {
        panic!("{called:?}");
    };
    assert_eq!(reason, "it took longer than its limit of 90ms");
    assert_eq!(stage.starts_of("SoftTimeout"), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_job_hears_of_the_shutdown_as_of_any_stop() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let producer = queue.producer();
    producer
        .enqueue(&recite("a", How::UntilStopped))
        .await
        .unwrap();
    stage.has_started("a").await;

    worker.stop().await;

    assert_eq!(stage.started(), ["a", "Shutdown"]);
    assert_eq!(queue.stat("completed:default").await, 1);
}

#[tokio::test]
async fn a_job_that_is_not_started_in_time_ends_without_having_run() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let soon = Options {
        expires_in: SHORT,
        ..Options::default()
    };
    let called = tokio::spawn({
        let (producer, soon) = (producer.clone(), soon.clone());
        async move { producer.call_with(&recite("a", How::AtOnce), &soon).await }
    });
    eventually("it waits", async || {
        (queue.listed(common::queue::Queue::Default).await == 1).then_some(())
    })
    .await;
    // By Redis's clock, as all that is late.
    let age = async || -> bool {
        let now: (u64, u64) = queue.command(&["TIME"]).await;
        let body = queue.body("default-1".parse().unwrap()).await.unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        now.0 * 1000 + now.1 / 1000 > body["at"].as_u64().unwrap() + 40
    };
    eventually("it is late", async || age().await.then_some(())).await;
    let in_time = Options {
        expires_in: Some(PATIENCE),
        ..Options::default()
    };
    let task = act("in time", Plot::Fails(1));
    producer.enqueue_with(&task, &in_time).await.unwrap();

    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));

    let called = called.await.unwrap();
    let Err(CallError::Expired { reason, .. }) = called else {
        panic!("{called:?}");
    };
    assert!(reason.contains("no more than 30 was allowed"), "{reason}");
    stage.has_ended("in time").await;
    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(stage.started(), ["in time", "in time"]);
    assert_eq!(queue.stat("expired:default").await, 1);
}
