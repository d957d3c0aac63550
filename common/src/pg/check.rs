//! Whether a database is fit to be used: who answers, and which migrations it has.

use diesel::{
    QueryDsl,
    dsl::max,
    migration::MigrationSource,
    sql_types::{Bool, Integer, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{MIGRATIONS, PgError, connect, schema::schema_floor};

/// What a database tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Postgres's version.
    pub version: String,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Migrations of a newer release, beside which this one may run.
    pub newer: Vec<String>,
}

/// Checks that the database can be written to and has the migrations of this binary. It may have others too, as long
/// as this binary knows its floor: so old programs start while a release is rolled out.
///
/// # Errors
/// If it lacks some, is too new, read-only or too old, or cannot be reached.
pub async fn check_schema(database_url: &str) -> Result<Facts, PgError> {
    let mut connection = connect(database_url).await?;
    let server = server(&mut connection).await?;
    let newer = compare_schema(&mut connection).await?;
    if !newer.is_empty() {
        tracing::info!(
            "the database has migrations of a newer release, which this one may run beside: {}",
            newer.join(", ")
        );
    }
    Ok(Facts {
        version: server.version,
        is_encrypted: server.encrypted,
        newer,
    })
}

/// Compares the migrations of the database with those of this binary; returns those of a newer release.
pub(crate) async fn compare_schema(
    connection: &mut AsyncPgConnection,
) -> Result<Vec<String>, PgError> {
    let versions = versions(connection).await?;
    versions.refuse_newer()?;
    let missing = versions.missing();
    if missing.is_empty() {
        Ok(versions.newer())
    } else {
        Err(PgError::Behind { missing })
    }
}

#[derive(diesel::QueryableByName)]
struct Server {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Integer)]
    number: i32,
    #[diesel(sql_type = Bool)]
    standby: bool,
    #[diesel(sql_type = Bool)]
    read_only: bool,
    #[diesel(sql_type = Bool)]
    encrypted: bool,
}

/// Who answers.
async fn server(connection: &mut AsyncPgConnection) -> Result<Server, PgError> {
    let server: Server = diesel::sql_query(
        "SELECT current_setting('server_version') AS version, \
         current_setting('server_version_num')::int AS number, pg_is_in_recovery() AS standby, \
         current_setting('default_transaction_read_only')::bool AS read_only, \
         coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted",
    )
    .get_result(connection)
    .await
    .map_err(|source| PgError::Query {
        doing: "ask Postgres about itself",
        source,
    })?;
    match server {
        Server {
            number: ..130_000,
            version,
            ..
        } => Err(PgError::TooOld { version }),
        Server { standby: true, .. } => Err(PgError::Standby),
        Server {
            read_only: true, ..
        } => Err(PgError::ReadOnly),
        server => Ok(server),
    }
}

#[derive(diesel::QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(diesel::QueryableByName)]
struct Tables {
    #[diesel(sql_type = Bool)]
    migrations: bool,
    #[diesel(sql_type = Bool)]
    floor: bool,
}

/// The migrations of a database, and those of this binary.
#[derive(Debug)]
pub(super) struct Versions {
    done: Vec<String>,
    /// Each with its name.
    known: Vec<(String, String)>,
    /// The newest that a program must know.
    floor: String,
}

impl Versions {
    /// Refuses a database that this binary does not know enough of.
    pub(super) fn refuse_newer(&self) -> Result<(), PgError> {
        let knows = |version: &str| self.known.iter().any(|(own, _)| own == version);
        if self.floor.is_empty() || knows(&self.floor) {
            return Ok(());
        }
        Err(PgError::Ahead {
            floor: self.floor.clone(),
        })
    }

    fn newer(&self) -> Vec<String> {
        let is_unknown = |version: &&String| !self.known.iter().any(|(own, _)| own == *version);
        self.done.iter().filter(is_unknown).cloned().collect()
    }

    fn missing(&self) -> Vec<String> {
        let is_missing = |(version, _): &&(String, String)| !self.done.contains(version);
        self.known
            .iter()
            .filter(is_missing)
            .map(|(_, name)| name.clone())
            .collect()
    }
}

/// Reads the migrations that the database has, and its floor.
pub(super) async fn versions(connection: &mut AsyncPgConnection) -> Result<Versions, PgError> {
    let query = |source| PgError::Query {
        doing: "read which migrations the database has",
        source,
    };
    let tables = "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS migrations, \
                  to_regclass('schema_floor') IS NOT NULL AS floor";
    let tables: Tables = diesel::sql_query(tables)
        .get_result(connection)
        .await
        .map_err(query)?;
    let (mut done, mut floor): (Vec<Version>, String) = Default::default();
    if tables.migrations {
        let all = "SELECT version FROM __diesel_schema_migrations ORDER BY version";
        done = diesel::sql_query(all)
            .load(connection)
            .await
            .map_err(query)?;
    }
    if tables.floor {
        let highest = schema_floor::table.select(max(schema_floor::version));
        let highest: Option<String> = highest.first(connection).await.map_err(query)?;
        floor = highest.unwrap_or_default();
    }
    let known = MigrationSource::<diesel::pg::Pg>::migrations(&MIGRATIONS)
        .map_err(|error| PgError::Migrate(error.to_string()))?;
    let names = known.iter().map(|migration| migration.name());
    Ok(Versions {
        done: done.into_iter().map(|row| row.version).collect(),
        known: names
            .map(|name| (name.version().to_string(), name.to_string()))
            .collect(),
        floor,
    })
}
