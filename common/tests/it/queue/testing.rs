//! What tests of tasks stand on: jobs run by hand, and the clock that is moved.

use std::time::Duration;

use common::{
    queue::{
        Ended, JobId, Lane, Options, Outcome, Queue, Ran, Unique, When, WorkerOptions,
        operate::Operator,
    },
    testing::TestQueue,
};

use super::{Act, Look, Plot, Stage, act, fan, onto, stage::Shy};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// Which job ran, which attempt of it, and in a word how it ended.
fn brief_of(ran: &[Ran]) -> Vec<String> {
    let word = |ended: &Ended| match ended {
        Ended::Done => "done",
        Ended::Retried { .. } => "retried",
        Ended::Buried { .. } => "buried",
        Ended::Expired { .. } => "expired",
        other => panic!("{other:?}"),
    };
    ran.iter()
        .map(|ran| format!("{} {} {}", ran.id, ran.attempt, word(&ran.ended)))
        .collect()
}

async fn enqueue(queue: &TestQueue, name: &str, options: Options) -> JobId {
    let act = act(name, Plot::Brief);
    let enqueued = queue.producer().enqueue_with(&act, &options).await;
    enqueued.unwrap()
}

#[tokio::test]
async fn a_step_runs_exactly_one_job_the_highest_queue_first() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    for (name, to) in [
        ("last", Queue::Low),
        ("second", Queue::Default),
        ("third", Queue::Default),
        ("first", Queue::High),
    ] {
        enqueue(&queue, name, onto(to)).await;
    }
    let mut stepper = queue.stepper(stage.registry());

    for (nth, name) in ["first", "second", "third", "last"].into_iter().enumerate() {
        let ran = stepper.step().await.unwrap();
        assert_eq!((ran.task.as_str(), ran.ended), ("test.act", Ended::Done));
        assert_eq!(stage.ended().len(), nth + 1);
        assert_eq!(stage.ended()[nth], name);
        queue.adds_up(3 - nth).await;
    }
    assert_eq!(stepper.step().await, None);
    queue.ends_clean().await;
}

#[tokio::test]
async fn all_is_run_to_its_end_with_delays_attempts_and_what_follows() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let fan = fan(vec![
        act("well", Plot::Brief),
        act("flawed", Plot::Fails(1)),
        act("hopeless", Plot::Fatal),
    ]);
    let tomorrow = Options {
        when: When::In(24 * HOUR),
        ..Options::default()
    };
    queue
        .producer()
        .enqueue_with(&fan, &tomorrow)
        .await
        .unwrap();

    let ran = queue.run_all(stage.registry()).await;

    let expected = [
        "default+1 1 done",
        "default-1 1 done",
        "default-2 1 retried",
        "default-3 1 buried",
        "default-2 2 done",
        "default-4 1 done",
    ];
    assert_eq!(brief_of(&ran), expected);
    assert_eq!(stage.ended(), ["well", "flawed", "sum[a hopeless case]"]);
    assert_eq!(queue.dead().await.len(), 1);
}

#[tokio::test]
async fn a_task_that_fails_for_hours_is_dead_in_no_time() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let job = queue.producer().enqueue(&Shy).await.unwrap();

    let ran = queue.run_all(stage.registry()).await;

    assert_eq!(ran.len(), 10);
    assert_eq!(ran[9].attempt, 10);
    assert_eq!(queue.dies(job).await, "not today");
}

#[tokio::test]
async fn a_call_runs_the_task_here_and_gives_back_what_it_gave_back() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let mut stepper = queue.stepper(stage.registry());

    stepper.call(&act("well", Plot::Fails(2))).await.unwrap();
    let error = stepper.call(&act("ill", Plot::Fatal)).await.unwrap_err();

    assert_eq!(stage.ended(), ["well"]);
    assert!(error.to_string().contains("a hopeless case"), "{error}");
}

#[tokio::test]
async fn what_is_scheduled_is_due_when_the_clock_is_there() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let mut stepper = queue.stepper(stage.registry());
    let in_an_hour = Options {
        when: When::In(HOUR),
        ..Options::default()
    };
    enqueue(&queue, "later", in_an_hour).await;

    queue.advance(59 * 60 * SECOND).await;
    assert_eq!(stepper.step().await, None);
    queue.advance(60 * SECOND).await;
    assert_eq!(brief_of(&stepper.run_due().await), ["default+1 1 done"]);
}

#[tokio::test]
async fn real_workers_hear_that_the_clock_was_moved() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let options = WorkerOptions {
        time_to_live: 60 * SECOND,
        ..TestQueue::options("default=1")
    };
    let worker = queue.worker(stage.registry(), options);
    enqueue(&queue, "now", Options::default()).await;
    stage.has_ended("now").await;
    let in_an_hour = Options {
        when: When::In(HOUR),
        ..Options::default()
    };
    enqueue(&queue, "later", in_an_hour).await;

    queue.advance(HOUR).await;

    stage.has_ended("later").await;
    worker.stop().await; // nobody took it for dead
    queue.ends_clean().await;
}

