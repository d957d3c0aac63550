//! Entries as the columns of one statement, and how that stores them.

use std::borrow::Cow;

use diesel::{
    QueryResult,
    sql_types::{Array, BigInt, Bool, Nullable, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{Content, Entry};
use crate::id::RoomId;

/// Stores rows if the room has none between the first id and the last. So none is looked for one by one, which would
/// take Postgres half as much again.
pub(super) const INTO_A_GAP: &str = "WHERE NOT EXISTS (SELECT FROM messages WHERE room_id = $1 \
     AND id BETWEEN ($2)[1] AND ($2)[array_upper($2, 1)])";
/// Stores those rows that are not there.
pub(super) const WHAT_IS_NEW: &str = "ON CONFLICT DO NOTHING";

/// Entries as columns, for one statement.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) ids: Vec<i64>,
    pub(super) prevs: Vec<i64>,
    pub(super) users: Vec<Cow<'a, str>>,
    pub(super) names: Vec<Cow<'a, str>>,
    pub(super) clients: Vec<Cow<'a, str>>,
    pub(super) bodies: Vec<Cow<'a, str>>,
    pub(super) edits: Vec<Option<i64>>,
    pub(super) deletes: Vec<Option<i64>>,
    pub(super) edited_ids: Vec<Option<i64>>,
    pub(super) deleted: Vec<bool>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Self {
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

    /// Stores them as rows of a room, in one statement; returns how many.
    pub(super) async fn store(
        &self,
        connection: &mut AsyncPgConnection,
        room: &RoomId,
        which: &str,
    ) -> QueryResult<usize> {
        // As columns that are set side by side: rows FROM unnest(…) would be gathered first.
        diesel::sql_query(format!(
            "INSERT INTO messages (room_id, id, prev_id, user_id, username, client_id, body, \
             edits, deletes, edited_id, deleted) \
             SELECT $1, unnest($2), unnest($3), unnest($4), unnest($5), unnest($6), unnest($7), \
             unnest($8), unnest($9), unnest($10), unnest($11) {which}"
        ))
        .bind::<Text, _>(room.as_str())
        .bind::<Array<BigInt>, _>(&self.ids)
        .bind::<Array<BigInt>, _>(&self.prevs)
        .bind::<Array<Text>, _>(&self.users)
        .bind::<Array<Text>, _>(&self.names)
        .bind::<Array<Text>, _>(&self.clients)
        .bind::<Array<Text>, _>(&self.bodies)
        .bind::<Array<Nullable<BigInt>>, _>(&self.edits)
        .bind::<Array<Nullable<BigInt>>, _>(&self.deletes)
        .bind::<Array<Nullable<BigInt>>, _>(&self.edited_ids)
        .bind::<Array<Bool>, _>(&self.deleted)
        .execute(connection)
        .await
    }
}

/// Postgres stores no NUL. Servers let none in; one that came all the same must not keep its room from
/// being flushed.
fn storable(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}").into()
    } else {
        text
    }
}
