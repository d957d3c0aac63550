//! Flows at their largest, and beyond.

use common::queue::{
    EnqueueError, Flow, all,
    flow::{MAX_FLOW, MAX_STEPS},
    job,
};

use super::{super::act, Play, Plot, tell};

#[tokio::test]
async fn the_largest_all_ends() {
    let play = Play::new();
    let parts: Vec<_> = (0..MAX_STEPS - 2)
        .map(|n| tell(format!("{n:03}")))
        .collect();

    let told = play.plays(all(&parts).then(&tell("sum"))).await;

    assert_eq!(told.len(), MAX_STEPS - 1);
    assert!(told.last().unwrap().starts_with("sum(000, 001, 002, "));
    assert!(told.last().unwrap().ends_with(", 996, 997)"));
}

#[tokio::test]
async fn the_longest_chain_and_the_deepest_nesting_end() {
    let play = Play::new();
    let act = |name| act(name, Plot::Brief);
    let mut nested = job(&act("a"));
    for _ in 0..MAX_STEPS - 2 {
        nested = all([nested]);
    }
    play.start(nested.then(&act("b"))).await;
    let none = || all(Vec::<Flow>::new());
    let mut empty = none();
    for _ in 0..MAX_STEPS - 2 {
        empty = empty.then(none());
    }
    play.start(empty.then(&act("c"))).await;
    let mut chain = job(&act("d"));
    for _ in 1..MAX_STEPS {
        chain = chain.then(&act("d"));
    }

    let told = play.plays(chain).await;

    assert_eq!(told.len(), 3 + MAX_STEPS);
    assert!(told.contains(&"b".to_owned()) && told.contains(&"c".to_owned()));
}

#[tokio::test]
async fn a_flow_that_is_too_large_is_refused_and_the_error_tells_what_to_do() {
    let play = Play::new();
    let producer = play.queue.producer();
    let mut chain = job(&tell("a"));
    for _ in 0..100_000 {
        chain = chain.then(&tell("b"));
    }
    let large = tell("x".repeat(MAX_FLOW / 2));

    let too_many = producer.start(chain).await.unwrap_err();
    let too_large = producer.start(job(&large).then(&large)).await.unwrap_err();

    for error in [too_many, too_large] {
        assert!(
            matches!(error, EnqueueError::FlowTooLarge { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("fan_out"), "{error}");
    }
    assert!(play.queue.key_names().await.is_empty());
}
