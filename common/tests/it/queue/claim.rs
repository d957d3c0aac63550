//! Claim: the only gate. Doubles, garbage, limits, priority.

use std::time::{Duration, Instant};

use common::{
    kv::blocking::PATIENCE,
    queue::{Options, Queue, WorkerOptions},
    testing::{TestQueue, eventually},
};

use super::{Look, Plot, Stage, act, brief, names, onto, sorted};

#[tokio::test]
async fn an_id_that_stands_twice_in_a_list_runs_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let ids = queue
        .producer()
        .enqueue_all(&brief(0..200), &Options::default())
        .await
        .unwrap();
    let list = queue.keys.queue(Queue::Default);
    for id in &ids {
        let id = id.to_string();
        let _: usize = queue.command(&["LPUSH", &list, &id]).await;
        let _: usize = queue.command(&["RPUSH", &list, &id, &id]).await;
    }

    let workers = [1, 2].map(|_| queue.worker(stage.registry(), TestQueue::options("default=8")));
    stage.have_ended(200).await;
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(sorted(stage.started()), names(0..200));
}

#[tokio::test]
async fn an_id_that_is_listed_again_while_it_runs_is_not_run_beside_it() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let id = queue
        .producer()
        .enqueue(&act("long", Plot::Waits))
        .await
        .unwrap();
    stage.has_started("long").await;

    let list = queue.keys.queue(Queue::Default);
    let _: usize = queue.command(&["RPUSH", &list, &id.to_string()]).await;
    queue.gone(&list).await;
    queue
        .producer()
        .enqueue(&act("next", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("next").await;

    assert_eq!(stage.starts_of("long"), 1);
    stage.open();
    queue.ends_clean().await;
    worker.stop().await;
}

/// Nothing of it is an id that waits; some of it looks like one.
const GARBAGE: [&[u8]; 10] = [
    b"garbage",
    b"",
    b"\xff\xfe\x00",
    b"default-0",
    b"default-007",
    b"default-7 ",
    b"default-999999999999999999999999",
    b"default+5",
    b"mid-1",
    b"-7",
];

#[tokio::test]
async fn garbage_in_a_list_is_dropped_and_costs_no_job() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let list = queue.keys.queue(Queue::Default);
    queue
        .producer()
        .enqueue_all(&brief(0..20), &Options::default())
        .await
        .unwrap();
    for garbage in GARBAGE {
        let _: usize = queue.command(&[b"RPUSH", list.as_bytes(), garbage]).await;
        let _: usize = queue.command(&[b"LPUSH", list.as_bytes(), garbage]).await;
    }

    let worker = queue.worker(stage.registry(), TestQueue::options("default=2"));
    stage.have_ended(20).await;
    queue.gone(&list).await;
    for garbage in GARBAGE {
        // The worker is idle now, so this is what BRPOP brings.
        let _: usize = queue.command(&[b"LPUSH", list.as_bytes(), garbage]).await;
        queue.gone(&list).await;
    }
    assert!(
        worker.blocking.is_healthy(),
        "garbage is no broken connection"
    );
    queue
        .producer()
        .enqueue(&act("last", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("last").await;
    queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(stage.started().len(), 21);
}

#[tokio::test]
async fn an_id_in_the_list_of_another_queue_costs_no_job() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let low = queue
        .producer()
        .enqueue_with(&act("low", Plot::Brief), &onto(Queue::Low))
        .await
        .unwrap();
    let _: usize = queue
        .command(&["RPUSH", &queue.keys.queue(Queue::High), &low.to_string()])
        .await;

    let high_only = queue.worker(stage.registry(), TestQueue::options("high=2"));
    queue.gone(&queue.keys.queue(Queue::High)).await;
    let low_only = queue.worker(stage.registry(), TestQueue::options("low=2"));
    queue.ends_clean().await;
    high_only.stop().await;
    low_only.stop().await;

    assert_eq!(stage.started(), ["low"]);
}

#[tokio::test]
async fn a_list_that_was_overwritten_by_hand_costs_no_job_and_stops_no_other_queue() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let list = queue.keys.queue(Queue::Low);
    queue
        .producer()
        .enqueue_with(&act("before", Plot::Brief), &onto(Queue::Low))
        .await
        .unwrap();
    let _: String = queue.command(&["SET", &list, "oops"]).await;

    let worker = queue.worker(stage.registry(), TestQueue::options("high=4,low=4"));
    queue
        .producer()
        .enqueue_with(&act("beside", Plot::Brief), &onto(Queue::Low))
        .await
        .unwrap();
    let high = queue
        .producer()
        .enqueue_all(&brief(0..100), &onto(Queue::High))
        .await
        .unwrap();
    let _: usize = queue.command(&["DEL", &list]).await;
    stage.have_ended(102).await;
    queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(high.len(), 100);
    assert_eq!(stage.started().len(), 102);
}

