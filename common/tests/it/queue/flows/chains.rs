//! One after the other.

use common::queue::{JobContext, Queue, Task, TaskError, all, job};
use serde::{Deserialize, Serialize};

use super::{Look, Play, Plot, Stage, plotted, tell};

#[tokio::test]
async fn a_chain_runs_in_its_order_and_each_job_reads_what_the_one_before_gave_back() {
    let play = Play::new();

    let told = play
        .plays(job(&tell("a")).then(&tell("b")).then(&tell("c")))
        .await;

    assert_eq!(told, ["a", "b(a)", "c(b(a))"]);
    assert_eq!(play.queue.stat("enqueued:default").await, 3);
}

#[tokio::test]
async fn a_task_alone_is_a_flow_too() {
    let play = Play::new();
    assert_eq!(play.plays(&tell("a")).await, ["a"]);
}

#[tokio::test]
async fn a_chain_of_chains_is_a_chain() {
    let play = Play::new();
    let (front, back) = (
        job(&tell("a")).then(&tell("b")),
        job(&tell("c")).then(&tell("d")),
    );

    let told = play.plays(front.then(back)).await;

    assert_eq!(told.last().unwrap(), "d(c(b(a)))");
}

#[tokio::test]
async fn a_chain_goes_on_when_an_element_has_done_its_work_in_a_later_attempt() {
    let play = Play::new();
    let frail = plotted("b", Plot::Fails(2));

    let told = play
        .plays(job(&tell("a")).then(&frail).then(&tell("c")))
        .await;

    assert_eq!(told, ["a", "b(a)", "c(b(a))"]);
    assert_eq!(play.stage.starts_of("b"), 3);
    assert_eq!(play.queue.stat("enqueued:default").await, 3);
}

#[tokio::test]
async fn each_job_goes_to_its_tasks_queue_or_to_the_one_that_was_chosen() {
    let play = Play::new();
    let chosen = all([job(&tell("b")), job(&tell("c"))]).on(Queue::Low);

    play.start(
        job(&tell("a"))
            .on(Queue::High)
            .then(chosen)
            .then(&tell("d")),
    )
    .await;
    assert_eq!(play.queue.listed(Queue::High).await, 1);
    let worker = play.worker();
    play.queue.ends_clean().await;
    worker.stop().await;

    for (queue, jobs) in [("high", 1), ("low", 2), ("default", 1)] {
        assert_eq!(play.queue.stat(&format!("completed:{queue}")).await, jobs);
    }
    assert_eq!(play.stage.ended().last().unwrap(), "d(b(a), c(a))");
}

#[tokio::test]
async fn attempts_can_be_chosen_for_a_part_of_a_flow() {
    let play = Play::new();
    let frail = plotted("a", Plot::Fails(2));

    let flow = job(&frail)
        .max_attempts(2)
        .or_else(job(&frail).max_attempts(3));
    let worker = play.worker();
    play.start(flow).await;
    play.stage.has_ended("a(!a flaw)").await;
    play.ends_clean_after_discards(1).await;

    worker.stop().await;
    assert_eq!(play.stage.starts_of("a"), 2 + 3);
}

/// Counts.
#[derive(Debug, Serialize, Deserialize)]
struct Count {
    to: u64,
}

impl Task for Count {
    const NAME: &'static str = "test.count";
    type Context = ();
    type Output = Vec<u64>;

    async fn run(self, (): &(), _job: &JobContext) -> Result<Vec<u64>, TaskError> {
        Ok((u64::MAX - self.to..u64::MAX).collect())
    }
}

/// Adds up, and notes the sum.
#[derive(Debug, Serialize, Deserialize)]
struct AddUp;

impl Task for AddUp {
    const NAME: &'static str = "test.add_up";
    type Context = Stage;
    type Output = ();

    async fn run(self, stage: &Stage, job: &JobContext) -> Result<(), TaskError> {
        let numbers: Vec<u64> = job.input().await?;
        let sum: u128 = numbers.iter().map(|number| u128::from(*number)).sum();
        stage.note_end(&sum.to_string());
        assert!(job.input::<String>().await.is_err(), "it is a list");
        assert!(job.failure().await?.is_none());
        Ok(())
    }
}

#[tokio::test]
async fn input_has_the_type_of_the_output_and_no_number_is_rounded() {
    let play = Play::new();
    let registry = play
        .registry()
        .with::<Count>(&std::sync::Arc::new(()))
        .with::<AddUp>(&play.stage);
    let worker = play
        .queue
        .worker(registry, super::TestQueue::options("default=2"));

    play.start(job(&Count { to: 3 }).then(&AddUp)).await;
    play.queue.ends_clean().await;
    worker.stop().await;

    let sum: u128 = (1..=3).map(|n| u128::from(u64::MAX - n)).sum();
    assert_eq!(play.stage.ended(), [sum.to_string()]);
}

#[tokio::test]
async fn what_is_read_is_kept_until_its_reader_is_done_and_no_longer() {
    let play = Play::new();
    let waits = plotted("c", Plot::Waits);
    let worker = play.worker();

    let flow = play
        .start(job(&tell("a")).then(&tell("b")).then(&waits))
        .await;
    play.stage.has_started("c").await;
    let key = play.queue.keys.flow(flow);
    let outputs = async |step: u32| -> usize {
        play.queue
            .command(&["HEXISTS", &key, &format!("output:{step}")])
            .await
    };
    assert_eq!((outputs(1).await, outputs(2).await), (0, 1));
    play.stage.open();

    play.queue.ends_clean().await;
    worker.stop().await;
}
