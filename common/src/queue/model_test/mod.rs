//! The scripts against a model: whatever happens in whatever order, each job is in exactly one place,
//! the one that the model says; nothing is lost, nothing is claimed twice, and all drains at the end.
//!
//! Here: what may happen. [`model`]: what should come of it. [`bench`] and [`accidents`]: doing it.
//! [`check`]: comparing the two.

mod accidents;
mod bench;
mod check;
mod model;

use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use self::bench::Bench;
use super::{JobContext, Lane, Queue, Task, TaskError};

/// Cases, unless `PROPTEST_CASES` says more.
const CASES: u32 = 24;
/// A job that took so many workers down is buried.
const MAX_DEATHS: u32 = 3;
/// So long that nothing ends by itself.
const LONG: Duration = Duration::from_secs(3600);
const QUEUES: [Queue; 2] = [Queue::High, Queue::Low];
/// The lanes of jobs by their argument: children, too, are numbered from 0.
const LANES: [Option<(&str, u32)>; 3] = [None, Some(("narrow", 1)), Some(("wide", 3))];

#[derive(Debug, Serialize, Deserialize)]
struct Nop(u8);

impl Task for Nop {
    const NAME: &'static str = "test.nop";
    type Context = ();
    type Output = ();

    /// Some go through lanes.
    fn lane(&self) -> Option<Lane> {
        let (name, width) = LANES.get(usize::from(self.0))?.as_ref()?;
        Some(Lane::new(*name, *width))
    }

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Ok(())
    }
}

/// A key of a unique `Nop`, as Redis has it.
fn full_key(key: u8) -> String {
    format!("{}:{key}", Nop::NAME)
}

/// What may happen. Numbers pick among what there is: a queue, a worker, a job.
#[derive(Debug, Clone)]
enum Op {
    Enqueue {
        queue: usize,
        jobs: usize,
        lane: u8,
    },
    EnqueueUnique {
        queue: usize,
        key: u8,
    },
    Schedule {
        queue: usize,
        due: bool,
        lane: u8,
    },
    Claim {
        worker: usize,
        queues: [usize; 2],
        wanted: usize,
    },
    Settle {
        job: usize,
        verdict: End,
    },
    SettleLate {
        job: usize,
        verdict: End,
    },
    FanOut {
        job: usize,
        children: u8,
        fail: bool,
        seal: bool,
    },
    PopAndLose {
        queue: usize,
        popped: usize,
    },
    PopAndGiveBack {
        worker: usize,
        queue: usize,
    },
    PopAndClaim {
        worker: usize,
        queue: usize,
    },
    WorkerDies {
        worker: usize,
    },
    Care,
    Unpark,
    Revive {
        job: usize,
    },
    Discard {
        job: usize,
    },
    Cancel {
        job: usize,
    },
    ListAgain {
        job: usize,
        at_the_end: bool,
    },
    ListGarbage {
        queue: usize,
    },
    DeleteList {
        queue: usize,
    },
    Pause {
        queue: usize,
    },
    Resume {
        queue: usize,
    },
}

#[derive(Debug, Clone, Copy)]
enum End {
    Done,
    Retry,
    RetryLater,
    Bury,
    Back,
    Park,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::Done),
        1 => Just(End::Retry),
        1 => Just(End::RetryLater),
        2 => Just(End::Bury),
        1 => Just(End::Back),
        1 => Just(End::Park),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let (queue, worker, job) = (0..2_usize, 0..2_usize, 0..1000_usize);
    prop_oneof![
        4 => (queue.clone(), 1..6_usize, 0..3_u8)
            .prop_map(|(queue, jobs, lane)| Op::Enqueue { queue, jobs, lane }),
        2 => (queue.clone(), 0..2_u8).prop_map(|(queue, key)| Op::EnqueueUnique { queue, key }),
        1 => (queue.clone(), any::<bool>(), 0..3_u8)
            .prop_map(|(queue, due, lane)| Op::Schedule { queue, due, lane }),
        6 => (worker.clone(), prop_oneof![Just([0, 1]), Just([1, 0])], 1..5_usize)
            .prop_map(|(worker, queues, wanted)| Op::Claim { worker, queues, wanted }),
        6 => (job.clone(), end()).prop_map(|(job, verdict)| Op::Settle { job, verdict }),
        1 => (job.clone(), end()).prop_map(|(job, verdict)| Op::SettleLate { job, verdict }),
        3 => (job.clone(), 0..4_u8, any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(job, children, fail, seal)| Op::FanOut { job, children, fail, seal }),
        2 => (queue.clone(), 1..4_usize).prop_map(|(queue, popped)| Op::PopAndLose { queue, popped }),
        1 => (worker.clone(), queue.clone()).prop_map(|(worker, queue)| Op::PopAndGiveBack { worker, queue }),
        1 => (worker.clone(), queue.clone()).prop_map(|(worker, queue)| Op::PopAndClaim { worker, queue }),
        1 => worker.prop_map(|worker| Op::WorkerDies { worker }),
        3 => Just(Op::Care),
        1 => Just(Op::Unpark),
        1 => job.clone().prop_map(|job| Op::Revive { job }),
        1 => job.clone().prop_map(|job| Op::Discard { job }),
        2 => job.clone().prop_map(|job| Op::Cancel { job }),
        1 => (job, any::<bool>()).prop_map(|(job, at_the_end)| Op::ListAgain { job, at_the_end }),
        1 => queue.clone().prop_map(|queue| Op::ListGarbage { queue }),
        1 => queue.clone().prop_map(|queue| Op::DeleteList { queue }),
        1 => queue.clone().prop_map(|queue| Op::Pause { queue }),
        2 => queue.prop_map(|queue| Op::Resume { queue }),
    ]
}

#[test]
fn each_job_is_in_exactly_one_place_whatever_happens() {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        ProptestConfig::default().cases
    } else {
        CASES
    };
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    proptest!(config, |(ops in prop::collection::vec(op(), 1..60))| {
        runtime.block_on(async {
            let mut bench = Bench::start();
            bench.look().await; // from now on, who does not beat counts as dead
            for op in ops {
                bench.step(op).await;
                bench.check().await;
            }
            bench.drain().await;
        });
    });
}
