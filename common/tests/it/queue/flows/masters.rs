//! Masters in flows: what follows a master's group takes the master's place.

use common::queue::{all, job};

use super::{
    super::{act, brief, fan},
    Look, Play, Plot, plotted, tell,
};

#[tokio::test]
async fn a_flow_goes_on_after_what_follows_a_masters_group() {
    let play = Play::new();
    let flow = all([job(&fan(brief(0..20))), job(&tell("a"))]).then(&tell("end"));

    let told = play.plays(flow.or_else(&tell("never"))).await;

    assert_eq!(told.len(), 20 + 3);
    assert_eq!(told.last().unwrap(), "end(null, a)");
    let sum = told.iter().position(|told| told == "sum[]").unwrap();
    assert!(sum > told.iter().position(|told| told == "19").unwrap());
}

#[tokio::test]
async fn a_masters_group_that_failed_fails_its_place_in_the_flow_until_it_is_mended() {
    let play = Play::new();
    let mut master = fan(vec![act("bad", Plot::Fatal)]);
    master.fail = true;
    let worker = play.worker();
    play.start(job(&master).or_else(&plotted("alarm", Plot::Waits)))
        .await;

    play.stage.has_started("alarm").await;
    play.stage.open();
    play.ends_clean_after_discards(2).await;
    worker.stop().await;
    let told = play.stage.ended();
    assert!(
        told[0].starts_with("alarm(!1 children of group default-1 are dead"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_master_that_vanished_after_its_split_is_waited_for_once() {
    let play = Play::new();
    let first = play.worker();
    let flow = job(&fan(vec![act("0", Plot::Waits), act("1", Plot::Waits)]));
    play.start(flow.then(&tell("end"))).await;
    play.stage.has_started("0").await;
    play.stage.has_started("1").await;

    first.vanish().await;
    let second = play.worker();
    play.stage.has_started_times("0", 2).await;
    play.stage.open();
    play.queue.ends_clean().await;
    second.stop().await;

    assert_eq!(play.stage.starts_of("end"), 1);
    assert_eq!(play.queue.stat("enqueued:default").await, 5);
}
