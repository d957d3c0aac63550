//! What the driver may know of the guests while they live, and what their clients show.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use client::{Message, MessageId};

use super::{
    event::{RoomNumber, Shown},
    window::Window,
    wrong::Counted,
};

/// Of all guests.
#[derive(Debug, Default)]
pub(super) struct Status(Mutex<BTreeMap<u16, OfOne>>);

/// Of one guest.
#[derive(Debug, Default)]
struct OfOne {
    place: Place,
    /// Members as told last.
    members: BTreeMap<RoomNumber, u64>,
    /// What its client shows.
    shown: BTreeMap<RoomNumber, Window>,
}

/// Where a guest is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The server that it is connected to.
    pub(super) server: Option<u16>,
    /// Rooms that it is in.
    pub(super) rooms: usize,
    /// What it waits to hear is kept.
    pub(super) unacked: usize,
}

impl Status {
    /// A guest is connected to `server`.
    pub(super) fn is_at(&self, guest: u16, server: u16, rooms: usize, unacked: usize) {
        let mut all = self.all();
        all.entry(guest).or_default().place = Place {
            server: Some(server),
            rooms,
            unacked,
        };
    }

    /// A guest has lost its connection.
    pub(super) fn left(&self, guest: u16) {
        let mut all = self.all();
        let one = all.entry(guest).or_default();
        one.place.server = None;
        one.place.rooms = 0;
        one.members.clear();
    }

    /// A guest was told how many members there are.
    pub(super) fn counts(&self, guest: u16, room: RoomNumber, members: u64) {
        let mut all = self.all();
        all.entry(guest).or_default().members.insert(room, members);
    }

    /// A guest's client shows these, too.
    pub(super) fn shows(&self, guest: u16, room: RoomNumber, messages: &[Message]) {
        let mut all = self.all();
        let window = all.entry(guest).or_default().shown.entry(room).or_default();
        for message in messages {
            window.take(&Shown::from(message));
        }
    }

    /// A guest's client shows nothing any more of a room.
    pub(super) fn shows_anew(&self, guest: u16, room: RoomNumber) {
        self.all().entry(guest).or_default().shown.remove(&room);
    }

    /// Where each guest is.
    pub(super) fn look(&self) -> BTreeMap<u16, Place> {
        let all = self.all();
        all.iter().map(|(guest, one)| (*guest, one.place)).collect()
    }

    /// The last entry that a guest's client has taken of a room.
    pub(super) fn newest(&self, guest: u16, room: RoomNumber) -> Option<MessageId> {
        let all = self.all();
        all.get(&guest)?.shown.get(&room)?.ids.last().copied()
    }

    /// What all clients show.
    pub(super) fn shown(&self) -> Vec<(u16, RoomNumber, Window)> {
        let all = self.all();
        let of_one = |(guest, one): (&u16, &OfOne)| {
            let guest = *guest;
            let shown = one.shown.clone();
            shown
                .into_iter()
                .map(move |(room, window)| (guest, room, window))
        };
        all.iter().flat_map(of_one).collect()
    }

    /// What each connected guest was told of each room's members, where `there` says how many are there.
    pub(super) fn counted(&self, rooms: RoomNumber, there: u64) -> Vec<Counted> {
        let all = self.all();
        let connected = all.iter().filter(|(_, one)| one.place.server.is_some());
        let of_one = |(guest, one): (&u16, &OfOne)| {
            let (guest, members) = (*guest, one.members.clone());
            (0..rooms).map(move |room| Counted {
                guest,
                room,
                told: members.get(&room).copied(),
                there,
            })
        };
        connected.flat_map(of_one).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u16, OfOne>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
