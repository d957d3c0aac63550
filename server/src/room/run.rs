//! A run: messages of a room that follow one another, encoded once for all of its members.

use common::{
    chat::Entry,
    id::{MessageId, RoomId},
};

use crate::packet::Packet;

/// A longer run is cut: a member gets all of it or none, and an outbox has a bound.
const RUN_BYTES: usize = 4 * 1024;

/// What a frame has around a message and its room's name.
const AROUND: usize = 40;

/// Messages that follow one another.
#[derive(Debug)]
pub(super) struct Run {
    /// The message before the first, and the last.
    pub(super) prev: MessageId,
    pub(super) last: MessageId,
    /// All of them, as they go over the wire.
    pub(super) packet: Packet,
    ids: Vec<MessageId>,
}

/// A message as it is delivered: built once for all members.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) id: MessageId,
    pub(super) prev: MessageId,
    pub(super) packet: Packet,
}

impl Run {
    /// What there is to deliver of these messages, in their order.
    pub(super) fn each_of<'a>(
        room: &'a RoomId,
        entries: &'a [Entry],
    ) -> impl Iterator<Item = Self> + 'a {
        let length = |entry: &Entry| entry.rendered_len() + room.as_str().len() + AROUND;
        let mut bytes = 0;
        let runs = entries.chunk_by(move |one, next| {
            bytes += length(one);
            let follows = next.prev == one.id && bytes + length(next) <= RUN_BYTES;
            if !follows {
                bytes = 0;
            }
            follows
        });
        runs.filter_map(|run| Self::of(room, run))
    }

    fn of(room: &RoomId, entries: &[Entry]) -> Option<Self> {
        let (first, last) = (entries.first()?, entries.last()?);
        let texts: Vec<String> = entries.iter().map(|entry| entry.frame(room)).collect();
        let bytes = texts.iter().map(|text| text.len() + 4).sum();
        Some(Self {
            prev: first.prev,
            last: last.id,
            packet: Packet::of_several(texts.iter().map(String::as_str), bytes),
            ids: entries.iter().map(|entry| entry.id).collect(),
        })
    }

    /// Each message by itself.
    pub(super) fn each(&self) -> impl Iterator<Item = Delivery> {
        let mut prev = self.prev;
        self.ids
            .iter()
            .zip(self.packet.each())
            .map(move |(&id, packet)| {
                let prev = std::mem::replace(&mut prev, id);
                Delivery { id, prev, packet }
            })
    }
}
