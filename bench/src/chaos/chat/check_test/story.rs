//! Notes in the making, told line by line.

use std::collections::BTreeMap;

use client::MessageId;

use super::super::{
    check::check,
    event::{Event, Key, RoomNumber, Shown},
    faults::Fault,
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
pub(super) fn message(id: i64) -> Shown {
    follows(id, id - 1)
}

/// The message of this number, which follows another.
pub(super) fn follows(id: i64, prev: i64) -> Shown {
    Shown {
        id: MessageId(id),
        prev: MessageId(prev),
        key: Some(key(id)),
    }
}

pub(super) fn key(id: i64) -> Key {
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
        let (room, key) = (ROOM, key(number));
        self.tell(ADA, Event::Posts { room, key })
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

    /// What a guest's client shows at the end.
    pub(super) fn shows(mut self, guest: u16, ids: &[i64]) -> Self {
        let ids = ids.iter().copied().map(MessageId).collect();
        self.remains.shown.retain(|(of, ..)| *of != guest);
        self.remains.shown.push((guest, ROOM, ids));
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
