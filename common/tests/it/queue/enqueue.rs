//! Enqueue: single, in bulk, for later; what is refused.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use common::{
    queue::{
        EnqueueError, JobContext, JobId, Lane, Options, Queue, Registry, Task, TaskError, Unique,
        When, care::Care, enqueue::MAX_BODY,
    },
    testing::{TestQueue, eventually},
};
use serde::{Deserialize, Serialize};

use super::{Act, Look, Plot, Stage, act, brief, names, onto, sorted};

#[tokio::test]
async fn a_job_lies_where_an_operator_looks_for_it() {
    let queue = TestQueue::start();

    let job = queue
        .producer()
        .enqueue_with(&act("a", Plot::Brief), &onto(Queue::High))
        .await
        .unwrap();

    assert_eq!(job.to_string(), "high-1");
    let listed: Vec<String> = queue
        .command(&["LRANGE", &queue.keys.queue(Queue::High), "0", "-1"])
        .await;
    assert_eq!(listed, ["high-1"]);
    let body = queue.body("high-1".parse().unwrap()).await.unwrap();
    assert!(
        body.contains(r#""task":"test.act","args":{"name":"a","plot":"Brief"}"#),
        "{body}"
    );
}

#[tokio::test]
async fn a_bulk_gives_each_job_its_id_in_order_and_its_time_and_loses_none() {
    let queue = TestQueue::start();
    for one in brief(0..7) {
        queue.producer().enqueue(&one).await.unwrap();
    }
    let acts = brief(0..3203); // seven chunks, the last one not full; the producer writes the last ones' times

    let before = now_ms(&queue).await;
    let ids = queue
        .producer()
        .enqueue_all(&acts, &Options::default())
        .await
        .unwrap();
    let after = now_ms(&queue).await;

    assert_eq!(ids.len(), acts.len());
    assert_eq!(queue.listed(Queue::Default).await, 7 + acts.len());
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(id.to_string(), format!("default-{}", 8 + at));
        let body = queue.body(*id).await.unwrap();
        assert!(body.contains(&format!(r#""name":"{at}""#)), "{id}: {body}");
        let rest = body.strip_prefix(r#"{"at":"#).unwrap();
        let (made, rest) = rest.split_once(',').unwrap();
        let made: u64 = made.parse().unwrap();
        assert!((before..=after).contains(&made), "{id}: {body}");
        assert!(rest.starts_with(r#""task":"test.act""#), "{id}: {body}");
    }
    queue.adds_up(7 + 3203).await;
}

/// The first gets its time from the script, the others bear it.
#[tokio::test]
async fn jobs_that_are_made_one_by_one_have_their_time_too() {
    let queue = TestQueue::start();
    let producer = queue.producer();

    let before = now_ms(&queue).await;
    let mut ids = Vec::new();
    for one in brief(0..5) {
        ids.push(producer.enqueue(&one).await.unwrap());
    }
    let after = now_ms(&queue).await;

    for id in ids {
        let body = queue.body(id).await.unwrap();
        let rest = body.strip_prefix(r#"{"at":"#).unwrap();
        let (made, rest) = rest.split_once(',').unwrap();
        let made: u64 = made.parse().unwrap();
        assert!((before..=after).contains(&made), "{id}: {body}");
        assert!(rest.starts_with(r#""task":"test.act""#), "{id}: {body}");
    }
}

/// What Redis's clock shows.
async fn now_ms(queue: &TestQueue) -> u64 {
    let (seconds, micros): (u64, u64) = queue.command(&["TIME"]).await;
    seconds * 1000 + micros / 1000
}

/// From 2,200 on each second one has a lane, and each tenth one the same key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mixed {
    n: u32,
}

impl Task for Mixed {
    const NAME: &'static str = "test.mixed";
    type Context = Mutex<Vec<u32>>;
    type Output = ();

    async fn run(self, ran: &Self::Context, _job: &JobContext) -> Result<(), TaskError> {
        ran.lock().unwrap().push(self.n);
        Ok(())
    }

    fn lane(&self) -> Option<Lane> {
        (self.n >= 2200 && self.n.is_multiple_of(2)).then(|| Lane::new("even", 2))
    }

    fn unique(&self) -> Option<Unique> {
        (self.n >= 2200 && self.n.is_multiple_of(10)).then(|| Unique::until_done("ten"))
    }
}

/// The first four chunks are plain, the others are not.
#[tokio::test]
async fn a_bulk_may_have_lanes_and_keys_in_its_later_chunks_only() {
    let queue = TestQueue::start();
    let tasks: Vec<_> = (0..3000).map(|n| Mixed { n }).collect();

    let ids = queue
        .producer()
        .enqueue_all(&tasks, &Options::default())
        .await
        .unwrap();

    // One job for all that have the key: each of their ids is that of the first.
    let is_first = |n: &u32| *n < 2200 || !n.is_multiple_of(10) || *n == 2200;
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (3000, 3000 - 79));
    for n in (2200..3000).step_by(10) {
        assert_eq!(ids[n], ids[2200]);
    }
    let ran = Arc::<Mutex<Vec<u32>>>::default();
    let registry = Registry::new().with::<Mixed>(&ran);
    let worker = queue.worker(registry, TestQueue::options("default=50"));
    queue.ends_clean().await;
    worker.stop().await;
    let mut ran = ran.lock().unwrap().clone();
    ran.sort_unstable();
    assert_eq!(ran, (0..3000).filter(is_first).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_empty_bulk_is_nothing() {
    let queue = TestQueue::start();

    let ids = queue
        .producer()
        .enqueue_all::<Act>(&[], &Options::default())
        .await
        .unwrap();

    assert_eq!(ids, []);
    assert!(queue.key_names().await.is_empty());
}

#[tokio::test]
async fn jobs_of_one_queue_start_in_the_order_in_which_they_were_enqueued() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    for one in brief(0..50) {
        queue.producer().enqueue(&one).await.unwrap();
    }

    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.have_ended(50).await;
    worker.stop().await;

    let order: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(stage.started(), order);
}

#[tokio::test]
async fn a_scheduled_job_runs_when_it_is_due_and_not_before() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let delay = Duration::from_millis(400);
    let start = Instant::now();

    let later = Options {
        when: When::In(delay),
        ..Options::default()
    };
    let past = Options {
        when: When::At(SystemTime::UNIX_EPOCH),
        ..Options::default()
    };
    let id = queue
        .producer()
        .enqueue_with(&act("later", Plot::Brief), &later)
        .await
        .unwrap();
    queue
        .producer()
        .enqueue_with(&act("past", Plot::Brief), &past)
        .await
        .unwrap();

    assert_eq!(id.to_string(), "default+1");
    stage.has_ended("past").await;
    stage.has_ended("later").await;
    assert!(
        start.elapsed() >= delay,
        "it ran after {:?}",
        start.elapsed()
    );
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn many_jobs_that_are_due_at_once_are_promoted_by_many_workers_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let soon = Options {
        when: When::In(Duration::from_millis(200)),
        ..Options::default()
    };
    queue
        .producer()
        .enqueue_all(&brief(0..1300), &soon)
        .await
        .unwrap(); // more than one batch

    let workers =
        [1, 2, 3].map(|_| queue.worker(stage.registry(), TestQueue::options("default=8")));
    stage.have_ended(1300).await;
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(sorted(stage.started()), names(0..1300));
}

#[tokio::test]
async fn care_tells_what_was_listed_before_it_pushed() {
    let queue = TestQueue::start();
    let due = Options {
        when: When::In(Duration::from_millis(1)),
        ..Options::default()
    };
    let producer = queue.producer();
    producer
        .enqueue_with(&act("later", Plot::Brief), &due)
        .await
        .unwrap();
    let options = TestQueue::options("default=1");
    let mut care = Care::new(queue.redis.clone(), queue.keys.clone(), &options);

    let pushed = eventually("it is due", async || {
        let cared = care.look().await.unwrap();
        (cared.promoted == 1).then_some(cared)
    })
    .await;
    let after = care.look().await.unwrap();

    // Who waits for the list gets it only after the script.
    assert_eq!(pushed.listed, []);
    assert_eq!(after.listed, [Queue::Default]);
}

#[tokio::test]
async fn a_job_for_the_end_of_time_is_kept_and_harms_nobody() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let never = Options {
        when: When::In(Duration::MAX),
        ..Options::default()
    };
    let job = queue
        .producer()
        .enqueue_with(&act("never", Plot::Brief), &never)
        .await
        .unwrap();

    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    queue
        .producer()
        .enqueue(&act("now", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("now").await;
    eventually("the other job is settled", async || {
        (queue.stat("completed:default").await == 1).then_some(())
    })
    .await;
    worker.stop().await;

    let scheduled: Vec<JobId> = queue
        .command(&["ZRANGE", &queue.keys.scheduled(), "0", "-1"])
        .await;
    assert_eq!(scheduled, [job]);
    assert_eq!(stage.starts_of("never"), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_nothing_is_kept() {
    let queue = TestQueue::start();
    let large = act("x".repeat(MAX_BODY), Plot::Brief);

    let refused = queue.producer().enqueue(&large).await;

    assert!(
        matches!(refused, Err(EnqueueError::TooLarge { .. })),
        "{refused:?}"
    );
    assert!(queue.key_names().await.is_empty());
}

#[tokio::test]
async fn a_producer_may_have_another_limit_for_bodies() {
    let queue = TestQueue::start();
    let small = queue.producer().with_max_body(100);
    let large = queue.producer().with_max_body(2 * MAX_BODY);

    let refused = small.enqueue(&act("x".repeat(100), Plot::Brief)).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, EnqueueError::TooLarge { most: 100, .. }));
    assert!(refused.to_string().contains("100 is the most"), "{refused}");
    let bulk = [act("x".repeat(100), Plot::Brief)];
    let refused = small.enqueue_all(&bulk, &Options::default()).await;
    assert!(matches!(refused, Err(EnqueueError::TooLarge { .. })));

    small.enqueue(&act("x", Plot::Brief)).await.unwrap();
    let job = act("x".repeat(MAX_BODY), Plot::Brief);
    large.enqueue(&job).await.unwrap();
    queue.adds_up(2).await;
}
