//! Logs: ids are fields, and nothing that is somebody's own, or secret, is in any line.

use common::{
    kv::Redis,
    testing::{RedisServer, eventually, required},
};
use serde_json::{Value, json};

use crate::harness::{Process, Stack, http, process::binary};

const ROOM: &str = "stage";
/// In everything that must not be told.
const SECRET: &str = "s3cr3t";
const JOBS_TOKEN: &str = "s3cr3t-token-for-jobs";

/// As much as our own crates have to say.
async fn talkative(redis_url: &str, format: &str) -> Stack {
    let database = required("DATABASE_URL").replace("rhubarb@", "rhubarb:s3cr3t@");
    Stack::on(redis_url, &database)
        .await
        .with("RUST_LOG", "info,common=trace,server=trace,worker=trace")
        .with("LOG_FORMAT", format)
        .with("JOBS_TOKEN", JOBS_TOKEN)
        .with("JWT_SECRET", "s3cr3t-key-of-32-bytes-and-more-0")
        .with("FLUSH_COUNT", "1")
        .with("TRACE_RATIO", "1")
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9/s3cr3t")
}

/// A Redis that is entered by a password, and its address.
async fn guarded() -> (RedisServer, String) {
    let redis = RedisServer::start(&[]);
    let client = Redis::new(&redis.url()).expect("an address");
    let mut connection = client.connection().await.expect("a connection");
    let _: String = redis::cmd("ACL")
        .arg(&["SETUSER", "rhubarb", "on", ">s3cr3t", "~*", "&*", "+@all"])
        .query_async(&mut connection)
        .await
        .expect("a user");
    let url = redis.url().replace("redis://", "redis://rhubarb:s3cr3t@");
    (redis, url)
}

/// Messages, jobs and tokens, good and bad; gives what server and worker wrote.
async fn lines_of(format: &str) -> (String, String) {
    let (redis, url) = guarded().await;
    let stack = talkative(&url, format).await;
    let (server, worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let first = ada.post(ROOM, "s3cr3t message").await;
    let change = json!({"roomId": ROOM, "messageId": first.id, "message": "s3cr3t edit"});
    ada.request("edit", &change).await;
    ada.send("{\"type\":\"message\",\"payload\":\"s3cr3t\"}")
        .await;
    ada.error_code().await;
    ada.send("s3cr3t").await;
    ada.error_code().await;
    ada.request("auth", &json!({"token": "s3cr3t.token"})).await;
    http::refused_upgrade(server.port, "token=s3cr3t", "").await;
    http::refused_upgrade(server.port, "", "Authorization: Bearer s3cr3t\r\n").await;
    let body = json!({"message": "s3cr3t over HTTP"}).to_string();
    server.say("ada", ROOM, "", &body).await;
    server.say("ada", ROOM, "", "{\"message\":\"s3cr3t").await;

    let headers = format!("Authorization: Bearer {JOBS_TOKEN}\r\n");
    let room = json!({"room": "not a s3cr3t room"});
    for job in [
        json!({"task": "nobody.knows", "args": {"key": "s3cr3t"}}),
        json!({"task": "chat.flush_room", "args": "s3cr3t"}),
        json!({"task": "chat.flush_room", "args": room}),
        json!({"task": "chat.flush_room", "args": {"room": ROOM, "s3cr3t": 1}}),
        json!({"s3cr3t": "no job"}),
    ] {
        let job = job.to_string();
        let made = http::post_raw(server.port, "/jobs", &headers, &job).await;
        assert!(matches!(made.expect("an answer").status, 202 | 422));
    }
    let wrong = "Authorization: Bearer s3cr3t-and-wrong\r\n";
    let refused = http::post_raw(server.port, "/jobs", wrong, "{}").await;
    assert_eq!(refused.expect("an answer").status, 401);
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 3).await;
    stack.forget_rooms().await;
    ada.join(ROOM).await;
    eventually("what does not fit is put aside", async || {
        let (buried, parked) = (stack.total("buried").await, stack.total("parked").await);
        (buried == 2 && parked == 1).then_some(())
    })
    .await;
    let lines = (server.process.output(), worker.output());
    drop(redis);
    lines
}

#[tokio::test]
async fn lines_for_machines_have_ids_as_fields_and_no_secrets() {
    let (of_server, of_worker) = lines_of("json").await;

    for (lines, process) in [(&of_server, "server"), (&of_worker, "worker")] {
        assert!(!lines.contains(SECRET), "{lines}");
        assert!(
            !lines.contains("the keys for tokens have changed"),
            "they are in no file"
        );
        let mut ids = Vec::new();
        for line in lines.lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for field in ["timestamp", "level", "message"] {
                assert!(line[field].is_string(), "{line}");
            }
            ids.extend(line.get(process).map(Value::to_string));
        }
        assert!(ids.len() > 3, "{lines}");
        ids.dedup();
        assert_eq!(ids.len(), 1, "each line is of one process");
    }
    let flushed = |line: &&str| line.contains("\"message\":\"flushed stage\"");
    let line = of_worker.lines().find(flushed).expect("a flush");
    let line: Value = serde_json::from_str(line).expect("JSON");
    for id in ["room.id", "job.id", "trace.id", "task", "queue", "worker"] {
        assert!(line[id].is_string(), "{id} is not in {line}");
    }
}

#[tokio::test]
async fn lines_for_people_have_no_secrets() {
    let (of_server, of_worker) = lines_of("human").await;

    for lines in [of_server, of_worker] {
        assert!(!lines.contains(SECRET), "{lines}");
        assert!(lines.lines().count() > 3);
    }
}

#[tokio::test]
async fn who_cannot_start_tells_no_password() {
    let (redis, good) = guarded().await;
    let database = required("DATABASE_URL");
    let bad = good.replace("s3cr3t", "s3cr3t-but-wrong");
    for (redis, database) in [
        (bad.as_str(), database.as_str()),
        ("redis://rhubarb:s3cr3t@nowhere.invalid:1/0", &database),
        ("rhubarb:s3cr3t@127.0.0.1", &database),
        ("redis://rhubarb:s3cr3t@127.0.0.1:port/0", &database),
        (&good, "postgres://rhubarb:s3cr3t@nowhere.invalid:1/rhubarb"),
        (&good, "postgres://rhubarb:s3cr3t@127.0.0.1:port/rhubarb"),
        (&good, "rhubarb:s3cr3t@127.0.0.1"),
    ] {
        for program in ["server", "worker"] {
            let environment = [
                ("REDIS_URL", redis.to_owned()),
                ("DATABASE_URL", database.to_owned()),
                ("GUESTS", "true".to_owned()),
                ("RUST_LOG", "info,common=trace".to_owned()),
            ];
            let mut process = Process::start(program, &binary(program), &[], &environment);
            assert_eq!(process.exit_code().await, Some(1), "{}", process.output());
            let output = process.output();
            assert!(!output.contains(SECRET), "{output}");
            assert!(!output.is_empty());
        }
    }
    drop(redis);
}
