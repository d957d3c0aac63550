//! Shutdown: finish what can be finished, give the rest back, take nothing more.

use std::time::Duration;

use common::{
    queue::{Options, Queue, WorkerOptions},
    testing::{RedisServer, TestQueue, eventually},
};

use super::{Look, Plot, Stage, act, brief, fan};

#[tokio::test]
async fn what_does_not_finish_in_time_is_given_back_and_does_not_count_as_an_attempt() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let hurried = WorkerOptions {
        shutdown_patience: Duration::from_millis(50),
        ..TestQueue::options("default=2")
    };
    let once = Options {
        max_attempts: Some(1),
        ..Options::default()
    };
    for name in ["a", "b"] {
        queue
            .producer()
            .enqueue_with(&act(name, Plot::Waits), &once)
            .await
            .unwrap();
    }
    let first = queue.worker(stage.registry(), hurried);
    stage.has_started("a").await;
    stage.has_started("b").await;

    first.stop().await;

    assert_eq!(queue.listed(Queue::Default).await, 2);
    assert!(
        !queue.key_names().await.contains(&"workers".to_owned()),
        "it signed off"
    );
    stage.open();
    let second = queue.worker(stage.registry(), TestQueue::options("default=2"));
    queue.ends_clean().await;
    second.stop().await;
    assert_eq!((stage.starts_of("a"), stage.starts_of("b")), (2, 2));
}

#[tokio::test]
async fn what_runs_is_given_back_though_the_connection_died_meanwhile() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let hurried = WorkerOptions {
        shutdown_patience: Duration::from_millis(50),
        ..TestQueue::options("default=1")
    };
    let job = act("a", Plot::Waits);
    queue.producer().enqueue(&job).await.unwrap();
    let worker = queue.worker(stage.registry(), hurried);
    stage.has_started("a").await;
    let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
    let _: usize = queue.command(&kill).await;

    worker.stop().await;

    assert_eq!(queue.listed(Queue::Default).await, 1);
}

#[tokio::test]
async fn what_finishes_while_redis_is_away_is_settled_when_it_is_back() {
    let mut server = RedisServer::start(&["--appendfsync", "always"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let job = act("long", Plot::Hears);
    queue.producer().enqueue(&job).await.unwrap();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.has_started("long").await;

    let stopping = tokio::spawn(worker.stop());
    stage.has_started("the stop").await;
    server.kill();
    stage.open();
    stage.has_ended("long").await;
    server.restart();
    stopping.await.unwrap();

    queue.ends_clean().await;
}

#[tokio::test]
async fn what_finishes_in_time_is_settled_and_nothing_more_is_claimed() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));
    queue
        .producer()
        .enqueue(&act("long", Plot::Hears))
        .await
        .unwrap();
    stage.has_started("long").await;

    let stopping = tokio::spawn(worker.stop());
    stage.has_started("the stop").await;
    queue
        .producer()
        .enqueue_all(&brief(0..5), &Options::default())
        .await
        .unwrap();
    stage.open();
    stopping.await.unwrap();

    assert_eq!(stage.ended(), ["long"]);
    assert_eq!(stage.started(), ["long", "the stop"]);
    assert_eq!(queue.listed(Queue::Default).await, 5);
    queue.adds_up(5).await;
}

#[tokio::test]
async fn an_idle_worker_stops_at_once_and_leaves_no_trace() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(
        stage.registry(),
        TestQueue::options("high=2,default=2,low=2"),
    );
    eventually("it has looked once", async || {
        queue
            .key_names()
            .await
            .contains(&"looked".to_owned())
            .then_some(())
    })
    .await;

    worker.stop().await;

    assert!(
        queue.key_names().await.is_empty(),
        "{:?}",
        queue.key_names().await
    );
}

#[tokio::test]
async fn workers_that_are_replaced_one_after_another_run_each_job_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let acts: Vec<_> = (0..300).map(|number| act(number, Plot::Takes(2))).collect();
    queue
        .producer()
        .enqueue_all(&acts, &Options::default())
        .await
        .unwrap();

    for round in 1..=5 {
        let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
        stage.have_ended(round * 30).await;
        worker.stop().await;
    }
    let last = queue.worker(stage.registry(), TestQueue::options("default=4"));
    queue.ends_clean().await;
    last.stop().await;

    assert_eq!(
        stage.started().len(),
        300,
        "a graceful restart runs nothing twice"
    );
}

#[tokio::test]
async fn a_master_that_was_given_back_and_then_needs_no_children_leaves_nothing() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let hurried = WorkerOptions {
        shutdown_patience: Duration::from_millis(50),
        ..TestQueue::options("default=1")
    };
    let mut master = fan(brief(0..3));
    master.stumbles = Some(1);
    let id = queue.producer().enqueue(&master).await.unwrap();
    let first = queue.worker(stage.registry(), hurried);
    stage.has_started("master stumbles").await;
    first.stop().await;
    assert!(queue.key_names().await.contains(&format!("group:{id}")));

    // The task's next version does the work itself.
    let body = r#"{"task":"test.act","args":{"name":"a","plot":"Brief"}}"#;
    queue.set_body(id, body.as_bytes()).await;
    let second = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.has_ended("a").await;

    queue.ends_clean().await;
    second.stop().await;
}
