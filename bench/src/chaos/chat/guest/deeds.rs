//! What a guest does of its own accord, by its dice.

use std::time::Duration;

use client::{AckLevel, MessageId};

use super::{End, Guest, Kept, name, page::Wanted};
use crate::chaos::chat::event::{Deed, Key, RoomNumber};

/// Between two deeds of one guest, on average.
const PACE: Duration = Duration::from_millis(220);
/// A room is quiet for so long: long enough to leave Redis.
const TIDE: Duration = Duration::from_secs(3);

/// What comes of a deed.
pub(super) enum Act {
    /// Nothing more.
    Done,
    /// Nothing is read for so long.
    Doze(Duration),
    /// Older messages are looked at.
    Turn(Wanted),
    /// The connection ends.
    Go(End),
}

impl Guest {
    pub(super) fn pause(&mut self) -> Duration {
        let ms = u64::try_from(PACE.as_millis()).unwrap_or(1);
        Duration::from_millis(self.dice.between(ms / 4, ms * 7 / 4))
    }

    /// What the dice say.
    pub(super) fn act(&mut self) -> Act {
        for room in 1..self.world.rooms {
            if self.is_in(room) && self.is_quiet(room) {
                self.session.leave(&name(room));
            }
        }
        let room = u16::try_from(self.dice.below(u64::from(self.world.rooms))).unwrap_or(0);
        match self.dice.below(1000) {
            0..380 => self.say(),
            380..460 => self.change(Deed::Edit),
            460..490 => self.change(Deed::Delete),
            490..505 => self.change_others(),
            505..511 => self.flood(),
            511..565 => self.post_again(),
            565..600 => return self.turn_back(),
            600..650 => self.session.typing(&name(room)),
            650..800 if !self.is_in(room) && !self.is_quiet(room) => self.join(room),
            800..860 => self.session.leave(&name(room)),
            860..890 => return Act::Doze(Duration::from_millis(self.dice.between(200, 2_500))),
            890..910 => return Act::Go(End::Close),
            910..950 => return Act::Go(End::Cut),
            _ => {}
        }
        Act::Done
    }

    /// Something new.
    fn say(&mut self) {
        let Some(room) = self.some_room() else { return };
        let key = self.next_key();
        self.post(room, key, Deed::Say);
    }

    fn next_key(&mut self) -> Key {
        self.next += 1;
        let (guest, number) = (self.number, self.next);
        Key { guest, number }
    }

    /// Another text for an own message, or its deletion; mostly of one of the last.
    fn change(&mut self, deed: impl Fn(MessageId) -> Deed) {
        let back = if self.dice.below(4) == 0 { 100_000 } else { 30 };
        let own = self.kept.iter().rev().filter(|kept| {
            kept.deed == Deed::Say && self.is_in(kept.room) && !self.is_quiet(kept.room)
        });
        let own: Vec<_> = own.take(back).map(|kept| (kept.room, kept.id)).collect();
        if !own.is_empty() {
            let (room, id) = self.dice.pick(&own);
            let key = self.next_key();
            self.post(room, key, deed(id));
        }
    }

    /// A change of what is not its own, or no message: to be refused.
    fn change_others(&mut self) {
        let others: Vec<_> = self.others.iter().copied().collect();
        let open = |(room, _): &(RoomNumber, _)| self.is_in(*room) && !self.is_quiet(*room);
        let others: Vec<_> = others.into_iter().filter(open).collect();
        if !others.is_empty() {
            let (room, id) = self.dice.pick(&others);
            let key = self.next_key();
            let deletes = self.dice.below(2) == 0;
            let deed = if deletes { Deed::Delete } else { Deed::Edit };
            self.post(room, key, deed(id));
        }
    }

    /// Older messages than one that it knows, in whatever room.
    fn turn_back(&mut self) -> Act {
        if self.kept.is_empty() {
            return Act::Done;
        }
        let at = self.dice.below(self.kept.len() as u64);
        let Kept { room, id, .. } = self.kept[crate::number::length(at)];
        self.pages += 1;
        Act::Turn(Wanted {
            room,
            before: id,
            limit: self.dice.between(5, 100),
            id: self.pages,
        })
    }

    /// Much at once, into the one room that is never quiet.
    fn flood(&mut self) {
        if !self.is_in(0) {
            return;
        }
        for _ in 0..40 {
            self.next_long += 1;
            let (guest, number) = (self.number, self.next_long);
            self.post(0, Key { guest, number }, Deed::Say);
        }
    }

    /// What was acknowledged before, as somebody does who does not know it.
    fn post_again(&mut self) {
        let back = crate::number::length(self.dice.below(20));
        let lately = self.kept.len().checked_sub(back + 1);
        if let Some(kept) = lately.and_then(|at| self.kept.get(at)) {
            let Kept {
                room, key, deed, ..
            } = *kept;
            self.post(room, key, deed);
        }
    }

    /// Into every room.
    pub(super) fn gather(&mut self) {
        for room in 0..self.world.rooms {
            if !self.is_in(room) {
                self.join(room);
            }
        }
    }

    fn post(&mut self, room: RoomNumber, key: Key, deed: Deed) {
        self.posted.insert(key, deed);
        let text = key.text(key.length());
        let deed = match deed {
            Deed::Say => client::Deed::Say {
                text,
                // Some want to know it archived; the same ones each time that they are sent.
                ack: if key.number % 8 == 3 {
                    AckLevel::Db
                } else {
                    AckLevel::Redis
                },
            },
            Deed::Edit(target) => client::Deed::Edit { target, text },
            Deed::Delete(target) => client::Deed::Delete { target },
        };
        self.session.post(&name(room), &key.to_string(), deed);
    }

    /// A room that it is in and that is not quiet.
    fn some_room(&mut self) -> Option<RoomNumber> {
        let open = |room: &RoomNumber| self.is_in(*room) && !self.is_quiet(*room);
        let rooms: Vec<_> = (0..self.world.rooms).filter(open).collect();
        (!rooms.is_empty()).then(|| self.dice.pick(&rooms))
    }

    pub(super) fn join(&mut self, room: RoomNumber) {
        let limit = if self.dice.below(3) == 0 { 20 } else { 1000 };
        self.session.join_since(&name(room), None, limit);
    }

    pub(super) fn is_in(&self, room: RoomNumber) -> bool {
        let name = name(room);
        self.session.rooms().any(|room| room == name)
    }

    /// All guests leave a room at the same time, in turn; but for the first room.
    fn is_quiet(&self, room: RoomNumber) -> bool {
        let tide = self.started.elapsed().as_secs() / TIDE.as_secs();
        room > 0 && (u64::from(room) + tide).is_multiple_of(3)
    }
}
