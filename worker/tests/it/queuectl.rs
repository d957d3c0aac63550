//! What `queuectl` prints, and how it ends.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Stdio,
};

use common::{
    chat::flush::FlushRoom,
    queue::{Queue, all, job},
    testing::TestQueue,
};
use serde_json::Value;

use crate::desk::{Desk, queuectl, run};

#[tokio::test]
async fn an_empty_namespace_is_told_in_sentences() {
    let desk = Desk::set();

    assert!(
        desk.ask(&["status"])
            .contains("No job has been enqueued yet.")
    );
    assert_eq!(desk.ask(&["workers"]), "No worker is running.\n");
    assert_eq!(desk.ask(&["jobs"]), "No job is waiting.\n");
    assert_eq!(desk.ask(&["jobs", "dead"]), "No job is dead.\n");
    assert_eq!(desk.ask(&["replay"]), "No job is dead.\n");
    assert_eq!(desk.ask(&["discard", "--all-dead"]), "No job is dead.\n");
    assert!(desk.ask(&["audit"]).contains("All is well: 0 jobs here"));
}

#[tokio::test]
async fn what_is_enqueued_is_seen_in_status_jobs_and_show() {
    let desk = Desk::set();

    let args = r#"{"room":"lobby","from":1}"#;
    let out = desk.ask(&["enqueue", "demo.greet", args, "--queue", "high"]);
    assert_eq!(out, "Enqueued high-1.\n");
    let out = desk.ask(&[
        "enqueue",
        "demo.greet",
        "--in",
        "1h30m",
        "--max-attempts",
        "3",
    ]);
    assert_eq!(out, "Scheduled default+1.\n");
    let out = desk.ask(&["enqueue", "demo.greet", "--at", "2000-01-01T00:00:00Z"]);
    assert_eq!(out, "Scheduled default+2.\n");

    let status = desk.ask(&["status"]);
    assert!(
        status.contains("high          1  waiting, the oldest for 0 s"),
        "{status}"
    );
    assert!(status.contains("No worker is running"), "{status}");
    let jobs = desk.ask(&["jobs"]);
    assert!(jobs.contains("high-1") && jobs.contains(args), "{jobs}");
    let scheduled = desk.ask(&["jobs", "scheduled"]);
    let rows: Vec<_> = scheduled.lines().collect();
    assert!(rows[1].starts_with("default+2  late by"), "{scheduled}");
    assert!(
        rows[2].starts_with("default+1  in 1 h 29 min"),
        "{scheduled}"
    );
    let shown = desk.ask(&["show", "high-1"]);
    assert!(
        shown.starts_with("high-1  waiting for 0 s, next in line\n"),
        "{shown}"
    );
    assert!(shown.contains(&format!("args       {args}\n")), "{shown}");
    assert!(
        desk.ask(&["show", "default+1"])
            .contains("attempts   0 of 3\n")
    );
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    desk.ask(&["enqueue", "demo.greet", "--trace", trace]);
    let shown = desk.ask(&["show", "default-1"]);
    assert!(shown.contains(&format!("trace      {trace}\n")), "{shown}");
}

