//! Who gets the slots, seen in the order in which jobs start.

use std::time::Duration;

use common::{
    queue::{Queue, ShareError, Worker, WorkerError, WorkerOptions},
    testing::TestQueue,
};

use super::{Plot, Stage, act, onto};

/// `n` brief acts in each queue, named by it.
async fn fill(queue: &TestQueue, n: usize) {
    for of in Queue::ALL {
        let acts = vec![act(of, Plot::Brief); n];
        queue
            .producer()
            .enqueue_all(&acts, &onto(of))
            .await
            .unwrap();
    }
}

fn count(started: &[String]) -> [usize; 3] {
    Queue::ALL.map(|of| started.iter().filter(|name| *name == of.name()).count())
}

#[tokio::test]
async fn weighted_queues_start_their_jobs_in_proportion_and_what_is_left_goes_to_the_others() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    fill(&queue, 60).await;
    let options = WorkerOptions {
        weights: Some("high=6,default=3,low=1".parse().unwrap()),
        concurrency: 1,
        ..TestQueue::options("high=1,default=1,low=1")
    };

    let worker = queue.worker(stage.registry(), options);
    stage.have_ended(180).await;
    worker.stop().await;

    let started = stage.started();
    // All have work: 100 jobs, in any ten of them six, three, one.
    for ten in started[..100].chunks(10) {
        assert_eq!(count(ten), [6, 3, 1], "{started:?}");
    }
    // high is empty: three of default for one of low; default had 30, so that is 40 jobs.
    assert_eq!(count(&started[100..140]), [0, 30, 10]);
}

#[tokio::test]
async fn a_lower_queue_starts_jobs_between_those_of_a_higher_one_that_is_never_empty() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    fill(&queue, 40).await;
    let options = WorkerOptions {
        starvation: Duration::ZERO,
        concurrency: 1,
        ..TestQueue::options("high=1,default=1,low=1")
    };

    let worker = queue.worker(stage.registry(), options);
    stage.have_ended(120).await;
    worker.stop().await;

    // As impatient as can be: every second one is by priority all the same, the others in turns.
    let [high, default, low] = count(&stage.started()[..40]);
    assert!(
        high >= 19 && default >= 9 && low >= 9,
        "{:?}",
        stage.started()
    );
}

#[tokio::test]
async fn slow_jobs_of_other_queues_leave_the_reserved_slots_to_their_queue() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let options = WorkerOptions {
        reserve: "high=2".parse().unwrap(),
        concurrency: 5,
        ..TestQueue::options("high=5,low=5")
    };
    let worker = queue.worker(stage.registry(), options);
    let slow = vec![act("slow", Plot::Waits); 10];
    queue
        .producer()
        .enqueue_all(&slow, &onto(Queue::Low))
        .await
        .unwrap();
    stage.has_started_times("slow", 3).await;

    let acts: Vec<_> = (0..20).map(|n| act(n, Plot::Brief)).collect();
    queue
        .producer()
        .enqueue_all(&acts, &onto(Queue::High))
        .await
        .unwrap();

    stage.have_ended(20).await;
    assert_eq!(
        stage.starts_of("slow"),
        3,
        "no more than the slots that are not reserved"
    );
    stage.open();
    stage.have_ended(30).await;
    worker.stop().await;
}

#[test]
fn a_worker_that_would_never_run_one_of_its_queues_is_refused() {
    let queue = TestQueue::start();
    let options = WorkerOptions {
        reserve: "high=2".parse().unwrap(),
        concurrency: 2,
        ..TestQueue::options("high=2,low=2")
    };
    let registry = Stage::new().registry();

    let refused = Worker::new(&queue.url, queue.keys.clone(), registry, options);

    let refused = refused.unwrap_err();
    assert!(
        matches!(
            refused,
            WorkerError::Share(ShareError::NothingLeft {
                queue: Queue::Low,
                ..
            })
        ),
        "{refused}"
    );
}
