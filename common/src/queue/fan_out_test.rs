//! Groups in the making, on a real Redis.

use serde::{Deserialize, Serialize};

use super::{
    FanOutError, JobContext, Lane, OnDeath, Queue, Task, TaskError,
    enqueue::{CHUNK_BYTES, MAX_BODY},
    fan_out::CHUNK,
    limits::Demand,
    turn::Turns,
};
use crate::{
    shutdown::Shutdown,
    testing::{PATIENCE, RedisServer, TestQueue},
};

#[derive(Debug, Serialize, Deserialize)]
struct Large(String);

impl Task for Large {
    const NAME: &'static str = "test.large";
    const QUEUE: Queue = Queue::High;
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Ok(())
    }
}

/// A child that goes through a lane.
#[derive(Debug, Serialize, Deserialize)]
struct Laned;

impl Task for Laned {
    const NAME: &'static str = "test.laned";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Ok(())
    }

    fn lane(&self) -> Option<Lane> {
        Some(Lane::new("lane", 1))
    }
}

/// A master on the queue `low`, which runs.
async fn master(queue: &TestQueue) -> JobContext {
    let turns = Turns::on(queue);
    let low = crate::queue::Options {
        queue: Some(Queue::Low),
        ..Default::default()
    };
    let master = Large(String::new());
    queue.producer().enqueue_with(&master, &low).await.unwrap();
    let demand = Demand {
        order: vec![(Queue::Low, 1)],
        free: 1,
        ..Demand::default()
    };
    let reply = turns.take(&[], None, &demand).await.unwrap();
    let (_stop, shutdown) = Shutdown::manual();
    let lease = reply.claimed[0].lease.clone();
    JobContext::by_hand(turns, reply.claimed[0].id, lease, shutdown)
}

fn small() -> Large {
    Large(String::new())
}

#[tokio::test]
async fn children_that_redis_lost_are_told_and_not_taken_for_others() {
    let queue = TestQueue::start();
    let job = master(&queue).await;
    let mut split = job.fan_out(OnDeath::Fail, &()).await.unwrap();
    split.add(&small()).await.unwrap();
    split.send().await.unwrap();
    split.hear(1).await.unwrap();
    let group = queue.keys.group(job.id);
    let _: usize = queue.command(&["HDEL", &group, "total"]).await;

    split.add(&small()).await.unwrap();
    split.send().await.unwrap();
    let heard = split.hear(1).await;
    assert!(matches!(heard, Err(FanOutError::Gap(_))), "{heard:?}");

    let sealed = split.then(&small()).await;
    assert!(matches!(sealed, Err(FanOutError::Gap(_))), "{sealed:?}");
    let sealed: bool = queue.command(&["HEXISTS", &group, "sealed"]).await;
    assert!(!sealed);
}

#[tokio::test]
async fn a_child_that_cannot_be_made_is_none_and_the_others_are_added() {
    let queue = TestQueue::start();
    let job = master(&queue).await;
    let mut split = job.fan_out(OnDeath::Fail, &()).await.unwrap();
    split.add(&small()).await.unwrap();

    let too_large = split.add(&Large("x".repeat(MAX_BODY))).await;

    assert!(matches!(too_large, Err(FanOutError::Child { .. })));
    split.add(&small()).await.unwrap();
    split.then(&small()).await.unwrap();
    let left = queue.keys.group_left(job.id);
    let left: usize = queue.command(&["SCARD", &left]).await;
    assert_eq!(left, 2);
}

#[tokio::test]
async fn a_split_that_pauses_holds_up_nobody_who_connects() {
    let mut server = RedisServer::start(&["--appendfsync", "always"]);
    let queue = TestQueue::on(&server.url());
    let job = master(&queue).await;
    let mut split = job.fan_out(OnDeath::Fail, &()).await.unwrap();
    server.restart();
    let noticed = queue.producer().enqueue(&small()).await;
    assert!(noticed.is_err(), "the old connection is gone");

    for _ in 0..CHUNK {
        split.add(&small()).await.unwrap();
    }

    let connected = tokio::time::timeout(PATIENCE, queue.redis.connection()).await;
    connected.expect("a connection in time").unwrap();
    split.then(&small()).await.unwrap();
}

#[tokio::test]
async fn large_children_are_sent_in_small_chunks_onto_the_masters_queue() {
    let queue = TestQueue::start();
    let job = master(&queue).await;
    let left = async || -> usize {
        let key = queue.keys.group_left(job.id);
        queue.command(&["SCARD", &key]).await
    };

    let mut split = job.fan_out(OnDeath::Fail, &7).await.unwrap();
    for sent in [0, 0, 0, 4, 4] {
        let child = Large("x".repeat(CHUNK_BYTES / 4));
        split.add(&child).await.unwrap();
        assert_eq!(left().await, sent);
    }
    assert_eq!(split.plan().unwrap(), 7);
    split.then(&Large(String::new())).await.unwrap();

    assert_eq!(left().await, 5);
    let high: usize = queue
        .command(&["LLEN", &queue.keys.queue(Queue::High)])
        .await;
    assert_eq!(high, 0);
}

#[tokio::test]
async fn each_child_has_its_time_once_and_its_lane_whatever_comes_with_it() {
    let queue = TestQueue::start();
    let job = master(&queue).await;

    let mut split = job.fan_out(OnDeath::Fail, &()).await.unwrap();
    split.add(&small()).await.unwrap();
    split.send().await.unwrap();
    split.add(&small()).await.unwrap();
    split.add(&Laned).await.unwrap();
    split.send().await.unwrap();
    split.then(&small()).await.unwrap();

    let jobs = queue.bodies().await;
    let children = jobs.values().filter(|body| body.contains(r#""group""#));
    let children: Vec<_> = children.collect();
    assert_eq!(children.len(), 3);
    for body in &children {
        assert!(body.starts_with(r#"{"at":"#), "{body}");
        assert_eq!(body.matches(r#""at""#).count(), 1, "{body}");
        assert_eq!(
            body.contains("lane\""),
            body.contains("test.laned"),
            "{body}"
        );
    }
    let listed: usize = queue
        .command(&["LLEN", &queue.keys.queue(Queue::Low)])
        .await;
    assert_eq!(listed, 3, "all: the lane has room for one");
}
