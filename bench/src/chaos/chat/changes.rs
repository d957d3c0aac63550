//! Changes: what edits and deletions must have made of messages, in the archive, in the log and in what
//! somebody reads.

use std::collections::{BTreeMap, HashMap};

use client::MessageId;

use super::{
    check::{Check, Known},
    event::{Deed, Event, Face, Key, RoomNumber, Shown},
    wrong::Wrong,
};
use crate::chaos::ledger::{Line, Who};

/// The changes of each message, in their order.
#[derive(Debug, Default)]
pub(super) struct Changes(HashMap<(RoomNumber, MessageId), Vec<Change>>);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) id: MessageId,
    /// Whose it is, and the new text.
    key: Option<Key>,
    pub(super) deletes: bool,
}

impl Change {
    /// What it makes of a message.
    fn face(&self) -> Face {
        Face {
            text: self.key.filter(|_| !self.deletes),
            change: self.id,
            deleted: self.deletes,
        }
    }
}

/// Refusals of what may be asked again: they say nothing of the message.
const PASSING: [&str; 5] = [
    "unavailable",
    "rate_limited",
    "not_joined",
    "archive_unavailable",
    "not_archived",
];

impl Changes {
    /// All that are archived.
    pub(super) fn of(archive: &BTreeMap<RoomNumber, Vec<Shown>>) -> Self {
        let mut changes: HashMap<_, Vec<_>> = HashMap::new();
        for (room, rows) in archive {
            for row in rows {
                if let Some(target) = row.deed.target() {
                    changes.entry((*room, target)).or_default().push(Change {
                        id: row.id,
                        key: row.key,
                        deletes: matches!(row.deed, Deed::Delete(_)),
                    });
                }
            }
        }
        Self(changes)
    }

    /// Those of one message.
    pub(super) fn of_message(&self, room: RoomNumber, id: MessageId) -> &[Change] {
        self.0.get(&(room, id)).map_or(&[], Vec::as_slice)
    }
}

impl Known<'_> {
    /// The change that whoever reads a message from a time on must find carried out, if there is one.
    pub(super) fn due(&self, t: u64, room: RoomNumber, id: MessageId) -> Option<Change> {
        let changes = self.changes.of_message(room, id).iter();
        let known = changes.filter(|change| {
            let acked = self.acked.get(&(room, change.id));
            acked.is_some_and(|acked| *acked < t) && !self.may_be_gone(room, change.id)
        });
        known.max_by_key(|change| change.face().version()).copied()
    }

    /// Whether an entry looks as it was sent, or as one of its changes has made it.
    pub(super) fn looks_true(&self, room: RoomNumber, shown: &Shown) -> bool {
        let Face {
            text,
            change,
            deleted,
        } = shown.face;
        let own = match shown.deed {
            Deed::Delete(_) => None,
            Deed::Say | Deed::Edit(_) => shown.key,
        };
        if change == MessageId::ZERO {
            return text == own && !deleted;
        }
        if self.may_be_gone(room, change) {
            return true;
        }
        let target = shown.deed.target().unwrap_or(shown.id);
        let changes = self.changes.of_message(room, target);
        let by = changes.iter().find(|by| by.id == change);
        match shown.deed {
            Deed::Say => by.is_some_and(|by| by.face() == shown.face),
            // A later one has replaced it.
            Deed::Edit(_) => by.is_some_and(|by| by.id > shown.id) && text.is_none() && !deleted,
            Deed::Delete(_) => false,
        }
    }

    /// Whether Redis may have lost any of a message's changes. The archive may show one that it has not.
    pub(super) fn may_have_lost_some(&self, room: RoomNumber, id: MessageId) -> bool {
        let changes = self.changes.of_message(room, id).iter();
        let shown = self.archived(room, id).map(|row| row.face.change);
        let mut all = changes.map(|change| change.id).chain(shown);
        all.any(|change| self.may_be_gone(room, change))
    }
}

