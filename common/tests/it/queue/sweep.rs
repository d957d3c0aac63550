//! The sweep: what was popped and never claimed, and lists that were mutilated by hand.

use common::{
    queue::{Options, Queue, When},
    testing::{TestQueue, eventually},
};

use super::{Look, Plot, Stage, act, brief, names, onto, sorted};

#[tokio::test]
async fn a_job_that_was_popped_by_one_who_died_runs_all_the_same() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    queue
        .producer()
        .enqueue(&act("a", Plot::Brief))
        .await
        .unwrap();
    assert_eq!(
        queue.pop_and_die(Queue::Default).await.as_deref(),
        Some("default-1")
    );

    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.has_ended("a").await;

    queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(queue.stat("recovered").await, 1);
}

#[tokio::test]
async fn many_lost_pops_are_listed_again_once_by_many_sweepers() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    queue
        .producer()
        .enqueue_all(&brief(0..60), &Options::default())
        .await
        .unwrap();
    for _ in 0..30 {
        queue.pop_and_die(Queue::Default).await.unwrap();
    }

    // They sweep all queues and consume none of this one, so that nothing hides a second listing.
    let sweepers = [1, 2, 3].map(|_| queue.worker(stage.registry(), TestQueue::options("high=1")));
    eventually("all are listed again", async || {
        (queue.listed(Queue::Default).await >= 60).then_some(())
    })
    .await;
    let listed: Vec<String> = queue
        .command(&["LRANGE", &queue.keys.queue(Queue::Default), "0", "-1"])
        .await;
    let expected: Vec<_> = (1..=60)
        .rev()
        .map(|number| format!("default-{number}"))
        .collect();
    assert_eq!(listed, expected, "each once, in the old order");
    assert_eq!(queue.stat("recovered").await, 30);

    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.have_ended(60).await;
    queue.ends_clean().await;
    worker.stop().await;
    for sweeper in sweepers {
        sweeper.stop().await;
    }
    assert_eq!(
        stage.started(),
        (0..60).map(|number| number.to_string()).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_list_that_was_deleted_is_repaired() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    queue
        .producer()
        .enqueue_all(&brief(0..2000), &Options::default())
        .await
        .unwrap();
    let _: usize = queue
        .command(&["DEL", &queue.keys.queue(Queue::Default)])
        .await;

    let workers = [1, 2].map(|_| queue.worker(stage.registry(), TestQueue::options("default=8")));
    stage.have_ended(2000).await;
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(sorted(stage.started()), names(0..2000));
}

#[tokio::test]
async fn a_new_job_overtakes_a_long_list_that_was_deleted_and_none_is_lost() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let jobs = 25_000; // more than a claim may jump over in one step
    queue
        .producer()
        .enqueue_all(&brief(0..jobs), &Options::default())
        .await
        .unwrap();
    let _: usize = queue
        .command(&["DEL", &queue.keys.queue(Queue::Default)])
        .await;
    queue
        .producer()
        .enqueue(&act("new", Plot::Brief))
        .await
        .unwrap();

    let worker = queue.worker(stage.registry(), TestQueue::options("default=64"));
    stage.has_ended("new").await;
    stage.have_ended(jobs as usize + 1).await;
    queue.ends_clean().await;
    worker.stop().await;

    let mut ran = sorted(stage.started());
    ran.retain(|name| name != "new");
    assert_eq!(ran, names(0..jobs));
}

#[tokio::test]
async fn a_list_that_was_trimmed_anywhere_is_repaired() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let list = queue.keys.queue(Queue::Default);
    queue
        .producer()
        .enqueue_all(&brief(0..100), &Options::default())
        .await
        .unwrap();
    let _: String = queue.command(&["LTRIM", &list, "10", "89"]).await; // both ends
    for number in 40..60 {
        let _: usize = queue
            .command(&["LREM", &list, "0", &format!("default-{number}")])
            .await;
    }
    assert_eq!(queue.listed(Queue::Default).await, 60);

    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    stage.have_ended(100).await;
    queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(sorted(stage.started()), names(0..100));
}

#[tokio::test]
async fn jobs_that_were_scheduled_or_retried_are_found_too_when_their_pop_is_lost() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let carer = queue.worker(stage.registry(), TestQueue::options("high=1"));
    let now = Options {
        when: When::In(std::time::Duration::ZERO),
        ..onto(Queue::Low)
    };
    for number in 0..5 {
        queue
            .producer()
            .enqueue_with(&act(number, Plot::Fails(1)), &now)
            .await
            .unwrap();
    }
    let mut popped = 0;
    while popped < 5 {
        popped += usize::from(queue.pop_and_die(Queue::Low).await.is_some());
    }

    let worker = queue.worker(stage.registry(), TestQueue::options("low=2"));
    stage.have_ended(5).await;
    queue.ends_clean().await;
    worker.stop().await;
    carer.stop().await;

    assert_eq!(stage.started().len(), 10);
}

#[tokio::test]
async fn a_lost_pop_shows_on_a_list_of_promoted_jobs_that_is_never_empty() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let carer = queue.worker(stage.registry(), TestQueue::options("high=1"));
    let now = Options {
        when: When::In(std::time::Duration::ZERO),
        ..onto(Queue::Low)
    };
    for number in 1..=4 {
        queue
            .producer()
            .enqueue_with(&act(number, Plot::Brief), &now)
            .await
            .unwrap();
        eventually("it is listed", async || {
            (queue.listed(Queue::Low).await == number).then_some(())
        })
        .await;
    }
    queue
        .producer()
        .enqueue_with(&act("new", Plot::Brief), &onto(Queue::Low))
        .await
        .unwrap();
    for popped in ["low+1", "low+2"] {
        assert_eq!(queue.pop_and_die(Queue::Low).await.as_deref(), Some(popped));
    }

    eventually("the lost ones are listed again", async || {
        (queue.listed(Queue::Low).await == 5).then_some(())
    })
    .await;

    let listed: Vec<String> = queue
        .command(&["LRANGE", &queue.keys.queue(Queue::Low), "0", "-1"])
        .await;
    assert_eq!(listed, ["low-1", "low+4", "low+3", "low+2", "low+1"]);
    let worker = queue.worker(stage.registry(), TestQueue::options("low=1"));
    stage.have_ended(5).await;
    queue.ends_clean().await;
    worker.stop().await;
    carer.stop().await;
    assert_eq!(queue.stat("recovered").await, 2);
}

#[tokio::test]
async fn pops_that_are_lost_all_the_time_cost_no_job() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=4"));

    for from in (0..300).step_by(10) {
        queue
            .producer()
            .enqueue_all(&brief(from..from + 10), &Options::default())
            .await
            .unwrap();
        let list = queue.keys.queue(Queue::Default);
        let _: Option<String> = queue.command(&["RPOP", &list]).await;
        let _: Option<String> = queue.command(&["LPOP", &list]).await;
    }
    stage.have_ended(300).await;
    queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(sorted(stage.started()), names(0..300));
}
