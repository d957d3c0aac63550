//! Readiness: what `/health/ready` of a server and of a worker says is so, and is so again.

use common::testing::{RedisServer, TestPostgres, eventually, required};
use serde_json::{Value, json};

use crate::harness::{Process, Stack, http};

/// A worker that answers, and where.
async fn listening(stack: Stack) -> (Stack, Process, u16) {
    let stack = stack.with("WORKER_LISTEN", "127.0.0.1:0");
    let mut worker = stack.worker().await;
    let port = worker.listens().await;
    (stack, worker, port)
}

async fn ready(port: u16) -> (u16, Value) {
    let reply = http::get(port, "/health/ready").await.expect("an answer");
    (reply.status, reply.json())
}

/// Waits until it answers so.
async fn is(port: u16, code: u16, state: &str, of: &str, told: &str) {
    eventually(&format!("{state} with {of} {told}"), async || {
        let (now, health) = ready(port).await;
        (now == code && health["state"] == state && health[of] == told).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_without_redis_is_not_ready_until_it_is_back() {
    let mut redis = RedisServer::start(&["--appendfsync", "always"]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let (_stack, worker, port) = listening(stack).await;
    is(port, 200, "ready", "blocking", "healthy").await;
    let well = json!({"state": "ready", "redis": "reached", "blocking": "healthy",
        "heartbeat": "beating", "postgres": "reached", "schema": "current"});
    assert_eq!(ready(port).await, (200, well));

    redis.kill();
    is(port, 503, "waiting for Redis", "redis", "away").await;
    // Not the blocking connection: a worker that was busy has not asked it anything.
    is(port, 503, "waiting for Redis", "heartbeat", "ended").await;
    let told = http::get(port, "/metrics").await.expect("an answer").body;
    assert!(
        told.contains("rhubarb_dead_jobs NaN\n"),
        "what is unknown is told as a figure: {told}"
    );
    assert!(
        !told.contains("rhubarb_redis_errors_total{kind=\"lost\"} 0\n"),
        "{told}"
    );
    let live = http::get(port, "/health/live").await.expect("an answer");
    assert_eq!(live.status, 200);

    redis.restart();
    is(port, 200, "ready", "blocking", "healthy").await;
    drop(worker);
}

#[tokio::test]
async fn a_worker_that_cannot_block_is_not_ready_though_redis_answers() {
    let redis = RedisServer::start(&[]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let (stack, _worker, port) = listening(stack).await;
    is(port, 200, "ready", "blocking", "healthy").await;

    // Its connection is cut, and a new one may do all but BRPOP.
    let may_not = ["ACL", "SETUSER", "default", "-brpop"];
    let _: String = stack.redis(&may_not).await;
    let blocking = blocked_client(&stack).await;
    let _: i64 = stack.redis(&["CLIENT", "KILL", "ID", &blocking]).await;
    is(port, 503, "waiting for Redis", "blocking", "broken").await;
    let (_, health) = ready(port).await;
    assert_eq!(health["redis"], "reached");
    assert_eq!(health["heartbeat"], "beating");

    let told = http::get(port, "/metrics").await.expect("an answer").body;
    assert!(
        told.contains("rhubarb_health{part=\"blocking\"} 0\n"),
        "{told}"
    );
    assert!(told.contains("rhubarb_ready 0\n"), "{told}");
    assert!(
        !told.contains("rhubarb_blocking_replacements_total 0\n"),
        "{told}"
    );

    let may = ["ACL", "SETUSER", "default", "+brpop"];
    let _: String = stack.redis(&may).await;
    is(port, 200, "ready", "blocking", "healthy").await;
}

/// Redis's number for the connection that is in BRPOP.
async fn blocked_client(stack: &Stack) -> String {
    eventually("a connection that blocks", async || {
        let clients: String = stack.redis(&["CLIENT", "LIST"]).await;
        let line = clients.lines().find(|line| line.contains("cmd=brpop"))?;
        let id = line.split(' ').find_map(|field| field.strip_prefix("id="));
        id.map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_server_that_hears_nothing_is_not_ready_though_redis_answers() {
    let redis = RedisServer::start(&[]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let server = stack.server().await;
    is(server.port, 200, "ready", "subscription", "hearing").await;
    is(server.port, 200, "ready", "lease", "beating").await;
    // Without a room there is nothing to subscribe to, and a connection that may not is as good as any.
    let mut ada = server.client("ada").await;
    ada.join("lobby").await;

    let may_not = ["ACL", "SETUSER", "default", "-subscribe"];
    let _: String = stack.redis(&may_not).await;
    let _: i64 = stack.redis(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    is(
        server.port,
        503,
        "waiting for Redis",
        "subscription",
        "lost",
    )
    .await;
    assert_eq!(ready(server.port).await.1["redis"], "reached");

    let may = ["ACL", "SETUSER", "default", "+subscribe"];
    let _: String = stack.redis(&may).await;
    is(server.port, 200, "ready", "subscription", "hearing").await;
}

#[tokio::test]
async fn without_postgres_or_its_schema_all_are_ready_and_tell_of_it() {
    let mut postgres = TestPostgres::start();
    let stack = Stack::on(&required("REDIS_URL"), &postgres.url()).await;
    let (stack, worker, of_worker) = listening(stack).await;
    let server = stack.server().await;
    let both = [of_worker, server.port];
    for port in both {
        is(port, 200, "ready", "schema", "current").await;
    }

    postgres.stop();
    for port in both {
        is(port, 200, "degraded", "postgres", "away").await;
        assert_eq!(ready(port).await.1["schema"], "unknown");
    }
    postgres.restart();
    for port in both {
        is(port, 200, "ready", "postgres", "reached").await;
    }
    // As if an older backup had been restored; and as if a newer release had migrated.
    let table = "__diesel_schema_migrations";
    let (newest, database) = (
        format!("(SELECT max(version) FROM {table})"),
        &stack.database,
    );
    let kept =
        format!("CREATE TABLE kept AS TABLE {table}; DELETE FROM {table} WHERE version = {newest}");
    database.execute(&kept).await;
    for port in both {
        is(port, 200, "degraded", "schema", "behind").await;
    }
    let newer = format!(
        "INSERT INTO {table} SELECT * FROM kept ON CONFLICT DO NOTHING; \
         INSERT INTO {table} (version) VALUES ('99991231235959')"
    );
    database.execute(&newer).await;
    for port in both {
        is(port, 200, "ready", "schema", "newer").await;
    }
    drop(worker);
}
