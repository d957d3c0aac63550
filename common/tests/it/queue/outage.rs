//! Redis restarts, stalls, cuts every socket, forgets everything, is full.

use std::time::{Duration, Instant};

use common::{
    queue::{EnqueueError, Options, Producer, Queue, WorkerOptions},
    testing::{RedisServer, TestQueue, eventually},
};

use super::{Act, Look, Plot, Stage, act, brief, names, sorted};

/// Acts that keep the workers busy for a while.
fn busy(numbers: std::ops::Range<u32>) -> Vec<Act> {
    numbers.map(|number| act(number, Plot::Takes(2))).collect()
}

/// Enqueues while Redis comes and goes.
async fn insist(producer: &Producer, task: &Act) {
    eventually("the job is enqueued", async || {
        producer.enqueue(task).await.ok()
    })
    .await;
}

/// What is more than design.md allows for the way back, in a debug build beside other tests.
const BACK: Duration = Duration::from_secs(4);

#[tokio::test]
async fn workers_consume_again_after_a_restart_and_nothing_is_lost() {
    let mut server = RedisServer::start(&["--appendfsync", "always"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let workers = [1, 2].map(|_| queue.worker(stage.registry(), TestQueue::options("default=4")));
    queue
        .producer()
        .enqueue_all(&busy(0..1500), &Options::default())
        .await
        .unwrap();
    stage.have_ended(200).await;

    server.kill();
    server.restart();
    let back = Instant::now();
    let before = stage.ended().len();
    stage.have_ended(before + 20).await;
    assert!(
        back.elapsed() < BACK,
        "consuming again took {:?}",
        back.elapsed()
    );
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    let mut ran = sorted(stage.ended());
    ran.dedup();
    assert_eq!(ran, names(0..1500));
    assert_eq!(queue.stat("completed:default").await, 1500);
}

#[tokio::test]
async fn an_idle_worker_hears_again_after_a_restart_and_health_tells_the_truth() {
    let mut server = RedisServer::start(&["--appendfsync", "always"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    queue
        .producer()
        .enqueue(&act("before", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("before").await;

    server.kill();
    eventually("it is known to be away", async || {
        (!worker.blocking.is_healthy()).then_some(())
    })
    .await;
    server.restart();
    let back = Instant::now();
    insist(&queue.producer(), &act("after", Plot::Brief)).await;
    stage.has_ended("after").await;

    assert!(
        back.elapsed() < BACK,
        "consuming again took {:?}",
        back.elapsed()
    );
    eventually("it is known to be back", async || {
        worker.blocking.is_healthy().then_some(())
    })
    .await;
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_stall_of_several_seconds_costs_no_job() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let workers = [1, 2].map(|_| queue.worker(stage.registry(), TestQueue::options("default=4")));
    queue
        .producer()
        .enqueue_all(&busy(0..1500), &Options::default())
        .await
        .unwrap();
    stage.have_ended(200).await;

    server.signal("STOP");
    // The stall itself: longer than every timeout of a client, and than the workers' time to live.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    server.signal("CONT");
    let back = Instant::now();
    let before = stage.ended().len();
    stage.have_ended(before + 20).await;
    assert!(
        back.elapsed() < BACK,
        "consuming again took {:?}",
        back.elapsed()
    );
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(
        sorted(stage.started()),
        names(0..1500),
        "nobody died, so nothing runs twice"
    );
    assert_eq!(queue.stat("reaped").await, 0);
}

#[tokio::test]
async fn sockets_that_are_cut_again_and_again_cost_no_job() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let workers = [1, 2].map(|_| queue.worker(stage.registry(), TestQueue::options("default=4")));
    queue
        .producer()
        .enqueue_all(&busy(0..1500), &Options::default())
        .await
        .unwrap();

    let cutter = redis::Client::open(server.url()).unwrap();
    let mut cutter = cutter.get_multiplexed_async_connection().await.unwrap();
    for cut in 1..=10 {
        stage.have_ended(cut * 100).await;
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL")
            .arg("TYPE")
            .arg("normal")
            .arg("SKIPME")
            .arg("yes");
        let _: usize = kill.query_async(&mut cutter).await.unwrap();
    }
    stage.have_ended(1500).await;
    eventually("all are settled", async || {
        let mut cutter = cutter.clone();
        let jobs: Vec<String> = redis::cmd("KEYS")
            .arg(queue.keys.buckets())
            .query_async(&mut cutter)
            .await
            .unwrap();
        jobs.is_empty().then_some(())
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(
        sorted(stage.started()),
        names(0..1500),
        "nobody died, so nothing runs twice"
    );
}

#[tokio::test]
async fn a_job_that_runs_through_an_outage_longer_than_its_workers_time_to_live_is_not_given_away()
{
    let mut server = RedisServer::start(&["--appendfsync", "always"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let options = WorkerOptions {
        beat: Duration::from_millis(100),
        time_to_live: Duration::from_secs(1),
        ..TestQueue::options("default=1")
    };
    let first = queue.worker(stage.registry(), options.clone());
    queue
        .producer()
        .enqueue(&act("long", Plot::Waits))
        .await
        .unwrap();
    stage.has_started("long").await;
    let others = [1, 2].map(|_| queue.worker(stage.registry(), options.clone()));

    for worker in &others {
        eventually("it beats", async || {
            let known = ["ZSCORE", &queue.keys.workers(), &worker.id.to_string()];
            queue.command::<Option<f64>>(&known).await
        })
        .await;
    }

    server.kill();
    // The outage itself: by Redis's clock everybody's heartbeat ends.
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.restart();
    insist(&queue.producer(), &act("after", Plot::Brief)).await;
    stage.has_ended("after").await;
    let name = first.id.to_string();
    let deadline = async || {
        let score: Option<f64> = queue
            .command(&["ZSCORE", &queue.keys.workers(), &name])
            .await;
        score.expect("the worker is still known")
    };
    let back = deadline().await;
    eventually("it has beaten for another time to live", async || {
        (deadline().await > back + 1500.0).then_some(())
    })
    .await;

    assert_eq!(stage.starts_of("long"), 1);
    assert_eq!(queue.stat("reaped").await, 0);
    stage.open();
    queue.ends_clean().await;
    first.stop().await;
    for worker in others {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_redis_that_forgot_everything_is_worked_with_anew() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));
    queue
        .producer()
        .enqueue(&act("old", Plot::Waits))
        .await
        .unwrap();
    stage.has_started("old").await;

    let _: String = queue.command(&["FLUSHALL"]).await;
    let _: String = queue.command(&["SCRIPT", "FLUSH"]).await;
    queue
        .producer()
        .enqueue_all(&brief(0..50), &Options::default())
        .await
        .unwrap();
    stage.open();
    stage.have_ended(51).await;

    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(
        sorted(
            stage
                .started()
                .into_iter()
                .filter(|name| name != "old")
                .collect()
        ),
        names(0..50)
    );
}

#[tokio::test]
async fn a_full_redis_refuses_new_jobs_and_works_off_those_it_has() {
    let server = RedisServer::start(&["--appendfsync", "no", "--maxmemory", "8mb"]);
    let queue = TestQueue::on(&server.url());
    let stage = Stage::new();
    let mut taken = 0;
    let refused = loop {
        // Some fail at first, so that retries and histories are written to a full Redis.
        let name = format!("{taken}-{}", "x".repeat(20_000));
        match queue
            .producer()
            .enqueue(&act(name, Plot::Fails(taken % 2)))
            .await
        {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, EnqueueError::Full(_)), "{refused:?}");
    assert!(taken > 10);
    assert!(refused.to_string().contains("memory is full"));
    let later = Options {
        when: common::queue::When::In(Duration::ZERO),
        ..Options::default()
    };
    let refused = queue
        .producer()
        .enqueue_with(&act("x".repeat(200_000), Plot::Brief), &later)
        .await;
    assert!(matches!(refused, Err(EnqueueError::Full(_))), "{refused:?}");
    queue.adds_up(taken as usize).await;

    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.have_ended(taken as usize).await;
    queue.until_drained().await;

    queue
        .producer()
        .enqueue(&act("again", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("again").await;
    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(queue.listed(Queue::Default).await, 0);
}