#[tokio::test]
async fn a_job_of_a_flow_shows_what_comes_after_it() {
    let desk = Desk::set();
    let flush = |room: &str| FlushRoom {
        room: room.parse().unwrap(),
    };
    let parts = [job(&flush("a")).then(&flush("b")), job(&flush("c"))];
    let flow = all(parts).then(&flush("d")).or_else(all(&[flush("e")]));
    desk.queue
        .producer()
        .start(flow.on(Queue::Low))
        .await
        .unwrap();

    let shown = desk.ask(&["show", "low-1"]);
    for line in [
        "flow       1: step 2 of 7, 2 jobs not finished\n",
        "then       chat.flush_room\n",
        "in an all  part 1 of 2, 2 left; then chat.flush_room; or else all of 1\n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
    let shown = desk.ask_json(&["show", "low-2"]);
    assert_eq!(shown["flow"]["within"]["part"], 2);
}

#[tokio::test]
async fn every_command_answers_in_json() {
    let desk = Desk::set();
    let enqueued = desk.ask_json(&["enqueue", "demo.a", r#"{"z":1,"a":2}"#, "--count", "3"]);
    assert_eq!(enqueued["ids"].as_array().unwrap().len(), 3);

    let status = desk.ask_json(&["status"]);
    assert_eq!(status["queues"][1]["waiting"], 3);
    assert_eq!(status["queues"][1]["listed"], 3);
    assert_eq!(desk.ask_json(&["workers"]), serde_json::json!([]));
    let page = desk.ask_json(&["jobs", "--limit", "2"]);
    assert_eq!(page["jobs"][0]["id"], "default-1");
    let cursor = page["next"].as_str().unwrap();
    let rest = desk.ask_json(&["jobs", "--cursor", cursor]);
    assert_eq!(rest["jobs"][0]["id"], "default-3");
    assert_eq!(rest["next"], Value::Null);
    assert_eq!(desk.ask_json(&["show", "default-1"])["state"], "waiting");
    let discarded = desk.ask_json(&["discard", "default-1"]);
    assert_eq!(discarded["changed"][0], "default-1");
    assert_eq!(desk.ask_json(&["replay"])["changed"], 0);
    let audit = desk.ask_json(&["audit"]);
    assert_eq!(audit["queues"]["default"]["waiting"], 2);
    assert_eq!(audit["findings"], serde_json::json!([]));
}

#[tokio::test]
async fn dead_jobs_are_told_with_their_reason_retried_and_discarded_by_task() {
    let desk = Desk::set();
    desk.bury("demo.a", 3).await;
    desk.bury("demo.b", 2).await;

    let dead = desk.ask(&["jobs", "dead"]);
    assert!(dead.contains("demo.a  there is no hope"), "{dead}");
    let shown = desk.ask(&["show", "default-1"]);
    assert!(
        shown.contains("attempt 1 buried on worker ") && shown.contains(": there is no hope"),
        "{shown}"
    );
    assert!(
        shown.ends_with("To run it again: queuectl retry default-1\n"),
        "{shown}"
    );

    let out = desk.ask(&["replay", "--task", "demo.b"]);
    assert_eq!(out, "Retried 2 dead jobs.\n");
    let out = desk.ask(&["discard", "--all-dead", "--task", "demo.a", "--yes"]);
    assert_eq!(out, "Discarded 3 dead jobs.\n");
    assert_eq!(desk.ask_json(&["status"])["queues"][1]["waiting"], 2);
    desk.ask(&["audit"]);
}

#[tokio::test]
async fn a_bulk_discard_without_consent_discards_nothing() {
    let desk = Desk::set();
    desk.bury("demo.a", 2).await;

    let ended = desk.call(&["discard", "--all-dead"]);

    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("say so with --yes"), "{}", ended.err);
    assert_eq!(desk.ask_json(&["status"])["dead"], 2);
}

#[tokio::test]
async fn what_was_not_changed_is_told_with_its_state() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.a"]);
    desk.ask(&["enqueue", "demo.a"]);
    desk.ask(&["discard", "default-2"]);

    let ended = desk.call(&["retry", "default-1", "default-2", "low-9"]);

    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("default-1 is waiting"), "{}", ended.out);
    assert!(ended.out.contains("default-2 is finished"), "{}", ended.out);
    assert!(
        ended.out.contains("no job has the id low-9"),
        "{}",
        ended.out
    );
}

#[tokio::test]
async fn an_audit_that_finds_something_ends_with_3_until_it_is_repaired() {
    let desk = Desk::set();
    desk.bury("demo.a", 2).await;
    let _: u32 = desk.queue.command(&["DEL", &desk.queue.keys.dead()]).await;

    let found = desk.call(&["audit"]);
    assert_eq!(found.code, 3);
    assert!(
        found.out.contains("- default-1 is in no place\n"),
        "{}",
        found.out
    );
    assert!(
        found.out.contains("queuectl audit --repair"),
        "{}",
        found.out
    );

    let repaired = desk.ask(&["audit", "--repair"]);
    assert!(repaired.contains("2 findings, mended:"), "{repaired}");
    assert!(
        repaired.contains("default-2 is in no place → dead again"),
        "{repaired}"
    );
    assert!(desk.ask(&["audit"]).contains("All is well: 2 jobs here"));
}

