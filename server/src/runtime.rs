//! The threads on which everything runs, and their naps.
//!
//! A thread that waits for events is woken by the first one. Where ten thousand frames a second come, each by itself,
//! that is dearer than to read them: for this server, which goes to sleep and wakes up for each, and for whoever
//! sends, since the system wakes the reader on the sender's time. Messages wait for the next append there. So a
//! thread that has nothing to do then takes a nap before it waits, and what comes meanwhile wakes nobody.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use common::lead::Lead;
use tokio::runtime::{Builder, Runtime};

use crate::meter;

/// So long on average a frame that wakes a thread is to be after the one before it: as long as appended messages.
const BETWEEN_FRAMES: Duration = Duration::from_micros(100);
/// So much the frames may be ahead of that before threads nap: some hundred come at once now and then.
const BURST: Duration = Duration::from_millis(12);
/// And never more, so that naps end soon after the last of them.
const MOST: Duration = Duration::from_millis(24);
/// A nap.
const NAP: Duration = Duration::from_millis(4);

/// What tells the threads whether to nap. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naps {
    frames: Arc<Mutex<Lead>>,
}

/// Starts the threads, one a core.
pub(crate) fn start() -> io::Result<(Runtime, Naps)> {
    let naps = Naps::default();
    let napping = naps.clone();
    let runtime = runtime(move || {
        if napping.nap() {
            meter::NAPS.increment(1);
        }
    })?;
    Ok((runtime, naps))
}

/// A runtime of which each thread does this before it waits. For the runtime it is awake meanwhile, mostly as one that
/// looks for work, so no other may be woken; but the last one that looks for work looks once more before it waits, so
/// nothing is left lying.
fn runtime(before_wait: impl Fn() + Send + Sync + 'static) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(before_wait)
        .build()
}

impl Naps {
    /// A frame has woken a thread.
    pub(crate) fn woken(&self) {
        self.frames().note(BETWEEN_FRAMES, MOST);
    }

    /// Naps if it is time to; says whether it did.
    fn nap(&self) -> bool {
        let is_due = self.frames().ahead() > BURST;
        if is_due {
            thread::sleep(NAP);
        }
        is_due
    }

    fn frames(&self) -> MutexGuard<'_, Lead> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::{
        sync::{mpsc, oneshot},
        time::timeout,
    };

    use super::*;

    const IN_TIME: Duration = Duration::from_secs(30);

    fn woken(naps: &Naps, frames: usize) {
        for _ in 0..frames {
            naps.woken();
        }
    }

    #[test]
    fn a_burst_makes_no_naps() {
        let naps = Naps::default();
        woken(&naps, 100);
        assert!(!naps.nap());
    }

    /// The lead that frames have made does not last, and this thread may rest: so until a nap is seen.
    #[test]
    fn what_is_asked_of_napping_threads_is_done() {
        let (naps, taken) = (Naps::default(), Arc::new(AtomicUsize::new(0)));
        let (napping, taking) = (naps.clone(), Arc::clone(&taken));
        let runtime = runtime(move || {
            taking.fetch_add(usize::from(napping.nap()), Relaxed);
        });
        let runtime = runtime.unwrap();
        let (ask, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        runtime.spawn(async move {
            while let Some(answer) = asked.recv().await {
                tokio::spawn(async move { answer.send(()) });
            }
        });
        let asks = async {
            while taken.load(Relaxed) < 20 {
                woken(&naps, 1000);
                let (answer, answered) = oneshot::channel();
                ask.send(answer).unwrap();
                answered.await.unwrap();
            }
        };
        // Asked by this thread, which is none of the runtime's: each time one of those is woken.
        runtime.block_on(async { timeout(IN_TIME, asks).await.expect("not in time") });
    }
}
