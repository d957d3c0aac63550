//! Flows, seen by a person, and accounted for.

use common::queue::{
    JobId, all,
    audit::Problem,
    inspect::{
        flow::{Around, Within},
        show::Known,
    },
    job,
};

use super::{Fail, Hold, Holds, Nothing, Stage};

impl Stage {
    async fn around(&self, id: &str) -> Around {
        let Known::Job(job) = self.inspector.show(id.parse().unwrap()).await.unwrap() else {
            panic!("{id} is gone")
        };
        job.flow.expect("a job of a flow")
    }
}

#[tokio::test]
async fn a_job_shows_what_comes_after_it_and_how_far_its_all_is() {
    let stage = Stage::set();
    let worker = stage.worker("default=2");
    let (nothing, fail) = (Nothing { n: 0 }, Fail { fatal: true });
    let parts = [job(&Hold).then(&nothing), job(&fail), job(&nothing)];
    let flow = all(parts)
        .then(&Holds)
        .or_else(all(&[Fail { fatal: true }]));

    let id = stage.queue.producer().start(flow).await.unwrap();
    stage.settle_down("one holds, one is dead", [0, 1, 1]).await;

    let holds = Around {
        flow: id,
        step: 2,
        steps: 8,
        jobs: 2,
        then: Some("demo.nothing".to_owned()),
        or_else: None,
        within: Some(Within {
            part: 1,
            parts: 3,
            left: 1,
            failed: 1,
            then: Some("demo.holds".to_owned()),
            or_else: Some("all of 1".to_owned()),
        }),
    };
    assert_eq!(stage.around("default-1").await, holds);
    let dead = stage.around("default-2").await;
    assert_eq!((dead.step, dead.then), (4, None));
    stage
        .operator
        .discard(&["default-2".parse().unwrap()])
        .await
        .unwrap();
    stage.gate.add_permits(1);
    stage.settle_down("its handler is dead", [0, 0, 1]).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_flow_under_way_gives_an_audit_nothing_to_find() {
    let stage = Stage::set();
    let worker = stage.worker("default=4");
    let parts = || [job(&Hold), job(&Holds), job(&Fail { fatal: true })];
    stage
        .queue
        .producer()
        .start(all(parts()).then(&Hold))
        .await
        .unwrap();

    // The master is done, and its group holds its place.
    stage.settle_down("four hold, one is dead", [0, 4, 1]).await;
    assert_eq!(stage.audit().await.findings, []);

    stage.gate.add_permits(4);
    stage.settle_down("one is dead", [0, 0, 1]).await;
    assert_eq!(stage.audit().await.findings, []);
    worker.stop().await;
}

#[tokio::test]
async fn a_flow_that_waits_for_a_job_without_a_body_goes_on_after_the_repair() {
    let stage = Stage::set();
    let nothing = Nothing { n: 0 };
    let flow = all([job(&nothing), job(&nothing)]).or_else(&Nothing { n: 1 });
    stage.queue.producer().start(flow).await.unwrap();
    stage
        .command("HDEL", "jobs:default-0", &["default-2"])
        .await;
    let worker = stage.worker("default=1");
    stage.wait_until_empty().await;

    let (found, after) = stage.mend().await;

    let missing = found
        .iter()
        .find(|f| f.problem == Problem::NoBodyFlow)
        .unwrap();
    assert_eq!(
        (missing.subject.as_str(), missing.at.as_str()),
        ("default-2", "1")
    );
    assert_eq!(after.findings, []);
    stage.wait_until_empty().await;
    worker.stop().await;
    let handler: JobId = "default-3".parse().unwrap();
    assert!(matches!(
        stage.inspector.show(handler).await.unwrap(),
        Known::Finished
    ));
    assert!(
        !stage
            .queue
            .key_names()
            .await
            .iter()
            .any(|name| name.starts_with("flow:"))
    );
}

#[tokio::test]
async fn a_flow_without_a_job_is_found_and_removed() {
    let stage = Stage::set();
    stage.command("HSET", "flow:7", &["step:1", "{}"]).await;

    let (found, after) = stage.mend().await;

    assert_eq!(found.len(), 1);
    assert_eq!(found[0].problem, Problem::JoblessFlow);
    assert_eq!(after.findings, []);
    assert!(stage.queue.key_names().await.is_empty());
}
