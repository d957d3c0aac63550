//! The relay: makes jobs of the outbox's rows. Every worker runs one.
//!
//! A batch is one transaction: read rows, make jobs of them (one script, which leaves a *mark* for each row),
//! delete the rows. Who dies before the script leaves all as it was. Who dies after it leaves rows with marks:
//! the next relay makes no second job of them, and deletes them.

use std::{
    convert::Infallible,
    sync::LazyLock,
    time::{Duration, Instant},
};

use diesel::{
    ExpressionMethods, QueryDsl,
    sql_types::{BigInt, Bool, Double, Nullable, Text},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::{FutureExt, StreamExt};
use redis::AsyncCommands;
use thiserror::Error;
use tokio::time::timeout;

use super::super::enqueue::{CHUNK, CHUNK_BYTES, millis};
use crate::{
    error::Chain,
    kv::{Keys, KvError, Redis, Script},
    pg::{self, PgError, schema::outbox},
    shutdown::Shutdown,
};

static RELAY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "push jobs of the outbox",
        &[super::super::LIB, include_str!("../lua/relay.lua")],
    )
});

/// Between two looks at the table, if Postgres tells nothing.
const EVERY: Duration = Duration::from_secs(1);
/// A batch that takes longer is given up: by the relay, by the script and by Postgres, each by its own clock.
const PATIENCE: Duration = Duration::from_secs(10);
/// Marks are not forgotten before this age, even if their row is gone. Much more than [`PATIENCE`].
const KEEP: Duration = Duration::from_secs(60);

