//! Lanes: at most so many at once, in turn, at a rate; nothing sticks whatever becomes of a job.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    queue::{
        EnqueueError, JobContext, JobId, Lane, Options, Queue, Registry, Task, TaskError, When,
        audit::Auditor,
        inspect::{
            Inspector,
            list::{Listing, State},
            show::Known,
        },
        operate::Operator,
    },
    testing::{TestQueue, eventually},
};
use serde::{Deserialize, Serialize};

use super::{Act, Look, Plot, Stage, act, brief, fan};

/// Through the lane `a`.
fn through(width: u32) -> Options {
    Options {
        lane: Some(Lane::new("a", width)),
        ..Options::default()
    }
}

/// What tests ask of the lane `a`.
trait LookAtLane {
    async fn in_line(&self) -> usize;
    async fn in_slots(&self) -> usize;
    /// Waits until so many are in line.
    async fn lines_up(&self, jobs: usize);
    /// Waits for a clean end, the lane's keys included.
    async fn sound(&self);
}

impl LookAtLane for TestQueue {
    async fn in_line(&self) -> usize {
        self.command(&["ZCARD", &self.keys.lane("a")]).await
    }

    async fn in_slots(&self) -> usize {
        self.command(&["SCARD", &self.keys.slots("a")]).await
    }

    async fn lines_up(&self, jobs: usize) {
        eventually(&format!("{jobs} are in line"), async || {
            (self.in_line().await == jobs).then_some(())
        })
        .await;
    }

    async fn sound(&self) {
        let auditor = Auditor::new(self.redis.clone(), self.keys.clone());
        let report = auditor.audit(|_| {}).await.unwrap();
        assert_eq!(report.findings, []);
    }
}

/// Counts how many run at once.
#[derive(Debug, Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
    ended: AtomicUsize,
}

/// One of the crowd, until it is dropped.
struct One<'a>(&'a Crowd);

impl<'a> One<'a> {
    fn of(crowd: &'a Crowd) -> Self {
        let now = crowd.now.fetch_add(1, Ordering::SeqCst) + 1;
        crowd.most.fetch_max(now, Ordering::SeqCst);
        Self(crowd)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Joins the crowd for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Join {
    lane: String,
}

impl Task for Join {
    const NAME: &'static str = "test.join";
    const MAX_ATTEMPTS: u32 = 20;
    type Context = Crowd;
    type Output = ();

    fn lane(&self) -> Option<Lane> {
        Some(Lane::new(&self.lane, 3))
    }

    async fn run(self, crowd: &Crowd, job: &JobContext) -> Result<(), TaskError> {
        let _one = One::of(crowd);
        tokio::time::sleep(Duration::from_millis(3)).await;
        if job.attempt() == 1 && job.id().to_string().ends_with('7') {
            return Err("one in ten fails at first".into());
        }
        crowd.ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::from_millis(1)
    }
}

#[tokio::test]
async fn no_more_run_at_once_than_the_lane_is_wide_whatever_workers_die() {
    let queue = TestQueue::start();
    let crowd = Arc::new(Crowd::default());
    let start = || {
        let registry = Registry::new().with::<Join>(&crowd);
        queue.worker(registry, TestQueue::options("default=8"))
    };
    let lane = "a".to_owned();
    let jobs = vec![Join { lane }; 300];
    queue
        .producer()
        .enqueue_all(&jobs, &Options::default())
        .await
        .unwrap();

    let mut workers = vec![start(), start(), start()];
    for ended in [50, 100] {
        eventually("some have ended", async || {
            assert!(queue.in_slots().await <= 3);
            (crowd.ended.load(Ordering::SeqCst) >= ended).then_some(())
        })
        .await;
        workers.remove(0).vanish().await;
        workers.push(start());
    }
    queue.ends_clean().await;

    assert_eq!(crowd.most.load(Ordering::SeqCst), 3);
    assert!(crowd.ended.load(Ordering::SeqCst) >= jobs.len());
}

#[tokio::test]
async fn a_flood_of_one_tenant_does_not_delay_another() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let tenant = |name: &str| Options {
        lane: Some(Lane::new(name, 2)),
        ..Options::default()
    };
    let producer = queue.producer();
    producer
        .enqueue_all(&brief(0..200), &tenant("flood"))
        .await
        .unwrap();
    let other = act("other", Plot::Brief);
    producer
        .enqueue_with(&other, &tenant("other"))
        .await
        .unwrap();

    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.have_ended(201).await;

    let order = stage.started();
    assert_eq!(order[..3], ["0", "1", "other"]);
    let flood: Vec<_> = order.iter().filter(|name| *name != "other").collect();
    let numbers: Vec<_> = (0..200).map(|n: u32| n.to_string()).collect();
    assert_eq!(
        flood,
        numbers.iter().collect::<Vec<_>>(),
        "each in its turn"
    );
    queue.ends_clean().await;
    worker.stop().await;
}

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
async fn the_limits_are_those_that_came_last() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let acts: Vec<_> = (0..6).map(|n| act(n, Plot::Waits)).collect();
    let producer = queue.producer();
    producer.enqueue_all(&acts[..4], &through(1)).await.unwrap();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));
    stage.has_started("0").await;

    producer.enqueue_with(&acts[4], &through(3)).await.unwrap();
    stage.has_started("2").await;
    producer.enqueue_with(&acts[5], &through(1)).await.unwrap();

    assert_eq!((queue.in_slots().await, queue.in_line().await), (3, 3));
    stage.open();
    stage.have_ended(6).await;
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn scheduled_jobs_and_children_go_through_their_lanes() {
    let queue = TestQueue::start();
    let crowd = Arc::new(Crowd::default());
    let stage = Stage::new();
    let producer = queue.producer();
    let hold = act("hold", Plot::Waits);
    producer.enqueue_with(&hold, &through(1)).await.unwrap();
    let later = Options {
        when: When::In(Duration::from_millis(20)),
        ..through(1)
    };
    let id = producer
        .enqueue_with(&act("later", Plot::Brief), &later)
        .await
        .unwrap();
    let registry = stage.registry().with::<Join>(&crowd);
    let worker = queue.worker(registry, TestQueue::options("default=4"));
    stage.has_started("hold").await;

    queue.lines_up(1).await;

    let inspector = Inspector::new(queue.redis.clone(), queue.keys.clone());
    let Known::Job(job) = inspector.show(id).await.unwrap() else {
        panic!("{id} is not here");
    };
    assert_eq!(job.state, "laned");
    let lane = job.lane.expect("its lane");
    assert_eq!((lane.ahead, lane.status.in_flight), (Some(0), 1));
    stage.open();
    producer
        .enqueue(&fan(vec![act("child", Plot::Brief)]))
        .await
        .unwrap();
    stage.has_ended("sum[]").await;
    queue.ends_clean().await;
    worker.stop().await;
}

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
    assert_eq!(stage.started(), ["0", "1", "2", "last"]);
    queue.ends_clean().await;
    worker.stop().await;
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
        .command(&["HDEL", &queue.keys.jobs(), &ids[0].to_string()])
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

