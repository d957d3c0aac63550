//! `queuectl` as a process, on a namespace of its own.

use std::{
    process::{Command, Stdio},
    sync::Arc,
};

use common::{
    queue::{JobContext, Registry, Task, TaskError},
    testing::{RunningWorker, TestQueue, eventually},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Serialize, Deserialize)]
struct DoomedA;

#[derive(Debug, Serialize, Deserialize)]
struct DoomedB;

impl Task for DoomedA {
    const NAME: &'static str = "demo.a";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Err(TaskError::fatal("there is no hope for `demo.a`"))
    }
}

impl Task for DoomedB {
    const NAME: &'static str = "demo.b";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Err(TaskError::fatal("there is no hope for `demo.b`"))
    }
}

/// A namespace of its own, and `queuectl` on it.
pub(crate) struct Desk {
    pub(crate) queue: TestQueue,
}

/// How a call ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().expect("a process");
    Ended {
        code: output.status.code().expect("an end of its own"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub(crate) fn queuectl(redis_url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queuectl"));
    command.args(args);
    command.env("REDIS_URL", redis_url);
    command
}

impl Desk {
    pub(crate) fn set() -> Self {
        Self {
            queue: TestQueue::start(),
        }
    }

    pub(crate) fn call(&self, args: &[&str]) -> Ended {
        let mut command = queuectl(&self.queue.url, args);
        run(command.env("RHUBARB_NAMESPACE", &self.queue.namespace))
    }

    /// What a call prints that ends well.
    pub(crate) fn ask(&self, args: &[&str]) -> String {
        let ended = self.call(args);
        assert_eq!(ended.code, 0, "{args:?}: {}", ended.err);
        ended.out
    }

    pub(crate) fn ask_json(&self, args: &[&str]) -> Value {
        let out = self.ask(&[args, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    }

    /// A worker that buries every job.
    pub(crate) fn undertaker(&self) -> RunningWorker {
        let options = TestQueue::options("high=16,default=8,low=2");
        let nothing = Arc::new(());
        let registry = Registry::new()
            .with::<DoomedA>(&nothing)
            .with::<DoomedB>(&nothing);
        self.queue.worker(registry, options)
    }

    /// Enqueues `n` jobs, and waits until they are dead.
    pub(crate) async fn bury(&self, task: &str, n: u64) {
        let before = self.ask_json(&["status"])["dead"]
            .as_u64()
            .expect("a number");
        self.ask(&["enqueue", task, "--count", &n.to_string()]);
        let worker = self.undertaker();
        eventually("all are dead", async || {
            let dead = self.ask_json(&["status"])["dead"].as_u64();
            (dead == Some(before + n)).then_some(())
        })
        .await;
        worker.stop().await;
    }
}