/// Why a relay stopped for now.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Redis failed; whether the jobs were pushed is not known if it failed while answering.
    #[error(transparent)]
    Redis(#[from] KvError),
    /// Postgres cannot be reached.
    #[error(transparent)]
    Postgres(#[from] PgError),
    /// Postgres failed.
    #[error("read the outbox")]
    Query(#[from] diesel::result::Error),
    /// It took too long.
    #[error("a batch of the outbox took longer than {PATIENCE:?}")]
    Slow,
}

#[derive(diesel::QueryableByName)]
struct Is {
    #[diesel(sql_type = Bool)]
    so: bool,
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    mark: String,
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    due: Option<i64>,
    #[diesel(sql_type = Text)]
    body: String,
    #[diesel(sql_type = Double)]
    age: f64,
}

/// Makes jobs of the outbox's rows, in the order of their ids. Any number may run, in any number of processes:
/// one works, the others stand by.
#[derive(Debug, Clone)]
pub struct Relay {
    redis: Redis,
    keys: Keys,
    database_url: String,
}

impl Relay {
    /// A relay from the database to the queues under `keys`.
    pub fn new(redis: Redis, keys: Keys, database_url: &str) -> Self {
        Self {
            redis,
            keys,
            database_url: database_url.to_owned(),
        }
    }

    /// Relays until the shutdown. What fails is tried again for as long as it takes.
    pub async fn run(self, shutdown: Shutdown) {
        let mut well = true;
        loop {
            let error = tokio::select! {
                ended = self.session(&mut well) => match ended {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
                // A batch that is cut short is rolled back, and its marks tell what it did.
                () = shutdown.asked() => return,
            };
            if std::mem::replace(&mut well, false) {
                tracing::warn!(error = %Chain(&error), "cannot relay the outbox; its jobs wait in Postgres");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.asked() => return,
            }
        }
    }

    /// Relays on one connection until something fails.
    async fn session(&self, well: &mut bool) -> Result<Infallible, RelayError> {
        let mut connection = pg::connect(&self.database_url).await?;
        // Frees the rows of a relay that is frozen or cut off.
        let patience = PATIENCE.as_millis();
        let limit = format!("SET idle_in_transaction_session_timeout = {patience}");
        for sql in [&limit, "LISTEN outbox"] {
            diesel::sql_query(sql).execute(&mut connection).await?;
        }
        let mut forgot = Instant::now();
        loop {
            let batch = timeout(PATIENCE, self.batch(&mut connection)).await;
            let relayed = batch.map_err(|_| RelayError::Slow)??;
            if !std::mem::replace(well, true) {
                tracing::info!("the outbox is relayed again");
            }
            if forgot.elapsed() >= KEEP {
                let forgetting = timeout(PATIENCE, self.forget(&mut connection, KEEP)).await;
                forgetting.map_err(|_| RelayError::Slow)??;
                forgot = Instant::now();
            }
            if relayed == 0 {
                let mut told = std::pin::pin!(connection.notifications_stream());
                // Ok(Some(Err(…))): the connection is lost, which the next batch tells with its reason.
                let _ = timeout(EVERY, told.next()).await;
                while let Some(Some(Ok(_))) = told.next().now_or_never() {}
            }
        }
    }

    /// Relays one batch, in a transaction of its own; returns how many rows that were. None, if the table is
    /// empty or another relay is at work.
    ///
    /// # Errors
    /// If Redis or Postgres fails. Then the rows are still there, and the next batch makes jobs of those that
    /// are none yet.
    pub async fn batch(&self, connection: &mut AsyncPgConnection) -> Result<usize, RelayError> {
        let some: Is = diesel::sql_query("SELECT EXISTS (SELECT FROM outbox) AS so")
            .get_result(connection)
            .await?;
        if !some.so {
            return Ok(0);
        }
        connection
            .transaction(async |connection| {
                let ids = self.push(connection).await?;
                diesel::delete(outbox::table.filter(outbox::id.eq_any(&ids)))
                    .execute(connection)
                    .await?;
                Ok(ids.len())
            })
            .await
    }

    /// Makes jobs of the next rows and locks these; returns their ids. To be called in a transaction, which then
    /// deletes them.
    ///
    /// # Errors
    /// If Redis or Postgres fails.
    pub async fn push(&self, connection: &mut AsyncPgConnection) -> Result<Vec<i64>, RelayError> {
        // Before the rows are read: see `forget`.
        let begun = self.now().await?;
        // One relay at a time keeps the order of ids. The table's own number, as there may be others like it.
        let mine: Is = diesel::sql_query(
            "SELECT pg_try_advisory_xact_lock(7305804500000000 + 'outbox'::regclass::oid::bigint) AS so",
        )
        .get_result(connection)
        .await?;
        if !mine.so {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = diesel::sql_query(
            "WITH next AS MATERIALIZED (\
                 SELECT id, octet_length(body) AS bytes FROM outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED), \
             sized AS (SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS bytes_before FROM next) \
             SELECT o.id, o.mark, o.queue, o.due, o.body, \
               extract(epoch FROM clock_timestamp() - o.made_at)::float8 AS age FROM outbox o JOIN sized USING (id) \
             WHERE bytes_before < $2 ORDER BY o.id",
        )
        .bind::<BigInt, _>(as_number(CHUNK))
        .bind::<BigInt, _>(as_number(CHUNK_BYTES))
        .load(connection)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = RELAY.on(self.keys.prefix());
        call.arg(begun).arg(millis(PATIENCE));
        for row in &rows {
            call.arg(format!("{}:{}", row.id, row.mark)).arg(&row.queue);
            call.arg(row.due.map(|due| due.to_string()).unwrap_or_default());
            call.arg(&row.body);
        }
        let made: i64 = call.run(&self.redis).await?;
        let made = u64::try_from(made).map_err(|_| RelayError::Slow)?;
        metrics::counter!("rhubarb_relayed_jobs_total").increment(made);
        let oldest = rows.iter().map(|row| row.age).fold(0.0, f64::max);
        metrics::histogram!("rhubarb_relay_seconds").record(oldest);
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// Forgets marks of at least this age whose rows are gone.
    ///
    /// No mark is missed. Whoever deletes a row has just made its mark young, after it had locked the row. Another
    /// relay that read the row must have read it before that, and the script refuses what was read longer ago
    /// than its patience, which is shorter than the age at which marks are forgotten.
    ///
    /// # Errors
    /// If Redis or Postgres fails.
    pub async fn forget(
        &self,
        connection: &mut AsyncPgConnection,
        age: Duration,
    ) -> Result<(), RelayError> {
        let before = self.now().await?.saturating_sub(millis(age));
        let key = self.keys.relayed();
        let failed = |source| self.redis.failed("forget marks of the outbox", source);
        loop {
            let mut redis = self.redis.connection().await?;
            let most = as_number(CHUNK).try_into().unwrap_or(isize::MAX);
            let marks: Vec<String> = redis
                .zrangebyscore_limit(&key, "-inf", before, 0, most)
                .await
                .map_err(failed)?;
            let ids: Vec<i64> = marks.iter().filter_map(|mark| id_of(mark)).collect();
            let there: Vec<i64> = outbox::table
                .filter(outbox::id.eq_any(&ids))
                .select(outbox::id)
                .load(connection)
                .await?;
            let is_gone = |mark: &&String| id_of(mark).is_none_or(|id| !there.contains(&id));
            let gone: Vec<_> = marks.iter().filter(is_gone).collect();
            if !gone.is_empty() {
                let _: usize = redis.zrem(&key, &gone).await.map_err(failed)?;
            }
            if marks.len() < CHUNK || gone.is_empty() {
                return Ok(());
            }
        }
    }

    /// Redis's time in ms.
    async fn now(&self) -> Result<u64, KvError> {
        let mut redis = self.redis.connection().await?;
        let (seconds, micros): (u64, u64) = redis::cmd("TIME")
            .query_async(&mut redis)
            .await
            .map_err(|source| self.redis.failed("ask Redis for the time", source))?;
        Ok(seconds * 1000 + micros / 1000)
    }
}

/// The row's id in a mark, `<id>:<random>`.
fn id_of(mark: &str) -> Option<i64> {
    mark.split(':').next()?.parse().ok()
}

/// For Postgres.
fn as_number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestQueue;

    #[tokio::test]
    async fn rows_that_were_read_too_long_ago_make_no_job() {
        let queue = TestQueue::start();
        let relay = Relay::new(queue.redis.clone(), queue.keys.clone(), "");
        let now = relay.now().await.unwrap();
        let push = async |begun: u64| -> i64 {
            let mut call = RELAY.on(queue.keys.prefix());
            call.arg(begun).arg(millis(PATIENCE));
            call.arg("1:a").arg("low").arg("").arg("{}");
            call.run(&queue.redis).await.unwrap()
        };

        assert_eq!(push(now - millis(PATIENCE) - 1).await, -1);
        assert!(queue.key_names().await.is_empty());
        assert_eq!(push(now).await, 1);
        // As if it were an hour ago.
        let mark = [&queue.keys.relayed(), "1:a"];
        let _: usize = queue.command(&["ZADD", mark[0], "1", mark[1]]).await;
        assert_eq!(push(now).await, 0);
        let young: f64 = queue.command(&["ZSCORE", mark[0], mark[1]]).await;
        assert!(young > 1.0, "a mark is made young again");
        let low = queue.keys.queue(crate::queue::Queue::Low);
        assert_eq!(queue.command::<usize>(&["LLEN", &low]).await, 1);
    }
}
