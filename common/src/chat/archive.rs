//! The archive: every flushed message in Postgres, by room and id.

use deadpool_redis::Status;
use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, Queryable, Selectable, SelectableHelper,
    dsl::exists,
    result::{DatabaseErrorKind, Error},
    sql_types::{BigInt, Bool, Double, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, pooled_connection::deadpool};

use super::{
    Content, Entry, IdRange,
    columns::{Columns, INTO_A_GAP, WHAT_IS_NEW},
    message::Marks,
};
use crate::{
    id::{MessageId, RoomId},
    pg::{self, PgError, Pool, schema::messages},
    queue::span::{Span, SpanKind, spanned},
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

/// Where a room's archive ends, and where a stretch of it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The newest message; 0 if there is none.
    pub newest: MessageId,
    /// The oldest message of the stretch; 0 if the archive has no more than the stretch is to have.
    pub oldest: MessageId,
    /// Whether there are messages before the stretch.
    pub more: bool,
}

/// From which end of a range messages are taken, if there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Oldest,
    Newest,
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(diesel::QueryableByName)]
struct Age {
    #[diesel(sql_type = Double)]
    age: f64,
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

/// Asks Postgres for something, as a step of the trace that runs here.
///
/// # Errors
/// Those of what is asked.
pub(super) async fn statement<T>(
    name: &'static str,
    asking: impl Future<Output = Result<T, PgError>>,
) -> Result<T, PgError> {
    let span = Span::part(name, SpanKind::Client);
    let span = span.map(|span| span.with("db.system.name", "postgresql"));
    spanned(span, asking).await
}

impl Archive {
    /// The archive behind `pool`.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Stores messages; the oldest is the first of them. Those that are there already are left as they are. Returns
    /// how many were new.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn insert(&self, room: &RoomId, entries: &[Entry]) -> Result<usize, PgError> {
        let columns = Columns::of(entries);
        let mut connection = self.connection().await?;
        let stored = match columns.store(&mut connection, room, INTO_A_GAP).await {
            Ok(stored) if stored == entries.len() => Ok(stored),
            // Somebody has stored some of them before, or just now.
            Ok(_) | Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                columns.store(&mut connection, room, WHAT_IS_NEW).await
            }
            failed => failed,
        };
        stored.map_err(|source| PgError::Query {
            doing: "store messages",
            source,
        })
    }

    /// The messages of a range, oldest first.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn range(&self, room: &RoomId, range: IdRange) -> Result<Vec<Entry>, PgError> {
        self.read(room, range, End::Oldest, usize::MAX).await
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
        let range = IdRange {
            after: MessageId(-1),
            to: MessageId(before.0 - 1),
        };
        self.read(room, range, End::Newest, limit).await
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
        let range = IdRange {
            after,
            to: MessageId(i64::MAX),
        };
        self.read(room, range, End::Oldest, limit).await
    }

    /// Up to `limit` messages from one end of a range, oldest first.
    async fn read(
        &self,
        room: &RoomId,
        range: IdRange,
        end: End,
        limit: usize,
    ) -> Result<Vec<Entry>, PgError> {
        let mut connection = self.connection().await?;
        let query = messages::table
            .filter(messages::room_id.eq(room.as_str()))
            .filter(messages::id.gt(range.after.0))
            .filter(messages::id.le(range.to.0))
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select(Row::as_select())
            .into_boxed();
        let query = match end {
            End::Oldest => query.order(messages::id),
            End::Newest => query.order(messages::id.desc()),
        };
        let mut rows: Vec<Row> =
            query
                .load(&mut connection)
                .await
                .map_err(|source| PgError::Query {
                    doing: "read messages",
                    source,
                })?;
        if end == End::Newest {
            rows.reverse();
        }
        Ok(rows.iter().map(Row::entry).collect())
    }

    /// The newest message of a room; the `count`th message before an id, the oldest if there are fewer; and
    /// whether there are more before that.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn bounds(
        &self,
        room: &RoomId,
        before: MessageId,
        count: usize,
    ) -> Result<Bounds, PgError> {
        let of_room = || messages::table.filter(messages::room_id.eq(room.as_str()));
        let earlier = || of_room().filter(messages::id.lt(before.0));
        let newest_first = messages::id.desc();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let newest = of_room().order(newest_first).select(messages::id);
        let oldest = earlier().order(newest_first).select(messages::id);
        let query = diesel::select((
            newest.limit(1).single_value(),
            oldest.offset(count - 1).limit(1).single_value(),
            exists(earlier().order(newest_first).offset(count)),
        ));
        let mut connection = self.connection().await?;
        let (newest, oldest, more): (Option<i64>, Option<i64>, bool) = query
            .get_result(&mut connection)
            .await
            .map_err(|source| PgError::Query {
                doing: "read where a room ends",
                source,
            })?;
        Ok(Bounds {
            newest: newest.map_or(MessageId::ZERO, MessageId),
            oldest: oldest.map_or(MessageId::ZERO, MessageId),
            more,
        })
    }

    /// How many messages are between two ids, both left out; counts to `most`.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn count(
        &self,
        room: &RoomId,
        after: MessageId,
        before: MessageId,
        most: usize,
    ) -> Result<usize, PgError> {
        let mut connection = self.connection().await?;
        let row: Count = diesel::sql_query(
            "SELECT count(*) AS count FROM (SELECT 1 FROM messages \
             WHERE room_id = $1 AND id > $2 AND id < $3 LIMIT $4) AS these",
        )
        .bind::<Text, _>(room.as_str())
        .bind::<BigInt, _>(after.0)
        .bind::<BigInt, _>(before.0)
        .bind::<BigInt, _>(i64::try_from(most).unwrap_or(i64::MAX))
        .get_result(&mut connection)
        .await
        .map_err(|source| PgError::Query {
            doing: "count messages",
            source,
        })?;
        Ok(usize::try_from(row.count).unwrap_or(0))
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

    /// Asks whether Postgres answers, and has a schema that this binary knows. Returns whether it is a newer one.
    ///
    /// # Errors
    /// If not.
    pub async fn check(&self) -> Result<bool, PgError> {
        let mut connection = self.connection().await?;
        let newer = pg::compare_schema(&mut connection).await?;
        Ok(!newer.is_empty())
    }

    /// How many seconds ago the oldest row of the outbox was made, by Postgres's clock.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn oldest_of_outbox(&self) -> Result<Option<f64>, PgError> {
        let mut connection = self.connection().await?;
        let row: Option<Age> = diesel::sql_query(
            "SELECT extract(epoch FROM clock_timestamp() - made_at)::float8 AS age \
             FROM outbox ORDER BY id LIMIT 1",
        )
        .get_result(&mut connection)
        .await
        .optional()
        .map_err(|source| PgError::Query {
            doing: "look at the outbox",
            source,
        })?;
        Ok(row.map(|row| row.age))
    }

    /// How its connections are used.
    pub fn pool(&self) -> Status {
        self.pool.status()
    }

    pub(super) async fn connection(&self) -> Result<deadpool::Object<AsyncPgConnection>, PgError> {
        self.pool.get().await.map_err(PgError::Get)
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
