//! Dead letters: which of them, at which rate, and where a walk that was cut off goes on.

use std::time::{Duration, Instant};

use common::queue::{
    Queue,
    dead::{Fate, Filter},
    inspect::list::{Listing, State},
};

use super::{Stage, id};

const SINCE: u64 = 1_790_000_000_000;

/// A dead job as it lies in Redis, `age` ms after [`SINCE`].
async fn lay(stage: &Stage, job: &str, task: &str, error: &str, age: u64) {
    let body = format!(r#"{{"at":1,"task":"{task}","args":1,"group":"low-1"}}"#);
    let body = if task == "demo.child" {
        body
    } else {
        body.replace(r#","group":"low-1""#, "")
    };
    stage.queue.set_body(id(job), body.as_bytes()).await;
    let score = (SINCE + age).to_string();
    stage.command("ZADD", "dead", &[&score, job]).await;
    let entry = format!(r#"{{"at_ms":1,"event":"buried","attempt":1,"error":"{error}"}}"#);
    stage
        .command("RPUSH", &format!("history:{job}"), &[&entry])
        .await;
    let queue = id(job).queue();
    let counter = format!("enqueued:{queue}");
    stage.command("HINCRBY", "stats", &[&counter, "1"]).await;
}

async fn lay_five(stage: &Stage) {
    lay(stage, "high+1", "demo.a", "the Disk is full", 0).await;
    lay(stage, "low+1", "demo.a", "no route to host", 100).await;
    lay(stage, "low+2", "demo.b", "disk gone", 200).await;
    lay(stage, "low+3", "demo.child", "no luck", 300).await;
    lay(stage, "default+1", "demo.b", "no route to host", 400).await;
}

fn filters() -> Vec<(Filter, Vec<&'static str>)> {
    let any = Filter::default;
    vec![
        (
            any(),
            vec!["high+1", "low+1", "low+2", "low+3", "default+1"],
        ),
        (
            Filter {
                task: Some("demo.a".into()),
                ..any()
            },
            vec!["high+1", "low+1"],
        ),
        (
            Filter {
                queue: Some(Queue::Low),
                ..any()
            },
            vec!["low+1", "low+2", "low+3"],
        ),
        (
            Filter {
                error: Some("DISK".into()),
                ..any()
            },
            vec!["high+1", "low+2"],
        ),
        (
            Filter {
                group: Some(id("low-1")),
                ..any()
            },
            vec!["low+3"],
        ),
        (
            Filter {
                since_ms: Some(SINCE + 100),
                before_ms: Some(SINCE + 300),
                ..any()
            },
            vec!["low+1", "low+2"],
        ),
        (
            Filter {
                task: Some("demo.b".into()),
                error: Some("route".into()),
                ..any()
            },
            vec!["default+1"],
        ),
        (
            Filter {
                task: Some("demo.a".into()),
                error: Some("gone".into()),
                ..any()
            },
            vec![],
        ),
    ]
}

#[tokio::test]
async fn the_dead_are_listed_and_changed_by_the_same_filter() {
    for (filter, fitting) in filters() {
        let stage = Stage::set();
        lay_five(&stage).await;
        let listing = Listing {
            state: State::Dead,
            queue: None,
            lane: None,
            filter: filter.clone(),
            limit: 10,
            cursor: None,
        };

        let page = stage.inspector.jobs(&listing).await.unwrap();

        let mut listed: Vec<_> = page.jobs.iter().map(|row| row.id.as_str()).collect();
        listed.reverse(); // the latest come first
        assert_eq!(listed, fitting, "{filter:?}");
        assert_eq!(page.next, None);

        let walk = stage
            .operator
            .all_dead(Fate::Discard, &filter, None, |_| {});
        assert_eq!(walk.await.unwrap().changed, fitting.len() as u64);
        let left = stage.ids(State::Dead).await;
        assert_eq!(left.len(), 5 - fitting.len());
        assert!(left.iter().all(|id| !fitting.contains(&id.as_str())));
    }
}

#[tokio::test]
async fn a_filtered_list_goes_on_page_by_page() {
    let stage = Stage::set();
    for n in 1..=250 {
        let error = if n % 10 == 0 { "odd" } else { "usual" };
        lay(&stage, &format!("low+{n}"), "demo.a", error, n).await;
    }
    let mut listing = Listing {
        state: State::Dead,
        queue: None,
        lane: None,
        filter: Filter {
            error: Some("odd".into()),
            ..Filter::default()
        },
        limit: 7,
        cursor: None,
    };

    let mut seen = Vec::new();
    loop {
        let page = stage.inspector.jobs(&listing).await.unwrap();
        assert!(page.jobs.len() <= 7);
        seen.extend(page.jobs.into_iter().map(|job| job.id));
        listing.cursor = page.next;
        if listing.cursor.is_none() {
            break;
        }
    }

    let expected: Vec<_> = (1..=25).rev().map(|n| format!("low+{}", n * 10)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_walk_that_was_cut_off_goes_on_where_it_was() {
    let stage = Stage::set();
    // More than a step takes, many of them buried in the same ms.
    for n in 1..=900 {
        lay(&stage, &format!("low+{n}"), "demo.a", "no", n / 300).await;
    }
    let mut at = None;
    let mut steps = 0;
    // The walk ends in its third step as if Redis had gone away.
    let walk = async {
        let progress = |done| {
            at = Some(done);
            steps += 1;
        };
        let all = Filter::default();
        let walk = stage
            .operator
            .all_dead(Fate::Retry, &all, Some(2000.0), progress);
        let _ = tokio::time::timeout(Duration::from_millis(250), walk).await;
    };
    walk.await;
    let cut_off = at.unwrap();
    assert!(steps > 0 && cut_off.changed < 900, "{cut_off:?}");

    // Meanwhile some that were retried died again: they are not for this walk.
    let died_again = cut_off.until_ms + 60_000 - SINCE;
    lay(&stage, "low+901", "demo.a", "no", died_again).await;
    let rest = Filter {
        since_ms: Some(cut_off.at_ms),
        before_ms: Some(cut_off.until_ms + 1),
        ..Filter::default()
    };
    let done = stage.operator.all_dead(Fate::Retry, &rest, None, |_| {});
    done.await.unwrap();

    assert_eq!(stage.ids(State::Dead).await, ["low+901"]);
    let status = stage.inspector.status().await.unwrap();
    assert_eq!(status.queues[2].waiting, 900);
}

#[tokio::test]
async fn a_job_that_was_changed_after_the_walk_read_it_is_left_alone() {
    for fate in [Fate::Discard, Fate::Retry] {
        let stage = Stage::set();
        for n in 1..=5 {
            lay(&stage, &format!("low+{n}"), "demo.a", "no", n).await;
        }
        let first = tokio::sync::Notify::new();
        let all = Filter::default();
        let walk = stage
            .operator
            .all_dead(fate, &all, Some(10.0), |_| first.notify_one());
        let mut walk = std::pin::pin!(walk);
        tokio::select! {
            done = &mut walk => panic!("it ended at once: {done:?}"),
            () = first.notified() => {}
        }

        // It has read all five, and waits until it may change the second.
        stage.operator.retry(&[id("low+2")]).await.unwrap();
        stage.command("ZREM", "dead", &["low+3"]).await;
        let (due, again) = ("9000000000000", "8000000000000");
        stage.command("ZADD", "scheduled", &[due, "low+3"]).await;
        stage.command("ZADD", "dead", &[again, "low+4"]).await;
        let done = walk.await.unwrap();

        assert_eq!((done.seen, done.changed), (5, 2), "{fate:?}");
        let waiting = stage.ids(State::Waiting).await;
        assert!(waiting.contains(&"low+2".to_owned()), "{waiting:?}");
        assert_eq!(stage.ids(State::Scheduled).await, ["low+3"], "{fate:?}");
        assert_eq!(stage.ids(State::Dead).await, ["low+4"], "{fate:?}");
    }
}

#[tokio::test]
async fn a_rate_is_kept() {
    let stage = Stage::set();
    for n in 1..=60 {
        lay(&stage, &format!("low+{n}"), "demo.a", "no", n).await;
    }
    let start = Instant::now();

    let all = Filter::default();
    let walk = stage
        .operator
        .all_dead(Fate::Retry, &all, Some(200.0), |_| {});
    assert_eq!(walk.await.unwrap().changed, 60);

    // Never faster; how much slower is the machine's affair. The first step is at once.
    assert!(start.elapsed() >= Duration::from_millis(200));
}
