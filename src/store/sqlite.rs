//! A store in a file of this machine: the file and its permissions, one writer and the readers.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

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
        .pragma("trusted_schema", "OFF");
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
