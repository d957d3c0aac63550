//! What becomes of a lane when a job fails or dies, a worker dies, or hands delete keys: nothing sticks.

use common::{
    queue::{audit::Auditor, operate::Operator},
    testing::TestQueue,
};

use super::{
    super::{Look, Plot, Stage, act, brief},
    LookAtLane, through,
};

#[tokio::test]
async fn a_job_that_waits_for_another_attempt_is_not_in_its_lanes_way() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    for one in [act("flaw", Plot::Fails(1)), act("next", Plot::Waits)] {
        producer.enqueue_with(&one, &through(1)).await.unwrap();
    }

    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.has_started("next").await;
    queue.lines_up(1).await; // back in its lane
    queue.sound().await;
    stage.open();
    stage.have_ended(2).await;

    assert_eq!(stage.started(), ["flaw", "next", "flaw"]);
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_dead_job_frees_its_slot_and_is_revived_through_its_lane() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let fatal = act("fatal", Plot::Fatal);
    let dead = producer.enqueue_with(&fatal, &through(1)).await.unwrap();
    let waits = act("waits", Plot::Waits);
    producer.enqueue_with(&waits, &through(1)).await.unwrap();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    queue.dies(dead).await;
    stage.has_started("waits").await;

    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
    assert_eq!(operator.retry(&[dead]).await.unwrap(), [dead]);

    assert_eq!(queue.in_line().await, 1);
    queue.sound().await;
    assert_eq!(operator.discard(&[dead]).await.unwrap(), [dead]);
    assert_eq!(queue.in_line().await, 0);
    stage.open();
    queue.ends_clean().await;
    assert_eq!(stage.starts_of("fatal"), 1);
    worker.stop().await;
}

#[tokio::test]
async fn the_jobs_of_a_dead_worker_keep_their_slots() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    for name in ["one", "two"] {
        let one = act(name, Plot::Waits);
        let producer = queue.producer();
        producer.enqueue_with(&one, &through(1)).await.unwrap();
    }
    let first = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.has_started("one").await;

    first.vanish().await;
    let second = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.has_started_times("one", 2).await;

    assert_eq!((queue.in_slots().await, queue.in_line().await), (1, 1));
    stage.open();
    queue.ends_clean().await;
    assert_eq!(stage.started(), ["one", "one", "two"]);
    second.stop().await;
}

#[tokio::test]
async fn a_slot_whose_job_vanished_is_found_by_care() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let ids = queue
        .producer()
        .enqueue_all(&brief(0..2), &through(1))
        .await
        .unwrap();
    let _: usize = queue
        .command(&["HDEL", &queue.keys.bucket(ids[0]), &ids[0].to_string()])
        .await;
    let _: usize = queue
        .command(&["HINCRBY", &queue.keys.stats(), "discarded:default", "1"])
        .await;

    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));

    stage.has_ended("1").await;
    let _: usize = queue
        .command(&["HDEL", &queue.keys.lane_jobs(), &ids[0].to_string()])
        .await;
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn what_hands_deleted_of_a_lane_is_repaired_by_an_audit() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let keys = &queue.keys;
    let audit = async || {
        let auditor = Auditor::new(queue.redis.clone(), keys.clone());
        let mut report = auditor.audit(|_| {}).await.unwrap();
        let found = report.findings.len();
        let left = auditor.repair(&mut report.findings, |_| {}).await.unwrap();
        assert_eq!(left, 0, "{:?}", report.findings);
        queue.sound().await;
        found
    };
    let acts = brief(0..10);
    let producer = queue.producer();
    producer.enqueue_all(&acts, &through(2)).await.unwrap();
    queue.sound().await;

    for key in [
        keys.lane("a"),
        keys.lane_jobs(),
        keys.slots("a"),
        keys.lanes(),
        keys.lane_limits(),
        keys.lanes_waiting(),
    ] {
        let _: usize = queue.command(&["DEL", &key]).await;
        let found = audit().await;
        assert_eq!(found == 0, key == keys.lane_limits(), "{key}: {found}");
        assert_eq!(queue.in_line().await + queue.in_slots().await, 10, "{key}");
    }
    let _: usize = queue.command(&["SADD", &keys.slots("a"), "low+77"]).await;
    let _: usize = queue
        .command(&["HSET", &keys.lane_jobs(), "low+77", "a"])
        .await;
    let _: usize = queue
        .command(&["ZADD", &keys.lane("a"), "7", "low+78"])
        .await;
    assert!(audit().await >= 3);

    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.have_ended(10).await;
    queue.ends_clean().await;
    worker.stop().await;
}