#[tokio::test]
async fn what_waits_longer_than_it_may_has_expired_when_the_clock_was_moved() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let mut stepper = queue.stepper(stage.registry());
    let soon = |when| Options {
        when,
        expires_in: Some(60 * SECOND),
        ..Options::default()
    };
    enqueue(&queue, "at once", soon(When::Now)).await;
    enqueue(&queue, "later", soon(When::In(HOUR))).await;

    queue.advance(HOUR + 30 * SECOND).await;

    // An hour late, and half a minute late.
    let ran = brief_of(&stepper.run_due().await);
    assert_eq!(ran, ["default-1 1 expired", "default+1 1 done"]);
    assert_eq!(stage.ended(), ["later"]);
}

#[tokio::test]
async fn outcomes_and_keys_of_a_period_are_gone_when_the_clock_was_moved() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let kept = || Options {
        keep_result: Some(HOUR),
        unique: Some(Unique::once_in(HOUR, "k")),
        ..Options::default()
    };
    let first = enqueue(&queue, "first", kept()).await;
    queue.run_all(stage.registry()).await;
    let handle = queue.producer().handle::<Act>(first);
    let outcome = async || handle.outcome().await.unwrap().map(Result::unwrap);

    queue.advance(HOUR / 2).await;
    assert_eq!(enqueue(&queue, "again", kept()).await, first);
    assert_eq!(outcome().await, Some(Outcome::Done(())));
    queue.advance(HOUR / 2).await;

    assert_eq!(outcome().await, None);
    assert_ne!(enqueue(&queue, "anew", kept()).await, first);
}

#[tokio::test]
async fn a_lane_goes_on_by_its_rate_when_the_clock_was_moved() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let mut stepper = queue.stepper(stage.registry());
    for name in ["a", "b", "c", "d", "e"] {
        let slow = Options {
            lane: Some(Lane::new("slow", 9).rate(1, HOUR).burst(1)),
            ..Options::default()
        };
        enqueue(&queue, name, slow).await;
    }

    assert_eq!(stepper.run_due().await.len(), 1);
    queue.advance(HOUR).await;
    assert_eq!(stepper.run_due().await.len(), 1);
    queue.advance(HOUR / 2).await;
    assert_eq!(stepper.run_due().await.len(), 0);
    queue.advance(HOUR / 2).await;
    assert_eq!(stepper.run_due().await.len(), 1);
    assert_eq!(stepper.run_all().await.len(), 2);
    queue.advance(HOUR).await; // the rate is used up so long
    queue.ends_clean().await;
}

#[tokio::test]
async fn a_debounced_job_runs_when_it_has_been_quiet() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let mut stepper = queue.stepper(stage.registry());
    let debounced = || Options {
        unique: Some(Unique::debounced(60 * SECOND, 100 * SECOND, "k")),
        ..Options::default()
    };

    for name in ["first", "second", "third"] {
        enqueue(&queue, name, debounced()).await;
        queue.advance(40 * SECOND).await;
        let is_overdue = name == "third";
        assert_eq!(stepper.run_due().await.len(), usize::from(is_overdue));
    }

    // 100 s after the first, though the third was only 40 s ago.
    assert_eq!(stage.ended(), ["third"]);
}

#[tokio::test]
async fn what_is_not_a_steppers_any_more_is_told_as_lost() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let job = enqueue(&queue, "lost", Options::default()).await;
    let waits = act("waits", Plot::Waits);
    let waits = queue.producer().enqueue(&waits).await.unwrap();
    let mut stepper = queue.stepper(stage.registry());
    assert_eq!(stepper.step().await.unwrap().id, job);

    let stepping = stepper.step();
    let meanwhile = async {
        stage.has_started("waits").await;
        for key in queue.key_names().await {
            if key.starts_with("claims:") {
                let key = format!("{}{key}", queue.keys.prefix());
                let _: usize = queue.command(&["DEL", &key]).await;
            }
        }
        stage.open();
    };
    let (ran, ()) = tokio::join!(stepping, meanwhile);

    let ran = ran.unwrap();
    assert_eq!((ran.id, ran.ended), (waits, Ended::Lost));
}

#[tokio::test]
async fn dead_jobs_that_are_retried_run_by_hand() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let mut stepper = queue.stepper(stage.registry());
    let hopeless = act("hopeless", Plot::Fatal);
    let job = queue.producer().enqueue(&hopeless).await.unwrap();
    assert_eq!(brief_of(&stepper.run_all().await), ["default-1 1 buried"]);
    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());

    operator.retry(&[job]).await.unwrap();

    assert_eq!(brief_of(&stepper.run_all().await), ["default-1 1 buried"]);
    assert_eq!(stage.starts_of("hopeless"), 2);
}
