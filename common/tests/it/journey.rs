//! The journey of a job: enqueued, popped, claimed, run, settled.

use std::sync::{Arc, Mutex};

use common::{
    queue::{JobContext, OnDeath, Options, Registry, Task, TaskError},
    testing::{TestQueue, eventually},
};
use serde::{Deserialize, Serialize};

type Seen = Mutex<Vec<u32>>;

/// Writes its number down.
#[derive(Debug, Serialize, Deserialize)]
struct Note(u32);

impl Task for Note {
    const NAME: &'static str = "test.note";
    type Context = Seen;
    type Output = ();

    async fn run(self, seen: &Seen, _job: &JobContext) -> Result<(), TaskError> {
        seen.lock().unwrap().push(self.0);
        Ok(())
    }
}

/// A master: as many notes as it says, then one more.
#[derive(Debug, Serialize, Deserialize)]
struct Notes(u32);

impl Task for Notes {
    const NAME: &'static str = "test.notes";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), job: &JobContext) -> Result<(), TaskError> {
        let mut split = job.fan_out(OnDeath::Fail, &self.0).await?;
        for number in 0..split.plan()? {
            split.add(&Note(number)).await?;
        }
        split.then(&Note(u32::MAX)).await?;
        Ok(())
    }
}

#[tokio::test]
async fn every_job_runs_once_and_leaves_nothing_behind() {
    let queue = TestQueue::start();
    let seen = Arc::new(Seen::default());
    let registry = Registry::new().with::<Note>(&seen);
    let worker = queue.worker(registry, TestQueue::options("high=16,default=8,low=2"));

    let jobs: Vec<_> = (0..2000).map(Note).collect();
    queue
        .producer()
        .enqueue_all(&jobs, &Options::default())
        .await
        .unwrap();

    eventually("all jobs have run", async || {
        (seen.lock().unwrap().len() >= 2000).then_some(())
    })
    .await;
    worker.stop().await;
    let mut ran = seen.lock().unwrap().clone();
    ran.sort_unstable();
    assert_eq!(ran, (0..2000).collect::<Vec<_>>());
    assert_eq!(queue.key_names().await, ["mark:default", "stats"]);
}

#[tokio::test]
async fn what_follows_a_group_runs_once_after_all_children() {
    let queue = TestQueue::start();
    let seen = Arc::new(Seen::default());
    let registry = Registry::new()
        .with::<Note>(&seen)
        .with::<Notes>(&Arc::new(()));
    let worker = queue.worker(registry, TestQueue::options("default=8"));

    queue.producer().enqueue(&Notes(1500)).await.unwrap();

    eventually("the follower has run", async || {
        seen.lock().unwrap().contains(&u32::MAX).then_some(())
    })
    .await;
    worker.stop().await;
    let ran = seen.lock().unwrap().clone();
    assert_eq!(ran.len(), 1501);
    assert_eq!(ran.last(), Some(&u32::MAX));
    assert_eq!(queue.key_names().await, ["mark:default", "stats"]);
}
