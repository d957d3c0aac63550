//! What operators look at: totals by task, samples, the tail, and who did what.

use std::time::Duration;

use common::{
    queue::{
        Queue, Task,
        dead::{Fate, Filter},
        inspect::tasks::TaskTotals,
        tail::{Event, Follower, Kind},
    },
    testing::eventually,
};
use tokio::time::timeout;

use super::{Fail, Hold, Nothing, Stage};

impl Stage {
    async fn follow(&self) -> Follower {
        Follower::start(self.queue.redis.clone(), self.queue.keys.clone())
            .await
            .expect("Redis answers")
    }
}

async fn next(follower: &mut Follower) -> Event {
    timeout(Duration::from_secs(20), follower.next())
        .await
        .expect("an event")
}

#[tokio::test]
async fn totals_by_task_come_with_the_heartbeat() {
    let stage = Stage::set();
    let worker = stage.worker("default=4");
    for n in 0..3 {
        stage.enqueue(&Nothing { n }).await;
    }
    stage.enqueue(&Fail { fatal: true }).await;
    stage.enqueue(&Fail { fatal: false }).await;

    let tasks = eventually("all five are counted", async || {
        let tasks = stage.inspector.tasks().await.unwrap();
        let fails = tasks.get(Fail::NAME)?;
        (fails.buried + fails.retried == 2 && tasks.get(Nothing::NAME)?.done == 3).then_some(tasks)
    })
    .await;

    assert!(tasks[Nothing::NAME].ran_us > 0);
    let fails = TaskTotals {
        ran_us: 0,
        waited_ms: 0,
        ..tasks[Fail::NAME].clone()
    };
    let expected = TaskTotals {
        buried: 1,
        retried: 1,
        ..TaskTotals::default()
    };
    assert_eq!(fails, expected);
    worker.stop().await;
}

#[tokio::test]
async fn each_minute_has_one_sample_whoever_writes_it() {
    let stage = Stage::set();
    stage.enqueue(&Nothing { n: 1 }).await;
    stage.enqueue(&Nothing { n: 2 }).await;
    // Three workers of another queue: the jobs go on waiting.
    let workers = [(); 3].map(|()| stage.worker("low=1"));

    let samples = eventually("there is a sample", async || {
        let samples = stage.inspector.samples(0, 10).await.unwrap();
        (!samples.is_empty()).then_some(samples)
    })
    .await;

    assert!(samples[0].at_ms > 1_700_000_000_000);
    let values = &samples[0].values;
    assert_eq!(values["default:waiting"], 2, "{values:?}");
    assert_eq!(values["default:enqueued"], 2);
    assert!(values["default:age_ms"] >= 0);
    for worker in workers {
        worker.stop().await;
    }
    let samples = stage.inspector.samples(0, 10).await.unwrap();
    let ids: Vec<u64> = samples.iter().map(|s| s.at_ms / 60_000).collect();
    let mut once = ids.clone();
    once.dedup();
    assert_eq!(ids, once);
}

#[tokio::test]
async fn samples_of_a_clock_that_was_ahead_do_not_keep_others_out() {
    let stage = Stage::set();
    let samples = stage.queue.keys.samples();
    let ahead = ["XADD", &samples, "99999999999999-0", "default:waiting", "7"];
    let _: String = stage.queue.command(&ahead).await;
    let odd = [
        "XADD",
        &samples,
        "100-0",
        "default:waiting",
        "many",
        "dead",
        "3",
    ];
    let _: Result<String, _> = {
        let _: u64 = stage.queue.command(&["DEL", &samples]).await;
        let added: String = stage.queue.command(&odd).await;
        let _: String = stage.queue.command(&ahead).await;
        Ok::<_, ()>(added)
    };

    let worker = stage.worker("default=1");
    let seen = eventually("a sample of now", async || {
        let samples = stage.inspector.samples(0, 10).await.unwrap();
        let is_now = |at_ms| (1_700_000_000_000..90_000_000_000_000).contains(&at_ms);
        samples.iter().any(|s| is_now(s.at_ms)).then_some(samples)
    })
    .await;

    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0].at_ms, 100);
    assert_eq!(seen[0].values["dead"], 3, "what can be read of it");
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_stops_takes_its_last_counts_along() {
    let stage = Stage::set();
    let worker = stage.worker("default=4");
    let job = stage.enqueue(&Nothing { n: 1 }).await;
    eventually("it is done", async || {
        stage.queue.is_drained().await.then_some(())
    })
    .await;
    worker.stop().await;

    let tasks = stage.inspector.tasks().await.unwrap();
    assert_eq!(tasks[Nothing::NAME].done, 1, "{job}");
}

