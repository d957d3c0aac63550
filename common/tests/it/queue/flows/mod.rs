//! Flows on a real Redis: what runs after what, what it reads, whom errors reach.

mod chains;
mod errors;
mod groups;
mod limits;
mod masters;
mod random;
mod trouble;

use std::{fmt::Display, sync::Arc, time::Duration};

use common::{
    queue::{
        Flow, FlowId, InputError, JobContext, JobId, Registry, Task, TaskError, operate::Operator,
    },
    testing::{RunningWorker, TestQueue, eventually},
};
use serde::{Deserialize, Serialize};

use super::{Look, Plot, Stage};

/// Gives its name back with what it came after in brackets: `c(b(a))` at the end of a chain, `d(a, b)` after
/// an `all`. A part that failed is `!` and its reason.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tell {
    name: String,
    plot: Plot,
}

/// Tells at once.
fn tell(name: impl Display) -> Tell {
    plotted(name, Plot::Brief)
}

/// Dies.
fn fatal(name: impl Display) -> Tell {
    plotted(name, Plot::Fatal)
}

fn plotted(name: impl Display, plot: Plot) -> Tell {
    let name = name.to_string();
    Tell { name, plot }
}

impl Task for Tell {
    const NAME: &'static str = "test.tell";
    const MAX_ATTEMPTS: u32 = 3;
    type Context = Stage;
    type Output = String;

    async fn run(self, stage: &Stage, job: &JobContext) -> Result<String, TaskError> {
        stage.note_start(&self.name);
        match self.plot {
            Plot::Waits => stage.opened().await,
            Plot::Fails(times) if job.attempt() <= times => return Err("a flaw".into()),
            Plot::Fatal => return Err(TaskError::fatal(format!("{} fell", self.name))),
            _ => {}
        }
        let before = match job.inputs::<serde_json::Value>().await {
            Err(InputError::First(_)) => String::new(),
            inputs => {
                let told: Vec<_> = inputs?.into_iter().map(told).collect();
                format!("({})", told.join(", "))
            }
        };
        let told = format!("{}{before}", self.name);
        stage.note_end(&told);
        Ok(told)
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::from_millis(20)
    }
}

fn told(part: Result<serde_json::Value, InputError>) -> String {
    match part {
        Ok(serde_json::Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(InputError::Failed(failure)) => format!("!{}", failure.reason),
        Err(other) => other.to_string(),
    }
}

/// A queue where flows are played.
struct Play {
    queue: TestQueue,
    stage: Arc<Stage>,
}

impl Play {
    fn new() -> Self {
        Self {
            queue: TestQueue::start(),
            stage: Stage::new(),
        }
    }

    fn registry(&self) -> Registry {
        self.stage.registry().with::<Tell>(&self.stage)
    }

    fn worker(&self) -> RunningWorker {
        let mut options = TestQueue::options("high=4,default=4,low=4");
        options.time_to_live = Duration::from_secs(1);
        self.queue.worker(self.registry(), options)
    }

    async fn start(&self, flow: impl Into<Flow>) -> FlowId {
        let flow = flow.into();
        self.queue
            .producer()
            .start(flow)
            .await
            .expect("a flow that starts")
    }

    /// Plays a flow to an end at which nothing is left of it. Returns what was told, in that order.
    async fn plays(&self, flow: impl Into<Flow>) -> Vec<String> {
        let worker = self.worker();
        self.start(flow).await;
        self.queue.ends_clean().await;
        worker.stop().await;
        self.stage.ended()
    }

    /// The one job that is dead, when there is one.
    async fn dead(&self) -> JobId {
        eventually("a job is dead", async || {
            self.queue.dead().await.first().copied()
        })
        .await
    }

    fn operator(&self) -> Operator {
        Operator::new(self.queue.redis.clone(), self.queue.keys.clone())
    }

    /// Waits until a job is dead, discards it, and the same with those that die then, until nothing is left.
    async fn ends_clean_after_discards(&self, deaths: usize) {
        for _ in 0..deaths {
            let dead = self.dead().await;
            assert_eq!(self.operator().discard(&[dead]).await.unwrap(), [dead]);
        }
        self.queue.ends_clean().await;
    }

    /// Retries a dead job that the operator has mended: it ends well now.
    async fn mend(&self, job: JobId) {
        let body = self.queue.body(job).await.unwrap();
        let body = body.replace(r#""Fatal""#, r#""Brief""#);
        self.queue.set_body(job, body.as_bytes()).await;
        assert_eq!(self.operator().retry(&[job]).await.unwrap(), [job]);
    }
}
