//! The queue: jobs on Redis lists, run by any number of workers, none of them lost.
//!
//! ```text
//!              enqueue                    claim                 done
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
//! A job's body lies in one hash from enqueue until it is settled; the lists hold ids. Popping an id is
//! not yet a claim: a worker that dies between the two leaves a job that still waits, and the sweep
//! lists it again. The claim is one script and the only gate, so an id that stands twice in a list is
//! harmless.
//!
//! In the order of a job's journey: [`task`] (what can run), `job` (the request), [`enqueue`],
//! `consume` (pop), `turn` (claim), `run`, [`context`] (fan out), [`blocking`] (threads that may block),
//! `settle`. Beside it: `heartbeat`, `watch` (who holds a thread), [`care`] (delays, inboxes, dead workers,
//! lost pops) with [`parking`] and [`periodic`], `bell` (what calls care and heartbeat at once), `limits`
//! and `share` (what a worker takes next), [`inspect`], [`operate`], [`dead`], [`pause`] and [`audit`] (for
//! people). The scripts are in `lua/`, with what they share in `lua/lib.lua`.

pub mod audit;
mod bell;
pub mod blocking;
pub mod care;
mod consume;
pub mod context;
pub mod dead;
pub mod enqueue;
mod heartbeat;
pub mod inspect;
mod job;
mod limits;
#[cfg(test)]
mod limits_test;
#[cfg(test)]
mod model_test;
pub mod operate;
pub mod parking;
pub mod pause;
pub mod periodic;
mod registry;
mod run;
mod settle;
mod share;
pub mod task;
mod turn;
mod watch;
mod worker;

pub use blocking::{BlockingJob, BlockingTask};
pub use context::{FanOutError, JobContext, OnDeath, Split};
pub use enqueue::{EnqueueError, Options, Producer, When};
pub use job::{Body, JobId, Queue};
pub use limits::Limits;
pub use periodic::{Missed, Overlap, Periodic};
pub use registry::Registry;
pub use share::{PerQueue, ShareError};
pub use task::{Task, TaskError};
pub use worker::{Worker, WorkerError, WorkerOptions};

/// What the scripts share.
const LIB: &str = include_str!("lua/lib.lua");
