//! What clients are sent.

use std::{ops::Not, time::Duration};

use common::{
    chat::{Appended, Entry, log::Opened},
    id::{MessageId, RoomId},
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{FrameId, Refusal, millis};
use crate::{
    history::Part,
    person::{Person, Tier},
};

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

/// The answer to a join, with the first part of the history; and within what time to come back if the server is lost,
/// where that makes a difference.
pub(crate) fn joined(
    id: &FrameId,
    room: &RoomId,
    opened: &Opened,
    part: &Part,
    continues: bool,
    lost_within_ms: Option<u64>,
) -> Utf8Bytes {
    use std::fmt::Write;
    let mut json = String::with_capacity(300 + part.json().len());
    json.push_str(r#"{"type":"joined""#);
    if let Some(id) = id {
        let _ = write!(json, r#","id":{id}"#);
    }
    let _ = write!(
        json,
        r#","payload":{{"roomId":"{room}","complete":{},"more":{},"top":{},"members":{},"messages":["#,
        opened.complete, opened.more, opened.top, opened.members
    );
    json.push_str(part.json());
    json.push(']');
    if !opened.whole {
        json.push_str(r#","partial":true"#);
    }
    if let Some(most) = lost_within_ms {
        let _ = write!(json, r#","reconnectInMs":[0,{most}]"#);
    }
    json.push_str(if continues {
        r#","continues":true}}"#
    } else {
        "}}"
    });
    json.into()
}

/// Another part of a history.
pub(crate) fn history(room: &RoomId, part: &Part, continues: bool) -> Utf8Bytes {
    let mut json = String::with_capacity(200 + part.json().len());
    json.push_str(r#"{"type":"history","payload":{"roomId":""#);
    json.push_str(room.as_str()); // its letters need no escape
    json.push_str(r#"","messages":["#);
    json.push_str(part.json());
    json.push_str(if continues {
        r#"],"continues":true}}"#
    } else {
        r#"],"continues":false}}"#
    });
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
    #[serde(skip_serializing_if = "Not::not")]
    archived: bool,
}

/// The answer to a message, an edit or a deletion: it is kept; and archived, if that was waited for.
pub(crate) fn ack(
    id: &FrameId,
    room_id: &RoomId,
    client_id: &str,
    appended: Appended,
    archived: bool,
) -> Utf8Bytes {
    let more = Ack {
        client_id,
        message_id: appended.id,
        duplicate: appended.duplicate,
        archived,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Authed<'a> {
    user_id: &'a str,
    username: &'a str,
    tier: Tier,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
}

/// Who the connection is taken for, and for how long; the answer to a token.
pub(crate) fn authed(id: &FrameId, person: &Person, expires_in: Option<Duration>) -> Utf8Bytes {
    let authed = Authed {
        user_id: &person.user_id,
        username: &person.username,
        tier: person.tier,
        expires_in_ms: expires_in.map(millis),
    };
    write("authed", id, Some(authed))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Crowd {
    reconnect_in_ms: [u64; 2],
}

/// The answer to a ping.
pub(crate) fn pong(id: &FrameId, lost_within_ms: Option<u64>) -> Utf8Bytes {
    let crowd = lost_within_ms.map(|most| Crowd {
        reconnect_in_ms: [0, most],
    });
    write("pong", id, crowd)
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
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<MessageId>,
}

/// The client is to reload the room.
pub(crate) fn reset(room_id: &RoomId, reason: &str) -> Utf8Bytes {
    write(
        "reset",
        &None,
        Some(InRoom {
            room_id,
            more: Reason {
                reason,
                since: None,
            },
        }),
    )
}

/// The client was too slow: it is to join again, with `since`.
pub(crate) fn resume(room_id: &RoomId, since: MessageId) -> Utf8Bytes {
    let more = Reason {
        reason: "slow",
        since: Some(since),
    };
    write("reset", &None, Some(InRoom { room_id, more }))
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
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a RoomId>,
}

/// A frame could not be done.
pub(crate) fn error(id: &FrameId, refusal: &Refusal) -> Utf8Bytes {
    let Refusal {
        code,
        message,
        retry_after_ms,
        room_id,
    } = refusal;
    write(
        "error",
        id,
        Some(Problem {
            code,
            message,
            retry_after_ms: *retry_after_ms,
            room_id: room_id.as_ref(),
        }),
    )
}
