//! What clients send: frames are read and checked here, and never again.

use std::borrow::Cow;

use common::id::{MessageId, RoomId};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{FrameId, Refusal};

/// A text frame of more bytes is refused.
pub(crate) const MAX_FRAME: usize = 64 * 1024;
/// A sender's own id for a message may have so many bytes.
pub(crate) const MAX_CLIENT_ID: usize = 64;
/// A frame's id, which the reply repeats, may have so many bytes.
const MAX_FRAME_ID: usize = 64;
/// Messages that a join may ask for.
const MAX_LIMIT: usize = 10_000;
/// Who was away gets so many missed messages at most, if it does not ask for fewer.
pub(crate) const MAX_MISSED: usize = 100_000;

/// What a client asks.
#[derive(Debug)]
pub(crate) enum Ask {
    Auth(Auth),
    Join(Join),
    Leave(Leave),
    Post(Post),
    Edit(Change),
    Delete(Change),
    Typing(Typing),
    Ping,
}

/// `{"type":"auth","payload":{"token":"…"}}`
#[derive(Deserialize)]
pub(crate) struct Auth {
    pub(crate) token: String,
}

/// Not the token: who has it is whom it names.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

/// `{"type":"join","payload":{"roomId":"r","since":…,"limit":100}}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Join {
    pub(crate) room_id: RoomId,
    pub(crate) since: Option<MessageId>,
    limit: Option<usize>,
}

impl Join {
    /// A join of a room, as a frame would ask for it.
    pub(crate) fn new(room_id: RoomId, since: Option<MessageId>, limit: Option<usize>) -> Self {
        Self {
            room_id,
            since,
            limit,
        }
    }

    /// How many messages at most.
    pub(crate) fn limit(&self) -> usize {
        match (self.limit, self.since) {
            (Some(limit), _) => limit.clamp(1, MAX_LIMIT),
            (None, Some(_)) => MAX_MISSED,
            (None, None) => 100,
        }
    }
}

/// `{"type":"leave","payload":{"roomId":"r"}}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Leave {
    pub(crate) room_id: Option<RoomId>,
}

/// `{"type":"message","payload":{"roomId":"r","clientId":"01J…","message":"hi"}}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Post {
    pub(crate) room_id: Option<RoomId>,
    pub(crate) client_id: Option<String>,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) ack: AckLevel,
}

/// When to acknowledge: `"ack":"db"`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AckLevel {
    /// When it is kept in Redis.
    #[default]
    Redis,
    /// When it is in the archive.
    Db,
}

/// `{"type":"edit","payload":{"roomId":"r","clientId":"01J…","messageId":…,"message":"hello"}}`, and the same
/// without `message` for `delete`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    pub(crate) room_id: Option<RoomId>,
    pub(crate) client_id: Option<String>,
    pub(crate) message_id: MessageId,
    pub(crate) message: Option<String>,
    #[serde(default)]
    pub(crate) ack: AckLevel,
}

/// `{"type":"typing","payload":{"roomId":"r"}}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Typing {
    pub(crate) room_id: Option<RoomId>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// A text that waits: of one that is too large, just enough to see that.
pub(crate) fn shortened(text: Utf8Bytes) -> Utf8Bytes {
    if text.len() <= MAX_FRAME {
        return text;
    }
    let end = (MAX_FRAME + 1..text.len()).find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(text.len())].into()
}

/// Reads a client's frame. A refusal comes with the frame's id, if that much could be read.
pub(crate) fn read(text: &str) -> (FrameId, Result<Ask, Refusal>) {
    if text.len() > MAX_FRAME {
        let message = format!("the frame has more than {MAX_FRAME} bytes");
        return (None, Err(Refusal::new("too_large", message)));
    }
    let raw: Raw<'_> = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) if error.is_data() => {
            let message = format!(r#"a frame is an object with a "type": {error}"#);
            return (None, Err(Refusal::new("bad_frame", message)));
        }
        Err(error) => {
            return (
                None,
                Err(Refusal::new(
                    "bad_json",
                    format!("this is not JSON: {error}"),
                )),
            );
        }
    };
    let id = match raw.id {
        None => None,
        Some(id) => {
            let scalar = id
                .get()
                .starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
            if !scalar || id.get().len() > MAX_FRAME_ID {
                let message = "a frame's id is a number or a short string";
                return (None, Err(Refusal::new("bad_frame", message)));
            }
            Some(id.to_owned())
        }
    };
    (id, read_payload(&raw.kind, raw.payload))
}

