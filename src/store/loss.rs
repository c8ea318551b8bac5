//! Which failures mean that the store itself is away, and asking whether it is where it was.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use super::{Inner, Store, StoreError};

/// The file that was opened. Its folder may be moved away under a running bastion: SQLite would go on writing into it unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// The file at `path` as it lies there now.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let there = std::fs::metadata(path).map_err(|e| StoreError::File { path: path.to_owned(), source: e })?;
        Ok(Self { path: path.to_owned(), device: there.dev(), inode: there.ino() })
    }

    fn still_there(&self) -> Result<(), StoreError> {
        if Self::of(&self.path)? == *self { Ok(()) } else { Err(StoreError::Replaced(self.path.clone())) }
    }
}

impl Inner {
    pub(super) fn in_place(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        if self.broken.load(Ordering::Relaxed) {
            return Err(StoreError::Silent);
        }
        self.place.as_ref().map_or(Ok(()), Place::still_there)
    }
}

impl Store {
    /// Whether the file lies where it was opened. A server is asked by asking it something.
    pub fn in_place(&self) -> Result<(), StoreError> {
        self.0.in_place()
    }

    /// From here on every write is turned away at its turn but those that are [`Trial`](super::Urgency::Trial)s, or no more. Who queues
    /// then does not wait for one silence after the other.
    pub fn shut(&self, shut: bool) {
        self.0.shut.store(shut, Ordering::Release);
    }

    /// How many acts stand in the ordinary queue.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.1.waiting()
    }

    /// Lets everything fail from here on, or no more.
    #[cfg(test)]
    pub(crate) fn break_it(&self, broken: bool) {
        self.0.broken.store(broken, Ordering::Relaxed);
    }

    /// Makes a grant's row one that no version writes.
    #[cfg(test)]
    pub(crate) async fn corrupt_grant(&self, id: &str) {
        self.by_hand("UPDATE grants SET channels = 'tea' WHERE id = $1", id).await;
    }

    /// The same with a request's.
    #[cfg(test)]
    pub(crate) async fn corrupt_request(&self, id: &str) {
        self.by_hand("UPDATE requests SET channels = 'tea' WHERE id = $1", id).await;
    }

    /// Makes the store forget most of the bytes that were taken under a grant, as an older backup would.
    #[cfg(test)]
    pub(crate) async fn forget_egress(&self, grant: &str) {
        self.by_hand("UPDATE egress SET taken = 1 WHERE grant_id = $1", grant).await;
    }

    #[cfg(test)]
    async fn by_hand(&self, statement: &'static str, id: &str) {
        assert_eq!(super::sql::sql(statement).bind(id).execute(&self.0.pools.write).await.unwrap(), 1);
    }

    /// Erases every text that a person typed.
    #[cfg(test)]
    pub(crate) async fn erase_texts(&self) {
        let done = super::sql::sql("UPDATE texts SET body = NULL").execute(&self.0.pools.write).await;
        assert!(done.unwrap() > 0);
    }
}

impl StoreError {
    /// Does the store not answer, or take no writes? Everything else is about one statement or one row.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Silent | Self::Shut | Self::Replaced(_) | Self::File { .. } | Self::Damaged(_) => true,
            Self::Sql(error) => is_loss(error),
            Self::Group { loss, .. } => *loss,
            _ => false,
        }
    }

    /// Says of an error whether the file is damaged: then there is another next step.
    pub(super) fn grade(self) -> Self {
        match self {
            Self::Sql(error) if damaged(&error) => Self::Damaged(error.to_string()),
            Self::Shape(sqlx::migrate::MigrateError::Execute(error)) if damaged(&error) => Self::Damaged(error.to_string()),
            other => other,
        }
    }
}

fn is_loss(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => {
            if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                let code = error.code();
                PG_CLASSES.iter().any(|class| code.starts_with(class)) || PG_CODES.contains(&code)
            } else {
                sqlite_code(error.as_ref()).is_some_and(|code| SQLITE_CODES.contains(&code))
            }
        }
        _ => false,
    }
}

fn damaged(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlite_code);
    code.is_some_and(|code| [SQLITE_CORRUPT, SQLITE_NOTADB].contains(&code))
}

