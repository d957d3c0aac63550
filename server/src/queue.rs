//! What waits in an [`crate::outbox`]: packets in their order, and what goes first when there are too many.

use std::collections::{HashSet, VecDeque};

use common::id::MessageId;

use crate::{meter, packet::Packet, room::RoomNumber};

/// A queue without anything in it keeps room for so many: idle connections are to be small.
const KEPT: usize = 8;

/// Packets that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Item>,
    /// Of all that waits or is being written.
    pub(crate) bytes: usize,
    /// Of these, the bytes of histories.
    history: usize,
    /// How much of the first was written already.
    written: usize,
    /// Rooms whose messages were dropped, with what is told when all else is written.
    behind: Vec<(RoomNumber, Packet)>,
    /// Whether a writer has it, or the socket is full.
    pub(crate) is_under_way: bool,
    pub(crate) standing: Standing,
}

/// How it goes with the socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All is well.
    #[default]
    Open,
    /// The socket takes no more now.
    Blocked,
    /// Not even answers have room: the connection is to end.
    Overflowed,
    /// The socket is broken.
    Broken,
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) packet: Packet,
    pub(crate) kind: Kind,
}

/// What a packet is: what may be dropped, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Must arrive.
    Answer,
    /// A part of a room's history: must arrive, and there is one at a time.
    History,
    /// Somebody types.
    Typing,
    /// So many members are in the room.
    Presence(RoomNumber),
    /// Messages, and the one that their reader has before them.
    Message(RoomNumber, MessageId),
}

impl Queue {
    /// Whether there is something to write.
    pub(crate) fn has_something(&self) -> bool {
        !self.waiting.is_empty() || !self.behind.is_empty()
    }

    /// Whether anything may still be put in.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.standing, Standing::Overflowed | Standing::Broken)
    }

    /// Puts a packet in.
    pub(crate) fn add(&mut self, packet: Packet, kind: Kind) {
        let bytes = packet.bytes().len();
        self.bytes += bytes;
        if kind == Kind::History {
            self.history += bytes;
        }
        self.waiting.push_back(Item { packet, kind });
    }

    /// Whether so many bytes more are within the bound, once what nobody misses is dropped. A history does not
    /// count: it may be longer than the bound, and what is answered meanwhile must find room.
    pub(crate) fn make_room(&mut self, bytes: usize, bound: usize) -> bool {
        let fits = |queue: &Self| (queue.bytes - queue.history).saturating_add(bytes) <= bound;
        if !fits(self) {
            self.drop_passing();
        }
        fits(self)
    }

    /// Drops word of who types, and counts of members but the newest of each room.
    fn drop_passing(&mut self) {
        let mut told = HashSet::new();
        for at in (self.begun()..self.waiting.len()).rev() {
            let meter = match self.waiting[at].kind {
                Kind::Typing => &meter::DROPPED_TYPING,
                Kind::Presence(room) if !told.insert(room) => &meter::DROPPED_PRESENCE,
                _ => continue,
            };
            meter.increment(1);
            if let Some(item) = self.waiting.remove(at) {
                self.bytes -= item.packet.bytes().len();
            }
        }
    }

    /// Drops a room's messages. Gives the last one before them, and how many they were.
    pub(crate) fn drop_messages(&mut self, room: RoomNumber) -> (Option<MessageId>, u64) {
        let (begun, mut at, mut last, mut count) = (self.begun(), 0, None, 0);
        let bytes = &mut self.bytes;
        self.waiting.retain(|item| {
            at += 1;
            match item.kind {
                Kind::Message(of, before) if of == room && at > begun => {
                    last = last.or(Some(before));
                    *bytes -= item.packet.bytes().len();
                    count += item.packet.frames();
                    false
                }
                _ => true,
            }
        });
        (last, count)
    }

    /// Takes all that waits.
    pub(crate) fn take_all(&mut self) -> Vec<Item> {
        let mut taken = Vec::new();
        while self.has_something() {
            self.take(&mut taken, usize::MAX);
        }
        (self.bytes, self.history) = (0, 0);
        taken
    }

    /// Notes that a room's reader is to be told something when all else is written.
    pub(crate) fn is_behind(&mut self, room: RoomNumber, reset: Packet) {
        self.behind.push((room, reset));
    }

    /// Forgets it: the reader joins again, or leaves.
    pub(crate) fn forget(&mut self, room: RoomNumber) {
        self.behind.retain(|(behind, _)| *behind != room);
    }

    /// Moves up to `most` packets into `batch`, to be written. Gives how much of the first is written
    /// already.
    pub(crate) fn take(&mut self, batch: &mut Vec<Item>, most: usize) -> usize {
        if self.waiting.is_empty() {
            // All else is written: who is behind has caught up.
            for (_, reset) in std::mem::take(&mut self.behind) {
                meter::RESETS.increment(1);
                self.add(reset, Kind::Answer);
            }
        }
        batch.extend(self.waiting.drain(..most.min(self.waiting.len())));
        std::mem::take(&mut self.written)
    }

    /// Takes note that so many bytes were written of a batch and of what had been written of its first,
    /// and takes back what was not.
    pub(crate) fn put_back(&mut self, batch: &mut Vec<Item>, mut written: usize) {
        let mut rest = batch.len();
        for item in &*batch {
            let bytes = item.packet.bytes().len();
            if written < bytes {
                break;
            }
            written -= bytes;
            self.bytes -= bytes;
            if item.kind == Kind::History {
                self.history -= bytes;
            }
            rest -= 1;
        }
        let whole = batch.len() - rest;
        for item in batch.drain(whole..).rev() {
            self.waiting.push_front(item);
        }
        batch.clear();
        self.written = written;
        if self.is_over() {
            self.drop_all();
        }
    }

    /// Ends it for this reason: what waits is dropped, and nothing more is put in.
    pub(crate) fn end(&mut self, standing: Standing) {
        self.standing = standing;
        self.drop_all();
    }

    /// Drops all but the rest of a packet of which some is written.
    fn drop_all(&mut self) {
        let begun = self.begun();
        for item in self.waiting.drain(begun..) {
            let bytes = item.packet.bytes().len();
            self.bytes -= bytes;
            if item.kind == Kind::History {
                self.history -= bytes;
            }
        }
        self.behind = Vec::new();
    }

    /// How many packets, none or one, are written in part.
    fn begun(&self) -> usize {
        usize::from(self.written > 0)
    }

    /// Gives memory back that a burst has taken.
    pub(crate) fn shrink(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = VecDeque::new();
        }
    }
}
