//! A room over HTTP: a look at it; messages into it, and what their authors change of them.

use std::ops::Not;

use bytes::Buf;
use common::{
    chat::Appended,
    error::Chain,
    id::{MessageId, RoomId},
    queue::span::Request,
};
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use warp::reply::{Json, Reply, json, with_status};

use super::{body, message_of, room_of, trace_of};
use crate::{
    app::App,
    change::{Changing, change},
    error::ApiError,
    frame::{AckLevel, MAX_FRAME, Post, Refusal},
    person::Person,
    post::{Said, Via, post},
    say::not_archived,
};

/// Names a message or a change that its sender may send again, where the body or the address does not.
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
    let (person, room) = author(&app, who, &room)?;
    let message = read(body, &room).await?;
    let client_id = client_id(message.client_id, &headers)?;
    let said = Said::new(&app.limits, room, client_id, message.message)?;
    let request = Request::new("POST /rooms/{room}/messages", trace_of(&headers));
    let posting = post(&app, &person, &said, Via::Http);
    let appended = request.answer(posting).await?;
    let (room, client_id) = (&said.room_id, &said.client_id);
    let kept = kept(&app, room, client_id, appended, message.ack).await?;
    let status = if appended.duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(with_status(kept, status))
}

/// Takes an edit by a message's author.
pub(crate) async fn edit<B: Buf>(
    room: String,
    message: String,
    headers: HeaderMap,
    who: Result<Person, ApiError>,
    app: App,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<impl Reply, ApiError> {
    let message = message_of(&message)?;
    let (person, room) = author(&app, who, &room)?;
    let edit = read(body, &room).await?;
    let client_id = client_id(edit.client_id, &headers)?;
    let changing = Changing::edit(&app.limits, room, client_id, message, edit.message)?;
    let request = Request::new("PATCH /rooms/{room}/messages/{id}", trace_of(&headers));
    let appended = request.answer(change(&app, &person, &changing)).await?;
    let (room, client_id) = (&changing.room_id, &changing.client_id);
    kept(&app, room, client_id, appended, edit.ack).await
}

/// What a deletion says besides: in the address, as a `DELETE` has no body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deletion {
    client_id: Option<String>,
    #[serde(default)]
    ack: AckLevel,
}

/// Takes a deletion by a message's author.
pub(crate) async fn delete(
    room: String,
    message: String,
    headers: HeaderMap,
    who: Result<Person, ApiError>,
    deletion: Deletion,
    app: App,
) -> Result<impl Reply, ApiError> {
    let message = message_of(&message)?;
    let (person, room) = author(&app, who, &room)?;
    let client_id = client_id(deletion.client_id, &headers)?;
    let changing = Changing::delete(room, client_id, message)?;
    let request = Request::new("DELETE /rooms/{room}/messages/{id}", trace_of(&headers));
    let appended = request.answer(change(&app, &person, &changing)).await?;
    let (room, client_id) = (&changing.room_id, &changing.client_id);
    kept(&app, room, client_id, appended, deletion.ack).await
}

/// Who may add to the room now. Asked before a body is read: a stranger must not make us hold one.
fn author(
    app: &App,
    who: Result<Person, ApiError>,
    room: &str,
) -> Result<(Person, RoomId), ApiError> {
    let (person, room) = (who?, room_of(room)?);
    person.may_enter(&room)?;
    app.limits.message(&person)?;
    Ok((person, room))
}

/// The answer to what is kept; if that is asked for, once it is in the archive.
async fn kept(
    app: &App,
    room_id: &RoomId,
    client_id: &str,
    appended: Appended,
    level: AckLevel,
) -> Result<Json, ApiError> {
    let archived = level == AckLevel::Db;
    if archived {
        let told = app.waits.archived(room_id, appended.id).await;
        told.map_err(not_archived)?;
    }
    Ok(json(&Kept {
        room_id,
        client_id,
        message_id: appended.id,
        duplicate: appended.duplicate,
        archived,
    }))
}

async fn read<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    room: &RoomId,
) -> Result<Post, ApiError> {
    let body = body::read(body, MAX_FRAME).await?.ok_or_else(|| {
        Refusal::new("too_large", format!("a body has at most {MAX_FRAME} bytes"))
    })?;
    Ok(understand(&body, room)?)
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

/// The sender's own id: where the protocol has it, or as the header that others know. Without one the server makes one,
/// and a resend cannot be recognised.
fn client_id(given: Option<String>, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let bad = |text| Err(Refusal::new("bad_message", text));
    let Some(header) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(given);
    };
    let Ok(key) = header.to_str() else {
        return bad("Idempotency-Key is ASCII text");
    };
    // Some clients write it as the string of a structured field, in quotes.
    let unquoted = key
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let key = unquoted.unwrap_or(key);
    if given.is_some_and(|given| given != key) {
        return bad("clientId and Idempotency-Key differ: give one of them");
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: Option<&str>, header: Option<&str>) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(IDEMPOTENCY_KEY, header.parse().unwrap());
        }
        client_id(given.map(str::to_owned), &headers).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_message_is_named_by_its_body_or_by_a_header() {
        let named = |id: &str| Ok(Some(id.to_owned()));

        assert_eq!(of(Some("a"), None), named("a"));
        assert_eq!(of(None, Some("b")), named("b"));
        assert_eq!(of(None, Some("\"b\"")), named("b"));
        assert_eq!(of(Some("b"), Some("b")), named("b"));
        assert_eq!(of(Some("a"), Some("b")), Err("bad_message"));
        assert_eq!(of(None, None), Ok(None));
    }
}
