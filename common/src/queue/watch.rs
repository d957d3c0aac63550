//! Watch: who holds a thread of the runtime for so long that the other jobs on it stand still. Each poll of
//! a job is noted in a slot of its thread; the heartbeat's thread, which cannot starve, looks at the slots.

use std::{
    cell::OnceCell,
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::JobId;

/// A poll that takes longer than this is told of: every `await` of a task should be reached in far less.
const TOO_LONG: Duration = Duration::from_secs(1);

/// One a thread that has polled a job, of any worker of this process.
static SLOTS: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SLOT: OnceCell<Arc<Slot>> = const { OnceCell::new() };
}

/// What a thread does. Only its own thread and the watchdog ask for it, so nobody waits.
#[derive(Debug)]
struct Slot {
    number: usize,
    now: Mutex<Now>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Now {
    /// Polls so far: tells one poll from the next of the same job.
    polls: u64,
    polled: Option<Polled>,
}

#[derive(Debug, Clone, Copy)]
struct Polled {
    worker: usize,
    task: &'static str,
    job: JobId,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn new() -> Arc<Self> {
        let slot = Arc::new(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            now: Mutex::default(),
        });
        let mut slots = held(&SLOTS);
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(&slot));
        slot
    }
}

/// The polls of one worker's jobs.
#[derive(Debug, Clone)]
pub(super) struct Polls {
    worker: usize,
}

impl Default for Polls {
    fn default() -> Self {
        Self {
            worker: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Polls {
    /// Runs a job's future and notes its polls.
    pub(super) async fn watch<F: Future>(
        &self,
        task: &'static str,
        job: JobId,
        future: F,
    ) -> F::Output {
        let polled = Polled {
            worker: self.worker,
            task,
            job,
        };
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            let _noted = Noted::now(polled);
            future.as_mut().poll(context)
        })
        .await
    }
}

/// A poll that is under way.
struct Noted {
    before: Option<Polled>,
}

impl Noted {
    fn now(polled: Polled) -> Self {
        let before = on_slot(|now| {
            now.polls += 1;
            now.polled.replace(polled)
        });
        Self {
            before: before.flatten(),
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        on_slot(|now| now.polled = self.before);
    }
}

/// None when the thread is about to end.
fn on_slot<T>(change: impl FnOnce(&mut Now) -> T) -> Option<T> {
    SLOT.try_with(|slot| change(&mut held(&slot.get_or_init(Slot::new).now)))
        .ok()
}

/// A job that holds a thread of the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) task: &'static str,
    pub(super) job: JobId,
    pub(super) held: Duration,
}

/// Looks at the slots from a thread of its own.
#[derive(Debug)]
pub(super) struct Watchdog {
    worker: usize,
    /// By slot: the poll that was under way, since when it is known, whether it was told.
    seen: HashMap<usize, (u64, Instant, bool)>,
}

impl Watchdog {
    pub(super) fn new(polls: &Polls) -> Self {
        Self {
            worker: polls.worker,
            seen: HashMap::new(),
        }
    }

    /// The jobs that have held a thread for too long, each told once.
    pub(super) fn look(&mut self, at: Instant) -> Vec<Blocked> {
        let before = std::mem::take(&mut self.seen);
        let mut blocked = Vec::new();
        for slot in held(&SLOTS).iter().filter_map(Weak::upgrade) {
            let now = *held(&slot.now);
            let Some(polled) = now.polled.filter(|polled| polled.worker == self.worker) else {
                continue;
            };
            let known = before.get(&slot.number).filter(|seen| seen.0 == now.polls);
            let (since, told) = known.map_or((at, false), |seen| (seen.1, seen.2));
            let too_long = at.duration_since(since) >= TOO_LONG;
            if too_long && !told {
                blocked.push(Blocked {
                    task: polled.task,
                    job: polled.job,
                    held: at.duration_since(since),
                });
            }
            self.seen
                .insert(slot.number, (now.polls, since, told || too_long));
        }
        blocked
    }

    /// Looks, and logs what it finds.
    pub(super) fn bark(&mut self) {
        for Blocked { task, job, held } in self.look(Instant::now()) {
            metrics::counter!("rhubarb_blocked_polls_total", "task" => task).increment(1);
            tracing::error!(
                job.id = %job, task,
                "job {job} ({task}) has held a thread of the runtime for {held:.1?} and still does, so other \
                 jobs stand still: make it a `BlockingTask`, or do that part in `job.blocking(…)`"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_job_that_holds_its_thread_is_named_once() {
        let polls = Polls::default();
        let job: JobId = "default-7".parse().unwrap();
        let (entered, has_entered) = mpsc::channel();
        let (release, is_released) = mpsc::channel::<()>();
        let thread = std::thread::spawn({
            let polls = polls.clone();
            let work = async move {
                entered.send(()).unwrap();
                is_released.recv().unwrap();
            };
            move || futures_util::FutureExt::now_or_never(polls.watch("demo.heavy", job, work))
        });
        has_entered.recv().unwrap();

        let mut watchdog = Watchdog::new(&polls);
        let start = Instant::now();
        assert_eq!(watchdog.look(start), []);
        assert_eq!(watchdog.look(start + TOO_LONG / 2), []);
        let blocked = Blocked {
            task: "demo.heavy",
            job,
            held: TOO_LONG,
        };
        assert_eq!(watchdog.look(start + TOO_LONG), [blocked]);
        assert_eq!(watchdog.look(start + TOO_LONG * 2), []);

        release.send(()).unwrap();
        assert!(thread.join().unwrap().is_some());
        assert_eq!(watchdog.look(start + TOO_LONG * 3), []);
    }
}
