//! What the check takes, besides the notes, and what it gives: what was left, what must not be, and what
//! was counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use client::MessageId;

use super::event::{Key, RoomNumber, Shown};
use crate::chaos::ledger::Who;

/// What was there when all was over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// The archive, by room, by id.
    pub(super) archive: BTreeMap<RoomNumber, Vec<Shown>>,
    /// What each guest's client had shown of each room at the end: ids, from the last time that it had to
    /// begin anew.
    pub(super) shown: Vec<(u16, RoomNumber, Vec<MessageId>)>,
    /// Members as a connection was told last and as they were.
    pub(super) members: Vec<Counted>,
    /// Rooms that are dirty still, keys of rooms that are left, jobs that are left.
    pub(super) left: Vec<String>,
    /// What the driver waited for in vain.
    pub(super) late: Vec<String>,
}

/// How many members one connection counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) guest: u16,
    pub(super) room: RoomNumber,
    pub(super) told: Option<u64>,
    pub(super) there: u64,
}

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It was acknowledged and is not in the archive.
    Lost(RoomNumber, Key, MessageId),
    /// It was acknowledged with one id and is archived with another.
    Elsewhere(RoomNumber, Key, MessageId, MessageId),
    /// It is in the archive twice.
    Twice(Key),
    /// Its acknowledgements name two ids, or say twice that it is new.
    TwoAnswers(Key, MessageId, MessageId),
    /// It is archived, or somebody saw it, and nobody had sent it like that.
    NobodySent(RoomNumber, MessageId),
    /// Somebody saw it and it is not in the archive.
    Vanished(Who, RoomNumber, MessageId),
    /// The archive and somebody's view name different messages by one id.
    Swapped(Who, RoomNumber, MessageId),
    /// It came twice, or after a later one.
    Again(Who, RoomNumber, MessageId),
    /// Between these two something was missing, and nothing said so.
    Hole(Who, RoomNumber, MessageId, MessageId),
    /// An answer to a join that is said to be complete lacks this.
    Lacks(Who, RoomNumber, MessageId),
    /// An answer to a join ends before a message that somebody had seen or been promised before.
    Stale(Who, RoomNumber, MessageId, MessageId),
    /// The archive says that this one follows another than it does.
    Chain(RoomNumber, MessageId, MessageId),
    /// At the end, a connection has not what the others have.
    Behind(Who, RoomNumber, Option<MessageId>),
    /// A client shows something else than the archive has.
    Shows(u16, RoomNumber),
    /// A client was told a wrong number of members.
    Members(Counted),
    /// Something is left in Redis.
    Left(String),
    /// Something did not come to its end.
    Late(String),
    /// A process ended by itself.
    Exit(String),
    /// The run was not what was asked for.
    Short(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(room, key, id) => {
                write!(f, "{key} was acknowledged as {id} in r{room} and is lost")
            }
            Self::Elsewhere(room, key, told, id) => {
                write!(
                    f,
                    "{key} was acknowledged as {told} in r{room} and is archived as {id}"
                )
            }
            Self::Twice(key) => write!(f, "{key} is archived twice"),
            Self::TwoAnswers(key, one, other) => {
                write!(f, "{key} was acknowledged as {one}, then anew as {other}")
            }
            Self::NobodySent(room, id) => write!(f, "{id} in r{room} is not what anybody sent"),
            Self::Vanished(who, room, id) => {
                write!(f, "{who} saw {id} in r{room}, and it is not in the archive")
            }
            Self::Swapped(who, room, id) => {
                write!(
                    f,
                    "{id} in r{room} is another message to {who} than in the archive"
                )
            }
            Self::Again(who, room, id) => {
                write!(f, "{who} got {id} in r{room} again, or too late")
            }
            Self::Hole(who, room, after, id) => {
                write!(
                    f,
                    "{who} got {id} after {after} in r{room}: something between was missed without a word"
                )
            }
            Self::Lacks(who, room, id) => {
                write!(
                    f,
                    "{who} joined r{room}: the answer is said to be complete and lacks {id}"
                )
            }
            Self::Stale(who, room, top, id) => write!(
                f,
                "{who} joined r{room}: the answer ends with {top}, and {id} was known before"
            ),
            Self::Chain(room, id, prev) => {
                write!(
                    f,
                    "{id} in r{room} is archived as following {prev}, which it does not"
                )
            }
            Self::Behind(who, room, cursor) => {
                write!(
                    f,
                    "{who} ends at {cursor:?} in r{room}, or knows of a hole still"
                )
            }
            Self::Shows(guest, room) => {
                write!(
                    f,
                    "the client of c{guest} shows something else of r{room} than is archived"
                )
            }
            Self::Members(Counted {
                guest,
                room,
                told,
                there,
            }) => write!(
                f,
                "c{guest} was told {told:?} members of r{room}, and {there} are there"
            ),
            Self::Left(what) => write!(f, "left: {what}"),
            Self::Late(what) | Self::Exit(what) | Self::Short(what) => f.write_str(what),
        }
    }
}

/// What was counted on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// By what they are.
    pub(super) all: BTreeMap<&'static str, u64>,
    /// Acknowledged and gone, in the window that the promise leaves open.
    pub(super) excused: BTreeSet<Key>,
}

impl Counts {
    /// Counts one more.
    pub(super) fn one(&mut self, what: &'static str) {
        self.some(what, 1);
    }

    /// Counts some more.
    pub(super) fn some(&mut self, what: &'static str, n: u64) {
        *self.all.entry(what).or_default() += n;
    }
}
