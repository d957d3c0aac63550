//! The outbox: packets on their way to one connection, bounded in bytes. Before this, [`crate::room`] and
//! [`crate::session`] put them in; next, [`crate::writer`] writes them to the socket.
//!
//! What a slow reader loses, in this order: word of who types; counts of members but the newest; a
//! room's messages, of which it is told once it has caught up: it resumes after the last one that it
//! got. Answers are never dropped. While an outbox has no room for messages nothing more is read from its
//! connection; one that has no room even for answers ends.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use common::id::MessageId;
use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};

pub(crate) use crate::queue::Standing;
use crate::{
    meter,
    packet::Packet,
    queue::{Kind, Queue},
    room::RoomNumber,
    writer::{Batch, Writer},
};

/// Packets that wait to be written to one socket, in their order.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Bytes at most.
    most: usize,
    /// Bytes at most when a message is put in: half of what a joiner's history may have, so that who
    /// misses them can have them in one.
    for_messages: usize,
    /// Rings when its standing changes, or, without a way, when something is in it.
    news: Notify,
    /// Rings when there is less in it.
    taken: Notify,
    /// Where it is emptied to; without one somebody takes what waits.
    way: OnceLock<Way>,
}

/// The way to a socket.
#[derive(Debug)]
struct Way {
    socket: OwnedWriteHalf,
    writer: Arc<Writer>,
}

