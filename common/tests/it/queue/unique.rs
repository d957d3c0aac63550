//! Unique jobs: until they are done, until they are started, once in a period, debounced.

use std::time::Duration;

use common::{
    queue::{
        EnqueueError, Enqueued, Lane, Options, Producer, Unique, audit::Auditor, operate::Operator,
    },
    testing::{TestQueue, eventually},
};

use super::{Act, Look, Plot, Stage, act, brief};

const LONG: Duration = Duration::from_secs(3600);

fn as_(unique: Unique) -> Options {
    Options {
        unique: Some(unique),
        ..Options::default()
    }
}

async fn enqueue(producer: &Producer, act: &Act, options: &Options) -> Enqueued {
    producer.enqueue_unique(act, options).await.unwrap()
}

async fn keys_held(queue: &TestQueue) -> usize {
    queue.command(&["HLEN", &queue.keys.unique()]).await
}

#[tokio::test]
async fn until_it_has_ended_a_second_enqueue_gets_the_first_ones_id() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let options = as_(Unique::until_done("k"));

    let first = enqueue(&producer, &act("a", Plot::Waits), &options).await;
    let waiting = enqueue(&producer, &act("b", Plot::Brief), &options).await;
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.has_started("a").await;
    let running = enqueue(&producer, &act("c", Plot::Brief), &options).await;
    let other = enqueue(
        &producer,
        &act("d", Plot::Brief),
        &as_(Unique::until_done("l")),
    )
    .await;
    stage.open();
    stage.have_ended(2).await;
    queue.ends_clean().await;
    let again = enqueue(&producer, &act("e", Plot::Brief), &options).await;

    assert!(!first.existed && !other.existed && !again.existed);
    assert!(waiting.existed && running.existed);
    assert_eq!([waiting.id, running.id], [first.id, first.id]);
    queue.ends_clean().await;
    let mut started = stage.started();
    started.sort();
    assert_eq!(started, ["a", "d", "e"]);
    worker.stop().await;
}

#[tokio::test]
async fn of_two_producers_at_once_one_makes_the_job() {
    let queue = TestQueue::start();
    let producer = queue.producer();
    let options = as_(Unique::until_done("k"));
    let one = act("a", Plot::Brief);

    let calls = (0..20).map(|_| enqueue(&producer, &one, &options));
    let made = futures_util::future::join_all(calls).await;

    assert_eq!(made.iter().filter(|made| !made.existed).count(), 1);
    assert!(made.iter().all(|other| other.id == made[0].id));
    queue.adds_up(1).await;
}

