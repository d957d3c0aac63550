//! The archive's tables: migrations that go up and down, and what diesel believes of them.

use std::{fs, path::Path};

use common::{
    pg::{self, PgError},
    testing::TestDatabase,
};
use diesel::{
    QueryableByName,
    sql_types::{Bool, Text},
};

/// A column as the database has it.
#[derive(Debug, PartialEq, Eq, QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    data_type: String,
    #[diesel(sql_type = Bool)]
    nullable: bool,
    #[diesel(sql_type = Bool)]
    commented: bool,
}

async fn rows<T>(database: &TestDatabase, sql: String) -> Vec<T>
where
    T: QueryableByName<diesel::pg::Pg> + Send + 'static,
{
    use diesel_async::RunQueryDsl;
    let mut connection = database.connect().await;
    diesel::sql_query(sql).load(&mut connection).await.unwrap()
}

async fn columns(database: &TestDatabase) -> Vec<Column> {
    let sql = format!(
        "SELECT table_name::text, column_name::text AS name, data_type::text, is_nullable = 'YES' AS nullable, \
         col_description((table_schema || '.' || table_name)::regclass, ordinal_position) IS NOT NULL \
             AS commented \
         FROM information_schema.columns \
         WHERE table_schema = '{}' AND table_name NOT LIKE '\\_\\_diesel%' \
         ORDER BY table_name, ordinal_position",
        database.schema()
    );
    rows(database, sql).await
}

/// The columns of a table's primary key, in order.
async fn primary_key(database: &TestDatabase, table: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        column_name: String,
    }
    let sql = format!(
        "SELECT k.column_name::text FROM information_schema.key_column_usage k \
         JOIN information_schema.table_constraints c USING (constraint_schema, constraint_name) \
         WHERE c.constraint_type = 'PRIMARY KEY' AND k.table_schema = '{}' AND k.table_name = '{table}' \
         ORDER BY k.ordinal_position",
        database.schema()
    );
    let names: Vec<Name> = rows(database, sql).await;
    names.into_iter().map(|name| name.column_name).collect()
}

/// Names of columns with their types.
type Columns = Vec<(String, String)>;

/// The tables of `schema.rs`: name, primary key, columns.
fn declared() -> Vec<(String, Vec<String>, Columns)> {
    let code: Vec<_> = include_str!("../../../src/pg/schema.rs")
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .collect();
    let code = code.join("\n");
    let mut tables = Vec::new();
    for table in code.split("diesel::table! {").skip(1) {
        let (head, rest) = table.split_once('{').unwrap();
        let (name, key) = head.trim().trim_end_matches(')').split_once('(').unwrap();
        let body = rest.split('}').next().unwrap();
        let columns = body.split(',').filter_map(|column| {
            let (name, kind) = column.split_once("->")?;
            Some((name.trim().to_owned(), kind.trim().to_owned()))
        });
        let key = key.split(',').map(|column| column.trim().to_owned());
        tables.push((name.trim().to_owned(), key.collect(), columns.collect()));
    }
    tables
}

#[tokio::test]
async fn the_tables_are_as_diesel_sees_them() {
    let database = TestDatabase::start().await;
    let mut expected = Vec::new();
    for (table, key, columns) in declared() {
        assert_eq!(primary_key(&database, &table).await, key, "{table}");
        for (column, kind) in columns {
            let inner = kind
                .strip_prefix("Nullable<")
                .and_then(|kind| kind.strip_suffix('>'));
            let data_type = match inner.unwrap_or(&kind) {
                "Text" => "text",
                "BigInt" | "Int8" => "bigint",
                "Integer" | "Int4" => "integer",
                "Bool" => "boolean",
                "Jsonb" => "jsonb",
                "Timestamptz" => "timestamp with time zone",
                other => panic!("this test does not know the type {other}"),
            };
            expected.push(Column {
                table_name: table.clone(),
                name: column,
                data_type: data_type.to_owned(),
                nullable: inner.is_some(),
                commented: true,
            });
        }
    }

    assert!(!expected.is_empty());
    assert_eq!(columns(&database).await, expected);
}

#[tokio::test]
async fn each_migration_can_be_taken_back_and_done_again() {
    let database = TestDatabase::empty().await;
    let names = pg::migrate(database.url()).await.unwrap();
    let migrated = columns(&database).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut steps: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    steps.sort();
    assert_eq!(steps.len(), names.len());

    for step in steps.iter().rev() {
        let down = fs::read_to_string(step.join("down.sql")).unwrap();
        database.execute(&down).await;
    }
    let empty = columns(&database).await;
    for step in &steps {
        let up = fs::read_to_string(step.join("up.sql")).unwrap();
        database.execute(&up).await;
    }

    assert_eq!(empty, []);
    assert!(!migrated.is_empty());
    assert_eq!(columns(&database).await, migrated);
}

#[tokio::test]
async fn migrations_run_once_whoever_runs_them() {
    let database = TestDatabase::empty().await;
    let url = database.url();

    let ran = futures_util::future::join_all((0..4).map(|_| pg::migrate(url))).await;

    let ran: Vec<_> = ran.into_iter().map(Result::unwrap).collect();
    assert_eq!(ran.iter().filter(|names| !names.is_empty()).count(), 1);
    pg::check_schema(url).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_older_is_refused_and_a_newer_one_if_its_floor_is() {
    let database = TestDatabase::empty().await;

    let older = pg::check_schema(database.url()).await;
    pg::migrate(database.url()).await.unwrap();
    let level = pg::check_schema(database.url()).await;
    database
        .execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')")
        .await;
    let newer = pg::check_schema(database.url()).await;
    let nothing_to_do = pg::migrate(database.url()).await;
    database
        .execute("UPDATE schema_floor SET version = '29990101000000'")
        .await;
    let too_new = pg::check_schema(database.url()).await;
    let no_way_back = pg::migrate(database.url()).await;

    assert!(matches!(older, Err(PgError::Behind { missing }) if !missing.is_empty()));
    assert_eq!(level.unwrap().newer.len(), 0);
    assert_eq!(newer.unwrap().newer, ["29990101000000"]);
    assert!(nothing_to_do.unwrap().is_empty());
    assert!(matches!(too_new, Err(PgError::Ahead { floor }) if floor == "29990101000000"));
    assert!(matches!(no_way_back, Err(PgError::Ahead { .. })));
}
