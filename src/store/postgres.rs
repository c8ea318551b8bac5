//! A store on a PostgreSQL server, which several bastions share.
//!
//! Whoever writes, on whichever node, first takes one lock of the whole database: writes happen one after the other, as SQLite's do, and
//! everything that this program says about "inside the transaction" is true on both.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::StoreError;
use super::migrations;
use super::open::{ACQUIRE, AT_THE_DOOR, BUSY, Pools, READERS, WATCHING};
use super::sql::{Conn, Pool, sql};

/// Opens the database and brings it to the newest shape.
pub(super) async fn open(options: PgConnectOptions) -> Result<Pools, StoreError> {
    let options = options.application_name("jit-bastion").options(limits());
    let write = PgPoolOptions::new().max_connections(WRITERS).acquire_timeout(ACQUIRE).connect_with(options.clone()).await?;
    let write = Pool::Postgres(write);
    let (encoding,): (String,) = sql("SHOW server_encoding").fetch_one(&write).await?;
    if encoding != "UTF8" {
        return Err(StoreError::Encoding(encoding));
    }
    migrations::forward(&write).await?;
    let options = options.options([("default_transaction_read_only", "on")]);
    let readers = |most| {
        let pool = PgPoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE).connect_lazy_with(options.clone());
        Pool::Postgres(pool)
    };
    Ok(Pools { write, read: readers(READERS), door: readers(AT_THE_DOOR), watch: readers(WATCHING) })
}

/// Nothing waits for ever: a transaction whose node hangs lets go of the one lock, and who waits for it longer than [`BUSY`] is told.
fn limits() -> [(&'static str, String); 3] {
    let wait = BUSY.as_millis().to_string();
    [
        ("lock_timeout", wait.clone()),
        ("statement_timeout", (2 * BUSY).as_millis().to_string()),
        ("idle_in_transaction_session_timeout", wait),
    ]
}

/// Waits for this write's turn among those of all nodes; it lasts until the transaction ends. Without effect on SQLite, whose
/// `BEGIN IMMEDIATE` has waited already.
pub(super) async fn turn(conn: &mut Conn) -> Result<(), StoreError> {
    if matches!(conn, Conn::Postgres(_)) {
        sql("SELECT pg_advisory_xact_lock($1)").bind(ONE_WRITER).found(conn).await?;
    }
    Ok(())
}

/// The number of the writers' lock: "jit-writ" in ASCII, so that nobody else's is likely to be the same.
const ONE_WRITER: i64 = i64::from_be_bytes(*b"jit-writ");
/// One writes; the other is on its way back from a transaction that was given up.
const WRITERS: u32 = 2;