impl Check<'_> {
    /// What is archived looks as the last of its changes says, and keeps nothing of the others; each change
    /// is by the author of its message, and none follows a deletion.
    pub(super) fn changed(&mut self) {
        for (room, rows) in &self.remains.archive {
            for row in rows {
                let target = row.deed.target().unwrap_or(row.id);
                let changes = self.known.changes.of_message(*room, target);
                if self.known.may_have_lost_some(*room, target) {
                    continue;
                }
                let last = changes.iter().max_by_key(|change| change.face().version());
                match (row.deed, last) {
                    (Deed::Say, Some(last)) => {
                        let what = if last.deletes { "deleted" } else { "edited" };
                        self.counts.one(what);
                        if row.face != last.face() {
                            self.wrong.push(Wrong::Unchanged(*room, row.id));
                        }
                    }
                    (Deed::Edit(_), Some(last)) if row.id < last.id => {
                        self.counts.one("edits that later changes replaced");
                        if row.face.text.is_some() || row.face.change <= row.id {
                            self.wrong.push(Wrong::Kept(*room, row.id));
                        }
                    }
                    _ if !self.known.looks_true(*room, row) => {
                        self.wrong.push(Wrong::Unchanged(*room, row.id));
                    }
                    _ => {}
                }
                if row.deed.target().is_some() {
                    self.may_change(*room, row, changes);
                }
            }
        }
    }

    fn may_change(&mut self, room: RoomNumber, row: &Shown, changes: &[Change]) {
        let target = row.deed.target().unwrap_or_default();
        let guest = |shown: &Shown| shown.key.map(|key| key.guest);
        let is_own = match self.known.archived(room, target) {
            Some(said) => said.deed == Deed::Say && guest(said) == guest(row),
            None => self.known.may_be_gone(room, target),
        };
        if !is_own {
            self.wrong.push(Wrong::NotTheirs(room, row.id, target));
        }
        let mut deletions = changes.iter().filter(|change| change.deletes);
        let before =
            |deletion: &Change| deletion.id < row.id && !self.known.may_be_gone(room, deletion.id);
        if deletions.any(before) {
            self.wrong.push(Wrong::AfterDeletion(room, row.id, target));
        }
    }

    /// What the logs had at the end is archived like that.
    pub(super) fn logs(&mut self) {
        for (room, entries) in &self.remains.logs {
            for entry in entries {
                self.counts.one("in the logs at the end");
                let Some(row) = self.known.archived(*room, entry.id) else {
                    self.wrong.push(Wrong::Differs(*room, entry.id));
                    continue;
                };
                let same = |one: &Shown, other: &Shown| {
                    (one.key, one.deed, one.prev) == (other.key, other.deed, other.prev)
                };
                // An edit keeps its text until it is flushed.
                let looks_same = entry.deed != Deed::Say
                    || entry.face == row.face
                    || self.known.may_be_gone(*room, entry.face.change)
                    || self.known.may_have_lost_some(*room, entry.id);
                if !same(entry, row) || !looks_same {
                    self.wrong.push(Wrong::Differs(*room, entry.id));
                }
            }
        }
    }

    /// Nothing is refused for good without a reason.
    pub(super) fn refusals(&mut self) {
        let mut asked: HashMap<(Who, u64), (RoomNumber, Key, Deed)> = HashMap::new();
        for Line { t, who, event } in self.lines {
            match event {
                Event::Posts {
                    room,
                    key,
                    id,
                    deed,
                } => drop(asked.insert((*who, *id), (*room, *key, *deed))),
                Event::Refused { id: Some(id), code } => {
                    let Some((room, key, deed)) = asked.get(&(*who, *id)) else {
                        continue;
                    };
                    if PASSING.contains(&&**code) {
                        continue;
                    }
                    let is_right = deed
                        .target()
                        .is_some_and(|target| self.is_right(*t, (*room, target), *key, code));
                    if !is_right {
                        self.wrong.push(Wrong::Refused(*key, code.clone()));
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a change of a message was to be refused like this.
    fn is_right(
        &mut self,
        t: u64,
        (room, target): (RoomNumber, MessageId),
        key: Key,
        code: &str,
    ) -> bool {
        let Some(row) = self.known.archived(room, target) else {
            return self.known.may_be_gone(room, target);
        };
        let is_own = row.key.is_some_and(|author| author.guest == key.guest);
        match code {
            "not_author" => {
                self.counts.one("changes of others' messages refused");
                row.deed == Deed::Say && !is_own
            }
            "not_a_message" => {
                self.counts.one("changes of changes refused");
                row.deed != Deed::Say
            }
            "deleted" => {
                self.counts.one("changes of what was deleted refused");
                let mut changes = self.known.changes.of_message(room, target).iter();
                let sent = |key: Option<Key>| Some(self.known.sent.get(&key?)?.at);
                let had = |change: &Change| {
                    change.deletes && sent(change.key).is_some_and(|sent| sent < t)
                };
                is_own && (changes.any(had) || self.known.had_cuts())
            }
            "not_found" => self.known.may_be_gone(room, target),
            _ => false,
        }
    }
}
