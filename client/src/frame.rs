//! The frames that a server sends.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message's number: its place in its room, and its time in microseconds since 1970.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MessageId(pub i64);

impl MessageId {
    /// Before all messages, or not known.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A message as members see it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub message_id: MessageId,
    /// The id before it in the room; 0 if it is the first, or that is not known.
    pub prev: MessageId,
    /// When, as RFC 3339.
    #[serde(default)]
    pub timestamp: String,
    /// Who sent it.
    #[serde(default)]
    pub user_id: String,
    /// The sender's name.
    #[serde(default)]
    pub username: String,
    /// The sender's own id for it.
    #[serde(default)]
    pub client_id: String,
    /// The text.
    #[serde(rename = "message", default)]
    pub text: String,
    /// The message that this one gives another text.
    #[serde(default)]
    pub edits: Option<MessageId>,
    /// The message that this one deletes.
    #[serde(default)]
    pub deletes: Option<MessageId>,
    /// The change that it shows. Of an edit: the later change that has replaced it; its text is gone then.
    #[serde(default)]
    pub edited_at: Option<MessageId>,
    /// Whether it was deleted.
    #[serde(default)]
    pub deleted: bool,
}

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each answers a question of its own, and any mixture occurs"
)]
pub struct Joined {
    /// The room.
    pub room_id: String,
    /// With `since`: whether `messages` is all that came after it. Without: whether the room's history is
    /// at hand.
    pub complete: bool,
    /// Whether these are only what is at hand: a `reset` follows when there is more. Until then there is nothing
    /// to go on from.
    #[serde(default)]
    pub partial: bool,
    /// Whether there are older messages.
    #[serde(default)]
    pub more: bool,
    /// Whether `history` frames with the rest follow.
    #[serde(default)]
    pub continues: bool,
    /// If the connection is lost: after how many ms to come back, at least and at most, each client at a time of its own.
    #[serde(default)]
    pub reconnect_in_ms: Option<[u64; 2]>,
    /// The newest id.
    pub top: MessageId,
    /// Members on all servers.
    pub members: u64,
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// More of the answer to a join.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The room.
    pub room_id: String,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Whether still more follow.
    #[serde(default)]
    pub continues: bool,
}

/// A message was kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// The room.
    pub room_id: String,
    /// The sender's own id for it.
    pub client_id: String,
    /// Its id; for a resend, the first one's.
    pub message_id: MessageId,
    /// Whether it was a resend.
    #[serde(default)]
    pub duplicate: bool,
    /// Whether it is in the archive already.
    #[serde(default)]
    pub archived: bool,
}

/// A message that was just appended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// The room.
    pub room_id: String,
    /// The message.
    #[serde(flatten)]
    pub message: Message,
}

/// So many members are in the room.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// The room.
    pub room_id: String,
    /// How many, on all servers.
    pub members: u64,
}

/// Somebody types.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    /// The room.
    pub room_id: String,
    /// Who.
    pub user_id: String,
    /// Their name.
    #[serde(default)]
    pub username: String,
}

/// What was shown of a room is out of date.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reset {
    /// The room.
    pub room_id: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// From where to join again; without it, the room is to be reloaded.
    #[serde(default)]
    pub since: Option<MessageId>,
}

/// A room was left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// The room.
    pub room_id: String,
}

/// The server stops.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoAway {
    /// Reconnect after a random time between these, in ms.
    pub reconnect_in_ms: [u64; 2],
}

/// Something cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// What it is, for programs.
    pub code: String,
    /// The same for people.
    #[serde(default)]
    pub message: String,
    /// When to try again.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

