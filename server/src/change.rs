//! Changing: the one way by which an edit or a deletion gets from its author into the room, whether it came as a
//! frame or over HTTP. When this returns, it is kept.

use std::borrow::Cow;

use common::{
    chat::{Appended, ChangeError},
    error::Chain,
    id::{MessageId, RoomId},
};

use crate::{
    app::App,
    frame::Refusal,
    limits::Limits,
    person::Person,
    post::{check_text, content, not_kept, own_id},
};

/// An archive that cannot be reached may be back soon, in ms.
pub(crate) const ARCHIVE_AGAIN: u64 = 2000;

/// A change that was found good, on its way into its room.
#[derive(Debug)]
pub(crate) struct Changing {
    pub(crate) room_id: RoomId,
    pub(crate) client_id: String,
    message: MessageId,
    /// None for a deletion.
    text: Option<String>,
}

impl Changing {
    /// Checks an edit.
    pub(crate) fn edit(
        limits: &Limits,
        room_id: RoomId,
        client_id: Option<String>,
        message: MessageId,
        text: String,
    ) -> Result<Self, Refusal> {
        check_text(limits, &text)?;
        Ok(Self {
            text: Some(text),
            ..Self::delete(room_id, client_id, message)?
        })
    }

    /// Checks a deletion.
    pub(crate) fn delete(
        room_id: RoomId,
        client_id: Option<String>,
        message: MessageId,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            room_id,
            client_id: own_id(client_id)?,
            message,
            text: None,
        })
    }
}

/// Has a change kept and published.
pub(crate) async fn change(
    app: &App,
    person: &Person,
    changing: &Changing,
) -> Result<Appended, Refusal> {
    let Changing {
        room_id,
        client_id,
        message,
        text,
    } = changing;
    let content = content(person, client_id, text.as_deref().unwrap_or_default());
    let (changed, total) = if text.is_some() {
        let edited = app.chat.edit(room_id, *message, &content).await;
        (edited, "rhubarb_edits_total")
    } else {
        let deleted = app.chat.delete(room_id, *message, &content).await;
        (deleted, "rhubarb_deletions_total")
    };
    let appended = changed.map_err(|error| not_changed(error, *message, room_id))?;
    metrics::counter!(total).increment(1);
    Ok(appended)
}

fn not_changed(error: ChangeError, message: MessageId, room: &RoomId) -> Refusal {
    match error {
        ChangeError::Refused(why) => {
            Refusal::new(why.code(), Cow::Owned(format!("message {message}: {why}")))
        }
        ChangeError::Redis(error) => not_kept(&error, room),
        error => {
            tracing::warn!(error = %Chain(&error), room.id = %room, "a message could not be changed");
            let text = "the message is in the archive only, which is away; \
                        send this again with the same clientId";
            Refusal::later("archive_unavailable", text, ARCHIVE_AGAIN)
        }
    }
}
