//! SIGTERM: clients are sent elsewhere, work is finished or given back, the exit code is 0.

use std::time::{Duration, Instant};

use common::testing::eventually;
use nix::sys::signal::Signal;

use crate::harness::{Stack, stack::seen};

const ROOM: &str = "stage";

#[tokio::test]
async fn a_server_that_is_told_to_stop_sends_its_clients_to_another_and_nothing_is_lost() {
    const DRAIN: Duration = Duration::from_secs(20);
    let stack = Stack::start().await.with("DRAIN_SECONDS", "20");
    let ((mut first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;
    ada.join(ROOM).await;
    ada.join("alone").await;
    bob.join(ROOM).await;
    ada.post(ROOM, "before").await;
    ada.post("alone", "to myself").await;

    let start = Instant::now();
    first.terminate();
    let goaway = ada.next("goaway", |frame| frame["type"] == "goaway").await;
    let range = goaway["payload"]["reconnectInMs"]
        .as_array()
        .expect("a range");
    assert!(range[0].as_u64() < range[1].as_u64());
    // Until she goes, all works.
    ada.post(ROOM, "still here").await;
    bob.post(ROOM, "come over").await;
    assert_eq!(second.health().await["state"], "ready");
    let mut ada = ada.move_to(second.port).await;

    assert_eq!(first.process.exit_code().await, Some(0));
    assert!(start.elapsed() < DRAIN, "it waited though all had gone");
    bob.post(ROOM, "after").await;
    for person in [&mut ada, &mut bob] {
        person.hears(ROOM, "after").await;
        assert_eq!(
            person.texts(ROOM),
            ["before", "still here", "come over", "after"]
        );
        person.counts_members(ROOM, 2).await;
    }
    assert_eq!(seen(&ada, ROOM), seen(&bob, ROOM));
    // The rooms that it served were flushed, though somebody is in them.
    stack.archived("alone", 1).await;
    eventually("what it served is archived", async || {
        let rows = stack.rows(ROOM).await?;
        (rows.len() >= 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn clients_that_do_not_go_are_cut_off_when_the_time_is_up() {
    let stack = Stack::start().await.with("DRAIN_SECONDS", "1");
    let (mut server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post(ROOM, "I stay").await;

    server.terminate();
    let reason = ada.closed().await.expect("a reason");

    assert_eq!(u16::from(reason.code), 1001);
    assert_eq!(server.process.exit_code().await, Some(0));
    stack.flushed(ROOM, 1).await;
    let servers = stack.queue.keys.servers();
    let left: u64 = stack.redis(&["ZCARD", &servers]).await;
    assert_eq!(left, 0, "its lease has ended");
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_finishes_what_it_does() {
    let stack = Stack::start().await;
    let (server, mut worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post(ROOM, "one").await;
    let held = stack.hold_archive("SHARE").await;
    ada.leave(ROOM).await;
    stack.has_waiters(1).await;

    worker.signal(Signal::SIGTERM);
    worker.writes("stopping").await;
    held.release().await;

    assert_eq!(worker.exit_code().await, Some(0));
    stack.archived(ROOM, 1).await;
    assert_eq!(stack.claimants().await, [0_u32; 0]);
    let workers: u64 = stack.redis(&["ZCARD", &stack.queue.keys.workers()]).await;
    assert_eq!(workers, 0, "it has signed off");
    let _other = stack.worker().await;
    stack.flushed(ROOM, 1).await;
}

#[tokio::test]
async fn a_worker_that_cannot_finish_in_time_gives_its_job_back_at_once() {
    let stack = Stack::start().await.with("SHUTDOWN_SECONDS", "1");
    let (server, mut worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post(ROOM, "one").await;
    let held = stack.hold_archive("SHARE").await;
    ada.leave(ROOM).await;
    stack.has_waiters(1).await;

    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.exit_code().await, Some(0));
    assert_eq!(stack.claimants().await, [0_u32; 0]);
    held.release().await;

    let _other = stack.worker().await;
    stack.flushed(ROOM, 1).await;
    stack.idle().await;
    assert_eq!(stack.total("reaped").await, 0, "nobody had to miss it");
}
