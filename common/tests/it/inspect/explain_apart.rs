//! Why a job is not running that is in no line of a queue.

use std::time::Duration;

use common::{
    queue::{Lane, Options, Queue, inspect::explain::Reason, operate::Operator},
    testing::eventually,
};

use super::{Holds, Nothing, Stage, explain::says};

#[tokio::test]
async fn a_lane_is_told_with_what_holds_its_slots() {
    let stage = Stage::set();
    let options = Options {
        lane: Some(Lane::new("tenant-7", 1)),
        ..Options::default()
    };
    let producer = stage.queue.producer();
    for _ in 0..3 {
        producer
            .enqueue_with(&Nothing { n: 1 }, &options)
            .await
            .unwrap();
    }

    let told = stage.explain("default+3").await;

    let Reason::Laned { ahead, holders, .. } = told.reason.clone() else {
        panic!("{told:#?}")
    };
    assert_eq!((ahead, &holders[..]), (1, &["default+1".to_owned()][..]));
    says(
        &told,
        "It is in the line of lane tenant-7, 1 job is before it. 1 of 1 slots of the lane are held by default+1",
    );
    assert!(told.text.ends_with("No worker is running."), "{told:?}");
    assert_eq!(told.advice.as_deref(), Some("Start a worker."));

    let slow = Options {
        lane: Some(Lane::new("slow", 9).rate(1, Duration::from_secs(3600))),
        ..Options::default()
    };
    for _ in 0..2 {
        producer
            .enqueue_with(&Nothing { n: 1 }, &slow)
            .await
            .unwrap();
    }
    let told = stage.explain("default+5").await;
    assert!(
        told.text
            .contains("lets 1 job in 1 h go; the next one may go in "),
        "{told:?}"
    );
}

#[tokio::test]
async fn failed_and_dead_jobs_are_told_with_their_errors() {
    let stage = Stage::set();
    let _worker = stage.one_of_each().await;

    let told = stage.explain("default-2").await;
    says(
        &told,
        "Attempt 1 failed (the disk is full); the next one is due in ",
    );
    let told = stage.explain("default-1").await;
    says(&told, "It is dead for 0 s: the disk is on fire");
    assert!(told.advice.unwrap().contains("queuectl retry default-1"));
    let told = stage.explain("default+1").await;
    says(&told, "It is scheduled, and due in ");
    // Its worker serves another queue.
    let told = stage.explain("high-2").await;
    assert_eq!(told.reason, Reason::NoWorker { alive: 1, ahead: 1 });
}

/// As fan-in leaves it when a child of a group that fails has died.
#[tokio::test]
async fn what_was_to_follow_dead_children_names_them() {
    let stage = Stage::set();
    let body = r#"{"at":1,"task":"demo.nothing","args":{"n":1},"follows":"low-1"}"#;
    stage.command("HSET", "jobs:low+0", &["low+1", body]).await;
    stage.command("HSET", "mark:low", &["later", "1"]).await;
    stage.command("ZADD", "dead", &["1", "low+1"]).await;
    let entry =
        r#"{"at_ms":1,"event":"group_failed","error":"2 children of group low-1 are dead"}"#;
    stage.command("RPUSH", "history:low+1", &[entry]).await;

    let told = stage.explain("low+1").await;

    assert!(
        told.text
            .ends_with("children of low-1, which it was to follow, are dead."),
        "{told:?}"
    );
    assert_eq!(
        told.advice.as_deref(),
        Some("First the children: queuectl replay --group low-1; then: queuectl retry low+1")
    );
}

#[tokio::test]
async fn a_master_tells_of_the_children_that_its_group_waits_for() {
    let stage = Stage::set();
    let _worker = stage.worker("default=4");
    let master = stage.enqueue(&Holds).await;
    eventually("the master has ended", async || {
        let told = stage.explain(master).await;
        (told.reason
            == Reason::GroupOpen {
                total: 3,
                left: 3,
                failed: 0,
            })
        .then_some(())
    })
    .await;

    says(
        &stage.explain(master).await,
        "It has run, and what follows its group waits for 3 of its 3 children.",
    );
    stage.gate.add_permits(3);
    stage.wait_until_empty().await;
    assert_eq!(
        stage.explain(master).await.reason,
        Reason::Ended { how: None }
    );
}

#[tokio::test]
async fn an_id_that_never_was_is_told_with_what_lies_in_the_inbox() {
    let stage = Stage::set();
    says(
        &stage.explain("low-1").await,
        "No job has the id low-1: none of its kind has been",
    );
    stage.enqueue_on(Queue::Low).await;
    stage.command("LPUSH", "inbox:low", &["{}"]).await;
    let operator: &Operator = &stage.operator;
    operator.drain(Queue::Low).await.unwrap();

    let told = stage.explain("low-7").await;

    assert_eq!(
        told.text,
        "No job has the id low-7: the newest of its kind is low-1. 1 body lies in the inbox of queue low, \
         to be made jobs by a worker. Queue low drains: it takes no new jobs."
    );
}

#[tokio::test]
async fn a_job_in_no_place_is_for_the_audit() {
    let stage = Stage::set();
    let job = stage.schedule(&Nothing { n: 1 }).await;
    stage.delete("scheduled").await;

    let told = stage.explain(job).await;

    assert_eq!(
        told.reason,
        Reason::Astray {
            places: "nowhere".to_owned()
        }
    );
    assert!(told.advice.unwrap().contains("audit --repair"));
}
