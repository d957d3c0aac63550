//! Fan-out and fan-in: what follows a group runs once, after the last child, whoever dies meanwhile.

use std::time::Duration;

use common::{
    queue::{JobId, Options, Queue, WorkerOptions, operate::Operator},
    testing::{TestQueue, eventually},
};
use serde_json::Value;

use super::{Look, Plot, Stage, act, brief, fan, names, sorted};

/// The names of the children that ran, sorted.
fn children(stage: &Stage) -> Vec<String> {
    let mut names = stage.started();
    names.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    sorted(names)
}

#[tokio::test]
async fn ten_thousand_children_run_once_and_then_what_follows() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let workers = [1, 2].map(|_| queue.worker(stage.registry(), TestQueue::options("default=32")));

    queue
        .producer()
        .enqueue(&fan(brief(0..10_000)))
        .await
        .unwrap();
    stage.has_ended("sum[]").await;
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(children(&stage), names(0..10_000));
    assert_eq!(stage.started().last().unwrap(), "sum[]");
    assert_eq!(stage.starts_of("sum[]"), 1);
}

#[tokio::test]
async fn redis_holds_a_part_of_a_large_group_at_a_time() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));

    let producer = queue.producer();
    let master = producer.enqueue(&fan(brief(0..20_000))).await.unwrap();
    let (left, mut most) = (queue.keys.group_left(master), 0_u64);
    while stage.starts_of("sum[]") == 0 {
        most = most.max(queue.command(&["SCARD", &left]).await);
    }
    queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(children(&stage), names(0..20_000));
    assert!(
        most < 10_000,
        "{most} children at a time, where a master waits from 5,000 on"
    );
}

#[tokio::test]
async fn a_master_in_the_only_slot_does_not_wait_for_its_children() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));

    let producer = queue.producer();
    producer.enqueue(&fan(brief(0..15_000))).await.unwrap();
    stage.has_started("0").await;
    let added = queue.stat("enqueued:default").await;
    stage.has_ended("sum[]").await;
    queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(added, 1 + 15_000);
    assert_eq!(children(&stage), names(0..15_000));
}

#[tokio::test]
async fn what_follows_an_empty_group_runs_at_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));

    queue.producer().enqueue(&fan(Vec::new())).await.unwrap();
    stage.has_ended("sum[]").await;

    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(stage.started(), ["master", "sum[]"]);
}

