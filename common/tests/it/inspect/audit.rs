//! Every job is accounted for, and what hands broke is repaired.

use std::cell::Cell;

use common::queue::{
    Options, Queue,
    audit::Problem,
    inspect::{list::State, show::Known},
};

use super::{Fail, Hold, Holds, Nothing, Stage, id};

fn problems(found: &[common::queue::audit::Finding]) -> Vec<(Problem, &str)> {
    found
        .iter()
        .map(|finding| (finding.problem, finding.subject.as_str()))
        .collect()
}

#[tokio::test]
async fn one_job_in_each_state_is_accounted_for() {
    let stage = Stage::set();
    let _worker = stage.one_of_each().await;

    let report = stage.audit().await;

    let account = &report.queues[&Queue::Default];
    assert_eq!(
        (account.scheduled, account.claimed, account.dead),
        (2, 1, 1)
    );
    let high = &report.queues[&Queue::High];
    assert_eq!((high.waiting, high.listed, high.leftover), (2, 2, 0));
    assert_eq!((report.jobs, report.missing), (6, 0));
    assert!(report.queues.values().all(|account| account.missing() == 0));
    assert_eq!(report.findings, []);
}

#[tokio::test]
async fn jobs_that_move_while_the_audit_walks_are_never_suspected() {
    let stage = Stage::set();
    let worker = stage.worker("default=32");
    stage.gate.add_permits(1_000_000);
    let producer = stage.queue.producer();
    let done = Cell::new(false);

    let enqueue = async {
        let jobs: Vec<_> = (0..50).map(|n| Nothing { n }).collect();
        let mut rounds = 0;
        while !done.get() {
            let options = Options::default();
            producer.enqueue_all(&jobs, &options).await.unwrap();
            producer.enqueue(&Holds).await.unwrap();
            producer.enqueue(&Fail { fatal: false }).await.unwrap();
            rounds += 1;
        }
        rounds
    };
    let audit = async {
        for round in 0..10 {
            let report = stage.audit().await;
            assert_eq!(report.findings, [], "in round {round}");
        }
        done.set(true);
    };
    let (rounds, ()) = tokio::join!(enqueue, audit);

    assert!(rounds > 10, "jobs came in while it walked");
    worker.vanish().await;
    let report = stage.audit().await;
    assert_eq!(report.findings, [], "a dead worker's jobs are claimed");
}

#[tokio::test]
async fn jobs_whose_place_was_deleted_go_back_to_where_they_were() {
    let stage = Stage::set();
    let _worker = stage.one_of_each().await;
    stage.delete("dead").await;
    stage.delete("scheduled").await;

    let (found, after) = stage.mend().await;

    let nowhere = ["default-1", "default-2", "default+1"].map(|id| (Problem::Nowhere, id));
    let mut seen = problems(&found);
    seen.sort_by_key(|(_, subject)| subject.len());
    assert!(nowhere.iter().all(|lost| seen.contains(lost)), "{found:?}");
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|finding| finding.repaired.is_some()));
    assert_eq!(after.findings, []);
    assert_eq!(stage.ids(State::Dead).await, ["default-1"]);
    let Known::Job(due) = stage.inspector.show(id("default+1")).await.unwrap() else {
        panic!("it is gone")
    };
    assert_eq!(due.state, "scheduled");
    assert!(due.due_ms.unwrap() - due.now_ms > 3_000_000);
}

#[tokio::test]
async fn loose_jobs_that_lost_their_place_wait_again_in_their_order() {
    let stage = Stage::set();
    let worker = stage.worker("default=1");
    for n in 0..20 {
        stage.enqueue(&Nothing { n }).await;
    }
    stage.wait_until_empty().await;
    worker.stop().await;
    // Bodies that nothing points at, as if somebody had deleted `loose:default` and the list.
    for n in [12, 3, 7] {
        let body = r#"{"at":1,"task":"demo.nothing","args":{"n":0}}"#;
        let job = format!("default-{n}");
        stage.queue.set_body(id(&job), body.as_bytes()).await;
        stage
            .command("HINCRBY", "stats", &["enqueued:default", "1"])
            .await;
    }

    let (found, after) = stage.mend().await;

    assert_eq!(found.len(), 3);
    assert_eq!(after.findings, []);
    let ids = stage.ids(State::Waiting).await;
    assert_eq!(ids, ["default-3", "default-7", "default-12"]);
}

