//! Pause, drain, resume: what a person decides about a whole queue.

use std::time::Duration;

use common::{
    queue::{
        EnqueueError, Options, Queue, When, WorkerOptions,
        inspect::{Inspector, left::Left},
        operate::Operator,
    },
    testing::{TestQueue, eventually},
};

use super::{Look, Plot, Stage, act, brief, fan, names, onto, sorted};

fn operator(queue: &TestQueue) -> Operator {
    Operator::new(queue.redis.clone(), queue.keys.clone())
}

fn inspector(queue: &TestQueue) -> Inspector {
    Inspector::new(queue.redis.clone(), queue.keys.clone())
}

async fn waiting(queue: &TestQueue, of: Queue) -> u64 {
    inspector(queue).left(of).await.unwrap().waiting
}

/// A worker that hears of nothing but by the bell: its beats are an hour apart.
fn hard_of_hearing(limits: &str) -> WorkerOptions {
    WorkerOptions {
        beat: Duration::from_secs(3600),
        time_to_live: Duration::from_secs(7200),
        ..TestQueue::options(limits)
    }
}

#[tokio::test]
async fn a_paused_queue_is_left_alone_while_others_run_and_what_runs_goes_on() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let (producer, operator) = (queue.producer(), operator(&queue));
    let worker = queue.worker(stage.registry(), TestQueue::options("high=2,low=2"));
    let low = onto(Queue::Low);
    let running = act("running", Plot::Waits);
    producer.enqueue_with(&running, &low).await.unwrap();
    stage.has_started("running").await;

    assert!(
        operator
            .clone()
            .acting_for("ada")
            .pause(Queue::Low)
            .await
            .unwrap()
    );
    assert!(
        !operator
            .clone()
            .acting_for("bob")
            .pause(Queue::Low)
            .await
            .unwrap(),
        "it was"
    );
    let later = act("later", Plot::Brief);
    producer.enqueue_with(&later, &low).await.unwrap();
    let soon = Options {
        when: When::In(Duration::from_millis(1)),
        ..low.clone()
    };
    let due = act("due", Plot::Brief);
    producer.enqueue_with(&due, &soon).await.unwrap();
    for one in brief(0..20) {
        producer
            .enqueue_with(&one, &onto(Queue::High))
            .await
            .unwrap();
    }
    stage.have_ended(20).await;
    stage.open();
    stage.has_ended("running").await;

    eventually("what was due waits", async || {
        (waiting(&queue, Queue::Low).await == 2).then_some(())
    })
    .await;
    assert_eq!(stage.starts_of("later") + stage.starts_of("due"), 0);
    let status = inspector(&queue).status().await.unwrap();
    let paused = status.queues[2].paused.clone().unwrap();
    assert_eq!(paused.by, "ada");
    assert!(paused.since_ms > 0 && paused.since_ms <= status.now_ms);

    assert!(operator.resume(Queue::Low).await.unwrap());
    stage.have_ended(23).await;
    assert!(
        !operator.resume(Queue::Low).await.unwrap(),
        "there was none"
    );
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn idle_workers_hear_of_a_resume_by_the_bell() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let operator = operator(&queue);
    operator
        .clone()
        .acting_for("ada")
        .pause(Queue::Default)
        .await
        .unwrap();
    let worker = queue.worker(stage.registry(), hard_of_hearing("high=1,default=1"));
    queue
        .producer()
        .enqueue(&act("a", Plot::Brief))
        .await
        .unwrap();
    queue
        .producer()
        .enqueue_with(&act("high", Plot::Brief), &onto(Queue::High))
        .await
        .unwrap();
    stage.has_ended("high").await;
    assert_eq!(stage.starts_of("a"), 0);

    operator.resume(Queue::Default).await.unwrap();

    stage.has_ended("a").await;
    // And of a pause: it asks for that queue no more.
    operator
        .clone()
        .acting_for("ada")
        .pause(Queue::Default)
        .await
        .unwrap();
    queue
        .producer()
        .enqueue(&act("b", Plot::Brief))
        .await
        .unwrap();
    queue
        .producer()
        .enqueue_with(&act("higher", Plot::Brief), &onto(Queue::High))
        .await
        .unwrap();
    stage.has_ended("higher").await;
    assert_eq!(waiting(&queue, Queue::Default).await, 1);
    worker.stop().await;
    assert_eq!(stage.starts_of("b"), 0);
}

#[tokio::test]
async fn a_worker_that_did_not_hear_of_a_pause_pops_and_lists_again() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), hard_of_hearing("default=2"));
    queue
        .producer()
        .enqueue(&act("a", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("a").await;

    // By hand, and nobody rings the bell.
    let paused = queue.keys.paused();
    let _: u32 = queue
        .command(&["HSET", &paused, "default", "by hand"])
        .await;
    let _: u32 = queue.command(&["HSET", &paused, "no queue", ""]).await;
    let ids = queue
        .producer()
        .enqueue_all(&brief(0..5), &Options::default())
        .await
        .unwrap();
    eventually("all are listed", async || {
        let listed: Vec<String> = queue
            .command(&["LRANGE", &queue.keys.queue(Queue::Default), "0", "-1"])
            .await;
        let ids: Vec<_> = ids.iter().rev().map(ToString::to_string).collect();
        (listed == ids).then_some(())
    })
    .await;
    assert_eq!(stage.started().len(), 1);

    operator(&queue).resume(Queue::Default).await.unwrap();
    stage.have_ended(6).await;
    worker.stop().await;
    assert_eq!(sorted(stage.started()[1..].to_vec()), names(0..5));
}

#[tokio::test]
async fn a_pause_outlives_the_workers() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    operator(&queue)
        .acting_for("ada")
        .pause(Queue::Default)
        .await
        .unwrap();
    for name in ["a", "b"] {
        queue
            .producer()
            .enqueue(&act(name, Plot::Brief))
            .await
            .unwrap();
        let worker = queue.worker(stage.registry(), TestQueue::options("high=1,default=1"));
        let other = act(format!("other {name}"), Plot::Brief);
        let high = onto(Queue::High);
        queue.producer().enqueue_with(&other, &high).await.unwrap();
        stage.has_ended(&other.name).await;
        worker.stop().await;
    }

    assert_eq!(stage.started(), ["other a", "other b"]);
    assert_eq!(queue.listed(Queue::Default).await, 2);
}

