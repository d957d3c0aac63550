//! What the check takes, besides the notes, and what it gives: what was left, what must not be, and what
//! was counted.

use std::collections::{BTreeMap, BTreeSet};

use client::MessageId;

use super::{
    event::{Key, RoomNumber, Shown},
    window::Window,
};
use crate::chaos::ledger::Who;

/// What was there when all was over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// The archive, by room, by id.
    pub(super) archive: BTreeMap<RoomNumber, Vec<Shown>>,
    /// The log of each room when the guests had all of it.
    pub(super) logs: BTreeMap<RoomNumber, Vec<Shown>>,
    /// What each guest's client showed of each room then, from the last time on that it had to begin anew.
    pub(super) shown: Vec<(u16, RoomNumber, Window)>,
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    /// It was acknowledged and is not in the archive.
    #[error("{1} was acknowledged as {2} in r{0} and is lost")]
    Lost(RoomNumber, Key, MessageId),
    /// It was acknowledged with one id and is archived with another.
    #[error("{1} was acknowledged as {2} in r{0} and is archived as {3}")]
    Elsewhere(RoomNumber, Key, MessageId, MessageId),
    /// It is in the archive twice.
    #[error("{0} is archived twice")]
    Twice(Key),
    /// Its acknowledgements name two ids, or say twice that it is new.
    #[error("{0} was acknowledged as {1}, then anew as {2}")]
    TwoAnswers(Key, MessageId, MessageId),
    /// It is archived, or somebody saw it, and nobody had sent it like that.
    #[error("{1} in r{0} is not what anybody sent")]
    NobodySent(RoomNumber, MessageId),
    /// Somebody saw it and it is not in the archive.
    #[error("{0} saw {2} in r{1}, and it is not in the archive")]
    Vanished(Who, RoomNumber, MessageId),
    /// The archive and somebody's view name different messages by one id.
    #[error("{2} in r{1} is another message to {0} than in the archive")]
    Swapped(Who, RoomNumber, MessageId),
    /// It came twice, or after a later one.
    #[error("{0} got {2} in r{1} again, or too late")]
    Again(Who, RoomNumber, MessageId),
    /// Between these two something was missing, and nothing said so.
    #[error("{0} got {3} after {2} in r{1}: something between was missed without a word")]
    Hole(Who, RoomNumber, MessageId, MessageId),
    /// An answer that is said to be complete lacks this.
    #[error("{0} read r{1}: the answer is said to be complete and lacks {2}")]
    Lacks(Who, RoomNumber, MessageId),
    /// An answer to a join ends before a message that somebody had seen or been promised before.
    #[error("{0} joined r{1}: the answer ends with {2}, and {3} was known before")]
    Stale(Who, RoomNumber, MessageId, MessageId),
    /// The archive says that this one follows another than it does.
    #[error("{1} in r{0} is archived as following {2}, which it does not")]
    Chain(RoomNumber, MessageId, MessageId),
    /// At the end, a connection has not what the others have.
    #[error("{0} ends at {2:?} in r{1}, or knows of a hole still")]
    Behind(Who, RoomNumber, Option<MessageId>),
    /// A client shows something else than the archive has.
    #[error("the client of c{0} shows something else of r{1} than is archived")]
    Shows(u16, RoomNumber),
    /// Somebody saw it with a text that neither its sender nor any of its changes gave it.
    #[error("{0} saw {2} in r{1} with a text that nobody gave it")]
    Untrue(Who, RoomNumber, MessageId),
    /// Somebody read it without this change, which was acknowledged before.
    #[error("{0} read {2} in r{1} without {3}, which was acknowledged before")]
    Outdated(Who, RoomNumber, MessageId, MessageId),
    /// Somebody read it after this had deleted it.
    #[error("{0} read {2} in r{1} after {3} had deleted it")]
    Undead(Who, RoomNumber, MessageId, MessageId),
    /// It is not archived as its last change says.
    #[error("{1} in r{0} is archived otherwise than its changes say")]
    Unchanged(RoomNumber, MessageId),
    /// An edit that was replaced by a later change has kept its text.
    #[error("{1} in r{0} was replaced by a later change and keeps its text")]
    Kept(RoomNumber, MessageId),
    /// It changes a message that is not its sender's, or none.
    #[error("{1} in r{0} changes {2}, which is not its sender's")]
    NotTheirs(RoomNumber, MessageId, MessageId),
    /// It changes a message that was deleted before.
    #[error("{1} in r{0} changes {2}, which was deleted before")]
    AfterDeletion(RoomNumber, MessageId, MessageId),
    /// The log had it otherwise than the archive.
    #[error("{1} in r{0} was otherwise in the log than it is archived")]
    Differs(RoomNumber, MessageId),
    /// It was refused for a reason that does not hold.
    #[error("{0} was refused as `{1}`, for which there is no reason")]
    Refused(Key, String),
    /// A client shows this message otherwise than the archive has it.
    #[error("the client of c{0} shows {2} in r{1} otherwise than it is archived")]
    ShowsAsWas(u16, RoomNumber, MessageId),
    /// A client was told a wrong number of members.
    #[error("c{}, in r{}, was told {:?} members, and {} are there", .0.guest, .0.room, .0.told, .0.there)]
    Members(Counted),
    /// Something is left in Redis.
    #[error("left: {0}")]
    Left(String),
    /// Something did not come to its end.
    #[error("{0}")]
    Late(String),
    /// A process ended by itself.
    #[error("{0}")]
    Exit(String),
    /// The run was not what was asked for.
    #[error("{0}")]
    Short(String),
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