#[tokio::test]
async fn a_dead_worker_that_was_taken_off_the_list_loses_its_jobs_after_the_repair() {
    let stage = Stage::set();
    let first = stage.worker("default=1");
    let job = stage.enqueue(&Hold).await;
    stage.settle_down("it is claimed", [0, 1, 0]).await;
    let name = first.id.to_string();
    first.vanish().await;
    // Somebody deletes the list by hand; again, if the last beat was under way.
    let (found, after) = common::testing::eventually("it is off the list", async || {
        stage.command("DEL", "workers", &[]).await;
        let (found, after) = stage.mend().await;
        (!found.is_empty()).then_some((found, after))
    })
    .await;

    assert_eq!(problems(&found), [(Problem::UnknownWorker, name.as_str())]);
    assert_eq!(after.findings, []);
    assert_eq!(after.queues[&Queue::Default].claimed, 1);
    // As if its time had passed.
    stage.command("ZADD", "workers", &["1", &name]).await;
    let second = stage.worker("default=1");
    common::testing::eventually("another worker holds it", async || {
        let Known::Job(seen) = stage.inspector.show(job).await.unwrap() else {
            panic!("it is gone")
        };
        let holder = seen.claim.map(|claim| claim.worker);
        (holder == Some(second.id.to_string())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_mark_that_was_deleted_is_raised_before_ids_are_given_out_again() {
    let stage = Stage::set();
    for n in 0..5 {
        stage.enqueue(&Nothing { n }).await;
    }
    stage.schedule(&Nothing { n: 5 }).await;
    stage.delete("mark:default").await;

    let (found, after) = stage.mend().await;

    assert_eq!(found[0].problem, Problem::LowMark);
    assert_eq!(found[0].at, "5 1");
    assert_eq!(after.findings, []);
    assert_eq!(after.queues[&Queue::Default].waiting, 5);
    assert_eq!(stage.enqueue(&Nothing { n: 6 }).await, id("default-6"));
    assert_eq!(stage.schedule(&Nothing { n: 7 }).await, id("default+2"));
    let worker = stage.worker("default=4");
    common::testing::eventually("only the scheduled ones are left", async || {
        (stage.inspector.status().await.unwrap().jobs == 2).then_some(())
    })
    .await;
    worker.stop().await;
    assert_eq!(stage.audit().await.findings, []);
}

#[tokio::test]
async fn new_jobs_overwrite_none_when_a_mark_was_deleted_and_the_old_ones_can_be_put_back() {
    let stage = Stage::set();
    for n in 0..5 {
        stage.enqueue(&Nothing { n }).await;
    }
    stage.schedule(&Nothing { n: 5 }).await;
    stage.delete("mark:default").await;

    // Six were enqueued, so no old id has a number above that.
    assert_eq!(stage.enqueue(&Nothing { n: 6 }).await, id("default-7"));
    assert_eq!(stage.schedule(&Nothing { n: 7 }).await, id("default+7"));
    assert_eq!(stage.inspector.status().await.unwrap().jobs, 8);
    let (found, after) = stage.mend().await;

    let nowhere = (1..=5).map(|n| format!("default-{n}"));
    let mut lost = problems(&found);
    lost.sort_by_key(|(_, subject)| subject.to_owned());
    assert!(
        lost.iter()
            .map(|(problem, subject)| (*problem, (*subject).to_owned()))
            .eq(nowhere.map(|id| (Problem::Nowhere, id))),
        "{found:?}"
    );
    assert_eq!(after.findings, []);
    assert_eq!(after.queues[&Queue::Default].waiting, 6);
    let worker = stage.worker("default=4");
    common::testing::eventually("only the scheduled ones are left", async || {
        (stage.inspector.status().await.unwrap().jobs == 2).then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn entries_that_point_at_nothing_are_removed() {
    let stage = Stage::set();
    stage.command("ZADD", "scheduled", &["1", "high+9"]).await;
    stage.command("ZADD", "dead", &["1", "high-9"]).await;
    stage.command("HSET", "attempts", &["high-8", "1 0"]).await;
    stage.command("RPUSH", "history:high-7", &["{}"]).await;
    stage
        .command("LPUSH", "queue:high", &["hello", "low-1"])
        .await;

    let (found, after) = stage.mend().await;

    assert_eq!(
        problems(&found),
        [
            (Problem::Stray, "hello"),
            (Problem::Stray, "low-1"),
            (Problem::NoBodyScheduled, "high+9"),
            (Problem::NoBodyDead, "high-9"),
            (Problem::NoBodyAttempts, "high-8"),
            (Problem::NoBodyHistory, "high-7"),
        ]
    );
    assert_eq!(after.findings, []);
    assert!(stage.queue.key_names().await.is_empty());
}

#[tokio::test]
async fn a_group_that_waits_for_a_child_without_a_body_ends_after_the_repair() {
    let stage = Stage::set();
    let worker = stage.worker("default=1");
    stage.enqueue(&Holds).await;
    stage.wait_for_claims(&["default-2"]).await;
    stage
        .command("HDEL", "jobs:default-0", &["default-3"])
        .await;
    stage.gate.add_permits(3);
    stage.wait_until_empty().await;

    let (found, after) = stage.mend().await;

    let expected = [
        (Problem::NoBodyLeft, "default-3"),
        (Problem::Imbalance, "1"),
    ];
    assert_eq!(problems(&found), expected);
    assert_eq!(after.findings, []);
    stage.wait_until_empty().await;
    worker.stop().await;
    assert_eq!(stage.names().await, ["mark:default", "stats"]);
    let totals = stage.inspector.status().await.unwrap().totals;
    assert_eq!(totals["lost:default"], 1);
}

#[tokio::test]
async fn a_group_whose_end_was_missed_goes_on_after_the_repair() {
    let stage = Stage::set();
    let worker = stage.worker("default=8");
    stage.enqueue(&Holds).await;
    let children = ["default-2", "default-3", "default-4"];
    stage.wait_for_claims(&children).await;
    stage.delete("group:default-1:left").await;
    stage.gate.add_permits(3);
    stage.settle_down("the children are done", [0, 0, 0]).await;

    let (found, after) = stage.mend().await;

    assert_eq!(problems(&found), [(Problem::Unfired, "default-1")]);
    assert_eq!(after.findings, []);
    stage.wait_until_empty().await;
    worker.stop().await;
    assert_eq!(stage.names().await, ["mark:default", "stats"]);
}

#[tokio::test]
async fn a_job_in_two_places_and_a_field_that_is_no_id_are_told_and_left_alone() {
    let stage = Stage::set();
    stage.enqueue(&Nothing { n: 1 }).await;
    stage.command("ZADD", "dead", &["1", "default-1"]).await;
    stage.command("HSET", "jobs:mid-0", &["mid-1", "x"]).await;

    let (found, after) = stage.mend().await;

    let told = [
        (Problem::Twice, "default-1"),
        (Problem::NoId, "mid-1"),
        (Problem::Imbalance, "-1"),
    ];
    assert_eq!(problems(&found), told);
    assert_eq!(found[0].at, "waiting and dead");
    assert_eq!(problems(&after.findings), told[..2]);
}

#[tokio::test]
async fn jobs_that_vanished_are_told_in_number() {
    let stage = Stage::set();
    for n in 0..7 {
        stage.enqueue(&Nothing { n }).await;
    }
    stage.delete("jobs:default-0").await;

    let report = stage.audit().await;

    assert_eq!(report.missing, 7);
    assert_eq!(problems(&report.findings), [(Problem::Imbalance, "7")]);
    assert_eq!(report.findings[0].at, "default");
    assert_eq!(report.queues[&Queue::Default].leftover, 7);
}

#[tokio::test]
async fn something_else_in_the_place_of_a_bucket_is_told_and_the_rest_is_audited() {
    let stage = Stage::set();
    stage.enqueue(&Nothing { n: 1 }).await;
    stage.command("SET", "jobs:low-7", &["x"]).await;
    let at_home = stage.queue.body(id("default-1")).await.unwrap();
    let stray = ["default-2000", &at_home];
    stage.command("HSET", "jobs:default-0", &stray).await;

    let report = stage.audit().await;

    let told = [
        (Problem::NoId, "default-2000"),
        (Problem::NotABucket, "low-7"),
        (Problem::Imbalance, "-1"),
    ];
    assert_eq!(problems(&report.findings), told);
    assert_eq!(report.findings[0].at, "default-0");
    assert_eq!(report.queues[&Queue::Default].waiting, 1);
}

#[tokio::test]
async fn something_else_in_the_place_of_a_list_is_told_and_hides_no_job() {
    let stage = Stage::set();
    stage.enqueue(&Nothing { n: 1 }).await;
    stage.delete("queue:default").await;
    stage.command("SET", "queue:default", &["x"]).await;

    let report = stage.audit().await;

    assert_eq!(problems(&report.findings), [(Problem::NotAList, "default")]);
    assert_eq!(report.queues[&Queue::Default].waiting, 1);
    let status = stage.inspector.status().await.unwrap();
    assert_eq!(
        (status.queues[1].waiting, status.queues[1].listed),
        (1, None)
    );
    stage.delete("queue:default").await;
    let worker = stage.worker("default=1");
    stage.wait_until_empty().await;
    worker.stop().await;
}
