//! Cancel: a job ends for good wherever it is, and whoever asked for it hears of it.

use std::time::Duration;

use common::{
    queue::{
        CallError, JobId, Options, Outcome, Queue, When, WorkerOptions, cancel::Cancel,
        operate::Operator,
    },
    testing::{PATIENCE, RunningWorker, TestQueue, eventually},
};

use super::{
    Look, Plot, Stage, act, brief, fan,
    recite::{How, recite},
    stage::{Act, Shy},
};

fn operator(queue: &TestQueue) -> Operator {
    Operator::new(queue.redis.clone(), queue.keys.clone())
}

/// Cancels one job, and waits if somebody runs it.
async fn cancel(queue: &TestQueue, job: JobId) -> Cancel {
    let mut answers = operator(queue)
        .cancel_and_wait(&[job], PATIENCE)
        .await
        .unwrap();
    answers.pop().unwrap()
}

/// A worker that hears nothing for a while.
fn deaf(limits: &str) -> WorkerOptions {
    WorkerOptions {
        beat: PATIENCE,
        time_to_live: PATIENCE * 3,
        shutdown_patience: Duration::from_millis(50),
        ..TestQueue::options(limits)
    }
}

/// Asks for a cancel as the script does, and rings no bell.
async fn ask_silently(queue: &TestQueue, worker: &RunningWorker, job: JobId) {
    let lease = &queue.held(worker.id).await[&job];
    let cancels = queue.keys.cancels(worker.id);
    let id = job.to_string();
    let _: usize = queue.command(&["HSET", &cancels, &id, lease]).await;
}

#[tokio::test]
async fn what_nobody_runs_ends_at_once_wherever_it_is() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let waiting = producer
        .enqueue(&act("waiting", Plot::Brief))
        .await
        .unwrap();
    let later = Options {
        when: When::In(PATIENCE),
        ..Options::default()
    };
    let scheduled = act("scheduled", Plot::Brief);
    let scheduled = producer.enqueue_with(&scheduled, &later).await.unwrap();
    let low = Options {
        queue: Some(Queue::Low),
        ..Options::default()
    };
    let dead = act("dead", Plot::Fatal);
    let dead = producer.enqueue_with(&dead, &low).await.unwrap();
    let burier = queue.worker(stage.registry(), TestQueue::options("low=1"));
    queue.dies(dead).await;
    burier.stop().await;

    let jobs = [waiting, scheduled, dead];
    let answers = operator(&queue).cancel(&jobs).await.unwrap();

    assert!(
        answers.iter().all(|a| matches!(a, Cancel::Cancelled)),
        "{answers:?}"
    );
    let again = operator(&queue).cancel(&jobs).await.unwrap();
    assert!(
        again.iter().all(|a| matches!(a, Cancel::Ended(None))),
        "{again:?}"
    );
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(stage.started(), ["dead"]);
    assert_eq!(queue.stat("cancelled:default").await, 2);
    assert_eq!(queue.stat("cancelled:low").await, 1);
}

#[tokio::test]
async fn a_running_job_is_dropped_and_its_caller_hears_of_it() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let producer = queue.producer();
    let called = tokio::spawn({
        let producer = producer.clone();
        async move { producer.call(&recite("a", How::WhenOpen)).await }
    });
    stage.has_started("a").await;
    let job: JobId = "default-1".parse().unwrap();

    let answer = cancel(&queue, job).await;

    assert!(matches!(answer, Cancel::Cancelled), "{answer:?}");
    let called = called.await.unwrap();
    assert!(
        matches!(called, Err(CallError::Cancelled { .. })),
        "{called:?}"
    );
    // Its slot is free again.
    let next = producer.call(&recite("b", How::AtOnce)).await;
    assert_eq!(next.unwrap(), "b: run 1");
    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(queue.stat("cancelled:default").await, 1);
    assert!(!stage.ended().contains(&"a".to_owned()));
}

#[tokio::test]
async fn a_job_that_listens_may_end_in_order() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let producer = queue.producer();
    let mut answers = Vec::new();
    for (name, how) in [
        ("well", How::UntilStopped),
        ("badly", How::UntilAnnoyed),
        ("never", How::Stubbornly),
    ] {
        let job = producer.enqueue(&recite(name, how)).await.unwrap();
        stage.has_started(name).await;
        answers.push(cancel(&queue, job).await);
    }

    let [
        Cancel::Ended(Some(Outcome::Done(output))),
        Cancel::Cancelled,
        Cancel::Cancelled,
    ] = &answers[..]
    else {
        panic!("{answers:?}");
    };
    assert_eq!(output.get(), "null", "nobody had asked for the output");
    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(stage.starts_of("Cancelled"), 2);
    assert_eq!(stage.ended(), ["well"]);
    assert_eq!(queue.stat("cancelled:default").await, 2);
    assert_eq!(queue.stat("completed:default").await, 1);
}

#[tokio::test]
async fn a_job_between_two_attempts_is_not_tried_again() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let job = queue.producer().enqueue(&Shy).await.unwrap();
    eventually("it is to be tried again", async || {
        let due: Option<f64> = queue
            .command(&["ZSCORE", &queue.keys.scheduled(), &job.to_string()])
            .await;
        due
    })
    .await;

    let answer = cancel(&queue, job).await;

    assert!(matches!(answer, Cancel::Cancelled), "{answer:?}");
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn an_attempt_that_fails_before_its_worker_heard_is_the_last() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), deaf("default=1"));
    let producer = queue.producer();
    let options = Options {
        keep_result: Some(PATIENCE),
        ..Options::default()
    };
    let task = act("a", Plot::WaitsAndFails);
    let job = producer.enqueue_with(&task, &options).await.unwrap();
    stage.has_started("a").await;
    ask_silently(&queue, &worker, job).await;

    stage.open();

    let ended = producer.handle::<Act>(job).wait(PATIENCE).await;
    let Err(CallError::Cancelled { reason, .. }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(reason, "cancelled; its last attempt failed: it was booed");
    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(stage.starts_of("a"), 1);
}

