//! A store in a file of this machine: the file and its permissions, one writer and the readers.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::StoreError;
use super::migrations;
use super::open::{ACQUIRE, AT_THE_DOOR, BUSY, Pools, READERS, WATCHING};
use super::sql::Pool;

/// Opens the file at `path`, makes it if it is missing, and brings it to the newest shape.
pub(super) async fn open(path: &Path) -> Result<Pools, StoreError> {
    private_file(path).map_err(|e| StoreError::File { path: path.to_owned(), source: e })?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .pragma("trusted_schema", "OFF")
        // What is deleted was deleted for a reason: nothing of it stays in the file.
        .pragma("secure_delete", "ON");
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone())
        .await?;
    let write = Pool::Sqlite(write);
    migrations::forward(&write).await?;
    let options = options.read_only(true).pragma("query_only", "ON");
    let readers = async |most| {
        let pool = SqlitePoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE).connect_with(options.clone()).await?;
        Ok::<_, StoreError>(Pool::Sqlite(pool))
    };
    Ok(Pools { write, read: readers(READERS).await?, door: readers(AT_THE_DOOR).await?, watch: readers(WATCHING).await? })
}

/// Empties the write-ahead log, in which pages lie as they were before. Only where nobody reads at that moment, so it is tried for a while;
/// other writers wait no longer than [`FOLDING`] each time. `false` if somebody always read.
pub(super) async fn fold(path: &Path) -> Result<bool, StoreError> {
    let mut conn = SqliteConnectOptions::new().filename(path).busy_timeout(FOLDING).connect().await?;
    for _ in 0..FOLDS {
        let (busy, ..): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut conn).await?;
        if busy == 0 {
            return Ok(true);
        }
        tokio::time::sleep(FOLDING).await;
    }
    Ok(false)
}

/// The file readable by us alone, in a folder that, if we make it, is ours alone. SQLite gives its -wal and -shm the same mode.
fn private_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Where the processes that write to one file stand in line. SQLite lets in whoever happens to ask while nobody writes, and a busy bastion
/// asks again at once: a command beside it would wait for seconds. Who begins a write holds this, and only until it has begun.
pub(super) struct Turnstile(Option<File>);

impl Turnstile {
    /// Beside the file at `path`. Without it, nobody stands in line, and SQLite's own locks still keep writes apart.
    pub(super) fn beside(path: &Path) -> Self {
        let mut name = OsString::from(path);
        name.push(".turn");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(name);
        Self(file.inspect_err(|error| tracing::debug!(%error, "nobody stands in line for the store")).ok())
    }

    /// There are no other processes, or they have a line of their own.
    pub(super) fn open() -> Self {
        Self(None)
    }

    /// Waits for whoever came before to have begun.
    pub(super) async fn pass(&self) -> Option<Passing<'_>> {
        let file = self.0.as_ref()?;
        let waits = async {
            loop {
                match flock(file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => return Some(Passing(file)),
                    Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(A_STEP).await,
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(ACQUIRE, waits).await.ok().flatten()
    }
}

/// At the head of the line, until it is dropped.
pub(super) struct Passing<'t>(&'t File);

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

/// How long an emptying of the write-ahead log waits for those who read, and how often it is tried.
const FOLDING: Duration = Duration::from_millis(200);
const FOLDS: usize = 20;
/// Between two looks at the head of the line.
const A_STEP: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::super::sql::sql;
    use super::*;

    #[tokio::test]
    async fn the_file_is_private_and_readers_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/a.db");
        let pools = open(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let written = sql("INSERT INTO meta (name, value) VALUES ('x', 'y')").execute(&pools.read).await;
        assert!(written.is_err());
        let again = open(&path).await;
        assert!(again.is_ok());
    }
}
