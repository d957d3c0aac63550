//! Post, edit, delete: what a connection adds to a room, and when it is acknowledged.

use std::{borrow::Cow, sync::Arc};

use common::{
    chat::{Appended, ChangeError, Content},
    error::Chain,
    id::{MessageId, RoomId},
    kv::KvError,
};
use rand::distr::{Alphanumeric, SampleString};

use crate::{
    frame::{self, AckLevel, Change, FrameId, MAX_CLIENT_ID, MAX_MESSAGE, Post, Refusal},
    session::Session,
};

/// An archive that cannot be reached may be back soon, in ms.
const ARCHIVE_AGAIN: u64 = 2000;

impl Session {
    pub(crate) async fn post(&self, id: &FrameId, post: Post) -> Result<(), Refusal> {
        let room = self.room_of(post.room_id)?;
        let client_id = client_id(post.client_id)?;
        check_text(&post.message)?;
        let content = self.content(&client_id, &post.message);
        let kept = self.app.chat.post(&room, &content).await;
        let appended = kept.map_err(|error| not_kept(&error, &room))?;
        metrics::counter!("rhubarb_posted_messages_total").increment(1);
        self.acknowledge(id, room, client_id, appended, post.ack);
        Ok(())
    }

    pub(crate) async fn edit(&self, id: &FrameId, edit: Change) -> Result<(), Refusal> {
        let text = edit.message.as_deref().unwrap_or_default();
        check_text(text)?;
        let room = self.room_of(edit.room_id)?;
        let client_id = client_id(edit.client_id)?;
        let content = self.content(&client_id, text);
        let edited = self.app.chat.edit(&room, edit.message_id, &content).await;
        let appended = edited.map_err(|error| not_changed(error, edit.message_id, &room))?;
        metrics::counter!("rhubarb_edits_total").increment(1);
        self.acknowledge(id, room, client_id, appended, edit.ack);
        Ok(())
    }

    pub(crate) async fn delete(&self, id: &FrameId, delete: Change) -> Result<(), Refusal> {
        let room = self.room_of(delete.room_id)?;
        let client_id = client_id(delete.client_id)?;
        let content = self.content(&client_id, "");
        let deleted = self
            .app
            .chat
            .delete(&room, delete.message_id, &content)
            .await;
        let appended = deleted.map_err(|error| not_changed(error, delete.message_id, &room))?;
        metrics::counter!("rhubarb_deletions_total").increment(1);
        self.acknowledge(id, room, client_id, appended, delete.ack);
        Ok(())
    }

    fn content<'a>(&'a self, client_id: &'a str, text: &'a str) -> Content<'a> {
        Content {
            user_id: (&*self.person.user_id).into(),
            username: (&*self.person.username).into(),
            client_id: client_id.into(),
            message: text.into(),
        }
    }

    /// Answers at once, or when the entry is in the archive. Who waits for that does not hold the
    /// connection's next frames up.
    fn acknowledge(
        &self,
        id: &FrameId,
        room: RoomId,
        client_id: String,
        appended: Appended,
        level: AckLevel,
    ) {
        if level == AckLevel::Redis {
            let ack = frame::ack(id, &room, &client_id, appended, false);
            self.outbox.push(ack);
            return;
        }
        let (waits, id) = (self.app.waits.clone(), id.clone());
        // A connection that ends takes its outbox with it.
        let outbox = Arc::downgrade(&self.outbox);
        tokio::spawn(async move {
            let told = waits.archived(&room, appended.id).await;
            let Some(outbox) = outbox.upgrade() else {
                return;
            };
            outbox.push(match told {
                Ok(()) => frame::ack(&id, &room, &client_id, appended, true),
                Err(late) => {
                    metrics::counter!("rhubarb_refused_frames_total", "code" => "not_archived")
                        .increment(1);
                    let refusal = Refusal::later("not_archived", late.to_string(), ARCHIVE_AGAIN);
                    frame::error(&id, &refusal)
                }
            });
        });
    }
}

/// The sender's own id; one of ours if it gave none.
fn client_id(given: Option<String>) -> Result<String, Refusal> {
    let client_id = given.unwrap_or_else(|| Alphanumeric.sample_string(&mut rand::rng(), 20));
    if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID || !client_id.is_ascii() {
        let text = format!("clientId has 1 to {MAX_CLIENT_ID} ASCII characters");
        return Err(Refusal::new("bad_message", text));
    }
    without_nul(&client_id)?;
    Ok(client_id)
}

fn check_text(text: &str) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > MAX_MESSAGE {
        let text = format!("a message has 1 to {MAX_MESSAGE} bytes");
        return Err(Refusal::new("bad_message", text));
    }
    without_nul(text)
}

/// Postgres cannot store it, so the room could never be flushed.
fn without_nul(text: &str) -> Result<(), Refusal> {
    let refusal = || Refusal::new("bad_message", "a message has no NUL characters");
    if text.contains('\0') {
        return Err(refusal());
    }
    Ok(())
}

fn not_kept(error: &KvError, room: &RoomId) -> Refusal {
    tracing::warn!(error = %Chain(error), room.id = %room, "an entry could not be kept");
    Refusal::unavailable("this could not be kept; send it again with the same clientId")
}

fn not_changed(error: ChangeError, message: MessageId, room: &RoomId) -> Refusal {
    match error {
        ChangeError::Refused(why) => {
            Refusal::new(why.code(), Cow::Owned(format!("message {message}: {why}")))
        }
        ChangeError::Redis(error) => not_kept(&error, room),
        error => {
            tracing::warn!(error = %Chain(&error), room.id = %room, "a message could not be changed");
            let text = "the message is in the archive only, which cannot be read now; \
                        send this again with the same clientId";
            Refusal::later("archive_unavailable", text, ARCHIVE_AGAIN)
        }
    }
}
