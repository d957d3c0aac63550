//! `queuectl explain`, `tail`, `tasks`, `actions` and `replay`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
};

use common::testing::eventually;
use serde_json::Value;

use crate::desk::{Desk, queuectl, run};

#[tokio::test]
async fn a_job_that_does_not_run_is_explained() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.a", "--queue", "low"]);

    assert_eq!(
        desk.ask(&["explain", "low-1"]),
        "low-1: No worker is running. No job is before it in queue low.\nStart a worker that serves low.\n"
    );
    desk.ask(&["pause", "low", "--by", "ada"]);
    let told = desk.ask_json(&["explain", "low-1"]);
    assert_eq!(
        (&told["reason"], &told["decision"]["by"]),
        (&"paused".into(), &"ada".into())
    );
    assert_eq!(told["advice"], "To let it go on: queuectl resume low");
    let never = desk.call(&["explain", "low-2"]);
    assert_eq!(never.code, 1);
    assert!(
        never.out.contains("the newest of its kind is low-1"),
        "{}",
        never.out
    );
}

#[tokio::test]
async fn who_changed_what_is_listed_the_latest_first() {
    let desk = Desk::set();
    assert_eq!(
        desk.ask(&["actions"]),
        "Nobody has changed anything by hand.\n"
    );
    desk.bury("demo.a", 2).await;

    desk.ask(&["--by", "ada", "pause", "low"]);
    desk.ask(&["discard", "default-1", "--by", "bob"]);
    desk.ask(&["retry", "default-2"]);

    let list = desk.ask_json(&["actions"]);
    let told: Vec<_> = list.as_array().unwrap().iter().collect();
    let of = |n: usize, field: &str| told[n][field].as_str().unwrap().to_owned();
    assert!(of(0, "by").contains('@'), "{list}");
    assert_eq!(
        (of(0, "did"), of(0, "of")),
        ("retry".to_owned(), "default-2".to_owned())
    );
    assert_eq!(
        (of(1, "by"), of(1, "did")),
        ("bob".to_owned(), "discard".to_owned())
    );
    assert_eq!(
        (of(2, "by"), of(2, "of")),
        ("ada".to_owned(), "low".to_owned())
    );
    let page = desk.ask(&["actions", "--limit", "2"]);
    let (_, more) = page.split_once("More: queuectl ").expect("a next page");
    let words: Vec<_> = more.split_whitespace().collect();
    let rest = desk.ask(&words);
    assert!(rest.contains("ada") && !rest.contains("bob"), "{rest}");
}

#[tokio::test]
async fn a_replay_is_retry_in_bulk_and_retry_wants_names() {
    let desk = Desk::set();
    assert_eq!(desk.ask(&["replay"]), "No job is dead.\n");
    desk.bury("demo.a", 3).await;
    desk.bury("demo.b", 1).await;

    assert_eq!(
        desk.ask(&["replay", "--task", "demo.a"]),
        "Retried 3 dead jobs.\n"
    );
    assert_eq!(desk.ask_json(&["status"])["dead"], 1);
    assert_eq!(desk.call(&["retry"]).code, 2);
    let list = desk.ask_json(&["actions"]);
    assert!(list[0]["of"].as_str().unwrap().contains("demo.a"), "{list}");
}

#[tokio::test]
async fn what_happens_is_followed_and_chosen() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.a", "--count", "2"]);
    desk.ask(&["enqueue", "demo.b"]);
    let mut command = queuectl(
        &desk.queue.url,
        &[
            "tail", "--json", "--task", "demo.a", "--event", "buried", "--limit", "2",
        ],
    );
    command.env("RHUBARB_NAMESPACE", &desk.queue.namespace);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("a process");
    let mut said = String::new();
    let stderr = child.stderr.take().expect("its word");
    BufReader::new(stderr).read_line(&mut said).expect("a line");
    assert!(said.starts_with("Following"), "{said}");

    let worker = desk.undertaker();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = ended.await.expect("a thread").expect("an end");
    worker.stop().await;

    assert!(ended.status.success());
    let out = String::from_utf8(ended.stdout).unwrap();
    let events: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(
            (&event["event"], &event["task"]),
            (&"buried".into(), &"demo.a".into())
        );
        assert_eq!(event["error"], "there is no hope for `demo.a`");
    }
    assert_eq!(desk.call(&["tail", "--event", "born"]).code, 2);
}