#[tokio::test]
async fn no_queue_runs_more_jobs_at_once_than_its_limit() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("high=1,default=6"));
    queue
        .producer()
        .enqueue(&act("warm", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("warm").await;

    let waiting: Vec<_> = (0..5).map(|_| act("high", Plot::Waits)).collect();
    queue
        .producer()
        .enqueue_all(&waiting, &onto(Queue::High))
        .await
        .unwrap();
    stage.has_started("high").await;
    // Turns are taken one after another: when this has run, the claim before it is complete.
    queue
        .producer()
        .enqueue(&act("after", Plot::Brief))
        .await
        .unwrap();
    stage.has_ended("after").await;

    assert_eq!(stage.starts_of("high"), 1);
    stage.open();
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_runs_no_more_jobs_in_all_than_its_concurrency() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    for queue_name in Queue::ALL {
        let waiting: Vec<_> = (0..4).map(|_| act("wait", Plot::Waits)).collect();
        queue
            .producer()
            .enqueue_all(&waiting, &onto(queue_name))
            .await
            .unwrap();
    }

    let options = TestQueue::options("high=3,default=3,low=3");
    let worker = queue.worker(
        stage.registry(),
        WorkerOptions {
            concurrency: 4,
            ..options
        },
    );
    stage.has_started_times("wait", 4).await;

    assert_eq!(queue.held(worker.id).await.len(), 4);
    stage.open();
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn higher_queues_go_first() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    for name in [Queue::Low, Queue::Default, Queue::High] {
        let acts: Vec<_> = (0..5).map(|_| act(name, Plot::Brief)).collect();
        queue
            .producer()
            .enqueue_all(&acts, &onto(name))
            .await
            .unwrap();
    }

    let options = TestQueue::options("high=1,default=1,low=1");
    let patient = WorkerOptions {
        starvation: Duration::from_secs(3600),
        ..options
    };
    let worker = queue.worker(stage.registry(), patient);
    stage.have_ended(15).await;
    worker.stop().await;

    let expected: Vec<_> = ["high", "default", "low"]
        .iter()
        .flat_map(|name| [*name; 5])
        .collect();
    assert_eq!(stage.started(), expected);
}

#[tokio::test]
async fn a_low_job_is_not_starved_by_a_high_queue_that_is_never_empty() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let high: Vec<_> = (0..400).map(|_| act("high", Plot::Takes(2))).collect();
    queue
        .producer()
        .enqueue_all(&high, &onto(Queue::High))
        .await
        .unwrap();
    queue
        .producer()
        .enqueue_with(&act("low", Plot::Brief), &onto(Queue::Low))
        .await
        .unwrap();

    let options = TestQueue::options("high=1,low=1");
    let worker = queue.worker(
        stage.registry(),
        WorkerOptions {
            starvation: Duration::from_millis(50),
            ..options
        },
    );
    stage.have_ended(401).await;
    worker.stop().await;

    assert_ne!(
        stage.started().last().unwrap(),
        "low",
        "it came when the high queue was empty"
    );
}

#[tokio::test]
async fn a_queue_that_gets_a_free_slot_is_heard_at_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("high=1,low=2"));
    let mut fastest = Duration::MAX;
    for round in 1..=3 {
        queue
            .producer()
            .enqueue_with(&act("busy", Plot::Takes(300)), &onto(Queue::High))
            .await
            .unwrap();
        stage.has_started_times("busy", round).await;
        // When this has run, the worker begins to wait for the low queue alone.
        let probe = format!("low {round}");
        queue
            .producer()
            .enqueue_with(&act(&probe, Plot::Brief), &onto(Queue::Low))
            .await
            .unwrap();
        stage.has_ended(&probe).await;
        eventually("the slot is free", async || {
            (queue.stat("completed:high").await == 2 * round - 1).then_some(())
        })
        .await;

        let freed = Instant::now();
        let next = format!("high {round}");
        queue
            .producer()
            .enqueue_with(&act(&next, Plot::Brief), &onto(Queue::High))
            .await
            .unwrap();
        stage.has_ended(&next).await;
        fastest = fastest.min(freed.elapsed());
        eventually("it is settled", async || {
            (queue.stat("completed:high").await == 2 * round).then_some(())
        })
        .await;
    }

    assert!(fastest < PATIENCE / 4, "it took {fastest:?}");
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn two_workers_share_a_backlog_and_run_each_job_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let workers =
        [1, 2, 3].map(|_| queue.worker(stage.registry(), TestQueue::options("default=16")));

    for from in (0..3000).step_by(300) {
        let acts = brief(from..from + 300);
        queue
            .producer()
            .enqueue_all(&acts, &Options::default())
            .await
            .unwrap();
    }
    stage.have_ended(3000).await;
    eventually("all are settled", async || {
        (queue.stat("completed:default").await == 3000).then_some(())
    })
    .await;
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(sorted(stage.started()), names(0..3000));
    assert_eq!(
        queue.stat("recovered").await,
        0,
        "nothing was lost, so nothing is recovered"
    );
}