impl Outbox {
    /// An outbox for so many bytes, a quarter of them for messages. Somebody takes what waits.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            queue: Mutex::default(),
            most: bytes,
            for_messages: bytes / 4,
            news: Notify::new(),
            taken: Notify::new(),
            way: OnceLock::new(),
        }
    }

    /// An outbox for so many bytes of messages and any number of answers.
    #[cfg(test)]
    pub(crate) fn for_messages(bytes: usize) -> Self {
        Self {
            for_messages: bytes,
            ..Self::new(usize::MAX)
        }
    }

    /// An outbox that `writer` empties into a socket.
    pub(crate) fn to_socket(bytes: usize, socket: OwnedWriteHalf, writer: Arc<Writer>) -> Self {
        Self {
            way: OnceLock::from(Way { socket, writer }),
            ..Self::new(bytes)
        }
    }

    /// Puts in what must arrive.
    pub(crate) fn push(self: &Arc<Self>, packet: impl Into<Packet>) {
        self.put(packet.into(), Kind::Answer);
    }

    /// Puts in that somebody types.
    pub(crate) fn push_typing(self: &Arc<Self>, packet: Packet) {
        self.put(packet, Kind::Typing);
    }

    /// Puts in how many members a room has.
    pub(crate) fn push_presence(self: &Arc<Self>, room: RoomNumber, packet: Packet) {
        self.put(packet, Kind::Presence(room));
    }

    /// Puts messages in, one or a run; `before` is the one that the reader has before them. False if there is no room:
    /// then those of its room that wait are dropped too, and when all else is written the reader is told
    /// what `reset` makes of the last message that it has. Give it none until it has joined again.
    #[must_use]
    pub(crate) fn push_message(
        self: &Arc<Self>,
        room: RoomNumber,
        before: MessageId,
        packet: Packet,
        reset: impl FnOnce(MessageId) -> Option<Packet>,
    ) -> bool {
        let mut queue = self.queue();
        if queue.is_over() {
            return true; // the connection ends anyway
        }
        let frames = packet.frames();
        // An empty one takes any: else one larger than the bound would never arrive.
        let fits = queue.make_room(packet.bytes().len(), self.for_messages) || queue.bytes == 0;
        if fits {
            queue.add(packet, Kind::Message(room, before));
        } else {
            let (since, dropped) = queue.drop_messages(room);
            meter::DROPPED_MESSAGES.increment(dropped + frames);
            if let Some(reset) = reset(since.unwrap_or(before)) {
                queue.is_behind(room, reset);
            }
        }
        self.hand_over(queue);
        fits
    }

    /// Puts a part of a room's history in, which has all that its messages that still wait would tell. It does not
    /// count for the bound: who joins waits until little is left of it before the next part.
    pub(crate) fn push_history(self: &Arc<Self>, room: RoomNumber, packet: impl Into<Packet>) {
        let mut queue = self.queue();
        if queue.is_over() {
            return;
        }
        queue.drop_messages(room);
        queue.add(packet.into(), Kind::History);
        self.hand_over(queue);
    }

    /// Forgets that a room's reader is to be told to resume: it joins again, reloads, or leaves.
    pub(crate) fn forget(&self, room: RoomNumber) {
        self.queue().forget(room);
    }

    fn put(self: &Arc<Self>, packet: Packet, kind: Kind) {
        let mut queue = self.queue();
        if queue.is_over() {
            return;
        }
        if kind == Kind::Typing && queue.bytes > self.for_messages / 2 {
            meter::DROPPED_TYPING.increment(1);
        } else if queue.make_room(packet.bytes().len(), self.most) {
            queue.add(packet, kind);
            self.hand_over(queue);
        } else {
            meter::SLOW_READERS.increment(1);
            queue.end(Standing::Overflowed);
            drop(queue);
            self.news.notify_one();
        }
    }

    /// Has what waits written, unless it is under way already.
    fn hand_over(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if queue.is_under_way || !queue.has_something() {
            return;
        }
        if let Some(way) = self.way.get() {
            queue.is_under_way = true;
            drop(queue);
            way.writer.enqueue(Arc::clone(self));
        } else {
            drop(queue);
            self.news.notify_one();
        }
    }

    /// Writes what waits, as far as the socket takes it. For the writer; its batch is empty.
    pub(crate) fn write(self: &Arc<Self>, batch: &mut Batch) {
        let Some(way) = self.way.get() else { return };
        batch.take_from(&mut self.queue());
        // Not under the lock: whoever puts something in does not wait for the system.
        let outcome = batch.write(&way.socket);
        let mut queue = self.queue();
        let standing = batch.settle(&mut queue, outcome);
        self.taken.notify_waiters();
        if standing != Standing::Open {
            drop(queue);
            self.news.notify_one();
            return; // it stays under way until it is unblocked
        }
        if queue.has_something() {
            drop(queue);
            way.writer.enqueue(Arc::clone(self)); // the others first
        } else {
            queue.is_under_way = false;
            queue.shrink();
        }
    }

    /// Waits for the socket to take more, and has it written.
    pub(crate) async fn unblock(self: &Arc<Self>) {
        let Some(way) = self.way.get() else { return };
        let writable = way.socket.writable().await;
        let mut queue = self.queue();
        if queue.standing == Standing::Blocked {
            queue.standing = Standing::Open;
        }
        if writable.is_err() {
            queue.end(Standing::Broken);
        } else {
            drop(queue);
            way.writer.enqueue(Arc::clone(self));
        }
    }

    /// Waits until its standing may have changed, or, where there is no socket, something is in it.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// How it goes.
    pub(crate) fn standing(&self) -> Standing {
        self.queue().standing
    }

    /// Whether nothing more is to be read from the peer until it has read what waits.
    pub(crate) fn is_full(&self) -> bool {
        self.queue().bytes > self.for_messages
    }

    /// Waits until it is not full.
    pub(crate) async fn has_room(&self) {
        self.below(self.for_messages).await;
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

    /// Waits until all is written, or cannot be. Nobody else looks after it any more.
    pub(crate) async fn emptied(self: &Arc<Self>) {
        loop {
            match self.standing() {
                Standing::Open => tokio::select! {
                    () = self.below(0) => return,
                    () = self.news() => {}
                },
                Standing::Blocked => self.unblock().await,
                Standing::Overflowed | Standing::Broken => return,
            }
        }
    }

    /// Takes what waits, frame by frame, where there is no socket.
    pub(crate) fn take(&self) -> Vec<Packet> {
        let taken = self.queue().take_all();
        self.taken.notify_waiters();
        taken.iter().flat_map(|item| item.packet.each()).collect()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
