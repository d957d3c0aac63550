//! `queuectl` on what a deploy shows: parked jobs, periodic tasks.

use std::{sync::Arc, time::Duration};

use common::{
    queue::{JobContext, Periodic, Registry, Task, TaskError},
    testing::{TestQueue, eventually},
};
use serde::{Deserialize, Serialize};

use crate::desk::Desk;

#[derive(Debug, Serialize, Deserialize)]
struct Report;

impl Task for Report {
    const NAME: &'static str = "demo.report";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Ok(())
    }
}

#[tokio::test]
async fn parked_jobs_are_told_with_what_they_wait_for() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.unheard_of", r#"{"n":1}"#]);
    let worker = desk
        .queue
        .worker(Registry::new(), TestQueue::options("default=8"));
    eventually("it is parked", async || {
        (desk.ask_json(&["status"])["parked"] == 1).then_some(())
    })
    .await;

    let status = desk.ask(&["status"]);
    assert!(
        status.contains("no worker here knows demo.unheard_of"),
        "{status}"
    );
    let jobs = desk.ask(&["jobs", "parked"]);
    assert!(
        jobs.contains("PARKED FOR") && jobs.contains(r#"{"n":1}"#),
        "{jobs}"
    );
    let shown = desk.ask(&["show", "default-1"]);
    assert!(shown.starts_with("default-1  parked for 0 s"), "{shown}");
    assert!(
        shown.contains(
            "waits for a worker that serves queue default and knows version 1 of demo.unheard_of"
        ),
        "{shown}"
    );
    assert!(desk.ask(&["audit"]).contains("All is well: 1 job here"));
    assert_eq!(
        desk.ask(&["discard", "default-1"]),
        "Discarded default-1.\n"
    );
    worker.stop().await;
}

#[tokio::test]
async fn periodic_tasks_are_listed_paused_resumed_and_forgotten() {
    let desk = Desk::set();
    assert_eq!(
        desk.ask(&["periodic"]),
        "No worker has told of a periodic task.\n"
    );
    let nightly = Periodic::cron("0 3 * * *", "Europe/Zurich", || Report).unwrap();
    let often = Periodic::every(Duration::from_secs(86_400), || Report).unwrap();
    let registry = Registry::new()
        .with::<Report>(&Arc::new(()))
        .periodic(nightly.named("nightly"))
        .periodic(often);
    let worker = desk.queue.worker(registry, TestQueue::options("default=8"));
    let list = eventually("both are known", async || {
        let list = desk.ask(&["periodic", "list"]);
        (list.lines().count() == 3).then_some(list)
    })
    .await;

    assert!(
        list.contains("demo.report  every 86400s") && list.contains("0 3 * * *     Europe/Zurich"),
        "{list}"
    );
    desk.ask(&["periodic", "pause", "nightly"]);
    assert!(desk.ask(&["periodic"]).contains("paused"));
    assert_eq!(
        desk.ask(&["periodic", "resume", "nightly"]),
        "Resumed nightly.\n"
    );
    let ended = desk.call(&["periodic", "forget", "nightly"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.out.contains("A worker knows nightly"),
        "{}",
        ended.out
    );
    assert_eq!(desk.call(&["periodic", "pause", "daily"]).code, 1);

    worker.stop().await;
    let seen = desk.queue.keys.periodic();
    let _: usize = desk
        .queue
        .command(&["ZADD", &seen, "1000", "nightly"])
        .await;
    let list = desk.ask(&["periodic"]);
    assert!(list.contains("queuectl periodic forget nightly"), "{list}");
    desk.ask(&["periodic", "forget", "nightly"]);
    let list = desk.ask_json(&["periodic"]);
    assert_eq!(list["entries"].as_array().unwrap().len(), 1);
    assert_eq!(
        list["entries"][0]["definition"]["timetable"]["every_ms"],
        86_400_000
    );
}