#[tokio::test]
async fn attempts_are_counted_by_task() {
    let desk = Desk::set();
    assert_eq!(
        desk.ask(&["tasks"]),
        "No worker has told of an attempt yet.\n"
    );
    desk.bury("demo.a", 2).await;

    eventually("the heartbeat has told", async || {
        (desk.ask_json(&["tasks"])["demo.a"]["buried"] == 2).then_some(())
    })
    .await;
    let told = desk.ask(&["tasks"]);
    assert!(
        told.contains("demo.a\n") && told.contains("RAN FOR"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bench_disturbs_nobody_and_leaves_nothing() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.a"]);
    let refused = desk.call(&["bench"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("1 jobs wait in namespace"),
        "{}",
        refused.err
    );
    let before = desk.queue.key_names().await;

    let figures = desk.ask_json(&["bench", "--count", "300", "--yes"]);

    assert!(figures["run_per_s"].as_u64() > Some(0), "{figures}");
    assert!(
        figures["wait_p99_us"].as_u64() >= figures["wait_p50_us"].as_u64(),
        "{figures}"
    );
    assert_eq!(desk.queue.key_names().await, before);
    let pattern = format!("{{{}-bench-*", desk.queue.namespace);
    let left: Vec<String> = desk.queue.command(&["KEYS", &pattern]).await;
    assert!(left.is_empty(), "{left:?}");
}

fn signal(name: &str, pid: &str) {
    let sent = Command::new("kill").args(["-s", name, pid]).status();
    assert!(sent.expect("`kill`").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bench_that_is_stopped_leaves_nothing() {
    let desk = Desk::set();
    let pattern = format!("{{{}-bench-*", desk.queue.namespace);
    // While it enqueues, and while its worker runs.
    for (name, count, at) in [
        ("TERM", "1000000", ":jobs:default-0"),
        ("HUP", "2000", ":workers"),
        ("INT", "2000", ":workers"),
    ] {
        let mut command = queuectl(&desk.queue.url, &["bench", "--count", count]);
        command.env("RHUBARB_NAMESPACE", &desk.queue.namespace);
        let child = command.stderr(Stdio::piped()).spawn().expect("a process");
        eventually("it is so far", async || {
            let keys: Vec<String> = desk.queue.command(&["KEYS", &pattern]).await;
            keys.iter().any(|key| key.ends_with(at)).then_some(())
        })
        .await;

        signal(name, &child.id().to_string());

        let ended = child.wait_with_output().expect("its end");
        assert_eq!(ended.status.code(), Some(1), "SIG{name}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(said, "Stopped; what was enqueued is removed.\n");
        let left: Vec<String> = desk.queue.command(&["KEYS", &pattern]).await;
        assert!(left.is_empty(), "SIG{name}: {left:?}");
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_is_no_call() {
    let desk = Desk::set();
    for args in [
        &["rooms", "--cursor", "dirty:18446744073709551615"][..],
        &["rooms", "--cursor", "x"],
        &["jobs", "waiting", "--cursor", "high:18446744073709551615"],
        &["lanes", "--after", "18446744073709551615"],
        &["actions", "--before", "x"],
        &["actions", "--before", "0-0"],
        &["actions", "--before", "18446744073709551615-0"],
    ] {
        let ended = desk.call(args);
        assert_eq!(ended.code, 2, "{args:?}: {}", ended.err);
    }
    desk.ask(&["rooms", "--cursor", "dirty:9007199254740992"]);
    desk.ask(&["jobs", "waiting", "--cursor", "high:9007199254740992"]);
    desk.ask(&["lanes", "--after", "9007199254740992"]);
    desk.ask(&["actions", "--before", "9007199254740992-0"]);
}

#[tokio::test]
async fn a_worker_that_stops_is_listed_as_such() {
    let desk = Desk::set();
    let (workers, infos) = (desk.queue.keys.workers(), desk.queue.keys.workers_info());
    let info = r#"{"host":"inn","queues":{"low":2},"concurrency":2,"stopping":true}"#;
    let _: u32 = desk.queue.command(&["ZADD", &workers, "1e15", "w"]).await;
    let _: u32 = desk.queue.command(&["HSET", &infos, "w", info]).await;

    let list = desk.ask(&["workers"]);

    assert!(
        list.contains(" stopping ") && !list.contains(" alive "),
        "{list}"
    );
    assert_eq!(desk.ask_json(&["status"])["workers"][0]["stopping"], true);
}

#[tokio::test]
async fn a_reflush_is_written_down_with_who_did_it() {
    let desk = Desk::set();
    desk.ask(&["reflush", "lobby", "--by", "ada"]);
    let list = desk.ask_json(&["actions"]);
    let field = |name: &str| list[0][name].as_str().unwrap_or_default();
    assert_eq!(
        (field("by"), field("did"), field("of")),
        ("ada", "reflush", "lobby"),
        "{list}"
    );
}

#[test]
fn completions_and_the_man_page_need_no_redis_and_name_each_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(queuectl("", &["completions", shell]).env_remove("REDIS_URL"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(
            ended.out.contains("explain") && ended.out.contains("rehydrate"),
            "{shell}"
        );
    }
    let ended = run(queuectl("", &["man"]).env_remove("REDIS_URL"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.starts_with(".ie") || ended.out.contains(".TH queuectl"));
    assert!(ended.out.contains("queuectl\\-explain(1)") && ended.out.contains("Exit codes"));
    let dir = std::env::temp_dir().join(format!("queuectl-man-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let ended = run(&mut queuectl("", &["man", "--dir", dir.to_str().unwrap()]));
    let pages = std::fs::read_dir(&dir).unwrap().count();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(pages > 20, "{pages}");
}

#[test]
fn top_without_a_terminal_points_to_status() {
    let desk = Desk::set();
    let ended = desk.call(&["top"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.err.contains("queuectl status --json"),
        "{}",
        ended.err
    );
}

/// What `top` draws until it ends: by a key, or by a signal. `script` gives it a terminal.
fn draw(desk: &Desk, end: impl FnOnce(&mut dyn Write, &str)) -> String {
    let pid = std::env::temp_dir().join(format!("{}-top", desk.queue.namespace));
    let top = format!(
        "stty rows 24 cols 80; sh -c 'echo $$ > {0}; exec {1} top'; echo ended with $?; stty -a",
        pid.display(),
        env!("CARGO_BIN_EXE_queuectl")
    );
    let mut child = Command::new("script")
        .args(["-qec", &top, "/dev/null"])
        .env("REDIS_URL", &desk.queue.url)
        .env("RHUBARB_NAMESPACE", &desk.queue.namespace)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` of util-linux");
    let mut stdin = child.stdin.take().expect("its keys");
    let mut stdout = child.stdout.take().expect("its screen");
    let (mut screen, mut end) = (String::new(), Some(end));
    let mut bytes = [0; 4096];
    loop {
        let n = stdout.read(&mut bytes).expect("a screen");
        if n == 0 {
            break;
        }
        screen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        if screen.contains("No worker is running.")
            && let Some(end) = end.take()
        {
            let pid = std::fs::read_to_string(&pid).expect("its process");
            end(&mut stdin, pid.trim());
        }
    }
    child.wait().expect("its end");
    std::fs::remove_file(&pid).expect("a file");
    assert!(end.is_none(), "{screen}");
    screen
}

#[test]
fn top_draws_on_a_terminal_and_leaves_it_as_it_was() {
    let desk = Desk::set();
    let by_key = draw(&desk, |keys, _| keys.write_all(b"q").expect("a key"));
    let by_term = draw(&desk, |_, pid| signal("TERM", pid));
    let by_hup = draw(&desk, |_, pid| signal("HUP", pid));
    for screen in [by_key, by_term, by_hup] {
        let (enter, leave) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
        assert!(screen.contains(enter) && screen.contains(leave), "{screen}");
        assert!(screen.contains("ended with 0"), "{screen}");
        assert!(screen.contains(" icanon"), "{screen}");
    }
}
