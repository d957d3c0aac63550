//! The upgrade from HTTP to WebSocket, inside warp.
//!
//! `warp::ws()` will not do: tungstenite (since 0.25) allocates a read buffer of 128 KiB per socket at
//! once, and warp cannot change that. So we take hyper's `OnUpgrade` from the request, answer 101
//! ourselves and build the stream with small buffers.

use http::{HeaderMap, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use warp::reply::Reply;

use crate::{
    app::App,
    auth::Claim,
    connection::{self, Socket, Wire},
    error::ApiError,
    limits::Address,
    person::Person,
};

/// What a socket has before it reads its first byte.
const READ_BUFFER: usize = 2 * 1024;
/// Larger frames end the connection; those between this and the protocol's own limit are refused with
/// an error frame.
const LARGEST: usize = 2 * 1024 * 1024;

/// Answers an upgrade, and serves the socket.
pub(crate) async fn upgrade(
    headers: HeaderMap,
    address: Address,
    claim: Claim,
    on_upgrade: Option<OnUpgrade>,
    app: App,
) -> Result<impl Reply, ApiError> {
    let accept = accept_key(&headers)?;
    let on_upgrade =
        on_upgrade.ok_or(ApiError::NotAnUpgrade("this connection cannot be upgraded"))?;
    if app.shutdown.is_asked() {
        return Err(ApiError::Draining);
    }
    // Before the token is looked at, which costs more than to refuse.
    let place = app.limits.connect(address)?;
    let visitor = app.door.visitor(&headers, claim)?;
    let seat = visitor.as_ref().map(|person| app.limits.sit(person));
    let seat = seat.transpose()?;
    let person = visitor.unwrap_or_else(Person::stranger);
    let open = app.connections.enter(place);
    tokio::spawn(async move {
        let Ok(upgraded) = on_upgrade.await else {
            return;
        };
        if let Some(socket) = socket(upgraded, &app).await {
            // A task of its own, as this one's memory has room for the handshake too.
            tokio::spawn(connection::serve(app, person, seat, open, socket));
        } else {
            tracing::error!("a connection is no TCP stream, so it cannot be served");
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body("")
        .map_err(|_| ApiError::NotAnUpgrade("the answer cannot be written"))
}

/// The stream under an upgraded connection, with an outbox that a writer empties into it. None if there
/// is no TCP stream under it.
async fn socket(upgraded: Upgraded, app: &App) -> Option<Socket> {
    let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded).ok()?;
    let (reading, writing) = parts.io.into_inner().into_split();
    let wire = Wire {
        socket: reading,
        outbox: app.hub.outbox(app.outbox_bytes, writing),
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0) // what the library writes goes into the outbox at once
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let read = parts.read_buf.to_vec(); // a copy: the buffer that it lies in is large
    let socket = WebSocketStream::from_partially_read(wire, read, Role::Server, Some(config));
    Some(socket.await)
}

/// Checks the handshake (RFC 6455, section 4.2.1) and gives the answer's key.
fn accept_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let has = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err(ApiError::NotAnUpgrade("connect with a WebSocket client"));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(ApiError::NotAnUpgrade("Sec-WebSocket-Version 13 is needed"));
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(ApiError::NotAnUpgrade("Sec-WebSocket-Key is missing"))?;
    Ok(derive_accept_key(key.as_bytes()))
}
