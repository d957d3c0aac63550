//! What is noted: every frame as it came from its socket or went to it, and every fault.

use std::{fmt, str::FromStr};

use anyhow::Context;
use client::{Message, MessageId};
use serde::{Deserialize, Serialize};

use super::faults::Fault;
use crate::chaos::seed::Dice;

/// The name in this run of a message or of a change of one, given before it is sent: `c3-17` is the 17th of
/// guest 3. It is its `clientId`, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// Whose.
    pub(super) guest: u16,
    /// Counted from 0 by each.
    pub(super) number: u32,
}

impl Key {
    /// What it says: its name, and more where that is asked for.
    pub(super) fn text(self, length: usize) -> String {
        format!("{self} {:.<length$}", "")
    }

    /// Whose text this is: nothing was cut off, nothing added.
    fn of_text(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once(' ')?;
        let key: Self = name.parse().ok()?;
        let is_whole = rest.len() == key.length() && rest.bytes().all(|byte| byte == b'.');
        is_whole.then_some(key)
    }

    /// How long it is: mostly short; some are so long that one who does not read them is soon too slow.
    pub(super) fn length(self) -> usize {
        let mut dice = Dice::new(u64::from(self.guest), &[u64::from(self.number)]);
        if self.is_long() {
            7_000
        } else {
            crate::number::length(dice.below(60))
        }
    }

    /// Whether it is one of a flood of long ones: each guest's numbers from this one on are.
    fn is_long(self) -> bool {
        self.number >= Self::FLOOD
    }

    /// Numbers of floods begin here.
    pub(super) const FLOOD: u32 = 1_000_000;
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}-{}", self.guest, self.number)
    }
}

impl FromStr for Key {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (guest, number) = text.strip_prefix('c')?.split_once('-')?;
            Some(Self {
                guest: guest.parse().ok()?,
                number: number.parse().ok()?,
            })
        };
        parse().with_context(|| format!("`{text}` is no message of this run"))
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is done by what is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Deed {
    /// Something is said.
    Say,
    /// A message gets another text.
    Edit(MessageId),
    /// A message is deleted.
    Delete(MessageId),
}

impl Deed {
    /// The message that is changed.
    pub(super) fn target(self) -> Option<MessageId> {
        match self {
            Self::Say => None,
            Self::Edit(target) | Self::Delete(target) => Some(target),
        }
    }
}

/// What changes have made of a message; of a change, what a later one has made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Face {
    /// Whose text it has, if it has one.
    pub(super) text: Option<Key>,
    /// The change that has made it so; 0 if none.
    pub(super) change: MessageId,
    /// Whether it is deleted.
    pub(super) deleted: bool,
}

impl Face {
    /// Of two faces the one with the greater version counts.
    pub(super) fn version(&self) -> (bool, MessageId) {
        (self.deleted, self.change)
    }
}

/// An entry of a room, a message or a change of one, as somebody got it, or as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// Its id.
    pub(super) id: MessageId,
    /// The one before it.
    pub(super) prev: MessageId,
    /// Which it is; none if its `clientId` is none of ours, or it is not by its sender, or its text is none of
    /// that sender's.
    pub(super) key: Option<Key>,
    /// What it does.
    pub(super) deed: Deed,
    /// How it looks.
    pub(super) face: Face,
}

impl From<&Message> for Shown {
    fn from(message: &Message) -> Self {
        let text = Key::of_text(&message.text);
        let is_true = |key: &Key| {
            message.user_id == format!("c{}", key.guest)
                && (message.text.is_empty() || text.is_some_and(|text| text.guest == key.guest))
        };
        let key: Option<Key> = message.client_id.parse().ok();
        Self {
            id: message.message_id,
            prev: message.prev,
            key: key.filter(is_true),
            deed: match (message.edits, message.deletes) {
                (Some(target), _) => Deed::Edit(target),
                (_, Some(target)) => Deed::Delete(target),
                _ => Deed::Say,
            },
            face: Face {
                text,
                change: message.edited_at.unwrap_or_default(),
                deleted: message.deleted,
            },
        }
    }
}

/// A room's number in this run.
pub(super) type RoomNumber = u16;

/// One thing that happened, to one of a guest's connections, to a process or to the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A guest has a connection.
    Opened {
        /// To which server.
        server: u16,
    },
    /// It has it no more.
    Closed {
        /// What the server said, if it did.
        code: Option<u16>,
    },
    /// A join is sent.
    Joins {
        room: RoomNumber,
        /// The frame's.
        id: u64,
        since: Option<MessageId>,
    },
    /// A leave is sent.
    Leaves { room: RoomNumber },
    /// A message or a change of one is sent, again perhaps.
    Posts {
        room: RoomNumber,
        key: Key,
        /// The frame's.
        id: u64,
        deed: Deed,
    },
    /// The answer to a join came.
    Joined {
        room: RoomNumber,
        id: u64,
        complete: bool,
        continues: bool,
        top: MessageId,
        messages: Vec<Shown>,
    },
    /// More of it came.
    History {
        room: RoomNumber,
        messages: Vec<Shown>,
        continues: bool,
    },
    /// A message came.
    Heard { room: RoomNumber, message: Shown },
    /// An acknowledgement came.
    Acked {
        room: RoomNumber,
        key: Key,
        id: MessageId,
        duplicate: bool,
        /// It is in the archive, says the server.
        archived: bool,
    },
    /// Something was refused.
    Refused {
        /// Which frame.
        id: Option<u64>,
        code: String,
    },
    /// A page of older messages is asked for, over HTTP.
    Turns {
        room: RoomNumber,
        /// Which of the guest's pages.
        id: u64,
        before: MessageId,
    },
    /// It came.
    Page {
        room: RoomNumber,
        id: u64,
        more: bool,
        messages: Vec<Shown>,
    },
    /// A room is to be joined again.
    Reset {
        room: RoomNumber,
        reason: String,
        since: Option<MessageId>,
    },
    /// The server is about to stop.
    GoAway,
    /// A guest does not read for a while.
    Slow,
    /// A process was started.
    Booted,
    /// It is killed, or asked to stop.
    Struck { fault: Fault },
    /// It has ended.
    Exited {
        signal: Option<i32>,
        code: Option<i32>,
    },
    /// A fault began.
    Began { fault: Fault },
    /// It is over.
    Over { fault: Fault },
    /// The power was cut: what Redis had been told since `from` (ns) may be gone.
    PowerCut { from: u64 },
    /// No more goes wrong.
    Peace,
}

impl Event {
    /// The entries that came with it.
    pub(super) fn shown(&self) -> &[Shown] {
        match self {
            Self::Heard { message, .. } => std::slice::from_ref(message),
            Self::Joined { messages, .. }
            | Self::History { messages, .. }
            | Self::Page { messages, .. } => messages,
            _ => &[],
        }
    }
}
