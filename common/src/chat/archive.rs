//! The archive: every flushed message in Postgres, by room and id.

use std::borrow::Cow;

use diesel::{
    ExpressionMethods, QueryDsl, Queryable, Selectable, SelectableHelper,
    sql_types::{Array, BigInt, Bool, Nullable, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, pooled_connection::deadpool};

use super::{Content, Entry, IdRange, message::Marks};
use crate::{
    id::{MessageId, RoomId},
    pg::{PgError, Pool, schema::messages},
};

/// The rooms in Postgres.
#[derive(Clone)]
pub struct Archive {
    pool: Pool,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = messages)]
struct Row {
    id: i64,
    prev_id: i64,
    user_id: String,
    username: String,
    client_id: String,
    body: String,
    edits: Option<i64>,
    deletes: Option<i64>,
    edited_id: Option<i64>,
    deleted: bool,
}

/// Entries as columns, for one statement.
#[derive(Default)]
struct Columns {
    ids: Vec<i64>,
    prevs: Vec<i64>,
    users: Vec<String>,
    names: Vec<String>,
    clients: Vec<String>,
    bodies: Vec<String>,
    edits: Vec<Option<i64>>,
    deletes: Vec<Option<i64>>,
    edited_ids: Vec<Option<i64>>,
    deleted: Vec<bool>,
}

impl Columns {
    fn of(entries: &[Entry]) -> Self {
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

/// What of a room's archive is to be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hot {
    /// How many messages.
    pub count: u64,
    /// Whether they reach back to the room's first.
    pub from_first: bool,
    /// The id before the oldest, then the last id of each chunk; empty if the room has no messages.
    pub cuts: Vec<MessageId>,
}

#[derive(diesel::QueryableByName)]
struct Cut {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = BigInt)]
    total: i64,
    #[diesel(sql_type = Bool)]
    ends_chunk: bool,
}

impl Archive {
    /// The archive behind `pool`.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Stores messages, in one statement. Those that are there already are left as they are. Returns
    /// how many were new.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn insert(&self, room: &RoomId, entries: &[Entry]) -> Result<usize, PgError> {
        let columns = Columns::of(entries);
        let mut connection = self.connection().await?;
        diesel::sql_query(
            "INSERT INTO messages (room_id, id, prev_id, user_id, username, client_id, body, \
             edits, deletes, edited_id, deleted) \
             SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        )
        .bind::<Text, _>(room.as_str())
        .bind::<Array<BigInt>, _>(columns.ids)
        .bind::<Array<BigInt>, _>(columns.prevs)
        .bind::<Array<Text>, _>(columns.users)
        .bind::<Array<Text>, _>(columns.names)
        .bind::<Array<Text>, _>(columns.clients)
        .bind::<Array<Text>, _>(columns.bodies)
        .bind::<Array<Nullable<BigInt>>, _>(columns.edits)
        .bind::<Array<Nullable<BigInt>>, _>(columns.deletes)
        .bind::<Array<Nullable<BigInt>>, _>(columns.edited_ids)
        .bind::<Array<Bool>, _>(columns.deleted)
        .execute(&mut connection)
        .await
        .map_err(|source| PgError::Query {
            doing: "store messages",
            source,
        })
    }

