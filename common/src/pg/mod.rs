//! Postgres: the pool, the migrations, the tables. No libpq is needed.

mod address;
mod check;
pub mod schema;
mod tls;

use std::time::Duration;

use diesel_async::{
    AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, deadpool},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::FutureExt;
use thiserror::Error;

use address::Address;
pub(crate) use check::compare_schema;
pub use check::{Facts, check_schema};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations");

/// How long to wait for a connection, new or from the pool.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connections to Postgres.
pub type Pool = deadpool::Pool<AsyncPgConnection>;

/// What can go wrong with Postgres.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PgError {
    /// The address cannot be read.
    #[error(
        "read the Postgres address; it should look like postgres://user:password@127.0.0.1:5432/rhubarb, with %2F for a / and %40 for a @ in the password"
    )]
    Address,
    /// The address says something else than there is.
    #[error(
        "read the Postgres address: sslmode is disable, prefer, require, verify-ca or verify-full"
    )]
    SslMode,
    /// The certificates that the address names cannot be used.
    #[error("read the certificates that the Postgres address names: {0}")]
    Certificate(String),
    /// Its certificate is not one to trust.
    #[error(
        "connect to Postgres at {place}: its certificate is not trusted; name the authority that signed it with sslrootcert=FILE, and Postgres as the certificate does"
    )]
    Untrusted {
        /// Host and port.
        place: String,
        /// Why.
        #[source]
        source: diesel::ConnectionError,
    },
    /// The server is too old.
    #[error("Postgres {version} is too old: 13 or newer is needed")]
    TooOld {
        /// The version that was found.
        version: String,
    },
    /// The server does not accept writes.
    #[error("this Postgres is a standby and accepts no writes; give the address of its primary")]
    Standby,
    /// The server does not accept writes of this user.
    #[error(
        "this Postgres accepts no writes: default_transaction_read_only is on for this user or database; turn it off: ALTER ROLE … RESET default_transaction_read_only"
    )]
    ReadOnly,
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
    #[error(
        "the database is newer than this binary: it needs a binary that knows {floor}; run a newer binary"
    )]
    Ahead {
        /// What is to be known.
        floor: String,
    },
}

/// Makes a pool of at most `connections`; connects when first used.
///
/// # Errors
/// If the address cannot be read, or the pool cannot be made.
pub fn pool(database_url: &str, connections: usize) -> Result<Pool, PgError> {
    let address = Address::read(database_url)?;
    let mut config = ManagerConfig::default();
    config.custom_setup = Box::new(move |_url| {
        let address = address.clone();
        async move { address.establish().await }.boxed()
    });
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config("", config);
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
    check::versions(&mut connection).await?.refuse_newer()?;
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

/// A connection of its own, not from a pool.
pub(crate) async fn connect(database_url: &str) -> Result<AsyncPgConnection, PgError> {
    Address::read(database_url)?.connect().await
}
