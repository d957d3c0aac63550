//! What an operator changes by hand.

use common::{
    queue::{
        dead::{Fate, Filter},
        inspect::{list::State, show::Known},
    },
    testing::eventually,
};

use super::{Fail, Hold, Nothing, Stage, id};

#[tokio::test]
async fn a_dead_job_that_is_retried_runs_with_its_attempts_counted_anew() {
    let stage = Stage::set();
    let _worker = stage.one_of_each().await;

    let pushed = stage.operator.retry(&[id("default-1")]).await.unwrap();

    assert_eq!(pushed, [id("default-1")]);
    let job = eventually("it is dead again", async || {
        let Known::Job(job) = stage.inspector.show(id("default-1")).await.unwrap() else {
            panic!("it is gone")
        };
        (job.state == "dead" && job.history.len() == 3).then_some(job)
    })
    .await;
    let events: Vec<_> = job.history.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(events, ["buried", "revived", "buried"]);
    assert_eq!(job.history[2].attempt, Some(1));
}

#[tokio::test]
async fn only_dead_and_scheduled_jobs_can_be_retried() {
    let stage = Stage::set();
    let _worker = stage.one_of_each().await;
    let all = ["high-1", "default-3", "default+1", "default-2", "low-9"].map(id);

    let pushed = stage.operator.retry(&all).await.unwrap();

    assert_eq!(pushed, ["default+1", "default-2"].map(id));
}

#[tokio::test]
async fn retrying_an_entry_without_a_body_leaves_nothing_behind() {
    let stage = Stage::set();
    stage.command("ZADD", "dead", &["1", "high-5"]).await;

    let pushed = stage.operator.retry(&[id("high-5")]).await.unwrap();

    assert_eq!(pushed, []);
    assert!(stage.names().await.is_empty());
}

#[tokio::test]
async fn all_but_claimed_jobs_can_be_discarded_and_leave_nothing_behind() {
    let stage = Stage::set();
    let worker = stage.one_of_each().await;
    let all = [
        "default-1",
        "default-2",
        "default-3",
        "default+1",
        "high-1",
        "high-2",
    ]
    .map(id);

    let removed = stage.operator.discard(&all).await.unwrap();

    let claimed = id("default-3");
    assert_eq!(removed.len(), 5);
    assert!(!removed.contains(&claimed));
    assert_eq!(stage.ids(State::Claimed).await, ["default-3"]);
    stage.gate.add_permits(1);
    stage.wait_until_empty().await;
    worker.stop().await;
    // The leftovers in the list of a queue that nobody serves.
    stage.delete("queue:high").await;
    assert_eq!(stage.names().await, ["mark:default", "mark:high", "stats"]);
    assert_eq!(stage.audit().await.findings, []);
}

#[tokio::test]
async fn a_discarded_child_counts_as_failed_and_its_group_ends() {
    let stage = Stage::set();
    let worker = stage.worker("default=1"); // so that two children wait while one holds
    stage.enqueue(&super::Holds).await;
    stage.wait_for_claims(&["default-2"]).await;
    let waiting: Vec<_> = stage.ids(State::Waiting).await;
    assert_eq!(waiting.len(), 2);

    let ids: Vec<_> = waiting.iter().map(|text| id(text)).collect();
    stage.operator.discard(&ids).await.unwrap();
    stage.gate.add_permits(1);

    stage.wait_until_empty().await;
    worker.stop().await;
    assert_eq!(stage.names().await, ["mark:default", "stats"]);
}

#[tokio::test]
async fn all_dead_jobs_of_one_task_are_retried_or_discarded() {
    let stage = Stage::set();
    let worker = stage.worker("default=50");
    for _ in 0..300 {
        stage.enqueue(&Fail { fatal: true }).await;
    }
    let stranger = common::queue::Options::default();
    let args = serde_json::value::to_raw_value(&()).unwrap();
    let producer = stage.queue.producer();
    producer
        .enqueue_raw("demo.nothing", &args, &stranger) // whose arguments do not fit
        .await
        .unwrap();
    stage.settle_down("all are dead", [0, 0, 301]).await;
    worker.stop().await;

    let fails = Filter {
        task: Some("demo.fail".to_owned()),
        ..Filter::default()
    };
    let mut steps = Vec::new();
    let walk = stage
        .operator
        .all_dead(Fate::Discard, &fails, None, |done| steps.push(done));
    let done = walk.await.unwrap();

    assert_eq!((done.seen, done.changed), (301, 300));
    assert_eq!(steps.last(), Some(&done));
    assert_eq!(stage.ids(State::Dead).await, ["default-301"]);
    let all = Filter::default();
    let done = stage.operator.all_dead(Fate::Retry, &all, None, |_| {});
    assert_eq!(done.await.unwrap().changed, 1);
    assert_eq!(stage.ids(State::Waiting).await, ["default-301"]);
    assert_eq!(stage.audit().await.findings, []);
}

#[tokio::test]
async fn a_discarded_job_that_waits_is_passed_over() {
    let stage = Stage::set();
    let first = stage.enqueue(&Hold).await;
    stage.enqueue(&Nothing { n: 1 }).await;

    stage.operator.discard(&[first]).await.unwrap();
    let worker = stage.worker("default=1");

    stage.wait_until_empty().await;
    worker.stop().await;
    assert_eq!(
        stage.names().await,
        ["mark:default", "stats"],
        "the leftover is gone, too"
    );
}
