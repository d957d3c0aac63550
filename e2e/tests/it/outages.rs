//! Postgres, the workers or Redis are away: the chat goes on as far as it can, and all resumes by itself.

use common::testing::{RedisServer, TestPostgres, eventually, required};
use nix::sys::signal::Signal;

use crate::harness::{Stack, stack::seen};

const ROOM: &str = "stage";

fn lines(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{what} {n}")).collect()
}

#[tokio::test]
async fn without_postgres_the_chat_goes_on_and_flushing_resumes_by_itself() {
    let mut postgres = TestPostgres::start();
    let stack = Stack::on(&required("REDIS_URL"), &postgres.url())
        .await
        .with("HOT_WINDOW", "10");
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    ada.post_all(ROOM, &lines("before", 30)).await;
    ada.hears(ROOM, "before 29").await;
    ada.leave(ROOM).await;
    bob.leave(ROOM).await;
    stack.flushed(ROOM, 30).await;

    postgres.stop();
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    ada.post_all(ROOM, &lines("during", 30)).await;
    for person in [&mut ada, &mut bob] {
        person.hears(ROOM, "during 29").await;
    }
    let health = first.health().await;
    assert_eq!(health["state"], "degraded");
    assert_eq!(health["postgres"], "away");
    // What Redis has can be read; what is older, not now.
    let newest = ada.room(ROOM).cursor;
    let (recent, _) = first
        .history(ROOM, &format!("before={newest}&limit=20"))
        .await;
    assert_eq!(recent.len(), 20);
    let oldest = bob.room(ROOM).messages[0].id;
    let path = format!("/rooms/{ROOM}/messages?before={oldest}");
    let older = first.get(&path).await;
    assert_eq!(older.status, 503, "{}", older.body);
    assert_eq!(older.json()["code"], "archive_unavailable");
    assert!(older.header("retry-after").is_some());
    // The flush fails, and is tried until it succeeds.
    ada.leave(ROOM).await;
    bob.leave(ROOM).await;
    eventually("a flush that fails", async || {
        (stack.total("retried").await > 0).then_some(())
    })
    .await;

    postgres.restart();
    stack.flushed(ROOM, 60).await;
    let (older, more) = first.history(ROOM, &format!("before={oldest}")).await;
    assert_eq!(older.len(), 20);
    assert!(!more);
    assert_eq!(stack.total("buried").await, 0);
}

#[tokio::test]
async fn without_workers_the_chat_goes_on_and_a_worker_that_comes_flushes_it() {
    let stack = Stack::start().await;
    let (first, second) = stack.two_servers().await;
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;

    // The servers ask the archive themselves whether there is a history.
    let (joined, _) = tokio::join!(ada.join(ROOM), bob.join(ROOM));
    assert_eq!(joined["complete"], true);
    ada.post_all(ROOM, &lines("line", 50)).await;
    bob.hears(ROOM, "line 49").await;
    ada.hears(ROOM, "line 49").await;
    assert_eq!(seen(&ada, ROOM), seen(&bob, ROOM));
    ada.leave(ROOM).await;
    bob.leave(ROOM).await;
    assert_eq!(stack.rows(ROOM).await, Some(vec![]));

    let _worker = stack.worker().await;
    stack.flushed(ROOM, 50).await;
    stack.is_what_is_archived(ROOM, &bob).await;
}

#[tokio::test]
async fn without_redis_sockets_stay_open_and_all_resumes_without_a_hole() {
    let mut redis = RedisServer::start(&["--appendfsync", "always"]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    ada.post_all(ROOM, &lines("before", 20)).await;

    redis.kill();
    let refused = ada.try_post(ROOM, "my-1", "during").await;
    assert_eq!(refused, Err("unavailable".to_owned()));
    assert_eq!(first.get("/health/ready").await.status, 503);
    assert_eq!(first.get("/health/live").await.status, 200);
    let no_history = first.get(&format!("/rooms/{ROOM}/messages")).await;
    assert_eq!(no_history.status, 503);
    assert_eq!(no_history.json()["code"], "unavailable");

    redis.restart();
    for (person, client_id, text) in [(&mut ada, "my-1", "during"), (&mut bob, "my-2", "back")] {
        eventually("a message is taken again", async || {
            person.try_post(ROOM, client_id, text).await.ok()
        })
        .await;
    }
    bob.post_all(ROOM, &lines("after", 20)).await;
    for person in [&mut ada, &mut bob] {
        person.hears(ROOM, "after 19").await;
    }
    assert_eq!(seen(&ada, ROOM), seen(&bob, ROOM));
    assert_eq!(ada.texts(ROOM).len(), 42);
    bob.counts_members(ROOM, 2).await;
    ada.leave(ROOM).await;
    bob.leave(ROOM).await;
    stack.flushed(ROOM, 42).await;
    stack.is_what_is_archived(ROOM, &ada).await;
}

#[tokio::test]
async fn a_redis_that_stalls_costs_no_message_and_doubles_none() {
    let redis = RedisServer::start(&["--appendfsync", "always"]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let ((first, second), worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    bob.post(ROOM, "before").await;

    // Redis takes the message when it goes on, long after its sender was told that it did not.
    redis.signal("STOP");
    let refused = ada.try_post(ROOM, "my-1", "during").await;
    assert_eq!(refused, Err("unavailable".to_owned()));
    redis.signal("CONT");
    let ack = eventually("a message is taken again", async || {
        ada.try_post(ROOM, "my-1", "during").await.ok()
    })
    .await;
    assert!(ack.duplicate, "Redis had taken the first one");
    bob.post(ROOM, "after").await;

    for person in [&mut ada, &mut bob] {
        person.hears(ROOM, "after").await;
        assert_eq!(person.texts(ROOM), ["before", "during", "after"]);
        person.leave(ROOM).await;
    }
    stack.flushed(ROOM, 3).await;
    worker.signal(Signal::SIGTERM);
}