#[tokio::test]
async fn what_follows_sees_the_dead_children_if_the_group_continues() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let mut acts = brief(0..5);
    acts.push(act("bad", Plot::Fatal));

    queue.producer().enqueue(&fan(acts)).await.unwrap();
    stage.has_ended("sum[a hopeless case]").await;

    let dead = eventually("the child is dead", async || {
        queue.dead().await.first().copied()
    })
    .await;
    // A dead child that is retried after its group has ended changes nothing of it.
    revive(&queue, dead, Some(r#"{"name":"good","plot":"Brief"}"#)).await;
    stage.has_ended("good").await;
    queue.ends_clean().await;
    worker.stop().await;
    let sums = stage
        .started()
        .iter()
        .filter(|name| name.starts_with("sum"))
        .count();
    assert_eq!(sums, 1);
}

/// Retries a dead job as an operator does; `args` replaces what it is to run on.
async fn revive(queue: &TestQueue, job: JobId, args: Option<&str>) {
    if let Some(args) = args {
        let body = queue.body(job).await.unwrap();
        let mut body: Value = serde_json::from_str(&body).expect("a readable body");
        body["args"] = serde_json::from_str(args).expect("readable arguments");
        queue.set_body(job, body.to_string().as_bytes()).await;
    }
    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
    assert_eq!(operator.retry(&[job]).await.expect("a retry"), [job]);
}

#[tokio::test]
async fn a_dead_child_fails_the_group_if_told_so_until_both_are_retried() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let mut acts = brief(0..5);
    acts.push(act("bad", Plot::Fatal));
    let mut master = fan(acts);
    master.fail = true;

    let id = queue.producer().enqueue(&master).await.unwrap();

    let follower: JobId = "default+1".parse().unwrap();
    let reason = queue.dies(follower).await;
    assert!(
        reason.contains(&format!("1 children of group {id} are dead")),
        "{reason}"
    );
    assert_eq!(queue.dead().await.len(), 2);
    let child = *queue
        .dead()
        .await
        .iter()
        .find(|job| **job != follower)
        .unwrap();
    revive(&queue, child, Some(r#"{"name":"good","plot":"Brief"}"#)).await;
    stage.has_ended("good").await;
    queue.gone(&queue.keys.group_failed(id)).await; // the child took its failure back
    revive(&queue, follower, None).await;
    stage.has_ended("sum[]").await;
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_child_that_ran_twice_counts_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let mortal = WorkerOptions {
        time_to_live: Duration::from_secs(1),
        ..TestQueue::options("default=3")
    };
    let first = queue.worker(stage.registry(), mortal.clone());
    let acts = vec![
        act("0", Plot::Waits),
        act("1", Plot::Waits),
        act("2", Plot::Waits),
    ];
    queue.producer().enqueue(&fan(acts)).await.unwrap();
    stage.has_started("0").await;
    stage.has_started("1").await;

    first.vanish().await;
    let second = queue.worker(stage.registry(), mortal);
    stage.has_started_times("0", 2).await;
    stage.has_started_times("1", 2).await;
    assert_eq!(
        stage.starts_of("sum[]"),
        0,
        "two runs of a child are not two children"
    );
    stage.open();
    stage.has_ended("sum[]").await;

    queue.ends_clean().await;
    second.stop().await;
    assert_eq!(stage.starts_of("sum[]"), 1);
}

#[tokio::test]
async fn a_master_that_vanished_half_way_goes_on_where_it_was_and_fires_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let options = WorkerOptions {
        time_to_live: Duration::from_secs(1),
        ..TestQueue::options("default=8")
    };
    let mut master = fan(brief(0..1700));
    master.stumbles = Some(1200); // whole chunks of children are in Redis, some more in the master's memory
    let first = queue.worker(stage.registry(), options.clone());
    let id = queue.producer().enqueue(&master).await.unwrap();
    stage.has_started("master stumbles").await;
    stage.have_ended(500).await;
    first.vanish().await;
    assert_eq!(stage.starts_of("sum[]"), 0, "it must not fire early");

    let workers = [1, 2].map(|_| queue.worker(stage.registry(), options.clone()));
    stage.has_ended("sum[]").await;
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    // A child that ran when its worker vanished runs twice; but none was made twice.
    assert_eq!(queue.stat("enqueued:default").await, 1 + 1700 + 1);
    let mut ran = children(&stage);
    ran.dedup();
    assert_eq!(ran, names(0..1700));
    assert_eq!(stage.starts_of("sum[]"), 1);
    assert_eq!(id.queue(), Queue::Default);
}

#[tokio::test]
async fn a_master_that_fails_half_way_doubles_no_child() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    stage.open();
    let mut master = fan(brief(0..1200));
    master.stumbles = Some(700);
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));

    queue.producer().enqueue(&master).await.unwrap();
    stage.has_ended("sum[]").await;
    queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(children(&stage), names(0..1200));
    assert_eq!(stage.starts_of("master"), 2);
    assert_eq!(stage.starts_of("sum[]"), 1);
}

#[tokio::test]
async fn a_master_that_names_nothing_to_follow_leaves_no_group_behind() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let mut master = fan(brief(0..600));
    master.ends = false;
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));

    queue.producer().enqueue(&master).await.unwrap();

    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(stage.starts_of("sum[]"), 0);
}

#[tokio::test]
async fn many_groups_at_once_fire_once_each() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let workers = [1, 2].map(|_| queue.worker(stage.registry(), TestQueue::options("default=16")));
    let masters: Vec<_> = (0..60).map(|size| fan(brief(0..size % 7))).collect();

    queue
        .producer()
        .enqueue_all(&masters, &Options::default())
        .await
        .unwrap();
    eventually("all have fired", async || {
        (stage.starts_of("sum[]") >= 60).then_some(())
    })
    .await;
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(stage.starts_of("sum[]"), 60);
}
