//! Results: what a job gave back reaches whoever awaits it, whatever is killed or cut meanwhile.

use std::time::Duration;

use common::{
    queue::{
        CallError, JobHandle, JobId, Options, Outcome,
        inspect::{Inspector, show::Known},
        operate::Operator,
    },
    testing::{PATIENCE, RedisServer, TestQueue, eventually},
};
use futures_util::StreamExt;

use super::{
    Look, Stage,
    recite::{How, Recite, recite},
    settle::take_away,
};

/// Kept for longer than any test takes.
fn kept() -> Options {
    Options {
        keep_result: Some(PATIENCE * 2),
        ..Options::default()
    }
}

async fn listeners(queue: &TestQueue, channel: &str) -> usize {
    let (_, listeners): (String, usize) = queue.command(&["PUBSUB", "NUMSUB", channel]).await;
    listeners
}

/// Waits until somebody listens to a job's end.
async fn is_awaited(queue: &TestQueue, job: JobId) {
    eventually("somebody listens", async || {
        (listeners(queue, &queue.keys.job(job)).await > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_returns_what_the_task_gave_back() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));
    let producer = queue.producer();

    let (a, b) = tokio::join!(
        async { producer.call(&recite("a", How::AtOnce)).await },
        async { producer.call(&recite("b", How::AtOnce)).await }
    );
    assert_eq!(a.unwrap(), "a: run 1");
    assert_eq!(b.unwrap(), "b: run 1");

    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_call_of_a_job_that_dies_tells_why_and_a_retry_replaces_its_outcome() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));
    let producer = queue.producer();

    let called = producer
        .call_with(&recite("a", How::BadlyAtFirst), &kept())
        .await;
    let Err(CallError::Dead { job, reason }) = called else {
        panic!("{called:?}");
    };
    assert_eq!(reason, "stage fright");
    let handle: JobHandle<Recite> = producer.handle(job);
    let outcome = handle.outcome().await.unwrap().unwrap().unwrap();
    assert_eq!(outcome, Outcome::Dead("stage fright".into()));

    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
    operator.retry(&[job]).await.unwrap();
    assert_eq!(handle.wait(PATIENCE).await.unwrap(), "a: run 2");
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn an_outcome_is_kept_for_as_long_as_was_asked() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));
    let producer = queue.producer();
    let enqueue = async |options: &Options| {
        let task = recite("a", How::AtOnce);
        let job = producer.enqueue_with(&task, options).await.unwrap();
        producer.handle::<Recite>(job)
    };
    let long = enqueue(&kept()).await;
    let brief = Options {
        keep_result: Some(Duration::from_millis(1)),
        ..Options::default()
    };
    let brief = enqueue(&brief).await;
    let not = enqueue(&Options::default()).await;
    queue.ends_clean().await;

    assert!(long.wait(PATIENCE).await.unwrap().starts_with("a: run"));
    assert!(long.wait(PATIENCE).await.is_ok(), "it can be read again");
    let expires_in: i64 = queue
        .command(&["PTTL", &queue.keys.result(long.id())])
        .await;
    assert!(expires_in > 0, "it expires");
    eventually("the brief one is gone", async || {
        brief.outcome().await.unwrap().is_none().then_some(())
    })
    .await;
    for gone in [brief, not] {
        let error = gone.wait(PATIENCE).await.unwrap_err();
        assert!(matches!(error, CallError::Gone(_)), "{error}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn to_wait_for_what_is_not_kept_is_an_error_at_once() {
    let queue = TestQueue::start();
    let producer = queue.producer();
    let job = producer.enqueue(&recite("a", How::AtOnce)).await.unwrap();

    let error = producer.handle::<Recite>(job).wait(PATIENCE).await;

    assert!(matches!(error, Err(CallError::NotKept(_))), "{error:?}");
}

#[tokio::test]
async fn whoever_waits_is_told_and_nobody_listens_afterwards() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));
    let producer = queue.producer();
    let task = recite("a", How::WhenOpen);
    let job = producer.enqueue_with(&task, &kept()).await.unwrap();
    let handle: JobHandle<Recite> = producer.handle(job);
    let hasty = handle.wait(Duration::from_millis(1)).await;
    assert!(matches!(hasty, Err(CallError::NotYet { .. })), "{hasty:?}");
    let two = [handle.clone(), handle.clone()]
        .map(|handle| tokio::spawn(async move { handle.wait(PATIENCE).await }));
    is_awaited(&queue, job).await;

    stage.open();

    for waits in two {
        assert_eq!(waits.await.unwrap().unwrap(), "a: run 1");
    }
    eventually("nobody listens", async || {
        (listeners(&queue, &queue.keys.job(job)).await == 0).then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn an_end_that_was_published_while_the_subscription_was_cut_is_found() {
    let server = RedisServer::start(&[]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));
    let producer = queue.producer();
    let called = tokio::spawn({
        let producer = producer.clone();
        async move { producer.call(&recite("a", How::WhenOpen)).await }
    });
    let task = recite("b", How::WhenOpen);
    let job = producer.enqueue_with(&task, &kept()).await.unwrap();
    let handle = producer.handle::<Recite>(job);
    let awaited = tokio::spawn(async move { handle.wait(PATIENCE).await });
    is_awaited(&queue, job).await;
    stage.has_started("a").await;
    stage.has_started("b").await;

    let _: usize = queue.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    stage.open();

    assert_eq!(called.await.unwrap().unwrap(), "a: run 1");
    assert_eq!(awaited.await.unwrap().unwrap(), "b: run 1");
    worker.stop().await;
}

#[tokio::test]
async fn a_call_survives_the_worker_that_dies_after_the_effect() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let first = queue.worker(stage.registry(), TestQueue::options("default=8"));
    let producer = queue.producer();
    let called = tokio::spawn(async move { producer.call(&recite("a", How::WhenOpen)).await });
    stage.has_started("a").await;

    first.vanish().await;
    stage.open();
    let second = queue.worker(stage.registry(), TestQueue::options("default=8"));

    assert_eq!(called.await.unwrap().unwrap(), "a: run 2");
    queue.ends_clean().await;
    second.stop().await;
}

