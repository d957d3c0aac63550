//! Workers that vanish, dead jobs that are retried: a flow goes on where it was.

use std::time::Duration;

use common::{
    queue::{all, job},
    testing::{TestQueue, eventually},
};

use super::{Look, Play, Plot, fatal, plotted, tell};

#[tokio::test]
async fn a_chain_goes_on_when_a_worker_vanished_while_it_ran_an_element() {
    let play = Play::new();
    let flow = job(&tell("a"))
        .then(&plotted("b", Plot::Waits))
        .then(&tell("c"));
    let first = play.worker();
    play.start(flow).await;
    play.stage.has_started("b").await;

    first.vanish().await;
    let second = play.worker();
    play.stage.has_started_times("b", 2).await;
    play.stage.open();
    play.queue.ends_clean().await;
    second.stop().await;

    assert_eq!(play.stage.ended(), ["a", "b(a)", "c(b(a))"]);
    assert_eq!(play.queue.stat("enqueued:default").await, 3);
}

#[tokio::test]
async fn a_worker_that_vanishes_around_an_end_neither_doubles_nor_loses_what_comes_then() {
    let play = Play::new();
    // Two workers take the flow over from each other, each killed at some point of a settlement.
    let names: Vec<_> = (0..60).map(|n| tell(format!("{n}."))).collect();
    let mut chain = job(&names[0]);
    for name in &names[1..] {
        chain = chain.then(name);
    }
    play.start(chain).await;

    for round in 1..=4 {
        let worker = play.worker();
        play.stage.have_ended(round * 11).await;
        worker.vanish().await;
    }
    let last = play.worker();
    play.queue.ends_clean().await;
    last.stop().await;

    // Who was killed between its work and its settlement does the work again; but no job is made twice.
    assert_eq!(play.queue.stat("enqueued:default").await, 60);
    let mut told = play.stage.ended();
    told.dedup();
    assert_eq!(told.len(), 60);
    assert!(told.last().unwrap().starts_with("59.(58.(57.("));
}

#[tokio::test]
async fn a_handler_whose_worker_vanished_runs_again_and_was_enqueued_once() {
    let play = Play::new();
    let first = play.worker();
    play.start(job(&fatal("a")).or_else(&plotted("alarm", Plot::Waits)))
        .await;
    play.stage.has_started("alarm").await;

    first.vanish().await;
    let second = play.worker();
    play.stage.has_started_times("alarm", 2).await;
    play.stage.open();
    play.ends_clean_after_discards(1).await;
    second.stop().await;

    assert_eq!(play.stage.ended(), ["alarm(!a fell)"]);
    assert_eq!(play.queue.stat("enqueued:default").await, 2);
}

