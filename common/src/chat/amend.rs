//! Amend: what edits and deletions make of the archive. Each statement may run twice and late: what is
//! deleted stays deleted, and else the change with the highest id counts.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl,
    sql_types::{Array, BigInt, Bool, Nullable, Text},
};
use diesel_async::RunQueryDsl;

use super::{
    Archive, Chat, Entry, IdRange, RoomLog, archive::statement, change::Unchangeable,
    columns::Columns, flush::FlushError,
};
use crate::{
    id::{MessageId, RoomId},
    kv::KvError,
    pg::{PgError, schema::messages},
};

/// A message of the archive that may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archived {
    /// The change that it shows; 0 if none.
    pub edited_at: MessageId,
}

/// A range's changes that count, by their target. Those that a later one has replaced are left to that.
const NEWS: &str = "WITH news AS ( \
     SELECT DISTINCT ON (target) coalesce(edits, deletes) AS target, id, body, deletes IS NOT NULL AS deleted \
     FROM messages \
     WHERE room_id = $1 AND id > $2 AND id <= $3 AND (edits IS NOT NULL OR deletes IS NOT NULL) \
       AND edited_id IS NULL \
     ORDER BY target, deleted DESC, id DESC)";

#[derive(diesel::QueryableByName)]
struct Replaced {
    #[diesel(sql_type = BigInt)]
    edit: i64,
    #[diesel(sql_type = BigInt)]
    change: i64,
}

impl Chat {
    /// Carries out the edits and deletions of a range that is in the archive, and all before it: so each target is
    /// there, whichever child stored it, and whenever. What a change beyond the range has changed below its end
    /// is renewed, since the log may be trimmed to there. Returns the change up to which the archive shows all.
    pub(super) async fn carry_out(
        &self,
        room: &RoomId,
        range: IdRange,
    ) -> Result<MessageId, FlushError> {
        self.carry_out_archived(room, range).await?;
        let (shown, changed) = self.log.changed_since(room, range.to).await?;
        if !changed.is_empty() {
            statement("renew messages", self.archive.renew(room, &changed)).await?;
        }
        Ok(shown)
    }

    /// Carries out the edits and deletions of a range of the archive.
    pub(super) async fn carry_out_archived(
        &self,
        room: &RoomId,
        range: IdRange,
    ) -> Result<(), FlushError> {
        let asking = self.archive.replaced_by(room, range);
        if let Some(replaced) = statement("look for changes", asking).await? {
            // First the log: a second run would not find in the archive what is left to do here.
            self.log.supersede(room, &replaced).await?;
            statement("change messages", self.archive.amend(room, range)).await?;
        }
        Ok(())
    }
}

impl RoomLog {
    /// The newest change after an id, and the entries up to that id which have been changed since.
    async fn changed_since(
        &self,
        room: &RoomId,
        to: MessageId,
    ) -> Result<(MessageId, Vec<Entry>), KvError> {
        let failed = |source| {
            let doing = "read what was changed in a room";
            self.redis.failed(doing, source)
        };
        let mut connection = self.redis.connection().await?;
        let changed: Vec<(MessageId, MessageId)> = redis::cmd("ZRANGEBYSCORE")
            .arg(self.keys.changed(room))
            .arg(format!("({to}"))
            .arg("+inf")
            .arg("WITHSCORES")
            .query_async(&mut connection)
            .await
            .map_err(failed)?;
        let shown = changed.last().map_or(to, |(_, change)| *change);
        let mut read = redis::pipe();
        for (id, _) in changed.iter().filter(|(id, _)| *id <= to) {
            read.zrangebyscore(self.keys.log(room), id.0, id.0);
        }
        if read.is_empty() {
            return Ok((shown, Vec::new()));
        }
        let entries: Vec<Vec<Entry>> = read.query_async(&mut connection).await.map_err(failed)?;
        Ok((shown, entries.into_iter().flatten().collect()))
    }
}

