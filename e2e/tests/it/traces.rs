//! Traces: one of them goes from a frame through Redis, jobs and their children to Postgres; who does not want them
//! has none; and a collector that is away holds nobody up.

use common::testing::eventually;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    Stack,
    collector::{Collector, Span},
    http,
};

const ROOM: &str = "stage";
const TOKEN: &str = "a-token-of-this-test";

/// Where every message asks for a flush.
async fn traced(endpoint: &str, ratio: &str) -> Stack {
    Stack::start()
        .await
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .with("TRACE_RATIO", ratio)
        .with("FLUSH_COUNT", "1")
        .with("JOBS_TOKEN", TOKEN)
}

/// The spans from an enqueue to its job's run, which the run of a child goes on below.
async fn run_below(collector: &Collector, parent: &Span, task: &str) -> Span {
    let claim = collector
        .below(Some(parent), &format!("claim {task}"))
        .await;
    let run = collector.below(Some(&claim), &format!("run {task}")).await;
    for span in [&claim, &run] {
        assert_eq!(span.service, "rhubarb-worker");
        assert_eq!(span.trace, parent.trace);
        assert!(span.time.0 <= span.time.1 && !span.failed, "{span:?}");
    }
    assert!(run.attributes.contains("job.id"), "{run:?}");
    run
}

#[tokio::test]
async fn one_trace_goes_from_the_frame_to_postgres() {
    let collector = Collector::start().await;
    let stack = traced(&collector.url, "1").await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;

    ada.post(ROOM, "the secret of the trace").await;

    let frame = collector.below(None, "message").await;
    let append = collector.below(Some(&frame), "append").await;
    let enqueue = collector.below(Some(&frame), "enqueue").await;
    for span in [&frame, &append, &enqueue] {
        assert_eq!(span.service, "rhubarb-server");
    }
    assert!(frame.time.0 <= append.time.0 && append.time.1 <= enqueue.time.0);
    let master = run_below(&collector, &enqueue, "chat.flush_room").await;
    let child = run_below(&collector, &master, "chat.flush_chunk").await;
    let stored = collector.below(Some(&child), "store messages").await;
    let done = run_below(&collector, &master, "chat.flush_done").await;
    let looked = collector.below(Some(&done), "look for changes").await;
    for span in [&append, &enqueue, &stored, &looked] {
        assert_eq!(span.trace, frame.trace);
    }
    let all = format!("{:?}", collector.spans());
    assert!(!all.contains("secret"), "a body was told");
    assert!(!all.contains(ROOM), "a room was told");
}

#[tokio::test]
async fn a_request_brings_its_trace_along_and_says_whether_it_is_told() {
    let collector = Collector::start().await;
    let stack = traced(&collector.url, "0").await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let [told, kept, of_job] = ["a", "b", "c"].map(|digit| digit.repeat(32));
    let header =
        |trace: &str, flags: &str| format!("traceparent: 00-{trace}-00f067aa0ba902b7-{flags}\r\n");
    let body = json!({"message": "hi"}).to_string();

    // By chance none is told; what is not to be told, neither; though its jobs belong to it.
    server.say("ada", "quiet", "", &body).await;
    server.say("ada", "kept", &header(&kept, "00"), &body).await;
    for room in ["quiet", "kept"] {
        stack.archived(room, 1).await;
    }
    server.say("ada", "told", &header(&told, "01"), &body).await;
    let headers = format!("{}Authorization: Bearer {TOKEN}\r\n", header(&of_job, "01"));
    let job = json!({"task": "chat.flush_room", "args": {"room": "told"}}).to_string();
    let made = http::post_raw(server.port, "/jobs", &headers, &job).await;
    assert_eq!(made.expect("an answer").status, 202);

    for (trace, name, steps) in [
        (&told, "POST /rooms/{room}/messages", ["append", "enqueue"]),
        (&of_job, "POST /jobs", ["enqueue", "enqueue"]),
    ] {
        let caller = Span {
            id: "00f067aa0ba902b7".to_owned(),
            ..first(&collector, trace).await
        };
        let request = collector.below(Some(&caller), name).await;
        assert_eq!(request.trace, *trace);
        for step in steps {
            collector.below(Some(&request), step).await;
        }
        let enqueue = collector.below(Some(&request), "enqueue").await;
        run_below(&collector, &enqueue, "chat.flush_room").await;
    }
    let others: Vec<_> = collector
        .spans()
        .into_iter()
        .filter(|span| span.trace != told && span.trace != of_job)
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Any span of a trace.
async fn first(collector: &Collector, trace: &str) -> Span {
    eventually("a span of the trace", async || {
        collector
            .spans()
            .into_iter()
            .find(|span| span.trace == trace)
    })
    .await
}

#[tokio::test]
async fn messages_that_come_together_are_kept_together() {
    let collector = Collector::start().await;
    let stack = traced(&collector.url, "1").await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let said = (0..20).map(|id| json!({"type": "message", "id": id, "payload": {"message": "hi"}}));
    let said: Vec<_> = said.map(|frame| Message::text(frame.to_string())).collect();

    ada.send_together(said).await;
    for id in 0..20 {
        assert_eq!(ada.reply(id).await["type"], "ack");
    }
    drop(ada);
    stack.archived(ROOM, 20).await;

    let row = collector.below(None, "message").await;
    collector.below(Some(&row), "append").await;
    let spans = collector.spans();
    let rows = spans.iter().filter(|span| span.name == "message").count();
    assert!(
        rows < 5,
        "{rows} rows of 20 messages that came in one piece"
    );
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_away_holds_nobody_up() {
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    let stack = traced(&hangs, "1").await;
    let (mut server, mut worker) = (stack.server().await, stack.worker().await);
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let lines = 2500;

    // One by one: those of a row have one span.
    for n in 0..lines {
        ada.post(ROOM, &format!("line {n}")).await;
    }
    stack.archived(ROOM, lines).await;

    // What waits is bounded, and what does not fit is counted.
    eventually("spans that were dropped", async || {
        (count(server.port, "dropped").await > 0).then_some(())
    })
    .await;
    drop(silent);
    eventually("spans that were lost", async || {
        (count(server.port, "failed").await > 0).then_some(())
    })
    .await;
    server
        .process
        .writes("the collector does not take spans")
        .await;
    drop(ada);
    for process in [&mut server.process, &mut worker] {
        process.signal(Signal::SIGTERM);
        assert_eq!(process.exit_code().await, Some(0));
        let warnings = process.output().matches("does not take spans").count();
        assert!(warnings <= 1, "it warned {warnings} times");
    }
}

/// So many spans came to that, by the server's metrics.
async fn count(port: u16, result: &str) -> u64 {
    let metrics = http::get(port, "/metrics").await.expect("an answer").body;
    let series = format!("rhubarb_spans_total{{result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&*series));
    line.expect("a counter").parse().expect("a number")
}
