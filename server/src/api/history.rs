//! Older and newer messages of a room, on the same ids as the live ones.

use common::{
    chat::{Entry, history::merge},
    error::Chain,
    id::{MessageId, RoomId},
};
use http::header;
use serde::Deserialize;
use warp::reply::{Reply, with_header};

use super::room_of;
use crate::{app::App, error::ApiError, frame, person::Person};

/// Messages a page at most.
const MAX_LIMIT: usize = 500;

/// `?before=…&after=…&limit=…`
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    before: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// One page, oldest first: `{"messages":[…],"more":true}`.
pub(crate) async fn page(
    room: String,
    who: Result<Person, ApiError>,
    page: Page,
    app: App,
) -> Result<impl Reply, ApiError> {
    let (person, room) = (who?, room_of(&room)?);
    person.may_enter(&room)?;
    app.limits.read(&person)?;
    let limit = page.limit.unwrap_or(50).clamp(1, MAX_LIMIT);
    let (mut entries, from_end) = match (&page.before, &page.after) {
        (Some(_), Some(_)) => {
            return Err(ApiError::BadRequest(
                "give before or after, not both".to_owned(),
            ));
        }
        (None, Some(after)) => (
            newer(&app, &room, after.parse().map_err(bad)?, limit + 1).await?,
            false,
        ),
        (before, None) => {
            let before = before
                .as_deref()
                .map_or(Ok(MessageId::MAX), str::parse)
                .map_err(bad)?;
            (older(&app, &room, before, limit + 1).await?, true)
        }
    };
    // One more than was asked for tells whether there are more.
    let more = entries.len() > limit;
    if more && from_end {
        entries.remove(0);
    }
    entries.truncate(limit);
    let mut body = String::with_capacity(64 + entries.len() * 240);
    body.push_str(r#"{"messages":"#);
    frame::render_all(&entries, &mut body);
    body.push_str(if more {
        r#","more":true}"#
    } else {
        r#","more":false}"#
    });
    Ok(with_header(body, header::CONTENT_TYPE, "application/json"))
}

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn bad(error: common::id::IdError) -> ApiError {
    ApiError::BadRequest(error.to_string())
}

/// The messages before an id: from the log as far as it is complete, then from the archive.
async fn older(
    app: &App,
    room: &RoomId,
    before: MessageId,
    limit: usize,
) -> Result<Vec<Entry>, ApiError> {
    let (hot, complete_from) = app
        .chat
        .log
        .before(room, before, limit)
        .await
        .map_err(redis_away)?;
    let covered =
        complete_from == Some(MessageId::ZERO) || (complete_from.is_some() && hot.len() >= limit);
    if covered {
        return Ok(hot);
    }
    let cold = app
        .chat
        .archive
        .before(room, before, limit)
        .await
        .map_err(archive_away)?;
    let mut all = merge(hot, cold);
    all.drain(..all.len().saturating_sub(limit));
    Ok(all)
}

/// The messages after an id.
async fn newer(
    app: &App,
    room: &RoomId,
    after: MessageId,
    limit: usize,
) -> Result<Vec<Entry>, ApiError> {
    let (hot, complete_from) = app
        .chat
        .log
        .after(room, after, limit)
        .await
        .map_err(redis_away)?;
    if complete_from.is_some_and(|from| from <= after || from == MessageId::ZERO) {
        return Ok(hot);
    }
    let cold = app
        .chat
        .archive
        .after(room, after, limit)
        .await
        .map_err(archive_away)?;
    let mut all = merge(hot, cold);
    all.truncate(limit);
    Ok(all)
}

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn redis_away(error: common::kv::KvError) -> ApiError {
    tracing::warn!(error = %Chain(&error), "a page of history could not be read");
    ApiError::Unavailable
}

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn archive_away(error: common::pg::PgError) -> ApiError {
    tracing::warn!(error = %Chain(&error), "a page of history could not be read");
    ApiError::ArchiveUnavailable
}
