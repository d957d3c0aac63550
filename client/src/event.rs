//! What happens to a client.

use std::time::Duration;

use crate::frame::{Ack, Message, Refusal};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is a connection.
    Opened,
    /// There is none any more; another is made.
    Closed,
    /// The answer to a join.
    Joined {
        /// The room.
        room: String,
        /// Whether `messages` go on from what was seen before; if not, they take its place.
        resumed: bool,
        /// Whether the room's history is at hand; if not, another answer follows.
        complete: bool,
        /// Whether there are older messages.
        more: bool,
        /// Members of the room.
        members: u64,
        /// Oldest first; none that was seen before.
        messages: Vec<Message>,
        /// Whether [`Event::History`] with the rest follows.
        continues: bool,
    },
    /// More of the answer to a join.
    History {
        /// The room.
        room: String,
        /// Oldest first.
        messages: Vec<Message>,
        /// Whether still more follows.
        continues: bool,
    },
    /// A new message, right after the last one.
    Message {
        /// The room.
        room: String,
        /// The message.
        message: Message,
    },
    /// A message was missed, or the server says so; an answer to another join follows.
    Rejoining {
        /// The room.
        room: String,
    },
    /// What was posted is kept.
    Acked(Ack),
    /// What was posted is refused for good.
    Refused {
        /// The room.
        room: String,
        /// The own id of what was posted.
        client_id: String,
        /// Why.
        refusal: Refusal,
    },
    /// A room cannot be joined, or another frame was refused.
    Denied {
        /// The room, if it was a join.
        room: Option<String>,
        /// Why.
        refusal: Refusal,
    },
    /// So many members are in a room.
    Presence {
        /// The room.
        room: String,
        /// How many.
        members: u64,
    },
    /// Somebody types.
    Typing {
        /// The room.
        room: String,
        /// Their name.
        username: String,
    },
    /// A room was left.
    Left {
        /// The room.
        room: String,
    },
    /// The server stops: reconnect after a random time between these.
    GoAway(Duration, Duration),
}
