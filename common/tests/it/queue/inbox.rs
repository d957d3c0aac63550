//! The inbox: jobs that anybody with a Redis client can bring.

use std::time::Duration;

use common::{
    queue::{
        JobId, Queue, WorkerOptions,
        care::Care,
        enqueue::MAX_BODY,
        inspect::{Inspector, show::Known},
        operate::Operator,
    },
    testing::{TestQueue, eventually},
};

use super::{Look, Stage, names, sorted};

fn care(queue: &TestQueue) -> Care {
    let options = TestQueue::options("default=1");
    Care::new(queue.redis.clone(), queue.keys.clone(), &options)
}

/// What a stranger does.
async fn bring(queue: &TestQueue, to: Queue, bodies: &[String]) {
    let inbox = queue.keys.inbox(to);
    let mut words = vec!["LPUSH", &inbox];
    words.extend(bodies.iter().map(String::as_str));
    let _: usize = queue.command(&words).await;
}

fn body(name: impl std::fmt::Display) -> String {
    format!(r#"{{"task":"test.act","args":{{"name":"{name}","plot":"Brief"}}}}"#)
}

fn bodies(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(body).collect()
}

#[tokio::test]
async fn a_body_that_is_pushed_and_rung_for_runs_as_a_job() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    // Nothing but the bell makes this worker look within an hour.
    let patient = WorkerOptions {
        beat: Duration::from_secs(3600),
        time_to_live: Duration::from_secs(36_000),
        ..TestQueue::options("high=1")
    };
    let worker = queue.worker(stage.registry(), patient);

    bring(&queue, Queue::High, &[body("from afar")]).await;
    eventually("it has run", async || {
        let _: usize = queue
            .command(&["PUBLISH", &queue.keys.bell(), "look"])
            .await;
        (!stage.ended().is_empty()).then_some(())
    })
    .await;

    assert_eq!(stage.started(), ["from afar"]);
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn what_was_brought_becomes_jobs_in_its_order_and_as_it_was_written() {
    let queue = TestQueue::start();
    let exact = r#"{"n":12345678901234567890,"pi":3.140,"none":[],"s":"\u0041\/"}"#;
    let brought = [
        format!(r#"{{"task":"a","args":{exact}}}"#),
        " {\n \"max_attempts\": 7, \"task\":\"b\" }\n".to_owned(),
    ];
    bring(&queue, Queue::Low, &brought).await;

    let cared = care(&queue).look().await.unwrap();

    assert_eq!((cared.taken_in, cared.more), (2, false));
    let listed: Vec<String> = queue
        .command(&["LRANGE", &queue.keys.queue(Queue::Low), "0", "-1"])
        .await;
    assert_eq!(listed, ["low-2", "low-1"]);
    let show = async |id: &str| {
        let inspector = Inspector::new(queue.redis.clone(), queue.keys.clone());
        match inspector.show(id.parse().unwrap()).await.unwrap() {
            Known::Job(job) => job,
            gone => panic!("{gone:?}"),
        }
    };
    let first = show("low-1").await;
    assert_eq!(first.args.unwrap().get(), exact);
    assert!(first.enqueued_ms.is_some());
    let second = show("low-2").await;
    assert_eq!(second.task.as_deref(), Some("b"));
    assert_eq!(second.args.unwrap().get(), "null");
    assert_eq!(second.max_attempts, Some(7));
    assert_eq!(care(&queue).look().await.unwrap().taken_in, 0);
    queue.adds_up(2).await;
}

#[tokio::test]
async fn what_cannot_be_a_job_is_dead_with_its_text_and_the_reason() {
    let queue = TestQueue::start();
    let large = format!(r#"{{"task":"t","args":"{}"}}"#, "x".repeat(MAX_BODY));
    let cases = [
        ("", "it is not JSON"),
        ("hello", "it is not JSON"),
        (r#"{"task":"t""#, "it is not JSON"),
        (r#"{"task":"t"} {"task":"u"}"#, "it is not JSON"),
        (r#"["task"]"#, "it is not a JSON object"),
        ("17", "it is not a JSON object"),
        ("{}", "it names no `task`"),
        (r#"{"args":1}"#, "it names no `task`"),
        (r#"{"task":""}"#, "`task` is not the name of a task"),
        (r#"{"task":7}"#, "`task` is not the name of a task"),
        (
            r#"{"task":"t","group":"low-1"}"#,
            "the field `group` is not for outsiders to set",
        ),
        (
            r#"{"task":"t","at":1}"#,
            "the field `at` is not for outsiders to set",
        ),
        (
            r#"{"task":"t","max_attempts":0}"#,
            "`max_attempts` is not a whole number from 1 on",
        ),
        (&large, "it has 1048598 bytes; 1048576 is the most"),
    ];
    for (text, _) in cases {
        bring(&queue, Queue::Default, &[text.to_owned()]).await;
    }
    bring(&queue, Queue::Default, &[body("good")]).await;

    let mut taken_in = 0;
    let mut care = care(&queue);
    while taken_in < cases.len() + 1 {
        taken_in += care.look().await.unwrap().taken_in;
    }

    assert_eq!(queue.dead().await.len(), cases.len());
    for (at, (text, reason)) in cases.into_iter().enumerate() {
        let id: JobId = format!("default+{}", at + 1).parse().unwrap();
        let error = queue.dies(id).await;
        assert!(error.contains(reason), "{text:.40}: {error}");
        let kept = queue.body(id).await.unwrap();
        assert!(kept.ends_with(&format!("}} refused: {text}")), "{kept:.80}");
    }
    assert_eq!(queue.listed(Queue::Default).await, 1);
    queue.adds_up(cases.len() + 1).await;

    // No retry makes a job of it that an outsider may not bring: it dies again.
    let stage = Stage::new();
    let worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    stage.has_ended("good").await;
    let refused: JobId = "default+11".parse().unwrap();
    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
    operator.retry(&[refused]).await.unwrap();
    eventually("it is dead again", async || {
        (queue.dead().await.len() == cases.len()).then_some(())
    })
    .await;
    assert!(
        queue
            .dies(refused)
            .await
            .contains("its body cannot be read")
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_full_inbox_is_emptied_in_batches_by_many_workers_and_each_job_runs_once() {
    let queue = TestQueue::start();
    let stage = Stage::new();
    for from in [0, 400, 800, 1200] {
        bring(&queue, Queue::Default, &bodies(from..from + 400)).await;
    }
    let cared = care(&queue).look().await.unwrap();
    assert_eq!((cared.taken_in, cared.more), (500, true));

    let workers =
        [1, 2, 3].map(|_| queue.worker(stage.registry(), TestQueue::options("default=8")));
    stage.have_ended(1600).await;
    queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }

    assert_eq!(sorted(stage.started()), names(0..1600));
    assert_eq!(queue.stat("enqueued:default").await, 1600);
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_too() {
    let queue = TestQueue::start();
    let half = format!(r#"{{"task":"t","args":"{}"}}"#, "x".repeat(MAX_BODY / 2));
    bring(&queue, Queue::High, &vec![half; 5]).await;

    let mut care = care(&queue);
    for (taken_in, more) in [(2, true), (2, true), (1, false)] {
        let cared = care.look().await.unwrap();
        assert_eq!((cared.taken_in, cared.more), (taken_in, more));
    }
    queue.adds_up(5).await;
}

#[tokio::test]
async fn the_inbox_of_a_draining_queue_is_kept_until_it_is_resumed() {
    let queue = TestQueue::start();
    let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
    operator
        .clone()
        .acting_for("ada")
        .drain(Queue::Low)
        .await
        .unwrap();
    bring(&queue, Queue::Low, &bodies(0..2)).await;
    bring(&queue, Queue::High, &bodies(2..3)).await;

    assert_eq!(care(&queue).look().await.unwrap().taken_in, 1);
    let inspector = Inspector::new(queue.redis.clone(), queue.keys.clone());
    assert_eq!(inspector.status().await.unwrap().queues[2].inbox, 2);

    operator.resume(Queue::Low).await.unwrap();
    assert_eq!(care(&queue).look().await.unwrap().taken_in, 2);
    assert_eq!(inspector.status().await.unwrap().queues[2].inbox, 0);
}

#[tokio::test]
async fn something_else_in_an_inboxs_place_stops_nobody() {
    let queue = TestQueue::start();
    let _: String = queue
        .command(&["SET", &queue.keys.inbox(Queue::High), "a text"])
        .await;
    bring(&queue, Queue::Low, &bodies(0..1)).await;

    assert_eq!(care(&queue).look().await.unwrap().taken_in, 1);
    let inspector = Inspector::new(queue.redis.clone(), queue.keys.clone());
    assert_eq!(inspector.status().await.unwrap().queues[0].inbox, 0);
}
