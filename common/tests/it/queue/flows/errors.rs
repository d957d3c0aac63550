//! Whom a failure reaches, and how often.

use common::queue::{Flow, all, all_settled, job};

use super::{Look, Play, Plot, fatal, plotted, tell};

/// Plays a flow in which so many jobs die; they are discarded. Returns what was told, in that order.
async fn told_with_deaths(flow: Flow, deaths: usize) -> Vec<String> {
    let play = Play::new();
    let worker = play.worker();
    play.start(flow).await;
    play.ends_clean_after_discards(deaths).await;
    worker.stop().await;
    play.stage.ended()
}

#[tokio::test]
async fn a_death_in_a_chain_reaches_its_handler_and_what_was_to_follow_is_not_run() {
    let flow = job(&tell("a"))
        .then(&fatal("b"))
        .then(&tell("c"))
        .or_else(&tell("alarm"));

    assert_eq!(told_with_deaths(flow, 1).await, ["a", "alarm(!b fell)"]);
}

#[tokio::test]
async fn a_handler_is_not_run_if_nothing_failed() {
    let play = Play::new();
    let flow = all([job(&tell("a")).or_else(&tell("alarm")), job(&tell("b"))]);

    let told = play
        .plays(flow.or_else(&tell("alarm")).then(&tell("c")))
        .await;

    assert_eq!(told.last().unwrap(), "c(a, b)");
    assert_eq!(play.stage.starts_of("alarm"), 0);
}

#[tokio::test]
async fn a_handler_takes_the_place_of_what_failed() {
    let saved = job(&fatal("a")).or_else(&tell("saver"));
    let flow = all([saved, job(&tell("b"))])
        .then(&tell("sum"))
        .or_else(&tell("alarm"));

    let told = told_with_deaths(flow, 1).await;

    assert_eq!(told.last().unwrap(), "sum(saver(!a fell), b)");
    assert_eq!(told.len(), 3);
}

#[tokio::test]
async fn an_error_reaches_the_nearest_handler_alone() {
    let inner = all([job(&fatal("a")), job(&tell("b"))])
        .then(&tell("c"))
        .or_else(&tell("near"));
    let middle = all([inner, job(&tell("d"))]).or_else(&tell("middle"));
    let flow = all([middle]).then(&tell("sum")).or_else(&tell("far"));

    let told = told_with_deaths(flow, 1).await;

    assert_eq!(told.last().unwrap(), r#"sum(["near(!a fell, b)","d"])"#);
    assert!(
        !told
            .iter()
            .any(|told| told.starts_with("middle") || told.starts_with("far"))
    );
}

#[tokio::test]
async fn a_handler_that_fails_as_well_passes_the_error_on_to_the_next() {
    let inner = job(&fatal("a")).or_else(&fatal("near"));
    let flow = all([inner, job(&tell("b"))])
        .then(&tell("c"))
        .or_else(&tell("far"));

    let told = told_with_deaths(flow, 2).await;

    assert_eq!(told.last().unwrap(), "far(!near fell, b)");
    assert_eq!(told.len(), 2);
}

#[tokio::test]
async fn an_all_that_failed_reaches_its_handler_once_after_its_last_part() {
    let slow = plotted("slow", Plot::Fails(2));
    let parts = [
        job(&fatal("a")),
        job(&fatal("b")),
        job(&slow).then(&tell("c")),
    ];

    let told = told_with_deaths(all(parts).then(&tell("never")).or_else(&tell("alarm")), 2).await;

    assert_eq!(
        told,
        ["slow", "c(slow)", "alarm(!a fell, !b fell, c(slow))"]
    );
}

#[tokio::test]
async fn a_failure_deep_inside_reaches_the_handler_of_the_whole_with_its_reason() {
    let inner = all([all([job(&tell("a")).then(&fatal("b"))]).then(&tell("c"))]);
    let flow = all([job(&tell("d")), inner])
        .then(&tell("e"))
        .or_else(&tell("alarm"));

    let told = told_with_deaths(flow, 1).await;

    assert_eq!(told.last().unwrap(), "alarm(d, !b fell)");
}

#[tokio::test]
async fn what_follows_an_all_is_covered_by_the_same_handler() {
    let flow = all([job(&tell("a"))])
        .then(&fatal("sum"))
        .or_else(&tell("alarm"));

    assert_eq!(told_with_deaths(flow, 1).await, ["a", "alarm(!sum fell)"]);
}

#[tokio::test]
async fn an_all_that_goes_on_shields_what_is_around_it_from_failures() {
    let inner = all_settled([job(&fatal("a")), job(&tell("b"))]).or_else(&tell("never"));
    let flow = all([inner.then(&tell("sum"))])
        .then(&tell("end"))
        .or_else(&tell("never"));

    let told = told_with_deaths(flow, 1).await;

    assert_eq!(told, ["b", "sum(!a fell, b)", "end(sum(!a fell, b))"]);
}

#[tokio::test]
async fn a_flow_goes_on_after_its_handler() {
    let flow = job(&fatal("a"))
        .then(&tell("b"))
        .or_else(&tell("saver"))
        .then(&tell("c"));

    assert_eq!(
        told_with_deaths(flow, 1).await,
        ["saver(!a fell)", "c(saver(!a fell))"]
    );
}

#[tokio::test]
async fn a_handler_may_be_a_flow_itself() {
    let handler = all([job(&tell("mail")), job(&tell("log"))]).then(&tell("close"));
    let flow = job(&fatal("a")).or_else(handler);

    let told = told_with_deaths(flow, 1).await;

    assert_eq!(told.last().unwrap(), "close(mail(!a fell), log(!a fell))");
}

#[tokio::test]
async fn a_discarded_job_counts_as_failed() {
    let play = Play::new();
    let id = play
        .start(all([job(&tell("a")), job(&tell("b"))]).or_else(&tell("alarm")))
        .await;
    let jobs: Vec<(common::queue::JobId, u32)> = play
        .queue
        .command(&["HGETALL", &play.queue.keys.flow_jobs(id)])
        .await;
    assert_eq!(jobs.len(), 2);

    let first = jobs.iter().map(|(job, _)| *job).min().unwrap();
    play.operator().discard(&[first]).await.unwrap();
    let worker = play.worker();
    play.queue.ends_clean().await;

    worker.stop().await;
    assert_eq!(play.stage.ended(), ["b", "alarm(!discarded, b)"]);
}

#[tokio::test]
async fn nothing_is_left_of_a_flow_whose_jobs_were_all_discarded() {
    let play = Play::new();
    let flow = all([job(&tell("a")).then(&tell("b")), job(&tell("c"))]).then(&tell("d"));
    let id = play.start(flow).await;
    let jobs: Vec<(common::queue::JobId, u32)> = play
        .queue
        .command(&["HGETALL", &play.queue.keys.flow_jobs(id)])
        .await;

    let ids: Vec<_> = jobs.into_iter().map(|(job, _)| job).collect();
    assert_eq!(play.operator().discard(&ids).await.unwrap().len(), 2);

    let worker = play.worker(); // its care drops what is still listed
    play.queue.ends_clean().await;
    worker.stop().await;
    assert!(play.stage.started().is_empty());
}
