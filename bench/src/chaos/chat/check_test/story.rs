//! Notes in the making, told line by line.

use std::collections::BTreeMap;

use client::MessageId;

use super::super::{
    check::check,
    event::{Deed, Event, Face, Key, RoomNumber, Shown},
    faults::Fault,
    window::Window,
    wrong::{Counts, Remains, Wrong},
};
use crate::chaos::ledger::{Line, Role, Who};

pub(super) const SECOND: u64 = 1_000_000_000;
/// The room of most stories.
pub(super) const ROOM: RoomNumber = 1;

/// Connections of three guests.
pub(super) const ADA: Who = client(0);
pub(super) const BOB: Who = client(1);
pub(super) const EVE: Who = client(2);

const fn client(slot: u16) -> Who {
    Who {
        role: Role::Client,
        slot,
        life: 1,
    }
}

/// A server.
pub(super) const SERVER: Who = Who {
    role: Role::Server,
    slot: 0,
    life: 1,
};

/// Notes, a line a second, and what is left.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) lines: Vec<Line<Event>>,
    pub(super) remains: Remains,
    joins: u64,
}

/// The message of this number, which follows the one before it. All numbers are Ada's.
pub(in super::super) fn message(id: i64) -> Shown {
    follows(id, id - 1)
}

/// The message of this number, which follows another.
pub(super) fn follows(id: i64, prev: i64) -> Shown {
    Shown {
        id: MessageId(id),
        prev: MessageId(prev),
        key: Some(key(id)),
        deed: Deed::Say,
        face: sent(Some(key(id))),
    }
}

/// How something looks that nothing has changed.
fn sent(text: Option<Key>) -> Face {
    Face {
        text,
        change: MessageId::ZERO,
        deleted: false,
    }
}

/// An edit of one of Ada's messages, by her.
pub(in super::super) fn edits(id: i64, target: i64) -> Shown {
    Shown {
        deed: Deed::Edit(MessageId(target)),
        ..message(id)
    }
}

/// A deletion, by her.
pub(in super::super) fn deletes(id: i64, target: i64) -> Shown {
    Shown {
        deed: Deed::Delete(MessageId(target)),
        face: sent(None),
        ..message(id)
    }
}

/// An edit that this later change has replaced.
pub(in super::super) fn replaced(edit: Shown, by: i64) -> Shown {
    Shown {
        face: Face {
            change: MessageId(by),
            ..sent(None)
        },
        ..edit
    }
}

/// A message as a change has made it.
pub(super) fn changed(shown: Shown, by: Shown) -> Shown {
    Shown {
        face: Face {
            text: by.face.text,
            change: by.id,
            deleted: matches!(by.deed, Deed::Delete(_)),
        },
        ..shown
    }
}

pub(in super::super) fn key(id: i64) -> Key {
    Key {
        guest: 0,
        number: u32::try_from(id).unwrap(),
    }
}

impl Story {
    /// Ada has sent five messages, all are acknowledged and archived; Bob is in the room, has seen them
    /// and is still there.
    pub(super) fn all_is_well() -> Self {
        let mut story = Self::default().joins(BOB, None, true, &[]);
        for id in 1..=5 {
            story = story.sends(id).hears(BOB, message(id));
        }
        story.shows(1, &[1, 2, 3, 4, 5])
    }

    pub(super) fn tell(mut self, who: Who, event: Event) -> Self {
        let t = (self.lines.len() as u64 + 1) * SECOND;
        self.lines.push(Line { t, who, event });
        self
    }

    /// Ada posts a message and is answered; it is archived.
    pub(super) fn sends(self, id: i64) -> Self {
        self.posts(id).acked(id, id, false).archives(message(id))
    }

    pub(super) fn posts(self, number: i64) -> Self {
        self.does(number, Deed::Say)
    }

    /// Ada posts something; the frame has its number.
    pub(super) fn does(self, number: i64, deed: Deed) -> Self {
        self.asks(ADA, key(number), deed)
    }

    /// Somebody does.
    pub(super) fn asks(self, who: Who, key: Key, deed: Deed) -> Self {
        let (room, id) = (ROOM, key.number.into());
        let posts = Event::Posts {
            room,
            key,
            id,
            deed,
        };
        self.tell(who, posts)
    }

    /// That is refused.
    pub(super) fn refuses(self, who: Who, number: u64, code: &str) -> Self {
        let (id, code) = (Some(number), code.to_owned());
        self.tell(who, Event::Refused { id, code })
    }

    /// Ada changes a message, and is answered. The change is archived; the message in the archive is as it
    /// has made it, and earlier edits of it have lost their text.
    pub(super) fn changes(self, change: Shown) -> Self {
        let number = change.id.0;
        let target = change.deed.target().unwrap();
        let mut story = self.does(number, change.deed).acked(number, number, false);
        for row in story.remains.archive.entry(ROOM).or_default() {
            if row.id == target {
                *row = changed(*row, change);
            } else if row.deed == Deed::Edit(target) && row.face.change == MessageId::ZERO {
                *row = replaced(*row, number);
            }
        }
        story.archives(change)
    }

