//! Periodic tasks: each tick once, whoever lives; what was missed; deploys; pauses.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use common::{
    queue::{
        JobContext, Missed, Overlap, Periodic, Registry, Task, TaskError, WorkerOptions,
        operate::Operator,
        periodic::{
            entries::{Change, Changed, Entries, Entry},
            timetable::Timetable,
        },
    },
    testing::{RunningWorker, TestQueue, eventually},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::Look;

/// The ticks that ran, and a gate for those that wait.
#[derive(Debug)]
struct Bells {
    heard: Mutex<Vec<Option<SystemTime>>>,
    gate: Semaphore,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ring {
    waits: bool,
}

impl Task for Ring {
    const NAME: &'static str = "test.ring";
    type Context = Bells;
    type Output = ();

    async fn run(self, bells: &Bells, job: &JobContext) -> Result<(), TaskError> {
        bells.heard.lock().unwrap().push(job.tick());
        if self.waits {
            bells.gate.acquire().await?.forget();
        }
        Ok(())
    }
}

/// A queue with bells.
struct Tower {
    queue: TestQueue,
    bells: Arc<Bells>,
    entries: Entries,
}

const DAY: Duration = Duration::from_secs(86_400);
/// So long that no tick comes while a test runs; five have been since 1970, and the next comes in 2035.
const AGE: Duration = Duration::from_secs(86_400 * 4000);

fn at_once() -> Ring {
    Ring { waits: false }
}

impl Tower {
    fn build() -> Self {
        let queue = TestQueue::start();
        Self {
            bells: Arc::new(Bells {
                heard: Mutex::default(),
                gate: Semaphore::new(0),
            }),
            entries: Entries::new(queue.redis.clone(), queue.keys.clone()),
            queue,
        }
    }

    fn worker(&self, periodic: Periodic) -> RunningWorker {
        let registry = Registry::new().with::<Ring>(&self.bells).periodic(periodic);
        let options: WorkerOptions = TestQueue::options("default=8");
        self.queue.worker(registry, options)
    }

    fn heard(&self) -> Vec<Option<SystemTime>> {
        self.bells.heard.lock().unwrap().clone()
    }

    async fn has_heard(&self, rings: usize) {
        eventually(&format!("{rings} rings"), async || {
            (self.heard().len() >= rings).then_some(())
        })
        .await;
    }

    fn operator(&self) -> Operator {
        Operator::new(self.queue.redis.clone(), self.queue.keys.clone())
    }

    async fn entry(&self) -> Option<Entry> {
        let list = self.entries.list().await.unwrap();
        list.entries.into_iter().next()
    }

    async fn is_known(&self) -> Entry {
        eventually("it is known", async || self.entry().await).await
    }