/// The primary result code, without what extends it.
fn sqlite_code(error: &dyn DatabaseError) -> Option<u32> {
    let code: u32 = error.try_downcast_ref::<SqliteError>()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

const SQLITE_CORRUPT: u32 = 11;
const SQLITE_NOTADB: u32 = 26;
/// BUSY (for longer than we wait), NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL (locks), NOTADB.
const SQLITE_CODES: [u32; 9] = [5, 7, 8, 10, SQLITE_CORRUPT, 13, 14, 15, SQLITE_NOTADB];
/// Connection, authorisation, no such database, resources, an operator's intervention (shutdown, a timeout), the system, its own faults.
const PG_CLASSES: [&str; 7] = ["08", "28", "3D", "53", "57", "58", "XX"];
/// A lock that did not come, a server that only reads (a replica after a failover), a transaction that took too long.
const PG_CODES: [&str; 3] = ["55P03", "25006", "25P03"];

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::sql::{Pool, sql};
    use super::super::{Outcome, Urgency};
    use super::*;
    use crate::access::names::Actor;
    use crate::access::time::Timestamp;
    use crate::audit::event::Event;

    /// On a file, whatever the other tests run on.
    async fn file() -> (tempfile::TempDir, PathBuf, Store) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/a.db");
        let store = Store::open(&format!("sqlite:{}", path.display()), "node-1").await.unwrap();
        (dir, path, store)
    }

    async fn add(store: &Store, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        let change = store.change(Urgency::Ordinary, Actor::System, Timestamp::from_micros(1), move |tx| {
            Box::pin(async move {
                sql("INSERT INTO meta (name, value) VALUES ($1, 'x')").bind(name).execute(tx.conn()).await?;
                Ok(Outcome::Changed((), Event::ClockConfirmed {}))
            })
        });
        change.await
    }

    async fn pragma(store: &Store, text: &'static str) {
        sql(text).found(&store.0.pools.write).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_another_process_locks_is_lost_until_it_lets_go() {
        let (_dir, _, store) = file().await;
        let other = store.0.pools.write.clone();
        let Pool::Sqlite(pool) = &other else { panic!("no file") };
        let options = pool.connect_options().as_ref().clone();
        let outside = Pool::Sqlite(sqlx::sqlite::SqlitePoolOptions::new().connect_with(options).await.unwrap());
        let held = outside.begin("BEGIN EXCLUSIVE", "BEGIN").await.unwrap();
        let began = Instant::now();
        let reader = store.reader();
        let (acted, asked) = tokio::join!(add(&store, "alice"), reader.sizes());
        assert!(acted.unwrap_err().is_loss());
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        assert!(asked.is_ok(), "readers go on");
        drop(held);
        add(&store, "alice").await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_and_a_store_that_only_reads_are_losses_and_a_doubled_row_is_none() {
        let (_dir, _, store) = file().await;
        add(&store, "alice").await.unwrap();
        assert!(!add(&store, "alice").await.unwrap_err().is_loss());
        pragma(&store, "PRAGMA max_page_count = 1").await;
        let mut n = 0;
        let full = loop {
            n += 1;
            if let Err(error) = add(&store, &format!("user{n}")).await {
                break error;
            }
            assert!(n < 5000);
        };
        assert!(full.is_loss(), "{full}");
        pragma(&store, "PRAGMA max_page_count = 100000").await;
        add(&store, "zoe").await.unwrap();
        pragma(&store, "PRAGMA query_only = 1").await;
        let error = add(&store, "yves").await.unwrap_err();
        assert!(error.is_loss(), "{error}");
        pragma(&store, "PRAGMA query_only = 0").await;
        add(&store, "yves").await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_not_written_to() {
        let (dir, path, store) = file().await;
        add(&store, "alice").await.unwrap();
        let away = dir.path().join("away");
        let folder = path.parent().unwrap();
        std::fs::rename(folder, &away).unwrap();
        assert!(store.in_place().unwrap_err().is_loss());
        assert!(add(&store, "bob").await.unwrap_err().is_loss());
        std::fs::create_dir(folder).unwrap();
        std::fs::write(&path, "another").unwrap();
        assert!(matches!(store.in_place(), Err(StoreError::Replaced(_))));
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::rename(&away, folder).unwrap();
        add(&store, "bob").await.unwrap();
    }

    #[tokio::test]
    async fn who_queues_when_the_store_is_lost_is_told_at_once() {
        let (_dir, _, store) = file().await;
        store.shut(true);
        assert!(matches!(add(&store, "alice").await, Err(StoreError::Shut)));
        store.shut(false);
        add(&store, "alice").await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_file_is_named_as_one() {
        let (_dir, path, store) = file().await;
        store.close().await;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..100].fill(b'x');
        std::fs::write(&path, &bytes).unwrap();
        let error = Store::open(&format!("sqlite:{}", path.display()), "node-1").await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)) && error.to_string().contains("backup"), "{error}");
    }
}