    /// Somebody gets a page of older messages.
    pub(super) fn turns(mut self, who: Who, before: i64, messages: &[Shown], more: bool) -> Self {
        self.joins += 1;
        let (room, id, before) = (ROOM, self.joins, MessageId(before));
        let messages = messages.to_vec();
        self.tell(who, Event::Turns { room, id, before }).tell(
            who,
            Event::Page {
                room,
                id,
                more,
                messages,
            },
        )
    }

    pub(super) fn acked(self, number: i64, id: i64, duplicate: bool) -> Self {
        let (room, key, id) = (ROOM, key(number), MessageId(id));
        let acked = Event::Acked {
            room,
            key,
            id,
            duplicate,
            archived: false,
        };
        self.tell(ADA, acked)
    }

    /// The last line, an acknowledgement, says that the message is archived.
    pub(super) fn says_archived(mut self) -> Self {
        if let Some(Event::Acked { archived, .. }) =
            self.lines.last_mut().map(|line| &mut line.event)
        {
            *archived = true;
        }
        self
    }

    pub(super) fn archives(mut self, shown: Shown) -> Self {
        self.remains.archive.entry(ROOM).or_default().push(shown);
        self
    }

    pub(super) fn hears(self, who: Who, message: Shown) -> Self {
        let room = ROOM;
        self.tell(who, Event::Heard { room, message })
    }

    /// Connects, unless that was done before, and joins; these are answered at once.
    pub(super) fn joins(self, who: Who, since: Option<i64>, complete: bool, ids: &[i64]) -> Self {
        let messages: Vec<_> = ids.iter().map(|id| message(*id)).collect();
        let top = ids.last().copied().or(since).unwrap_or(0);
        self.joined(who, since, complete, top, messages, false)
    }

    pub(super) fn joined(
        mut self,
        who: Who,
        since: Option<i64>,
        complete: bool,
        top: i64,
        messages: Vec<Shown>,
        continues: bool,
    ) -> Self {
        self.joins += 1;
        let (room, id, top) = (ROOM, self.joins, MessageId(top));
        let since = since.map(MessageId);
        let is_here =
            |line: &Line<Event>| line.who == who && matches!(line.event, Event::Opened { .. });
        let story = if self.lines.iter().any(is_here) {
            self
        } else {
            self.tell(who, Event::Opened { server: 0 })
        };
        story.tell(who, Event::Joins { room, id, since }).tell(
            who,
            Event::Joined {
                room,
                id,
                complete,
                continues,
                top,
                messages,
            },
        )
    }

    pub(super) fn reset(self, who: Who) -> Self {
        let (room, reason) = (ROOM, String::new());
        self.tell(
            who,
            Event::Reset {
                room,
                reason,
                since: None,
            },
        )
    }

    /// What a guest's client shows at the end: these, and messages as the archive has them.
    pub(super) fn shows(self, guest: u16, ids: &[i64]) -> Self {
        let rows = self.remains.archive.get(&ROOM).cloned().unwrap_or_default();
        let row = |id: &i64| rows.iter().find(|row| row.id.0 == *id).copied();
        let shown: Vec<_> = ids
            .iter()
            .map(|id| row(id).unwrap_or(message(*id)))
            .collect();
        self.shows_these(guest, &shown)
    }

    /// What it shows after these.
    pub(super) fn shows_these(mut self, guest: u16, entries: &[Shown]) -> Self {
        self.remains.shown.retain(|(of, ..)| *of != guest);
        let window = Window::of(entries);
        self.remains.shown.push((guest, ROOM, window));
        self
    }

    /// What the log has at the end.
    pub(super) fn logs(mut self, entries: &[Shown]) -> Self {
        self.remains.logs.insert(ROOM, entries.to_vec());
        self
    }

    pub(super) fn struck(self, fault: Fault) -> Self {
        self.tell(SERVER, Event::Struck { fault })
    }

    pub(super) fn exits(self, signal: Option<i32>, code: Option<i32>) -> Self {
        self.tell(SERVER, Event::Exited { signal, code })
    }

    /// Takes a row out of the archive.
    pub(super) fn without_row(mut self, id: i64) -> Self {
        let rows = self.remains.archive.entry(ROOM).or_default();
        rows.retain(|row| row.id.0 != id);
        self
    }

    /// Changes a row of the archive.
    pub(super) fn with_row(mut self, id: i64, change: impl FnOnce(&mut Shown)) -> Self {
        let rows = self.remains.archive.entry(ROOM).or_default();
        change(rows.iter_mut().find(|row| row.id.0 == id).unwrap());
        self
    }

    pub(super) fn wrong(&self) -> Vec<Wrong> {
        check(&self.lines, &self.remains).0
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let (wrong, counts): (_, Counts) = check(&self.lines, &self.remains);
        assert_eq!(wrong, []);
        counts.all
    }
}
