//! Frames: what clients send and what they are sent, as JSON (design, section 4). [`mod@read`] and
//! [`mod@write`] are the two directions; here is what both need.

mod read;
mod write;

use std::{borrow::Cow, time::Duration};

use common::id::RoomId;
use serde_json::value::RawValue;

pub(crate) use read::{
    AckLevel, Ask, Change, Join, MAX_CLIENT_ID, MAX_FRAME, MAX_MISSED, Post, read, shortened,
};
pub(crate) use write::{
    ack, authed, error, goaway, history, joined, left, pong, presence, render_all, reset, resume,
    typing,
};

/// The client's id of a frame: a JSON number or string, repeated as it stands.
pub(crate) type FrameId = Option<Box<RawValue>>;

/// A time as frames have it.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A frame that cannot be done, with what to tell its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after_ms: Option<u64>,
    /// The room that it is about, where the frame does not say.
    pub(crate) room_id: Option<RoomId>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
            room_id: None,
        }
    }

    /// It is about this room.
    pub(crate) fn of(self, room: &RoomId) -> Self {
        Self {
            room_id: Some(room.clone()),
            ..self
        }
    }

    /// Redis cannot be reached; the same frame may succeed later.
    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::later("unavailable", message, 1000)
    }

    /// What cannot be done now; the same frame may succeed after so many ms.
    pub(crate) fn later(
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
        retry_after_ms: u64,
    ) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(code, message)
        }
    }
}
