//! The Redis users of docs/deploy.md: everything works with exactly their rights, and nothing else does.

use common::{
    config::Process as Kind,
    kv::rights,
    testing::{RedisServer, required},
};
use redis::{Client, ErrorKind, RedisError, Value};

use crate::harness::{Stack, stack::seen};

const PAGE: &str = include_str!("../../../docs/deploy.md");
const ROOM: &str = "stage";

/// The page's users, on a Redis of their own.
async fn stack_with_users(redis: &RedisServer) -> Stack {
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let namespace = format!("{{{}}}", stack.queue.namespace);
    let lines: Vec<_> = PAGE
        .lines()
        .filter(|line| line.starts_with("ACL SETUSER rhubarb-"))
        .collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        let line = line
            .replace("SECRET", "s3cret")
            .replace("{rhubarb}", &namespace);
        let words: Vec<&str> = line.split(' ').collect();
        let done: String = stack.redis(&words).await;
        assert_eq!(done, "OK");
    }
    ["server", "worker", "queuectl"]
        .into_iter()
        .fold(stack, |stack, program| {
            stack.with_redis_url(program, url_of(program, redis))
        })
}

fn url_of(program: &str, redis: &RedisServer) -> String {
    redis
        .url()
        .replace("redis://", &format!("redis://rhubarb-{program}:s3cret@"))
}

#[tokio::test]
async fn messages_flushes_rehydrations_jobs_and_commands_need_no_more() {
    let redis = RedisServer::start(&[]);
    let stack = stack_with_users(&redis).await;
    let (server, worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;

    // A message, its flush, and the room's way back.
    ada.join(ROOM).await;
    ada.post_all(ROOM, &["one", "two", "three"].map(str::to_owned))
        .await;
    ada.hears(ROOM, "three").await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 3).await;
    stack.forget_rooms().await;
    let mut bob = server.client("bob").await;
    bob.join(ROOM).await;
    assert_eq!(seen(&bob, ROOM).len(), 3);

    // A job, and what an operator does.
    for words in [
        &[
            "enqueue",
            "chat.flush_room",
            r#"{"room":"stage"}"#,
            "--queue",
            "low",
        ][..],
        &["status"],
        &["workers"],
        &["jobs", "waiting"],
        &["lanes"],
        &["periodic"],
        &["pause", "low"],
        &["resume", "low"],
        &["audit", "--repair"],
    ] {
        let (code, output) = stack.queuectl(words).await;
        assert_eq!(code, Some(0), "queuectl {}: {output}", words.join(" "));
    }
    stack.idle().await;
    for program in ["server", "worker"] {
        let mut check = stack.process("check", program, &["--check-config"]);
        assert_eq!(check.exit_code().await, Some(0), "{}", check.output());
        assert!(!check.output().contains("s3cret"), "{}", check.output());
    }

    // Redis itself knows what it refused.
    let refused: Vec<Value> = stack.redis(&["ACL", "LOG"]).await;
    // `--check-config` asks for a setting, and does without.
    let only_config = refused
        .iter()
        .all(|entry| format!("{entry:?}").contains("config|get"));
    assert!(only_config, "{refused:#?}");
    for output in [server.process.output(), worker.output()] {
        assert!(
            !output.contains("NOPERM") && !output.contains("s3cret"),
            "{output}"
        );
    }
}

#[tokio::test]
async fn every_other_command_and_every_other_key_is_refused() {
    let redis = RedisServer::start(&[]);
    let stack = stack_with_users(&redis).await;
    let commands: Vec<(String, i64)> = {
        let all: Vec<Vec<Value>> = stack.redis(&["COMMAND"]).await;
        let read = |words: &Vec<Value>| {
            let name = redis::from_redis_value(words[0].clone()).expect("a name");
            let arity = redis::from_redis_value(words[1].clone()).expect("an arity");
            (name, arity)
        };
        all.iter().map(read).collect()
    };
    assert!(commands.len() > 200);
    // These are everybody's: to say who one is, and to go.
    let free = ["auth", "hello", "quit", "reset"];

    for (kind, program) in [
        (Kind::Server, "server"),
        (Kind::Worker, "worker"),
        (Kind::Queuectl, "queuectl"),
    ] {
        let client = Client::open(url_of(program, &redis)).expect("a readable address");
        let mut connection = client.get_connection().expect("a connection");
        let rights: Vec<_> = rights::of(kind).map(|right| right.name()).collect();
        let is_allowed = |name: &str| {
            let first = |right: &&str| right.split('|').next() == Some(name);
            free.contains(&name) || rights.iter().any(first)
        };
        for (name, arity) in commands.iter().filter(|(name, _)| !is_allowed(name)) {
            let mut command = redis::cmd(name);
            for _ in 1..arity.abs() {
                command.arg("1");
            }
            let answer: Result<Value, RedisError> = command.query(&mut connection);
            let error = answer
                .err()
                .unwrap_or_else(|| panic!("{program} may run {name}"));
            let text = error.to_string();
            assert!(
                error.code() == Some("NOPERM")
                    || ["unknown subcommand", "command not allowed"]
                        .iter()
                        .any(|why| text.contains(why)),
                "{program}: {name}: {text}"
            );
        }
        let elsewhere: Result<Value, RedisError> =
            redis::cmd("GET").arg("another").query(&mut connection);
        assert!(elsewhere.is_err_and(|error| error.code() == Some("NOPERM")));
        let published: Result<Value, RedisError> = redis::cmd("PUBLISH")
            .arg("another")
            .arg("x")
            .query(&mut connection);
        assert!(published.is_err_and(|error| error.code() == Some("NOPERM")));
        let kind: Result<Value, RedisError> =
            redis::cmd("CLIENT").arg("LIST").query(&mut connection);
        assert!(kind.is_err_and(|error| error.kind() != ErrorKind::Io));
    }
}

#[tokio::test]
async fn a_user_without_a_right_is_told_which() {
    let redis = RedisServer::start(&[]);
    let stack = stack_with_users(&redis).await;
    let _: String = stack
        .redis(&["ACL", "SETUSER", "rhubarb-worker", "-brpop", "-zadd"])
        .await;
    let _: String = stack
        .redis(&["ACL", "SETUSER", "rhubarb-server", "-info"])
        .await;

    let mut check = stack.process("check", "worker", &["--check-config"]);
    assert_eq!(check.exit_code().await, Some(1));
    let told = check.output();
    assert!(
        told.contains("may not run zadd, brpop") && told.contains("docs/deploy.md"),
        "{told}"
    );

    let mut server = stack.process("server", "server", &["--port", "0"]);
    assert_eq!(server.exit_code().await, Some(1));
    let told = server.output();
    assert!(told.contains("this Redis user may not run INFO"), "{told}");
}
