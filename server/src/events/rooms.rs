//! The rooms of one stream: which of them a frame is about, and the ids of its events. An id says where the reader
//! is in each room, so that a browser, which names the last one by itself, goes on in all of them.

use std::str::FromStr;

use common::id::{MessageId, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::show::{Elsewhere, Showing, Then, event};
use crate::frame::Join;

/// Rooms of one stream at most: each event has a place of each of them in its id.
pub(crate) const MOST: usize = 20;
/// What stands for a room in which the reader has nothing to go on from.
pub(crate) const ANEW: &str = "-";
/// A list of places has so many bytes at most.
const LONGEST: usize = MOST * "9007199254740991,".len();

/// Where a reader is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has this message, and all before it that it wants.
    After(MessageId),
    /// What it had is void: it begins anew.
    Anew,
}

/// The places of a stream's reader, one for each room, in the order of the rooms: `1790000000000003,-`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Places(Vec<Place>);

/// Why a text is no list of places.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a stream's id or `since` has a message's id for each room, or `-`, with commas between")]
pub(crate) struct NoPlaces;

impl FromStr for Places {
    type Err = NoPlaces;

    fn from_str(text: &str) -> Result<Self, NoPlaces> {
        if text.len() > LONGEST {
            return Err(NoPlaces);
        }
        let place = |part: &str| match part {
            ANEW => Ok(Place::Anew),
            id => id.parse().map(Place::After).map_err(|_| NoPlaces),
        };
        text.split(',')
            .map(place)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// What a stream has shown of its rooms.
#[derive(Debug)]
pub(crate) struct Rooms {
    rooms: Vec<Showing>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InRoom<'a> {
    room_id: &'a str,
}

impl Rooms {
    /// Nothing yet; the reader is at `places`, if it has been here.
    ///
    /// # Errors
    /// If these are not as many as the rooms.
    pub(crate) fn new(
        rooms: Vec<RoomId>,
        places: Option<Places>,
        limit: Option<usize>,
    ) -> Result<Self, NoPlaces> {
        let places = match places {
            Some(Places(places)) if places.len() == rooms.len() => {
                places.into_iter().map(Some).collect()
            }
            Some(_) => return Err(NoPlaces),
            None => vec![None; rooms.len()],
        };
        let rooms = rooms.into_iter().zip(places);
        let showing = |(room, place)| Showing::new(room, place, limit);
        Ok(Self {
            rooms: rooms.map(showing).collect(),
        })
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.rooms.len()
    }

    /// The join of a room that goes on from what was shown.
    pub(crate) fn join(&self, room: usize) -> Join {
        self.rooms[room].join()
    }

    /// Appends the events of a frame to `out`. Gives the room that is to be joined again, if one is.
    pub(crate) fn show(&mut self, frame: &str, out: &mut String) -> Option<usize> {
        // They are our own frames: what cannot be read is none that this version knows.
        let frame: Frame<'_> = serde_json::from_str(frame).ok()?;
        let payload = frame.payload.map_or("{}", RawValue::get);
        if frame.kind == "goaway" {
            event(frame.kind, None, payload, out);
            return None;
        }
        let InRoom { room_id } = serde_json::from_str(payload).ok()?;
        let mut rooms = self.rooms.iter();
        let at = rooms.position(|showing| showing.room().as_str() == room_id)?;
        let elsewhere = Elsewhere {
            before: self.rooms[..at]
                .iter()
                .map(|room| place(room) + ",")
                .collect(),
            after: self.rooms[at + 1..]
                .iter()
                .map(|room| ",".to_owned() + &place(room))
                .collect(),
        };
        let then = self.rooms[at].show(frame.kind, payload, &elsewhere, out);
        (then == Then::Join).then_some(at)
    }
}

/// As an id names it.
fn place(room: &Showing) -> String {
    let after = room.resumes_from();
    after.map_or_else(|| ANEW.to_owned(), |id| id.to_string())
}
