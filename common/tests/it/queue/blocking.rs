//! Blocking tasks: they hold threads of their own, and neither the heartbeat nor other jobs.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    queue::{
        BlockingJob, BlockingTask, JobContext, Queue, Registry, Task, TaskError, Worker,
        WorkerOptions,
    },
    shutdown::Shutdown,
    testing::{TestQueue, eventually},
};
use serde::{Deserialize, Serialize};

use super::{Look, Plot, Stage, act, onto};

/// What holds threads until it is opened.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
    told_to_stop: AtomicUsize,
}

impl Gate {
    /// Holds the thread, not the task.
    fn pass(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_inside.fetch_max(inside, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    async fn holds(&self, threads: usize) {
        eventually(&format!("{threads} threads are held"), async || {
            (self.inside.load(Ordering::SeqCst) == threads).then_some(())
        })
        .await;
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Heavy {
    Passes,
    /// Goes on until it is asked to stop, and then for as long as the gate is closed.
    Stubborn,
    Panics,
}

impl BlockingTask for Heavy {
    const NAME: &'static str = "test.heavy";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: u32 = 2;
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(1));
    type Context = Gate;
    type Output = ();

    fn run(self, gate: &Gate, job: &BlockingJob) -> Result<(), TaskError> {
        match self {
            Self::Passes => gate.pass(),
            Self::Stubborn => {
                while !job.should_stop() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                gate.told_to_stop.fetch_add(1, Ordering::SeqCst);
                gate.pass();
            }
            Self::Panics => panic!("the sum does not come out"),
        }
        Ok(())
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::ZERO
    }
}

/// An async task that does a part of its work where it may block.
#[derive(Debug, Serialize, Deserialize)]
struct PartlyHeavy;

impl Task for PartlyHeavy {
    const NAME: &'static str = "test.partly_heavy";
    const QUEUE: Queue = Queue::Low;
    type Context = Gate;
    type Output = ();

    async fn run(self, _: &Gate, job: &JobContext) -> Result<(), TaskError> {
        let id = job.id();
        let told = job.blocking(move |job| Ok(job.id() == id)).await?;
        if told {
            Ok(())
        } else {
            Err("it was told of another job".into())
        }
    }
}

/// What must not be done: it blocks the runtime.
#[derive(Debug, Serialize, Deserialize)]
struct Rude;

impl Task for Rude {
    const NAME: &'static str = "test.rude";
    type Context = Gate;
    type Output = ();

    async fn run(self, gate: &Gate, _job: &JobContext) -> Result<(), TaskError> {
        gate.pass();
        Ok(())
    }
}

fn registry(stage: &Arc<Stage>, gate: &Arc<Gate>) -> Registry {
    stage
        .registry()
        .with_blocking::<Heavy>(gate)
        .with::<PartlyHeavy>(gate)
        .with::<Rude>(gate)
}

fn options() -> WorkerOptions {
    WorkerOptions {
        concurrency: 6,
        ..TestQueue::options("high=4,low=2")
    }
}

#[tokio::test]
async fn blocking_tasks_on_all_their_slots_hold_up_neither_heartbeat_nor_other_jobs() {
    let (queue, stage, gate) = (TestQueue::start(), Stage::new(), Arc::new(Gate::default()));
    // The test's runtime has one thread: a task that held it would hold up everything.
    let worker = queue.worker(registry(&stage, &gate), options());
    let producer = queue.producer();
    let tasks = [Heavy::Passes, Heavy::Passes, Heavy::Passes];
    producer
        .enqueue_all(&tasks, &common::queue::Options::default())
        .await
        .unwrap();
    gate.holds(2).await;

    let acts = super::brief(0..50);
    let high = onto(Queue::High);
    producer.enqueue_all(&acts, &high).await.unwrap();
    stage.have_ended(50).await;
    let beat = async || -> Option<f64> {
        let id = worker.id.to_string();
        queue.command(&["ZSCORE", &queue.keys.workers(), &id]).await
    };
    let before = beat().await.unwrap();
    eventually("three more heartbeats", async || {
        (beat().await? > before + 600.0).then_some(())
    })
    .await;

    assert_eq!(gate.inside.load(Ordering::SeqCst), 2, "it has two slots");
    gate.open();
    producer.enqueue(&PartlyHeavy).await.unwrap();
    queue.ends_clean().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_blocking_task_that_overruns_is_asked_to_stop_and_never_runs_beside_itself() {
    let (queue, stage, gate) = (TestQueue::start(), Stage::new(), Arc::new(Gate::default()));
    let worker = queue.worker(registry(&stage, &gate), options());
    let job = queue.producer().enqueue(&Heavy::Stubborn).await.unwrap();

    gate.holds(1).await;
    let held = queue.held(worker.id).await;
    assert_eq!(held.len(), 1, "it is claimed until it has ended");
    assert_eq!(gate.told_to_stop.load(Ordering::SeqCst), 1);
    gate.open();

    let reason = queue.dies(job).await;
    assert!(reason.contains("longer than its limit of 1s"), "{reason}");
    assert_eq!(gate.told_to_stop.load(Ordering::SeqCst), 2);
    assert_eq!(gate.most_inside.load(Ordering::SeqCst), 1);
    worker.stop().await;
    queue.adds_up(1).await;
}

#[tokio::test]
async fn a_panic_of_a_blocking_task_is_told_and_costs_the_worker_nothing() {
    let (queue, stage, gate) = (TestQueue::start(), Stage::new(), Arc::new(Gate::default()));
    let worker = queue.worker(registry(&stage, &gate), options());
    let job = queue.producer().enqueue(&Heavy::Panics).await.unwrap();

    let reason = queue.dies(job).await;

    assert!(
        reason.contains("it panicked: the sum does not come out"),
        "{reason}"
    );
    let next = act("next", Plot::Brief);
    queue
        .producer()
        .enqueue_with(&next, &onto(Queue::Low))
        .await
        .unwrap();
    stage.has_ended("next").await;
    worker.stop().await;
}

#[tokio::test]
async fn what_does_not_stop_at_a_shutdown_is_not_given_back_while_it_runs() {
    let (queue, stage, gate) = (TestQueue::start(), Stage::new(), Arc::new(Gate::default()));
    let hasty = WorkerOptions {
        shutdown_patience: Duration::from_millis(50),
        ..options()
    };
    let worker = queue.worker(registry(&stage, &gate), hasty);
    let id = worker.id;
    queue.producer().enqueue(&Heavy::Passes).await.unwrap();
    gate.holds(1).await;

    worker.stop().await;

    let held = queue.held(id).await;
    assert_eq!(
        held.len(),
        1,
        "{id} holds it until its heartbeat has run out"
    );
    assert_eq!(queue.listed(Queue::Low).await, 0);
    gate.open();
    let next = queue.worker(registry(&stage, &gate), options());
    queue.ends_clean().await;
    next.stop().await;
    assert_eq!(queue.stat("reaped").await, 1);
}

#[tokio::test]
async fn a_job_that_blocks_the_runtime_for_longer_than_a_time_to_live_stays_with_its_worker() {
    let (queue, stage, gate) = (TestQueue::start(), Stage::new(), Arc::new(Gate::default()));
    let (stop, shutdown) = Shutdown::manual();
    let options = || WorkerOptions {
        beat: Duration::from_millis(100),
        time_to_live: Duration::from_secs(1),
        ..TestQueue::options("default=2")
    };
    let known = registry(&stage, &gate);
    let first = Worker::new(&queue.url, queue.keys.clone(), known, options()).unwrap();
    let id = first.id().to_string();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(first.run(shutdown))
    });
    queue.producer().enqueue(&Rude).await.unwrap();
    gate.holds(1).await;
    let second = queue.worker(registry(&stage, &gate), options());

    let deadline =
        async || -> Option<f64> { queue.command(&["ZSCORE", &queue.keys.workers(), &id]).await };
    let start = deadline().await.unwrap();
    eventually("three times to live have passed", async || {
        (deadline().await? > start + 3000.0).then_some(())
    })
    .await;

    assert_eq!(gate.most_inside.load(Ordering::SeqCst), 1);
    assert_eq!(queue.stat("reaped").await, 0);
    gate.open();
    queue.ends_clean().await;
    second.stop().await;
    stop.now();
    thread.join().unwrap().unwrap();
}
