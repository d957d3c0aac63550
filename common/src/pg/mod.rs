//! Postgres: the pool, the migrations, the tables. No libpq is needed.

pub mod schema;

use std::time::Duration;

use diesel::migration::MigrationSource;
use diesel_async::{
    AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl,
    pooled_connection::{AsyncDieselConnectionManager, deadpool},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use thiserror::Error;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations");

/// How long to wait for a connection, new or from the pool.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connections to Postgres.
pub type Pool = deadpool::Pool<AsyncPgConnection>;

/// What can go wrong with Postgres.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PgError {
    /// No pool can be made.
    #[error("make a pool of connections to Postgres")]
    Pool(#[source] deadpool::BuildError),
    /// No connection could be made.
    #[error("connect to Postgres at {place}")]
    Connect {
        /// Host and port.
        place: String,
        /// Why.
        #[source]
        source: diesel::ConnectionError,
    },
    /// The pool gave no connection.
    #[error("get a connection to Postgres")]
    Get(#[source] deadpool::PoolError),
    /// Postgres did not answer.
    #[error("connect to Postgres at {place}: no answer within {PATIENCE:?}")]
    Timeout {
        /// Host and port.
        place: String,
    },
    /// A query failed.
    #[error("{doing}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: diesel::result::Error,
    },
    /// A migration failed.
    #[error("migrate the database: {0}")]
    Migrate(String),
    /// The database lacks migrations.
    #[error("the database lacks {}; run `queuectl migrate`", missing.join(", "))]
    Behind {
        /// What it lacks.
        missing: Vec<String>,
    },
    /// The database has migrations that this binary does not know.
    #[error("the database is newer than this binary: it has {}; run a newer binary", unknown.join(", "))]
    Ahead {
        /// What it has.
        unknown: Vec<String>,
    },
}

/// Makes a pool of at most `connections`; connects when first used.
///
/// # Errors
/// If the pool cannot be made.
pub fn pool(database_url: &str, connections: usize) -> Result<Pool, PgError> {
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database_url);
    Pool::builder(manager)
        .max_size(connections)
        .runtime(::deadpool_redis::Runtime::Tokio1)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .recycle_timeout(Some(PATIENCE))
        .build()
        .map_err(PgError::Pool)
}

/// Runs the migrations that the database lacks; returns their names.
///
/// # Errors
/// If Postgres cannot be reached, the database is newer than this binary, or a migration fails.
pub async fn migrate(database_url: &str) -> Result<Vec<String>, PgError> {
    let mut connection = connect(database_url).await?;
    // Two processes that migrate at once would both create the same table.
    diesel::sql_query("SELECT pg_advisory_lock(7305804401)")
        .execute(&mut connection)
        .await
        .map_err(|source| PgError::Query {
            doing: "lock the migrations",
            source,
        })?;
    let (done, known) = versions(&mut connection).await?;
    refuse_newer(&done, &known)?;
    tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        let ran = harness
            .run_pending_migrations(MIGRATIONS)
            .map_err(|error| PgError::Migrate(error.to_string()))?;
        Ok(ran.iter().map(ToString::to_string).collect())
    })
    .await
    .map_err(|error| PgError::Migrate(error.to_string()))?
}

/// Checks that the database has exactly the migrations of this binary.
///
/// # Errors
/// If it lacks some, has others, or cannot be reached.
pub async fn check_schema(database_url: &str) -> Result<(), PgError> {
    compare_schema(&mut connect(database_url).await?).await
}

/// As [`check_schema`], on a connection that is there.
pub(crate) async fn compare_schema(connection: &mut AsyncPgConnection) -> Result<(), PgError> {
    let (done, known) = versions(connection).await?;
    refuse_newer(&done, &known)?;
    let missing: Vec<_> = known
        .into_iter()
        .filter(|(version, _)| !done.contains(version))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(PgError::Behind { missing })
    }
}

/// A connection of its own, not from a pool.
pub(crate) async fn connect(database_url: &str) -> Result<AsyncPgConnection, PgError> {
    tokio::time::timeout(PATIENCE, AsyncPgConnection::establish(database_url))
        .await
        .map_err(|_| PgError::Timeout {
            place: place(database_url),
        })?
        .map_err(|source| PgError::Connect {
            place: place(database_url),
            source,
        })
}

/// Host and port of an address, without its password.
fn place(database_url: &str) -> String {
    let Some((_, rest)) = database_url.split_once("://") else {
        return "what should look like postgres://user:password@127.0.0.1:5432/rhubarb".to_owned();
    };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let (_, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    place.to_owned()
}

#[derive(diesel::QueryableByName)]
struct Version {
    #[diesel(sql_type = diesel::sql_types::Text)]
    version: String,
}

#[derive(diesel::QueryableByName)]
struct Exists {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    exists: bool,
}

type Versions = (Vec<String>, Vec<(String, String)>);

/// The versions that the database has, and the versions and names that this binary has.
async fn versions(connection: &mut AsyncPgConnection) -> Result<Versions, PgError> {
    let query = |source| PgError::Query {
        doing: "read which migrations the database has",
        source,
    };
    let table = "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS exists";
    let table: Exists = diesel::sql_query(table)
        .get_result(connection)
        .await
        .map_err(query)?;
    let mut done: Vec<Version> = Vec::new();
    if table.exists {
        done = diesel::sql_query("SELECT version FROM __diesel_schema_migrations")
            .load(connection)
            .await
            .map_err(query)?;
    }
    let known = MigrationSource::<diesel::pg::Pg>::migrations(&MIGRATIONS)
        .map_err(|error| PgError::Migrate(error.to_string()))?;
    let known = known
        .iter()
        .map(|migration| {
            (
                migration.name().version().to_string(),
                migration.name().to_string(),
            )
        })
        .collect();
    Ok((done.into_iter().map(|row| row.version).collect(), known))
}

fn refuse_newer(done: &[String], known: &[(String, String)]) -> Result<(), PgError> {
    let unknown: Vec<_> = done
        .iter()
        .filter(|version| !known.iter().any(|(own, _)| own == *version))
        .cloned()
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(PgError::Ahead { unknown })
    }
}