#[tokio::test]
async fn what_a_dead_worker_was_to_cancel_does_not_run_again() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let first = queue.worker(stage.registry(), TestQueue::options("default=2"));
    let producer = queue.producer();
    let cancelled = producer.enqueue(&act("a", Plot::Waits)).await.unwrap();
    producer.enqueue(&act("b", Plot::Waits)).await.unwrap();
    stage.has_started("a").await;
    stage.has_started("b").await;
    first.vanish().await;

    let asked = operator(&queue).cancel(&[cancelled]).await.unwrap();
    assert!(matches!(asked[..], [Cancel::Asked]), "{asked:?}");
    let answer = tokio::spawn({
        let operator = operator(&queue);
        async move { operator.cancel_and_wait(&[cancelled], PATIENCE).await }
    });
    let second = queue.worker(stage.registry(), TestQueue::options("default=2"));
    stage.has_started_times("b", 2).await;
    stage.open();

    let answer = answer.await.unwrap().unwrap();
    assert!(
        matches!(answer[..], [Cancel::Cancelled | Cancel::Ended(None)]),
        "{answer:?}"
    );
    queue.ends_clean().await;
    second.stop().await;
    assert_eq!(stage.starts_of("a"), 1);
    assert_eq!(queue.stat("cancelled:default").await, 1);
}

#[tokio::test]
async fn what_a_worker_that_stops_was_to_cancel_is_not_given_back_and_its_group_hears_of_it() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), deaf("default=2"));
    let master = fan(vec![act("child", Plot::Waits)]);
    queue.producer().enqueue(&master).await.unwrap();
    stage.has_started("child").await;
    let child: JobId = "default-2".parse().unwrap();
    ask_silently(&queue, &worker, child).await;

    worker.stop().await;

    assert_eq!(queue.stat("cancelled:default").await, 1);
    let next = queue.worker(stage.registry(), TestQueue::options("default=2"));
    // By the word of the turn that gives it back, or of the beat that tells that the worker stops.
    eventually("the group hears of it", async || {
        let ended = stage.ended();
        let sums = ["sum[cancelled]", "sum[cancelled while it ran]"];
        sums.iter()
            .any(|sum| ended.iter().any(|name| name == sum))
            .then_some(())
    })
    .await;
    queue.ends_clean().await;
    next.stop().await;
}

#[tokio::test]
async fn a_cancelled_child_counts_as_failed() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));
    let master = fan(vec![act("child", Plot::Waits), act("other", Plot::Brief)]);
    queue.producer().enqueue(&master).await.unwrap();
    stage.has_started("child").await;

    let answer = cancel(&queue, "default-2".parse().unwrap()).await;

    assert!(matches!(answer, Cancel::Cancelled), "{answer:?}");
    stage.has_ended("sum[cancelled while it ran]").await;
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn the_children_of_a_master_can_be_cancelled_together() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));
    let children = (0..300).map(|n| act(n, Plot::Waits)).collect();
    let master = queue.producer().enqueue(&fan(children)).await.unwrap();
    eventually("the master and two children have started", async || {
        (stage.started().len() == 3).then_some(())
    })
    .await;

    let cancelled = operator(&queue).cancel_children(master).await.unwrap();

    assert_eq!(cancelled, 300);
    queue.ends_clean().await; // what follows ran, or this would not end
    worker.stop().await;
    assert_eq!(queue.stat("cancelled:default").await, 300);
    assert_eq!(stage.ended().len(), 1, "the sum");
}

#[tokio::test]
async fn nothing_follows_a_master_that_is_cancelled_before_it_named_all_children() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let mut master = fan(brief(0..600));
    master.stumbles = Some(450); // the first 400 are sent by then
    let job = queue.producer().enqueue(&master).await.unwrap();
    stage.has_started("master stumbles").await;

    let answer = cancel(&queue, job).await;

    assert!(matches!(answer, Cancel::Cancelled), "{answer:?}");
    stage.have_ended(400).await;
    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(stage.ended().len(), 400, "and no sum");
}

#[tokio::test]
async fn a_job_that_has_ended_says_so() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let producer = queue.producer();
    producer.call(&recite("a", How::AtOnce)).await.unwrap();

    let answer = cancel(&queue, "default-1".parse().unwrap()).await;
    let never = cancel(&queue, "default-99".parse().unwrap()).await;

    assert!(
        matches!(answer, Cancel::Ended(Some(Outcome::Done(_)))),
        "{answer:?}"
    );
    assert!(matches!(never, Cancel::Ended(None)), "{never:?}");
    worker.stop().await;
}

#[tokio::test]
async fn a_wish_that_came_too_late_is_answered_and_forgotten() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let mut heard = queue.redis.client().get_async_pubsub().await.unwrap();
    let job: JobId = "default-1".parse().unwrap();
    heard.subscribe(queue.keys.job(job)).await.unwrap();
    // As if the job had ended as plain jobs do, between the wish and the next heartbeat.
    let cancels = queue.keys.cancels(worker.id);
    let _: usize = queue.command(&["HSET", &cancels, "default-1", "1@1"]).await;

    let told = futures_util::StreamExt::next(&mut heard.on_message()).await;

    assert_eq!(told.unwrap().get_payload_bytes(), br#"{"ended":null}"#);
    queue.gone(&cancels).await;
    worker.stop().await;
}