fn read_payload(kind: &str, payload: Option<&RawValue>) -> Result<Ask, Refusal> {
    fn of<T: DeserializeOwned>(kind: &str, payload: Option<&RawValue>) -> Result<T, Refusal> {
        serde_json::from_str(payload.map_or("{}", RawValue::get)).map_err(|error| {
            let code = if error.to_string().contains("room's name") {
                "bad_room"
            } else {
                "bad_payload"
            };
            Refusal::new(code, format!("the payload of this {kind} frame: {error}"))
        })
    }
    match kind {
        "auth" => of(kind, payload).map(Ask::Auth),
        "join" => of(kind, payload).map(Ask::Join),
        "leave" => of(kind, payload).map(Ask::Leave),
        "message" => of(kind, payload).map(Ask::Post),
        "edit" => of(kind, payload).map(Ask::Edit),
        "delete" => of(kind, payload).map(Ask::Delete),
        "typing" => of(kind, payload).map(Ask::Typing),
        "ping" => Ok(Ask::Ping),
        other => {
            let other: String = other.chars().take(40).collect();
            let known = "auth, join, leave, message, edit, delete, typing and ping are known";
            Err(Refusal::new(
                "unknown_type",
                format!("no frame has the type `{other}`; {known}"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::pong;

    fn code(text: &str) -> &'static str {
        read(text).1.err().map_or("none", |refusal| refusal.code)
    }

    #[test]
    fn the_short_forms_are_read() {
        let (_, join) = read(r#"{"type":"join","payload":{"roomId":"r"}}"#);
        let (_, message) = read(r#"{"type":"message","payload":{"message":"hi"}}"#);

        assert!(matches!(join, Ok(Ask::Join(Join { since: None, .. }))));
        assert!(matches!(
            message,
            Ok(Ask::Post(Post {
                room_id: None,
                client_id: None,
                ..
            }))
        ));
    }

    #[test]
    fn an_ack_is_from_redis_unless_the_archive_is_asked_for() {
        let level = |payload: &str| {
            let frame = format!(r#"{{"type":"message","payload":{payload}}}"#);
            match read(&frame).1 {
                Ok(Ask::Post(post)) => Ok(post.ack),
                other => Err(other.err().map(|refusal| refusal.code)),
            }
        };

        assert_eq!(level(r#"{"message":"hi"}"#), Ok(AckLevel::Redis));
        assert_eq!(level(r#"{"message":"hi","ack":"db"}"#), Ok(AckLevel::Db));
        assert_eq!(
            level(r#"{"message":"hi","ack":"disk"}"#),
            Err(Some("bad_payload"))
        );
    }

    #[test]
    fn bad_frames_get_a_code() {
        assert_eq!(code("nonsense"), "bad_json");
        assert_eq!(code("[1]"), "bad_frame");
        assert_eq!(code("{}"), "bad_frame");
        assert_eq!(
            code(r#"{"type":"join","id":{},"payload":{"roomId":"r"}}"#),
            "bad_frame"
        );
        assert_eq!(code(r#"{"type":"fly"}"#), "unknown_type");
        assert_eq!(code(r#"{"type":"join"}"#), "bad_payload");
        assert_eq!(
            code(r#"{"type":"join","payload":{"roomId":"a b"}}"#),
            "bad_room"
        );
        assert_eq!(
            code(r#"{"type":"message","payload":{"message":7}}"#),
            "bad_payload"
        );
        assert_eq!(
            code(r#"{"type":"edit","payload":{"message":"hi"}}"#),
            "bad_payload"
        );
        assert_eq!(
            code(&format!(r#"{{"type":"{}"}}"#, "x".repeat(MAX_FRAME))),
            "too_large"
        );
    }

    #[test]
    fn what_waits_of_a_text_that_is_too_large_is_too_large_still() {
        for letter in ["x", "ä", "💬"] {
            let text: Utf8Bytes = letter.repeat(2 * MAX_FRAME).into();

            let waits = shortened(text);

            assert!(waits.len() <= MAX_FRAME + 4, "{} bytes wait", waits.len());
            assert_eq!(code(&waits), "too_large");
        }
        let just: Utf8Bytes = "x".repeat(MAX_FRAME).into();
        assert_eq!(shortened(just.clone()), just);
    }

    #[test]
    fn a_reply_repeats_the_frames_id() {
        let (id, _) = read(r#"{"type":"ping","id":"a-7"}"#);

        assert_eq!(pong(&id, None).as_str(), r#"{"type":"pong","id":"a-7"}"#);
    }
}
