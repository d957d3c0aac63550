//! Change: an author edits or deletes a message. The change is an entry of the room's log like a message,
//! and changes its target where that lies: in the log by the same script, in the archive by
//! [`super::amend`].

use std::sync::LazyLock;

use super::{Appended, Chat, Content, RoomLog, amend::Archived, message::Marks};
use crate::{
    id::{MessageId, RoomId},
    kv::{KvError, Script},
    pg::PgError,
    queue::enqueue::millis,
};

static CHANGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "change a message",
        &[super::LIB, super::ENTRY, include_str!("lua/change.lua")],
    )
});
static SUPERSEDE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "take the text of edits that were replaced",
        &[super::LIB, super::ENTRY, include_str!("lua/supersede.lua")],
    )
});

/// Why a message cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unchangeable {
    /// There is none.
    #[error("no message of this room has this id")]
    NotFound,
    /// It is somebody else's.
    #[error("only who wrote a message may change it")]
    NotAuthor,
    /// It is a change.
    #[error("this id is an edit's or a deletion's; change the message itself")]
    NotAMessage,
    /// It is deleted.
    #[error("the message was deleted, and stays so")]
    Deleted,
}

impl Unchangeable {
    const ALL: [Self; 4] = [
        Self::NotFound,
        Self::NotAuthor,
        Self::NotAMessage,
        Self::Deleted,
    ];

    /// Its name in the protocol and in the script.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotAuthor => "not_author",
            Self::NotAMessage => "not_a_message",
            Self::Deleted => "deleted",
        }
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Unchangeable),
    /// Redis failed; the change may have been made then, and asking again is safe.
    #[error(transparent)]
    Redis(#[from] KvError),
    /// The message is in the archive only, which cannot be read or written; the change may have been made then, and
    /// asking again is safe.
    #[error("change a message that is in the archive only")]
    Archive(#[source] PgError),
}

/// What the log did.
enum Looked {
    Changed(Appended),
    Refused(Unchangeable),
    /// The log does not know the message: ask the archive.
    Unknown,
}

/// What the archive says of a message that is to be changed.
type Verdict = Result<Archived, Unchangeable>;

impl Chat {
    /// Edits a message of its author; `content` has the new text. The edit is kept and published when this
    /// returns, and whoever reads the message finds the new text.
    ///
    /// # Errors
    /// If the message cannot be changed, or Redis or the archive fails.
    pub async fn edit(
        &self,
        room: &RoomId,
        message: MessageId,
        content: &Content<'_>,
    ) -> Result<Appended, ChangeError> {
        let marks = Marks {
            edits: Some(message),
            ..Marks::default()
        };
        self.change(room, message, content, marks).await
    }

    /// Deletes a message of its author, as [`Self::edit`] edits one; the text of `content` is of no account.
    ///
    /// # Errors
    /// As [`Self::edit`].
    pub async fn delete(
        &self,
        room: &RoomId,
        message: MessageId,
        content: &Content<'_>,
    ) -> Result<Appended, ChangeError> {
        let marks = Marks {
            deletes: Some(message),
            ..Marks::default()
        };
        let content = Content {
            message: "".into(),
            ..content.clone()
        };
        self.change(room, message, &content, marks).await
    }

    async fn change(
        &self,
        room: &RoomId,
        message: MessageId,
        content: &Content<'_>,
        marks: Marks,
    ) -> Result<Appended, ChangeError> {
        let mut looked = self.log.change(room, message, content, marks, None).await?;
        let archived = matches!(looked, Looked::Unknown);
        if archived {
            let author = content.user_id.as_ref();
            let found = self.archive.find(room, message, author).await;
            let verdict = found.map_err(ChangeError::Archive)?;
            looked = self
                .log
                .change(room, message, content, marks, Some(verdict))
                .await?;
        }
        let appended = match looked {
            Looked::Changed(appended) => appended,
            Looked::Refused(why) => return Err(why.into()),
            Looked::Unknown => return Err(Unchangeable::NotFound.into()),
        };
        // A resend may be of one that the archive did not take.
        let in_archive = archived || appended.duplicate && !self.log.shows(room, message).await?;
        let amended = if in_archive {
            let text = content.message.as_ref();
            let archive = &self.archive;
            archive.amend_one(room, message, appended.id, text).await
        } else {
            Ok(())
        };
        self.ask_flush_of_many(room, appended).await;
        // What follows the flush will do it; until then pages have what was before, so it is not acknowledged.
        amended.map_err(ChangeError::Archive)?;
        Ok(appended)
    }
}

impl RoomLog {
    async fn change(
        &self,
        room: &RoomId,
        message: MessageId,
        content: &Content<'_>,
        marks: Marks,
        archived: Option<Verdict>,
    ) -> Result<Looked, KvError> {
        // Two strings cannot fail to be written.
        let user = serde_json::to_string(&content.user_id).unwrap_or_default();
        let text = serde_json::to_string(&content.message).unwrap_or_default();
        let (verdict, last) = match archived {
            None => ("", MessageId::ZERO),
            Some(Ok(found)) => ("found", found.edited_at),
            Some(Err(why)) => (why.code(), MessageId::ZERO),
        };
        let mut call = CHANGE.on(self.keys.prefix());
        call.arg(room)
            .arg(format!("{} {}", content.user_id, content.client_id))
            .arg(marks.put_on(content.write()))
            .arg(millis(self.settings.resend_window))
            .arg(format!(r#"{{"userId":{user},"#))
            .arg(message)
            .arg(if marks.edits.is_some() { &text } else { "" })
            .arg(verdict)
            .arg(last);
        let (done, id, duplicate, fresh): (String, MessageId, u8, u64) =
            call.run(&self.redis).await?;
        if done == "changed" {
            return Ok(Looked::Changed(Appended {
                id,
                duplicate: duplicate != 0,
                fresh,
            }));
        }
        let refused = Unchangeable::ALL.iter().find(|why| why.code() == done);
        Ok(refused.map_or(Looked::Unknown, |why| Looked::Refused(*why)))
    }

    /// Whether whoever reads a message finds it in the log.
    async fn shows(&self, room: &RoomId, message: MessageId) -> Result<bool, KvError> {
        let (newest, _) = self.before(room, MessageId(message.0 + 1), 1).await?;
        Ok(newest.iter().any(|entry| entry.id == message))
    }

    /// Takes the text of edits, each of which a later change has replaced: (edit, change).
    pub(super) async fn supersede(
        &self,
        room: &RoomId,
        replaced: &[(MessageId, MessageId)],
    ) -> Result<(), KvError> {
        for chunk in replaced.chunks(500) {
            let mut call = SUPERSEDE.on(self.keys.prefix());
            call.arg(room);
            for (edit, change) in chunk {
                call.arg(edit).arg(change);
            }
            call.run::<i64>(&self.redis).await?;
        }
        Ok(())
    }
}