#[tokio::test]
async fn a_poison_job_reaches_the_handler() {
    let play = Play::new();
    play.start(job(&plotted("a", Plot::Waits)).or_else(&tell("alarm")))
        .await;
    for death in 1..=3 {
        let worker = play.worker();
        play.stage.has_started_times("a", death).await;
        worker.vanish().await;
    }
    let last = play.worker();

    play.ends_clean_after_discards(1).await;
    last.stop().await;
    let told = play.stage.ended();
    assert!(
        told[0].starts_with("alarm(!buried: its worker died"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_dead_element_that_is_retried_goes_on_with_the_chain() {
    let play = Play::new();
    let worker = play.worker();
    play.start(job(&tell("a")).then(&fatal("b")).then(&tell("c")))
        .await;

    let dead = play.dead().await;
    assert_eq!(play.queue.stat("enqueued:default").await, 2);
    play.mend(dead).await;
    play.queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(play.stage.ended(), ["a", "b(a)", "c(b(a))"]);
}

#[tokio::test]
async fn an_all_that_failed_unheard_goes_on_when_its_dead_are_retried() {
    let play = Play::new();
    let worker = play.worker();
    let broken = job(&fatal("a")).then(&tell("b"));
    let inner = all([broken, job(&fatal("c")), job(&tell("d"))]);
    play.start(all([inner, job(&tell("e"))]).then(&tell("sum")))
        .await;

    eventually("two are dead", async || {
        (play.queue.dead().await.len() == 2 && play.stage.ended().len() == 2).then_some(())
    })
    .await;
    for dead in play.queue.dead().await {
        play.mend(dead).await;
    }
    play.queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(
        play.stage.ended().last().unwrap(),
        r#"sum(["b(a)","c","d"], e)"#
    );
    assert_eq!(play.stage.ended().len(), 6);
}

#[tokio::test]
async fn a_failure_is_taken_back_as_soon_as_the_dead_job_has_done_its_work() {
    let play = Play::new();
    let worker = play.worker();
    let broken = job(&fatal("a")).then(&plotted("b", Plot::Waits));
    let flow = all([broken, job(&plotted("c", Plot::Waits))]);
    play.start(flow.then(&tell("sum")).or_else(&tell("never")))
        .await;
    play.stage.has_started("c").await;

    play.mend(play.dead().await).await;
    play.stage.has_started("b").await;
    play.stage.open();
    play.queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(play.stage.ended().last().unwrap(), "sum(b(a), c)");
}

#[tokio::test]
async fn what_was_handled_can_be_retried_and_runs_alone() {
    let play = Play::new();
    let worker = play.worker();
    let broken = job(&fatal("a")).then(&tell("b"));
    let flow = all([broken])
        .or_else(&tell("saver"))
        .then(&plotted("c", Plot::Waits));
    play.start(flow).await;
    play.stage.has_started("c").await;

    play.mend(play.dead().await).await;
    play.stage.has_ended("a").await;
    play.stage.open();
    play.queue.ends_clean().await;
    worker.stop().await;

    assert_eq!(
        play.stage.ended(),
        ["saver(!a fell)", "a", "c(saver(!a fell))"]
    );
}

#[tokio::test]
async fn a_dead_job_that_dies_again_is_handled_once() {
    let play = Play::new();
    let worker = play.worker();
    let flow = all([job(&fatal("a")), job(&tell("b"))]).or_else(&tell("alarm"));
    play.start(flow).await;
    play.stage.has_ended("alarm(!a fell, b)").await;

    let dead = play.dead().await;
    play.operator().retry(&[dead]).await.unwrap();
    play.stage.has_started_times("a", 2).await;
    play.ends_clean_after_discards(1).await;
    worker.stop().await;

    assert_eq!(play.stage.starts_of("alarm"), 1);
}

#[tokio::test]
async fn a_settlement_that_comes_too_late_starts_nothing() {
    let play = Play::new();
    let flow = job(&plotted("a", Plot::Waits)).then(&tell("b"));
    let slow = TestQueue::options("default=1");
    let mortal = common::queue::WorkerOptions {
        time_to_live: Duration::from_secs(1),
        ..slow
    };
    let first = play.queue.worker(play.registry(), mortal.clone());
    play.start(flow).await;
    play.stage.has_started("a").await;
    // As if its heartbeat had ended, while it runs on.
    let workers = play.queue.keys.workers();
    let id = first.id.to_string();
    let second = eventually("another runs it too", async || {
        let _: usize = play.queue.command(&["ZADD", &workers, "1", &id]).await;
        if play.stage.starts_of("a") < 2 {
            return None;
        }
        Some(())
    });
    let other = play.queue.worker(play.registry(), mortal);
    second.await;
    play.stage.open();

    play.queue.ends_clean().await;
    first.stop().await;
    other.stop().await;
    assert_eq!(play.queue.stat("enqueued:default").await, 2);
    assert_eq!(play.stage.starts_of("b"), 1);
}

#[tokio::test]
async fn a_record_that_was_deleted_by_hand_keeps_no_job_from_ending() {
    let play = Play::new();
    let flow = all([
        job(&plotted("a", Plot::Waits)),
        job(&plotted("b", Plot::Fails(9))),
    ]);
    let worker = play.worker();
    let id = play.start(flow.then(&tell("c")).or_else(&tell("d"))).await;
    play.stage.has_started("a").await;

    let _: usize = play
        .queue
        .command(&["DEL", &play.queue.keys.flow(id)])
        .await;
    play.stage.open();
    play.ends_clean_after_discards(1).await;
    worker.stop().await;
    assert_eq!(play.queue.stat("enqueued:default").await, 2);
}
