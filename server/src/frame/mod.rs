//! Frames: what clients send and what they are sent, as JSON (design, section 4). [`mod@read`] and
//! [`mod@write`] are the two directions; here is what both need.

mod read;
mod write;

use std::borrow::Cow;

use serde_json::value::RawValue;

pub(crate) use read::{Ask, Join, MAX_CLIENT_ID, MAX_MESSAGE, MAX_MISSED, Post, read};
pub(crate) use write::{
    ack, error, goaway, history, joined, left, pong, presence, render_all, reset, typing,
};

/// The client's id of a frame: a JSON number or string, repeated as it stands.
pub(crate) type FrameId = Option<Box<RawValue>>;

/// A frame that cannot be done, with what to tell its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after_ms: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// Redis cannot be reached; the same frame may succeed later.
    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            retry_after_ms: Some(1000),
            ..Self::new("unavailable", message)
        }
    }
}
