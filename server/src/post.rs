//! Posting: the one way by which a message gets from a client into its room, whether it came as a frame or
//! over HTTP. When this returns, the message is kept.

use common::{
    chat::{Appended, Chat, Content},
    error::Chain,
    id::RoomId,
};
use rand::distr::{Alphanumeric, SampleString};

use crate::{
    frame::{MAX_CLIENT_ID, MAX_MESSAGE, Refusal},
    session::Person,
};

/// Where a message came from, for the metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Via {
    Socket,
    Http,
}

impl Via {
    fn label(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Http => "http",
        }
    }
}

/// The sender's own id for a message that came without one.
pub(crate) fn fresh_client_id() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 20)
}

/// Checks a message, and has it kept and published.
pub(crate) async fn post(
    chat: &Chat,
    person: &Person,
    room_id: &RoomId,
    client_id: &str,
    message: &str,
    via: Via,
) -> Result<Appended, Refusal> {
    check(client_id, message)?;
    let content = Content {
        user_id: (&*person.user_id).into(),
        username: (&*person.username).into(),
        client_id: client_id.into(),
        message: message.into(),
    };
    let appended = chat.post(room_id, &content).await.map_err(|error| {
        tracing::warn!(error = %Chain(&error), room.id = %room_id, "a message could not be kept");
        Refusal::unavailable("the message could not be kept; send it again with the same clientId")
    })?;
    metrics::counter!("rhubarb_posted_messages_total", "via" => via.label()).increment(1);
    Ok(appended)
}

fn check(client_id: &str, message: &str) -> Result<(), Refusal> {
    let bad = |text: String| Err(Refusal::new("bad_message", text));
    if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID || !client_id.is_ascii() {
        return bad(format!(
            "clientId has 1 to {MAX_CLIENT_ID} ASCII characters"
        ));
    }
    if message.is_empty() || message.len() > MAX_MESSAGE {
        return bad(format!("a message has 1 to {MAX_MESSAGE} bytes"));
    }
    // Postgres cannot store it, so the room could never be flushed.
    if message.contains('\0') || client_id.contains('\0') {
        return bad("a message has no NUL characters".to_owned());
    }
    Ok(())
}
