//! A room's events over HTTP: `GET /rooms/{room}/events`. See [`crate::events`].

use common::id::MessageId;
use futures_util::stream::poll_fn;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use tokio::sync::mpsc;
use warp::reply::{Reply, Response};

use super::room_of;
use crate::{
    app::App,
    error::ApiError,
    events::{self, show::Showing},
    person::Person,
};

/// The last message that a reader has, as a browser tells it when it comes back.
const LAST_EVENT_ID: &str = "last-event-id";

/// `?since=…&limit=…`
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    since: Option<String>,
    limit: Option<usize>,
}

/// Answers with a stream of events that ends when the reader leaves, or the server does.
pub(crate) async fn listen(
    room: String,
    headers: HeaderMap,
    query: Query,
    who: Result<Person, ApiError>,
    app: App,
) -> Result<Response, ApiError> {
    let (person, room) = (who?, room_of(&room)?);
    person.may_enter(&room)?;
    app.limits.connect()?;
    if app.shutdown.is_asked() {
        return Err(ApiError::Draining);
    }
    let since = since(&headers, query.since.as_deref())?;
    let showing = Showing::new(room, since, query.limit);
    let mut events = events::open(app, person, showing).await?;
    let resumed = if since.is_some() { "yes" } else { "no" };
    metrics::counter!("rhubarb_streams_total", "resumed" => resumed).increment(1);
    let chunks = poll_fn(move |context| {
        let chunk: std::task::Poll<Option<String>> =
            mpsc::Receiver::poll_recv(&mut events, context);
        chunk.map(|chunk| chunk.map(Ok::<_, std::convert::Infallible>))
    });
    let mut response = warp::reply::stream(chunks).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE.as_str(), "text/event-stream"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        ("x-accel-buffering", "no"), // a proxy that collects events delivers none
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Where the reader was. The header is the younger one: a browser opens the same address again.
fn since(headers: &HeaderMap, query: Option<&str>) -> Result<Option<MessageId>, ApiError> {
    let header = headers.get(LAST_EVENT_ID);
    let header = header.map(|value| value.to_str().unwrap_or("?"));
    header
        .or(query)
        .filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(|error: common::id::IdError| ApiError::BadRequest(error.to_string()))
}
