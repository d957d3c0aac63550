//! A message: what its sender wrote, and how it lies in a room's log.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use redis::{FromRedisValue, ParsingError, Value};
use serde::{Deserialize, Serialize};

use crate::id::{MessageId, RoomId};

/// The ids after `after`, up to and including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The range begins after this id.
    pub after: MessageId,
    /// And ends with this one.
    pub to: MessageId,
}

/// What a sender gives: everything of a message but its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content<'a> {
    /// Who sent it.
    #[serde(borrow)]
    pub user_id: Cow<'a, str>,
    /// The sender's name.
    #[serde(borrow)]
    pub username: Cow<'a, str>,
    /// The sender's own id for it.
    #[serde(borrow)]
    pub client_id: Cow<'a, str>,
    /// The text.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

impl Content<'_> {
    /// Its form in the log, as JSON.
    pub fn write(&self) -> String {
        // Four strings cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What an entry has to do with changes. It stands behind the content; the scripts read and write it, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Marks {
    /// The message that this is an edit of; the text is the new one.
    pub edits: Option<MessageId>,
    /// The message that this deletes.
    pub deletes: Option<MessageId>,
    /// The change that this shows. Of an edit: the later one that has replaced it.
    pub edited_at: Option<MessageId>,
    /// Whether it was deleted.
    pub deleted: bool,
}

impl Marks {
    /// A content (JSON) with these marks.
    pub(super) fn put_on(self, mut content: String) -> String {
        use std::fmt::Write;
        let ids = [
            ("edits", self.edits),
            ("deletes", self.deletes),
            ("editedAt", self.edited_at),
        ];
        content.pop();
        for (name, id) in ids {
            if let Some(id) = id {
                // Writing to a String cannot fail.
                let _ = write!(content, r#","{name}":{id}"#);
            }
        }
        content.push_str(if self.deleted {
            r#","deleted":true}"#
        } else {
            "}"
        });
        content
    }
}

/// A message as it lies in a room's log: `<id> <prev> <content as JSON>`. The content is written once,
/// by the server that took it, and copied as it is from then on, but for what changes do to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: MessageId,
    /// The id before it in the room; 0 if it is the first, or that was not known.
    pub prev: MessageId,
    content: Box<str>,
}

impl Entry {
    /// An entry with this content.
    pub fn of(id: MessageId, prev: MessageId, content: &Content<'_>) -> Self {
        Self {
            id,
            prev,
            content: content.write().into(),
        }
    }

    /// An entry with this content and these marks.
    pub fn marked(id: MessageId, prev: MessageId, content: &Content<'_>, marks: Marks) -> Self {
        Self {
            id,
            prev,
            content: marks.put_on(content.write()).into(),
        }
    }

    /// Reads an entry of a log.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.split_once(' ')?;
        let (prev, content) = rest.split_once(' ')?;
        if !content.starts_with('{') {
            return None;
        }
        Some(Self {
            id: id.parse().ok()?,
            prev: prev.parse().ok()?,
            content: content.into(),
        })
    }

    /// Its form in the log.
    pub fn text(&self) -> String {
        format!("{} {} {}", self.id, self.prev, self.content)
    }

    /// Its content.
    ///
    /// # Errors
    /// If it is not of this shape.
    pub fn content(&self) -> serde_json::Result<Content<'_>> {
        serde_json::from_str(&self.content)
    }

    /// What it has to do with changes.
    pub fn marks(&self) -> Marks {
        if self.content.ends_with("\"}") {
            return Marks::default(); // the text is the last
        }
        serde_json::from_str(&self.content).unwrap_or_default()
    }

    /// Of two copies of a message the one with the greater version counts: what is deleted stays deleted,
    /// else the later change.
    pub fn version(&self) -> (bool, MessageId) {
        let marks = self.marks();
        (marks.deleted, marks.edited_at.unwrap_or_default())
    }

    /// Appends it to `json` as the protocol shows it, without its room:
    /// `{"messageId":…,"prev":…,"timestamp":"…","userId":…,…}`.
    pub fn render(&self, json: &mut String) {
        json.push('{');
        self.render_fields(json);
    }

    /// About how many bytes [`Self::render`] writes.
    pub fn rendered_len(&self) -> usize {
        self.content.len() + 100
    }

    /// The whole frame that tells a room's members of it.
    pub fn frame(&self, room: &RoomId) -> String {
        let mut json = String::with_capacity(self.content.len() + 160);
        json.push_str(r#"{"type":"message","payload":{"roomId":""#);
        json.push_str(room.as_str()); // its letters need no escape
        json.push_str("\",");
        self.render_fields(&mut json);
        json.push('}');
        json
    }

    /// All fields and the brace that ends them.
    fn render_fields(&self, json: &mut String) {
        use std::fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(
            json,
            r#""messageId":{},"prev":{},"timestamp":""#,
            self.id, self.prev
        );
        json.push_str(&timestamp(self.id));
        json.push_str("\",");
        json.push_str(&self.content[1..]);
    }
}

/// The time of an id, as RFC 3339 in UTC with milliseconds.
pub fn timestamp(id: MessageId) -> String {
    DateTime::<Utc>::from_timestamp_micros(id.0)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl FromRedisValue for Entry {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let text = String::from_redis_value(value)?;
        Self::parse(&text)
            .ok_or_else(|| format!("`{text:.100}` is no entry of a room's log").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_as_it_is_written_and_shows_as_the_protocol_says() {
        let content = Content {
            user_id: "u".into(),
            username: "Ada \"A\"".into(),
            client_id: "c1".into(),
            message: "hi\n{}".into(),
        };
        let entry = Entry::of(MessageId(1_790_000_000_123_456), MessageId(7), &content);

        let read = Entry::parse(&entry.text()).unwrap();

        assert_eq!(read, entry);
        assert_eq!(read.content().unwrap(), content);
        let frame: serde_json::Value =
            serde_json::from_str(&read.frame(&"lobby".parse().unwrap())).unwrap();
        assert_eq!(
            frame,
            serde_json::json!({"type": "message", "payload": {
                "roomId": "lobby", "messageId": 1_790_000_000_123_456_i64, "prev": 7,
                "timestamp": "2026-09-21T14:13:20.123Z", "userId": "u", "username": "Ada \"A\"",
                "clientId": "c1", "message": "hi\n{}",
            }})
        );
    }

    #[test]
    fn marks_stand_behind_the_content_and_a_text_that_looks_like_them_is_none() {
        let content = Content {
            user_id: "u".into(),
            username: "Ada".into(),
            client_id: "c1".into(),
            message: r#"","edits":1,"deleted":true}"#.into(),
        };
        let marks = Marks {
            edits: Some(MessageId(5)),
            deletes: Some(MessageId(6)),
            edited_at: Some(MessageId(7)),
            deleted: true,
        };
        let plain = Entry::of(MessageId(9), MessageId(8), &content);
        let marked = Entry::marked(MessageId(9), MessageId(8), &content, marks);

        assert_eq!(plain.marks(), Marks::default());
        assert_eq!(marked.marks(), marks);
        assert_eq!(marked.content().unwrap(), content);
        assert!(marked.version() > plain.version());
        let unmarked = Entry::marked(plain.id, plain.prev, &content, Marks::default());
        assert_eq!(unmarked, plain);
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for wrong in ["", "1", "1 2", "1 2 x", "a 2 {}", "-1 0 {}", "1  {}"] {
            assert!(Entry::parse(wrong).is_none(), "{wrong:?} passed");
        }
    }
}