    /// As if the last tick had been one of 1970, and nobody had worked since.
    async fn sleeps_since_1970(&self, periodic: Periodic) {
        let worker = self.worker(periodic);
        self.is_known().await;
        worker.stop().await;
        let key = self.queue.keys.periodic_entry(Ring::NAME);
        let _: usize = self.queue.command(&["HSET", &key, "last", "1"]).await;
    }
}

fn since_1970(ages: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + AGE * ages
}

#[tokio::test]
async fn each_tick_runs_once_whoever_of_three_workers_lives() {
    let tower = Tower::build();
    let periodic = || Periodic::every(Duration::from_secs(1), at_once).unwrap();
    let workers = [1, 2, 3].map(|_| tower.worker(periodic()));
    tower.has_heard(2).await;
    let [first, second, third] = workers;
    first.vanish().await;
    second.stop().await;
    let so_far = tower.heard().len();
    tower.has_heard(so_far + 2).await;
    third.stop().await;
    let registry = Registry::new().with::<Ring>(&tower.bells);
    let last = tower
        .queue
        .worker(registry, TestQueue::options("default=8"));
    tower.queue.until_drained().await;
    last.stop().await;

    // A job that its worker died with may have run twice; its tick is the same.
    let mut ticks = tower.heard();
    ticks.sort();
    ticks.dedup();
    let jobs = tower.entry().await.unwrap().enqueued;
    assert_eq!(jobs, ticks.len() as u64, "no tick twice");
    for tick in ticks {
        let since = tick.expect("a tick").duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(since.unwrap().subsec_nanos(), 0);
    }
}

#[tokio::test]
async fn of_ticks_that_were_missed_the_latest_runs_unless_the_task_says_otherwise() {
    let all = vec![since_1970(3), since_1970(4), since_1970(5)];
    for (missed, expected) in [
        (Missed::RunOnce, vec![since_1970(5)]),
        (Missed::RunAll(3), all),
        (Missed::Skip, vec![]),
    ] {
        let tower = Tower::build();
        let periodic = || {
            let periodic = Periodic::every(AGE, at_once).unwrap();
            periodic.missed(missed)
        };
        tower.sleeps_since_1970(periodic()).await;

        let worker = tower.worker(periodic());
        eventually("the ticks are taken", async || {
            let entry = tower.entry().await?;
            (entry.last_ms > Some(1)).then_some(())
        })
        .await;
        tower.queue.until_drained().await;
        worker.stop().await;

        let mut heard: Vec<_> = tower.heard().into_iter().flatten().collect();
        heard.sort();
        assert_eq!(heard, expected, "{missed:?}");
    }
}

#[tokio::test]
async fn a_tick_is_passed_over_while_the_job_before_runs_if_the_task_says_so() {
    let tower = Tower::build();
    let ring = || Ring { waits: true };
    let periodic = Periodic::every(Duration::from_secs(1), ring).unwrap();
    let worker = tower.worker(periodic.overlap(Overlap::Skip));
    tower.has_heard(1).await;

    eventually("two are passed over", async || {
        (tower.entry().await?.passed >= 2).then_some(())
    })
    .await;
    assert_eq!(tower.heard().len(), 1);
    tower.bells.gate.add_permits(1);
    tower.has_heard(2).await;
    tower.bells.gate.add_permits(1000);
    worker.stop().await;
}

#[tokio::test]
async fn one_is_entered_anew_when_redis_has_lost_all() {
    let tower = Tower::build();
    let worker = tower.worker(Periodic::every(DAY, at_once).unwrap());
    tower.is_known().await;

    for name in tower.queue.key_names().await {
        let key = format!("{}{name}", tower.queue.keys.prefix());
        let _: usize = tower.queue.command(&["DEL", &key]).await;
    }

    tower.is_known().await;
    worker.stop().await;
}

#[tokio::test]
async fn one_that_is_paused_passes_its_ticks_over_until_it_is_resumed() {
    let tower = Tower::build();
    let worker = tower.worker(Periodic::every(Duration::from_secs(1), at_once).unwrap());
    tower.has_heard(1).await;

    let change = async |change| {
        tower
            .operator()
            .change_periodic(Ring::NAME, change)
            .await
            .unwrap()
    };
    assert_eq!(change(Change::Pause).await, Changed::Done);
    assert_eq!(change(Change::Pause).await, Changed::Already);
    let paused = tower.entry().await.unwrap();
    assert_eq!((paused.paused, paused.next_ms), (true, None));
    eventually("two are passed over", async || {
        (tower.entry().await?.passed >= 2).then_some(())
    })
    .await;
    assert_eq!(tower.heard().len() as u64, paused.enqueued);

    assert_eq!(change(Change::Resume).await, Changed::Done);
    tower.has_heard(tower.heard().len() + 1).await;
    worker.stop().await;
}

#[tokio::test]
async fn the_timetable_of_the_newest_release_holds_while_one_of_its_workers_lives() {
    let tower = Tower::build();
    let (old, new) = (
        || Periodic::every(AGE, at_once).unwrap(),
        || Periodic::cron("0 9 * * MON-FRI", "Europe/Zurich", at_once).unwrap(),
    );
    let timetable = async || Some(tower.entry().await?.definition?.timetable);
    let is_new = async || {
        let weekdays = Timetable::cron("0 9 * * MON-FRI", "Europe/Zurich").unwrap();
        (timetable().await? == weekdays).then_some(())
    };

    let old_worker = tower.worker(old());
    tower.is_known().await;
    let new_worker = tower.worker(new());
    eventually("the new timetable holds", is_new).await;
    let entry = tower.entry().await.unwrap();
    assert!(entry.last_ms > Some(1), "it counts from now: {entry:?}");

    // Its last worker is gone for longer than a release is waited for.
    new_worker.stop().await;
    let (periodic, name) = (tower.queue.keys.periodic(), Ring::NAME);
    let _: usize = tower
        .queue
        .command(&["ZADD", &periodic, "1000", name])
        .await;
    eventually("the old timetable holds again", async || {
        (timetable().await? == Timetable::every(AGE).unwrap()).then_some(())
    })
    .await;
    old_worker.stop().await;
}

#[tokio::test]
async fn one_that_no_worker_knows_any_more_is_told_and_can_be_forgotten() {
    let tower = Tower::build();
    let worker = tower.worker(Periodic::every(DAY, at_once).unwrap().named("nightly"));
    let entry = tower.is_known().await;
    assert_eq!((entry.name.as_str(), entry.orphaned), ("nightly", false));
    let forget = async || {
        let changed = tower
            .operator()
            .change_periodic("nightly", Change::Forget)
            .await;
        changed.unwrap()
    };
    assert_eq!(forget().await, Changed::InUse);

    worker.stop().await;
    let periodic = tower.queue.keys.periodic();
    let _: usize = tower
        .queue
        .command(&["ZADD", &periodic, "1000", "nightly"])
        .await;

    assert!(tower.entry().await.unwrap().orphaned);
    assert_eq!(forget().await, Changed::Done);
    assert_eq!(forget().await, Changed::Unknown);
    tower.queue.ends_clean().await;
}

#[tokio::test]
async fn one_whose_job_cannot_be_made_holds_up_no_other() {
    let tower = Tower::build();
    let second = Duration::from_secs(1);
    let clumsy = Periodic::every(second, || -> Ring { panic!("no rope") }).unwrap();
    let registry = Registry::new()
        .with::<Ring>(&tower.bells)
        .periodic(clumsy.named("clumsy"))
        .periodic(Periodic::every(second, at_once).unwrap());
    let worker = tower
        .queue
        .worker(registry, TestQueue::options("default=8"));

    tower.has_heard(2).await;
    worker.stop().await;
}

#[test]
fn ticks_know_no_clock_but_redis() {
    for source in [
        include_str!("../../../src/queue/care.rs"),
        include_str!("../../../src/queue/periodic/mod.rs"),
        include_str!("../../../src/queue/periodic/ticker.rs"),
        include_str!("../../../src/queue/periodic/timetable.rs"),
    ] {
        assert!(!source.contains("SystemTime::now") && !source.contains("Utc::now"));
    }
}

#[test]
#[should_panic(expected = "two periodic tasks have the name `test.ring`")]
fn two_of_the_same_name_are_refused() {
    let daily = || Periodic::every(DAY, at_once).unwrap();
    let _ = Registry::new().periodic(daily()).periodic(daily());
}
