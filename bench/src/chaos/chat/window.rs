//! A window: what a client shows of a room when it does with entries what docs/protocol.md says.

use std::collections::BTreeMap;

use client::MessageId;

use super::event::{Deed, Face, Shown};

/// One room's window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// All entries, in the order in which they came.
    pub(super) ids: Vec<MessageId>,
    /// How its messages look.
    pub(super) faces: BTreeMap<MessageId, Face>,
    /// What changes have made of messages that it has not.
    kept: BTreeMap<MessageId, Face>,
}

impl Window {
    /// With these entries.
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = &'a Shown>) -> Self {
        let mut window = Self::default();
        for entry in entries {
            window.take(entry);
        }
        window
    }

    /// Takes one more.
    pub(super) fn take(&mut self, entry: &Shown) {
        self.ids.push(entry.id);
        let Some(target) = entry.deed.target() else {
            let kept = self.kept.get(&entry.id).copied();
            let face = kept.map_or(entry.face, |kept| newer(entry.face, kept));
            self.faces.insert(entry.id, face);
            return;
        };
        // A later change has replaced it.
        if entry.face.change > MessageId::ZERO {
            return;
        }
        let made = Face {
            text: entry.face.text,
            change: entry.id,
            deleted: matches!(entry.deed, Deed::Delete(_)),
        };
        if let Some(face) = self.faces.get_mut(&target) {
            *face = newer(*face, made);
        } else {
            let kept = self.kept.entry(target).or_insert(made);
            *kept = newer(*kept, made);
        }
    }
}

/// What is deleted stays deleted; else the later change counts.
fn newer(one: Face, other: Face) -> Face {
    if other.version() > one.version() {
        other
    } else {
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::chat::check_test::story::{deletes, edits, key, message, replaced};

    fn face(entries: &[Shown]) -> (Option<u32>, bool) {
        let face = Window::of(entries).faces[&MessageId(1)];
        (face.text.map(|key| key.number), face.deleted)
    }

    #[test]
    fn the_latest_change_counts_in_whatever_order_they_come() {
        let (said, first, second) = (message(1), edits(2, 1), edits(3, 1));

        assert_eq!(face(&[said]), (Some(1), false));
        assert_eq!(face(&[said, first, second]), (Some(3), false));
        assert_eq!(face(&[second, first, said]), (Some(3), false));
        assert_eq!(face(&[first, second, said]), (Some(3), false));
        assert_eq!(face(&[said, replaced(first, 3)]), (Some(1), false));
        let mut shows_second = said;
        shows_second.face = Face {
            text: Some(key(3)),
            change: MessageId(3),
            deleted: false,
        };
        assert_eq!(face(&[shows_second, first]), (Some(3), false));
    }

    #[test]
    fn what_is_deleted_stays_deleted() {
        let (said, edit, deletion) = (message(1), edits(3, 1), deletes(2, 1));

        assert_eq!(face(&[said, deletion, edit]), (None, true));
        assert_eq!(face(&[deletion, edit, said]), (None, true));
    }
}
