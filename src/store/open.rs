//! Opening: the folder, the file and its permissions, the two pools, the migrations.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::StoreError;

/// Where a store lies, read from the `store` URL of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// `sqlite:PATH`; a relative path is relative to the working folder.
    Sqlite(PathBuf),
}

impl Place {
    /// Reads `sqlite:PATH`; everything else is refused with what would be read.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let path = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        match path {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => Err(StoreError::Url(url.to_owned())),
        }
    }
}

/// The writer (one connection) and the readers. Who knocks and who watches have connections of their own, so that nobody who asks
/// much can keep them waiting.
pub(super) struct Pools {
    pub(super) write: SqlitePool,
    pub(super) read: SqlitePool,
    pub(super) door: SqlitePool,
    pub(super) watch: SqlitePool,
}

/// Opens the file at `path`, makes it if it is missing, and brings it to the newest shape.
pub(super) async fn sqlite(path: &Path) -> Result<Pools, StoreError> {
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
    migrations().run(&write).await?;
    let options = options.read_only(true).pragma("query_only", "ON");
    let readers = |most| SqlitePoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE).connect_with(options.clone());
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

fn migrations() -> Migrator {
    let all = [
        (1, "first", include_str!("../../migrations/sqlite/0001_first.sql")),
        (3, "users", include_str!("../../migrations/sqlite/0003_users.sql")),
    ];
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlSafeStr::into_sql_str(sql), false)
    };
    Migrator::with_migrations(all.into_iter().map(migration).collect())
}

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);
/// How long anybody waits for a connection: longer than that the store counts as lost.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Readers never block one another; more than this only costs threads.
const READERS: u32 = 4;
const AT_THE_DOOR: u32 = 2;
/// The watcher, and a session that begins.
const WATCHING: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        assert_eq!(Place::parse("sqlite:state/a.db").ok(), Some(Place::Sqlite("state/a.db".into())));
        assert_eq!(Place::parse("sqlite:///var/lib/a.db").ok(), Some(Place::Sqlite("/var/lib/a.db".into())));
        for bad in ["", "sqlite:", "postgres://x/y", "/var/lib/a.db"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_file_is_private_and_readers_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/a.db");
        let pools = sqlite(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let written = sqlx::query("INSERT INTO meta (name, value) VALUES ('x', 'y')").execute(&pools.read).await;
        assert!(written.is_err());
        let again = sqlite(&path).await;
        assert!(again.is_ok());
    }
}
