//! What a guest does of its own accord, by its dice.

use std::time::Duration;

use client::{AckLevel, Deed};

use super::{End, Guest, name};
use crate::chaos::chat::event::{Key, RoomNumber};

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
            0..550 => self.say(),
            550..556 => self.flood(),
            556..600 => self.say_again(),
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
        self.next += 1;
        let (guest, number) = (self.number, self.next);
        self.post(room, Key { guest, number });
    }

    /// Much at once, into the one room that is never quiet.
    fn flood(&mut self) {
        if !self.is_in(0) {
            return;
        }
        for _ in 0..40 {
            self.next_long += 1;
            let (guest, number) = (self.number, self.next_long);
            self.post(0, Key { guest, number });
        }
    }

    /// What was acknowledged before, as somebody does who does not know it.
    fn say_again(&mut self) {
        let back = crate::number::length(self.dice.below(20));
        let lately = self.kept.len().checked_sub(back + 1);
        if let Some((room, key)) = lately.and_then(|at| self.kept.get(at)) {
            self.post(*room, *key);
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

    fn post(&mut self, room: RoomNumber, key: Key) {
        let deed = Deed::Say {
            text: key.text(key.length()),
            // Some want to know it archived; the same ones each time that they are sent.
            ack: if key.number % 8 == 3 {
                AckLevel::Db
            } else {
                AckLevel::Redis
            },
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