#[tokio::test]
async fn a_draining_queue_takes_nothing_from_outside_and_finishes_its_groups() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let (producer, operator) = (queue.producer(), operator(&queue));
    let low = onto(Queue::Low);
    let mut whole = fan(vec![act("first", Plot::Brief), act("second", Plot::Waits)]);
    whole.stumbles = Some(1);
    producer.enqueue_with(&whole, &low).await.unwrap();
    let worker = queue.worker(stage.registry(), TestQueue::options("low=2"));
    stage.has_started("master stumbles").await;

    assert!(
        operator
            .clone()
            .acting_for("ada")
            .drain(Queue::Low)
            .await
            .unwrap()
    );

    let one = act("no", Plot::Brief);
    let soon = Options {
        when: When::In(Duration::ZERO),
        ..low.clone()
    };
    for refused in [
        producer.enqueue_with(&one, &low).await.map(|id| vec![id]),
        producer.enqueue_with(&one, &soon).await.map(|id| vec![id]),
        producer.enqueue_all(&brief(0..3), &low).await,
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(
            refused,
            EnqueueError::Draining { queue: Queue::Low }
        ));
        assert!(
            refused.to_string().contains("queue `low` drains"),
            "{refused}"
        );
    }
    producer
        .enqueue_with(&one, &onto(Queue::High))
        .await
        .unwrap();

    stage.open();
    stage.has_ended("sum[]").await;
    let drained = Left {
        waiting: 0,
        claimed: 0,
        parked: 0,
        kept: 0,
        inbox: 0,
        paused: false,
    };
    eventually("nothing of it is left", async || {
        let left = inspector(&queue).left(Queue::Low).await.unwrap();
        (left == drained).then_some(())
    })
    .await;
    operator.resume(Queue::Low).await.unwrap();
    producer.enqueue_with(&one, &low).await.unwrap();
    stage.has_ended("no").await;
    worker.stop().await;
}

#[tokio::test]
async fn what_is_left_of_a_queue_is_told_by_where_it_is() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let worker = queue.worker(stage.registry(), TestQueue::options("low=1"));
    let low = onto(Queue::Low);
    let held = act("held", Plot::Waits);
    let dead = act("dead", Plot::Fatal);
    let dead = producer.enqueue_with(&dead, &low).await.unwrap();
    queue.dies(dead).await;
    let inbox = queue.keys.inbox(Queue::Low);
    let _: usize = queue
        .command(&["LPUSH", &inbox, r#"{"task":"test.unheard_of"}"#])
        .await;
    eventually("it is parked", async || {
        let left = inspector(&queue).left(Queue::Low).await.unwrap();
        (left.parked == 1).then_some(())
    })
    .await;
    producer.enqueue_with(&held, &low).await.unwrap();
    stage.has_started("held").await;
    producer.enqueue_all(&brief(0..3), &low).await.unwrap();
    let later = Options {
        when: When::In(Duration::from_secs(3600)),
        ..low
    };
    assert!(!inspector(&queue).has_scheduled(Queue::Low).await.unwrap());
    producer.enqueue_all(&brief(3..5), &later).await.unwrap();
    operator(&queue)
        .acting_for("ada")
        .pause(Queue::Low)
        .await
        .unwrap();

    let left = inspector(&queue).left(Queue::Low).await.unwrap();

    let expected = Left {
        waiting: 3,
        claimed: 1,
        parked: 1,
        kept: 3,
        inbox: 0,
        paused: true,
    };
    assert_eq!(left, expected);
    assert!(inspector(&queue).has_scheduled(Queue::Low).await.unwrap());
    assert!(!inspector(&queue).has_scheduled(Queue::High).await.unwrap());
    stage.open();
    worker.stop().await;
}

#[tokio::test]
async fn a_draining_queue_takes_neither_unique_jobs_nor_flows() {
    let queue = TestQueue::start();
    operator(&queue)
        .acting_for("a test")
        .drain(Queue::Low)
        .await
        .unwrap();
    let unique = Options {
        unique: Some(common::queue::Unique::until_done("k")),
        ..onto(Queue::Low)
    };
    let flow = common::queue::job(&act("a", Plot::Brief))
        .then(common::queue::job(&act("b", Plot::Brief)).on(Queue::Low));

    let one = queue
        .producer()
        .enqueue_with(&act("a", Plot::Brief), &unique)
        .await;
    let many = queue.producer().start(flow).await;

    for refused in [one.map(drop), many.map(drop)] {
        let refused = refused.expect_err("a refusal");
        assert!(
            matches!(refused, EnqueueError::Draining { queue: Queue::Low }),
            "{refused}"
        );
    }
}
