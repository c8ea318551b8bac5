//! The shape is the same on both databases, goes forward with what is there, and never back.

use std::collections::BTreeSet;

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::super::migrations::{names, up_to};
use super::*;

/// A column, and what it holds.
type Column = (String, String, String, i64);

const IN_SQLITE: &str = r#"
    SELECT m.name, p.name, p.type, p."notnull" FROM sqlite_master m JOIN pragma_table_info(m.name) p
    WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"#;
const IN_POSTGRES: &str = "
    SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT),
           CASE data_type WHEN 'text' THEN 'TEXT' WHEN 'bigint' THEN 'INTEGER' WHEN 'bytea' THEN 'BLOB' ELSE CAST(data_type AS TEXT) END,
           CASE is_nullable WHEN 'NO' THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END
    FROM information_schema.columns WHERE table_schema = 'public'";
const INDEXES_IN_SQLITE: &str = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite%'";
const INDEXES_IN_POSTGRES: &str = r"
    SELECT CAST(tablename AS TEXT), CAST(indexname AS TEXT) FROM pg_indexes
    WHERE schemaname = 'public' AND indexname NOT LIKE '%\_pkey' AND indexname NOT LIKE '%\_key'";

#[tokio::test]
async fn both_databases_have_the_same_tables_columns_and_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let here = Store::open(&testing::sqlite(dir.path()), "n").await.unwrap();
    let there = Store::open(&testing::postgres(dir.path()).await, "n").await.unwrap();
    let read = async |store: &Store, columns: &'static str, indexes: &'static str| {
        let pool = &store.0.pools.read;
        let columns: Vec<Column> = sql(columns).fetch_all(pool).await.unwrap();
        let indexes: Vec<(String, String)> = sql(indexes).fetch_all(pool).await.unwrap();
        // The index of text is of each database's own kind.
        let ours = |table: &str| !table.starts_with("_sqlx") && !table.starts_with("screen_grams");
        let columns: BTreeSet<Column> = columns.into_iter().filter(|(table, ..)| ours(table)).collect();
        (columns, indexes.into_iter().filter(|(table, _)| ours(table)).collect::<BTreeSet<_>>())
    };
    let (columns, indexes) = read(&here, IN_SQLITE, INDEXES_IN_SQLITE).await;
    let (same_columns, same_indexes) = read(&there, IN_POSTGRES, INDEXES_IN_POSTGRES).await;
    assert!(columns.len() > 100);
    let both: Vec<&Column> = columns.symmetric_difference(&same_columns).collect();
    assert!(both.is_empty(), "only on one of them: {both:?}");
    assert_eq!(indexes, same_indexes);
}

#[test]
fn every_file_is_a_shape_and_every_shape_two_files() {
    for folder in ["migrations/sqlite", "migrations/postgres"] {
        let files = std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
        let mut found: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        let listed: Vec<String> = names().iter().map(|name| format!("{name}.sql")).collect();
        assert_eq!(found, listed, "{folder}");
    }
}

/// The URL and a writing connection of a store that has no shape yet.
async fn shapeless(dir: &TempDir, called: &str) -> [(String, Pool); 2] {
    let file = testing::sqlite(dir.path());
    let options = SqliteConnectOptions::new().filename(file.trim_start_matches("sqlite:")).create_if_missing(true);
    let here = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let url = testing::empty_postgres(called).await;
    let there = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    [(file, Pool::Sqlite(here)), (url, Pool::Postgres(there))]
}

#[tokio::test]
async fn a_store_of_the_first_shape_goes_forward_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    for (url, pool) in shapeless(&dir, "forward").await {
        up_to(&pool, 1).await;
        sql("INSERT INTO users (name, added_at) VALUES ('alice', 7)").execute(&pool).await.unwrap();
        sql("INSERT INTO user_roles (user_name, role) VALUES ('alice', 'dba')").execute(&pool).await.unwrap();
        let (instance,): (String,) = sql("SELECT value FROM meta WHERE name = 'instance'").fetch_one(&pool).await.unwrap();
        pool.close().await;
        assert_eq!(instance.len(), 32);
        let store = Store::open(&url, "n").await.unwrap();
        let alice = store.reader().user(&user("alice"), NOON).await.unwrap().unwrap();
        assert!(alice.person.roles.contains(&Role::parse("dba").unwrap()), "{alice:?}");
        assert_eq!(store.reader().instance().await.unwrap(), instance);
        add_user(&store, "bob", NOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_from_a_newer_version_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (url, pool) in shapeless(&dir, "newer").await {
        Store::open(&url, "n").await.unwrap().close().await;
        let seen = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
                    SELECT 9999, 'later', installed_on, success, checksum, 1 FROM _sqlx_migrations WHERE version = 1";
        sql(seen).execute(&pool).await.unwrap();
        let said = Store::open(&url, "n").await.unwrap_err();
        assert!(matches!(said, StoreError::Newer { seen: 9999, .. }), "{said}");
        assert!(said.to_string().contains("\nhint: run the newer version"), "{said}");
        let (shapes,): (i64,) = sql("SELECT COUNT(*) FROM _sqlx_migrations").fetch_one(&pool).await.unwrap();
        assert_eq!(shapes, names().len() as i64 + 1);
    }
}
