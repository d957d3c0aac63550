//! The HTTP handlers. They know no warp filter.

pub(crate) mod body;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod jobs;
#[cfg(test)]
mod jobs_test;
pub(crate) mod page;
pub(crate) mod rooms;

use common::{
    id::{MessageId, RoomId},
    queue::TraceParent,
};
use http::HeaderMap;

use crate::error::ApiError;

/// The trace that a request belongs to, if it says so in a way that can be read.
fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get("traceparent")?.to_str().ok()?.parse().ok()
}

/// The room that a path names. warp leaves a path as it was written; of a room's letters only `:` is ever
/// written otherwise.
fn room_of(text: &str) -> Result<RoomId, ApiError> {
    let name = text.replace("%3A", ":").replace("%3a", ":");
    let bad = |error: common::id::IdError| ApiError::BadRequest(error.to_string());
    name.parse().map_err(bad)
}

/// The message that a path names.
fn message_of(text: &str) -> Result<MessageId, ApiError> {
    let bad = |error: common::id::IdError| ApiError::BadRequest(error.to_string());
    text.parse().map_err(bad)
}
