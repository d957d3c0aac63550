//! Entries as the columns of one statement.

use std::borrow::Cow;

use super::{Content, Entry};

/// Entries as columns, for one statement.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) ids: Vec<i64>,
    pub(super) prevs: Vec<i64>,
    pub(super) users: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) clients: Vec<String>,
    pub(super) bodies: Vec<String>,
    pub(super) edits: Vec<Option<i64>>,
    pub(super) deletes: Vec<Option<i64>>,
    pub(super) edited_ids: Vec<Option<i64>>,
    pub(super) deleted: Vec<bool>,
}

impl Columns {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            // What cannot be read as this version's content is kept as it is, rather than lost.
            let content = entry.content().unwrap_or_else(|_| Content {
                user_id: "".into(),
                username: "".into(),
                client_id: "".into(),
                message: entry.text().into(),
            });
            let marks = entry.marks();
            columns.ids.push(entry.id.0);
            columns.prevs.push(entry.prev.0);
            columns.users.push(storable(content.user_id));
            columns.names.push(storable(content.username));
            columns.clients.push(storable(content.client_id));
            columns.bodies.push(storable(content.message));
            columns.edits.push(marks.edits.map(|id| id.0));
            columns.deletes.push(marks.deletes.map(|id| id.0));
            columns.edited_ids.push(marks.edited_at.map(|id| id.0));
            columns.deleted.push(marks.deleted);
        }
        columns
    }
}

/// Postgres stores no NUL. Servers let none in; one that came all the same must not keep its room from
/// being flushed.
fn storable(text: Cow<'_, str>) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}")
    } else {
        text.into_owned()
    }
}
