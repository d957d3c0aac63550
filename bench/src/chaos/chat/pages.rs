//! Pages of older messages, held against the archive.

use client::MessageId;

use super::{
    event::{RoomNumber, Shown},
    view::Views,
    window::Window,
    wrong::Wrong,
};
use crate::chaos::ledger::Who;

impl Views<'_> {
    /// A page ends right before the message that it was asked for, has no hole, and shows what was known
    /// when it was asked for.
    pub(super) fn page(
        &mut self,
        t: u64,
        (who, room, id): (Who, RoomNumber, u64),
        messages: &[Shown],
        more: bool,
    ) {
        let Some((asked, before)) = self.turned.remove(&(who, id)) else {
            return;
        };
        self.counts.one("pages of older messages");
        for message in messages {
            self.genuine(t, who, room, *message);
        }
        let ascends = |pair: &&[Shown]| pair[0].id >= pair[1].id;
        if let Some(pair) = messages.windows(2).find(ascends) {
            self.wrong.push(Wrong::Again(who, room, pair[1].id));
        }
        let after = match messages.first() {
            Some(first) if more => MessageId(first.id.0 - 1),
            _ => MessageId::ZERO,
        };
        let mut due = self.known.between(room, after, MessageId(before.0 - 1));
        let lacks = due.find(|id| !messages.iter().any(|message| message.id == *id));
        self.wrong
            .extend(lacks.map(|id| Wrong::Lacks(who, room, id)));
        self.up_to_date(asked, who, room, messages);
    }

    /// Whoever reads a message shows it as all changes make it that were known when it was asked for.
    pub(super) fn up_to_date(
        &mut self,
        asked: u64,
        who: Who,
        room: RoomNumber,
        messages: &[Shown],
    ) {
        for (id, face) in &Window::of(messages).faces {
            let Some(due) = self.known.due(asked, room, *id) else {
                continue;
            };
            if due.deletes && !face.deleted {
                self.wrong.push(Wrong::Undead(who, room, *id, due.id));
            } else if !face.deleted && face.change < due.id {
                self.wrong.push(Wrong::Outdated(who, room, *id, due.id));
            }
        }
    }
}
