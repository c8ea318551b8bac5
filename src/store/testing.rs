//! Stores for tests: a file, or a database of its own on the PostgreSQL that the tests were given.
//!
//! `JIT_BASTION_TEST_STORE=postgres` runs every test that opens its store by [`url`] on PostgreSQL: the same suite on both.

use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::sync::OnceCell;

use super::open::{Place, Pools};

/// The URL of the store that belongs to `folder`: the same for the same folder, empty at first, gone some time after the folder is.
pub(crate) async fn url(folder: &Path) -> String {
    match std::env::var("JIT_BASTION_TEST_STORE").as_deref() {
        Err(_) | Ok("sqlite") => sqlite(folder),
        Ok("postgres") => postgres(folder).await,
        Ok(other) => panic!("JIT_BASTION_TEST_STORE={other}: write sqlite or postgres"),
    }
}

thread_local! {
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
}

/// How many statements this thread has asked for: as many tell nobody which rows exist.
pub(crate) fn statements() -> u64 {
    STATEMENTS.get()
}

pub(super) fn counted() {
    STATEMENTS.set(STATEMENTS.get() + 1);
}

/// A file in `folder`.
pub(crate) fn sqlite(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("jit-bastion.db").display())
}

/// A database.
pub(crate) async fn postgres(folder: &Path) -> String {
    let template = TEMPLATE.get_or_init(make_template).await;
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    let database = format!("jit_{}_{:016x}", std::process::id(), hasher.finish());
    let mut conn = admin().await;
    let gone = {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<String> = made.iter().filter(|(folder, _)| !folder.exists()).map(|(_, database)| database.clone()).collect();
        made.retain(|(folder, _)| folder.exists());
        if made.iter().any(|(_, known)| *known == database) {
            return named(&database);
        }
        made.push((folder.to_owned(), database.clone()));
        gone
    };
    for database in gone {
        run(&mut conn, format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }
    run(&mut conn, format!("CREATE DATABASE {database} TEMPLATE {template}")).await;
    named(&database)
}

/// An empty database, without any shape; the URL.
pub(crate) async fn empty_postgres(called: &str) -> String {
    let mut conn = admin().await;
    let database = format!("jit_{}_{called}", std::process::id());
    run(&mut conn, format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await;
    run(&mut conn, format!("CREATE DATABASE {database} TEMPLATE template0")).await;
    named(&database)
}

/// Once for a process: migrating is slower than copying.
async fn make_template() -> String {
    let url = empty_postgres("template").await;
    let pools = Pools::open(Place::parse(&url).unwrap()).await.unwrap();
    for pool in [&pools.write, &pools.read, &pools.door, &pools.watch] {
        pool.close().await;
    }
    url.rsplit('/').next().unwrap().to_owned()
}

async fn admin() -> PgConnection {
    PgConnection::connect_with(&given().parse::<PgConnectOptions>().unwrap()).await.unwrap()
}

async fn run(conn: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await.unwrap();
}

fn given() -> String {
    std::env::var("JIT_BASTION_TEST_POSTGRES").expect(
        "this test needs a PostgreSQL: export JIT_BASTION_TEST_POSTGRES=$(tests/postgres.sh start /tmp/jit-postgres), \
         and when all is done tests/postgres.sh stop /tmp/jit-postgres",
    )
}

fn named(database: &str) -> String {
    let given = given();
    let (server, _) = given.rsplit_once('/').unwrap();
    format!("{server}/{database}")
}

static TEMPLATE: OnceCell<String> = OnceCell::const_new();
static MADE: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());