#[tokio::test]
async fn a_job_that_waits_for_another_attempt_holds_its_key_and_a_dead_one_does_not() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let options = as_(Unique::until_done("k"));
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let dead = enqueue(&producer, &act("a", Plot::Fatal), &options).await;
    queue.dies(dead.id).await;
    assert_eq!(keys_held(&queue).await, 0);

    let flaw = enqueue(&producer, &act("b", Plot::Fails(1)), &options).await;
    stage.has_started("b").await;
    let second = enqueue(&producer, &act("c", Plot::Brief), &options).await;

    assert!(!flaw.existed);
    // It may have had its second attempt meanwhile.
    assert!(second.existed || stage.starts_of("b") == 2);
    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
    operator.discard(&[dead.id]).await.unwrap();
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn until_it_is_started_only_one_waits() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let options = as_(Unique::until_started("k"));
    let first = enqueue(&producer, &act("a", Plot::Waits), &options).await;
    let same = enqueue(&producer, &act("b", Plot::Brief), &options).await;
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.has_started("a").await;

    let second = enqueue(&producer, &act("c", Plot::Brief), &options).await;
    let third = enqueue(&producer, &act("d", Plot::Brief), &options).await;

    assert_eq!((same.existed, same.id), (true, first.id));
    assert_eq!((second.existed, third.existed), (false, true));
    stage.open();
    queue.ends_clean().await;
    assert_eq!(stage.started(), ["a", "c"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_job_whose_worker_died_before_its_start_still_holds_its_key() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let options = as_(Unique::until_started("k"));
    let first = enqueue(&producer, &act("a", Plot::Brief), &options).await;
    queue
        .pop_and_die(common::queue::Queue::Default)
        .await
        .unwrap();

    let second = enqueue(&producer, &act("b", Plot::Brief), &options).await;

    assert_eq!((second.existed, second.id), (true, first.id));
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    queue.ends_clean().await;
    assert_eq!(stage.started(), ["a"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_key_whose_job_vanished_holds_nobody_up() {
    let queue = TestQueue::start();
    let producer = queue.producer();
    for unique in [Unique::until_done("k"), Unique::until_started("k")] {
        let field = "test.act:k";
        let _: usize = queue
            .command(&["HSET", &queue.keys.unique(), field, "low-7"])
            .await;
        let auditor = Auditor::new(queue.redis.clone(), queue.keys.clone());
        let mut report = auditor.audit(|_| {}).await.unwrap();
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);

        let made = enqueue(&producer, &act("a", Plot::Brief), &as_(unique)).await;

        assert!(!made.existed);
        auditor.repair(&mut report.findings, |_| {}).await.unwrap();
        assert_eq!(keys_held(&queue).await, 1, "the new one's is left alone");
    }
}

#[tokio::test]
async fn a_resend_within_the_period_gets_the_first_ones_id_even_when_it_is_done() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    let options = as_(Unique::once_in(LONG, "request-17"));
    let first = enqueue(&producer, &act("a", Plot::Brief), &options).await;
    stage.has_ended("a").await;

    let again = enqueue(&producer, &act("a", Plot::Brief), &options).await;

    assert_eq!((again.existed, again.id), (true, first.id));
    let key = queue.keys.once("test.act:request-17");
    let left: i64 = queue.command(&["PTTL", &key]).await;
    assert!((1..=3_600_000).contains(&left));
    // As if the period had passed.
    let _: usize = queue.command(&["DEL", &key]).await;
    let other = enqueue(&producer, &act("b", Plot::Brief), &options).await;
    assert!(!other.existed);
    stage.has_ended("b").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_debounced_job_runs_once_with_the_last_arguments() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let due = async |id: &Enqueued| -> f64 {
        let key = queue.keys.scheduled();
        queue.command(&["ZSCORE", &key, &id.id.to_string()]).await
    };
    let long = as_(Unique::debounced(LONG, 2 * LONG, "k"));
    let first = enqueue(&producer, &act("a", Plot::Brief), &long).await;
    let first_due = due(&first).await;
    let second = enqueue(&producer, &act("b", Plot::Brief), &long).await;
    assert!(!first.existed && second.existed && second.id == first.id);
    assert!(due(&second).await >= first_due);

    // At most so long after the first: here, at once.
    let soon = as_(Unique::debounced(LONG, Duration::ZERO, "k"));
    let third = enqueue(&producer, &act("c", Plot::Waits), &soon).await;
    assert_eq!((third.existed, third.id), (true, first.id));
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.has_started("c").await;

    let fourth = enqueue(&producer, &act("d", Plot::Brief), &soon).await;
    assert!(
        !fourth.existed,
        "what comes after the start makes a new one"
    );
    stage.open();
    queue.ends_clean().await;
    assert_eq!(stage.started(), ["c", "d"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_debounced_job_that_waits_in_line_still_takes_new_arguments() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let soon = as_(Unique::debounced(Duration::ZERO, LONG, "k"));
    let through = |name: &str| Options {
        lane: Some(Lane::new(name, 1)),
        ..soon.clone()
    };
    let worker = queue.worker(stage.registry(), TestQueue::options("high=1"));
    let first = enqueue(&producer, &act("a", Plot::Brief), &soon).await;
    eventually("it is due", async || {
        (queue.listed(common::queue::Queue::Default).await == 1).then_some(())
    })
    .await;

    let same = enqueue(&producer, &act("b", Plot::Brief), &soon).await;
    // Into a lane, into another one, out again, and in.
    for name in ["x", "y"] {
        let moved = enqueue(&producer, &act(name, Plot::Brief), &through(name)).await;
        assert_eq!(moved.id, first.id);
        let slots: usize = queue.command(&["SCARD", &queue.keys.slots(name)]).await;
        assert_eq!(slots, 1);
    }
    enqueue(&producer, &act("c", Plot::Brief), &soon).await;
    let last = enqueue(&producer, &act("d", Plot::Brief), &through("x")).await;

    assert_eq!([same.id, last.id], [first.id, first.id]);
    let auditor = Auditor::new(queue.redis.clone(), queue.keys.clone());
    assert_eq!(auditor.audit(|_| {}).await.unwrap().findings, []);
    let other = queue.worker(stage.registry(), TestQueue::options("default=1"));
    queue.ends_clean().await;
    assert_eq!(stage.started(), ["d"]);
    worker.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_bulk_of_unique_jobs_of_one_key_makes_one() {
    let queue = TestQueue::start();

    let ids = queue
        .producer()
        .enqueue_all(&brief(0..5), &as_(Unique::until_done("k")))
        .await
        .unwrap();

    assert!(ids.len() == 5 && ids.iter().all(|id| *id == ids[0]));
    queue.adds_up(1).await;
    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
    operator.discard(&ids[..1]).await.unwrap();
    assert_eq!(keys_held(&queue).await, 0);
}

#[tokio::test]
async fn a_key_that_is_too_long_is_refused() {
    let queue = TestQueue::start();
    let options = as_(Unique::until_done("k".repeat(600)));

    let refused = queue
        .producer()
        .enqueue_with(&act("a", Plot::Brief), &options)
        .await;

    assert!(matches!(refused, Err(EnqueueError::LongKey { .. })));
}
