//! A room as one client knows it: from where to go on, and what is asked of the server.

use std::time::Instant;

use crate::frame::{Joined, Message, MessageId};

/// A room that somebody wants to be in.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) phase: Phase,
    /// Everything up to here was seen; none before the first answer.
    pub(crate) cursor: Option<MessageId>,
    /// Before it something may be missing, and is not told when the room is joined from there on.
    partial: bool,
    /// How many messages of history at most.
    pub(crate) limit: u32,
}

/// Where a room stands with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// To be joined, as soon as there is a connection, and not before this.
    Wanted(Option<Instant>),
    /// Asked for.
    Joining {
        /// With this frame.
        id: u64,
        /// From there on.
        since: Option<MessageId>,
    },
    /// Joined.
    Live,
}

/// What becomes of a live message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the next one.
    New,
    /// It was seen before, or comes at a time at which the room is being read anyway.
    Known,
    /// There is one between, that was missed: the room is joined again.
    Hole,
}

impl Room {
    pub(crate) fn new(limit: u32, since: Option<MessageId>) -> Self {
        Self {
            phase: Phase::Wanted(None),
            cursor: since,
            partial: false,
            limit,
        }
    }

    /// Takes the answer to a join; leaves out the messages that were seen. Gives whether it goes on from
    /// there; none if it is the answer to an earlier join, which another one has followed.
    pub(crate) fn joined(&mut self, answered: Option<u64>, joined: &mut Joined) -> Option<bool> {
        let Phase::Joining { id, since } = self.phase else {
            return None;
        };
        if answered != Some(id) {
            return None;
        }
        let resumed = since.is_some() && joined.complete;
        if !resumed {
            self.cursor = None;
        }
        self.partial = joined.partial;
        self.phase = Phase::Live;
        self.read(&mut joined.messages);
        if !joined.continues {
            self.cursor = self.cursor.max(Some(joined.top));
        }
        Some(resumed)
    }

    /// From where it is to be joined; none if all of it is wanted.
    pub(crate) fn resumes_from(&self) -> Option<MessageId> {
        self.cursor.filter(|_| !self.partial)
    }

    /// Takes messages of the history; leaves out what was seen.
    pub(crate) fn read(&mut self, messages: &mut Vec<Message>) {
        messages.retain(|message| Some(message.message_id) > self.cursor);
        let last = messages.last().map(|message| message.message_id);
        self.cursor = self.cursor.max(last);
    }

    /// Looks at a live message.
    pub(crate) fn look_at(&mut self, message: &Message) -> Verdict {
        let cursor = self.cursor.unwrap_or_default();
        if self.phase != Phase::Live || message.message_id <= cursor {
            return Verdict::Known;
        }
        // 0: the server does not know it either, and says `reset` where that matters.
        if message.prev != cursor && message.prev != MessageId::ZERO {
            self.phase = Phase::Wanted(None);
            return Verdict::Hole;
        }
        self.cursor = Some(message.message_id);
        Verdict::New
    }

    /// The room is to be read again, from `since` on if that is known.
    pub(crate) fn reset(&mut self, since: Option<MessageId>) {
        self.cursor = self.cursor.min(since);
        self.phase = Phase::Wanted(None);
    }
}
