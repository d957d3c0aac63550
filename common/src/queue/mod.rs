//! The queue: jobs on Redis lists, run by any number of workers, none of them lost.
//!
//! ```text
//!              enqueue
//!        ┌──────────────▶ laned (in the line of its lane)
//!        │                 │ let go: the lane has a slot for it
//!        │     enqueue     ▼          claim                 done
//!   (nothing) ─────────▶ waiting ───────────────────▶ claimed ────────▶ (gone)
//!        │                ▲ ▲ ▲ ▲   BRPOP, RPOP        │ │ │
//!        │ enqueue        │ │ │ └────── given back, ────┘ │ │ unknown task
//!        │ later     due  │ │ │         worker died       │ │ or version
//!        └──▶ scheduled ──┘ │ └─────────── parked ◀───────┼─┘
//!                 ▲         │  a worker comes that knows  │ failed
//!                 │         │ retry by hand               │
//!                 └─────────┼─────────────────────────────┼──▶ scheduled (another attempt)
//!                         dead ◀── attempts used up, fatal, poison
//!
//!   (outsiders) ──▶ inbox ──▶ waiting; dead, if it cannot be a job
//! ```
//!
//! A job that has a lane becomes *laned* wherever the picture says waiting, but for what is given back.
//! Two ends are left out. [`cancel`] ends a job from wherever it is: at once if nobody runs it, otherwise as
//! soon as its worker has heard. A job that is not started in time (`Options::expires_in`) ends when it is
//! claimed. In the same step as a job ends, [`results`] keeps and pushes how, if anybody wants to know.
//!
//! A job's body lies in a hash from enqueue until it is settled; the lists hold ids. Popping an id is
//! not yet a claim: a worker that dies between the two leaves a job that still waits, and the sweep
//! lists it again. The claim is one script and the only gate, so an id that stands twice in a list is
//! harmless.
//!
//! In the order of a job's journey: [`task`] (what can run), `job` and `asked` (the request), [`enqueue`],
//! `enqueue_all` (in bulk, with a `clock`),
//! `consume` (pop), `turn` (claim), `run`, [`context`] and [`fan_out`] (at the `pace` of its children), [`blocking`]
//! (threads that may block), `settle`. [`flow`] composes jobs before they are enqueued;
//! [`outbox`] enqueues what a Postgres transaction asked for. Beside it: `heartbeat`,
//! `watch` (who holds a thread), [`care`] (delays, inboxes, dead workers, lost pops) with [`parking`] and
//! [`periodic`], `bell` (what calls care and heartbeat at once), `limits` and `share` (what a worker takes
//! next), [`inspect`], [`operate`], [`cancel`], [`dead`], [`pause`] and [`audit`] (for people), `stop` and
//! `progress` (for tasks that take long). What holds jobs up on purpose: [`lane`], [`unique`]. Around
//! each run: [`middleware`], [`trace`], `report`. For operators: [`tail`], [`actions`], `samples`; for tests, `stepper` runs one job at a time. The scripts
//! are in `lua/`; `numbers`, `head`, `lib`, `lanes` and `claims` are what they share.

pub mod actions;
mod asked;
pub mod audit;
mod bell;
pub mod blocking;
mod buckets;
pub mod bulks;
pub mod cancel;
pub mod care;
mod chunk;
mod clock;
mod consume;
pub mod context;
pub mod dead;
pub mod enqueue;
mod enqueue_all;
mod enqueue_one;
pub mod fan_out;
#[cfg(test)]
mod fan_out_test;
pub mod flow;
mod heartbeat;
pub mod inspect;
mod job;
pub mod lane;
mod limits;
#[cfg(test)]
mod limits_test;
pub mod middleware;
#[cfg(test)]
mod model_test;
pub mod operate;
pub mod outbox;
mod pace;
pub mod parking;
pub mod pause;
pub mod periodic;
mod progress;
#[cfg(test)]
mod protocol_test;
mod registry;
mod report;
pub mod results;
mod run;
pub mod samples;
mod settle;
mod share;
pub mod span;
mod stepper;
mod stop;
pub mod tail;
pub mod task;
pub mod trace;
mod turn;
#[cfg(test)]
mod turn_test;
pub mod unique;
mod watch;
mod worker;

pub use blocking::{BlockingJob, BlockingTask};
pub use context::JobContext;
pub use enqueue::{EnqueueError, Options, Producer, When};
pub use fan_out::{FanOutError, OnDeath, Split};
pub use flow::{
    Flow, FlowId, all, all_settled,
    input::{Failure, InputError},
    job,
};
pub use job::{Body, JobId, Queue};
pub use lane::Lane;
pub use limits::Limits;
pub use middleware::{Middleware, Next};
pub use periodic::{Missed, Overlap, Periodic};
pub use progress::ProgressError;
pub use registry::Registry;
pub use results::{CallError, JobHandle, Outcome};
pub use share::{PerQueue, ShareError};
pub(crate) use stepper::HandWorker;
pub use stepper::{Ended, Ran};
pub use stop::Stop;
pub use task::{Task, TaskError};
pub use trace::TraceParent;
pub use unique::{Enqueued, Unique};
pub use worker::{Worker, WorkerError, WorkerOptions};

/// The text of scripts' parts, one after the other.
macro_rules! lua {
    ($($part:literal),+) => { concat!($(include_str!(concat!("lua/", $part, ".lua"))),+) };
}

/// What every script begins with.
const NUMBERS: &str = lua!("numbers");
/// What a script needs that only makes jobs without lanes.
const HEAD: &str = lua!("numbers", "head");
/// The part of a script that makes a job in the same step as what the job is for: it has `push_new` and
/// `refuse_draining`.
pub(crate) fn makes_jobs() -> &'static str {
    HEAD
}

/// What a turn needs nearly always (`turn.lua`), and others as well.
const OFTEN: &str = lua!("numbers", "head", "often");
/// What a turn begins with.
const TURN_HEAD: &str = lua!("numbers", "turn_alone", "head", "often");
/// What a turn needs seldom.
const SELDOM: &str = lua!("lib", "lanes", "claims", "flow", "cancels", "turn_seldom");
/// What pushes jobs that may have lanes, below [`OFTEN`].
const LANED: &str = lua!("lib", "lanes");
/// What the scripts share.
const LIB: &str = lua!("numbers", "head", "often", "lib", "lanes", "claims");
/// What the scripts share that end jobs: what hears of an end may be a flow.
const ENDS: &str = lua!("numbers", "head", "often", "lib", "lanes", "claims", "flow");
/// What the scripts share that take jobs out of where they wait.
const WITHDRAW: &str = include_str!("lua/withdraw.lua");
/// What the scripts share that end claims.
const CANCELS: &str = include_str!("lua/cancels.lua");
