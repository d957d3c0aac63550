//! Lanes with a rate: at most so many in a time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    queue::{JobContext, Lane, Options, Registry, Task, TaskError},
    testing::TestQueue,
};
use serde::{Deserialize, Serialize};

use super::{
    super::{Look, Plot, Stage, act, brief},
    LookAtLane,
};

/// Notes Redis's time when it starts.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp;

#[derive(Debug)]
struct Stamps {
    queue: Arc<TestQueue>,
    at_us: Mutex<Vec<u64>>,
}

async fn redis_us(queue: &TestQueue) -> u64 {
    let (seconds, micros): (u64, u64) = queue.command(&["TIME"]).await;
    seconds * 1_000_000 + micros
}

impl Task for Stamp {
    const NAME: &'static str = "test.stamp";
    type Context = Stamps;
    type Output = ();

    fn lane(&self) -> Option<Lane> {
        let lane = Lane::new("a", 5);
        Some(lane.rate(50, Duration::from_secs(1)).burst(3))
    }

    async fn run(self, stamps: &Stamps, _job: &JobContext) -> Result<(), TaskError> {
        let now = redis_us(&stamps.queue).await;
        stamps.at_us.lock().expect("no panic").push(now);
        Ok(())
    }
}

#[tokio::test]
async fn a_lane_lets_no_more_go_than_its_rate_and_its_burst() {
    const INTERVAL_US: u64 = 20_000;
    const BURST: u64 = 3;
    let queue = Arc::new(TestQueue::start());
    let stamps = Arc::new(Stamps {
        queue: Arc::clone(&queue),
        at_us: Mutex::default(),
    });
    let start = || {
        let registry = Registry::new().with::<Stamp>(&stamps);
        queue.worker(registry, TestQueue::options("default=8"))
    };
    let workers = [start(), start()];
    let begin = redis_us(&queue).await;

    let jobs: Vec<_> = (0..30).map(|_| Stamp).collect();
    queue
        .producer()
        .enqueue_all(&jobs, &Options::default())
        .await
        .unwrap();
    queue.ends_clean().await;

    let mut at_us = stamps.at_us.lock().expect("no panic").clone();
    at_us.sort_unstable();
    assert_eq!(at_us.len(), 30);
    for (nth, at) in (1..).zip(at_us) {
        // The nth goes when the bucket has been filled so often, and starts at or after that.
        let earliest = begin + u64::saturating_sub(nth, BURST) * INTERVAL_US;
        assert!(at >= earliest, "start {nth} was {} µs early", earliest - at);
    }
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn new_limits_hold_at_once_for_what_an_old_rate_held_up() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let slow = Options {
        lane: Some(Lane::new("a", 5).rate(1, Duration::from_secs(3600))),
        ..Options::default()
    };
    let producer = queue.producer();
    producer.enqueue_all(&brief(0..3), &slow).await.unwrap();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.has_ended("0").await;
    assert_eq!(queue.in_line().await, 2);

    let quick = Options {
        lane: Some(Lane::new("a", 5).rate(1000, Duration::from_secs(1))),
        ..Options::default()
    };
    producer
        .enqueue_with(&act("last", Plot::Brief), &quick)
        .await
        .unwrap();

    stage.have_ended(4).await;
    let mut started = stage.started();
    started.sort(); // those that one turn claims begin in any order
    assert_eq!(started, ["0", "1", "2", "last"]);
    queue.ends_clean().await;
    worker.stop().await;
}
