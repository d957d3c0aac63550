//! Posting: the one way by which a message gets from a client into its room, whether it came as a frame or
//! over HTTP. When this returns, the message is kept.

use common::{
    chat::{Appended, Content},
    error::Chain,
    id::RoomId,
    kv::KvError,
};
use metrics::Counter;
use rand::distr::{Alphanumeric, SampleString};

use crate::{
    app::App,
    frame::{MAX_CLIENT_ID, Refusal},
    limits::Limits,
    meter,
    person::Person,
};

/// Where a message came from, for the metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Via {
    Socket,
    Http,
}

impl Via {
    fn meter(self) -> &'static Counter {
        match self {
            Self::Socket => &meter::POSTED_AS_FRAMES,
            Self::Http => &meter::POSTED_OVER_HTTP,
        }
    }
}

/// The sender's own id for a message that came without one.
pub(crate) fn fresh_client_id() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 20)
}

/// Checks a message, and has it kept and published.
pub(crate) async fn post(
    app: &App,
    person: &Person,
    room_id: &RoomId,
    client_id: &str,
    message: &str,
    via: Via,
) -> Result<Appended, Refusal> {
    check_client_id(client_id)?;
    check_text(&app.limits, message)?;
    app.premium.mark(&app.chat, person, room_id).await;
    let content = content(person, client_id, message);
    let kept = app.chat.post(room_id, &content).await;
    let appended = kept.map_err(|error| not_kept(&error, room_id))?;
    via.meter().increment(1);
    if appended.duplicate {
        meter::RESENDS.increment(1);
    }
    Ok(appended)
}

/// What somebody writes, as the log has it.
pub(crate) fn content<'a>(person: &'a Person, client_id: &'a str, text: &'a str) -> Content<'a> {
    Content {
        user_id: (&*person.user_id).into(),
        username: (&*person.username).into(),
        client_id: client_id.into(),
        message: text.into(),
    }
}

pub(crate) fn check_client_id(client_id: &str) -> Result<(), Refusal> {
    if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID || !client_id.is_ascii() {
        let text = format!("clientId has 1 to {MAX_CLIENT_ID} ASCII characters");
        return Err(Refusal::new("bad_message", text));
    }
    without_nul(client_id)
}

pub(crate) fn check_text(limits: &Limits, text: &str) -> Result<(), Refusal> {
    limits.message_size(text)?;
    without_nul(text)
}

/// Postgres cannot store it, so the room could never be flushed.
fn without_nul(text: &str) -> Result<(), Refusal> {
    if text.contains('\0') {
        return Err(Refusal::new(
            "bad_message",
            "a message has no NUL characters",
        ));
    }
    Ok(())
}

pub(crate) fn not_kept(error: &KvError, room: &RoomId) -> Refusal {
    tracing::warn!(error = %Chain(error), room.id = %room, "an entry could not be kept");
    Refusal::unavailable("this could not be kept; send it again with the same clientId")
}
