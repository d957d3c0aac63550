//! The outbox: frames on their way to one connection, bounded in bytes.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Frames that wait to be written to one socket. Frames are shared: a broadcast is built once.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    bound: usize,
    filled: Notify,
    overflowed: Notify,
    /// Rings when there is less in it.
    taken: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Utf8Bytes>,
    bytes: usize,
    overflowed: bool,
}

impl Outbox {
    /// An outbox for at most `bound` bytes.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            queue: Mutex::default(),
            bound,
            filled: Notify::new(),
            overflowed: Notify::new(),
            taken: Notify::new(),
        }
    }

    /// Puts a frame in. A reader that is so slow that its frames exceed the bound is cut off: nothing
    /// more is put in, and the connection ends. It resumes from the last id that it saw.
    pub(crate) fn push(&self, frame: Utf8Bytes) {
        let mut queue = self.queue();
        if queue.overflowed {
            return;
        }
        if queue.bytes + frame.len() > self.bound {
            queue.overflowed = true;
            queue.frames = VecDeque::new();
            drop(queue);
            metrics::counter!("rhubarb_slow_readers_total").increment(1);
            self.overflowed.notify_one();
            return;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until there is something to write.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Waits until the reader is too slow.
    pub(crate) async fn overflowed(&self) {
        self.overflowed.notified().await;
    }

    /// Waits until at most so many bytes wait to be written.
    pub(crate) async fn below(&self, bytes: usize) {
        loop {
            let taken = self.taken.notified();
            if self.queue().bytes <= bytes {
                return;
            }
            taken.await;
        }
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> VecDeque<Utf8Bytes> {
        let mut queue = self.queue();
        queue.bytes = 0;
        self.taken.notify_waiters();
        std::mem::take(&mut queue.frames)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_costs_at_most_the_bound() {
        let outbox = Outbox::new(10);

        outbox.push("12345".into());
        outbox.push("12345".into());
        outbox.push("1".into());
        outbox.push("2".into());

        assert!(
            outbox.take().is_empty(),
            "what a cut-off reader had is dropped"
        );
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let outbox = Outbox::new(10);

        outbox.push("a".into());
        outbox.push("b".into());

        assert_eq!(outbox.take(), ["a", "b"]);
        assert!(outbox.take().is_empty());
    }
}
