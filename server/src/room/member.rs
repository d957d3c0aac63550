//! A room's member in this process: what it has, and what it is given.

use std::{mem, sync::Arc};

use common::id::MessageId;

use super::{
    Room,
    run::{Delivery, Run},
};
use crate::{frame, meter, outbox::Outbox, packet::Packet};

/// Messages that are kept back for one joiner at most, or while one hole is filled. More are read again.
pub(super) const KEPT_BACK: usize = if cfg!(test) { 2 } else { 512 };

#[derive(Debug)]
pub(super) struct Member {
    pub(super) outbox: Arc<Outbox>,
    /// The last message that it has.
    pub(super) seen: MessageId,
    /// While its history is read.
    pub(super) joining: Option<Joining>,
    /// Whether its history was incomplete, so that it must reload when the log is complete.
    pub(super) incomplete: bool,
    /// Whether it was told to reload; once is enough.
    pub(super) reloading: bool,
    /// Whether it was so slow that its messages were dropped: it gets none until it joins again.
    pub(super) behind: bool,
}

#[derive(Debug, Default)]
pub(super) struct Joining {
    /// What is delivered meanwhile.
    pub(super) kept_back: Vec<Delivery>,
    /// How many members there are now.
    pub(super) presence: Option<Packet>,
    /// Something was missed meanwhile.
    pub(super) lapsed: bool,
    /// The log was completed meanwhile.
    pub(super) hydrated: bool,
}

impl Joining {
    /// Keeps messages back for a joiner; of one that is slow or far behind, nothing, and it reads on.
    pub(super) fn keep_back(&mut self, run: &Run) {
        for delivery in run.each() {
            if self.kept_back.len() == KEPT_BACK {
                self.kept_back = Vec::new();
                self.lapsed = true;
            }
            if !self.lapsed {
                self.kept_back.push(delivery);
            }
        }
    }
}

impl Member {
    /// Gives it messages that follow one another: all at once, if they follow what it has. Returns how many
    /// copies were made.
    pub(super) fn give(&mut self, room: &Room, run: &Run) -> u64 {
        if self.seen == run.prev {
            return self.put(room, run.last, &run.packet);
        }
        run.each()
            .map(|delivery| self.give_one(room, &delivery))
            .sum()
    }

    /// Gives it a message, unless it has it; tells it first if it lacks the one before. Returns how many
    /// copies were made.
    pub(super) fn give_one(&mut self, room: &Room, delivery: &Delivery) -> u64 {
        if self.behind || delivery.id <= self.seen {
            return 0;
        }
        if delivery.prev != self.seen {
            self.reload(room, "messages were missed that are no longer at hand");
        }
        self.put(room, delivery.id, &delivery.packet)
    }

    /// Puts what it lacks into its outbox, up to the message `last`.
    fn put(&mut self, room: &Room, last: MessageId, packet: &Packet) -> u64 {
        if self.behind {
            return 0;
        }
        let before = mem::replace(&mut self.seen, last);
        // Who reloads anyway need not be told from where to resume; who lacks something further back must reload.
        let reset = |since| {
            let frame = || {
                if self.incomplete {
                    frame::reset(&room.id, "slow")
                } else {
                    frame::resume(&room.id, since)
                }
            };
            (!self.reloading).then(|| frame().into())
        };
        let copies = packet.frames();
        let fits = self
            .outbox
            .push_message(room.number, before, packet.clone(), reset);
        self.behind = !fits;
        if fits { copies } else { 0 }
    }

    pub(super) fn reload_if_incomplete(&mut self, room: &Room) {
        if self.incomplete {
            self.reload(room, "the room's history is at hand now");
        }
    }

    pub(super) fn reload(&mut self, room: &Room, reason: &str) {
        // Who is behind joins again in any case.
        if !self.behind && !mem::replace(&mut self.reloading, true) {
            meter::RELOADS.increment(1);
            self.outbox.push(frame::reset(&room.id, reason));
        }
    }
}
