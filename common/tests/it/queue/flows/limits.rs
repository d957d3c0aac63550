//! Flows at their largest, and beyond.

use common::{
    queue::{
        EnqueueError, Flow, all,
        flow::{MAX_FLOW, MAX_STEPS},
        job,
    },
    testing::{RedisServer, TestQueue},
};

use super::{super::act, Look, Play, Plot, Stage, plotted, tell};

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

#[tokio::test]
async fn a_full_redis_refuses_new_flows_and_brings_those_it_has_to_their_ends() {
    let server = RedisServer::start(&["--appendfsync", "no", "--maxmemory", "8mb"]);
    let play = Play {
        queue: TestQueue::on(&server.url()),
        stage: Stage::new(),
    };
    let mut taken = 0;
    let refused = loop {
        let large = plotted("x".repeat(20_000), Plot::Fails(taken % 2));
        let flow = job(&tell("a")).then(all(&[large, tell("b")]));
        match play.queue.producer().start(flow.then(&tell("c"))).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, EnqueueError::Full(_)), "{refused:?}");
    assert!(taken > 10);

    let worker = play.worker();
    play.queue.ends_clean().await;
    worker.stop().await;

    let end = format!("c({}(a), b(a))", "x".repeat(20_000));
    let ended = play.stage.ended();
    let ends = ended.iter().filter(|told| **told == end).count();
    assert_eq!(ends, taken as usize);
}
