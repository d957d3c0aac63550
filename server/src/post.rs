//! Posting: the one way by which a message gets from a client into its room, whether it came as a frame or
//! over HTTP. When this returns, the message is kept.

use std::slice;

use common::{
    chat::{Appended, Content, Posting},
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
fn fresh_client_id() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 20)
}

/// A message that was found good, on its way into its room.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) room_id: RoomId,
    pub(crate) client_id: String,
    text: String,
}

impl Said {
    /// Checks a message. One that came without an id of its sender's gets one of ours.
    pub(crate) fn new(
        limits: &Limits,
        room_id: RoomId,
        client_id: Option<String>,
        text: String,
    ) -> Result<Self, Refusal> {
        let client_id = own_id(client_id)?;
        check_text(limits, &text)?;
        Ok(Self {
            room_id,
            client_id,
            text,
        })
    }
}

/// Has a message kept and published.
pub(crate) async fn post(
    app: &App,
    person: &Person,
    said: &Said,
    via: Via,
) -> Result<Appended, Refusal> {
    let mut kept = post_row(app, person, slice::from_ref(said), via).await;
    let ended = || {
        Err(Refusal::unavailable(
            "the server is stopping; send it again",
        ))
    };
    kept.pop().unwrap_or_else(ended)
}

/// Has what one person said in a row kept and published, in this order.
pub(crate) async fn post_row(
    app: &App,
    person: &Person,
    said: &[Said],
    via: Via,
) -> Vec<Result<Appended, Refusal>> {
    let rooms = said.iter().map(|said| &said.room_id);
    app.premium.mark_all(&app.chat, person, rooms).await;
    let row: Vec<_> = said
        .iter()
        .map(|said| Posting {
            room: &said.room_id,
            content: content(person, &said.client_id, &said.text),
        })
        .collect();
    let kept = app.chat.post_row(&row).await;
    let told = |(said, kept): (&Said, Result<Appended, KvError>)| {
        let appended = kept.map_err(|error| not_kept(&error, &said.room_id))?;
        via.meter().increment(1);
        if appended.duplicate {
            meter::RESENDS.increment(1);
        }
        Ok(appended)
    };
    said.iter().zip(kept).map(told).collect()
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

/// The sender's own id; one of ours if it gave none.
pub(crate) fn own_id(given: Option<String>) -> Result<String, Refusal> {
    let client_id = given.unwrap_or_else(fresh_client_id);
    check_client_id(&client_id)?;
    Ok(client_id)
}

fn check_client_id(client_id: &str) -> Result<(), Refusal> {
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
