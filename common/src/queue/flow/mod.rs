//! Flows: jobs that belong together, as one value: [`job`], [`Flow::then`], [`all`], [`Flow::or_else`].
//!
//! A flow is a table of steps from the beginning, so it nests without depth; `start` hands it to Redis,
//! where the end of each job starts what comes next, in the script that settles it (`lua/flow.lua`).
//! What a job of a flow sees of what came before it is in [`input`].

mod id;
pub mod input;
mod start;

pub use id::{FlowId, InFlow};
pub use start::{MAX_FLOW, MAX_STEPS};

use serde_json::value::RawValue;

use super::{Body, EnqueueError, OnDeath, Queue, Task, asked::body_for};

/// Jobs that belong together: what runs first, what then, what if it fails.
///
/// A flow ends well or fails. A job ends well when it is done, and fails when it is dead, cancelled, expired
/// or discarded.
///
/// ```
/// use common::queue::{EnqueueError, FlowId, Producer, Task, all, job};
///
/// async fn example<T: Task>(
///     producer: &Producer, fetch: [T; 2], check: T, merge: T, alarm: T,
/// ) -> Result<FlowId, EnqueueError> {
///     let [one, other] = fetch;
///     let flow = all([job(&one), job(&other).then(&check)]).then(&merge).or_else(&alarm);
///     producer.start(flow).await
/// }
/// ```
#[derive(Debug)]
#[must_use = "a flow does nothing until a producer starts it"]
pub struct Flow {
    steps: Vec<Step>,
    /// The step that it begins with.
    first: usize,
    /// The steps with which it can end well, and those with which it can fail.
    wells: Vec<usize>,
    fails: Vec<usize>,
    /// Why a job of it cannot be written.
    unwritten: Option<EnqueueError>,
}

/// A job, or parts that run side by side. Steps name each other by their place in the table.
#[derive(Debug)]
struct Step {
    work: Work,
    /// What its good end starts, and what its failure starts.
    well: Option<usize>,
    failed: Option<usize>,
    /// The `all` that it is in, and in which part of it.
    within: Option<(usize, usize)>,
}

#[derive(Debug)]
enum Work {
    Job {
        body: Box<Body<'static>>,
        queue: Queue,
    },
    All {
        parts: Vec<usize>,
        on_death: OnDeath,
    },
}

/// A flow of one job, on its task's queue.
pub fn job<T: Task>(task: &T) -> Flow {
    let (body, unwritten) = match body_for(task) {
        Ok(body) => (body, None),
        Err(error) => (
            Body::new(T::NAME, std::borrow::Cow::Borrowed(RawValue::NULL)),
            Some(error),
        ),
    };
    let mut flow = Flow::of(Work::Job {
        body: Box::new(body),
        queue: T::QUEUE,
    });
    flow.unwritten = unwritten;
    flow
}

/// Parts that run side by side. It has ended when all of them have, and fails if one of them failed. What
/// then comes reads what they gave back with [`inputs`](super::JobContext::inputs).
pub fn all(parts: impl IntoIterator<Item = impl Into<Flow>>) -> Flow {
    side_by_side(OnDeath::Fail, parts)
}

/// As [`all`], but it ends well even if parts of it failed ([`OnDeath::Continue`]): what then comes sees
/// their [`failures`](super::JobContext::failures).
pub fn all_settled(parts: impl IntoIterator<Item = impl Into<Flow>>) -> Flow {
    side_by_side(OnDeath::Continue, parts)
}

fn side_by_side(on_death: OnDeath, parts: impl IntoIterator<Item = impl Into<Flow>>) -> Flow {
    let mut flow = Flow::of(Work::All {
        parts: Vec::new(),
        on_death,
    });
    let mut firsts = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let from = flow.steps.len();
        firsts.push(flow.append(part.into()).first);
        for step in &mut flow.steps[from..] {
            step.within.get_or_insert((0, index));
        }
    }
    if let Work::All { parts, .. } = &mut flow.steps[0].work {
        *parts = firsts;
    }
    flow
}

impl Flow {
    fn of(work: Work) -> Self {
        let step = Step {
            work,
            well: None,
            failed: None,
            within: None,
        };
        Self {
            steps: vec![step],
            first: 0,
            wells: vec![0],
            fails: vec![0],
            unwritten: None,
        }
    }

    /// Then `next`, if this ends well. If it fails, so does the whole, and `next` is not started: the dead
    /// job is where the flow stands, and goes on if it is retried. What comes next reads what this gave
    /// back with [`input`](super::JobContext::input).
    pub fn then(mut self, next: impl Into<Self>) -> Self {
        let next = self.append(next.into());
        for step in std::mem::take(&mut self.wells) {
            self.steps[step].well = Some(next.first);
        }
        self.wells = next.wells;
        self.fails.extend(next.fails);
        self
    }

    /// If this fails, `handler` instead, once: it reads why with [`failure`](super::JobContext::failure), and
    /// its end is the end of the whole. So a failure reaches the nearest `or_else` around it, and those
    /// further out hear of it only if the handler fails as well.
    pub fn or_else(mut self, handler: impl Into<Self>) -> Self {
        let handler = self.append(handler.into());
        for step in std::mem::take(&mut self.fails) {
            self.steps[step].failed = Some(handler.first);
        }
        self.fails = handler.fails;
        self.wells.extend(handler.wells);
        self
    }

    /// Its jobs go to this queue, not to their tasks' own.
    pub fn on(mut self, to: Queue) -> Self {
        for step in &mut self.steps {
            if let Work::Job { queue, .. } = &mut step.work {
                *queue = to;
            }
        }
        self
    }

    /// Each of its jobs has so many attempts at most, not its task's own number.
    pub fn max_attempts(mut self, most: u32) -> Self {
        for step in &mut self.steps {
            if let Work::Job { body, .. } = &mut step.work {
                body.max_attempts = Some(most);
            }
        }
        self
    }

    /// Takes another flow's steps in. Returns what it began and ended with, by their new places.
    fn append(&mut self, other: Self) -> Ends {
        let by = self.steps.len();
        let moved = |step: Option<usize>| step.map(|step| step + by);
        self.steps.extend(other.steps.into_iter().map(|mut step| {
            if let Work::All { parts, .. } = &mut step.work {
                for part in parts {
                    *part += by;
                }
            }
            Step {
                well: moved(step.well),
                failed: moved(step.failed),
                within: step.within.map(|(all, part)| (all + by, part)),
                ..step
            }
        }));
        self.unwritten = self.unwritten.take().or(other.unwritten);
        let all_moved = |steps: Vec<usize>| steps.into_iter().map(|step| step + by).collect();
        Ends {
            first: other.first + by,
            wells: all_moved(other.wells),
            fails: all_moved(other.fails),
        }
    }

    /// Whether a later step may want what this one gives back.
    fn is_wanted(&self, mut at: usize) -> bool {
        loop {
            let step = &self.steps[at];
            if step.well.is_some() {
                return true;
            }
            let Some((all, _)) = step.within else {
                return false;
            };
            // Who handles the failure of an `all` may look at what went well.
            if self.steps[all].failed.is_some() {
                return true;
            }
            at = all;
        }
    }
}

/// What a flow began and ended with.
struct Ends {
    first: usize,
    wells: Vec<usize>,
    fails: Vec<usize>,
}

impl<T: Task> From<&T> for Flow {
    fn from(task: &T) -> Self {
        job(task)
    }
}