    /// The messages of a range, oldest first.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn range(&self, room: &RoomId, range: IdRange) -> Result<Vec<Entry>, PgError> {
        let mut connection = self.connection().await?;
        let rows: Vec<Row> = messages::table
            .filter(messages::room_id.eq(room.as_str()))
            .filter(messages::id.gt(range.after.0))
            .filter(messages::id.le(range.to.0))
            .order(messages::id)
            .select(Row::as_select())
            .load(&mut connection)
            .await
            .map_err(|source| PgError::Query {
                doing: "read a range of messages",
                source,
            })?;
        Ok(rows.iter().map(Row::entry).collect())
    }

    /// Up to `limit` messages before an id, oldest first.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn before(
        &self,
        room: &RoomId,
        before: MessageId,
        limit: usize,
    ) -> Result<Vec<Entry>, PgError> {
        let mut connection = self.connection().await?;
        let mut rows: Vec<Row> = messages::table
            .filter(messages::room_id.eq(room.as_str()))
            .filter(messages::id.lt(before.0))
            .order(messages::id.desc())
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select(Row::as_select())
            .load(&mut connection)
            .await
            .map_err(|source| PgError::Query {
                doing: "read a page of messages",
                source,
            })?;
        rows.reverse();
        Ok(rows.iter().map(Row::entry).collect())
    }

    /// Up to `limit` messages after an id, oldest first.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn after(
        &self,
        room: &RoomId,
        after: MessageId,
        limit: usize,
    ) -> Result<Vec<Entry>, PgError> {
        let mut connection = self.connection().await?;
        let rows: Vec<Row> = messages::table
            .filter(messages::room_id.eq(room.as_str()))
            .filter(messages::id.gt(after.0))
            .order(messages::id)
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select(Row::as_select())
            .load(&mut connection)
            .await
            .map_err(|source| PgError::Query {
                doing: "read a page of messages",
                source,
            })?;
        Ok(rows.iter().map(Row::entry).collect())
    }

    /// Bounds of the newest `window` messages of a room, in chunks.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn cut_hot(
        &self,
        room: &RoomId,
        window: usize,
        chunk: usize,
    ) -> Result<Hot, PgError> {
        let mut connection = self.connection().await?;
        // One more than the window tells whether there are older ones.
        let rows: Vec<Cut> = diesel::sql_query(
            "WITH hot AS (SELECT id FROM messages WHERE room_id = $1 ORDER BY id DESC LIMIT $2 + 1), \
             placed AS (SELECT id, row_number() OVER (ORDER BY id DESC) AS place, count(*) OVER () AS total \
                        FROM hot) \
             SELECT id, place, total, place % $3 = 1 % $3 AS ends_chunk FROM placed \
             WHERE place <= $2 AND (place % $3 = 1 % $3 OR place = least(total, $2)) ORDER BY id",
        )
        .bind::<Text, _>(room.as_str())
        .bind::<BigInt, _>(i64::try_from(window).unwrap_or(i64::MAX - 1))
        .bind::<BigInt, _>(i64::try_from(chunk).unwrap_or(1))
        .load(&mut connection)
        .await
        .map_err(|source| PgError::Query { doing: "read the bounds of a room", source })?;
        let oldest = rows.as_slice().first();
        let (total, count) = oldest.map_or((0, 0), |row| (row.total, row.place));
        let before_oldest = oldest.map(|row| MessageId(row.id - 1));
        let ends = rows.iter().filter(|row| row.ends_chunk);
        Ok(Hot {
            count: count.unsigned_abs(),
            from_first: total == count,
            cuts: before_oldest
                .into_iter()
                .chain(ends.map(|row| MessageId(row.id)))
                .collect(),
        })
    }

    /// Asks whether Postgres answers.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), PgError> {
        let mut connection = self.connection().await?;
        diesel::sql_query("SELECT 1")
            .execute(&mut connection)
            .await
            .map(drop)
            .map_err(|source| PgError::Query {
                doing: "ask Postgres whether it is there",
                source,
            })
    }

    pub(super) async fn connection(&self) -> Result<deadpool::Object<AsyncPgConnection>, PgError> {
        self.pool.get().await.map_err(PgError::Get)
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

impl Row {
    fn entry(&self) -> Entry {
        let content = Content {
            user_id: self.user_id.as_str().into(),
            username: self.username.as_str().into(),
            client_id: self.client_id.as_str().into(),
            message: self.body.as_str().into(),
        };
        let marks = Marks {
            edits: self.edits.map(MessageId),
            deletes: self.deletes.map(MessageId),
            edited_at: self.edited_id.map(MessageId),
            deleted: self.deleted,
        };
        let (id, prev) = (MessageId(self.id), MessageId(self.prev_id));
        Entry::marked(id, prev, &content, marks)
    }
}