/// Who the server takes us for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authed {
    /// The user.
    pub user_id: String,
    /// The user's name.
    #[serde(default)]
    pub username: String,
    /// The user's tier.
    #[serde(default)]
    pub tier: Option<String>,
    /// When to renew.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The answer to a join.
    Joined(Joined),
    /// More of it.
    History(History),
    /// A new message.
    Message(Live),
    /// The answer to a post.
    Ack(Ack),
    /// The answer to a leave.
    Left(Left),
    /// Who is there.
    Presence(Presence),
    /// Who types.
    Typing(Typing),
    /// A room is to be joined again.
    Reset(Reset),
    /// The server stops.
    GoAway(GoAway),
    /// Something was refused.
    Error(Refusal),
    /// Who we are.
    Authed(Authed),
    /// The answer to a ping.
    Pong,
    /// A type that this version does not know: to be passed over.
    Unknown(String),
}

/// A frame of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The number of the frame that it answers.
    pub id: Option<u64>,
    /// What it says.
    pub body: Body,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl Frame {
    /// Reads a frame.
    ///
    /// ```
    /// use client::{Frame, frame::Body};
    ///
    /// let frame = Frame::read(r#"{"type":"presence","payload":{"roomId":"r","members":3}}"#).unwrap();
    /// assert!(matches!(frame.body, Body::Presence(presence) if presence.members == 3));
    /// ```
    ///
    /// # Errors
    /// If it is not of the protocol. A type that is not known is none.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        let envelope: Envelope<'_> = serde_json::from_str(text)?;
        let payload = envelope.payload.map_or("{}", RawValue::get);
        let body = match &*envelope.kind {
            "joined" => Body::Joined(serde_json::from_str(payload)?),
            "history" => Body::History(serde_json::from_str(payload)?),
            "message" => Body::Message(serde_json::from_str(payload)?),
            "ack" => Body::Ack(serde_json::from_str(payload)?),
            "left" => Body::Left(serde_json::from_str(payload)?),
            "presence" => Body::Presence(serde_json::from_str(payload)?),
            "typing" => Body::Typing(serde_json::from_str(payload)?),
            "reset" => Body::Reset(serde_json::from_str(payload)?),
            "goaway" => Body::GoAway(serde_json::from_str(payload)?),
            "error" => Body::Error(serde_json::from_str(payload)?),
            "authed" => Body::Authed(serde_json::from_str(payload)?),
            "pong" => Body::Pong,
            other => Body::Unknown(other.to_owned()),
        };
        let id = envelope.id.and_then(|id| id.get().parse().ok());
        Ok(Self { id, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_as_the_protocol_shows_them() {
        let message = r#"{"type":"message","payload":{"roomId":"r","messageId":1790000000000003,"prev":1790000000000002,"timestamp":"2026-09-21T14:13:20.000Z","userId":"u","username":"Ada","clientId":"01J","message":"hi"}}"#;
        let Body::Message(live) = Frame::read(message).unwrap().body else {
            panic!("no message");
        };
        assert_eq!(live.room_id, "r");
        assert_eq!(live.message.message_id, MessageId(1_790_000_000_000_003));
        assert_eq!((&*live.message.text, live.message.edits), ("hi", None));

        let deleted = r#"{"messageId":3,"prev":2,"message":"","editedAt":9,"deleted":true}"#;
        let message: Message = serde_json::from_str(deleted).unwrap();
        assert_eq!(
            (message.edited_at, message.deleted),
            (Some(MessageId(9)), true)
        );

        let error = r#"{"type":"error","id":2,"payload":{"code":"unavailable","message":"…","retryAfterMs":1000}}"#;
        let frame = Frame::read(error).unwrap();
        assert_eq!(frame.id, Some(2));
        assert!(matches!(frame.body, Body::Error(e) if e.retry_after_ms == Some(1000)));

        assert_eq!(Frame::read(r#"{"type":"pong","id":"x"}"#).unwrap().id, None);
        let news = Frame::read(r#"{"type":"news"}"#).unwrap();
        assert_eq!(news.body, Body::Unknown("news".to_owned()));
        assert!(Frame::read("hi").is_err());
    }
}
