//! Delay: a job runs at its time, to the ms, not at somebody's next look.

use std::time::Duration;

use common::{
    queue::{JobId, Options, When, WorkerOptions},
    testing::{RedisServer, RunningWorker, TestQueue, eventually},
};

use super::{Look, Plot, Stage, act};

/// When a job was claimed, in µs by Redis's clock, and for when it was made.
async fn claimed_and_due(queue: &TestQueue, workers: &[RunningWorker], id: JobId) -> (u64, u64) {
    let lease = eventually(&format!("{id} is claimed"), async || {
        for worker in workers {
            let lease = queue.held(worker.id).await.remove(&id);
            if lease.is_some() {
                return lease;
            }
        }
        None
    })
    .await;
    let body = queue.body(id).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let (_, claimed) = lease.split_once('@').expect("a first lease");
    let due_ms = body["due"].as_u64().expect("a due time");
    (claimed.parse().unwrap(), due_ms * 1000)
}

#[tokio::test]
async fn a_job_that_another_process_schedules_runs_at_its_time_and_not_before() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    // They look once a second, unless something is due.
    let options = || WorkerOptions::new("default=8".parse().unwrap());
    let workers = [1, 2, 3].map(|_| queue.worker(stage.registry(), options()));
    queue
        .producer()
        .enqueue(&act("warm", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("warm").await;

    let mut quickest = u64::MAX;
    for delay_ms in [350, 250, 150, 50, 10] {
        let soon = Options {
            when: When::In(Duration::from_millis(delay_ms)),
            ..Options::default()
        };
        let job = act(delay_ms, Plot::Waits);
        let id = queue.producer().enqueue_with(&job, &soon).await.unwrap();
        let (claimed, due) = claimed_and_due(&queue, &workers, id).await;
        assert!(claimed >= due, "{} µs too early", due - claimed);
        quickest = quickest.min(claimed - due);
    }

    assert!(quickest < 500_000, "the quickest was {quickest} µs late");
    stage.open();
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_job_that_is_due_before_those_that_are_awaited_is_not_held_up_by_them() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let options = WorkerOptions::new("default=8".parse().unwrap());
    let worker = queue.worker(stage.registry(), options);
    let within = |ms| Options {
        when: When::In(Duration::from_millis(ms)),
        ..Options::default()
    };
    let later = act("later", Plot::Brief);
    let sooner = act("sooner", Plot::Brief);

    let producer = queue.producer();
    producer.enqueue_with(&later, &within(900)).await.unwrap();
    producer.enqueue_with(&sooner, &within(100)).await.unwrap();
    queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(stage.ended(), ["sooner", "later"]);
}

#[tokio::test]
async fn of_a_crowd_of_workers_about_one_wakes_for_each_job_that_is_due() {
    let server = RedisServer::start(&[]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let options = || WorkerOptions::new("default=8".parse().unwrap());
    let workers: Vec<_> = (0..8)
        .map(|_| queue.worker(stage.registry(), options()))
        .collect();

    for n in 0..200 {
        let due = Options {
            when: When::In(Duration::from_millis(300 + 10 * n)),
            ..Options::default()
        };
        let job = act(n, Plot::Brief);
        queue.producer().enqueue_with(&job, &due).await.unwrap();
    }
    stage.have_ended(200).await;

    // Each look sets `looked`, and nothing else uses SET.
    let stats: String = queue.command(&["INFO", "commandstats"]).await;
    let looks = stats.split("cmdstat_set:calls=").nth(1).unwrap();
    let looks: usize = looks.split(',').next().unwrap().parse().unwrap();
    // Were each to wake for each job, there would be 1600 and more.
    assert!(looks < 8 * 200 * 3 / 4, "they looked {looks} times");
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }
}