#[tokio::test]
async fn what_a_refused_settlement_gave_back_is_never_told() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let zombie = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let producer = queue.producer();
    let task = recite("a", How::WhenOpen);
    let job = producer.enqueue_with(&task, &kept()).await.unwrap();
    stage.has_started("a").await;
    take_away(&queue, &zombie, job).await;
    let second = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.has_started_times("a", 2).await;

    stage.open();

    stage.have_ended(2).await;
    let told = producer.handle::<Recite>(job).wait(PATIENCE).await;
    assert_eq!(told.unwrap(), "a: run 2");
    zombie.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_is_too_large_to_keep_buries_the_job() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));

    let called = queue
        .producer()
        .call(&recite("a", How::AtLength(2 << 20)))
        .await;

    let error = called.unwrap_err().to_string();
    assert!(error.contains("is the most that is kept"), "{error}");
    worker.stop().await;
}

#[tokio::test]
async fn progress_is_told_and_is_gone_with_the_job() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let producer = queue.producer();
    let job = producer.enqueue(&recite("a", How::Telling)).await.unwrap();
    let handle: JobHandle<Recite> = producer.handle(job);
    let mut updates = handle.updates::<u32>();

    assert_eq!(updates.next().await.unwrap().unwrap(), 1);
    let now = handle.progress::<u32>().await.unwrap();
    assert_eq!(now.unwrap().unwrap(), 1);
    let inspector = Inspector::new(queue.redis.clone(), queue.keys.clone());
    let Known::Job(seen) = inspector.show(job).await.unwrap() else {
        panic!("the job is here");
    };
    assert_eq!(seen.progress.unwrap().get(), "1");
    stage.open();

    assert_eq!(updates.next().await.unwrap().unwrap(), 2);
    assert!(updates.next().await.is_none(), "the job has ended");
    assert!(handle.progress::<u32>().await.unwrap().is_none());
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn whoever_lost_the_claim_cannot_tell_progress() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let zombie = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let producer = queue.producer();
    let task = recite("a", How::Telling);
    let job = producer.enqueue(&task).await.unwrap();
    let mut updates = producer.handle::<Recite>(job).updates::<u32>();
    assert_eq!(updates.next().await.unwrap().unwrap(), 1);
    take_away(&queue, &zombie, job).await;
    stage.open();

    let lost = format!("{job} is no longer this worker's: its heartbeat had ended");
    stage.has_ended(&lost).await;
    // The zombie itself claims it again.
    stage.has_ended("a").await;
    queue.ends_clean().await;
    zombie.stop().await;
}