#[tokio::test]
async fn what_stands_in_a_total_by_hand_does_not_stop_heartbeats() {
    let stage = Stage::set();
    let tasks = stage.queue.keys.tasks();
    let _: u32 = stage
        .queue
        .command(&["HSET", &tasks, "done:demo.nothing", "many"])
        .await;
    let worker = stage.worker("default=4");
    stage.enqueue(&Nothing { n: 1 }).await;
    stage.enqueue(&Fail { fatal: true }).await;

    eventually("the other totals are told", async || {
        let tasks = stage.inspector.tasks().await.unwrap();
        (tasks.get(Fail::NAME)?.buried == 1).then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn who_follows_hears_what_happens_to_jobs_and_who_did_what() {
    let stage = Stage::set();
    let worker = stage.worker("default=4");
    let mut follower = stage.follow().await;
    // Jobs until the worker tells of one.
    let first = loop {
        stage.enqueue(&Nothing { n: 1 }).await;
        if let Ok(event) = timeout(Duration::from_millis(300), follower.next()).await {
            break event;
        }
    };
    assert!(
        matches!(first.event, Kind::Claimed | Kind::Done),
        "{first:?}"
    );
    assert_eq!(first.task.as_deref(), Some(Nothing::NAME));
    assert_eq!(first.attempt, Some(1));

    let job = stage.enqueue(&Fail { fatal: true }).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&Kind::Buried) {
        let event = next(&mut follower).await;
        if event.job == Some(job.to_string()) {
            if event.event == Kind::Buried {
                assert_eq!(event.error.as_deref(), Some("the disk is on fire"));
                assert!(event.took_ms.is_some());
            }
            assert!(event.at_ms > 1_700_000_000_000, "{event:?}");
            seen.push(event.event);
        }
    }
    assert_eq!(seen, [Kind::Claimed, Kind::Buried]);

    stage
        .operator
        .clone()
        .acting_for("ada")
        .discard(&[job])
        .await
        .unwrap();
    let acted = loop {
        let event = next(&mut follower).await;
        if event.event == Kind::Acted {
            break event;
        }
    };
    assert_eq!(acted.by.as_deref(), Some("ada"));
    assert_eq!(acted.did.as_deref(), Some("discard"));
    assert_eq!(acted.of, Some(job.to_string()));
    assert!(acted.at_ms > 1_700_000_000_000);
    worker.stop().await;
}

#[tokio::test]
async fn the_tail_tells_of_a_dead_workers_jobs() {
    let stage = Stage::set();
    let mut follower = stage.follow().await;
    let dead = stage.worker("default=2");
    let job = stage.enqueue(&Hold).await;
    stage.wait_for_claims(&[&job.to_string()]).await;
    dead.vanish().await;
    stage.gate.add_permits(10);
    let worker = stage.worker("default=2");

    let reaped = loop {
        let event = next(&mut follower).await;
        if event.event == Kind::Reaped {
            break event;
        }
    };

    assert_eq!(reaped.count, Some(1));
    assert!(reaped.of.is_some(), "of which worker");
    worker.stop().await;
}

#[tokio::test]
async fn what_is_done_for_somebody_is_written_down_and_what_programs_do_is_not() {
    let stage = Stage::set();
    let worker = stage.worker("default=4");
    let job = stage.enqueue(&Fail { fatal: true }).await;
    eventually("it is dead", async || {
        (stage.operator.count_dead().await.unwrap() == 1).then_some(())
    })
    .await;
    let ada = stage.operator.clone().acting_for("ada");
    let bob = stage.operator.clone().acting_for("bob");

    ada.pause(Queue::Low).await.unwrap();
    bob.retry(&[job]).await.unwrap();
    bob.all_dead(
        Fate::Discard,
        &Filter {
            task: Some("demo.fail".into()),
            ..Filter::default()
        },
        None,
        |_| {},
    )
    .await
    .unwrap();
    ada.cancel_children(job).await.unwrap();
    ada.resume(Queue::Low).await.unwrap();
    stage.operator.retry(&[job]).await.unwrap();

    let actions = stage.inspector.actions(None, 10).await.unwrap();
    let told: Vec<String> = actions
        .iter()
        .rev()
        .map(|action| format!("{} {} {}", action.by, action.did, action.of))
        .collect();
    let all = [
        "ada pause low".to_owned(),
        format!("bob retry {job}"),
        "bob discard all dead jobs of task demo.fail".to_owned(),
        format!("ada cancel the children of {job}"),
        "ada resume low".to_owned(),
    ];
    assert_eq!(told, all);
    // Page by page.
    let first = stage.inspector.actions(None, 2).await.unwrap();
    let rest = stage
        .inspector
        .actions(Some(&first[1].id), 10)
        .await
        .unwrap();
    assert_eq!([first, rest].concat(), actions);
    worker.stop().await;
}

#[tokio::test]
async fn of_many_jobs_an_entry_names_the_first() {
    let stage = Stage::set();
    let mut jobs = Vec::new();
    for n in 0..200 {
        jobs.push(stage.enqueue(&Nothing { n }).await);
    }

    let removed = stage
        .operator
        .clone()
        .acting_for("ada")
        .discard(&jobs)
        .await
        .unwrap();

    assert_eq!(removed.len(), 200);
    let actions = stage.inspector.actions(None, 10).await.unwrap();
    let [action] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert!(
        action.of.starts_with("default-1 default-2 "),
        "{}",
        action.of
    );
    assert!(action.of.ends_with(" more"), "{}", action.of);
    assert!(action.of.len() <= 500);
}
