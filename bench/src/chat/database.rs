//! A schema of our own in Postgres, dropped at the end.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::{id::RoomId, pg, testing};
use diesel::{
    QueryableByName,
    sql_types::{Array, BigInt, Text},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::NoTls;
use tokio_tungstenite::tungstenite::Bytes;

/// A migrated schema. Dropping this drops it.
#[derive(Debug)]
pub(super) struct Schema {
    database_url: String,
    name: String,
}

/// A row of the archive, as far as its order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub(super) struct Place {
    /// The message.
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    /// The one before it.
    #[diesel(sql_type = BigInt)]
    pub(super) prev_id: i64,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

impl Schema {
    /// Makes one in the database at `database_url`.
    pub(super) async fn create(database_url: &str) -> Result<Self> {
        let name = testing::unique("bench_");
        execute(database_url, &format!("CREATE SCHEMA {name}"))
            .await
            .context("make a schema for the measurement in Postgres")?;
        let schema = Self {
            database_url: database_url.to_owned(),
            name,
        };
        pg::migrate(&schema.url()).await?;
        Ok(schema)
    }

    /// An address that leads into it.
    pub(super) fn url(&self) -> String {
        let mark = if self.database_url.contains('?') {
            '&'
        } else {
            '?'
        };
        format!(
            "{}{mark}options=-csearch_path%3D{}",
            self.database_url, self.name
        )
    }

    /// Puts messages of rooms into the archive, as if they had been flushed long ago.
    pub(super) async fn archive(&self, rooms: &[String], messages: u64) -> Result<()> {
        let mut connection = self.connect().await?;
        diesel::sql_query(
            "INSERT INTO messages (room_id, id, prev_id, user_id, username, client_id, body, deleted) \
             SELECT room, 1790000000000000 + n, CASE n WHEN 1 THEN 0 ELSE 1790000000000000 + n - 1 END, \
               'bench', 'bench', n::text, repeat('.', 64), false \
             FROM unnest($1) AS room, generate_series(1, $2) AS n",
        )
        .bind::<Array<Text>, _>(rooms)
        .bind::<BigInt, _>(i64::try_from(messages)?)
        .execute(&mut connection)
        .await
        .map(drop)
        .context("fill the archive")
    }

    /// A connection into it.
    pub(super) async fn connect(&self) -> Result<AsyncPgConnection> {
        AsyncPgConnection::establish(&self.url())
            .await
            .context("connect to Postgres")
    }
}

/// How many messages of a room are in the archive.
pub(super) async fn count(connection: &mut AsyncPgConnection, room: &str) -> Result<u64> {
    let count: Count =
        diesel::sql_query("SELECT count(*) AS rows FROM messages WHERE room_id = $1")
            .bind::<Text, _>(room)
            .get_result(connection)
            .await
            .context("count the archived messages")?;
    Ok(count.rows.unsigned_abs())
}

/// The messages of a room in the archive, in their order.
pub(super) async fn places(connection: &mut AsyncPgConnection, room: &str) -> Result<Vec<Place>> {
    diesel::sql_query("SELECT id, prev_id FROM messages WHERE room_id = $1 ORDER BY id")
        .bind::<Text, _>(room)
        .load(connection)
        .await
        .context("read the archived messages")
}

/// Copies the messages of rooms, which are in the archive, into a second table with the same columns and
/// keys, by one COPY on one connection: how long that took. Nothing can store rows quicker; an archive needs
/// more, as rows may be there already.
pub(super) async fn copy_again(schema: &Schema, rooms: &[RoomId]) -> Result<Duration> {
    let (client, connection) = tokio_postgres::connect(&schema.url(), NoTls)
        .await
        .context("connect to Postgres")?;
    let connection = tokio::spawn(connection);
    client
        .batch_execute(
            "DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE messages INCLUDING ALL)",
        )
        .await
        .context("make a table to copy into")?;
    // A room's name is letters and digits here.
    let names: Vec<_> = rooms.iter().map(|room| format!("'{room}'")).collect();
    let names = names.join(", ");
    let rows = format!(
        "COPY (SELECT * FROM messages WHERE room_id IN ({names}) ORDER BY room_id, id) \
         TO STDOUT (FORMAT binary)"
    );
    let rows: Vec<Bytes> = client
        .copy_out(&rows)
        .await
        .context("read the archived messages")?
        .try_collect()
        .await?;

    let begun = Instant::now();
    let copying = client
        .copy_in("COPY copied FROM STDIN (FORMAT binary)")
        .await
        .context("copy messages")?;
    let mut copying = pin!(copying);
    for row in rows {
        copying.feed(row).await.context("copy messages")?;
    }
    copying.finish().await.context("copy messages")?;
    let took = begun.elapsed();
    drop(client);
    connection.await??;
    Ok(took)
}

async fn execute(database_url: &str, sql: &str) -> Result<()> {
    let mut connection = AsyncPgConnection::establish(database_url)
        .await
        .context("connect to Postgres")?;
    diesel::sql_query(sql).execute(&mut connection).await?;
    Ok(())
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (url, sql) = (
            self.database_url.clone(),
            format!("DROP SCHEMA {} CASCADE", self.name),
        );
        // On a thread and a runtime of its own: ours may be ending, and cannot be waited for from here.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(execute(&url, &sql))
        });
        if let Ok(Err(error)) = dropping.join() {
            eprintln!("bench: could not drop the schema {}: {error:#}", self.name);
        }
    }
}
