//! `queuectl` where it controls queues and works on many dead jobs.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use common::testing::{TestQueue, eventually};

use crate::desk::{Desk, queuectl};

#[tokio::test]
async fn a_queue_is_paused_and_resumed_and_status_tells_by_whom() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.a", "--queue", "low", "--count", "2"]);

    let out = desk.ask(&["pause", "low", "--by", "ada"]);
    assert_eq!(
        out,
        "Paused low: workers take nothing from it (2 waiting, 0 being run).\n"
    );
    let out = desk.ask(&["pause", "low", "--by", "bob"]);
    assert_eq!(out, "low was paused already (2 waiting, 0 being run).\n");
    let status = desk.ask(&["status"]);
    assert!(
        status.contains("waiting, the oldest for 0 s; paused for 0 s by ada\n"),
        "{status}"
    );
    let status = desk.ask_json(&["status"]);
    assert_eq!(status["queues"][2]["paused"]["by"], "ada");

    let out = desk.ask(&["resume", "low", "high"]);
    assert_eq!(
        out,
        "high was neither paused nor draining.\n\
         Resumed low: it takes jobs, and workers take from it.\n"
    );
    assert!(!desk.ask(&["status"]).contains("paused"));
}

#[tokio::test]
async fn a_drain_refuses_what_is_new_and_returns_when_the_queue_is_empty() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.a", "--queue", "low", "--count", "3"]);

    let out = desk.ask(&["drain", "low"]);
    assert_eq!(
        out,
        "low drains: it takes no new jobs (3 waiting, 0 being run).\n"
    );
    let refused = desk.call(&["enqueue", "demo.a", "--queue", "low"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused
            .err
            .contains("queue `low` drains and takes no new jobs"),
        "{}",
        refused.err
    );

    let worker = desk.undertaker();
    eventually("all are dead", async || {
        let dead = desk.ask_json(&["status"])["dead"].as_u64();
        (dead == Some(3)).then_some(())
    })
    .await;
    let out = desk.ask(&["drain", "low", "--wait", "--scheduled"]);
    assert_eq!(
        out,
        "low is drained: it takes no new jobs, and none waits or is being run. \
         3 jobs of it are scheduled or dead.\n"
    );
    worker.stop().await;
}

#[tokio::test]
async fn dead_jobs_are_chosen_by_their_queue_reason_and_age() {
    let desk = Desk::set();
    desk.bury("demo.a", 3).await;
    desk.bury("demo.b", 2).await;

    for (which, n) in [
        (&["--task", "demo.b"][..], 2),
        (&["--error", "NO HOPE FOR `demo.a`"], 3),
        (&["--error", "disk"], 0),
        (&["--queue", "default", "--since", "1h"], 5),
        (&["--queue", "low"], 0),
        (&["--before", "2h"], 0),
        (&["--group", "low-1"], 0),
    ] {
        let page = desk.ask_json(&[&["jobs", "dead"], which].concat());
        assert_eq!(page["jobs"].as_array().unwrap().len(), n, "{which:?}");
    }
    assert_eq!(
        desk.ask(&["jobs", "dead", "--error", "disk", "--queue", "low"]),
        "There are no dead jobs in queue low with `disk` in the reason.\n"
    );
    let page = desk.ask(&["jobs", "dead", "--task", "demo.a", "--limit", "2"]);
    assert!(
        page.contains("More: queuectl jobs dead --task demo.a --cursor dead:"),
        "{page}"
    );

    let none = desk.ask(&["retry", "--all", "--error", "disk"]);
    assert_eq!(none, "There are no dead jobs with `disk` in the reason.\n");
    let out = desk.ask(&["retry", "--all", "--error", "`demo.b`", "--rate", "1000"]);
    assert_eq!(out, "Retried 2 dead jobs.\n");
    let out = desk.ask(&["discard", "--all-dead", "--since", "1h", "--yes"]);
    assert_eq!(out, "Discarded 3 dead jobs.\n");
}

#[tokio::test]
async fn a_bulk_that_is_stopped_tells_how_it_goes_on() {
    let desk = Desk::set();
    desk.bury("demo.a", 6).await;
    // Each at a ms of its own.
    let dead = desk.queue.keys.dead();
    let ids: Vec<String> = desk.queue.command(&["ZRANGE", &dead, "0", "-1"]).await;
    for (ms, id) in ids.iter().enumerate() {
        let ms = (1000 + ms).to_string();
        let _: u32 = desk.queue.command(&["ZADD", &dead, &ms, id]).await;
    }
    let mut command = queuectl(
        &desk.queue.url,
        &["retry", "--all", "--task", "demo.a", "--rate", "0.01"],
    );
    command.env("RHUBARB_NAMESPACE", &desk.queue.namespace);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
    eventually("the first is retried", async || {
        let dead: u32 = desk
            .queue
            .command(&["ZCARD", &desk.queue.keys.dead()])
            .await;
        (dead == 5).then_some(())
    })
    .await;

    let stop = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(stop.expect("kill").success());

    let mut told = String::new();
    let stdout = child.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut told).expect("a line");
    assert_eq!(child.wait().expect("its end").code(), Some(1));
    assert!(
        told.starts_with("Retried 1 dead job, then stopped. To go on: queuectl retry --all --task demo.a --since "),
        "{told}"
    );
    let (_, command) = told.split_once("queuectl ").expect("a command");
    let words: Vec<_> = command
        .split_whitespace()
        .filter(|word| *word != "0.01")
        .collect();
    let words: Vec<_> = words.into_iter().filter(|word| *word != "--rate").collect();
    assert_eq!(desk.ask(&words), "Retried 5 dead jobs.\n");
}

#[tokio::test]
async fn what_came_by_an_inbox_and_was_refused_is_shown_with_its_text() {
    let desk = Desk::set();
    let inbox = desk.queue.keys.inbox(common::queue::Queue::High);
    let _: u32 = desk.queue.command(&["LPUSH", &inbox, "{\"tusk\":1}"]).await;
    assert!(desk.ask(&["status"]).contains("1 in its inbox"));

    let worker = desk.queue.worker(
        common::queue::Registry::new(),
        TestQueue::options("default=1"),
    );
    eventually("it is dead", async || {
        let dead: u32 = desk
            .queue
            .command(&["ZCARD", &desk.queue.keys.dead()])
            .await;
        (dead == 1).then_some(())
    })
    .await;
    worker.stop().await;

    let dead = desk.ask(&["jobs", "dead"]);
    assert!(
        dead.contains("the field `tusk` is not for outsiders"),
        "{dead}"
    );
    let shown = desk.ask(&["show", "high+1"]);
    assert!(shown.contains("refused: {\"tusk\":1}"), "{shown}");
    assert!(shown.ends_with("queuectl discard high+1\n"), "{shown}");
    assert!(desk.ask(&["audit"]).contains("All is well: 1 job here"));
}
