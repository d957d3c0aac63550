//! Middleware: what is around each attempt.

use std::sync::{Arc, Mutex};

use common::{
    queue::{Ended, JobContext, Middleware, Next, Registry, Task, TaskError},
    testing::TestQueue,
};
use serde::{Deserialize, Serialize};

use super::{Hasty, Look, Plot, Stage, act};

type Notes = Arc<Mutex<Vec<String>>>;

/// Notes what it sees.
struct Notary {
    name: &'static str,
    notes: Notes,
}

impl Middleware for Notary {
    async fn around(&self, job: &JobContext, next: Next<'_>) -> Result<(), TaskError> {
        let (name, task) = (self.name, next.task());
        let note = |text: String| self.notes.lock().unwrap().push(format!("{name}: {text}"));
        note(format!("{task} {} {}", job.id(), job.attempt()));
        let outcome = next.run().await;
        note(match &outcome {
            Ok(()) => "well".to_owned(),
            Err(error) => error.to_string(),
        });
        outcome
    }
}

/// Refuses some arguments: for now, or for good.
struct Censor;

impl Middleware for Censor {
    async fn around(&self, _job: &JobContext, next: Next<'_>) -> Result<(), TaskError> {
        if next.args().contains("rude") {
            return Err(TaskError::fatal("that is not said here"));
        }
        if next.args().contains("early") {
            return Err("not yet".into());
        }
        next.run().await
    }
}

/// Gives back twice what it is given.
#[derive(Debug, Serialize, Deserialize)]
struct Double(u32);

impl Task for Double {
    const NAME: &'static str = "test.double";
    type Context = ();
    type Output = u32;

    async fn run(self, (): &(), _job: &JobContext) -> Result<u32, TaskError> {
        Ok(2 * self.0)
    }
}

fn notary(name: &'static str, notes: &Notes) -> Notary {
    let notes = Arc::clone(notes);
    Notary { name, notes }
}

#[tokio::test]
async fn the_first_middleware_is_outermost_and_each_sees_every_attempt_and_its_end() {
    let (queue, stage, notes) = (TestQueue::start(), Stage::new(), Notes::default());
    let registry = stage.registry();
    let registry = registry.around(notary("outer", &notes));
    let registry = registry.around(notary("inner", &notes));
    let flawed = act("flawed", Plot::Fails(1));
    queue.producer().enqueue(&flawed).await.unwrap();

    queue.run_all(registry).await;

    let notes = notes.lock().unwrap().clone();
    let expected = [
        "outer: test.act default-1 1",
        "inner: test.act default-1 1",
        "inner: flaw 1",
        "outer: flaw 1",
        "outer: test.act default-1 2",
        "inner: test.act default-1 2",
        "inner: well",
        "outer: well",
    ];
    assert_eq!(notes, expected);
    queue.ends_clean().await;
}

#[tokio::test]
async fn a_panic_is_an_error_to_middleware() {
    let (queue, stage, notes) = (TestQueue::start(), Stage::new(), Notes::default());
    let registry = stage.registry().around(notary("only", &notes));
    let job = act("falls", Plot::Panics);
    let job = queue.producer().enqueue(&job).await.unwrap();

    let ran = queue.stepper(registry).step().await.unwrap();

    assert_eq!(ran.id, job);
    let error = "it panicked: the act fell through the floor";
    assert!(
        matches!(&ran.ended, Ended::Retried { error: told, .. } if told == error),
        "{ran:?}"
    );
    let notes = notes.lock().unwrap().clone();
    assert_eq!(notes[1], format!("only: {error}"));
}

#[tokio::test]
async fn a_refused_attempt_does_not_run_and_counts_as_failed() {
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let registry = stage.registry().around(Censor);
    let mut stepper = queue.stepper(registry);
    let rude = act("rude", Plot::Brief);
    let rude = queue.producer().enqueue(&rude).await.unwrap();
    let early = act("early", Plot::Brief);
    queue.producer().enqueue(&early).await.unwrap();

    let refused = stepper.step().await.unwrap().ended;
    let delayed = stepper.step().await.unwrap().ended;

    let error = "that is not said here".to_owned();
    assert_eq!(refused, Ended::Buried { error });
    assert_eq!(queue.dies(rude).await, "that is not said here");
    assert!(
        matches!(delayed, Ended::Retried { error, .. } if error == "not yet"),
        "{rude}"
    );
    assert_eq!(stage.started(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_task_gives_back_goes_past_middleware() {
    let (queue, notes) = (TestQueue::start(), Notes::default());
    let registry = Registry::new().with::<Double>(&Arc::new(()));
    let registry = registry.around(notary("only", &notes)).around(Censor);

    let given = queue.stepper(registry).call(&Double(21)).await.unwrap();

    assert_eq!(given, 42);
}

#[tokio::test]
async fn a_time_limit_holds_for_middleware_and_task_together() {
    let (queue, stage, notes) = (TestQueue::start(), Stage::new(), Notes::default());
    let registry = stage.registry().around(notary("only", &notes));
    queue.producer().enqueue(&Hasty).await.unwrap();

    let ran = queue.run_all(registry).await;

    let ended: Vec<_> = ran.into_iter().map(|ran| ran.ended).collect();
    assert!(
        matches!(&ended[..], [Ended::Retried { .. }, Ended::Buried { error }] if error.contains("30ms")),
        "{ended:?}"
    );
    let notes = notes.lock().unwrap().clone();
    assert_eq!(
        notes,
        [
            "only: test.hasty default-1 1",
            "only: test.hasty default-1 2"
        ]
    );
}
