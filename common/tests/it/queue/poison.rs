//! Poison: a job that kills its workers takes no innocent ones with it into the grave.

use std::time::Duration;

use common::{
    queue::{Options, WorkerOptions},
    testing::{TestQueue, eventually},
};

use super::{Look, Plot, Stage, act, sorted};

#[tokio::test]
async fn of_jobs_that_ran_beside_a_poison_only_the_poison_is_buried() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let mortal = |limits| WorkerOptions {
        beat: Duration::from_millis(100),
        time_to_live: Duration::from_secs(1),
        ..TestQueue::options(limits)
    };
    let carer = queue.worker(stage.registry(), mortal("low=1"));
    let mut acts: Vec<_> = (0..20).map(|n| act(n, Plot::Waits)).collect();
    acts.insert(10, act("poison", Plot::Forever));
    let producer = queue.producer();
    let plain = Options::default();
    let poison = producer.enqueue_all(&acts, &plain).await.unwrap()[10];

    // All are with the worker that it kills, twice; that is one death less than buries.
    for death in 1..=2 {
        let victim = queue.worker(stage.registry(), mortal("default=50"));
        for act in &acts {
            stage.has_started_times(&act.name, death).await;
        }
        victim.vanish().await;
    }
    stage.open();
    let victim = queue.worker(stage.registry(), mortal("default=50"));
    stage.has_started_times("poison", 3).await;
    victim.vanish().await;
    let survivor = queue.worker(stage.registry(), mortal("default=50"));
    eventually("all but the poison are settled", async || {
        (queue.bodies().await.len() == 1).then_some(())
    })
    .await;
    queue.dies(poison).await;
    survivor.stop().await;
    carer.stop().await;

    assert_eq!(queue.dead().await, [poison]);
    let mut ended = sorted(stage.ended());
    ended.dedup();
    assert_eq!(ended, super::names(0..20));
    queue.adds_up(1).await;
}

#[tokio::test]
async fn a_worker_runs_one_suspect_at_a_time_and_others_beside_it() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let producer = queue.producer();
    let suspects: Vec<_> = (0..3).map(|n| act(n, Plot::Takes(50))).collect();
    let plain = Options::default();
    for id in producer.enqueue_all(&suspects, &plain).await.unwrap() {
        let record = ["HSET", &queue.keys.attempts(), &id.to_string(), "2 2"];
        let _: usize = queue.command(&record).await;
    }
    let innocent = act("innocent", Plot::Waits);
    producer.enqueue(&innocent).await.unwrap();

    let worker = queue.worker(stage.registry(), TestQueue::options("default=8"));
    stage.has_started("innocent").await;
    stage.have_ended(3).await;

    // Each began when the one before had ended, beside the innocent that ran all the while.
    assert_eq!(stage.most_at_once(&["0", "1", "2"]), 1);
    stage.open();
    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(queue.stat("buried").await, 0);
}
