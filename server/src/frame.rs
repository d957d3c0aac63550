//! Frames: what clients send and what they are sent, as JSON (design, section 4).

use std::borrow::Cow;

use common::{
    chat::{Entry, log::Opened},
    id::{MessageId, RoomId},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// A text frame of more bytes is refused.
pub(crate) const MAX_FRAME: usize = 64 * 1024;
/// A message of more bytes is refused.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;
/// A sender's own id for a message may have so many bytes.
pub(crate) const MAX_CLIENT_ID: usize = 64;
/// A frame's id, which the reply repeats, may have so many bytes.
const MAX_FRAME_ID: usize = 64;
/// Messages a join at most.
const MAX_LIMIT: usize = 1000;

/// What a client asks.
#[derive(Debug)]
pub(crate) enum Ask {
    Join(Join),
    Leave(Leave),
    Message(Message),
    Typing(Typing),
    Ping,
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
    /// How many messages at most.
    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, MAX_LIMIT)
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
pub(crate) struct Message {
    pub(crate) room_id: Option<RoomId>,
    pub(crate) client_id: Option<String>,
    pub(crate) message: String,
}

/// `{"type":"typing","payload":{"roomId":"r"}}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Typing {
    pub(crate) room_id: Option<RoomId>,
}

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

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// Reads a client's frame. A refusal comes with the frame's id, if that much could be read.
pub(crate) fn read(text: &str) -> (FrameId, Result<Ask, Refusal>) {
    if text.len() > MAX_FRAME {
        let message = format!(
            "the frame has {} bytes; {MAX_FRAME} is the most",
            text.len()
        );
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
        "join" => of(kind, payload).map(Ask::Join),
        "leave" => of(kind, payload).map(Ask::Leave),
        "message" => of(kind, payload).map(Ask::Message),
        "typing" => of(kind, payload).map(Ask::Typing),
        "ping" => Ok(Ask::Ping),
        other => {
            let other: String = other.chars().take(40).collect();
            let known = "join, leave, message, typing and ping are known";
            Err(Refusal::new(
                "unknown_type",
                format!("no frame has the type `{other}`; {known}"),
            ))
        }
    }
}

/// Any frame to a client.
#[derive(Serialize)]
struct Frame<'a, P> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<P>,
}

fn write<P: Serialize>(kind: &str, id: &FrameId, payload: Option<P>) -> Utf8Bytes {
    // The payloads are our own structs of texts and numbers, which can always be written.
    serde_json::to_string(&Frame {
        kind,
        id: id.as_deref(),
        payload,
    })
    .unwrap_or_default()
    .into()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InRoom<'a, T> {
    room_id: &'a RoomId,
    #[serde(flatten)]
    more: T,
}

/// The answer to a join.
pub(crate) fn joined(id: &FrameId, room: &RoomId, opened: &Opened) -> Utf8Bytes {
    use std::fmt::Write;
    let mut json = String::with_capacity(200 + opened.entries.len() * 240);
    json.push_str(r#"{"type":"joined""#);
    if let Some(id) = id {
        let _ = write!(json, r#","id":{id}"#);
    }
    let _ = write!(
        json,
        r#","payload":{{"roomId":"{room}","complete":{},"more":{},"top":{},"members":{},"messages":"#,
        opened.complete, opened.more, opened.top, opened.members
    );
    render_all(&opened.entries, &mut json);
    json.push_str("}}");
    json.into()
}

/// Messages as a JSON array.
pub(crate) fn render_all(entries: &[Entry], json: &mut String) {
    json.push('[');
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        entry.render(json);
    }
    json.push(']');
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ack<'a> {
    client_id: &'a str,
    message_id: MessageId,
    duplicate: bool,
}

/// The answer to a message: it is kept.
pub(crate) fn ack(
    id: &FrameId,
    room_id: &RoomId,
    client_id: &str,
    message_id: MessageId,
    duplicate: bool,
) -> Utf8Bytes {
    let more = Ack {
        client_id,
        message_id,
        duplicate,
    };
    write("ack", id, Some(InRoom { room_id, more }))
}

#[derive(Serialize)]
struct Nothing {}

/// The answer to a leave.
pub(crate) fn left(id: &FrameId, room_id: &RoomId) -> Utf8Bytes {
    write(
        "left",
        id,
        Some(InRoom {
            room_id,
            more: Nothing {},
        }),
    )
}

/// The answer to a ping.
pub(crate) fn pong(id: &FrameId) -> Utf8Bytes {
    write::<()>("pong", id, None)
}

#[derive(Serialize)]
struct Members {
    members: u64,
}

/// So many members are in the room.
pub(crate) fn presence(room_id: &RoomId, members: u64) -> Utf8Bytes {
    write(
        "presence",
        &None,
        Some(InRoom {
            room_id,
            more: Members { members },
        }),
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Who<'a> {
    user_id: &'a str,
    username: &'a str,
}

/// Somebody types.
pub(crate) fn typing(room_id: &RoomId, user_id: &str, username: &str) -> Utf8Bytes {
    write(
        "typing",
        &None,
        Some(InRoom {
            room_id,
            more: Who { user_id, username },
        }),
    )
}

#[derive(Serialize)]
struct Reason<'a> {
    reason: &'a str,
}

/// The client is to reload the room.
pub(crate) fn reset(room_id: &RoomId, reason: &str) -> Utf8Bytes {
    write(
        "reset",
        &None,
        Some(InRoom {
            room_id,
            more: Reason { reason },
        }),
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Goaway {
    reconnect_in_ms: [u64; 2],
}

/// The server drains: come back after a random time between these.
pub(crate) fn goaway(reconnect_in_ms: [u64; 2]) -> Utf8Bytes {
    write("goaway", &None, Some(Goaway { reconnect_in_ms }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// A frame could not be done.
pub(crate) fn error(id: &FrameId, refusal: &Refusal) -> Utf8Bytes {
    let Refusal {
        code,
        message,
        retry_after_ms,
    } = refusal;
    write(
        "error",
        id,
        Some(Problem {
            code,
            message,
            retry_after_ms: *retry_after_ms,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Ok(Ask::Message(Message {
                room_id: None,
                client_id: None,
                ..
            }))
        ));
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
            code(&format!(r#"{{"type":"{}"}}"#, "x".repeat(MAX_FRAME))),
            "too_large"
        );
    }

    #[test]
    fn a_reply_repeats_the_frames_id() {
        let (id, _) = read(r#"{"type":"ping","id":"a-7"}"#);

        assert_eq!(pong(&id).as_str(), r#"{"type":"pong","id":"a-7"}"#);
    }
}
