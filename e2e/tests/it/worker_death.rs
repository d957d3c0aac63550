//! kill -9 of a worker at each step of a job. All messages end up in Postgres, each once.

use std::time::{Duration, Instant};

use common::{
    chat::flush::FlushRoom,
    testing::{RedisServer, eventually, required},
};
use nix::sys::signal::Signal;

use crate::harness::{Process, Stack};

const ROOM: &str = "stage";

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("line {n}")).collect()
}

/// Waits until another worker has what the dead one held. It runs again within 10 s.
async fn is_taken_over(stack: &Stack, stat: &str, death: Instant) {
    eventually(&format!("a job is {stat}"), async || {
        (stack.total(stat).await > 0).then_some(())
    })
    .await;
    let took = death.elapsed();
    assert!(took < Duration::from_secs(10), "{stat} after {took:?}");
}

#[tokio::test]
async fn a_job_that_redis_handed_to_a_worker_which_never_claimed_it_runs_on_another() {
    let redis = RedisServer::start(&[]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let (server, mut doomed) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    stack.idle().await;
    let mut posted = 0;
    eventually("a stopped worker is handed a job", async || {
        ada.post(ROOM, "keep me").await;
        posted += 1;
        is_handed_a_job(&stack, &doomed).await.then_some(())
    })
    .await;
    assert_eq!(
        stack.claimants().await,
        [0_u32; 0],
        "nobody has claimed the job"
    );

    doomed.kill();
    let death = Instant::now();
    let _other = stack.worker().await;

    is_taken_over(&stack, "recovered", death).await;
    stack.flushed(ROOM, posted).await;
    stack.idle().await;
}

/// Stops a worker that waits in BRPOP, and has Redis hand it the job of flushing the room. False if it
/// did not wait just then: it goes on, and does what there is.
async fn is_handed_a_job(stack: &Stack, worker: &Process) -> bool {
    worker.signal(Signal::SIGSTOP);
    let clients: String = stack.redis(&["CLIENT", "LIST"]).await;
    let waits = |client: &str| client.contains("cmd=brpop") && client.contains("flags=b");
    if clients.lines().any(waits) {
        let room = ROOM.parse().expect("a room's name");
        let job = FlushRoom { room };
        stack.queue.producer().enqueue(&job).await.expect("a job");
        let queue = stack.queue.keys.queue(common::queue::Queue::Default);
        let listed: u64 = stack.redis(&["LLEN", &queue]).await;
        if listed == 0 {
            return true;
        }
    }
    worker.signal(Signal::SIGCONT);
    false
}

#[tokio::test]
async fn what_a_worker_was_doing_when_it_was_killed_is_done_by_another() {
    let stack = Stack::start().await.with("FLUSH_CHUNK", "10");
    let (server, (high, low)) = tokio::join!(stack.server(), stack.two_workers());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post_all(ROOM, &lines(100)).await;
    stack.idle().await;
    let before = stack.total("completed:default").await;

    // Every insert is held up; both workers have some of the ten.
    let held = stack.hold_archive("SHARE").await;
    ada.leave(ROOM).await;
    let both = eventually("both workers run children", async || {
        let claimants = stack.claimants().await;
        (claimants.len() == 2 && stack.waiters().await >= 4).then_some(claimants)
    })
    .await;
    assert!(both.contains(&high.pid()) && both.contains(&low.pid()));
    let (mut doomed, _other) = (high, low);
    doomed.kill();
    let death = Instant::now();
    // Postgres has not noticed: it carries out the dead worker's inserts too.
    held.release().await;

    is_taken_over(&stack, "reaped", death).await;
    let rows = stack.flushed(ROOM, 100).await;
    let texts: Vec<_> = rows.into_iter().map(|row| row.body).collect();
    assert_eq!(texts, lines(100));
    stack.idle().await;
    let settled = stack.total("completed:default").await - before;
    assert_eq!(settled, 1 + 10 + 1, "each job is settled once");
}

#[tokio::test]
async fn what_a_worker_had_done_and_not_settled_is_done_again_without_a_double() {
    let redis = RedisServer::start(&[]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let (server, mut doomed) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post_all(ROOM, &lines(30)).await;
    stack.idle().await;
    let before = stack.total("completed:default").await;

    // The insert waits; Redis stops taking writes; the insert is done, and cannot be settled.
    let held = stack.hold_archive("SHARE").await;
    ada.leave(ROOM).await;
    stack.has_waiters(1).await;
    let _: String = stack.redis(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    held.release().await;
    stack.archived(ROOM, 30).await;
    doomed.kill();
    let _: String = stack.redis(&["CLIENT", "UNPAUSE"]).await;
    assert_eq!(stack.claimants().await, [doomed.pid()], "it is not settled");
    let _other = stack.worker().await;

    stack.flushed(ROOM, 30).await;
    stack.idle().await;
    assert_eq!(stack.total("reaped").await, 1);
    assert_eq!(stack.total("completed:default").await - before, 3);
}
