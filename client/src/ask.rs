//! The frames that a client sends.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::frame::MessageId;

/// When a message counts as kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckLevel {
    /// When it is in the room's log.
    #[default]
    Redis,
    /// When it is in the archive.
    Db,
}

/// What is posted into a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A message.
    Say {
        /// Its text.
        text: String,
        /// When it is to be acknowledged.
        ack: AckLevel,
    },
    /// Another text for an own message.
    Edit {
        /// Which.
        target: MessageId,
        /// The text.
        text: String,
    },
    /// The deletion of an own message.
    Delete {
        /// Which.
        target: MessageId,
    },
}

/// A frame that carries a deed out.
pub(crate) fn post(id: u64, room: &str, client_id: &str, deed: &Deed) -> String {
    let mut payload = json!({"roomId": room, "clientId": client_id});
    let kind = match deed {
        Deed::Say { text, ack } => {
            payload["message"] = json!(text);
            if *ack == AckLevel::Db {
                payload["ack"] = json!(ack);
            }
            "message"
        }
        Deed::Edit { target, text } => {
            payload["messageId"] = json!(target);
            payload["message"] = json!(text);
            "edit"
        }
        Deed::Delete { target } => {
            payload["messageId"] = json!(target);
            "delete"
        }
    };
    json!({"type": kind, "id": id, "payload": payload}).to_string()
}

/// A frame that joins a room.
pub(crate) fn join(id: u64, room: &str, since: Option<MessageId>, limit: u32) -> String {
    let mut payload = json!({"roomId": room, "limit": limit});
    if let Some(since) = since {
        payload["since"] = json!(since);
    }
    json!({"type": "join", "id": id, "payload": payload}).to_string()
}

/// A frame that says something of a room.
pub(crate) fn of_room(kind: &str, id: u64, room: &str) -> String {
    json!({"type": kind, "id": id, "payload": {"roomId": room}}).to_string()
}

/// A frame that shows a token.
pub(crate) fn auth(id: u64, token: &str) -> String {
    json!({"type": "auth", "id": id, "payload": {"token": token}}).to_string()
}
