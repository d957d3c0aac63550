//! A room over HTTP: a look at it, and a message into it.

use std::ops::Not;

use bytes::Buf;
use common::{
    error::Chain,
    id::{MessageId, RoomId},
    queue::span::Request,
};
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use warp::reply::{Reply, json, with_status};

use super::{body, room_of, trace_of};
use crate::{
    app::App,
    error::ApiError,
    frame::{AckLevel, MAX_FRAME, Post, Refusal},
    person::Person,
    post::{self, Said, Via, post},
    say::not_archived,
};

/// Names a message that its sender may send again, where the body does not.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    room_id: &'a RoomId,
    members: u64,
    top: MessageId,
    warm: bool,
}

/// Who is there and how far the room is. Looking leaves no trace: a cold room stays cold.
pub(crate) async fn look(
    room: String,
    who: Result<Person, ApiError>,
    app: App,
) -> Result<impl Reply, ApiError> {
    let (person, room) = (who?, room_of(&room)?);
    person.may_enter(&room)?;
    app.limits.read(&person)?;
    let seen = app.chat.log.look(&room).await.map_err(|error| {
        tracing::warn!(error = %Chain(&error), room.id = %room, "a room could not be looked at");
        ApiError::Unavailable
    })?;
    let mut top = seen.top;
    if !seen.warm {
        // Redis has forgotten the room, or knows only what came since.
        let newest = app.chat.archive.before(&room, MessageId::MAX, 1).await;
        let newest = newest.map_err(|error| {
            tracing::warn!(error = %Chain(&error), room.id = %room, "a cold room could not be looked at");
            ApiError::ArchiveUnavailable
        })?;
        top = newest.last().map_or(top, |entry| top.max(entry.id));
    }
    Ok(json(&Shown {
        room_id: &room,
        // Redis hears a moment later of who came just now.
        members: seen.members.max(app.hub.members(&room) as u64),
        top,
        warm: seen.warm,
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    room_id: &'a RoomId,
    client_id: &'a str,
    message_id: MessageId,
    duplicate: bool,
    #[serde(skip_serializing_if = "Not::not")]
    archived: bool,
}

/// Takes a message: 201 when it is kept, 200 when it was before.
pub(crate) async fn say<B: Buf>(
    room: String,
    headers: HeaderMap,
    who: Result<Person, ApiError>,
    app: App,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<impl Reply, ApiError> {
    // Before the body is read: a stranger must not make us hold one.
    let (person, room) = (who?, room_of(&room)?);
    person.may_enter(&room)?;
    app.limits.message(&person)?;
    let body = body::read(body, MAX_FRAME).await?.ok_or_else(|| {
        Refusal::new("too_large", format!("a body has at most {MAX_FRAME} bytes"))
    })?;
    let message = understand(&body, &room)?;
    let client_id = client_id(message.client_id, &headers)?;
    let said = Said::new(&app.limits, room, Some(client_id), message.message)?;
    let request = Request::new("POST /rooms/{room}/messages", trace_of(&headers));
    let posting = post(&app, &person, &said, Via::Http);
    let appended = request.answer(posting).await?;
    let archived = message.ack == AckLevel::Db;
    if archived {
        let told = app.waits.archived(&said.room_id, appended.id).await;
        told.map_err(not_archived)?;
    }
    let kept = Kept {
        room_id: &said.room_id,
        client_id: &said.client_id,
        message_id: appended.id,
        duplicate: appended.duplicate,
        archived,
    };
    let status = if appended.duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(with_status(json(&kept), status))
}

/// Reads what a `message` frame has as its payload.
fn understand(body: &[u8], room: &RoomId) -> Result<Post, Refusal> {
    let message: Post = serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() {
            "bad_payload"
        } else {
            "bad_json"
        };
        let example = r#"{"clientId":"01J…","message":"hi"}"#;
        Refusal::new(code, format!("the body is JSON such as {example}: {error}"))
    })?;
    if message.room_id.as_ref().is_some_and(|named| named != room) {
        let text = "the body names another room than the address";
        return Err(Refusal::new("bad_room", text));
    }
    Ok(message)
}

/// The sender's own id for a message: in the body, or as the header that others know. Without one the
/// server makes one, and a resend cannot be recognised.
fn client_id(in_body: Option<String>, headers: &HeaderMap) -> Result<String, Refusal> {
    let bad = |text| Err(Refusal::new("bad_message", text));
    let Some(header) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(in_body.unwrap_or_else(post::fresh_client_id));
    };
    let Ok(key) = header.to_str() else {
        return bad("Idempotency-Key is ASCII text");
    };
    // Some clients write it as the string of a structured field, in quotes.
    let unquoted = key
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let key = unquoted.unwrap_or(key);
    if in_body.is_some_and(|in_body| in_body != key) {
        return bad("clientId and Idempotency-Key differ: give one of them");
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(in_body: Option<&str>, header: Option<&str>) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(IDEMPOTENCY_KEY, header.parse().unwrap());
        }
        client_id(in_body.map(str::to_owned), &headers).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_message_is_named_by_its_body_or_by_a_header() {
        assert_eq!(of(Some("a"), None).as_deref(), Ok("a"));
        assert_eq!(of(None, Some("b")).as_deref(), Ok("b"));
        assert_eq!(of(None, Some("\"b\"")).as_deref(), Ok("b"));
        assert_eq!(of(Some("b"), Some("b")).as_deref(), Ok("b"));
        assert_eq!(of(Some("a"), Some("b")), Err("bad_message"));
        assert_eq!(of(None, None).map(|id| id.len()), Ok(20));
    }
}
