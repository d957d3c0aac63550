//! Entries as the columns of one statement, and how that stores them.

use std::borrow::Cow;

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, QueryFragment, QueryId},
    serialize::ToSql,
    sql_types::{Array, BigInt, Bool, HasSqlType, Nullable, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{Content, Entry, message::Marks};
use crate::id::RoomId;

/// Stores rows if the room has none between the first id and the last. So none is looked for one by one, which would
/// take Postgres half as much again.
pub(super) const INTO_A_GAP: &str = " WHERE NOT EXISTS (SELECT FROM messages WHERE room_id = $1 \
     AND id BETWEEN ($2)[1] AND ($2)[array_upper($2, 1)])";
/// Stores those rows that are not there.
pub(super) const WHAT_IS_NEW: &str = " ON CONFLICT DO NOTHING";

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
    /// Whether one of them is a change or was changed. Else the last four columns are what they are by default.
    marked: bool,
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
            columns.marked |= marks != Marks::default();
        }
        columns
    }

    /// Stores them as rows of a room, in one statement; returns how many.
    pub(super) async fn store(
        &self,
        connection: &mut AsyncPgConnection,
        room: &RoomId,
        which: &'static str,
    ) -> QueryResult<usize> {
        let (room, columns) = (room.as_str(), self);
        let insert = Insert {
            room,
            columns,
            which,
        };
        insert.execute(connection).await
    }
}

/// The statement. A connection prepares it once; one of `diesel::sql_query` would be prepared each time.
struct Insert<'a> {
    room: &'a str,
    columns: &'a Columns<'a>,
    which: &'static str,
}

impl QueryFragment<Pg> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let columns = self.columns;
        // As columns that are set side by side: rows FROM unnest(…) would be gathered first.
        out.push_sql(
            "INSERT INTO messages (room_id, id, prev_id, user_id, username, client_id, body",
        );
        if columns.marked {
            out.push_sql(", edits, deletes, edited_id, deleted");
        }
        out.push_sql(") SELECT ");
        out.push_bind_param::<Text, _>(self.room)?;
        unnest::<BigInt, _>(&mut out, &columns.ids)?;
        unnest::<BigInt, _>(&mut out, &columns.prevs)?;
        unnest::<Text, _>(&mut out, &columns.users)?;
        unnest::<Text, _>(&mut out, &columns.names)?;
        unnest::<Text, _>(&mut out, &columns.clients)?;
        unnest::<Text, _>(&mut out, &columns.bodies)?;
        if columns.marked {
            unnest::<Nullable<BigInt>, _>(&mut out, &columns.edits)?;
            unnest::<Nullable<BigInt>, _>(&mut out, &columns.deletes)?;
            unnest::<Nullable<BigInt>, _>(&mut out, &columns.edited_ids)?;
            unnest::<Bool, _>(&mut out, &columns.deleted)?;
        }
        out.push_sql(self.which);
        Ok(())
    }
}

impl QueryId for Insert<'_> {
    type QueryId = ();
    /// Connections know it by its text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// One more column.
fn unnest<'b, T, V>(out: &mut AstPass<'_, 'b, Pg>, column: &'b Vec<V>) -> QueryResult<()>
where
    T: 'static,
    Pg: HasSqlType<Array<T>>,
    Vec<V>: ToSql<Array<T>, Pg>,
{
    out.push_sql(", unnest(");
    out.push_bind_param::<Array<T>, _>(column)?;
    out.push_sql(")");
    Ok(())
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
