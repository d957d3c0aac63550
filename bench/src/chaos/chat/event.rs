//! What is noted: every frame as it came from its socket or went to it, and every fault.

use std::{fmt, str::FromStr};

use anyhow::Context;
use client::{Message, MessageId};
use serde::{Deserialize, Serialize};

use super::faults::Fault;
use crate::chaos::seed::Dice;

/// A message's name in this run, given before it is sent: `c3-17` is the 17th of guest 3. It is its
/// `clientId`, too.
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

    /// Whether a text is what it says: nothing was cut off, nothing added.
    fn says(self, text: &str) -> bool {
        let name = self.to_string();
        let rest = text
            .strip_prefix(&*name)
            .and_then(|rest| rest.strip_prefix(' '));
        rest.is_some_and(|rest| {
            rest.len() == self.length() && rest.bytes().all(|byte| byte == b'.')
        })
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

/// A message as somebody got it, or as it is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// Its id.
    pub(super) id: MessageId,
    /// The one before it.
    pub(super) prev: MessageId,
    /// Which it is; none if its `clientId` is none of ours, or it is not by its sender or not as it was sent.
    pub(super) key: Option<Key>,
}

impl Shown {
    /// A message with these fields.
    pub(super) fn of(id: MessageId, prev: MessageId, user: &str, own: &str, text: &str) -> Self {
        let key: Option<Key> = own.parse().ok();
        let is_true = |key: &Key| user == format!("c{}", key.guest) && key.says(text);
        Self {
            id,
            prev,
            key: key.filter(is_true),
        }
    }
}

impl From<&Message> for Shown {
    fn from(message: &Message) -> Self {
        let Message {
            message_id, prev, ..
        } = *message;
        let (user, own) = (&message.user_id, &message.client_id);
        Self::of(message_id, prev, user, own, &message.text)
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
    /// A message is sent, again perhaps.
    Posts { room: RoomNumber, key: Key },
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
    Refused { code: String },
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
