//! Older and newer messages of a room, on the same ids as the live ones.

use common::{chat::history::HistoryError, error::Chain, id::MessageId};
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
    let (read, from_end) = match (&page.before, &page.after) {
        (Some(_), Some(_)) => {
            return Err(ApiError::BadRequest(
                "give before or after, not both".to_owned(),
            ));
        }
        (None, Some(after)) => {
            let after = after.parse().map_err(bad)?;
            (app.chat.newer(&room, after, limit + 1).await, false)
        }
        (before, None) => {
            let before = before
                .as_deref()
                .map_or(Ok(MessageId::MAX), str::parse)
                .map_err(bad)?;
            (app.chat.older(&room, before, limit + 1).await, true)
        }
    };
    let mut entries = read.map_err(unread)?;
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

/// Why a page cannot be had.
#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn unread(error: HistoryError) -> ApiError {
    tracing::warn!(error = %Chain(&error), "a page of history could not be read");
    match error {
        HistoryError::Redis(_) => ApiError::Unavailable,
        _ => ApiError::ArchiveUnavailable,
    }
}