#[tokio::test]
async fn lanes_and_what_waits_in_them_can_be_looked_at() {
    let queue = TestQueue::start();
    let producer = queue.producer();
    let plain = Options::default();
    producer
        .enqueue_all(&brief(0..3), &through(2))
        .await
        .unwrap();
    producer.enqueue_all(&brief(3..5), &plain).await.unwrap();
    let mail = Options {
        lane: Some(Lane::new("mail", 4).rate(1, Duration::from_secs(60))),
        ..Options::default()
    };
    let ids = producer.enqueue_all(&brief(5..8), &mail).await.unwrap();
    let inspector = Inspector::new(queue.redis.clone(), queue.keys.clone());

    let status = inspector.status().await.unwrap();
    assert_eq!((status.laned, status.lanes, status.jobs), (3, 2, 8));
    assert_eq!(queue.listed(Queue::Default).await, 5);
    let lanes = inspector.lanes(0, 10).await.unwrap();
    let told: Vec<_> = lanes
        .iter()
        .map(|lane| (lane.lane.as_str(), lane.waiting, lane.in_flight, lane.width))
        .collect();
    assert_eq!(told, [("mail", 2, 1, 4), ("a", 1, 2, 2)]);
    assert!(lanes[0].next_ms.is_some() && lanes[1].next_ms.is_none());
    assert_eq!(lanes[0].rate.expect("a rate").period_ms, 60_000);
    let mut listing = Listing {
        state: State::Laned,
        queue: None,
        lane: Some("mail".to_owned()),
        limit: 10,
        cursor: None,
    };
    let page = inspector.jobs(&listing).await.unwrap();
    let found: Vec<JobId> = page.jobs.iter().map(|j| j.id.parse().unwrap()).collect();
    assert_eq!(found, ids[1..]);
    listing.lane = None;
    assert_eq!(inspector.jobs(&listing).await.unwrap().jobs.len(), 3);
}

#[tokio::test]
async fn a_bulk_with_and_without_lanes_gives_each_its_id_in_order() {
    let queue = TestQueue::start();
    let lane = |n: u32| ["", "x", "y"][n as usize % 3].to_owned();
    let jobs: Vec<_> = (0..30).map(|n| Maybe { n, lane: lane(n) }).collect();

    let ids = queue
        .producer()
        .enqueue_all(&jobs, &Options::default())
        .await
        .unwrap();

    for (job, id) in jobs.iter().zip(ids) {
        let body: String = queue
            .command(&["HGET", &queue.keys.jobs(), &id.to_string()])
            .await;
        assert!(body.contains(&format!(r#""n":{},"#, job.n)), "{id}: {body}");
        assert_eq!(id.to_string().contains('+'), !job.lane.is_empty());
    }
    queue.adds_up(30).await;
    queue.sound().await;
}

/// May have a lane.
#[derive(Debug, Serialize, Deserialize)]
struct Maybe {
    n: u32,
    lane: String,
}

impl Task for Maybe {
    const NAME: &'static str = "test.maybe";
    type Context = ();
    type Output = ();

    fn lane(&self) -> Option<Lane> {
        (!self.lane.is_empty()).then(|| Lane::new(&self.lane, 1))
    }

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_lane_whose_name_scripts_cannot_read_is_refused() {
    let queue = TestQueue::start();
    let options = Options {
        lane: Some(Lane::new("a\"b", 1)),
        ..Options::default()
    };

    let refused = queue
        .producer()
        .enqueue_with::<Act>(&act("a", Plot::Brief), &options)
        .await;

    assert!(matches!(refused, Err(EnqueueError::Lane { .. })));
    assert!(queue.key_names().await.is_empty());
}