impl Archive {
    /// Gives messages that are there the state of these copies, where that is newer.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn renew(&self, room: &RoomId, entries: &[Entry]) -> Result<(), PgError> {
        let columns = Columns::of(entries);
        let mut connection = self.connection().await?;
        diesel::sql_query(
            "UPDATE messages m SET body = n.body, edited_id = n.edited_id, deleted = n.deleted \
             FROM unnest($2, $3, $4, $5) AS n (id, body, edited_id, deleted) \
             WHERE m.room_id = $1 AND m.id = n.id AND NOT m.deleted \
               AND (n.deleted OR n.edited_id > coalesce(m.edited_id, 0))",
        )
        .bind::<Text, _>(room.as_str())
        .bind::<Array<BigInt>, _>(columns.ids)
        .bind::<Array<Text>, _>(columns.bodies)
        .bind::<Array<Nullable<BigInt>>, _>(columns.edited_ids)
        .bind::<Array<Bool>, _>(columns.deleted)
        .execute(&mut connection)
        .await
        .map(drop)
        .map_err(|source| PgError::Query {
            doing: "renew archived messages",
            source,
        })
    }

    /// Looks for a message that its author wants to change.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn find(
        &self,
        room: &RoomId,
        message: MessageId,
        author: &str,
    ) -> Result<Result<Archived, Unchangeable>, PgError> {
        type Found = (String, Option<i64>, Option<i64>, Option<i64>, bool);
        let mut connection = self.connection().await?;
        let found: Option<Found> = messages::table
            .find((room.as_str(), message.0))
            .select((
                messages::user_id,
                messages::edits,
                messages::deletes,
                messages::edited_id,
                messages::deleted,
            ))
            .first(&mut connection)
            .await
            .optional()
            .map_err(|source| PgError::Query {
                doing: "look for a message",
                source,
            })?;
        Ok(match found {
            None => Err(Unchangeable::NotFound),
            Some((_, edits, deletes, ..)) if edits.is_some() || deletes.is_some() => {
                Err(Unchangeable::NotAMessage)
            }
            Some((user_id, ..)) if user_id != author => Err(Unchangeable::NotAuthor),
            Some((.., true)) => Err(Unchangeable::Deleted),
            Some((.., edited_id, false)) => Ok(Archived {
                edited_at: MessageId(edited_id.unwrap_or_default()),
            }),
        })
    }

    /// Which of these ids are in the archive.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn which(&self, room: &RoomId, ids: &[MessageId]) -> Result<Vec<MessageId>, PgError> {
        let mut connection = self.connection().await?;
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let found: Vec<i64> = messages::table
            .filter(messages::room_id.eq(room.as_str()))
            .filter(messages::id.eq_any(ids))
            .select(messages::id)
            .load(&mut connection)
            .await
            .map_err(|source| PgError::Query {
                doing: "look which messages are archived",
                source,
            })?;
        Ok(found.into_iter().map(MessageId).collect())
    }

    /// Carries out one change, whose own row may not be there yet. An empty text deletes.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn amend_one(
        &self,
        room: &RoomId,
        message: MessageId,
        change: MessageId,
        text: &str,
    ) -> Result<(), PgError> {
        let mut connection = self.connection().await?;
        diesel::sql_query(
            "WITH targets AS ( \
               UPDATE messages SET body = $4, edited_id = $3, deleted = ($4 = '') \
               WHERE room_id = $1 AND id = $2 AND NOT deleted AND coalesce(edited_id, 0) < $3) \
             UPDATE messages SET body = '', edited_id = $3 \
             WHERE room_id = $1 AND edits = $2 AND id < $3 AND edited_id IS NULL",
        )
        .bind::<Text, _>(room.as_str())
        .bind::<BigInt, _>(message.0)
        .bind::<BigInt, _>(change.0)
        .bind::<Text, _>(text)
        .execute(&mut connection)
        .await
        .map(drop)
        .map_err(|source| PgError::Query {
            doing: "change an archived message",
            source,
        })
    }

    /// The edits that the changes of a range replace, each with its change; none if the range has no
    /// changes.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn replaced_by(
        &self,
        room: &RoomId,
        range: IdRange,
    ) -> Result<Option<Vec<(MessageId, MessageId)>>, PgError> {
        let doing = "look for changes of messages";
        let failed = |source| PgError::Query { doing, source };
        let mut connection = self.connection().await?;
        let changes: Vec<Option<i64>> = messages::table
            .filter(messages::room_id.eq(room.as_str()))
            .filter(messages::id.gt(range.after.0))
            .filter(messages::id.le(range.to.0))
            .filter(
                messages::edits
                    .is_not_null()
                    .or(messages::deletes.is_not_null()),
            )
            .select(messages::edits)
            .limit(1)
            .load(&mut connection)
            .await
            .map_err(failed)?;
        if changes.is_empty() {
            return Ok(None);
        }
        let replaced: Vec<Replaced> = diesel::sql_query(format!(
            "{NEWS} SELECT e.id AS edit, news.id AS change FROM messages e \
             JOIN news ON e.edits = news.target AND e.id < news.id \
             WHERE e.room_id = $1 AND e.edited_id IS NULL"
        ))
        .bind::<Text, _>(room.as_str())
        .bind::<BigInt, _>(range.after.0)
        .bind::<BigInt, _>(range.to.0)
        .load(&mut connection)
        .await
        .map_err(failed)?;
        let pair = |row: &Replaced| (MessageId(row.edit), MessageId(row.change));
        Ok(Some(replaced.iter().map(pair).collect()))
    }

    /// Carries out the changes of a range. Everything up to its end must have been stored before: the
    /// targets are there then.
    ///
    /// # Errors
    /// If Postgres cannot be reached or refuses.
    pub async fn amend(&self, room: &RoomId, range: IdRange) -> Result<(), PgError> {
        let mut connection = self.connection().await?;
        diesel::sql_query(format!(
            "{NEWS}, targets AS ( \
               UPDATE messages m SET body = news.body, edited_id = news.id, deleted = news.deleted FROM news \
               WHERE m.room_id = $1 AND m.id = news.target AND NOT m.deleted \
                 AND coalesce(m.edited_id, 0) < news.id) \
             UPDATE messages m SET body = '', edited_id = news.id FROM news \
             WHERE m.room_id = $1 AND m.edits = news.target AND m.id < news.id AND m.edited_id IS NULL"
        ))
        .bind::<Text, _>(room.as_str())
        .bind::<BigInt, _>(range.after.0)
        .bind::<BigInt, _>(range.to.0)
        .execute(&mut connection)
        .await
        .map(drop)
        .map_err(|source| PgError::Query {
            doing: "change archived messages",
            source,
        })
    }
}
