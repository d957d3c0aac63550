//! Lanes: at most so many at once, each in its turn, fair to each other.

mod accidents;
mod rate;

use std::{
    sync::{
        Arc,
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
    let far = inspector.lanes(usize::MAX, 10).await.unwrap();
    assert!(far.is_empty(), "nothing stands there");
    assert_eq!(lanes[0].rate.expect("a rate").period_ms, 60_000);
    let mut listing = Listing {
        state: State::Laned,
        queue: None,
        lane: Some("mail".to_owned()),
        filter: common::queue::dead::Filter::default(),
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
        let body = queue.body(id).await.unwrap();
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
