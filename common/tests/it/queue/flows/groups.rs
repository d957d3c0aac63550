//! Side by side, and what comes then.

use common::{
    queue::{Flow, JobContext, Task, TaskError, all, all_settled, job},
    testing::TestQueue,
};
use serde::{Deserialize, Serialize};

use super::{Look, Play, Plot, Stage, fatal, plotted, tell};

#[tokio::test]
async fn what_follows_runs_once_after_all_and_reads_their_outputs_in_the_order_of_the_flow() {
    let play = Play::new();
    // The first ends last.
    let parts = [plotted("0", Plot::Fails(1)), tell(1), tell(2)];

    let told = play.plays(all(&parts).then(&tell("sum"))).await;

    assert_eq!(told.last().unwrap(), "sum(0, 1, 2)");
    assert_eq!(told.len(), 4);
}

#[tokio::test]
async fn a_chain_in_an_all_counts_when_its_last_job_is_done() {
    let play = Play::new();
    let chain = |name: &str| {
        let [one, two, three] = [1, 2, 3].map(|n| tell(format!("{name}{n}")));
        job(&one).then(&two).then(&three)
    };

    let told = play
        .plays(all(["a", "b"].map(chain)).then(&tell("sum")))
        .await;

    assert_eq!(told.last().unwrap(), "sum(a3(a2(a1)), b3(b2(b1)))");
    assert_eq!(told.len(), 7);
}

#[tokio::test]
async fn an_all_in_an_all_counts_with_what_follows_it() {
    let play = Play::new();
    let inner = all(&[tell("a"), tell("b")]).then(&tell("ab"));
    let innermost = all([job(&tell("c")), all(&[tell("d"), tell("e")])]);

    let told = play
        .plays(all([inner, innermost, job(&tell("f"))]).then(&tell("sum")))
        .await;

    // An `all` with nothing of its own after it gives a list.
    assert_eq!(told.last().unwrap(), r#"sum(ab(a, b), ["c",["d","e"]], f)"#);
    assert_eq!(told.len(), 8);
}

#[tokio::test]
async fn each_part_of_an_all_reads_what_came_before_it() {
    let play = Play::new();
    let flow = job(&tell("a")).then(all([job(&tell("b")), all(&[tell("c"), tell("d")])]));

    let told = play
        .plays(flow.then(all(&[tell("e")])).then(&tell("f")))
        .await;

    assert_eq!(told.last().unwrap(), r#"f(e(b(a), ["c(a)","d(a)"]))"#);
}

#[tokio::test]
async fn an_empty_all_is_done_at_once() {
    let play = Play::new();
    let none = || all(Vec::<Flow>::new());

    play.start(none()).await;
    assert!(play.queue.is_drained().await);
    play.start(none().then(none()).or_else(&tell("never")))
        .await;
    assert_eq!(play.queue.key_names().await, ["stats"]);
    let nested = all([none(), none().then(none())])
        .then(&tell("a"))
        .then(none());
    let told = play.plays(nested.then(&tell("b"))).await;

    assert_eq!(told, ["a([], [])", "b()"]);
}

#[tokio::test]
async fn an_all_that_goes_on_whatever_happens_tells_what_follows_who_failed() {
    let play = Play::new();
    let worker = play.worker();
    let broken = job(&tell("b")).then(&fatal("c")).then(&tell("d"));
    let inner = all_settled([job(&tell("e")), job(&fatal("f"))]);

    let flow = all_settled([job(&tell("a")), broken, inner]);
    play.start(flow.then(&tell("sum")).or_else(&tell("never")))
        .await;
    play.stage.has_ended(r#"sum(a, !c fell, ["e",null])"#).await;

    play.ends_clean_after_discards(2).await;
    worker.stop().await;
    assert_eq!(play.stage.starts_of("d") + play.stage.starts_of("never"), 0);
}

#[tokio::test]
async fn what_is_dead_can_be_retried_after_an_all_went_on_and_changes_nothing() {
    let play = Play::new();
    let worker = play.worker();
    let broken = job(&fatal("a")).then(&tell("b"));

    play.start(all_settled([broken]).then(&plotted("sum", Plot::Waits)))
        .await;
    play.stage.has_started("sum").await;
    play.mend(play.dead().await).await;
    play.stage.has_ended("a").await;
    play.stage.open();

    play.queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(play.stage.ended(), ["a", "sum(!a fell)"]);
}

/// Gives nothing back, and reads what those before it gave back.
#[derive(Debug, Serialize, Deserialize)]
struct Silent;

impl Task for Silent {
    const NAME: &'static str = "test.silent";
    type Context = Stage;
    type Output = ();

    async fn run(self, stage: &Stage, job: &JobContext) -> Result<(), TaskError> {
        if let Ok(inputs) = job.inputs::<()>().await {
            let read = inputs.into_iter().collect::<Result<Vec<()>, _>>()?.len();
            stage.note_end(&format!("after {read}"));
            let outputs: Vec<()> = job.input().await?;
            assert_eq!(outputs.len(), read);
        }
        Ok(())
    }
}

#[tokio::test]
async fn nothing_is_kept_of_outputs_that_are_nothing() {
    let play = Play::new();
    let registry = play.stage.registry().with::<Silent>(&play.stage);
    let worker = play.queue.worker(
        registry.with::<super::Tell>(&play.stage),
        TestQueue::options("default=2"),
    );

    let flow = all(&[Silent, Silent]).then(&Silent);
    let id = play
        .start(all([flow, job(&plotted("a", Plot::Waits))]).then(&tell("b")))
        .await;
    play.stage.has_ended("after 2").await;
    play.stage.has_started("a").await;
    let fields: Vec<String> = play
        .queue
        .command(&["HKEYS", &play.queue.keys.flow(id)])
        .await;
    assert!(
        !fields.iter().any(|field| field.starts_with("output:")),
        "{fields:?}"
    );
    play.stage.open();

    play.queue.ends_clean().await;
    worker.stop().await;
    assert_eq!(play.stage.ended().last().unwrap(), "b(null, a)");
}

#[tokio::test]
async fn many_flows_at_once_do_not_mix() {
    let play = Play::new();
    let workers = [play.worker(), play.worker()];
    for n in 0..40 {
        let parts = (0..n % 5).map(|part| job(&tell(format!("{n}.{part}"))));
        play.start(all(parts).then(&tell(n))).await;
    }

    play.queue.ends_clean().await;
    for worker in workers {
        worker.stop().await;
    }
    for n in 0..40 {
        let parts: Vec<_> = (0..n % 5).map(|part| format!("{n}.{part}")).collect();
        let sum = format!("{n}({})", parts.join(", "));
        assert_eq!(
            play.stage
                .ended()
                .iter()
                .filter(|told| **told == sum)
                .count(),
            1
        );
    }
}
