//! Rooms' events over HTTP: `GET /rooms/{room}/events` and `GET /events?room=…`. See [`crate::events`].

use common::id::RoomId;
use futures_util::stream::poll_fn;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use tokio::sync::mpsc;
use warp::reply::{Reply, Response};

use super::room_of;
use crate::{
    app::App,
    error::ApiError,
    events::{
        self,
        rooms::{MOST, NoPlaces, Places, Rooms},
    },
    limits::Address,
    person::Person,
};

/// Where a reader is, as a browser tells it when it comes back.
const LAST_EVENT_ID: &str = "last-event-id";

/// `?since=…&limit=…`
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    since: Option<String>,
    limit: Option<usize>,
}

/// Answers with a stream of one room's events.
pub(crate) async fn listen(
    room: String,
    headers: HeaderMap,
    address: Address,
    query: Query,
    who: Result<Person, ApiError>,
    app: App,
) -> Result<Response, ApiError> {
    stream(vec![room_of(&room)?], &headers, address, query, who?, app).await
}

/// Answers with a stream of the events of several rooms: `?room=…&room=…`, with what else there is in [`Query`].
pub(crate) async fn listen_to_all(
    headers: HeaderMap,
    address: Address,
    query: Vec<(String, String)>,
    who: Result<Person, ApiError>,
    app: App,
) -> Result<Response, ApiError> {
    let named = |name: &'static str| query.iter().filter(move |(key, _)| key == name);
    let last = |name| named(name).next_back().map(|(_, value)| value.clone());
    let mut rooms: Vec<RoomId> = Vec::new();
    for (_, room) in named("room") {
        let room = room_of(room)?;
        if rooms.contains(&room) {
            return Err(bad(format!("{room} is named twice")));
        }
        rooms.push(room);
    }
    let most = MOST.min(app.limits.settings.rooms_per_connection);
    if rooms.is_empty() || rooms.len() > most {
        return Err(bad(format!(
            "a stream has 1 to {most} rooms: ?room=…&room=…"
        )));
    }
    let limit = last("limit").map(|limit| limit.parse());
    let limit = limit.transpose().map_err(|_| bad("`limit` is a number"))?;
    let since = last("since");
    stream(rooms, &headers, address, Query { since, limit }, who?, app).await
}

/// A stream of events that ends when the reader leaves, or the server does.
async fn stream(
    rooms: Vec<RoomId>,
    headers: &HeaderMap,
    address: Address,
    query: Query,
    person: Person,
    app: App,
) -> Result<Response, ApiError> {
    for room in &rooms {
        person.may_enter(room)?;
    }
    let place = app.limits.connect(address)?;
    if app.shutdown.is_asked() {
        return Err(ApiError::Draining);
    }
    let places = places(headers, query.since.as_deref()).map_err(|wrong| bad(wrong.to_string()))?;
    let resumed = if places.is_some() { "yes" } else { "no" };
    let rooms = Rooms::new(rooms, places, query.limit).map_err(|wrong| bad(wrong.to_string()))?;
    let mut events = events::open(app, place, person, rooms).await?;
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
fn places(headers: &HeaderMap, query: Option<&str>) -> Result<Option<Places>, NoPlaces> {
    let header = headers.get(LAST_EVENT_ID);
    let header = header.map(|value| value.to_str().unwrap_or("?"));
    let given = header
        .into_iter()
        .chain(query)
        .find(|text| !text.is_empty());
    given.map(str::parse).transpose()
}

fn bad(why: impl Into<String>) -> ApiError {
    ApiError::BadRequest(why.into())
}