#[tokio::test]
async fn a_call_in_a_wrong_way_ends_with_2_and_says_what_would_be_right() {
    let desk = Desk::set();
    for (args, hint) in [
        (vec!["show", "high"], "such as high-17"),
        (vec!["show", "high-07"], "such as high-17"),
        (
            vec!["jobs", "zombies"],
            "waiting, laned, scheduled, claimed, parked, dead",
        ),
        (
            vec!["jobs", "claimed", "--queue", "low"],
            "waiting and dead jobs",
        ),
        (vec!["jobs", "--task", "a"], "queuectl jobs dead"),
        (vec!["jobs", "dead", "--since", "x"], "such as 2h"),
        (
            vec!["discard", "low-1", "--rate", "5"],
            "go with --all-dead",
        ),
        (vec!["replay", "--rate", "0"], "such as 50 or 0.5"),
        (vec!["pause"], "<QUEUE>"),
        (vec!["drain", "low", "--scheduled"], "--wait"),
        (vec!["resume", "all"], "high, default or low"),
        (vec!["jobs", "dead", "--lane", "a"], "queuectl jobs laned"),
        (vec!["enqueue", "demo.a", "--lane", "a"], "--width"),
        (vec!["jobs", "--cursor", "x"], "take it from the last page"),
        (vec!["enqueue", "demo.a", "{x}"], "Quote it for the shell"),
        (vec!["enqueue", "demo.a", "--in", "5"], "such as 90s"),
        (vec!["enqueue", "demo.a", "--at", "noon"], "such as 2026-"),
        (
            vec!["enqueue", "demo.a", "--queue", "mid"],
            "high, default or low",
        ),
        (vec!["retry"], "<IDS>"),
        (vec!["discard", "--task", "x"], "--all-dead"),
        (vec!["--namespace", "a b", "status"], "a namespace has"),
        (
            vec!["--redis-url", "ftp://x", "status"],
            "should look like redis://",
        ),
    ] {
        let ended = desk.call(&args);
        assert_eq!(ended.code, 2, "{args:?}: {}", ended.err);
        assert!(ended.err.contains(hint), "{args:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{args:?}");
    }
    assert!(desk.queue.key_names().await.is_empty());

    let unset = run(queuectl("", &["status"]).env_remove("REDIS_URL"));
    assert_eq!(unset.code, 2);
    assert!(unset.err.contains("set REDIS_URL"), "{}", unset.err);
}

#[test]
fn an_address_where_nothing_or_something_else_listens_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let web = listener.local_addr().expect("an address").to_string();
    // A web server that answers whatever it hears, until the test ends.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 500]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let closed = closed.expect("an address").to_string();

    for (address, reason) in [
        (&web, "speaks HTTP and is not Redis"),
        (&closed, "Nothing listens there: is Redis running?"),
    ] {
        let ended = run(&mut queuectl(
            &format!("redis://u:secret@{address}/0"),
            &["status"],
        ));
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains(reason), "{}", ended.err);
        assert!(ended.err.contains(address), "{}", ended.err);
        assert!(!ended.err.contains("secret"), "{}", ended.err);
    }
}

#[test]
fn the_help_tells_the_exit_codes_and_takes_the_common_flags_anywhere() {
    let help = run(&mut queuectl("", &["--help"]));

    assert_eq!(help.code, 0);
    assert!(
        help.out.contains("3  the audit found something"),
        "{}",
        help.out
    );
    let queue = TestQueue::start();
    for args in [
        ["--namespace", &queue.namespace, "status", "--json"],
        ["status", "--json", "--namespace", &queue.namespace],
    ] {
        let ended = run(&mut queuectl(&queue.url, &args));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
}

#[tokio::test]
async fn whoever_reads_the_output_may_stop_early() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.a", "--count", "3000"]);
    let mut command = queuectl(&desk.queue.url, &["jobs", "--limit", "3000"]);
    command.env("RHUBARB_NAMESPACE", &desk.queue.namespace);

    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("its end");

    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
