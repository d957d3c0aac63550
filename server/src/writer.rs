//! Writers: each empties the outboxes of its share of the connections into their sockets.
//!
//! A system call costs far more than what it carries. So outboxes are not written as they are filled but
//! turn by turn, each once, with all that waits in it; and a writer that makes very many calls pauses
//! between turns, so that more waits in each. An idle server writes at once.

use std::{
    io::{self, ErrorKind, IoSlice},
    mem,
    sync::{Arc, Mutex, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

use common::lead::Lead;
use tokio::{net::tcp::OwnedWriteHalf, sync::Notify, task::yield_now, time::sleep};

use crate::{
    meter,
    outbox::Outbox,
    packet::Packet,
    queue::{Item, Queue, Standing},
};

/// So long on average a call is to be after the one before it. It takes some 7 µs, so a busy writer spends
/// a seventh of its time in calls.
const BETWEEN_CALLS: Duration = Duration::from_micros(50);
/// And so much longer for each frame in it: where much is said, more is to wait for the next.
const BETWEEN_FRAMES: Duration = Duration::from_micros(5);
/// So much a writer may be ahead of that before it pauses: a burst is written at once.
const BURST: Duration = Duration::from_millis(12);
/// The longest that a copy waits for others.
const LONGEST_PAUSE: Duration = Duration::from_millis(24);
/// Outboxes that are written before other tasks of the thread have their turn.
const AT_ONCE: usize = 64;
/// Packets that one system call writes at most.
const BATCH: usize = 128;

/// All writers of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Writers {
    each: Arc<[Arc<Writer>]>,
}

/// One writer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Outboxes with something to write.
    filled: Mutex<Vec<Arc<Outbox>>>,
    woken: Notify,
}

impl Writers {
    /// Starts one for every two cores: with one a core, each message of a small room would wake all.
    pub(crate) fn start() -> Self {
        let writers = available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        let each: Arc<[_]> = (0..writers).map(|_| Arc::<Writer>::default()).collect();
        for writer in &*each {
            tokio::spawn(Arc::clone(writer).run());
        }
        Self { each }
    }

    /// One of them: those with consecutive numbers share the work.
    pub(crate) fn of(&self, number: usize) -> Arc<Writer> {
        Arc::clone(&self.each[number % self.each.len()])
    }
}

impl Writer {
    /// Takes an outbox that has something to write; each is enqueued once at a time.
    pub(crate) fn enqueue(&self, outbox: Arc<Outbox>) {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        filled.push(outbox);
        if filled.len() == 1 {
            drop(filled);
            self.woken.notify_one();
        }
    }

    async fn run(self: Arc<Self>) {
        let (mut turn, mut batch, mut written) = (Vec::new(), Batch::default(), 0_usize);
        let mut lead = Lead::default();
        loop {
            self.woken.notified().await;
            mem::swap(
                &mut turn,
                &mut *self.filled.lock().unwrap_or_else(PoisonError::into_inner),
            );
            let mut time = Duration::ZERO;
            for outbox in turn.drain(..) {
                outbox.write(&mut batch);
                time += BETWEEN_CALLS + BETWEEN_FRAMES * mem::take(&mut batch.frames);
                written = written.wrapping_add(1);
                if written % AT_ONCE == 0 {
                    yield_now().await;
                }
            }
            lead.note(time, LONGEST_PAUSE);
            let ahead = lead.ahead();
            if ahead > BURST {
                sleep(ahead).await;
            }
        }
    }
}

/// Packets of one outbox while they are written. Kept for the next, so that none is allocated.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    items: Vec<Item>,
    /// How much of the first was written before.
    before: usize,
    /// Frames that were written since somebody asked.
    frames: u32,
}

impl Batch {
    /// Takes what waits.
    pub(crate) fn take_from(&mut self, queue: &mut Queue) {
        self.before = queue.take(&mut self.items, BATCH);
    }

    /// Writes it in one system call.
    pub(crate) fn write(&self, socket: &OwnedWriteHalf) -> io::Result<usize> {
        if self.items.is_empty() {
            return Ok(0); // the connection has ended meanwhile
        }
        let mut slices = [IoSlice::new(&[]); BATCH];
        for (slice, item) in slices.iter_mut().zip(&self.items) {
            *slice = IoSlice::new(item.packet.bytes());
        }
        if let Some(first) = self.items.first() {
            slices[0] = IoSlice::new(&first.packet.bytes()[self.before..]);
        }
        socket.try_write_vectored(&slices[..self.items.len()])
    }

    /// Gives back what was not written, and says how the socket stands.
    pub(crate) fn settle(&mut self, queue: &mut Queue, outcome: io::Result<usize>) -> Standing {
        meter::WRITES.increment(1);
        let (written, error) = match outcome {
            Ok(written) => (written, None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => (0, None),
            Err(error) => (0, Some(error)),
        };
        let packets = self.items.iter().map(|item| &item.packet);
        let all: usize = packets.clone().map(|packet| packet.bytes().len()).sum();
        let frames = packets.map(Packet::frames).sum();
        let written = self.before + written;
        queue.put_back(&mut self.items, written);
        if error.is_some() {
            queue.end(Standing::Broken);
        } else if written < all && !queue.is_over() {
            queue.standing = Standing::Blocked;
        } else if written == all {
            meter::WRITTEN.increment(frames);
            self.frames = self
                .frames
                .saturating_add(u32::try_from(frames).unwrap_or(u32::MAX));
        }
        queue.standing
    }
}
