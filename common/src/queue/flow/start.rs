//! Start: a flow's table of steps goes to Redis in one script, which pushes the jobs that it begins with.

use std::sync::LazyLock;

use serde::Serialize;

use super::{Flow, FlowId, Step, Work};
use crate::{
    error::Chain,
    kv::{KvError, Script},
    queue::{ENDS, EnqueueError, OnDeath, Producer, Queue, asked::write, enqueue::MAX_BODY},
};

static START: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "start a flow",
        &[ENDS, include_str!("../lua/start_flow.lua")],
    )
});

/// A flow of more steps is refused. Each job is a step, and each `all`.
pub const MAX_STEPS: usize = 1000;
/// A flow of more bytes is refused.
pub const MAX_FLOW: usize = 1 << 20;

/// A step as the scripts read it. They count from 1.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Queue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    output: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fail: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    well: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<usize>,
}

impl Producer {
    /// Starts a flow: pushes the jobs that it begins with, and keeps the rest. When this returns, nothing
    /// of it can be lost: the end of each job starts what comes next in the same step that settles it.
    ///
    /// # Errors
    /// If a job cannot be written, the flow is too large, or Redis does not take it.
    pub async fn start(&self, flow: impl Into<Flow>) -> Result<FlowId, EnqueueError> {
        let flow = flow.into();
        let first = flow.first + 1;
        let words = flow.write()?;
        let mut call = START.on(self.keys.prefix());
        call.arg(first);
        for (step, body) in &words {
            call.arg(step).arg(body);
        }
        let started = call.run(&self.redis).await;
        started.map_err(|source| {
            if source.is_out_of_memory() {
                EnqueueError::Full(source)
            } else if let Some(queue) = draining_queue(&source) {
                EnqueueError::Draining { queue }
            } else {
                EnqueueError::Start(source)
            }
        })
    }
}

/// The queue that the error DRAINING names.
fn draining_queue(error: &KvError) -> Option<Queue> {
    if !error.has_code("DRAINING") {
        return None;
    }
    let text = Chain(error).to_string();
    let named = |queue: &Queue| text.contains(&format!("queue {queue} "));
    Queue::ALL.into_iter().find(named)
}

impl Flow {
    /// For each step, itself and its job's body, or nothing if it is none.
    fn write(mut self) -> Result<Vec<(String, String)>, EnqueueError> {
        if let Some(error) = self.unwritten.take() {
            return Err(error);
        }
        let too_large = |bytes| EnqueueError::FlowTooLarge {
            steps: self.steps.len(),
            bytes,
        };
        if self.steps.len() > MAX_STEPS {
            return Err(too_large(0));
        }
        let mut bytes = 0;
        let mut words = Vec::with_capacity(self.steps.len());
        for (at, step) in self.steps.iter().enumerate() {
            let body = body_of(step)?;
            let step = self.written(at);
            let step = serde_json::to_string(&step).map_err(|source| EnqueueError::Write {
                task: "flow".to_owned(),
                source,
            })?;
            bytes += step.len() + body.len();
            words.push((step, body));
        }
        if bytes > MAX_FLOW {
            return Err(too_large(bytes));
        }
        Ok(words)
    }

    fn written(&self, at: usize) -> Written<'_> {
        let step = &self.steps[at];
        let from_1 = |step: Option<usize>| step.map(|step| step + 1);
        let (all, part) = step.within.unzip();
        let mut written = Written {
            task: None,
            queue: None,
            output: false,
            parts: None,
            fail: false,
            well: from_1(step.well),
            failed: from_1(step.failed),
            within: from_1(all),
            part: from_1(part),
        };
        match &step.work {
            Work::Job { body, queue } => {
                written.task = Some(body.task.as_ref());
                written.queue = Some(*queue);
                written.output = self.is_wanted(at);
            }
            Work::All { parts, on_death } => {
                written.parts = Some(parts.iter().map(|first| first + 1).collect());
                written.fail = *on_death == OnDeath::Fail;
            }
        }
        written
    }
}

fn body_of(step: &Step) -> Result<String, EnqueueError> {
    match &step.work {
        Work::All { .. } => Ok(String::new()),
        Work::Job { body, .. } => write(body, MAX_BODY),
    }
}
